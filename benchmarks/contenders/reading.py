"""Whoever only reads: what the source costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.contenders.job import Job


def prepare(_: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what takes the rows and sends none."""

    def send(rows: Iterable[dict[str, Any]]) -> int:
        for _ in rows:
            pass
        return 0

    return send
