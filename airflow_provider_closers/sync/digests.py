"""
What a snapshot holds in place of a person's fields: enough to tell which of them changed.

Of each field nine bytes: its number, and a digest of its value. (A digest keeps a value from being
read, not from being guessed: a first name is soon found by trying.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from airflow_provider_closers.prospect import API_NAMES

# A field's number is its place here, so the order is for good: what comes new comes last.
_NAMES = tuple(name for name in API_NAMES.values() if name != "email")
_NUMBERS = {name: bytes([number]) for number, name in enumerate(_NAMES)}
_BYTES_OF_A_DIGEST = 8
_BYTES = 1 + _BYTES_OF_A_DIGEST

_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str).encode


def digests_of(fields: Mapping[str, Any]) -> bytes:
    """
    Return the digests of fields, the same for the same fields in any order.

    :param fields: By the API's names.
    """
    return b"".join(
        sorted(
            _NUMBERS[name] + blake2b(_text(value), digest_size=_BYTES_OF_A_DIGEST).digest()
            for name, value in fields.items()
        )
    )


def changed_fields(before: bytes, now: bytes) -> tuple[str, ...]:
    """
    Name the fields that are new or have another value now.

    One that is not given any more is none of them: there is nothing to send in its place.
    """
    earlier = set(_parts(before))
    return tuple(_NAMES[part[0]] for part in _parts(now) if part not in earlier)


def updated_digests(before: bytes, now: bytes) -> bytes:
    """Return what holds once the fields that are given now were sent: the others keep their values."""
    by_field = {part[0]: part for part in (*_parts(before), *_parts(now))}
    return b"".join(part for _, part in sorted(by_field.items()))


def digests_without(digests: bytes, fields: Iterable[str]) -> bytes:
    """Return the digests of all other fields."""
    left_out = {_NUMBERS[name][0] for name in fields}
    return b"".join(part for part in _parts(digests) if part[0] not in left_out)


def _text(value: Any) -> bytes:
    # Half a surrogate pair, which UTF-8 can't hold, is a value like any other.
    return _encode(value).encode("utf-8", "surrogatepass")


def _parts(digests: bytes) -> Iterator[bytes]:
    return (digests[start : start + _BYTES] for start in range(0, len(digests), _BYTES))
