"""The rejects' file: JSON Lines, to be mended and pushed again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.prospect import is_missing, unbox
from airflow_provider_closers.push.report import Reject
from airflow_provider_closers.storage import open_to_append


class RejectsFile:
    """
    Writes each reject as a line of its own, at once, so that a crash leaves a readable file.

    A line holds ``index``, ``reason``, ``attempts``, ``status`` and ``record``, the record as it
    was given (what is missing as ``null``, what JSON can't hold as text). The file appears with the
    first reject; one that an earlier try left is removed. On object storage it appears when it is
    closed: nothing is there before that, and nothing after a process that was killed.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    :param keep: Whether to go on with the file of an earlier try instead.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        self._path = path
        self._keep = keep
        self._file: IO[bytes] | None = None

    def __enter__(self) -> RejectsFile:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._keep:
                self.start_over()
        except (OSError, ValueError) as e:  # Airflow 2 finds out only here that it knows no such storage
            raise ClosersConfigError(
                f"rejects_path {self.path!r} can't be written ({type(e).__name__}); nothing was sent."
            ) from e
        return self

    def start_over(self) -> None:
        """Drop what is there; the push begins anew."""
        self._keep = False
        if self._path.exists():
            self._path.unlink()

    def __call__(self, reject: Reject) -> None:
        """Append a reject."""
        if self._file is None:
            self._file = self._open()
        line = {
            "index": reject.index,
            "reason": reject.reason,
            "attempts": reject.attempts,
            "status": reject.status,
        }
        try:
            text = json.dumps(line | {"record": _writable(reject.record)}, ensure_ascii=False)
        except Exception:  # noqa: BLE001 - a stranger's object: it must not hold up the others here either
            text = json.dumps(line | {"record": f"a {type(reject.record).__name__} that can't be written"})
        # Half a surrogate pair, which UTF-8 can't hold, becomes JSON's own escape for it.
        self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")
        self._file.flush()

    def _open(self) -> IO[bytes]:
        if self._keep:
            return open_to_append(self._path)
        return self._path.open("wb")

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


def _writable(boxed: Any) -> Any:
    """Turn anything into what JSON holds, so that the line can be pushed again once it is mended."""
    value = unbox(boxed)
    if is_missing(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_writable(item) for item in value]
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
