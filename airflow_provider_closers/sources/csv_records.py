"""
The records of a CSV file.

One bad line costs one record. What Python's csv module does not do by itself is to go on behind a
quote that is never closed: it takes all that follows for one cell. So the lines that a record is read
from are kept until it is there, and if it turns out bad, only its first line is rejected, and what
follows is read again, beginning with the next line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_closers.choices import did_you_mean
from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.sources.columns import check_names
from airflow_provider_closers.sources.content import opened
from airflow_provider_closers.sources.lines import (
    LONGEST_LINE,
    Block,
    CutLine,
    blocks_of_lines,
    flaw_of,
    readable,
)

_MOST_LINES = 1_000  # Of one record: where there are more, a quote is not closed.

_TOO_MUCH = f"nothing closes it within {_MOST_LINES:,} lines, or {LONGEST_LINE:,} characters"
_BATCH = 250  # Records that are read at a time, as long as nothing is wrong.

_OPTIONS = (
    "delimiter",
    "dialect",
    "doublequote",
    "escapechar",
    "fieldnames",
    "quotechar",
    "quoting",
    "skipinitialspace",
    "strict",
)


class CsvFormat:
    """
    How CSV files are to be read.

    :param options: What ``csv.DictReader`` takes: ``dialect``, ``delimiter``, ``quotechar``,
        ``escapechar``, ``doublequote``, ``skipinitialspace``, ``quoting``, ``strict`` (``True`` unless
        given), and ``fieldnames`` for files without a header.
    :raises ClosersConfigError: One of them is wrong.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        if not isinstance(options, Mapping | None):
            raise ClosersConfigError(
                f"csv_options is of type {type(options).__name__}; it must be a mapping, such as "
                '{"delimiter": ";"}.'
            )
        self._options = {"strict": True, **(options or {})}
        for name in self._options:
            if name not in _OPTIONS:
                raise _unknown(name)
        names = self._options.pop("fieldnames", None)
        self.fieldnames = None if names is None else _checked_fieldnames(names)
        try:
            csv.reader((), **self._options)
        except (TypeError, ValueError, csv.Error) as e:
            given = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
            raise ClosersConfigError(f"csv_options can't be used ({given}): {e}.") from e

    def options_for(self, path: Path) -> dict[str, Any]:
        """Return the options of ``csv.reader``; by its name a file may have tabs for delimiters."""
        has_tabs = path.name.lower().removesuffix(".gz").endswith(".tsv")
        if has_tabs and not self._options.keys() & {"delimiter", "dialect"}:
            return {**self._options, "delimiter": "\t"}
        return self._options


def _unknown(name: Any) -> ClosersConfigError:
    hint = did_you_mean(name, _OPTIONS)
    return ClosersConfigError(f"csv_options has {name!r}; it may have {', '.join(_OPTIONS)}{hint}.")


def _checked_fieldnames(names: Any) -> list[str]:
    is_list = isinstance(names, Iterable) and not isinstance(names, str | Mapping)
    listed = list(names) if is_list else []
    if not listed or not all(isinstance(name, str) for name in listed):
        raise ClosersConfigError("csv_options: 'fieldnames' must be a list of the columns' names.")
    _check_names(listed, "csv_options: 'fieldnames'")
    return listed


def _check_names(names: Sequence[str], whose: str) -> None:
    check_names(filter(str.strip, names), whose, "Nothing was sent.")  # Those without a name are left out.


def csv_records(path: Path, *, encoding: str, csv_format: CsvFormat) -> Iterator[list[Any]]:
    """
    Yield the records of a CSV file, some at a time.

    An empty cell is ``None``: CSV can't tell an empty text from none. Blank lines don't count. A
    column without a name (the header ends with a delimiter) is left out, and must be empty. A record
    of more than 1,000 lines, or of more than 16 Mi characters, is taken for a quote that isn't closed.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    :param encoding: Of the text.
    :param csv_format: How to read it.
    :return: Lists of mappings and :class:`~airflow_provider_closers.push.source.Unreadable`.
    :raises ClosersConfigError: The header can't be read, or has a column twice.
    """
    with opened(path) as content:
        lines = _Lines(blocks_of_lines(content, encoding))
        yield from _Table(lines, path, encoding, csv_format).batches()


class _UnfinishedError(Exception):
    """A record goes on where it must have ended."""


