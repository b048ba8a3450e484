"""The difference of two nights by DuckDB: the rows in a table of its own, joined with a Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import duckdb

from benchmarks.contenders import columns, nights
from benchmarks.contenders.job import Job


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what finds the difference, and sends nothing."""
    folder = nights.left_by(lambda folder: columns.write_snapshot(job, folder / "snapshot.parquet"))

    def send(last_night: Iterable[dict[str, Any]]) -> int:
        # In a file, as the sync's plan is.
        with duckdb.connect(folder / "plan.duckdb") as database:
            database.execute("CREATE TABLE source (key TEXT, place BIGINT, digests BLOB, fields TEXT)")
            for batch in columns.source(last_night):
                database.register("batch", batch)
                database.execute("INSERT INTO source SELECT * FROM batch")
            known = f"read_parquet('{folder}/snapshot.parquet')"
            changes = database.execute(
                f"SELECT source.place, source.fields FROM source LEFT JOIN {known} AS known USING (key) "
                "WHERE known.digests IS DISTINCT FROM source.digests ORDER BY place"
            )
            found = 0
            while some := changes.fetchmany(1_000):
                found += len(some)
            [gone] = database.execute(f"SELECT count(*) FROM {known} ANTI JOIN source USING (key)").fetchone()
        return nights.check(job, found + gone)

    return send
