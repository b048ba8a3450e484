"""Two nights as columns, for engines that join tables: the one before in Parquet, tonight in batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from airflow_provider_closers.address import normal_form
from airflow_provider_closers.sync.digests import digests_of
from benchmarks.contenders import nights
from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import rows

_ROWS = 50_000
_KNOWN = pa.schema([("key", pa.string()), ("email", pa.string()), ("digests", pa.binary())])
_SOURCE = pa.schema(
    [
        ("key", pa.string()),
        ("place", pa.int64()),
        ("digests", pa.binary()),
        # Which of them are to be sent is known when all are read.
        ("fields", pa.string()),
    ]
)


def write_snapshot(job: Job, path: Path) -> None:
    """Leave what a sync of all rows would have left."""
    left = nights.people(rows(job.records, None))
    with ParquetWriter(path, _KNOWN) as writer:
        while batch := list(islice(left, _ROWS)):
            writer.write_table(_table(batch, _KNOWN))


def source(last_night: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    """Yield tonight's rows, after the record rules, some at a time."""
    left = (
        (normal_form(prospect.email), place, digests_of(prospect.fields), json.dumps(prospect.fields))
        for place, prospect in enumerate(map(nights.RULES.read, nights.tonight(last_night)))
    )
    while batch := list(islice(left, _ROWS)):
        yield _table(batch, _SOURCE)


def _table(batch: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*batch, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema
    )
