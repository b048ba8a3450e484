"""Where a contender's rows come from; each reader imports what it needs before the clock starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from typing import Any

from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import rows

TABLE = "leads"
SQL = f"SELECT email, first_name, last_name, company, city, plan FROM {TABLE}"
CONNECTION = "warehouse"

Rows = Iterable[dict[str, Any]]


def reader(job: Job) -> Callable[[], Rows]:
    """Return what begins to read the job's rows."""
    if job.reader is None:
        return partial(rows, job.records, job.seconds)
    if job.source is not None and job.source.startswith("{"):
        os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = job.source
    return _READERS[job.reader](job)


def _query_rows(_: Job) -> Callable[[], Rows]:
    """As SqlToClosersOperator reads."""
    from airflow.providers.common.compat.sdk import BaseHook

    from airflow_provider_closers.sources.sql import QueryRows

    records = QueryRows(BaseHook.get_hook(CONNECTION), SQL)
    next(iter(records))
    return lambda: records


def _file_records(job: Job) -> Callable[[], Rows]:
    """As FileToClosersOperator reads."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_closers.sources.files import FileRecords

    records = FileRecords(ObjectStoragePath(job.source))
    next(iter(records))
    return lambda: records


def _get_records(_: Job) -> Callable[[], Rows]:
    """As a task of one's own has it."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    hook = PostgresHook(postgres_conn_id=CONNECTION)
    hook.get_records(f"{SQL} LIMIT 1")

    def read() -> Rows:
        for email, first_name, last_name, company, city, plan in hook.get_records(SQL):
            yield {
                "email": email,
                "first_name": first_name,
                "last_name": last_name,
                "company": company,
                "city": city,
                "plan": plan,
            }

    return read


def _read_csv(job: Job) -> Callable[[], Rows]:
    import pandas as pd

    pd.read_csv(job.source, nrows=1).to_dict("records")
    return lambda: pd.read_csv(job.source).to_dict("records")


def _read_parquet(job: Job) -> Callable[[], Rows]:
    import pandas as pd

    one = pd.DataFrame([{"email": "jane@acme.io"}]).to_parquet()
    pd.read_parquet(BytesIO(one)).to_dict("records")
    return lambda: pd.read_parquet(job.source).to_dict("records")


_READERS = {
    "query_rows": _query_rows,
    "file_records": _file_records,
    "get_records": _get_records,
    "read_csv": _read_csv,
    "read_parquet": _read_parquet,
}
