"""The fifth table: what a sync costs of which one row in a hundred changed, and who finds that out best."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import table
from benchmarks.contenders.job import Job
from benchmarks.contenders.nights import ONE_IN
from benchmarks.inputs import missing
from benchmarks.machine import CONTENDER_CORE
from benchmarks.run import Measured, run
from benchmarks.server import API_KEY, Server

CONCURRENCY = 16

#: Who finds the difference: label, module, what it needs.
ENGINES = (
    ("record rules and digests alone", "diff_none", None),
    ("SQLite, as the sync has it", "diff_sqlite", None),
    ("DuckDB", "diff_duckdb", "duckdb"),
    ("Polars", "diff_polars", "polars"),
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """
    How thorough to be.

    :param records: How many rows the source has.
    :param pushed: How many of them the push of every row is measured with.
    :param rounds: How often each runs.
    """

    records: int = 100_000
    pushed: int = 20_000
    rounds: int = 3


QUICK = Scale(records=2_000, pushed=200, rounds=1)
FULL = Scale(records=1_000_000, rounds=1)


def tables(scale: Scale, home: Path) -> Iterator[str]:
    """Measure, and yield both tables."""
    yield _sync(scale, home)
    yield _engines(scale, home)


def _sync(scale: Scale, home: Path) -> str:
    synced = _runs("sync", scale.records, scale, home)
    pushed = _runs("push", scale.pushed, scale, home)
    per_record = median(one.seconds for one in pushed) / scale.pushed
    cpu_per_record = median(one.cpu_seconds for one in pushed) / scale.pushed
    return (
        f"{scale.records:,} rows, of which one in {ONE_IN} changed; {CONCURRENCY} in flight, no latency\n\n"
        + table.render(
            ["", "requests", "seconds", "CPU s", "peak MiB", "over idle"],
            [
                [
                    "ClosersHook.sync",
                    table.number(synced[0].delivered),
                    table.number(median(one.seconds for one in synced), 1),
                    table.number(median(one.cpu_seconds for one in synced), 1),
                    table.mebibytes(median(one.peak for one in synced)),
                    table.mebibytes(median(one.peak - one.idle for one in synced)),
                ],
                [
                    f"a push of every row (from {scale.pushed:,})",
                    table.number(scale.records),
                    f"≈ {table.number(per_record * scale.records, 1)}",
                    f"≈ {table.number(cpu_per_record * scale.records, 1)}",
                    table.mebibytes(median(one.peak for one in pushed)),
                    table.mebibytes(median(one.peak - one.idle for one in pushed)),
                ],
            ],
        )
    )


def _engines(scale: Scale, home: Path) -> str:
    rows = []
    for label, contender, needs in ENGINES:
        if needs is not None and (missing(needs) or missing("pyarrow")):
            rows.append([label, *[table.NOTHING] * 4])
            continue
        runs = _runs(contender, scale.records, scale, home)
        rows.append(
            [
                label,
                table.number(median(one.seconds for one in runs), 1),
                table.number(median(one.cpu_seconds for one in runs), 1),
                table.mebibytes(median(one.peak for one in runs)),
                table.mebibytes(median(one.peak - one.idle for one in runs)),
            ]
        )
    return (
        f"Finding the one in {ONE_IN} that changed among {scale.records:,} rows; nothing is sent\n\n"
        + table.render(["", "seconds", "CPU s", "peak MiB", "over idle"], rows)
    )


def _runs(contender: str, records: int, scale: Scale, home: Path) -> list[Measured]:
    measured = []
    with Server(journal_size=1) as server:
        for number in range(scale.rounds):
            print(f"sync, round {number + 1}: {contender}", file=sys.stderr)
            server.reset()
            job = Job(
                contender=contender,
                server=server.url,
                api_key=API_KEY,
                concurrency=CONCURRENCY,
                records=records,
                core=CONTENDER_CORE,
            )
            measured.append(run(job, server, home))
    return measured
