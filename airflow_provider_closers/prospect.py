"""
The record rules: from a mapping, as upstream data tasks produce it, to the API's request bodies.

Field names, types and the methods that they are listed for come from the vendor's page
"Prospect API".
"""

from __future__ import annotations

import datetime as dt
import difflib
import enum
import json
import math
import uuid
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_closers.address import mask_email, read_address
from airflow_provider_closers.errors import ClosersConfigError, InvalidProspectError

#: The API's name of each field.
API_NAMES = {
    "email": "email",
    "first_name": "firstName",
    "last_name": "lastName",
    "title": "title",
    "bounced": "bounced",
    "opened_email": "openedEmail",
    "replied": "replied",
    "is_contacted": "isContacted",
    "unsubscribed": "unSubscribed",
    "other_attribute": "otherAttribute",
}

#: Latches: ``False`` is withheld, since a stale source must not re-open contact with somebody.
STATUS_FLAGS = ("bounced", "opened_email", "replied", "is_contacted", "unsubscribed")

#: What the page lists for POST, besides the email; it lists every field for PATCH.
_POST_NAMES = frozenset({"firstName", "lastName", "otherAttribute"})

# The vendor names no largest size. More text than this in one value is a mistake upstream
# (a file's contents in a name column), better said here than as a time-out or a 413.
_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 50

_TRUE_WORDS = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE_WORDS = frozenset({"false", "f", "no", "n", "off", "0"})


@dataclass(frozen=True, slots=True)
class Prospect:
    """
    A record that keeps the rules.

    :param email: The address, its domain in lower case.
    :param fields: What else was given, by the API's names.
    :param withheld_flags: How many status flags were ``False`` and therefore left out.
    """

    email: str
    fields: dict[str, Any]
    withheld_flags: int = 0

    @property
    def post_body(self) -> dict[str, Any]:
        """The body of POST: only what the page lists for it."""
        return {"email": self.email} | {k: v for k, v in self.fields.items() if k in _POST_NAMES}

    @property
    def beyond_post_body(self) -> dict[str, Any] | None:
        """The body of the PATCH that follows a POST, ``None`` where nothing is left to send."""
        rest = {k: v for k, v in self.fields.items() if k not in _POST_NAMES}
        return {"email": self.email} | rest if rest else None

    @property
    def patch_body(self) -> dict[str, Any]:
        """The body of PATCH: everything that was given."""
        return {"email": self.email} | self.fields


