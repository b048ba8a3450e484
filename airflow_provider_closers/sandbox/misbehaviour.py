"""
How the sandbox misbehaves: the settings, the faults that wait for a request, and the rate limit.

Settings hold until they are changed and, where they are a matter of chance, strike at random. A fault
strikes the next request that it fits, a given number of times: what a test wants.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from email.utils import formatdate
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _as_text(value: Any) -> Any:
    """Take the dialect ``409`` for the text ``"409"``, which is what anybody would write in JSON."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Fraction = Annotated[float, Field(ge=0, le=1)]
ExistsDialect = Annotated[
    Literal["409", "400", "422", "422_errors", "200"],
    BeforeValidator(_as_text),
]
MissingDialect = Annotated[
    Literal["404", "400", "422", "422_errors", "200"],
    BeforeValidator(_as_text),
]


class Settings(BaseModel):
    """
    Everything the vendor's page leaves open, and what can go wrong on the way.

    The command line, ``/sandbox/settings`` and ``SandboxServer`` take these names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    latency: float = Field(default=0.0, ge=0, le=3600, description="seconds before a request takes effect")
    latency_jitter: float = Field(
        default=0.0, ge=0, le=3600, description="up to so many seconds more, at random"
    )
    requests_per_second: float | None = Field(
        default=None, gt=0, le=1_000_000, description="beyond it a request is answered 429 (unset: no limit)"
    )
    retry_after: Literal["none", "seconds", "date"] = Field(
        default="none", description="the form of Retry-After on a 429, and on a 503 of the error rate"
    )
    retry_after_seconds: int = Field(
        default=1, ge=0, le=86_400, description="how far ahead Retry-After points"
    )
    error_rate: Fraction = Field(
        default=0.0, description="share of requests answered 500, 502 or 503 without taking effect"
    )
    drop_rate: Fraction = Field(
        default=0.0,
        description="share of requests that take effect and whose connection is then closed unanswered",
    )
    exists_dialect: ExistsDialect = Field(
        default="409", description="how a POST says that the email is taken"
    )
    missing_dialect: MissingDialect = Field(
        default="404", description="how PATCH and DELETE say no such prospect"
    )
    success_body: Literal["json", "text", "empty"] = Field(
        default="json", description="the body of a success"
    )
    delete_email_in: Literal["body", "query", "either"] = Field(
        default="either", description="where DELETE takes the email"
    )
    other_attribute: Literal["merge", "replace"] = Field(
        default="merge", description="what PATCH does with the attributes that it does not name"
    )
    ignore_email_case: bool = Field(default=False, description="take emails that differ in case for one")

    def changed(self, changes: dict[str, Any]) -> Settings:
        """
        Return the settings with these changes, validated as a whole.

        :raises ValueError: A setting is unknown or its value is not allowed.
        """
        return Settings.model_validate({**self.model_dump(), **changes})

    def retry_after_header(self) -> str | None:
        """Return the value of ``Retry-After``, if there shall be one."""
        if self.retry_after == "none":
            return None
        if self.retry_after == "seconds":
            return str(self.retry_after_seconds)
        # A date has whole seconds: rounded up, so that it never lies in the past.
        return formatdate(math.ceil(time.time()) + self.retry_after_seconds, usegmt=True)


FaultKind = Literal[
    "error", "html", "redirect", "empty", "truncate", "drop", "reset_before", "hang", "drip", "close"
]

_DEFAULT_STATUS = {"error": 503, "html": 200, "redirect": 302}

# After most of these the caller can't know that the write took place; that is what they are for.
_WRITES = frozenset({"empty", "truncate", "drop", "hang", "drip", "close"})


class Fault(BaseModel):
    """
    Something that goes wrong with the next request that it fits.

    - ``error``: an answer with an error status (503) as JSON; the request takes no effect.
    - ``html``: a page of HTML (status 200), as from a proxy or a log-in wall; no effect.
    - ``redirect``: a redirect (302) to a page that answers 200; no effect.
    - ``empty``: takes effect; the answer has its status but no body.
    - ``truncate``: takes effect; the connection is closed in the middle of the answer.
    - ``drop``: takes effect; the connection is closed without a byte of an answer.
    - ``reset_before``: the connection is reset; no effect.
    - ``hang``: takes effect; no answer comes until the caller gives up.
    - ``drip``: takes effect; the answer comes a byte at a time, and goes on until the caller gives up.
    - ``close``: takes effect and is answered as it should be; then the connection is closed, of which
      the answer said nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: FaultKind
    email: str | None = Field(default=None, description="only a request for this email")
    method: Literal["POST", "PATCH", "DELETE"] | None = Field(default=None, description="only this method")
    times: int = Field(default=1, ge=1, le=1_000_000, description="how many requests it strikes")
    after: int | None = Field(
        default=None, ge=0, le=1_000_000, description="how many requests that it fits it lets pass before"
    )
    status: int | None = Field(
        default=None, ge=200, le=599, description="the status answered (error, html, redirect, empty)"
    )
    retry_after: int | str | None = Field(
        default=None, description="the value of Retry-After: seconds or an HTTP date (error, html)"
    )
    location: str | None = Field(default=None, description="where a redirect points")
    writes: bool | None = Field(default=None, description="whether the request takes effect all the same")

    @model_validator(mode="after")
    def _only_what_the_kind_can_use(self) -> Fault:
        if self.status is not None and self.kind not in ("error", "html", "redirect", "empty"):
            raise ValueError(f"status has no meaning for a fault of kind {self.kind}")
        if self.kind == "error" and self.answered_status(503) < 400:
            raise ValueError("the status of an error is between 400 and 599")
        if self.kind == "redirect" and not 300 <= self.answered_status(302) < 400:
            raise ValueError("the status of a redirect is between 300 and 399")
        if self.retry_after is not None:
            if self.kind not in ("error", "html"):
                raise ValueError(f"retry_after has no meaning for a fault of kind {self.kind}")
            _refuse_control_characters("retry_after", str(self.retry_after))
        if self.location is not None:
            if self.kind != "redirect":
                raise ValueError(f"location has no meaning for a fault of kind {self.kind}")
            _refuse_control_characters("location", self.location)
        return self

    def answered_status(self, otherwise: int) -> int:
        """Return the status to answer, given the one that the request would have had."""
        return self.status or _DEFAULT_STATUS.get(self.kind, otherwise)

    @property
    def takes_effect(self) -> bool:
        """Whether the request is carried out before things go wrong."""
        return self.kind in _WRITES if self.writes is None else self.writes

    def fits(self, method: str, email: str | None) -> bool:
        """Tell whether a request is one that this fault waits for."""
        return self.method in (None, method) and self.email in (None, email)


