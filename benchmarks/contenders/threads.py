"""A pool of threads by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Row = dict[str, Any]


def post_in_threads(rows: Iterable[Row], post: Callable[[Row], bool], threads: int) -> int:
    """
    Post each row in one of the threads.

    Each takes its next row itself: an ``Executor.map`` would read the whole input first.

    :return: How many of the posts were confirmed.
    """
    lock, left = threading.Lock(), iter(rows)

    def take() -> Iterator[Row]:
        while True:
            with lock:
                row = next(left, None)
            if row is None:
                return
            yield row

    def work() -> int:
        return sum(post(row) for row in take())

    with ThreadPoolExecutor(threads) as pool:
        return sum(future.result() for future in [pool.submit(work) for _ in range(threads)])