class _Lines:
    """
    A file's lines; those behind the mark can be read again.

    The mark is the number of lines that are done with.
    """

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        # The lines since some point before the mark, or at it.
        self._kept: list[str] = []
        self._start = 0
        self.mark = 0
        #: Whether there may be a line with a flaw among those that are kept.
        self.may_be_flawed = False
        #: Whether the file itself could not be read.
        self.has_failed = False

    def from_mark(self) -> Iterator[str]:
        """
        Yield the lines from the mark on.

        :raises _UnfinishedError: The record behind the mark has no end, or not soon enough.
        """
        return chain.from_iterable(self._lists_from_mark())

    def to(self, end: int) -> list[str]:
        """Return the lines from the mark to the one of this number."""
        return self._kept[self.mark - self._start : end - self._start]

    def _lists_from_mark(self) -> Iterator[list[str]]:
        at = self.mark
        while True:
            # A few at a time, since a bad line may be among the next, and then they are read anew.
            while some := self._kept[at - self._start : at - self._start + _BATCH]:
                at += len(some)
                yield some
            self._forget()
            if _is_too_much(self._kept):
                raise _UnfinishedError(_TOO_MUCH)
            block = self._next_block()
            if block is None:
                break
            self.may_be_flawed = block.may_be_flawed or (self.may_be_flawed and bool(self._kept))
            self._kept = [*self._kept, *block.lines]
        if self._kept:
            raise _UnfinishedError("unexpected end of data")

    def _next_block(self) -> Block | None:
        try:
            return next(self._blocks, None)
        except Exception:
            self.has_failed = True
            raise

    def _forget(self) -> None:
        self._kept = self._kept[self.mark - self._start :]
        self._start = self.mark


def _is_too_much(lines: list[str]) -> bool:
    """Tell whether these are more lines than one record has."""
    return len(lines) > _MOST_LINES or (len(lines) > 1 and sum(map(len, lines)) > LONGEST_LINE)


class _Fault(NamedTuple):
    """Why lines are rejected, and how many of them."""

    reason: str
    lines: int


