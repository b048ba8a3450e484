"""The fourth table: how fast, and in how much memory, records travel from a database and from files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import table
from benchmarks.contenders.job import Job
from benchmarks.inputs import NEEDS, inputs, missing
from benchmarks.machine import CONTENDER_CORE
from benchmarks.run import ContenderFailedError, Measured, run
from benchmarks.server import API_KEY, Server

CONCURRENCY = 16


@dataclass(frozen=True, kw_only=True)
class Contender:
    """
    Who takes part.

    :param name: Its module.
    :param label: What the table calls it.
    :param source: What it reads, one of those in `inputs`; ``None``: the generator.
    :param reader: What reads it.
    :param needs: Distributions that it can't do without, beside those that the source needs.
    """

    name: str
    label: str
    source: str | None = None
    reader: str | None = None
    needs: tuple[str, ...] = ()

    @property
    def wants(self) -> list[str]:
        """What is not here, of all that it needs."""
        return [need for need in (*NEEDS.get(self.source, ()), *self.needs) if missing(need)]


CONTENDERS = (
    Contender(name="push", label="ClosersHook.push of a generator"),
    Contender(
        name="sql_to_closers",
        label="SqlToClosersOperator, PostgreSQL",
        source="postgresql",
        reader="query_rows",
    ),
    Contender(
        name="file_to_closers",
        label="FileToClosersOperator, Parquet",
        source="parquet",
        reader="file_records",
    ),
    Contender(
        name="file_to_closers", label="FileToClosersOperator, CSV", source="csv", reader="file_records"
    ),
    Contender(
        name="file_to_closers",
        label="FileToClosersOperator, JSON Lines",
        source="jsonl",
        reader="file_records",
    ),
    Contender(
        name="requests_threads",
        label="PostgresHook.get_records, requests + threads",
        source="postgresql",
        reader="get_records",
        needs=("requests",),
    ),
    Contender(
        name="requests_threads",
        label="pandas.read_parquet, requests + threads",
        source="parquet",
        reader="read_parquet",
        needs=("pandas", "requests"),
    ),
    Contender(
        name="requests_threads",
        label="pandas.read_csv, requests + threads",
        source="csv",
        reader="read_csv",
        needs=("pandas", "requests"),
    ),
    Contender(name="reading", label="reading alone, PostgreSQL", source="postgresql", reader="query_rows"),
    Contender(name="reading", label="reading alone, Parquet", source="parquet", reader="file_records"),
    Contender(name="reading", label="reading alone, CSV", source="csv", reader="file_records"),
    Contender(name="reading", label="reading alone, JSON Lines", source="jsonl", reader="file_records"),
)
YARDSTICK = CONTENDERS[0]

COLUMNS = ("records/s", "of the push alone", "CPU s per 1,000", "idle MiB", "peak over idle")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """
    How thorough to be.

    :param records: How many each contender has.
    :param rounds: How often each runs.
    """

    records: int = 20_000
    rounds: int = 3


QUICK = Scale(records=200, rounds=1)
FULL = Scale(records=1_000_000, rounds=1)


def tables(scale: Scale, home: Path) -> Iterator[str]:
    """Measure, and yield the table."""
    print(f"transfers: writing {scale.records:,} records", file=sys.stderr)
    runs: dict[Contender, list[Measured]] = {contender: [] for contender in CONTENDERS if not contender.wants}
    # The prospects are the sandbox's to keep; the requests need not be.
    with inputs(scale.records, home) as sources, Server(journal_size=1) as server:
        for number in range(scale.rounds):
            for contender, measured in runs.items():
                print(f"transfers, round {number + 1}: {contender.label}", file=sys.stderr)
                measured.append(_run(contender, sources, scale.records, server, home))
    rounds = "one run each" if scale.rounds == 1 else f"medians of {scale.rounds} runs"
    yield (
        f"{scale.records:,} records from their source, {CONCURRENCY} in flight, no latency, {rounds}\n\n"
        + table.render(
            ["", *COLUMNS],
            [_row(contender, runs.get(contender, []), runs[YARDSTICK]) for contender in CONTENDERS],
        )
    )
    if wanted := sorted({need for contender in CONTENDERS for need in contender.wants}):
        yield f"Without figures, for want of {', '.join(wanted)}."


def _run(contender: Contender, sources: dict[str, str], records: int, server: Server, home: Path) -> Measured:
    server.reset()
    job = Job(
        contender=contender.name,
        server=server.url,
        api_key=API_KEY,
        concurrency=CONCURRENCY,
        records=records,
        core=CONTENDER_CORE,
        reader=contender.reader,
        source=sources.get(contender.source),
    )
    measured = run(job, server, home)
    if (there := _records(contender, measured)) != records:
        raise ContenderFailedError(f"{contender.label}: {there} records of {records}.")
    return measured


def _records(contender: Contender, measured: Measured) -> int:
    return measured.taken if contender.name == "reading" else measured.delivered


def _row(contender: Contender, runs: list[Measured], yardstick: list[Measured]) -> list[str]:
    if not runs:
        return [contender.label, *[table.NOTHING] * len(COLUMNS)]
    records = _records(contender, runs[0])
    # Within a round, since the machine may be quicker in one than in another.
    share = median(one.rate / alone.rate for one, alone in zip(runs, yardstick, strict=True))
    return [
        contender.label,
        table.number(median(records / one.seconds for one in runs)),
        table.per_cent(share or None),  # what only reads has none
        table.number(median(1000 * one.cpu_seconds / records for one in runs), 4),
        table.mebibytes(median(one.idle for one in runs)),
        table.number(median(one.peak - one.idle for one in runs) / 2**20),  # 0 is a figure
    ]
