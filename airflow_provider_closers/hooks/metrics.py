"""The figures of pushes, in Airflow's own metrics (StatsD or OpenTelemetry, where they are on)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import Stats

if TYPE_CHECKING:
    from airflow_provider_closers.push.report import PushReport

#: The counters, and what each counts.
COUNTERS = {
    "closers.pushed": "records that the API confirmed (created, updated, deleted)",
    "closers.rejected": "records that were given up",
    "closers.requests": "requests sent, retries among them",
    "closers.retried": "requests sent again after an answer that was no use",
    "closers.throttled": "requests that were answered 429",
}
#: A timer: from a request to its answer. Of the requests between two readings, the latest 100 at most.
REQUEST_LATENCY = "closers.request_latency"


class PushMetrics:
    """
    Passes on what a push has come to since it was last asked.

    Every metric has the tags ``operation`` and ``conn_id``, where the metrics' backend knows tags.

    :param operation: The push's.
    :param conn_id: The connection's id: which account is pushed to.
    """

    def __init__(self, operation: str, conn_id: str) -> None:
        self._tags = {"operation": operation, "conn_id": conn_id}
        self._counted: dict[str, int] | None = None

    def note(self, report: PushReport, latencies: Sequence[float]) -> None:
        """Take note of a push's figures; the first are where it begins."""
        counts = _counts_of(report)
        for name, count in counts.items():
            if new := count - (self._counted or counts)[name]:
                Stats.incr(name, new, tags=self._tags)
        for seconds in latencies:
            Stats.timing(REQUEST_LATENCY, timedelta(seconds=seconds), tags=self._tags)
        self._counted = counts


def _counts_of(report: PushReport) -> dict[str, int]:
    return {
        "closers.pushed": report.created + report.updated + report.deleted,
        "closers.rejected": report.rejected,
        "closers.requests": report.requests,
        "closers.retried": report.retries,
        "closers.throttled": report.throttled,
    }