class RecordRules:
    """
    Reads records by the rules, with what the user said about their keys.

    :param field_map: Renames: the record's key to a field, or to a name in ``other_attributes``.
    :param other_attributes: Keys that go into ``otherAttribute``; ``"*"`` for every key that is
        no field.
    :param reset_flags: Status flags whose ``False`` is sent.
    :param bare_emails: Whether an email string stands for its record.
    :param known_emails: Emails that were read before: their domains are not checked again.
    :raises ClosersConfigError: One of them is unusable.
    """

    def __init__(
        self,
        *,
        field_map: Mapping[str, str] | None = None,
        other_attributes: str | Iterable[str] = (),
        reset_flags: str | Iterable[str] = (),
        bare_emails: bool = False,
        known_emails: Container[str] = (),
    ) -> None:
        nested = _names("other_attributes", other_attributes)
        self._nest_all = "*" in nested
        self._nested = {_fold(name): name for name in nested if name != "*"}
        if "email" in self._nested:
            raise ClosersConfigError("other_attributes names 'email', which identifies the prospect.")
        self._renamed = self._read_field_map(field_map)
        self._reset_flags = frozenset(_flag(name) for name in _names("reset_flags", reset_flags))
        self._bare_emails = bare_emails
        self._known_emails = known_emails
        self._places: dict[str, _Place] = {}

    def read(self, record: Any) -> Prospect:
        """
        Check a record and turn it into what the API takes.

        :param record: A mapping from key to value.
        :return: The prospect.
        :raises InvalidProspectError: Names the key or field, the value's kind and the way out.
        """
        if self._bare_emails and isinstance(record, str):
            record = {"email": record}
        if not isinstance(record, Mapping):
            raise InvalidProspectError(f"the record is {_kind(record)}; it must be a mapping of fields.")
        given, attributes = self._sort(record)
        if "email" not in given:
            raise InvalidProspectError(self._no_email_message(record))
        email = _read_email(given.pop("email"), self._known_emails)
        return self._assemble(email, given, attributes)

    def email_in(self, record: Any) -> Any:
        """Return what stands for the email in a record that breaks the rules, ``None`` if nothing does."""
        if self._bare_emails and isinstance(record, str):
            return record
        try:
            return next(record[key] for key in record if self._names_the_email(key))
        except Exception:  # noqa: BLE001 - a stranger's object: reading it may do anything
            return None

    def person_in(self, record: Any) -> str | None:
        """Return the email of a record that breaks the rules, as :meth:`read` gives it, if it has one."""
        try:
            given = {unbox(record[key]) for key in record if self._names_the_email(key)}
            (email,) = {value for value in given if not is_missing(value)}
            return _read_email(email)
        except Exception:  # noqa: BLE001 - as above; or it has none, or two
            return None

    def __repr__(self) -> str:
        """Tell what becomes of the keys, the same for the same rules."""
        nested = sorted([*self._nested.values(), *("*" if self._nest_all else "")])
        renamed, reset = sorted(self._renamed.items()), sorted(self._reset_flags)
        return f"RecordRules(field_map={renamed}, other_attributes={nested}, reset_flags={reset})"

    def _names_the_email(self, key: Any) -> bool:
        return isinstance(key, str) and _fold(self._renamed.get(_fold(key), key)) == "email"

    def _sort(self, record: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Put each given value in its place: a field, or a name among the other attributes."""
        given: dict[str, Any] = {}
        attributes: dict[str, Any] = {}
        for key, boxed in record.items():
            place = self._place(key)
            value = unbox(boxed)
            if is_missing(value):
                continue
            where = attributes if place.nested else given
            if place.name in where:
                raise InvalidProspectError(
                    f"{_short(place.name)} is given twice, once as {_short(key)}; drop one."
                )
            where[place.name] = value
        return given, attributes

    def _assemble(self, email: str, given: dict[str, Any], attributes: dict[str, Any]) -> Prospect:
        fields: dict[str, Any] = {}
        withheld = 0
        for name, value in given.items():
            if name in STATUS_FLAGS:
                flag = _read_flag(name, value)
                if flag or name in self._reset_flags:
                    fields[API_NAMES[name]] = flag
                else:
                    withheld += 1
            elif name == "other_attribute":
                attributes = _merged(_read_attributes(value), attributes)
            else:
                fields[API_NAMES[name]] = _read_text(name, value)
        if attributes := _to_json_object(attributes, "other_attribute", 0):
            fields[API_NAMES["other_attribute"]] = attributes
        return Prospect(email, fields, withheld)

    def _place(self, key: Any) -> _Place:
        if not isinstance(key, str):
            raise InvalidProspectError(f"a key is {_kind(key)}; keys must be field names.")
        place = self._places.get(key)
        if place is None:
            place = self._find_place(key)
            # Rows share their keys. The bound keeps a source whose keys never repeat from
            # filling the memory.
            if len(self._places) < 10_000:
                self._places[key] = place
        return place

    def _find_place(self, key: str) -> _Place:
        name = self._renamed.get(_fold(key), key)
        folded = _fold(name)
        if folded in self._nested:
            return _Place(self._nested[folded], nested=True)
        if folded in _FIELDS:
            return _Place(_FIELDS[folded], nested=False)
        if self._nest_all:
            return _Place(name, nested=True)
        raise InvalidProspectError(
            f"{_short(key)} is no field{_did_you_mean(name)}; rename it with field_map, or name it in "
            "other_attributes."
        )

    def _read_field_map(self, field_map: Mapping[str, str] | None) -> dict[str, str]:
        if field_map is None:
            return {}
        if not isinstance(field_map, Mapping):
            raise ClosersConfigError(
                f'field_map is {_kind(field_map)}; it must be a mapping, such as {{"work_email": "email"}}.'
            )
        renamed: dict[str, str] = {}
        for key, name in field_map.items():
            if not isinstance(key, str) or not isinstance(name, str):
                raise ClosersConfigError("field_map must map a key (str) to a field (str).")
            if not (self._nest_all or _fold(name) in _FIELDS or _fold(name) in self._nested):
                raise ClosersConfigError(
                    f"field_map renames {key!r} to {name!r}, which is no field{_did_you_mean(name)}; "
                    "name it in other_attributes if it belongs there."
                )
            renamed[_fold(key)] = name
        return renamed

    def _no_email_message(self, record: Mapping[Any, Any]) -> str:
        likely = [key for key in record if isinstance(key, str) and "mail" in key.lower()]
        if any(map(self._names_the_email, record)):
            return "'email' is empty (NULL); it identifies the prospect."
        hint = f' (field_map={{"{likely[0]}": "email"}}?)' if likely else ""
        return f"'email' is missing; it identifies the prospect{hint}."


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    nested: bool


def is_field(key: Any) -> bool:
    """Tell whether a key names a field, in any of its spellings."""
    return isinstance(key, str) and _fold(key) in _FIELDS


def _fold(name: str) -> str:
    """Fold a key, so that ``first_name``, ``firstName`` and ``FIRST NAME`` are one."""
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()


_FIELDS = {_fold(name): name for name in API_NAMES}


def _did_you_mean(name: str) -> str:
    nearest = difflib.get_close_matches(_fold(name)[:100], _FIELDS, n=1)
    return f" (nearest: {_FIELDS[nearest[0]]!r})" if nearest else ""


def _names(parameter: str, names: str | Iterable[str]) -> tuple[str, ...]:
    listed = (names,) if isinstance(names, str) else tuple(names or ())
    for name in listed:
        if not isinstance(name, str):
            raise ClosersConfigError(f"{parameter} holds {_kind(name)}; it must hold names.")
    return listed


def _flag(name: str) -> str:
    field = _FIELDS.get(_fold(name))
    if field not in STATUS_FLAGS:
        raise ClosersConfigError(
            f"reset_flags names {name!r}; the status flags are {', '.join(STATUS_FLAGS)}."
        )
    return field


def _short(key: str) -> str:
    if "@" in key:
        return repr(mask_email(key))  # Where a file's first record was taken for its header.
    return repr(key) if len(key) <= 80 else f"{key[:80]!r}..."


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def unbox(value: Any) -> Any:
    """Return numpy's scalars and arrays, which frames hold, as Python's; others as they are."""
    if type(value).__module__ != "numpy":
        return value
    if type(value).__name__ == "datetime64":
        # Finer than Python's datetime, it would come as a bare number of nanoseconds.
        value = value.astype("datetime64[us]")
    return value.tolist()


def is_missing(value: Any) -> bool:
    """Tell whether a value means *not given*: ``None``, NaN, a frame's null."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    # pandas' own nulls, known by name: importing pandas to ask costs half a second.
    return type(value).__name__ in ("NAType", "NaTType")


def _read_email(value: Any, known: Container[str] = ()) -> str:
    if not isinstance(value, str):
        raise InvalidProspectError(f"'email' is {_kind(value)}; it must be a str.")
    try:
        return read_address(value, known)
    except ValueError as e:
        raise InvalidProspectError(f"'email' is not a valid address: {e}") from None


def _read_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidProspectError(f"{name!r} is {_kind(value)}; it must be a str.")
    return _checked_text(name, value)


def _checked_text(where: str, value: str) -> str:
    if len(value) > _MAX_CHARACTERS:
        raise InvalidProspectError(
            f"{where!r} is a str of {len(value):,} characters; at most {_MAX_CHARACTERS:,} are sent."
        )
    return str(value)


def _read_flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE_WORDS:
            return True
        if word in _FALSE_WORDS:
            return False
    raise InvalidProspectError(
        f"{name!r} is {_kind(value)} that says neither true nor false; use True/False, 0/1 or yes/no."
    )


def _read_attributes(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, str):
        _checked_text("other_attribute", value)
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidProspectError(
                "'other_attribute' is a str that is not JSON; give a mapping or a JSON object."
            ) from None
    if not isinstance(value, Mapping):
        raise InvalidProspectError(
            f"'other_attribute' is {_kind(value)}; it must be a mapping or a JSON object."
        )
    return value


def _merged(given: Mapping[Any, Any], nested: dict[str, Any]) -> dict[Any, Any]:
    for name in nested:
        if name in given:
            raise InvalidProspectError(f"{name!r} is given twice, once inside 'other_attribute'; drop one.")
    return {**given, **nested}


def _to_json_object(mapping: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
    """Convert a mapping, leaving out what is missing: nobody documents what ``null`` would do."""
    result: dict[str, Any] = {}
    for key, boxed in mapping.items():
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise InvalidProspectError(f"{where!r} has {_kind(key)} as a key; keys must be str.")
        name = _checked_text(f"a key of {where}", str(key))
        if name in result:
            raise InvalidProspectError(f"{where!r} has the key {_short(name)} twice; drop one.")
        value = unbox(boxed)
        if not is_missing(value):
            result[name] = _to_json(value, f"{where}.{name}", depth + 1)
    return result


def _to_json(value: Any, where: str, depth: int) -> Any:
    """Convert a value inside ``other_attribute`` to what JSON holds, in the customary form."""
    if depth > _MAX_DEPTH:
        raise InvalidProspectError(f"{where[:80]!r}... is nested more than {_MAX_DEPTH} deep; flatten it.")
    if isinstance(value, Mapping):
        return _to_json_object(value, where, depth)
    if isinstance(value, list | tuple):
        unboxed = (unbox(item) for item in value)
        return [
            None if is_missing(item) else _to_json(item, f"{where}[{i}]", depth + 1)
            for i, item in enumerate(unboxed)
        ]
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return convert(value, where)
    raise InvalidProspectError(f"{where!r} is {_kind(value)}, which JSON can't hold; convert it upstream.")


def _finite(value: float | Decimal, where: str) -> float | Decimal:
    if math.isinf(value):
        raise InvalidProspectError(f"{where!r} is infinite, which JSON can't hold; convert it upstream.")
    return value


# Tried in this order: an enum member may be a str or an int too, a bool is an int.
_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any, str], Any]], ...] = (
    (enum.Enum, lambda value, where: _to_json(value.value, where, 0)),
    (str, lambda value, where: _checked_text(where, value)),
    (bool, lambda value, _: value),
    (int, lambda value, _: int(value)),
    (float, lambda value, where: float(_finite(value, where))),
    # As text, so that 19.90 stays 19.90 in the email that it personalises.
    (Decimal, lambda value, where: str(_finite(value, where))),
    ((dt.date, dt.time), lambda value, _: value.isoformat()),
    (uuid.UUID, lambda value, _: str(value)),
)
