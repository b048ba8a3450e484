"""What every way to find the difference has to do first: the record rules, and digests of the fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.contenders import nights
from benchmarks.contenders.job import Job


def prepare(_: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what reads the rows, and sends nothing."""

    def send(last_night: Iterable[dict[str, Any]]) -> int:
        for _ in nights.people(nights.tonight(last_night)):
            pass
        return 0

    return send
