"""Sends a request as often as it takes, at the pace of the whole push."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import NamedTuple, Protocol

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.client import error_from
from airflow_provider_closers.errors import ClosersError
from airflow_provider_closers.push.journey import Request
from airflow_provider_closers.push.pace import Pacer
from airflow_provider_closers.push.retry import LONGEST_WAIT, asks_too_much, backoff, should_retry

#: The API counts as out of order after so many seconds, and so many answers, of no use.
OUTAGE_SECONDS = 60.0
OUTAGE_ANSWERS = 5

# Where an earlier try was lost, this answer is that try's own effect.
_OWN_EFFECT = {"POST": Verdict.EXISTS, "DELETE": Verdict.NOT_FOUND}


class Client(Protocol):
    """Sends a request once."""

    def send(self, method: str, body: dict[str, object]) -> Answer:
        """Return the answer; never raises for what the network does."""


class PushStoppedError(Exception):
    """The push has stopped; this request was not settled."""


class Sent(NamedTuple):
    """A request's last answer, and how many tries it took."""

    answer: Answer
    attempts: int


class Sender:
    """
    Sends requests, again where it makes sense; safe to share between threads.

    :param client: Sends once.
    :param pacer: When requests may leave.
    :param max_attempts: Tries of one request, at most.
    :param longest_wait: Seconds of ``Retry-After`` that are waited for.
    """

    def __init__(
        self, client: Client, pacer: Pacer, max_attempts: int, longest_wait: float = LONGEST_WAIT
    ) -> None:
        self._client = client
        self._pacer = pacer
        self._max_attempts = max_attempts
        self._longest_wait = longest_wait
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._useless_in_a_row = 0
        self._useless_since = 0.0
        self.requests = 0
        self.retries = 0
        #: What stopped the sending, if the API did.
        self.error: ClosersError | None = None

    def send(self, request: Request) -> Sent:
        """
        Send until the answer is final or the tries are used up.

        :raises PushStoppedError: Before an answer, because of :meth:`stop`, of another request's
            refused key, or of an outage.
        """
        attempts, lost = 0, False
        while True:
            sent_at = self._wait_for_a_moment()
            attempts += 1
            answer = self._send_once(request, is_retry=attempts > 1)
            self._learn_from(request, answer, sent_at)
            if lost and answer.verdict is _OWN_EFFECT.get(request.method):
                return Sent(replace(answer, verdict=Verdict.OK, is_assumed=True), attempts)
            lost = lost or answer.may_have_worked
            if not should_retry(answer, attempts, self._max_attempts):
                return Sent(replace(answer, may_have_worked=lost), attempts)
            if answer.retry_after is None and self._stopped.wait(backoff(attempts)):
                raise PushStoppedError

    def stop(self, error: ClosersError | None = None) -> None:
        """Send nothing more; requests that wait give up at once."""
        with self._lock:
            self.error = self.error or error
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more is sent."""
        return self._stopped.is_set()

    def _wait_for_a_moment(self) -> float:
        while True:
            moment = self._pacer.reserve()
            if self._stopped.wait(max(moment - time.monotonic(), 0.0)):
                raise PushStoppedError
            if self._pacer.still_good(moment):
                return time.monotonic()

    def _send_once(self, request: Request, *, is_retry: bool) -> Answer:
        with self._lock:
            self.requests += 1
            self.retries += is_retry
        return self._client.send(request.method, request.body)

    def _learn_from(self, request: Request, answer: Answer, sent_at: float) -> None:
        """Take from an answer what concerns the requests that follow."""
        if answer.verdict is Verdict.UNAUTHORIZED:
            self.stop(error_from(request.method, answer))
            raise PushStoppedError
        if answer.verdict is Verdict.RATE_LIMITED:
            self._pacer.throttled(sent_at)
        elif answer.status is not None:
            self._pacer.answered()
        if not answer.verdict.is_transient:
            self._useless_in_a_row = 0
            return
        if asks_too_much(answer, self._longest_wait) or self._adds_up_to_an_outage():
            self.stop(error_from(request.method, answer))
            raise PushStoppedError
        if answer.retry_after is not None:
            self._pacer.hold_back(answer.retry_after)
            # Waiting as asked is no sign of an outage.
            self._useless_since = max(self._useless_since, time.monotonic() + answer.retry_after)

    def _adds_up_to_an_outage(self) -> bool:
        """Note an answer of no use, and tell whether there were too many of them for too long."""
        now = time.monotonic()
        with self._lock:
            if self._useless_in_a_row == 0:
                # Not since the last useful answer: a source may have had nothing to send for long.
                self._useless_since = now
            self._useless_in_a_row += 1
            return self._useless_in_a_row >= OUTAGE_ANSWERS and now - self._useless_since > OUTAGE_SECONDS
