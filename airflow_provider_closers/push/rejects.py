"""The rejects' file: JSON Lines, to be mended and pushed again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from airflow_provider_closers.push.report import Reject


class RejectsFile:
    """
    Writes each reject as a line of its own, at once, so that a crash leaves a readable file.

    A line holds ``index``, ``reason``, ``attempts``, ``status`` and ``record``, the record as it
    was given (what JSON can't hold is written as text). The file appears with the first reject;
    one that an earlier try left is removed.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    :param keep: Whether to go on with the file of an earlier try instead.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        self._path = path
        self._keep = keep
        self._file: IO[str] | None = None

    def __enter__(self) -> RejectsFile:
        if not self._keep and self._path.exists():
            self._path.unlink()
        return self

    def __call__(self, reject: Reject) -> None:
        """Append a reject."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a" if self._keep else "w", encoding="utf-8")
        line = {
            "index": reject.index,
            "reason": reject.reason,
            "attempts": reject.attempts,
            "status": reject.status,
            "record": _writable(reject.record),
        }
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    @property
    def path(self) -> str:
        """Where the file is."""
        return str(self._path)

    @property
    def is_written(self) -> bool:
        """Whether there is a file, with a reject in it."""
        return self._file is not None or (self._keep and self._path.exists())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _writable(value: Any) -> Any:
    """Turn anything into what JSON holds; NaN becomes null, the rest its text."""
    if isinstance(value, Mapping):
        return {str(key): _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_writable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
