"""From somebody else's file of addresses to a suppression list."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.sources.files import FileRecords, format_by_name
from airflow_provider_closers.suppression.entry import LIKE_A_COMMENT, is_address
from airflow_provider_closers.suppression.listing import SuppressionList

#: Addresses that are appended at once.
_BATCH = 100_000


class Imported(NamedTuple):
    """
    What an import came to.

    :param addresses: Addresses that were read.
    :param added: Those that were not on the list yet, each once.
    :param faults: Records that hold no address.
    """

    addresses: int
    added: int
    faults: int


def import_addresses(
    source: Path, listed: SuppressionList, *, column: str = "email", on_fault: Callable[[str], Any]
) -> Imported:
    """
    Put the addresses in a file on a suppression list, as keyed hashes; who is on it is not added again.

    A record without an address doesn't hold up the others, and an empty field is none. The list is there
    afterwards, even if it was absent and the file is empty.

    :param source: Files of CSV, JSON Lines or Parquet, as their names say, or else of one address a
        line; see :class:`~airflow_provider_closers.sources.files.FileRecords`.
    :param listed: A list in a file.
    :param column: Where the addresses are; its case doesn't matter.
    :param on_fault: Is told of each record without an address, in words that don't repeat what it holds.
    :raises ClosersConfigError: There is no such column or file, or the list can't grow.
    """
    before, count, faults = listed.count(), 0, 0

    def note(fault: str) -> None:
        nonlocal faults
        faults += 1
        on_fault(fault)

    addresses = _addresses_in(source, column, note)
    while batch := list(islice(addresses, _BATCH)):
        listed.add(batch)
        count += len(batch)
    listed.begin()
    return Imported(count, listed.count() - before, faults)


def _addresses_in(source: Path, column: str, on_fault: Callable[[str], Any]) -> Iterator[str]:
    for number, value in enumerate(_values_in(source, column), 1):
        if isinstance(value, Unreadable):
            on_fault(value.reason)
        elif value is None or not (text := str(value).strip()):
            continue
        elif is_address(text):
            yield text
        else:
            on_fault(f"record {number} holds no address")


def _values_in(source: Path, column: str) -> Iterator[Any]:
    if format_by_name(source) is None:
        # One address a line is CSV of one column, without a header and without quotes.
        options = {"fieldnames": [column], "quoting": csv.QUOTE_NONE}
        records = FileRecords(source, file_format="csv", csv_options=options)
        for number, record in enumerate(records, 1):
            yield record if isinstance(record, Unreadable) else _value_of_line(number, record[column])
        return
    for record in FileRecords(source):
        yield _value_of(record, column)


def _value_of_line(number: int, line: str | None) -> Any:
    if line is None or not (entry := line.strip()).startswith("#"):
        return line
    return Unreadable(line, f"record {number}: {LIKE_A_COMMENT}") if is_address(entry) else None


def _value_of(record: Any, column: str) -> Any:
    if isinstance(record, Unreadable | str):
        return record
    if column in record:
        return record[column]
    for name in record:
        if str(name).casefold() == column.casefold():
            return record[name]
    raise ClosersConfigError(f"There is no column {column!r}; {_names(record)}. Nothing more was imported.")


def _names(record: Mapping[Any, Any]) -> str:
    if any("@" in str(name) for name in record):  # They are somebody's.
        return "where the columns' names should be there is an address"
    return f"there are {', '.join(map(repr, record))}"
