"""``ClosersHook.push``, with all that it does beside sending: record rules, order, pace, accounting."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from airflow_provider_closers.hooks.closers import ClosersHook
from benchmarks.contenders.job import Job


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""
    extra: dict[str, Any] = {"max_concurrency": job.concurrency}
    if job.requests_per_second:
        extra["requests_per_second"] = job.requests_per_second
    os.environ["AIRFLOW_CONN_CLOSERS_DEFAULT"] = json.dumps(
        {"conn_type": "closers", "host": job.server, "password": job.api_key, "extra": extra}
    )
    hook = ClosersHook()
    # Imports what a push needs, and sends nothing.
    hook.push("create", [{"email": "jane@acme.io"}], preview=True)

    def send(rows: Iterable[dict[str, Any]]) -> int:
        report = hook.push("create", rows, other_attributes="*")
        if report.error is not None:
            raise report.error
        if report.created != report.total:
            raise RuntimeError(f"Not every record was created: {report}")
        return report.created

    return send
