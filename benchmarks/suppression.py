"""The fifth table: what it takes to have a long suppression list at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.airflow_home import CHECKOUT, environment
from benchmarks.contenders.lists import line
from benchmarks.machine import CONTENDER_CORE
from benchmarks.run import ContenderFailedError

#: Each contender's function in `contenders.lists`, and what to call it.
CONTENDERS = {
    "suppression_list": "SuppressionList",
    "python_set": "a set of str",
    "sqlite": "SQLite, in a temporary file",
    "reading": "the file's lines, read only",
}
KINDS = ("addresses", "keyed hashes")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """
    How thorough to be.

    :param entries: How many are on the list.
    :param lookups: About how many addresses to look up.
    """

    entries: int = 5_000_000
    lookups: int = 200_000


QUICK = Scale(entries=2_000, lookups=200)


def tables(scale: Scale, home: Path) -> Iterator[str]:
    """Measure, and yield the tables."""
    for kind in KINDS:
        path = home / "list.txt"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{line(number, kind)}\n" for number in range(scale.entries))
        rows = [[label, *_row(name, path, kind, scale, home)] for name, label in CONTENDERS.items()]
        size = path.stat().st_size
        header = ["", "load, s", "CPU s", "MiB over idle", "lookups/s"]
        title = f"{scale.entries:,} {kind} in a file of {table.mebibytes(size)} MiB, looked up by address"
        yield f"{title}\n\n{table.render(header, rows)}"


def _row(name: str, path: Path, kind: str, scale: Scale, home: Path) -> list[str]:
    print(f"suppression: {CONTENDERS[name]}, {kind}", file=sys.stderr)
    measured = _measure(name, path, kind, scale, home)
    rate = measured["lookups"] / measured["lookup_seconds"] if "lookups" in measured else None
    return [
        table.number(measured["seconds"], 1),
        table.number(measured["cpu_seconds"], 1),
        table.mebibytes(measured["peak"] - measured["idle"]),
        table.number(rate),
    ]


def _measure(name: str, path: Path, kind: str, scale: Scale, home: Path) -> dict[str, Any]:
    job = {
        "contender": name,
        "path": str(path),
        "kind": kind,
        "entries": scale.entries,
        "lookups": scale.lookups,
        "core": CONTENDER_CORE,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders.lists", json.dumps(job)],
        env=environment(home),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise ContenderFailedError(f"{name} failed. Its log:\n\n{ended.stderr}")
    measured: dict[str, Any] = json.loads(ended.stdout)
    # Every other address that is looked up is on the list.
    if measured["found"] * 2 != measured.get("lookups", 0):
        raise ContenderFailedError(
            f"{name} found {measured['found']} of {measured['lookups']}; half are there."
        )
    return measured
