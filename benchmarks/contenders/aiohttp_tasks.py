"""Bare ``aiohttp``: so many tasks on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import body_of


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""

    async def work(session: ClientSession, rows: Iterator[dict[str, Any]]) -> int:
        confirmed = 0
        for row in rows:
            async with session.post(job.url, json=body_of(row)) as answer:
                confirmed += answer.status == 201 and (await answer.json())["success"]
        return confirmed

    async def send(rows: Iterable[dict[str, Any]]) -> int:
        left = iter(rows)
        connector = TCPConnector(limit=job.concurrency)
        async with ClientSession(
            connector=connector, headers=job.headers, timeout=ClientTimeout(total=30)
        ) as session:
            return sum(await asyncio.gather(*(work(session, left) for _ in range(job.concurrency))))

    return lambda rows: asyncio.run(send(rows))
