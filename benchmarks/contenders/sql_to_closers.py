"""``SqlToClosersOperator``, as a task executes it; it reads the rows itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from airflow_provider_closers.transfers.sql_to_closers import SqlToClosersOperator
from benchmarks.contenders import push
from benchmarks.contenders.job import Job
from benchmarks.contenders.readers import CONNECTION, SQL


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""
    push.prepare(job)
    operator = SqlToClosersOperator(
        task_id="push", conn_id=CONNECTION, sql=SQL, operation="create", other_attributes="*"
    )
    return lambda _: operator.execute({})["created"]
