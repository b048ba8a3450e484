"""Files of lines that grow, on whatever storage their path leads to."""

from __future__ import annotations

from pathlib import Path
from typing import IO


def open_to_append(path: Path) -> IO[bytes]:
    """
    Open a file at the end of its last line; an absent one is created, with its folder.

    Object stores don't append: there the file is written anew, what it held first, and changes when
    it is closed. (Asked to append, some do the same; Google's drops what was there.)

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if getattr(path, "protocol", "") in ("", "file", "local"):
        file: IO[bytes] = path.open("ab+")
        if file.seek(0, 2):
            file.seek(-1, 2)
            _end_line(file, file.read(1))
        return file
    earlier = b""
    if path.exists():
        with path.open("rb") as existing:
            earlier = existing.read()
    file = path.open("wb")
    file.write(earlier)
    _end_line(file, earlier[-1:])
    return file


def _end_line(file: IO[bytes], last: bytes) -> None:
    """Complete a last line that an editor, or a crash, left without its end."""
    if last not in (b"", b"\n"):
        file.write(b"\n")
