"""Where a push stands, so that a later try can go on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

Record = tuple[int, Any]


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
        except ValueError:
            return None
        return state if isinstance(state, dict) else None

    def save(self, state: dict[str, Any]) -> None:
        """Write the state; an empty one removes the file."""
        if state:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(state))
        elif self._path.exists():
            self._path.unlink()


class InputChangedError(Exception):
    """The input is not the one that the checkpoint was made on."""


class Ledger:
    """Which records were read and which of them are still open, with a fingerprint of the input."""

    def __init__(self) -> None:
        self._read = 0
        self._open: set[int] = set()
        self._digest = hashlib.blake2b(digest_size=16)

    def read(self, index: int, record: Any) -> None:
        """Note a record as read and open; one that :meth:`resume` returned is noted already."""
        if index < self._read:
            return
        self._digest.update(repr(record).encode("utf-8", "backslashreplace"))
        self._read = index + 1
        self._open.add(index)

    def settle(self, index: int) -> None:
        """Note a record as settled for good."""
        self._open.discard(index)

    def state(self) -> dict[str, Any]:
        """Return what a later try needs. It is as small as the window of open records."""
        return {"read": self._read, "open": sorted(self._open), "fingerprint": self._digest.hexdigest()}

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
