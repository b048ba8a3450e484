"""
One run of one contender, in a process of its own.

``python -m benchmarks.contenders '<job as JSON>'`` says ``ready`` when it is, runs when a line comes in,
and ends with what it measured, as one line of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from benchmarks import vitals
from benchmarks.contenders.job import Job
from benchmarks.contenders.readers import Rows, reader
from benchmarks.contenders.stopwatch import STOPWATCH

MARKS = (10, 50)  # per cent of the records


def main(job: Job) -> None:
    """Run it."""
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    # What Airflow prints joins its log on stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as harness:
        os.dup2(2, 1)
        read = reader(job)
        send = import_module(f"benchmarks.contenders.{job.contender}").prepare(job)
        # Or whoever first has many objects at once would pay for a look at all that was imported.
        gc.collect()
        print("ready", file=harness, flush=True)
        sys.stdin.readline()

        source = Source(job, read)
        STOPWATCH.start()
        delivered = send(source)
        measured = STOPWATCH.read()
        source.memory[100] = vitals.rss()
        counts = {"delivered": delivered, "taken": source.taken, "memory": source.memory}
        print(json.dumps(counts | measured), file=harness, flush=True)


class Source:
    """
    The job's rows; it counts those that were taken, and where their number is known, notes the memory.

    :param job: Says how many there are, or for how long.
    :param read: Begins to read them.
    """

    def __init__(self, job: Job, read: Callable[[], Rows]) -> None:
        self._job = job
        self._read = read
        self.taken = 0
        self.memory: dict[int, int] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        marks = {self._job.records * mark // 100: mark for mark in MARKS} if self._job.records else {}
        for row in self._read():
            if self.taken in marks:
                self.memory[marks[self.taken]] = vitals.rss()
            self.taken += 1
            yield row


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
