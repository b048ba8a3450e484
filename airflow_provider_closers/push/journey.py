"""
The requests that settle one record.

A journey yields a request, is sent its final answer, and returns the outcome. How a request is
tried again, and how fast, is not its business.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.choices import check_choice
from airflow_provider_closers.prospect import Prospect
from airflow_provider_closers.push.report import Outcome

OPERATIONS = ("create", "update", "upsert", "delete")


class Request(NamedTuple):
    """A request to send."""

    method: str
    body: dict[str, Any]


Journey = Generator[Request, Answer, Outcome]


class Router(Protocol):
    """Tells what to do with each record of a push."""

    @property
    def operation(self) -> str:
        """What the push is called in its report."""

    def start(self, prospect: Prospect) -> Journey:
        """Return the journey of one record."""


class RecordRefusedError(Exception):
    """
    The API, or what the user asked for, makes this record a reject.

    :param may_have_worked: Whether the record's requests may have changed something in the CRM all the same.
    """

    def __init__(self, reason: str, status: int | None, *, may_have_worked: bool = False) -> None:
        super().__init__(reason, status, may_have_worked)
        self.reason = reason
        self.status = status
        self.may_have_worked = may_have_worked


class Familiarity:
    """
    How many of the latest prospects the API knew: what an upsert goes by.

    A wrong guess costs a request. The latest count most, since inputs are often sorted by age.
    """

    _WEIGHT_OF_THE_LATEST = 0.1

    def __init__(self) -> None:
        self._share = 0.5

    @property
    def expects_known(self) -> bool:
        """Whether the next prospect is more likely known than new."""
        return self._share > 0.5

    def note(self, *, is_known: bool) -> None:
        """Note what the API said of a prospect."""
        self._share += (is_known - self._share) * self._WEIGHT_OF_THE_LATEST


@dataclass(frozen=True, kw_only=True)
class Route:
    """
    What to do with each record of a push.

    :param operation: One of :data:`OPERATIONS`.
    :param if_exists: For create: ``skip`` (default), ``update`` or ``fail``.
    :param if_missing: For update: ``fail`` (default), ``skip`` or ``create``; for delete:
        ``skip`` (default) or ``fail``.
    :raises ClosersConfigError: One of them is something else.
    """

    operation: str
    if_exists: str | None = None
    if_missing: str | None = None
    _familiarity: Familiarity = field(default_factory=Familiarity, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("operation", self.operation, OPERATIONS)
        if self.if_exists is not None:
            check_choice("if_exists", self.if_exists, ("skip", "update", "fail"))
        if self.if_missing is not None:
            allowed = ("skip", "fail") if self.operation == "delete" else ("fail", "skip", "create")
            check_choice("if_missing", self.if_missing, allowed)

    def start(self, prospect: Prospect) -> Journey:
        """Return the journey of one record."""
        match self.operation:
            case "create":
                return _create(prospect, self.if_exists or "skip")
            case "upsert":
                return _upsert(prospect, self._familiarity)
            case "update":
                return _update(prospect, self.if_missing or "fail")
            case _:
                return _delete(prospect, self.if_missing or "skip")


def _create(prospect: Prospect, if_exists: str) -> Journey:
    answer = yield Request("POST", prospect.post_body)
    if answer.verdict is Verdict.EXISTS:
        if if_exists == "skip":
            return Outcome.EXISTING
        if if_exists == "fail":
            raise RecordRefusedError("a prospect with this email exists (if_exists='fail')", answer.status)
        _confirm("PATCH", (yield Request("PATCH", prospect.patch_body)))
        return Outcome.UPDATED
    _confirm("POST", answer)
    # The page lists fewer fields for POST than for PATCH: what is left follows. Where "created"
    # is only concluded, the prospect may be an older one: then an upsert sends it all.
    rest = prospect.patch_body if answer.is_assumed and if_exists == "update" else prospect.beyond_post_body
    if rest is not None:
        _confirm("PATCH", (yield Request("PATCH", rest)), "created, but not completed: ")
    return Outcome.CREATED


def _upsert(prospect: Prospect, familiarity: Familiarity) -> Journey:
    journey = _update(prospect, "create") if familiarity.expects_known else _create(prospect, "update")
    outcome = yield from journey
    familiarity.note(is_known=outcome is Outcome.UPDATED)
    return outcome


def _update(prospect: Prospect, if_missing: str) -> Journey:
    answer = yield Request("PATCH", prospect.patch_body)
    if answer.verdict is Verdict.NOT_FOUND:
        if if_missing == "create":
            return (yield from _create(prospect, "update"))
        return _missing(answer, if_missing)
    _confirm("PATCH", answer)
    return Outcome.UPDATED


def _delete(prospect: Prospect, if_missing: str) -> Journey:
    answer = yield Request("DELETE", {"email": prospect.email})
    if answer.verdict is Verdict.NOT_FOUND:
        return _missing(answer, if_missing)
    _confirm("DELETE", answer)
    return Outcome.DELETED


def _missing(answer: Answer, if_missing: str) -> Outcome:
    if if_missing == "skip":
        return Outcome.MISSING
    raise RecordRefusedError("no prospect has this email (if_missing='fail')", answer.status)


def _confirm(method: str, answer: Answer, so_far: str = "") -> None:
    """Raise unless the API confirmed the request."""
    if answer.verdict is Verdict.OK:
        return
    said = f"answered {answer.status}" if answer.status else "got no answer"
    why = f": {answer.reason}" if answer.reason else ""
    doubt = "; it may have worked all the same" if answer.may_have_worked else ""
    raise RecordRefusedError(
        f"{so_far}{method} {said}{why}{doubt}",
        answer.status,
        may_have_worked=bool(so_far) or answer.may_have_worked,
    )
