"""The third table: whether memory grows with the number of records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import table
from benchmarks.contenders.job import Job
from benchmarks.machine import CONTENDER_CORE
from benchmarks.run import run
from benchmarks.server import API_KEY, Server

CONCURRENCY = 16


@dataclass(frozen=True, kw_only=True)
class Scale:
    """
    How thorough to be.

    :param records: How many to push.
    """

    records: int = 100_000


QUICK = Scale(records=200)
FULL = Scale(records=1_000_000)


def tables(scale: Scale, home: Path) -> Iterator[str]:
    """Measure, and yield the table."""
    print(f"memory: {scale.records:,} records", file=sys.stderr)
    # The prospects are the sandbox's to keep; the requests need not be.
    with Server(journal_size=1) as server:
        server.reset()
        job = Job(
            contender="push",
            server=server.url,
            api_key=API_KEY,
            concurrency=CONCURRENCY,
            records=scale.records,
            core=CONTENDER_CORE,
        )
        sandbox_before = server.rss()
        measured = run(job, server, home)
        sandbox_after = server.rss()
    on_the_way = {mark: measured.memory[str(mark)] for mark in (10, 50, 100)}
    header = [
        "records",
        "records/s",
        "idle MiB",
        *(f"at {mark} %" for mark in on_the_way),
        "peak MiB",
        "over idle",
        "sandbox MiB",
    ]
    row = [
        table.number(measured.delivered),
        table.number(measured.rate),
        table.mebibytes(measured.idle),
        *map(table.mebibytes, on_the_way.values()),
        table.mebibytes(measured.peak),
        table.mebibytes(measured.peak - measured.idle),
        f"{table.mebibytes(sandbox_before)} to {table.mebibytes(sandbox_after)}",
    ]
    yield f"{scale.records:,} records of a generator, {CONCURRENCY} in flight, no latency\n\n" + table.render(
        ["", *header], [["ClosersHook.push", *row]]
    )
