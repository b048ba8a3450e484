"""The records of a JSON Lines file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.sources.content import opened
from airflow_provider_closers.sources.lines import Block, CutLine, blocks_of_lines, flaw_of, readable

# What a line of a rejects' file holds, and nobody else's does.
_REJECT = {"index", "reason", "attempts", "status", "record"}
_SPACE = " \t\r\n"

_decode = json.JSONDecoder().raw_decode


def json_line_records(path: Path, *, encoding: str) -> Iterator[list[Any]]:
    """
    Yield the records of a JSON Lines file, some at a time: one object a line; blank lines don't count.

    A string is yielded too, since an email stands for a record to delete. A line of a rejects' file
    is the record that was rejected, so that such a file can be pushed as it is once it is mended. (Where that
    is still the text of a line that could not be read, it is rejected again.)

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    :param encoding: Of the text.
    :return: Lists of mappings, strings and :class:`~airflow_provider_closers.push.source.Unreadable`.
    """
    done = 0
    with opened(path) as content:
        for block in blocks_of_lines(content, encoding):
            yield list(_records(block, path, done, encoding))
            done += len(block.lines)


def _records(block: Block, path: Path, done: int, encoding: str) -> Iterator[Any]:
    for number, line in enumerate(block.lines, done + 1):
        if block.may_be_flawed and (flaw := flaw_of(line, encoding)):
            yield _unreadable(path, number, line, _flaw(line, flaw))
        elif text := line.strip(_SPACE):
            try:
                value, end = _decode(text)
            except (ValueError, RecursionError):
                end = -1
            if end != len(text):
                yield _unreadable(path, number, line, _fault(line))
            elif isinstance(value, dict):
                yield _unwrapped(value, path, number, line) if value.keys() == _REJECT else value
            elif isinstance(value, str):
                yield value
            else:
                yield _unreadable(path, number, line, _other_value(value))


def _unwrapped(reject: dict[str, Any], path: Path, number: int, line: str) -> Any:
    """Return a reject's record. A text that was never sent is no email: it is what could not be read."""
    record = reject["record"]
    if isinstance(record, str) and not reject["attempts"]:
        return _unreadable(path, number, line, _NOT_MENDED)
    return record


_NOT_MENDED = 'has a text for its record, of what could not be read; make it an object: {"email": ...}'


def _unreadable(path: Path, number: int, line: str, fault: str) -> Unreadable:
    return Unreadable(readable(line), f"line {number} of {path.name} {fault}")


def _flaw(line: str, flaw: str) -> str:
    is_array = isinstance(line, CutLine) and line.beginning.lstrip(_SPACE).startswith("[")
    return _IS_ARRAY if is_array else flaw


_IS_ARRAY = "is of a JSON array; JSON Lines is wanted, one object a line"


def _fault(line: str) -> str:
    """Say what is wrong with a line that is not JSON, and where, with nothing of what is in it."""
    if line.strip(_SPACE) in ("[", "]"):
        return _IS_ARRAY
    try:
        json.loads(line.rstrip(_SPACE))
    except json.JSONDecodeError as e:
        return f"is not JSON: {e.msg} (column {e.colno})"
    except RecursionError:
        return "is nested too deep"
    except ValueError:
        return "holds a number that is too long"
    return "is not JSON"  # pragma: no cover - it is not, or it would not have come here


def _other_value(value: Any) -> str:
    if isinstance(value, list):
        return _IS_ARRAY
    return f"is JSON's {_JSON_NAMES.get(type(value), 'number')}; it must be an object"


_JSON_NAMES = {bool: "true or false", type(None): "null"}
