"""``HttpHook.run`` in a loop, as a task of one's own would have it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from airflow.providers.http.hooks.http import HttpHook

from benchmarks.contenders.job import PATH, Job
from benchmarks.contenders.rows import body_of


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""
    set_connection(job)
    hook = HttpHook(method="POST", http_conn_id="closers_http")

    def send(rows: Iterable[dict[str, Any]]) -> int:
        confirmed = 0
        for row in rows:
            answer = hook.run(PATH, json=body_of(row))
            confirmed += answer.status_code == 201 and answer.json()["success"]
        return confirmed

    return send


def set_connection(job: Job) -> None:
    """Set the connection `closers_http`, whose extra is the headers."""
    os.environ["AIRFLOW_CONN_CLOSERS_HTTP"] = json.dumps(
        {"conn_type": "http", "host": job.server, "extra": job.headers}
    )
