"""The difference of two nights, as the sync finds it: each row looked up in SQLite as it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from airflow_provider_closers.sync.plan import Plan
from airflow_provider_closers.sync.snapshot import Snapshot
from benchmarks.contenders import nights
from benchmarks.contenders.job import Job
from benchmarks.contenders.sync import write_snapshot


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what finds the difference, and sends nothing."""
    folder = nights.left_by(lambda folder: write_snapshot(job, folder / "snapshot", "benchmark"))

    def send(last_night: Iterable[dict[str, Any]]) -> int:
        with closing(Snapshot(folder / "snapshot", account="benchmark")) as snapshot:
            snapshot.load()
            plan = Plan(snapshot)
            for place, row in enumerate(nights.tonight(last_night)):
                plan.add(place, nights.RULES.read(row))
            plan.finish()
            gone = plan.gone()
            return nights.check(job, sum(map(len, plan.in_batches(1_000))) + gone)

    return send
