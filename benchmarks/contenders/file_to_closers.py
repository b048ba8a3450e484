"""``FileToClosersOperator``, as a task executes it; it reads the rows itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from airflow_provider_closers.transfers.file_to_closers import FileToClosersOperator
from benchmarks.contenders import push
from benchmarks.contenders.job import Job


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""
    push.prepare(job)
    operator = FileToClosersOperator(
        task_id="push", path=str(job.source), operation="create", other_attributes="*"
    )
    return lambda _: operator.execute({})["created"]
