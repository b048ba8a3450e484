"""
Where a suppression list is kept: a file that many processes read and add to, on whatever storage.

On this machine, and on a file system that it shares with others, lines are appended to the file, under
a lock. Object stores don't append: there, of two processes that write a file anew, one undoes what the
other did. So each append is an object of its own, a *part*, in the folder ``<file>.d`` beside the file.
Parts never change, and the file is never written: between a look whether it is there and a write, somebody
may upload theirs. On any storage, a list is its file and its parts.

In a store, a list that was begun by an append has no file. An object among its parts says so: where there
are parts and neither that object nor the file, the file, and who is in it, has been lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_closers.storage import local_path, whole_file

if TYPE_CHECKING:
    from _typeshed import SupportsRead

#: Among the parts, and what it holds: there was no file when the list was begun. It is no part, nor merged.
_BEGUN = "begun"
_ABOUT_BEGUN = (
    b"# This list was begun in this folder; it needs no file beside it. If there is one, both count.\n"
)
#: Bytes from which on a part is not merged with others, which happens in memory.
_LARGE_PART = 16 * 1024 * 1024

#: Is given a file of a list: its name, and its content.
Take = Callable[[str, "SupportsRead[bytes]"], None]


def list_file(path: Path) -> ListFile:
    """
    Return the list at a path; nothing is opened before it is used.

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    """
    local = local_path(path)
    return _StoredListFile(path) if local is None else _LocalListFile(local)


class ListFile:
    """A list's lines: what is the same on every storage."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts = _Parts(path.parent / f"{path.name}.d")
        self._is_absent = False  # as far as is known since it was read

    def read(self, take: Take, *, create: bool) -> None:
        """
        Read every line whose append had ended before; of those appended meanwhile, maybe some.

        :param take: Is called with one file after the other; it may get some lines twice.
        :param create: Whether an absent list is an empty one.
        :raises OSError: A file can't be read.
        """
        has_parts = self._parts.read(take)
        try:
            with self._opened() as content:
                take(str(self._path), content)
        except FileNotFoundError:
            # Looked up after the parts, before the first of which it is written.
            self._is_absent = not self._parts.were_begun()
            if self._is_absent and (has_parts or not create):
                raise

    def append(self, lines: bytes) -> None:
        """
        Add lines, given with their ends: they are there for good when this returns.

        :raises OSError: They could not be added.
        """
        raise NotImplementedError

    def merge_parts(self) -> None:
        """
        Make few parts of many: each costs a request to read.

        Others may read and append at the same time, where the store takes an object as a whole. If the
        process is killed, some lines are there twice, which does no harm.
        """
        self._parts.merge()

    def _opened(self) -> contextlib.AbstractContextManager[SupportsRead[bytes]]:
        return self._path.open("rb")


class _StoredListFile(ListFile):
    """In a store where nothing can be added to a file."""

    def append(self, lines: bytes) -> None:
        if self._is_absent:
            self._parts.begin()
            self._is_absent = False
        self._parts.add(lines)


class _LocalListFile(ListFile):
    """On this machine, or a file system that it shares with others."""

    def append(self, lines: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    lines = b"\n" + lines
            try:
                _write(file, lines)
                # Also a machine that loses its power must not forget whom it went on to erase.
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)
                raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        """Open the file to be appended to, when nobody else does."""
        while True:
            with self._path.open("ab+", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if _is_still_at(self._path, file):
                    yield file
                    return

    @contextlib.contextmanager
    def _opened(self) -> Iterator[SupportsRead[bytes]]:
        """Open the file, to be read as far as it goes between two appends."""
        with self._path.open("rb") as file:
            with contextlib.suppress(OSError):  # A file system without locks can be read.
                fcntl.flock(file, fcntl.LOCK_SH)
            size = os.fstat(file.fileno()).st_size
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
            yield _Beginning(file, size)


def _is_still_at(path: Path, file: IO[bytes]) -> bool:
    """Tell whether a file is what a path leads to; an editor puts another one into its place."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _write(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


class _Beginning:
    """The first bytes of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _Parts:
    """Files that never change, in a folder of their own."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder

    def read(self, take: Take) -> bool:
        """Read all of them; tell whether there are any."""
        read, vanished = set[str](), set[str]()
        is_complete = False
        while not is_complete:
            is_complete = True
            for name in self._names():
                if name in read:
                    continue
                try:
                    with (self._folder / name).open("rb") as content:
                        take(str(self._folder / name), content)
                    read.add(name)
                except FileNotFoundError:
                    if name in vanished:
                        raise  # It is there, so it says, and it is not.
                    # Merged meanwhile, so what was in it is in a part that was not there before.
                    vanished.add(name)
                    is_complete = False
        return bool(read)

    def begin(self) -> None:
        """Note that the list has no file. Who else does so at the same time writes the same."""
        whole_file(self._folder / _BEGUN).write(_ABOUT_BEGUN)

    def were_begun(self) -> bool:
        return _BEGUN in _names_in(self._folder)

    def add(self, lines: bytes) -> None:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(8)}.txt"
        whole_file(self._folder / name).write(lines)

    def merge(self) -> None:
        names, lines, size = list[str](), dict[bytes, None](), 0
        for name in self._names():
            content = self._content(name)
            if len(content) < _LARGE_PART and content.endswith(b"\n"):
                names.append(name)
                lines.update(dict.fromkeys(content.splitlines(keepends=True)))
                size += len(content)
            if size >= _LARGE_PART:
                self._replace(names, lines)
                names, lines, size = [], {}, 0
        self._replace(names, lines)

    def _content(self, name: str) -> bytes:
        try:
            with (self._folder / name).open("rb") as file:
                content: bytes = file.read()
        except FileNotFoundError:  # Somebody else merges, too.
            return b""
        return content

    def _replace(self, names: list[str], lines: Iterable[bytes]) -> None:
        if len(names) > 1:
            self.add(b"".join(lines))
            for name in names:
                whole_file(self._folder / name).remove()

    def _names(self) -> list[str]:
        return sorted(name for name in _names_in(self._folder) if name.endswith(".txt"))


def _names_in(folder: Any) -> list[str]:
    try:
        if isinstance(folder, Path) and local_path(folder):
            return [child.name for child in folder.iterdir()]
        folder.fs.invalidate_cache(folder.path)  # What others added is not in it.
        return [info["name"].rpartition("/")[2] for info in folder.fs.ls(folder.path, detail=True)]
    except FileNotFoundError:
        return []
