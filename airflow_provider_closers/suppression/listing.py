"""A suppression list in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_closers.errors import ClosersConfigError, FileUnavailableError
from airflow_provider_closers.sources.lines import blocks_of_lines
from airflow_provider_closers.suppression.entry import (
    HASH_SIZE,
    EntryError,
    digest_of,
    entries_in,
    key_mark_of,
    keyed_hash_of,
    line_of,
)
from airflow_provider_closers.suppression.files import list_file
from airflow_provider_closers.suppression.index import DigestIndex

if TYPE_CHECKING:
    from _typeshed import SupportsRead

_ENTRIES_AT_ONCE = 5_000

_IF_ABSENT = " If the list is new, write an empty file to begin with, or import one; if not, bring it back."
# In Airflow; who makes a list by themselves knows where they have it from.
_WHERE = "the password of the connection closers_suppression, or the Variable closers_suppression_secret"


class SuppressionList:
    """
    Addresses, plain or as keyed hashes.

    Addresses are compared without regard to case, since nobody documents whether the API minds it, and
    contacting somebody in spite of the list is the worse mistake. For the same reason a line that is meant
    for somebody and could never match is an error.

    :param entries: The list's lines.
    :param name: What to call the list in errors.
    :param secret: The hashes' key.
    :param append: Writes lines to the end of the list, for good; ``None`` for a list that can't grow.
    :raises ClosersConfigError: A line is malformed (named by its number), or hashed and there is
        no key, or another one.
    """

    def __init__(
        self,
        entries: Iterable[str],
        *,
        name: str,
        secret: str | None = None,
        append: Callable[[bytes], Any] | None = None,
    ) -> None:
        self._name = name
        self._key = secret.encode() if secret else None
        self._append = append
        self._index = DigestIndex()
        self._holds_addresses = self._holds_hashes = self._is_marked = False
        entries, done = iter(entries), 0
        while lines := [f"{entry}\n" for entry in islice(entries, _ENTRIES_AT_ONCE)]:
            self._take(lines, name, done)
            done += len(lines)
        self._check_key()

    @classmethod
    def from_file(cls, path: Path, *, secret: str | None = None, create: bool = False) -> SuppressionList:
        """
        Read a list from a file, to which :meth:`add` appends.

        What others append later is not seen.

        :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
        :param secret: The hashes' key.
        :param create: Whether an absent file is an empty list.
        :raises ClosersConfigError: The file is malformed.
        :raises FileUnavailableError: It can't be read.
        """
        file = list_file(path)
        listed = cls((), name=repr(str(path)), secret=secret, append=file.append)
        try:
            file.read(listed._take_file, create=create)
        except OSError as e:
            absent = isinstance(e, FileNotFoundError)
            raise FileUnavailableError(
                f"The suppression list {str(path)!r} can't be read ({type(e).__name__}); nothing was sent."
                f"{_IF_ABSENT if absent else ''}"
            ) from e
        listed._check_key()
        return listed

    def __contains__(self, email: str) -> bool:
        """Tell whether an address is on the list."""
        return (self._holds_addresses and digest_of(email) in self._index) or (
            self._holds_hashes and self._hash(email) in self._index
        )

    def count(self) -> int:
        """Count the entries, each once; an address and its keyed hash are two."""
        return len(self._index)

    def add(self, emails: Iterable[str]) -> None:
        """
        Put addresses on the list as keyed hashes; those that are on it stay as they are.

        :raises ClosersConfigError: The list can't grow, or there is no key.
        """
        self._check_growth()
        new = sorted({keyed_hash for email in emails if (keyed_hash := self._hash_unless_listed(email))})
        if new:
            self._write(new)
            self._take_hashes(b"".join(new))

    def begin(self) -> None:
        """
        Mark a list that holds nobody with its key, so that an absent one is there from now on.

        :raises ClosersConfigError: The list can't grow, or there is no key.
        """
        self._check_growth()
        if not self._is_marked and not self.count():
            self._write(())

    def _check_growth(self) -> None:
        if self._append is None:
            raise ClosersConfigError(f"The suppression list {self._name} can only be read; give a file.")
        if self._key is None:
            raise ClosersConfigError(
                f"Adding to the suppression list {self._name} takes a key for the hashes; it is missing"
                f" ({_WHERE})."
            )

    def _write(self, hashes: Iterable[bytes]) -> None:
        assert self._key is not None  # noqa: S101 - see _check_growth
        assert self._append is not None  # noqa: S101
        mark = "" if self._is_marked else f"{key_mark_of(self._key)}\n"
        self._append((mark + "".join(map(line_of, hashes))).encode())
        self._is_marked = True

    def _hash_unless_listed(self, email: str) -> bytes | None:
        keyed_hash = self._hash(email)
        is_listed = keyed_hash in self._index or (self._holds_addresses and digest_of(email) in self._index)
        return None if is_listed else keyed_hash

    def _hash(self, email: str) -> bytes:
        assert self._key is not None  # noqa: S101 - checked where hashes come in
        return keyed_hash_of(email, self._key)

    def _take_file(self, name: str, content: SupportsRead[bytes]) -> None:
        done = 0
        for block in blocks_of_lines(content, "utf-8"):
            self._take(block.lines, repr(name), done)
            done += len(block.lines)

    def _take(self, lines: Sequence[str], name: str, done: int) -> None:
        """Put on the list what is in some lines, before which there were others."""
        try:
            entries = entries_in(lines)
        except EntryError as e:
            raise ClosersConfigError(
                f"The suppression list {name} is malformed in line {done + e.number}: {e.reason} "
                "Nothing was sent."
            ) from None
        if entries.digests:
            self._holds_addresses = True
            self._index.add(entries.digests)
        if entries.hashes:
            self._take_hashes(entries.hashes)
        for mark in entries.key_marks:
            self._check_mark(mark, name)

    def _take_hashes(self, hashes: bytes) -> None:
        self._holds_hashes = True
        self._index.add(hashes, HASH_SIZE)

    def _check_mark(self, mark: str, name: str) -> None:
        """Notice that hashes are another key's: they would match nobody, in silence."""
        self._is_marked = True
        if self._key is not None and mark != key_mark_of(self._key):
            raise ClosersConfigError(
                f"The suppression list {name} holds keyed hashes of another key than the one given; with "
                "this one they would match nobody. Give the list's own key. Nothing was sent."
            )

    def _check_key(self) -> None:
        if self._holds_hashes and self._key is None:
            raise ClosersConfigError(
                f"The suppression list {self._name} holds keyed hashes; their key is missing ({_WHERE})."
            )
