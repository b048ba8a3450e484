"""One thing to do, and the requests that do it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_closers.prospect import Prospect, RecordRules
from airflow_provider_closers.push.journey import Journey, RecordRefusedError, Route
from airflow_provider_closers.push.report import Outcome


class Kind(enum.StrEnum):
    """What has to be done about a person, in the order in which it is done."""

    NEW = "new"
    CHANGED = "changed"
    FLAG = "flag"
    DELETE = "delete"

    @property
    def is_removal(self) -> bool:
        """Whether the person is gone from the source."""
        return self in (Kind.FLAG, Kind.DELETE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Prospect):
    """
    One thing to do about a person.

    :param kind: What it is.
    :param index: The record's place in the source, from 0; who is gone from there comes after its end.
    :param key: Who it is, in the snapshot.
    :param digests: Of the fields, as they are in the source.
    :param changed: Of a known person, which fields are to be sent.
    """

    kind: Kind
    index: int
    key: str
    digests: bytes = b""
    changed: tuple[str, ...] = ()

    @property
    def difference(self) -> Prospect:
        """The person with nothing but what changed."""
        return Prospect(self.email, {name: self.fields[name] for name in self.changed})

    @property
    def as_record(self) -> dict[str, Any]:
        """What would be sent, as a record: for the rejects."""
        return (self.difference if self.kind is Kind.CHANGED else self).patch_body


class SyncRoute:
    """
    What to do with each change.

    :param if_missing: Where a known person was removed from the CRM by somebody else: ``skip``,
        ``create`` or ``fail``.
    """

    operation = "sync"

    def __init__(self, if_missing: str) -> None:
        self._creates_missing = if_missing == "create"
        self._upsert = Route(operation="upsert")
        self._update = Route(operation="update", if_missing="skip" if self._creates_missing else if_missing)
        self._flag = Route(operation="update", if_missing="skip")
        self._delete = Route(operation="delete", if_missing="skip")
        #: Keys of new people whom the CRM may have by now: those to whom a request left, but for the refused.
        self.may_be_there: set[str] = set()

    def doubtful(self, change: Change) -> Iterable[str] | None:
        """Return the fields that are not certain while a change is under way; ``None``: all of the person."""
        match change.kind:
            case Kind.CHANGED if not self._creates_missing:
                return change.changed
            case Kind.FLAG:
                return change.fields
            case _:
                return None

    def start(self, prospect: Prospect) -> Journey:
        """Return the journey of one change."""
        assert isinstance(prospect, Change)  # noqa: S101 - nothing else is put into a sync's push
        match prospect.kind:
            case Kind.NEW:
                return self._send_new(prospect)
            case Kind.CHANGED:
                return self._send_difference(prospect)
            case Kind.FLAG:
                return self._flag.start(prospect)
            case Kind.DELETE:
                return self._delete.start(prospect)

    def _send_new(self, change: Change) -> Journey:
        self.may_be_there.add(change.key)
        try:
            return (yield from self._upsert.start(change))
        except RecordRefusedError as e:
            if not e.may_have_worked:
                self.may_be_there.discard(change.key)
            raise

    def _send_difference(self, change: Change) -> Journey:
        outcome = yield from self._update.start(change.difference)
        if outcome is Outcome.MISSING and self._creates_missing:
            # From nothing: the difference alone would be half a person.
            return (yield from self._upsert.start(change))
        return outcome


class ChangesAsTheyAre(RecordRules):
    """The record rules of a sync's push: the user's have read its records before."""

    def read(self, record: Change) -> Prospect:
        """Return the change itself."""
        return record
