"""Where a push stands, so that a later try can go on from there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_closers.push.report import Outcome

Record = tuple[int, Any]

# Goes up when an older state can't be read any more.
_VERSION = 1

_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_OTHER_COUNTS = {"withheld_flags", "requests", "retries", "seconds"}

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
    A checkpoint in a file.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

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
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(state))
        elif self._path.exists():
            self._path.unlink()


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
        settled = sum(counts.get(outcome, 0) for outcome in _OUTCOMES)
        return (
            counts.keys() - _OUTCOMES == _OTHER_COUNTS
            and min(counts.values()) >= 0
            and settled == read - len(still_open)
            and all(0 <= index < read for index in still_open)
            and all(reject.keys() == {"index", "email", "reason"} for reject in state["rejects"])
            and isinstance(state["fingerprint"], str)
        )
    except (KeyError, TypeError, AttributeError):
        return False


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
        self._digest.update(_print_of(record).encode("utf-8", "backslashreplace") + b"\n")
        self._read = index + 1
        self._open.add(index)

    def settle(self, index: int) -> None:
        """Note a record as settled for good."""
        self._open.discard(index)

    def state(self) -> dict[str, Any]:
        """Return what a later try needs. It is as small as the window of open records."""
        return {
            "version": _VERSION,
            "read": self._read,
            "open": sorted(self._open),
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
        text = repr(dict(record) if isinstance(record, Mapping) else record)
    except Exception:  # noqa: BLE001 - a stranger's object: it becomes a reject when its turn comes
        return type(record).__qualname__
    return _PLACE_IN_MEMORY.sub("", text)
