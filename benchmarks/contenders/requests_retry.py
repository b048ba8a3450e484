"""``requests`` by hand with the customary retries: urllib3's ``Retry`` on 429 and 5xx, with its backoff."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from requests import Session
from requests.adapters import HTTPAdapter
from requests.exceptions import RetryError
from urllib3 import Retry

from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import body_of
from benchmarks.contenders.threads import post_in_threads

RETRY = Retry(total=5, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504], allowed_methods=None)


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""
    session = Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=job.concurrency, max_retries=RETRY))
    session.headers.update(job.headers)

    def post(row: dict[str, Any]) -> bool:
        try:
            answer = session.post(job.url, json=body_of(row), timeout=30)
        except RetryError:
            return False  # given up
        return answer.status_code == 201 and answer.json()["success"]

    return partial(post_in_threads, post=post, threads=job.concurrency)
