"""``requests`` by hand: one session with a pool of connections, shared by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from requests import Session
from requests.adapters import HTTPAdapter

from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import body_of
from benchmarks.contenders.threads import post_in_threads


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""
    session = Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=job.concurrency))
    session.headers.update(job.headers)

    def post(row: dict[str, Any]) -> bool:
        answer = session.post(job.url, json=body_of(row), timeout=30)
        return answer.status_code == 201 and answer.json()["success"]

    return partial(post_in_threads, post=post, threads=job.concurrency)
