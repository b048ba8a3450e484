"""
Files that outlive the process that writes them, on whatever storage their path leads to.

Whatever moment the process is killed at, a file is as it was before the last change or as after it.
Nothing here waits for the disk (``fsync``): the promise holds for a process that is killed, not for
a machine that loses its power.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

#: Bytes that are copied at once.
_CHUNK = 1 << 20
#: Without a byte written for so long, what was to take a file's place is that of a killed process.
_SECONDS_UNTIL_ABANDONED = 10.0


def local_path(path: Path) -> Path | None:
    """
    Return where on this machine a path leads, ``None`` for one into an object store.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    """
    if getattr(path, "protocol", "") not in ("", "file", "local"):
        return None
    return Path(getattr(path, "path", path))


def open_to_append(path: Path) -> IO[bytes]:
    """
    Open a file at the end of its last line; an absent one is created, with its folder.

    Object stores don't append: there the file is written anew, what it held first, and changes when
    it is closed. (Asked to append, some do the same; Google's drops what was there.)

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if local := local_path(path):
        file: IO[bytes] = local.open("ab+")
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
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


# -- files that change as a whole


class WholeFile(Protocol):
    """A file that changes as a whole: who reads it finds one content or the next, never half of one."""

    def write(self, content: bytes) -> None:
        """Put this in place of what the file held; an absent file is created, with its folder."""

    def write_from(self, file: IO[bytes]) -> None:
        """Put a file's whole content in place of what this one held, without reading it at once."""

    def remove(self) -> None:
        """Remove the file, if there is one."""


def whole_file(path: Path) -> WholeFile:
    """
    Return the file at a path, to be written as a whole.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    """
    local = local_path(path)
    return _WholeObject(path) if local is None else _WholeLocalFile(local)


class _WholeObject:
    """An object, which a store changes as a whole by itself, if it gets it in one piece."""

    def __init__(self, path: Any) -> None:
        self._path = path

    def write(self, content: bytes) -> None:
        # Not through an open file: Azure's removes the object first, and all of them put half an
        # object into its place when they are closed by an exception.
        try:
            self._path.fs.pipe_file(self._path.path, content)
        except FileNotFoundError:  # What is no object store, such as SFTP, has folders.
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.fs.pipe_file(self._path.path, content)

    def write_from(self, file: IO[bytes]) -> None:
        try:
            _upload(file, self._path)
        except FileNotFoundError:  # as above
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _upload(file, self._path)

    def remove(self) -> None:
        _remove_object(self._path)


def _upload(file: IO[bytes], path: Any) -> None:
    file.seek(0)  # So that what is buffered is in the file; and where /dev/fd shares the position.
    # By a name that the file has in this process alone. (Not through an open file: see _WholeObject.)
    path.fs.put_file(f"/dev/fd/{file.fileno()}", path.path)


def _remove_object(path: Any) -> None:
    with suppress(FileNotFoundError):
        if path.exists():
            path.unlink()


class _WholeLocalFile:
    """
    A file on this machine; its next content is written beside it and takes its place.

    What a killed process left beside it is removed by one that writes or removes the file some seconds later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Where the next content is written; unknown before the first time.
        self._part: Path | None = None
        self._target = path
        self._mode = 0o666

    def write(self, content: bytes) -> None:
        self.write_parts((content,))

    def write_from(self, file: IO[bytes]) -> None:
        file.seek(0)
        self.write_parts(iter(lambda: file.read(_CHUNK), b""))

    def write_parts(self, parts: Iterable[bytes]) -> None:
        """Write the content bit by bit."""
        part = self._part or self._prepare()
        try:
            with open(part, "wb", opener=self._open) as file:
                file.writelines(parts)
            part.replace(self._target)
        except BaseException:
            self._part = None  # The folder may be gone: the next time begins with a look at it.
            with suppress(OSError):
                part.unlink()
            raise

    def remove(self) -> None:
        self._remove_parts(self._path.resolve())
        self._path.unlink(missing_ok=True)

    def _prepare(self) -> Path:
        target = self._target = self._path.resolve()  # Replaced is the file, not a link to it.
        target.parent.mkdir(parents=True, exist_ok=True)
        self._remove_parts(target)
        with suppress(FileNotFoundError):
            self._mode = target.stat().st_mode & 0o777  # What others may not read stays so.
        # Of a name of its own: a try that is believed dead may still be writing.
        self._part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        return self._part

    @staticmethod
    def _remove_parts(target: Path) -> None:
        for part in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}.part"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _SECONDS_UNTIL_ABANDONED:
                    part.unlink()

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags, self._mode)


# -- files of lines that grow


class GrowingFile(Protocol):
    """A file of lines that grows. What it holds at first is kept; :meth:`remove` drops it."""

    def append(self, line: bytes) -> None:
        """Add a line, given with its end."""

    def flush(self) -> None:
        """Return when all lines outlive the process; does nothing where there is no new one."""

    def keep(self, stays: Callable[[bytes], bool]) -> None:
        """
        Drop the lines that don't stay, and end the last line.

        :param stays: Is given each line with its end; the last one may lack it.
        """

    def remove(self) -> None:
        """Drop all lines, and the file."""

    def holds_lines(self) -> bool:
        """Tell whether there is a line, in the file or on its way there."""

    def close(self) -> None:
        """Flush, and let go of the file."""

    def abandon(self) -> None:
        """Let go of the file as it is: what is not flushed is lost."""


def growing_file(path: Path) -> GrowingFile:
    """
    Return the file of lines at a path; nothing is opened before it is used.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    """
    local = local_path(path)
    return _GrowingObject(path) if local is None else _GrowingLocalFile(local)


class _GrowingLocalFile:
    """A file on this machine: each line is in it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def append(self, line: bytes) -> None:
        if self._file is None:
            self._file = open_to_append(self._path)
        self._file.write(line)
        self._file.flush()

    def flush(self) -> None:
        pass

    def keep(self, stays: Callable[[bytes], bool]) -> None:
        self.close()
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            if _all_stay(file, stays):
                return
            file.seek(0)
            _WholeLocalFile(self._path).write_parts(_lines_that_stay(file, stays))
        if not self.holds_lines():
            self.remove()

    def remove(self) -> None:
        self.close()
        _WholeLocalFile(self._path).remove()

    def holds_lines(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def abandon(self) -> None:
        self.close()


class _GrowingObject:
    """
    An object in a store, where nothing can be added to it: it is uploaded as a whole with each flush.

    Its lines are spooled to a temporary file, one without a name, so that a process that is killed
    leaves none of them on its machine.
    """

    def __init__(self, path: Any) -> None:
        self._path = path
        self._spool: IO[bytes] | None = None
        self._is_new = False
        # None: what an earlier process left is not known yet.
        self._holds_lines: bool | None = None

    def append(self, line: bytes) -> None:
        is_first, spool = self._spool is None, self._spooled()
        if is_first and spool.tell():
            spool.seek(-1, os.SEEK_END)
            _end_line(spool, spool.read(1))
        self._is_new = self._holds_lines = True
        spool.write(line)

    def flush(self) -> None:
        if not self._is_new:
            return
        _upload(self._spooled(), self._path)
        self._is_new = False

    def keep(self, stays: Callable[[bytes], bool]) -> None:
        before = self._spooled()
        before.seek(0)
        if _all_stay(before, stays):
            return
        before.seek(0)
        after = _temporary_file(lambda file: file.writelines(_lines_that_stay(before, stays)))
        before.close()
        self._spool, self._is_new = after, True
        if not after.tell():
            self.remove()

    def remove(self) -> None:
        self.abandon()
        _remove_object(self._path)
        self._holds_lines = False

    def holds_lines(self) -> bool:
        return bool(self._path.exists()) if self._holds_lines is None else self._holds_lines

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        spool, self._spool, self._is_new = self._spool, None, False
        if spool is not None:
            spool.close()

    def _spooled(self) -> IO[bytes]:
        """Return the spool, at its end; at first it holds what the object does."""
        if self._spool is None:
            self._spool = _temporary_file(self._fetch)
        self._spool.seek(0, os.SEEK_END)
        return self._spool

    def _fetch(self, spool: IO[bytes]) -> None:
        if self._holds_lines is False:
            return
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            shutil.copyfileobj(file, spool)
        self._holds_lines = spool.tell() > 0


def _temporary_file(fill: Callable[[IO[bytes]], None]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it is the caller's to close
    try:
        fill(file)
    except BaseException:
        file.close()
        raise
    return file


def _all_stay(lines: Iterable[bytes], stays: Callable[[bytes], bool]) -> bool:
    return all(line.endswith(b"\n") and stays(line) for line in lines)


def _lines_that_stay(lines: Iterable[bytes], stays: Callable[[bytes], bool]) -> Iterator[bytes]:
    return (line if line.endswith(b"\n") else line + b"\n" for line in lines if stays(line))
