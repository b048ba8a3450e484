"""``ClosersHook.sync``: the whole of a nightly sync, of which one row in a hundred changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from airflow_provider_closers.hooks.closers import ClosersHook
from airflow_provider_closers.sync.snapshot import Snapshot
from benchmarks.contenders import nights, push
from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import rows


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what syncs the rows."""
    create = push.prepare(job)
    hook = ClosersHook()

    def night_before(folder: Path) -> None:
        create(nights.changed(job))  # the others are not asked for
        write_snapshot(job, folder / "snapshot", f"closers_default at {hook.settings.base_url}")

    folder = nights.left_by(night_before)

    def send(last_night: Iterable[dict[str, Any]]) -> int:
        report = hook.sync(
            nights.tonight(last_night), snapshot_path=folder / "snapshot", other_attributes="*"
        )
        if report.error is not None:
            raise report.error
        nights.check(job, report.updated)
        if report.requests != report.updated or report.unchanged + report.updated != report.total:
            raise RuntimeError(f"Not what was to be sent: {report}")
        return report.updated

    return send


def write_snapshot(job: Job, path: Path, account: str) -> None:
    """Leave what a sync of all rows would have left."""
    with closing(Snapshot(path, account=account)) as snapshot:
        snapshot.start_over()
        snapshot.database.execute("BEGIN")
        snapshot.database.executemany(
            "INSERT INTO people VALUES (?1, nullif(?2, ?1), ?3)", nights.people(rows(job.records, None))
        )
        snapshot.database.execute("COMMIT")
        snapshot.save()
