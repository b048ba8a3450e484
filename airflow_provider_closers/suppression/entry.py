"""
One entry of a suppression list, and the form in which addresses are compared.

An entry is an address, ``hmac-sha256:<64 hex digits>``, or either as a JSON object
(``{"email": ..., "hmac_sha256": ...}``, or one of them). Empty lines and comments, which start with ``#``,
are none; one of these may be a *key mark*: the keyed hash of no address, by which another key is noticed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from airflow_provider_closers.address import normal_form, read_address
from airflow_provider_closers.sources.lines import CutLine

#: Bytes of what stands for an address in memory, and of a keyed hash.
DIGEST_SIZE = 16
HASH_SIZE = 32

_PREFIX = "hmac-sha256:"
_KEY_MARK = f"# key {_PREFIX}"
_WHOLE_KEY_MARK = re.compile(rf"{_KEY_MARK}[0-9a-f]{{64}}")
_MARKED = b"the key of a suppression list"  # no address has this form
_HASH = re.compile(r"[0-9a-f]{64}")
# Of most addresses, for speed; of the others the record rules are asked. What surrounds an address in a CSV
# file or a mail's header is no part of it.
_ADDRESS = re.compile(r"""[^\s"<>()\[\]\\,;:*@]+@\w(?:[\w.-]*\w)?""")
# An address by all rules, and meant for a domain: it would match nobody there.
_WILDCARD = re.compile(r"\.*[*%?][*%?.]*@.*", re.DOTALL)
_read_json = json.JSONDecoder().raw_decode  # half the time of json.loads

# The same for many lines at once: several times as quick as one by one.
_PLAIN_HASHES = re.compile(r"(?:hmac-sha256:[0-9a-f]{64}\r?\n)*+")
_PLAIN_ADDRESSES = re.compile(
    r"""(?:(?![#{%?.])[^\x00-\x20\x7f"<>()\[\]\\,;:*@]++@\w++(?:[.-]++\w++)*+\r?\n)*+"""
)

_MALFORMED = "it is neither an address nor 'hmac-sha256:' with 64 hex digits."
_CUT = (
    "it is the beginning of an entry. Either the file is an incomplete copy: copy it again. Or what "
    "added the entry was killed, and had not erased anybody yet: remove this line."
)
#: What is wrong with an address that begins with ``#`` where comments do.
LIKE_A_COMMENT = (
    "it is an address that begins with '#'. For an entry write it as JSON, as in "
    """{"email": "#..."}; for a comment put a blank after the '#'."""
)


class EntryError(ValueError):
    """
    A line is no entry.

    :param number: Its number among the lines, from 1.
    :param reason: What is wrong with it; doesn't repeat it.
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.number = number
        self.reason = reason


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
    entries = _entries_at_once(lines)
    return _entries_one_by_one(lines) if entries is None else entries


def _entries_at_once(lines: Sequence[str]) -> Entries | None:
    """Read lines of which each is plain, ``None`` if one of them is not."""
    addresses, hashes = _plain_lines(lines)
    text, hash_text = "".join(addresses), "".join(hashes)
    if not (_PLAIN_ADDRESSES.fullmatch(text) and _PLAIN_HASHES.fullmatch(hash_text)):
        return None
    # A value, from JSON or a query, may hold an end of line.
    if text.count("\n") != len(addresses) or hash_text.count("\n") != len(hashes):
        return None
    digests = _digests(text)
    return None if digests is None else Entries(digests, bytes.fromhex(hash_text.replace(_PREFIX, "")))


def _plain_lines(lines: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return lines as those of addresses and of keyed hashes, if they are plain; without the JSON around."""
    start = lines[0] if lines else ""
    if not start.startswith("{"):
        return ((), lines) if start.startswith(_PREFIX) else (lines, ())
    addresses, hashes = list[str](), list[str]()
    for line in lines:
        address, keyed_hash = _values_in(line.strip())
        if address is not None:
            addresses.append(f"{address}\n")
        if keyed_hash is not None:
            hashes.append(f"{_PREFIX}{keyed_hash}\n")
    return addresses, hashes


def _digests(text: str) -> bytes | None:
    """Return what stands for a text's addresses; ``None`` if there may be what is in no address."""
    if text.isascii() and "xn--" not in (lowered := text.lower()):
        return b"".join(map(_digest, lowered.encode().split()))
    is_printable = text.replace("\n", "").replace("\r", "").isprintable()
    return b"".join(map(digest_of, text.split())) if is_printable else None


def _entries_one_by_one(lines: Sequence[str]) -> Entries:
    digests, hashes, key_marks = bytearray(), bytearray(), []
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if isinstance(line, CutLine):
            raise EntryError(number, _MALFORMED)
        if not entry or entry.startswith("#"):
            if is_key_mark(entry):
                key_marks.append(entry)
            elif is_address(entry):
                raise EntryError(number, LIKE_A_COMMENT)
            continue
        address, keyed_hash = _values_in(entry)
        if not _are_well_formed(address, keyed_hash):
            is_cut = line == entry and _is_beginning_of_hash(entry)
            raise EntryError(number, _CUT if is_cut else _MALFORMED)
        if address is not None:
            digests += digest_of(address.strip())
        if keyed_hash is not None:
            hashes += bytes.fromhex(keyed_hash)
    return Entries(bytes(digests), bytes(hashes), tuple(key_marks))


def _values_in(entry: str) -> tuple[Any, Any]:
    """
    Return what a line gives as an address, and as a keyed hash; ``None`` for one of them that it doesn't.

    What is no JSON with either of them may be an address that begins with a brace.
    """
    if entry.startswith("{"):
        try:
            fields, end = _read_json(entry)
        except (ValueError, RecursionError):
            return entry, None
        address, keyed_hash = fields.get("email"), fields.get("hmac_sha256")
        is_neither = address is None and keyed_hash is None
        return (entry, None) if is_neither or end != len(entry) else (address, keyed_hash)
    if entry.startswith(_PREFIX):
        return None, entry.removeprefix(_PREFIX)
    return entry, None


def _are_well_formed(address: Any, keyed_hash: Any) -> bool:
    return (address is None or (isinstance(address, str) and is_address(address.strip()))) and (
        keyed_hash is None or (isinstance(keyed_hash, str) and bool(_HASH.fullmatch(keyed_hash.lower())))
    )


def _is_beginning_of_hash(entry: str) -> bool:
    return _PREFIX.startswith(entry) or bool(
        entry.startswith(_PREFIX) and re.fullmatch(r"[0-9a-f]{0,63}", entry.removeprefix(_PREFIX))
    )


def is_key_mark(line: str) -> bool:
    """Tell whether a line, without its end, is a key mark."""
    return bool(_WHOLE_KEY_MARK.fullmatch(line))


def is_address(text: str) -> bool:
    """Tell whether a text, without blanks around it, is one address, and nothing beside it."""
    if _WILDCARD.fullmatch(text):
        return False
    return bool(text.isprintable() and _ADDRESS.fullmatch(text)) or _is_sent(text)


def _is_sent(text: str) -> bool:
    """Tell whether the record rules take an address."""
    try:
        read_address(text)
    except ValueError:
        return False
    return True


def line_of_value(value: str) -> str:
    """Return the line of a value from a table, where ``#`` begins no comment."""
    is_address_at_most = value.lstrip().startswith("#") and not is_key_mark(value.strip())
    return json.dumps({"email": value}) if is_address_at_most else value


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
