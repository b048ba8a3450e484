"""The second table: how well a contender keeps to a rate, known or not."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.contenders.job import Job
from benchmarks.machine import CONTENDER_CORE
from benchmarks.run import run
from benchmarks.server import API_KEY, Server

LATENCY = 0.05
CONCURRENCY = 16
LIMITS = (80, 30, 80)
FIXED = 80

CONTENDERS = {"push": "ClosersHook.push", "requests_retry": "requests + threads + Retry"}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """
    How thorough to be.

    :param phase: Seconds for which each limit holds, and the fixed rate is kept.
    """

    phase: float = 20.0


QUICK = Scale(phase=1.0)


def tables(scale: Scale, home: Path) -> Iterator[str]:
    """Measure, and yield the tables."""
    with Server() as server:
        rows = [
            [label, *_under_changing_limits(name, scale.phase, server, home)]
            for name, label in CONTENDERS.items()
        ]
        limits = ", then ".join(f"{limit}/s" for limit in LIMITS)
        yield (
            f"A limit that nobody told them: {limits}, {scale.phase:.0f} s each; {LATENCY * 1000:.0f} ms, "
            f"{CONCURRENCY} in flight\n\n"
            + table.render(
                ["", *(f"delivered of {limit}/s" for limit in LIMITS), "of all", "answered 429", "given up"],
                rows,
            )
        )
        yield (
            f"requests_per_second={FIXED}, and no limit; {scale.phase:.0f} s\n\n"
            + table.render(
                ["", f"delivered of {FIXED}/s", "most within a second"],
                [[CONTENDERS["push"], *_at_a_fixed_rate(scale.phase, server, home)]],
            )
        )


def _under_changing_limits(contender: str, phase: float, server: Server, home: Path) -> list[str]:
    print(f"pace: {contender}, {len(LIMITS)} x {phase:.0f} s", file=sys.stderr)
    server.reset(latency=LATENCY, requests_per_second=LIMITS[0])
    started: list[float] = []

    def change_the_limit() -> None:
        started.append(time.monotonic())
        for number, limit in enumerate(LIMITS[1:], 1):
            time.sleep(max(0, started[0] + number * phase - time.monotonic()))
            server.configure(requests_per_second=limit)

    job = _job(contender, server, seconds=phase * len(LIMITS))
    measured = run(job, server, home, change_the_limit)
    journal = server.journal()

    delivered = [
        _created_between(journal, started[0] + number * phase, started[0] + (number + 1) * phase)
        for number in range(len(LIMITS))
    ]
    allowed = [limit * phase for limit in LIMITS]
    throttled = sum(entry["status"] == 429 for entry in journal)
    return [
        *(table.per_cent(got / most) for got, most in zip(delivered, allowed, strict=True)),
        table.per_cent(sum(delivered) / sum(allowed)),
        table.per_cent(throttled / len(journal)),
        table.number(measured.taken - measured.delivered),
    ]


def _at_a_fixed_rate(seconds: float, server: Server, home: Path) -> list[str]:
    print(f"pace: push at {FIXED}/s, {seconds:.0f} s", file=sys.stderr)
    server.reset(latency=LATENCY)
    began: list[float] = []
    job = _job("push", server, seconds=seconds, requests_per_second=FIXED)
    run(job, server, home, lambda: began.append(time.monotonic()))
    delivered = _created_between(server.journal(), began[0], began[0] + seconds)
    return [
        table.per_cent(delivered / (FIXED * seconds)),
        table.number(server.requests()["peak_per_second"]),
    ]


def _job(contender: str, server: Server, *, seconds: float, **more: Any) -> Job:
    return Job(
        contender=contender,
        server=server.url,
        api_key=API_KEY,
        concurrency=CONCURRENCY,
        seconds=seconds,
        core=CONTENDER_CORE,
        **more,
    )


def _created_between(journal: list[dict[str, Any]], start: float, end: float) -> int:
    return sum(entry["status"] == 201 and start <= entry["monotonic"] < end for entry in journal)
