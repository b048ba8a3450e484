"""A sync with the sandbox, without Airflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_closers.client import ClosersClient
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.sandbox.server import SandboxServer
from airflow_provider_closers.settings import ClosersSettings
from airflow_provider_closers.sync.limits import Limits, Removal
from airflow_provider_closers.sync.report import SyncReport
from airflow_provider_closers.sync.run import Sync
from airflow_provider_closers.sync.snapshot import Snapshot


@pytest.fixture
def snapshot_path(tmp_path: Path) -> Path:
    return tmp_path / "people.snapshot"


@pytest.fixture
def sync(sandbox: SandboxServer, snapshot_path: Path) -> Iterator[Callable[..., SyncReport]]:
    """Sync the sandbox with records; further parts by their names. The first time begins the snapshot."""

    def sync_with(
        records: Iterable[Any],
        *,
        path: Any = snapshot_path,
        full_resync: bool | None = None,
        on_removed: str = "keep",
        removed_field: str | None = None,
        limits: dict[str, float] | None = None,
        run: str | None = None,
        api_key: str = sandbox.api_key,
        settings: dict[str, Any] | None = None,
        **parts: Any,
    ) -> SyncReport:
        read = ClosersSettings(api_key=api_key, base_url=sandbox.url, **(settings or {}))
        rules = parts.pop("rules", RecordRules(other_attributes="*"))
        with (
            closing(ClosersClient(read)) as client,
            closing(Snapshot(path, account="sandbox", run=run)) as snapshot,
        ):
            if full_resync is True or (full_resync is None and not path.exists()):
                snapshot.start_over()
            else:
                snapshot.load()
            report = Sync(
                client=client,
                settings=read,
                snapshot=snapshot,
                rules=rules,
                removal=Removal(on_removed=on_removed, field=removed_field),
                limits=Limits(**(limits or {"max_removed": 1.0})),
                **parts,
            ).run(records)
        assert report.total == report.read + report.removed == sum(report.outcomes.values())
        return report

    return sync_with


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry after some milliseconds instead of after seconds."""
    monkeypatch.setattr("airflow_provider_closers.push.window.backoff", lambda _: 0.002)
