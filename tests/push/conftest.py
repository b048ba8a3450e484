"""A push against the sandbox, without Airflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_closers.client import ClosersClient
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.push.engine import Push
from airflow_provider_closers.push.journey import Route
from airflow_provider_closers.push.report import PushReport
from airflow_provider_closers.sandbox.server import SandboxServer
from airflow_provider_closers.settings import ClosersSettings


@pytest.fixture
def push(sandbox: SandboxServer) -> Iterator[Callable[..., PushReport]]:
    """Push to the sandbox: operation, records, then settings, route and other parts by their names."""

    def run(
        operation: str,
        records: Iterable[Any],
        *,
        if_exists: str | None = None,
        if_missing: str | None = None,
        api_key: str = sandbox.api_key,
        base_url: str = "",
        settings: dict[str, Any] | None = None,
        **parts: Any,
    ) -> PushReport:
        read = ClosersSettings(api_key=api_key, base_url=base_url or sandbox.url, **(settings or {}))
        rules = parts.pop("rules", RecordRules(bare_emails=True, other_attributes="*"))
        with closing(ClosersClient(read)) as client:
            report = Push(
                client=client,
                settings=read,
                route=Route(operation=operation, if_exists=if_exists, if_missing=if_missing),
                rules=rules,
                **parts,
            ).run(records)
        assert sum(report.outcomes.values()) == report.total
        return report

    return run


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry after some milliseconds instead of after seconds."""
    monkeypatch.setattr("airflow_provider_closers.push.window.backoff", lambda _: 0.002)
