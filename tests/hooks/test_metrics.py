"""What Airflow's metrics learn of a push."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Stats

from airflow_provider_closers.hooks.closers import ClosersHook
from airflow_provider_closers.hooks.metrics import COUNTERS, REQUEST_LATENCY, PushMetrics
from airflow_provider_closers.push.report import PushReport


@pytest.fixture
def stats(monkeypatch) -> Any:
    """What was counted and timed, by name, and with which tags."""

    class Recorded:
        counted: Counter[str] = Counter()
        timed: list[timedelta] = []
        tags: list[dict[str, Any]] = []

        def incr(self, name: str, count: int = 1, *, tags: Any = None) -> None:
            self.counted[name] += count
            self.tags.append(tags)

        def timing(self, name: str, took: timedelta, *, tags: Any = None) -> None:
            assert name == REQUEST_LATENCY
            self.timed.append(took)
            self.tags.append(tags)

    recorded = Recorded()
    recorded.counted, recorded.timed, recorded.tags = Counter(), [], []
    monkeypatch.setattr(Stats, "incr", recorded.incr)
    monkeypatch.setattr(Stats, "timing", recorded.timing)
    return recorded


def test_a_push_counts_what_its_report_says(stats, sandbox, closers_connection):
    sandbox.add_fault("error", status=429, retry_after=0)
    people = [{"email": f"p{i}@acme.io"} for i in range(40)] + [{"email": "no"}]

    report = ClosersHook(closers_connection).push("create", people)

    assert stats.counted == {
        "closers.pushed": 40,
        "closers.rejected": 1,
        "closers.requests": report.requests,
        "closers.retried": report.retries,
        "closers.throttled": 1,
    }
    assert set(stats.counted) == set(COUNTERS)
    assert len(stats.timed) == report.requests
    assert all(timedelta() < took < timedelta(seconds=30) for took in stats.timed)
    assert all(tags == {"operation": "create", "conn_id": closers_connection} for tags in stats.tags)


def test_what_an_earlier_try_counted_is_not_counted_again(stats):
    metrics = PushMetrics("create", "crm")

    metrics.note(PushReport(operation="create", created=500, requests=600), [])
    metrics.note(PushReport(operation="create", created=700, requests=810), [])
    metrics.note(PushReport(operation="create", created=700, requests=810), [])

    assert stats.counted == {"closers.pushed": 200, "closers.requests": 210}


def test_metrics_that_are_out_of_order_do_not_stop_a_push(sandbox, closers_connection, monkeypatch, caplog):
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to the metrics")

    monkeypatch.setattr(Stats, "incr", fail)

    report = ClosersHook(closers_connection).push("create", [{"email": "jane@acme.io"}])

    assert report.created == 1
    assert "can't be measured" in caplog.text
