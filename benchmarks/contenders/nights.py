"""The night before, as a snapshot has it, and the night that follows: one row in a hundred changed."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from airflow_provider_closers.address import normal_form
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.sync.digests import digests_of
from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import rows

RULES = RecordRules(other_attributes="*")
ONE_IN = 100


def tonight(last_night: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows, of which one in a hundred changed."""
    for number, row in enumerate(last_night):
        yield {**row, "first_name": "Another"} if number % ONE_IN == 0 else row


def changed(job: Job) -> list[dict[str, Any]]:
    """Return the rows of the night before that will change."""
    return list(rows(job.records, None))[::ONE_IN]


def people(last_night: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, bytes]]:
    """Yield key, email and digests of each row, after the record rules."""
    for prospect in map(RULES.read, last_night):
        yield normal_form(prospect.email), prospect.email, digests_of(prospect.fields)


def check(job: Job, changes: int) -> int:
    """Return what was sent, which is nothing, if the changes are those that there are."""
    if changes != len(range(0, job.records or 0, ONE_IN)):
        raise RuntimeError(f"Not every change was found, or more than there are: {changes}")
    return 0


def left_by(prepare: Callable[[Path], None]) -> Path:
    """Return a folder in which something was prepared: by another process, which takes its memory along."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["AIRFLOW_HOME"]))
    child = multiprocessing.get_context("fork").Process(target=prepare, args=(folder,))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError("The night before can't be prepared; see above.")
    return folder
