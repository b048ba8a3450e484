"""
What is in a file, unzipped.

Whether it is gzipped is told by its first two bytes: a store may unzip on the way what its name still
calls ``.gz``.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_GZIP = b"\x1f\x8b"
_BUFFER = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file to be read from its beginning to its end."""
    with path.open("rb") as file, io.BufferedReader(_Raw(file), _BUFFER) as content:
        if content.peek(2)[:2] != _GZIP:
            yield content
            return
        with gzip.GzipFile(fileobj=content) as unzipped:
            yield unzipped


@contextmanager
def opened_to_seek(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to be read here and there; a gzipped one is unzipped to a temporary file without a name."""
    with path.open("rb") as file:
        is_gzipped = file.read(2) == _GZIP
        file.seek(0)
        if not is_gzipped:
            yield file
            return
        with tempfile.TemporaryFile() as unzipped:
            with gzip.GzipFile(fileobj=file) as content:
                shutil.copyfileobj(content, unzipped, _BUFFER)
            unzipped.seek(0)
            yield unzipped


class _Raw(io.RawIOBase):
    """What Airflow opens, as a file of Python's; it has no more than its methods."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
