"""The first table: how fast, at which cost, at several latencies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from benchmarks import airflow_home, table
from benchmarks.contenders.job import Job
from benchmarks.machine import CONTENDER_CORE, version
from benchmarks.run import Measured, run
from benchmarks.server import API_KEY, Server


@dataclass(frozen=True, kw_only=True)
class Contender:
    """
    Who takes part.

    :param name: Its module.
    :param label: What the table calls it.
    :param needs: The distribution that it can't do without.
    :param is_mapped: Whether Airflow makes a task of each record, so that their number is fixed before.
    """

    name: str
    label: str
    needs: str
    is_mapped: bool = False


CONTENDERS = (
    Contender(name="push", label="ClosersHook.push", needs="airflow-provider-closers"),
    Contender(name="aiohttp_tasks", label="aiohttp, bare", needs="aiohttp"),
    Contender(name="urllib3_threads", label="urllib3 + threads, bare", needs="urllib3"),
    Contender(name="requests_threads", label="requests + threads", needs="requests"),
    Contender(name="http_hook", label="HttpHook.run in a loop", needs="apache-airflow-providers-http"),
    Contender(
        name="http_operator",
        label="HttpOperator, mapped",
        needs="apache-airflow-providers-http",
        is_mapped=True,
    ),
)
OURS, YARDSTICK = CONTENDERS[0], CONTENDERS[2]

COLUMNS = (
    "records/s",
    "steady",
    "of {yardstick}",
    "CPU s per 1,000",
    "peak MiB",
    "over idle",
    "429s",
    "sandbox busy",
    "push / this",
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """
    How thorough to be.

    :param points: Seconds of latency, and requests in flight at it.
    :param rounds: How often each contender runs.
    :param seconds: How long.
    :param mapped: Records for whom Airflow makes a task of each; that takes part in the first round only.
    """

    points: tuple[tuple[float, int], ...] = ((0.0, 16), (0.05, 32), (0.1, 32), (0.2, 32))
    rounds: int = 3
    seconds: float = 4.0
    mapped: int = 20


QUICK = Scale(points=((0.02, 8),), rounds=1, seconds=0.5, mapped=2)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run came to, with what the sandbox saw of it."""

    measured: Measured
    steady: float | None
    throttled: int


@dataclass
class Point:
    """All runs at one latency: by contender, then by round."""

    latency: float
    concurrency: int
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @property
    def limit(self) -> float | None:
        """Records a second that no contender can exceed; none without a latency."""
        return self.concurrency / self.latency if self.latency else None


def tables(scale: Scale, home: Path) -> Iterator[str]:
    """Measure, and yield a table per latency."""
    if any(contender.is_mapped and version(contender.needs) for contender in CONTENDERS):
        airflow_home.migrate(home)
    with Server() as server:
        for latency, concurrency in scale.points:
            point = Point(latency, concurrency)
            for number in range(scale.rounds):
                _one_round(point, number, scale, server, home)
            yield _title(point, scale) + _render(point)
    missing = [contender for contender in CONTENDERS if not version(contender.needs)]
    if missing:
        names = ", ".join(sorted({contender.needs for contender in missing}))
        yield f"Without figures, for want of {names}: pip install -e '.[bench]'"


def _one_round(point: Point, number: int, scale: Scale, server: Server, home: Path) -> None:
    for contender in CONTENDERS:
        if not version(contender.needs) or (contender.is_mapped and number):
            continue
        print(f"{point.latency * 1000:.0f} ms, round {number + 1}: {contender.label}", file=sys.stderr)
        job = Job(
            contender=contender.name,
            server=server.url,
            api_key=API_KEY,
            concurrency=point.concurrency,
            records=scale.mapped if contender.is_mapped else None,
            seconds=None if contender.is_mapped else scale.seconds,
            core=CONTENDER_CORE,
        )
        server.reset(latency=point.latency)
        measured = run(job, server, home)
        throttled = server.requests()["by_status"].get("429", 0)
        taken = Run(measured=measured, steady=steady_rate(server.journal()), throttled=throttled)
        point.runs.setdefault(contender.name, []).append(taken)


def steady_rate(journal: list[dict[str, Any]]) -> float | None:
    """
    Return the records created per second, the first and the last second left out.

    It is the slope of their number over time: at a latency that all share they come in bursts, and
    counting would depend on how many bursts fall into the time.

    :return: ``None`` where there is too little in between.
    """
    created = sorted(entry["monotonic"] + entry["latency"] for entry in journal if entry["status"] == 201)
    inner = [at for at in created if created[0] + 1 <= at <= created[-1] - 1]
    if len(inner) < 10 or inner[-1] - inner[0] < 1:
        return None
    return linear_regression(inner, range(len(inner))).slope


def _title(point: Point, scale: Scale) -> str:
    rounds = "one run each" if scale.rounds == 1 else f"medians of {scale.rounds} runs"
    return f"Latency {point.latency * 1000:.0f} ms, {point.concurrency} in flight, {rounds}\n\n"


def _render(point: Point) -> str:
    yardstick = point.limit or _steady_or_whole(point.runs[YARDSTICK.name])
    header = [column.format(yardstick="the limit" if point.limit else "bare urllib3") for column in COLUMNS]
    rows = [_row(contender, point, yardstick) for contender in CONTENDERS]
    if point.limit:
        theory = [table.number(point.limit), table.number(point.limit), table.per_cent(1)]
        rows.append(["theoretical limit", *theory, *[table.NOTHING] * (len(COLUMNS) - len(theory))])
    return table.render(["", *header], rows)


def _row(contender: Contender, point: Point, yardstick: float) -> list[str]:
    runs = point.runs.get(contender.name)
    if not runs:
        return [contender.label, *[table.NOTHING] * len(COLUMNS)]
    measured = [taken.measured for taken in runs]
    rate, steady = _median_rate(runs), _median_steady_rate(runs)
    busy = median(one.server_cpu_seconds / one.seconds for one in measured)
    # Within a round, since the machine may be quicker in one than in another.
    ratios = [
        ours.measured.rate / theirs.measured.rate
        for ours, theirs in zip(point.runs[OURS.name], runs, strict=False)
    ]
    return [
        contender.label,
        table.number(rate, 0 if rate >= 100 else 1),
        table.number(steady, 0 if rate >= 100 else 1),
        table.per_cent(_steady_or_whole(runs) / yardstick),
        table.number(median(1000 * one.cpu_seconds / one.delivered for one in measured), 2),
        table.mebibytes(median(one.peak for one in measured)),
        table.mebibytes(median(one.peak - one.idle for one in measured)),
        table.number(sum(taken.throttled for taken in runs)),
        table.per_cent(busy) if busy else table.NOTHING,
        table.number(median(ratios), 2),
    ]


def _median_rate(runs: list[Run]) -> float:
    return median(taken.measured.rate for taken in runs)


def _median_steady_rate(runs: list[Run]) -> float | None:
    steady = [taken.steady for taken in runs if taken.steady is not None]
    return median(steady) if steady else None


def _steady_or_whole(runs: list[Run]) -> float:
    return _median_steady_rate(runs) or _median_rate(runs)
