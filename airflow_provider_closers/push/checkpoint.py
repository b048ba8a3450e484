"""Where a push stands, so that a later try can go on from there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, get_args

from airflow_provider_closers.push.history import MOST_MOMENTS, Moment
from airflow_provider_closers.push.report import Outcome
from airflow_provider_closers.storage import whole_file

Record = tuple[int, Any]

# Goes up when an older state can't be read any more.
_VERSION = 3

_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_OTHER_COUNTS = {"withheld_flags", "requests", "retries", "throttled", "may_pass", "seconds"}

_FIGURES_OF_A_MOMENT = len(get_args(Moment))

# Their order depends on their members' hashes, and those of text on the process.
_SETS = (set, frozenset)
_LISTS = (list, tuple)
_SCALARS = frozenset({str, int, float, bool, type(None)})

# What a default repr says of where the object lies in memory, which is elsewhere in the next try.
_PLACE_IN_MEMORY = re.compile(r" at 0x[0-9a-fA-F]+")


class Checkpoint(Protocol):
    """Keeps a small JSON object between two tries of one push."""

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last; ``None`` or empty where there is nothing to go on from."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep this in place of what was saved before; empty: the push came to its end."""


class FileCheckpoint:
    """
    A checkpoint in a file, which holds one whole state or the next, whenever the process is killed.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = whole_file(path)

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last; ``None`` where the file is absent or was cut short."""
        if not self._path.exists():
            return None
        try:
            state = json.loads(self._path.read_text())
        except (ValueError, RecursionError):
            return None
        return state if isinstance(state, dict) else None

    def save(self, state: dict[str, Any]) -> None:
        """Write the state; an empty one removes the file."""
        if state:
            self._file.write(json.dumps(state).encode())
        else:
            self._file.remove()


def is_usable(state: Any, operation: str) -> bool:
    """
    Tell whether a push can go on from what a checkpoint holds.

    Anything may lie there: the state of another operation, of a later version, or of a program that
    took the same path. The counts must be those of the records that are settled, so that they add up
    in the end.
    """
    if not isinstance(state, dict) or (state.get("version"), state.get("operation")) != (_VERSION, operation):
        return False
    try:
        counts, read, still_open = state["counts"], state["read"], set(state["open"])
        announced, doubtful = state["announced"], state.get("doubtful")
        settled = sum(counts.get(outcome, 0) for outcome in _OUTCOMES)
        return (
            counts.keys() - _OUTCOMES == _OTHER_COUNTS
            and all(map(_is_count, counts.values()))
            and settled == read - len(still_open)
            and all(0 <= index < read for index in still_open)
            and type(announced) is int
            and announced >= read
            and (doubtful is None or all(type(index) is int for index in doubtful))
            and all(reject.keys() == {"index", "email", "reason"} for reject in state["rejects"])
            and all(map(_is_count, state["reasons"].values()))
            and len(state["pace"]) <= MOST_MOMENTS
            and all(len(moment) == _FIGURES_OF_A_MOMENT for moment in state["pace"])
            and all(_is_count(figure) for moment in state["pace"] for figure in moment)
            and isinstance(state["fingerprint"], str)
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _is_count(figure: Any) -> bool:
    """Tell whether a figure can be counted on with: JSON has also words, and NaN."""
    return isinstance(figure, int | float) and 0 <= figure < float("inf")


class InputChangedError(Exception):
    """The input is not the one that the checkpoint was made on."""


class Ledger:
    """
    Which records were read and which of them are still open, with a fingerprint of the input.

    :param purpose: What is done with the input, and where; part of the fingerprint, since what is
        settled for one account, or by one set of rules, is not for another.
    """

    def __init__(self, purpose: str = "") -> None:
        self._read = 0
        self._open: set[int] = set()
        self._digest = hashlib.blake2b(purpose.encode(), digest_size=16)

    def read(self, index: int, record: Any) -> None:
        """Note a record as read and open; one that :meth:`resume` returned is noted already."""
        if index < self._read:
            return
        text = _print_of(record)
        # With its length, so that no two records read like two others.
        self._digest.update(f"{len(text)} {text}".encode("utf-8", "backslashreplace"))
        self._read = index + 1
        self._open.add(index)

    def settle(self, index: int) -> None:
        """Note a record as settled for good."""
        self._open.discard(index)

    @property
    def position(self) -> int:
        """How many records were read."""
        return self._read

    @property
    def still_open(self) -> list[int]:
        """Which records were read and are not settled, in their order."""
        return sorted(self._open)

    def state(self, announced: int | None = None) -> dict[str, Any]:
        """
        Return what a later try needs. It is as small as the window of open records.

        :param announced: No record from this index on is sent before a newer state is saved; what
            was read, where it is not given.
        """
        return {
            "version": _VERSION,
            "read": self._read,
            "open": self.still_open,
            "announced": self._read if announced is None else announced,
            "fingerprint": self._digest.hexdigest(),
        }

    def resume(self, records: Iterator[Record], state: dict[str, Any]) -> list[Record]:
        """
        Read the input up to where the earlier try had read it.

        :param records: The input from its start, numbered; read on by this.
        :param state: What :meth:`state` returned then.
        :return: The records that were still open.
        :raises InputChangedError: The input differs from what was read then.
        """
        still_open, left = set(state["open"]), []
        while self._read < state["read"]:
            numbered_record = next(records, None)
            if numbered_record is None:
                raise InputChangedError
            index, record = numbered_record
            self.read(index, record)
            if index in still_open:
                left.append((index, record))
            else:
                self.settle(index)
        if self._digest.hexdigest() != state["fingerprint"]:
            raise InputChangedError
        return left


def _print_of(record: Any) -> str:
    """Return text that is the same for the same record in another process, and tells it from others."""
    try:
        # A mapping of a stranger's class need not show what is in it.
        plain = dict(record) if type(record) is not dict and isinstance(record, Mapping) else record
        text = repr(plain)
    except Exception:  # noqa: BLE001 - a stranger's object: it becomes a reject when its turn comes
        return type(record).__qualname__
    # Looked for in the text first, since each record passes here and hardly one has them.
    if text.find("{", 1) > 0 or isinstance(record, _SETS):
        text = _with_sets_in_order(plain, text)
    if " at 0x" in text:
        text = _PLACE_IN_MEMORY.sub("", text)
    return text


def _with_sets_in_order(value: Any, text: str) -> str:
    """Return the text of a value whose sets, if it holds any, have the same order in each process."""
    try:
        return _ordered(value) if _holds_a_set(value) else text
    except Exception:  # noqa: BLE001 - it holds itself, or is too deep
        return text


def _holds_a_set(value: Any) -> bool:
    if isinstance(value, _SETS):
        return True
    if isinstance(value, dict):
        members: Iterable[Any] = chain(value, value.values())
    elif isinstance(value, _LISTS):
        members = value
    else:
        return False
    return any(_holds_a_set(member) for member in members if type(member) not in _SCALARS)


def _ordered(value: Any) -> str:
    if isinstance(value, dict):
        items = [f"{_ordered(key)}: {_ordered(item)}" for key, item in value.items()]
    elif isinstance(value, _SETS):
        items = sorted(map(_ordered, value))
    elif isinstance(value, _LISTS):
        items = [*map(_ordered, value)]
    else:
        return repr(value)
    return f"{type(value).__qualname__}({', '.join(items)})"