class _Table:
    """The rows of a file, and the names of their columns."""

    def __init__(self, lines: _Lines, path: Path, encoding: str, csv_format: CsvFormat) -> None:
        self._lines = lines
        self._path = path
        self._encoding = encoding
        self._options = csv_format.options_for(path)
        self._names_are_given = csv_format.fieldnames is not None
        names = csv_format.fieldnames or self._header()
        self._width = len(names)
        self._names = [name for name in names if name.strip()]
        # From the last one on, so that they can be deleted one by one.
        self._unnamed = [column for column in reversed(range(len(names))) if not names[column].strip()]
        self._is_at_end = not names  # In an empty file.

    def _header(self) -> list[str]:
        """Return the names in the first line that is not blank, none where there is none."""
        lines = self._lines
        reader = csv.reader(lines.from_mark(), **self._options)
        try:
            for names in reader:
                for line in lines.to(reader.line_num):
                    if flaw := flaw_of(line, self._encoding):
                        raise self._bad_header(f"it {flaw}")
                lines.mark = reader.line_num
                if names:
                    return self._checked_header([str(name) for name in names])
        except (csv.Error, ValueError, _UnfinishedError) as e:
            if lines.has_failed or isinstance(e, ClosersConfigError):
                raise
            raise self._bad_header(_message(e)) from e
        return []

    def _checked_header(self, names: list[str]) -> list[str]:
        if any("@" in name for name in names):
            raise ClosersConfigError(
                f"The first line of {str(self._path)!r} holds an '@', so it is a record, and no header; "
                "name the columns: csv_options={'fieldnames': [...]}. Nothing of this file was sent."
            )
        _check_names(names, f"The header of {str(self._path)!r}")
        return names

    def _bad_header(self, why: str) -> ClosersConfigError:
        return ClosersConfigError(
            f"The header of {str(self._path)!r} can't be read: {why}. Nothing of this file was sent."
        )

    def batches(self) -> Iterator[list[Any]]:
        """Yield what is behind the header, some of it at a time."""
        while not self._is_at_end:
            yield from self._smooth_batches()
            # As many lines as there may be in a batch that is not smooth.
            until = self._lines.mark + _BATCH
            while self._lines.mark < until and not self._is_at_end:
                yield from self._one_by_one(until)

    def _smooth_batches(self) -> Iterator[list[Any]]:
        """Yield batches of records, up to the first with something in it that has to be looked at."""
        lines = self._lines
        before = lines.mark
        reader = csv.reader(lines.from_mark(), **self._options)
        while not self._is_at_end:
            try:
                rows = list(islice(reader, _BATCH))
            except (csv.Error, ValueError, _UnfinishedError):
                if lines.has_failed:
                    raise
                return
            end = before + reader.line_num
            if not self._are_smooth(rows, end):
                return
            lines.mark = end
            self._is_at_end = not rows
            yield self._records(rows)

    def _are_smooth(self, rows: list[list[Any]], end: int) -> bool:
        """Tell whether :meth:`_fault_in` finds nothing in any of some rows, without asking it of each."""
        return (
            not self._lines.may_be_flawed
            and {self._width}.issuperset(map(len, rows))
            and not any(row[column] != "" for column in self._unnamed for row in rows)
            and (end - self._lines.mark == len(rows) or not _is_too_much(self._lines.to(end)))
        )

    def _one_by_one(self, until: int) -> Iterator[list[Any]]:
        """Yield records, and what is none, up to this line, or to where one has to be read again."""
        lines = self._lines
        before = lines.mark
        reader = csv.reader(lines.from_mark(), **self._options)
        try:
            for row in reader:
                end = before + reader.line_num
                if fault := self._fault_in(row, end):
                    yield [self._rejected(fault)]
                else:
                    lines.mark = end
                    if row:
                        yield self._records([row])
                if not end == lines.mark < until:
                    return
        except (csv.Error, ValueError, _UnfinishedError) as e:
            if lines.has_failed:
                raise
            yield [self._rejected(self._fault(e, before + reader.line_num))]
        else:
            self._is_at_end = True

    def _records(self, rows: list[list[Any]]) -> list[Any]:
        names = self._names
        for column in self._unnamed:
            for row in rows:
                del row[column]
        return [
            dict(zip(names, [None if cell == "" else cell for cell in row] if "" in row else row))  # noqa: B905 - as many
            for row in rows
        ]

    def _rejected(self, fault: _Fault) -> Unreadable:
        lines = self._lines.to(self._lines.mark + fault.lines)
        self._lines.mark += fault.lines
        return Unreadable(readable(lines[0] if len(lines) == 1 else "".join(lines)), fault.reason)

    def _fault_in(self, row: list[Any], end: int) -> _Fault | None:
        """Return what is wrong with a row, ``None`` if nothing."""
        lines = self._lines.to(end)
        if _is_too_much(lines):
            return self._unclosed(_TOO_MUCH)
        if self._lines.may_be_flawed and (fault := self._flaw_in(lines)):
            return fault
        if not row:
            return None  # A blank line.
        if len(row) != self._width:
            first = self._number
            where = f"line {first}" if len(lines) == 1 else f"the record in lines {first} to {end}"
            whose = "fieldnames" if self._names_are_given else "its header"
            return _Fault(f"{where} of {self._path.name} has {len(row)} cells, {whose} has {self._width}", 1)
        for column in self._unnamed:
            if row[column] != "":
                what = f"has a value in column {column + 1}, which has no name"
                return _Fault(f"line {self._number} of {self._path.name} {what}", len(lines))
        return None

    def _flaw_in(self, lines: list[str]) -> _Fault | None:
        for number, line in enumerate(lines, self._number):
            if flaw := flaw_of(line, self._encoding):
                if isinstance(line, CutLine) and len(lines) > 1:
                    return self._unclosed(f"line {number} is too long")
                return _Fault(f"line {number} of {self._path.name} {flaw}", len(lines))
        return None

    def _fault(self, error: Exception, end: int) -> _Fault:
        """Return why there is no record in the lines from the mark on."""
        if end - self._lines.mark > 1 or isinstance(error, _UnfinishedError):
            where = "" if _TOO_MUCH in error.args else f"line {end}: "
            return self._unclosed(f"{where}{_message(error)}")
        return _Fault(f"line {self._number} of {self._path.name}: {_message(error)}", 1)

    def _unclosed(self, why: str) -> _Fault:
        reason = f"line {self._number} of {self._path.name}: a quote is not closed in order"
        return _Fault(f"{reason} ({why})", 1)

    @property
    def _number(self) -> int:
        """The number of the line behind the mark."""
        return self._lines.mark + 1


def _message(error: Exception) -> str:
    """Say what the csv module complains about; nothing of what is in the file."""
    if isinstance(error, _UnfinishedError):
        return str(error)
    if not isinstance(error, csv.Error):
        return "a cell without quotes is not a number"
    if str(error).startswith("field larger"):
        return f"a cell has more characters than csv.field_size_limit() allows, {csv.field_size_limit():,}"
    return str(error)
