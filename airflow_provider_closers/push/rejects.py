"""The rejects' file: JSON Lines, to be mended and pushed again."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from airflow_provider_closers.errors import ClosersConfigError, FileUnavailableError
from airflow_provider_closers.prospect import is_missing, unbox
from airflow_provider_closers.push.report import Reject
from airflow_provider_closers.storage import growing_file

log = logging.getLogger(__name__)


@runtime_checkable
class RejectSink(Protocol):
    """Keeps a push's rejects, so that a push that is killed and run again has each of them once."""

    def __call__(self, reject: Reject, /) -> None:
        """Take a reject."""

    def flush(self) -> None:
        """Return when what was taken so far outlives the process; cheap where nothing is new."""

    def resume(self, is_settled: Callable[[int], bool], /) -> None:
        """
        Go on with the rejects of an earlier try, before the first of this one.

        :param is_settled: Tells by its index whether a record is settled. The reject of one that is
            not comes again, so the one of the earlier try is to be dropped.
        """

    def start_over(self) -> None:
        """Drop the rejects of an earlier try, or of an earlier push; this one begins."""


class _PlainSink:
    """What a function that takes rejects amounts to: they are its own to keep."""

    def __init__(self, on_reject: Callable[[Reject], None] | None) -> None:
        self._on_reject = on_reject

    def __call__(self, reject: Reject, /) -> None:
        if self._on_reject is not None:
            self._on_reject(reject)

    def flush(self) -> None:
        pass

    def resume(self, is_settled: Callable[[int], bool], /) -> None:
        pass

    def start_over(self) -> None:
        pass


def as_sink(on_reject: Callable[[Reject], None] | None) -> RejectSink:
    """Return a handler of rejects with whatever a :class:`RejectSink` has, itself where it has it."""
    return on_reject if isinstance(on_reject, RejectSink) else _PlainSink(on_reject)


class RejectsFile:
    """
    A :class:`RejectSink` that writes each reject as a line of its own.

    A line holds ``index``, ``reason``, ``attempts``, ``status`` and ``record``, the record as it
    was given (what is missing as ``null``, what JSON can't hold as text). The file appears with the
    first reject; one that an earlier push left is removed when this one has begun. A line is in the
    file at once; on object storage, where files don't grow, with the next :meth:`flush` or when the
    file is closed.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    :param keep: Whether to go on with the file of an earlier try instead.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        self._path = path
        self._lines = growing_file(path)
        # Whether what is in the file belongs to this push.
        self._is_ours = keep

    def __enter__(self) -> RejectsFile:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.exists()
        except (OSError, ValueError) as e:  # Airflow 2 finds out only here that it knows no such storage
            kind = FileUnavailableError if isinstance(e, OSError) else ClosersConfigError
            raise kind(
                f"rejects_path {self.path!r} can't be written ({type(e).__name__}); nothing was sent."
            ) from e
        return self

    def __call__(self, reject: Reject, /) -> None:
        """Append a reject."""
        if not self._is_ours:
            self.start_over()
        self._lines.append(_line_of(reject))

    def flush(self) -> None:
        """
        Return when all rejects so far outlive the process; does nothing where there is no new one.

        :raises OSError: Or what else the storage raises. The rejects are kept for the next time.
        """
        self._lines.flush()

    def resume(self, is_settled: Callable[[int], bool], /) -> None:
        """
        Drop from the file of an earlier try what comes again, and the line that a crash cut short.

        What is no line of ours stays: the file is the user's to edit.

        :param is_settled: Tells by its index whether a record is settled; the others come again.
        """
        if not self._is_ours:
            return self.start_over()
        return self._lines.keep(lambda line: _stays(line, is_settled))

    def start_over(self) -> None:
        """Drop what is there; the push begins anew."""
        self._lines.remove()
        self._is_ours = True

    @property
    def path(self) -> str:
        """Where the file is."""
        return str(self._path)

    @property
    def is_written(self) -> bool:
        """Whether there is a file, with a reject in it."""
        return self._is_ours and self._lines.holds_lines()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._lines.close()
        except Exception:
            if error is None:
                raise
            # What ended the push tells more. The records of these rejects are open in the checkpoint.
            log.warning("The last rejects can't be written to %s.", self.path, exc_info=True)


def _line_of(reject: Reject) -> bytes:
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
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _stays(line: bytes, is_settled: Callable[[int], bool]) -> bool:
    """Tell whether a line of an earlier try stays in the file."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line.endswith(b"\n")  # Without its end, it is what a crash left of a line.
    if isinstance(entry, dict) and "record" in entry and type(entry.get("index")) is int:
        return is_settled(entry["index"])
    return True


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