def _refuse_control_characters(name: str, value: str) -> None:
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} can't be the value of a header")


@dataclass(slots=True, eq=False)
class _Waiting:
    """A fault with the requests that it still strikes, and those that it lets pass before."""

    fault: Fault
    left: int
    to_pass: int


class FaultQueue:
    """The faults to come; of those whose turn it is with a request, the one added first strikes."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    def add(self, fault: Fault) -> None:
        """Let a fault wait for its request."""
        self._waiting.append(_Waiting(fault, fault.times, fault.after or 0))

    def take(self, method: str, email: str | None) -> Fault | None:
        """Return the fault that strikes this request, and count it."""
        for waiting in self._waiting:
            if not waiting.fault.fits(method, email):
                continue
            if waiting.to_pass:
                waiting.to_pass -= 1
                continue
            waiting.left -= 1
            if not waiting.left:
                self._waiting.remove(waiting)
            return waiting.fault
        return None

    def clear(self) -> None:
        """Forget all faults."""
        self._waiting.clear()

    def pending(self) -> list[Fault]:
        """Return the faults that still wait, each with the ``times`` and ``after`` that it has left."""
        return [
            waiting.fault.model_copy(update={"times": waiting.left, "after": waiting.to_pass or None})
            for waiting in self._waiting
        ]


class RateLimit:
    """
    A sliding window: of any span of one second, no more requests pass than the rate.

    A rate that is no whole number stretches the window, so that 0.5 means one request in two seconds.
    Requests that are refused do not count.
    """

    def __init__(self) -> None:
        self._passed: deque[float] = deque()

    def allows(self, rate: float, now: float) -> bool:
        """Tell whether a request at this time of the monotonic clock passes, and count it if so."""
        most = max(1, int(rate))
        oldest = now - most / rate
        passed = self._passed
        while passed and passed[0] <= oldest:
            passed.popleft()
        if len(passed) >= most:
            return False
        passed.append(now)
        return True

    def clear(self) -> None:
        """Forget the requests that passed."""
        self._passed.clear()
