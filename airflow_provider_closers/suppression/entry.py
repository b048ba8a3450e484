"""
One entry of a suppression list, and the form in which addresses are compared.

An entry is an address, ``hmac-sha256:<64 hex digits>``, or either as a JSON object
(``{"email": ...}``, ``{"hmac_sha256": ...}``). Empty lines and lines that start with ``#`` are none; one
of these may be a *key mark*: the keyed hash of no address, by which another key is noticed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from airflow_provider_closers.address import normal_form
from airflow_provider_closers.sources.lines import CutLine

#: Bytes of what stands for an address in memory, and of a keyed hash.
DIGEST_SIZE = 16
HASH_SIZE = 32

_PREFIX = "hmac-sha256:"
_KEY_MARK = f"# key {_PREFIX}"
_WHOLE_KEY_MARK = re.compile(rf"{_KEY_MARK}[0-9a-f]{{64}}")
_MARKED = b"the key of a suppression list"  # no address has this form
_HASH = re.compile(r"[0-9a-f]{64}")
# What surrounds an address in a CSV file or a mail's header is no part of it, and "*" no wildcard.
_ADDRESS = re.compile(r"""[^\s"<>()\[\]\\,;:*@]+@\w(?:[\w.-]*\w)?""")

# The same in plain ASCII, for many lines at once: several times as quick as one by one.
_PLAIN_HASHES = re.compile(r"(?:hmac-sha256:[0-9a-f]{64}\r?\n)++")
_PLAIN_ADDRESSES = re.compile(
    r"""(?:(?![#{])[^\x00-\x20\x7f"<>()\[\]\\,;:*@]++@\w++(?:[.-]++\w++)*+\r?\n)++""", re.ASCII
)
# What JSON in its plainest form comes to without it.
_PLAIN_JSON = (
    (re.compile(r'^\{"email": ?"([^"\\\r\n]+)"\}(?=\r?\n)', re.MULTILINE), r"\1"),
    (re.compile(r'^\{"hmac_sha256": ?"([0-9a-f]{64})"\}(?=\r?\n)', re.MULTILINE), rf"{_PREFIX}\1"),
)


class EntryError(ValueError):
    """
    A line is no entry.

    :param number: Its number among the lines, from 1.
    :param is_cut: Whether it may be the beginning of a keyed hash, which ends there.
    """

    def __init__(self, number: int, *, is_cut: bool) -> None:
        super().__init__(number, is_cut)
        self.number = number
        self.is_cut = is_cut


class Entries(NamedTuple):
    """
    What lines hold.

    :param digests: What stands for their addresses, one after the other.
    :param hashes: Their keyed hashes, one after the other.
    :param key_marks: Their key marks.
    """

    digests: bytes
    hashes: bytes
    key_marks: Sequence[str] = ()


def entries_in(lines: Sequence[str]) -> Entries:
    """
    Read some lines.

    :param lines: Each with its end, if it has one.
    :raises EntryError: A line is no entry.
    """
    text = "".join(lines)
    if text.isascii():
        if text.startswith("{"):
            for pattern, entry in _PLAIN_JSON:
                text = pattern.sub(entry, text)
        if _PLAIN_HASHES.fullmatch(text):
            return Entries(b"", bytes.fromhex(text.replace(_PREFIX, "")))
        if _PLAIN_ADDRESSES.fullmatch(text) and "xn--" not in (lowered := text.lower()):
            return Entries(b"".join(map(_digest, lowered.encode().split())), b"")
    return _entries_one_by_one(lines)


def _entries_one_by_one(lines: Sequence[str]) -> Entries:
    digests, hashes, key_marks = bytearray(), bytearray(), []
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if isinstance(line, CutLine):
            raise EntryError(number, is_cut=False)
        if not entry or entry.startswith("#"):
            if _WHOLE_KEY_MARK.fullmatch(entry):
                key_marks.append(entry)
            continue
        address, keyed_hash = _read(entry)
        if keyed_hash and _HASH.fullmatch(keyed_hash.lower()):
            hashes += bytes.fromhex(keyed_hash)
        elif address and is_address(address):
            digests += digest_of(address)
        else:
            raise EntryError(number, is_cut=line == entry and _is_beginning_of_hash(entry))
    return Entries(bytes(digests), bytes(hashes), tuple(key_marks))


def _read(entry: str) -> tuple[str | None, str | None]:
    """Return the address or the keyed hash in a line."""
    if entry.startswith("{"):
        try:
            fields = json.loads(entry)
        except (ValueError, RecursionError):
            return None, None
        address, keyed_hash = fields.get("email"), fields.get("hmac_sha256")
        return (
            address if isinstance(address, str) else None,
            keyed_hash if isinstance(keyed_hash, str) else None,
        )
    if entry.startswith(_PREFIX):
        return None, entry.removeprefix(_PREFIX)
    return entry, None


def _is_beginning_of_hash(entry: str) -> bool:
    return _PREFIX.startswith(entry) or bool(
        entry.startswith(_PREFIX) and re.fullmatch(r"[0-9a-f]{0,63}", entry.removeprefix(_PREFIX))
    )


def is_address(text: str) -> bool:
    """Tell whether a text is one address, and nothing beside it."""
    return text.isprintable() and bool(_ADDRESS.fullmatch(text))


def digest_of(address: str) -> bytes:
    """Return what stands for an address in memory."""
    return _digest(normal_form(address).encode())


def _digest(address: bytes) -> bytes:
    return hashlib.blake2b(address, digest_size=DIGEST_SIZE).digest()


def keyed_hash_of(address: str, key: bytes) -> bytes:
    """Return an address's keyed hash: HMAC-SHA-256 of its normal form."""
    return hmac.digest(key, normal_form(address).encode(), "sha256")


def key_mark_of(key: bytes) -> str:
    """Return the line, without its end, that marks a list's hashes as those of a key."""
    return f"{_KEY_MARK}{hmac.digest(key, _MARKED, 'sha256').hex()}"


def line_of(keyed_hash: bytes) -> str:
    """Return a keyed hash's line, with its end."""
    return f"{_PREFIX}{keyed_hash.hex()}\n"
