"""Processes that use one suppression list at once, for tests to start and to kill."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from object_store import StoredPath

from airflow_provider_closers.suppression import SuppressionList
from airflow_provider_closers.suppression.files import list_file

SECRET = "not a real one"
#: Addresses in one append: several pages of a disk's cache.
BATCH = 150


def list_path(folder: str, storage: str) -> Any:
    """Return where the list is."""
    path = Path(folder, "list.txt")
    return StoredPath(path) if storage == "store" else path


def batch(name: str, number: int) -> list[str]:
    """Return the addresses of one append."""
    return [f"{name}.{number}.{i}@acme.io" for i in range(BATCH)]


def read_list(folder: str, storage: str) -> SuppressionList:
    return SuppressionList.from_file(list_path(folder, storage), secret=SECRET, create=True)


def append_batches(folder: str, storage: str, name: str, batches: int) -> None:
    """Append so many batches; note each in a file once it is on the list."""
    listed = read_list(folder, storage)
    done = os.open(Path(folder, f"{name}.done"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(batches):
        listed.add(batch(name, number))
        os.write(done, b"%d\n" % number)


def merge_until(folder: str, storage: str, end: Any) -> None:
    """Merge the list's parts again and again."""
    while not end.is_set():
        list_file(list_path(folder, storage)).merge_parts()


def read_until(folder: str, storage: str, end: Any, missed: Any) -> None:
    """Read the list again and again; count the addresses that were on it before, and were not found."""
    while not end.is_set():
        there = confirmed(folder)
        listed = read_list(folder, storage)
        missed.value += sum(address not in listed for address in there)


def confirmed(folder: str) -> list[str]:
    """Return the addresses of all appends that ended."""
    return [
        address
        for file in Path(folder).glob("*.done")
        for number in file.read_text().split()
        for address in batch(file.stem, int(number))
    ]
