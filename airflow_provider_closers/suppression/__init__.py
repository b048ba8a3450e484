"""
The suppression list: addresses that must not be contacted again.

One entry a line: an address, ``hmac-sha256:<64 hex digits>``, or either as a JSON object
(``{"email": ...}``, ``{"hmac_sha256": ...}``). Empty lines and lines that start with ``#`` don't
count. Addresses are compared without regard to case, since nobody documents whether the API minds
it, and contacting somebody in spite of the list is the worse mistake. For the same reason a line
that is meant for somebody and could never match is an error. A hash is that of the address in lower
case (case-folded).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.storage import open_to_append

_PREFIX = "hmac-sha256:"
_HASH = re.compile(r"[0-9a-f]{64}")
# What surrounds an address in a CSV file or a mail's header is no part of it, and "*" no wildcard.
_ADDRESS = re.compile(r"""[^\s"<>()\[\]\\,;:*@]+@\w(?:[\w.-]*\w)?""")


class SuppressionList:
    """
    Addresses, plain or as keyed hashes, in memory.

    :param entries: The list's lines.
    :param name: What to call the list in errors.
    :param secret: The hashes' key.
    :param append: Writes text to the end of the list, for good; ``None`` for a list that can't grow.
    :raises ClosersConfigError: A line is malformed (named by its number), or hashed and there is
        no key.
    """

    def __init__(
        self,
        entries: Iterable[str],
        *,
        name: str,
        secret: str | None = None,
        append: Callable[[str], Any] | None = None,
    ) -> None:
        self._name = name
        self._key = secret.encode() if secret else None
        self._append = append
        self._addresses: set[str] = set()
        self._hashes: set[str] = set()
        for number, entry in enumerate(entries, 1):
            self._take(number, entry.strip())
        if self._hashes and self._key is None:
            raise ClosersConfigError(f"The suppression list {name} holds keyed hashes; their key is missing.")

    @classmethod
    def from_file(cls, path: Path, *, secret: str | None = None, create: bool = False) -> SuppressionList:
        """
        Read a list from a file, to which :meth:`add` appends.

        :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
        :param secret: The hashes' key.
        :param create: Whether an absent file is an empty list.
        :raises ClosersConfigError: The file can't be read or is malformed.
        """

        def append(text: str) -> None:
            with open_to_append(path) as file:
                file.write(text.encode())

        name = repr(str(path))
        try:
            if create and not path.exists():
                return cls((), name=name, secret=secret, append=append)
            # Read as a whole: the files of Airflow 2's ObjectStoragePath don't iterate over lines.
            with path.open("rb") as file:
                text = file.read().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as e:
            raise ClosersConfigError(
                f"The suppression list {name} can't be read ({type(e).__name__}); nothing was sent."
            ) from e
        return cls(io.StringIO(text, newline=None), name=name, secret=secret, append=append)

    def __contains__(self, email: str) -> bool:
        """Tell whether an address is on the list."""
        address = _folded(email)
        return address in self._addresses or (bool(self._hashes) and self._hash(address) in self._hashes)

    def add(self, emails: Iterable[str]) -> None:
        """
        Put addresses on the list as keyed hashes; those that are on it stay as they are.

        :raises ClosersConfigError: The list can't grow, or there is no key.
        """
        if self._append is None:
            raise ClosersConfigError(f"The suppression list {self._name} can only be read; give a file.")
        if self._key is None:
            raise ClosersConfigError(
                f"Adding to the suppression list {self._name} takes a key for the hashes; it is missing."
            )
        new = {self._hash(_folded(email)) for email in emails if email not in self}
        if new:
            self._append("".join(f"{_PREFIX}{digest}\n" for digest in sorted(new)))
            self._hashes |= new

    def _hash(self, address: str) -> str:
        assert self._key is not None  # noqa: S101 - checked where hashes come in
        return hmac.new(self._key, address.encode(), hashlib.sha256).hexdigest()

    def _take(self, number: int, entry: str) -> None:
        if not entry or entry.startswith("#"):
            return
        address, digest = _read_entry(entry)
        if digest and _HASH.fullmatch(digest.lower()):
            self._hashes.add(digest.lower())
        elif address and address.isprintable() and _ADDRESS.fullmatch(address):
            self._addresses.add(_folded(address))
        else:
            raise ClosersConfigError(
                f"The suppression list {self._name} is malformed in line {number}: it is neither an address "
                f"nor '{_PREFIX}' with 64 hex digits. Nothing was sent."
            )


def _read_entry(entry: str) -> tuple[str | None, str | None]:
    """Return the address or the hash in a line."""
    if entry.startswith("{"):
        try:
            fields = json.loads(entry)
        except (ValueError, RecursionError):
            return None, None
        address, digest = fields.get("email"), fields.get("hmac_sha256")
        return (address if isinstance(address, str) else None), (digest if isinstance(digest, str) else None)
    if entry.startswith(_PREFIX):
        return None, entry.removeprefix(_PREFIX)
    return entry, None


def _folded(address: str) -> str:
    """Return the form in which addresses are compared: one for all spellings of the same address."""
    local, _, domain = unicodedata.normalize("NFC", address).casefold().rpartition("@")
    if "xn--" in domain:
        # The record rules give the domain as it reads, and so must the list.
        import idna

        with contextlib.suppress(idna.IDNAError):
            domain = idna.decode(domain).casefold()
    return f"{local}@{domain}"
