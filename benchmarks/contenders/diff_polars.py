"""The difference of two nights by Polars: the rows in a frame, joined with a Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from benchmarks.contenders import columns, nights
from benchmarks.contenders.job import Job


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what finds the difference, and sends nothing."""
    folder = nights.left_by(lambda folder: columns.write_snapshot(job, folder / "snapshot.parquet"))

    def send(last_night: Iterable[dict[str, Any]]) -> int:
        source = pl.concat([pl.from_arrow(batch) for batch in columns.source(last_night)])
        known = pl.read_parquet(folder / "snapshot.parquet", columns=["key", "digests"])
        changes = source.join(known, on="key", how="left", suffix="_known").filter(
            pl.col("digests").ne_missing(pl.col("digests_known"))
        )
        found = sum(1 for _ in changes.sort("place").select("place", "fields").iter_rows())
        gone = known.join(source, on="key", how="anti").height
        return nights.check(job, found + gone)

    return send
