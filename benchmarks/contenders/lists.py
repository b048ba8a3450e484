"""
One contender that loads a list of suppressed addresses and looks some up, in a process of its own.

``python -m benchmarks.contenders.lists '<job as JSON>'`` ends with what it measured, as one line of JSON.
"""

from __future__ import annotations

import gc
import hmac
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.contenders.stopwatch import STOPWATCH

KEY = "the benchmark's key"
_HASH = "hmac-sha256:"

#: Tells whether an address is on the list.
Lookup = Callable[[str], bool]


def line(number: int, kind: str) -> str:
    """Return a line of a list: that of an address, or of its keyed hash."""
    address = f"jane.doe.{number:x}@company{number % 5_000}.example"
    return address if kind == "addresses" else _HASH + _hashed(address)


def suppression_list(path: Path, _kind: str) -> Lookup:
    """Load it as every operator does."""
    from airflow_provider_closers.suppression import SuppressionList

    return SuppressionList.from_file(path, secret=KEY).__contains__


def python_set(path: Path, kind: str) -> Lookup:
    """Load it as people write it."""
    with path.open(encoding="utf-8") as file:
        entries = {line.strip().lower() for line in file}
    if kind == "addresses":
        return lambda email: email.lower() in entries
    return lambda email: _HASH + _hashed(email.lower()) in entries


def sqlite(path: Path, kind: str) -> Lookup:
    """Load it into an index on the disk, with as much memory as the suppression list takes."""
    connection = sqlite3.connect(tempfile.mkstemp(dir=path.parent)[1], isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -100000"
    )
    connection.execute("CREATE TABLE list (entry TEXT PRIMARY KEY) WITHOUT ROWID")
    connection.execute("BEGIN")
    with path.open(encoding="utf-8") as file:
        rows = ((line.strip().lower(),) for line in file)
        connection.executemany("INSERT OR IGNORE INTO list VALUES (?)", rows)
    connection.execute("COMMIT")
    query = "SELECT 1 FROM list WHERE entry = ?"
    if kind == "addresses":
        return lambda email: connection.execute(query, (email.lower(),)).fetchone() is not None
    return lambda email: connection.execute(query, (_HASH + _hashed(email.lower()),)).fetchone() is not None


def reading(path: Path, _kind: str) -> None:
    """Read the lines, and nothing else: nobody is quicker."""
    with path.open(encoding="utf-8") as file:
        for _ in file:
            pass


def _hashed(address: str) -> str:
    return hmac.digest(KEY.encode(), address.encode(), "sha256").hex()


def main(contender: str, path: str, kind: str, entries: int, lookups: int, core: int | None) -> None:
    """Run it."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    from airflow_provider_closers.suppression import SuppressionList  # noqa: F401 - imports are not timed

    gc.collect()
    STOPWATCH.start()
    lookup = globals()[contender](Path(path), kind)
    measured = STOPWATCH.read()
    found = 0
    began = time.monotonic()
    if lookup is not None:
        # One half is on the list, the other is not.
        step = max(2 * entries // lookups, 1)
        emails = [line(number, "addresses") for number in range(0, 2 * entries, step)]
        began = time.monotonic()
        found = sum(map(lookup, emails))
        measured |= {"lookups": len(emails), "lookup_seconds": time.monotonic() - began}
    print(json.dumps(measured | {"found": found}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
