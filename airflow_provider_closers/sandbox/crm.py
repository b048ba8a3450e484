"""The prospects of the sandbox's one account, in memory and small enough to hold a million of them."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SLOT_OF_FIELD = {
    "email": "email",
    "firstName": "first_name",
    "lastName": "last_name",
    "title": "title",
    "bounced": "bounced",
    "openedEmail": "opened_email",
    "replied": "replied",
    "isContacted": "is_contacted",
    "unSubscribed": "unsubscribed",
}

_TEXT_SLOTS = ("email", "first_name", "last_name", "title", "other_attribute")


class Prospect:
    """
    One prospect; what was never given is ``None``.

    Slots, and the other attributes as JSON text: with a million of them, dicts take three times the memory.
    """

    __slots__ = (*_SLOT_OF_FIELD.values(), "created", "other_attribute", "updated")

    email: str
    other_attribute: str | None
    created: float
    updated: float

    def __init__(self, fields: Mapping[str, Any], now: float) -> None:
        for name, slot in _SLOT_OF_FIELD.items():
            setattr(self, slot, fields.get(name))
        self.other_attribute = _pack(fields["otherAttribute"]) if "otherAttribute" in fields else None
        self.created = self.updated = now

    def change(self, fields: Mapping[str, Any], now: float, *, merge_other_attribute: bool) -> None:
        """Set the fields that are given; all others, the spelling of the email included, stay."""
        for name, value in fields.items():
            if name == "email":
                continue
            if name != "otherAttribute":
                setattr(self, _SLOT_OF_FIELD[name], value)
            elif merge_other_attribute and self.other_attribute is not None:
                self.other_attribute = _pack({**json.loads(self.other_attribute), **value})
            else:
                self.other_attribute = _pack(value)
        self.updated = now

    def as_record(self) -> dict[str, Any]:
        """Return the fields that were given, under the API's names."""
        record = {}
        for name, slot in _SLOT_OF_FIELD.items():
            value = getattr(self, slot)
            if value is not None:
                record[name] = value
        if self.other_attribute is not None:
            record["otherAttribute"] = json.loads(self.other_attribute)
        return record

    def mentions(self, folded: str) -> bool:
        """Tell whether this case-folded text occurs in the email, the names, the title or an attribute."""
        texts = (getattr(self, slot) for slot in _TEXT_SLOTS)
        return any(text is not None and folded in text.casefold() for text in texts)


class Crm:
    """
    The prospects by email.

    :param ignore_email_case: Whether ``Jane@acme.io`` and ``jane@acme.io`` are one prospect.
    """

    def __init__(self, *, ignore_email_case: bool = False) -> None:
        self._ignore_case = ignore_email_case
        self._by_email: dict[str, Prospect] = {}

    def __len__(self) -> int:
        return len(self._by_email)

    def _key(self, email: str) -> str:
        return email.casefold() if self._ignore_case else email

    def find(self, email: str) -> Prospect | None:
        """Return the prospect with this email."""
        return self._by_email.get(self._key(email))

    def create(self, fields: Mapping[str, Any]) -> Prospect | None:
        """Add a prospect; ``None`` where its email is taken."""
        key = self._key(fields["email"])
        if key in self._by_email:
            return None
        prospect = self._by_email[key] = Prospect(fields, time.time())
        return prospect

    def update(self, fields: Mapping[str, Any], *, merge_other_attribute: bool) -> Prospect | None:
        """Change the prospect with this email; ``None`` where there is none."""
        prospect = self.find(fields["email"])
        if prospect is not None:
            prospect.change(fields, time.time(), merge_other_attribute=merge_other_attribute)
        return prospect

    def delete(self, email: str) -> Prospect | None:
        """Remove the prospect with this email and return it; ``None`` where there is none."""
        return self._by_email.pop(self._key(email), None)

    def clear(self) -> None:
        """Remove every prospect."""
        self._by_email.clear()

    def set_ignore_email_case(self, ignore: bool) -> None:
        """
        Change how emails are compared from now on.

        :raises ValueError: Two prospects differ in nothing but the case of their email.
        """
        if ignore == self._ignore_case:
            return
        rekeyed = {p.email.casefold() if ignore else p.email: p for p in self._by_email.values()}
        if len(rekeyed) != len(self._by_email):
            raise ValueError(
                "ignore_email_case: two prospects differ only in the case of their email; "
                "remove one of them first"
            )
        self._ignore_case, self._by_email = ignore, rekeyed

    def newest_first(self) -> Iterator[Prospect]:
        """Yield the prospects, the one that was added last first."""
        return reversed(self._by_email.values())

    def snapshot(self) -> list[Prospect]:
        """Return the prospects as they were added."""
        return list(self._by_email.values())


def page_of(prospects: Iterator[Prospect], *, limit: int, offset: int) -> list[Prospect]:
    """Return the prospects number ``offset`` to ``offset + limit``."""
    return list(islice(prospects, offset, offset + limit))


def _pack(attributes: Mapping[str, Any]) -> str:
    return json.dumps(attributes, separators=(",", ":"), ensure_ascii=False)
