"""Bare ``urllib3``: one pool of connections, shared by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from urllib3 import PoolManager, Retry, Timeout

from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import body_of
from benchmarks.contenders.threads import post_in_threads


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""
    pool = PoolManager(maxsize=job.concurrency, headers=job.headers, retries=Retry(0), timeout=Timeout(30))

    def post(row: dict[str, Any]) -> bool:
        answer = pool.request("POST", job.url, json=body_of(row))
        return answer.status == 201 and answer.json()["success"]

    return partial(post_in_threads, post=post, threads=job.concurrency)
