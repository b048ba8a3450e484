"""What became of a push: outcomes, rejects and counts."""

from __future__ import annotations

import enum
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_closers.answer import is_transient_status
from airflow_provider_closers.errors import ClosersError, PushFailedError
from airflow_provider_closers.push.history import Moment

#: How many rejects the report itself keeps; all of them go to ``on_reject``.
REJECTS_KEPT = 20

# Reasons that are counted, and those of them that the report tells: an API may have a new one each time.
_REASONS_COUNTED = 50
_REASONS_TOLD = 10
_OTHER_REASONS = "other reasons"
_PLACE = re.compile(r"\b(lines?) \d+(?: to \d+)?")


class Outcome(enum.StrEnum):
    """The one way in which an input record ends."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    EXISTING = "existing"
    MISSING = "missing"
    SUPPRESSED = "suppressed"
    FILTERED = "filtered"
    REJECTED = "rejected"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True)
class Reject:
    """
    A record that was given up.

    :param index: Its place in the input, from 0.
    :param record: The record as it was given.
    :param reason: Why, and the way out.
    :param attempts: How many requests it took; 0 where it broke a record rule.
    :param status: HTTP status of the last answer, ``None`` where there was none.
    :param email: The record's email, masked; ``None`` where it has none.
    """

    index: int
    record: Any = field(repr=False)
    reason: str
    attempts: int = 0
    status: int | None = None
    email: str | None = None

    @property
    def may_pass(self) -> bool:
        """Whether the API failed at this record rather than refuse it: another day it may take it."""
        return self.attempts > 0 and (self.status is None or is_transient_status(self.status))

    def as_dict(self) -> dict[str, Any]:
        """Return the small form for the report."""
        return {"index": self.index, "email": self.email, "reason": self.reason}


@dataclass(kw_only=True)
class PushReport:
    """
    The counts of a push. The outcomes add up to ``total``.

    :param operation: ``create``, ``update``, ``upsert`` or ``delete``.
    :param preview: Whether nothing was sent; records that would have been are ``unresolved``.
    :param total: Records read.
    :param withheld_flags: Status flags that were ``False`` and therefore not sent.
    :param requests: Requests sent, the retries among them.
    :param retries: Requests sent again after an answer that was no use.
    :param throttled: Requests that were answered 429.
    :param seconds: How long it took.
    :param pace: How it went over time, in 60 moments at most.
    :param reasons: How many records were rejected why, without the line that a reason names.
    :param may_pass: Rejected records that the API failed at rather than refused.
    :param rejects: The first 20 rejects.
    :param rejects_path: Where all of them are.
    :param error: What stopped the push before its end.
    """

    operation: str
    preview: bool = False
    total: int = 0
    created: int = 0
    updated: int = 0
    deleted: int = 0
    existing: int = 0
    missing: int = 0
    suppressed: int = 0
    filtered: int = 0
    rejected: int = 0
    unresolved: int = 0
    withheld_flags: int = 0
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    seconds: float = 0.0
    pace: list[Moment] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    may_pass: int = 0
    rejects: list[Reject] = field(default_factory=list)
    rejects_path: str | None = None
    error: ClosersError | None = None

    def count(self, outcome: Outcome, records: int = 1) -> None:
        """Count records as ended so; ``total`` is counted where the records are read."""
        setattr(self, outcome.value, getattr(self, outcome.value) + records)

    def note_reject(self, reject: Reject) -> None:
        """Keep what the report tells of a reject; :meth:`count` counts its record."""
        if len(self.rejects) < REJECTS_KEPT:
            self.rejects.append(reject)
        reason = _PLACE.sub(r"\1 …", reject.reason)
        is_counted = reason in self.reasons or len(self.reasons) < _REASONS_COUNTED
        self.reasons[reason if is_counted else _OTHER_REASONS] += 1
        self.may_pass += reject.may_pass

    def add(self, other: PushReport) -> None:
        """Take over what a further push came to, as if it had been part of this one; not its ``total``."""
        for outcome in Outcome:
            self.count(outcome, getattr(other, outcome.value))
        self.withheld_flags += other.withheld_flags
        self.requests += other.requests
        self.retries += other.retries
        self.throttled += other.throttled
        self.seconds += other.seconds
        self.reasons += other.reasons
        self.may_pass += other.may_pass
        self.rejects = [*self.rejects, *other.rejects][:REJECTS_KEPT]
        self.error = self.error or other.error

    @property
    def outcomes(self) -> dict[str, int]:
        """The count of each outcome, zeros included."""
        return {outcome.value: getattr(self, outcome.value) for outcome in Outcome}

    @property
    def to_do(self) -> int:
        """How many records there were to do something about: what a share of rejects is a share of."""
        return self.total

    @property
    def settled(self) -> int:
        """How many records ended in another way than unresolved."""
        return sum(self.outcomes.values()) - self.unresolved

    def failure(self, max_rejects: float = 0) -> Exception | None:
        """
        Return what an operator's task would fail with, if it would.

        :param max_rejects: How many rejects are borne: a count, or a fraction below 1.
        """
        if self.error is not None:
            return self.error
        is_share = 0 < max_rejects < 1 and self.to_do
        share = self.rejected / self.to_do if is_share else self.rejected
        if share <= max_rejects or self.preview:
            return None
        others = "nothing was pushed" if self.rejected == self.to_do else "the others were pushed"
        first = f" The first: {self.rejects[0].reason.rstrip('.')}." if self.rejects else ""
        where = f" All are in {self.rejects_path}." if self.rejects_path else ""
        return PushFailedError(
            f"{self.rejected} of {self.to_do} records were rejected, max_rejects={max_rejects}; "
            f"{others}.{first}{where}",
            self,
        )

    def raise_for_failure(self, max_rejects: float = 0) -> None:
        """
        Raise what an operator's task would fail with; for a task of one's own.

        :param max_rejects: How many rejects are borne: a count, or a fraction below 1.
        :raises ClosersError: What stopped the push before its end.
        :raises PushFailedError: More were rejected; nothing is raised for a preview's.
        """
        if failure := self.failure(max_rejects):
            raise failure

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a small JSON object, with emails masked."""
        return {
            "operation": self.operation,
            "preview": self.preview,
            "total": self.total,
            **self.outcomes,
            "withheld_flags": self.withheld_flags,
            "requests": self.requests,
            "retries": self.retries,
            "throttled": self.throttled,
            "seconds": round(self.seconds, 3),
            "error": str(self.error) if self.error else None,
            "pace": [list(moment) for moment in self.pace],
            "reject_reasons": [
                {"reason": reason, "count": n} for reason, n in self.reasons.most_common(_REASONS_TOLD)
            ],
            "rejects": [reject.as_dict() for reject in self.rejects],
            "rejects_path": self.rejects_path,
        }

    def serialize(self) -> dict[str, Any]:
        """Return what Airflow puts into XCom should a task return the report itself."""
        return self.as_dict()

    def __str__(self) -> str:
        """Return one line for a log: what became of how many records."""
        outcomes = ", ".join(f"{n:,} {name}" for name, n in self.outcomes.items() if n) or "no records"
        retries = f", {self.retries:,} of them retries" if self.retries else ""
        withheld = f"; {self.withheld_flags:,} status flags withheld" if self.withheld_flags else ""
        operation = f"preview of {self.operation}" if self.preview else self.operation
        return (
            f"{operation}: {self.total:,} read: {outcomes}{withheld}; "
            f"{self.requests:,} requests{retries}, {self.seconds:.1f} s"
        )
