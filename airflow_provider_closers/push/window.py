"""
The records under way: which request leaves next, when, and what its answer comes to.

A monitor. The push's own thread puts records in and takes settled ones out; the workers' threads
each send one request at a time. Whatever is decided is decided under one lock, by whichever thread
is there; only sending happens outside of it. A record that waits (for its retry, its pace, an
earlier record of the same email) holds no thread.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_closers.address import normal_form
from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.client import error_from
from airflow_provider_closers.errors import ClosersError, ClosersUnavailableError
from airflow_provider_closers.prospect import Prospect
from airflow_provider_closers.push.journey import Journey, RecordRefusedError, Request, Router
from airflow_provider_closers.push.outage import NO_USE, OutageWatch
from airflow_provider_closers.push.pace import Pacer
from airflow_provider_closers.push.report import Outcome
from airflow_provider_closers.push.retry import (
    LONGEST_WAIT,
    OWN_EFFECT,
    RetryBudget,
    Tries,
    asks_too_much,
    backoff,
)
from airflow_provider_closers.settings import ClosersSettings

log = logging.getLogger(__name__)

_NEVER = float("inf")
_LATENCIES_KEPT = 100


class Client(Protocol):
    """Sends requests."""

    def send(self, method: str, body: dict[str, Any]) -> Answer:
        """Send one request, once; never raises for what the network does."""

    def abort(self) -> None:
        """End every request under way, at once, and send no more."""


@dataclass(slots=True, eq=False)
class Entry:
    """
    A record under way, and in the end what became of it.

    :param index: Its place in the input, from 0.
    :param record: The record as it was given.
    :param prospect: The record as it was read.
    :param is_doubtful: Whether what is found of it in the CRM may be its own effect: sent by this
        try of the push, or by an earlier one that was killed.
    """

    index: int
    record: Any
    prospect: Prospect
    is_doubtful: bool = False
    outcome: Outcome = Outcome.UNRESOLVED
    reason: str = ""
    status: int | None = None
    attempts: int = 0
    has_worked: bool = False
    lane: str = field(init=False)
    journey: Journey = field(init=False)
    request: Request = field(init=False)
    tries: Tries = field(init=False)
    sent_at: float = 0.0

    def __post_init__(self) -> None:
        # Whether two spellings are one person to the API or two, their records can't overtake each other.
        self.lane = normal_form(self.prospect.email)


class Window:
    """
    Sends the records that are put in, and hands them back when they are settled.

    Records of one email are sent one after the other, in the order in which they were put in.

    :param client: Sends the requests.
    :param settings: Concurrency, pace, tries, and how long an outage may last.
    :param route: What to do with each record.
    :param longest_wait: Seconds of ``Retry-After`` that are waited for; a longer one stops the push.
    """

    def __init__(
        self, client: Client, settings: ClosersSettings, route: Router, longest_wait: float = LONGEST_WAIT
    ) -> None:
        self._client = client
        self._route = route
        self._max_attempts = settings.max_attempts
        self._longest_wait = longest_wait
        self._max_workers = settings.max_concurrency
        #: Records under way at once, at most: enough to keep every worker busy while some wait.
        self.capacity = max(4 * settings.max_concurrency, 16)
        # In a row, without a useful answer in between: more is an outage, not bad luck.
        self._most_given_up = max(settings.max_concurrency, 10)

        now = time.monotonic()
        self._pacer = Pacer(settings.requests_per_second)
        self._outage = OutageWatch(settings.outage_seconds, settings.max_concurrency, longest_wait)
        self._budget = RetryBudget(now)

        # Not to be entered as a condition: its __enter__ can be interrupted after it took the lock.
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._awaited_size = -1
        self._alarm = _NEVER
        self._workers: list[threading.Thread] = []

        # A record under way is in one of these, or in flight.
        self._ready: deque[Entry] = deque()
        self._delayed: list[tuple[float, int, Entry]] = []
        self._tie_break = itertools.count()
        # Per email under way, the records of the same email that wait for it.
        self._lanes: dict[str, deque[Entry] | None] = {}
        self._in_lanes = 0
        self._in_flight = 0

        self._settled: deque[Entry] = deque()
        # Without a useful answer since the last that got one: rejects, unless it is an outage.
        self._given_up: list[Entry] = []
        self._first_lane: str | None = None
        self._has_one_lane = True  # since its beginning
        self._is_last_in = False
        self._is_stopped = False

        #: Whether records were dropped; known when the window is closed.
        self.was_cut_short = False
        #: What stopped the push, if the API did.
        self.error: ClosersError | None = None
        #: Requests sent, of those the repeated ones, and those that were answered 429.
        self.requests = self.retries = self.throttled = 0
        #: Seconds from request to answer, the latest of them.
        self.latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)

    # -- for the push's own thread

    @property
    def size(self) -> int:
        """How many records are under way."""
        with self._lock:
            return self._size()

    @property
    def in_flight(self) -> int:
        """How many requests are unanswered at the moment."""
        return self._in_flight

    @property
    def rate(self) -> float | None:
        """Requests per second that may leave at present, ``None`` for no limit."""
        return self._pacer.rate

    @property
    def dark_for(self) -> float:
        """For how many seconds the API has been asked by one request at a time, as no answer was of use."""
        with self._lock:
            return self._outage.dark_for(time.monotonic()) if self._is_dark else 0.0

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more is sent."""
        return self._is_stopped

    def add(self, entry: Entry) -> None:
        """Put a record in."""
        entry.journey = self._route.start(entry.prospect)
        with self._lock:
            if self._is_stopped:
                return
            self._first_lane = self._first_lane or entry.lane
            self._has_one_lane &= entry.lane == self._first_lane
            if entry.lane in self._lanes:
                self._wait_in_lane(entry)
            else:
                self._lanes[entry.lane] = None
                self._ready.append(entry)
                self._call_a_worker()

    def take_settled(self) -> Iterator[Entry]:
        """Return the records that were settled since, and take them out."""
        while self._settled:
            yield self._settled.popleft()

    def wait(self, at_most: int, seconds: float) -> None:
        """Wait until no more than so many records are under way, or for so long."""
        with self._lock:
            self._awaited_size = at_most
            self._room.wait_for(lambda: self._size() <= at_most, seconds)
            self._awaited_size = -1

    def last_is_in(self) -> None:
        """Note that no more records are to come."""
        with self._lock:
            self._is_last_in = True

    def stop(self, error: ClosersError | None = None) -> None:
        """Send nothing more; records that wait are dropped, unsettled."""
        with self._lock:
            self._stop(error)

    def close(self, seconds: float) -> None:
        """
        End the workers; what was given up without a useful answer is settled now.

        :param seconds: How long requests under way may take to end by themselves.
        """
        self.wait(0, seconds)
        if self.size:
            self._client.abort()
            self.wait(0, 1.0)
        with self._lock:
            self.was_cut_short = self._is_stopped or self._size() > 0
            if not self._is_stopped:
                self._settle_given_up()
            self._stop(None)

    # -- for the workers' threads

    def _run_worker(self) -> None:
        try:
            while (entry := self._next()) is not None:
                answer = self._send(entry.request)
                with self._lock:
                    try:
                        self._take_in(entry, answer, time.monotonic())
                    finally:
                        self._in_flight -= 1
                    if self._size() <= self._awaited_size:
                        self._room.notify()
        except BaseException as e:
            log.exception("The push failed in an unforeseen way.")
            self.stop(
                ClosersError(f"The push failed in an unforeseen way ({type(e).__name__}); see the log.")
            )

    def _next(self) -> Entry | None:
        """Wait until a request may leave and return its record; ``None`` after the stop."""
        with self._lock:
            while not self._is_stopped:
                now = time.monotonic()
                moment = self._next_moment(now)
                if moment <= now:
                    return self._leave(now)
                self._wait_for(moment, now)
            return None

    def _send(self, request: Request) -> Answer:
        try:
            return self._client.send(request.method, request.body)
        except BaseException as e:
            log.exception("A request failed in an unforeseen way.")
            # Should all fail so, it is an outage.
            return Answer(
                Verdict.UNAVAILABLE, reason=f"sending raised {type(e).__name__}", may_have_worked=True
            )

    # -- what leaves next, and when (the lock is held from here on)

    def _size(self) -> int:
        return len(self._ready) + len(self._delayed) + self._in_lanes + self._in_flight

    def _next_moment(self, now: float) -> float:
        due = now if self._ready else self._next_retry(now)
        if due == _NEVER:
            return _NEVER
        moment = max(due, self._pacer.next_moment())
        return max(moment, self._outage.next_probe(self._in_flight)) if self._is_dark else moment

    def _next_retry(self, now: float) -> float:
        return max(self._delayed[0][0], self._budget.next_moment(now)) if self._delayed else _NEVER

    @property
    def _is_dark(self) -> bool:
        # One email's records go on by themselves: whether it is their fault shows when another is asked.
        return self._outage.is_dark and not (self._outage.may_be_one_email and len(self._lanes) == 1)

    def _leave(self, now: float) -> Entry:
        # A retry goes first, so that the oldest are settled first; a dark API is asked by those who
        # have the most tries left.
        is_retry = self._next_retry(now) <= now and not (self._ready and self._is_dark)
        if is_retry:
            entry = heapq.heappop(self._delayed)[2]
            self._budget.spend()
        else:
            entry = self._ready.popleft()
            self._settle_predecessor(entry)
            if not entry.attempts:
                # As late as can be: what others came to decides how an upsert begins.
                self._prepare(entry, next(entry.journey), is_lost=entry.is_doubtful)
        self._pacer.leave(now)
        self._in_flight += 1
        self.requests += 1
        self.retries += is_retry
        entry.sent_at = now
        entry.is_doubtful = entry.has_worked or entry.request.method in OWN_EFFECT
        if self._ready or self._delayed:
            self._call_a_worker()
        return entry

    def _wait_for(self, moment: float, now: float) -> None:
        """Wait for a moment, or to be called; one worker sets an alarm for it, the others just wait."""
        if moment < self._alarm:
            self._alarm = moment
            self._work.wait(moment - now)
            if self._alarm == moment:
                self._alarm = _NEVER
        else:
            self._work.wait()

    def _call_a_worker(self) -> None:
        if len(self._workers) < min(self._max_workers, self._in_flight + len(self._ready)):
            self._hire_a_worker()
        else:
            self._work.notify()

    def _hire_a_worker(self) -> None:
        # A daemon: a worker that hangs in the resolver must not keep the process from ending.
        worker = threading.Thread(
            target=self._run_worker, name=f"closers-push-{len(self._workers)}", daemon=True
        )
        try:
            worker.start()
        except RuntimeError:  # the system has no more threads to give: fewer will do
            self._max_workers = len(self._workers)
            if not self._workers:
                raise
        else:
            self._workers.append(worker)

    # -- what an answer comes to

    def _take_in(self, entry: Entry, answer: Answer, now: float) -> None:
        entry.attempts += 1
        self._learn_from(entry, answer, now)
        final = entry.tries.final(answer)
        entry.is_doubtful = entry.has_worked or entry.tries.may_find_own_effect
        if final is not None and not self._outage.costs_no_try(answer):
            return self._advance(entry, final)
        if not self._is_stopped:
            # The pacer sees to a wait that was asked for; zero asks for none.
            tries = min(entry.tries.count, self._max_attempts)
            at = now if answer.retry_after else now + backoff(tries)
            heapq.heappush(self._delayed, (at, next(self._tie_break), entry))
        return None

    def _learn_from(self, entry: Entry, answer: Answer, now: float) -> None:
        """Take from an answer what concerns the requests that follow."""
        self.latencies.append(now - entry.sent_at)
        self._outage.note(answer, entry.lane, entry.sent_at, now)
        self.throttled += answer.verdict is Verdict.RATE_LIMITED
        if answer.verdict is Verdict.UNAUTHORIZED or asks_too_much(answer, self._longest_wait):
            return self._stop(error_from(entry.request.method, answer))
        self._pacer.note(answer, entry.sent_at, now)
        if answer.verdict not in NO_USE:
            self._budget.earn()
            self._settle_given_up()
        elif self._is_outage(now):
            self._stop(error_from(entry.request.method, answer))
        return None

    def _is_outage(self, now: float) -> bool:
        # A push of one email has no other to ask.
        is_general = not self._outage.may_be_one_email or (self._has_one_lane and self._is_last_in)
        return is_general and self._outage.is_outage(now)

    def _advance(self, entry: Entry, answer: Answer) -> None:
        """Take a record on to its next request, or settle it."""
        if answer.verdict is Verdict.OK and entry.request.method in OWN_EFFECT:
            entry.has_worked = entry.is_doubtful = True  # until it is accounted for
        try:
            request = entry.journey.send(answer)
        except StopIteration as end:
            self._settle(entry, end.value)
        except RecordRefusedError as e:
            entry.reason, entry.status = e.reason, e.status
            if answer.verdict in NO_USE or answer.verdict is Verdict.UNAUTHORIZED:
                self._give_up(entry)
            else:
                self._settle(entry, Outcome.REJECTED)
        else:
            if not self._is_stopped:
                self._prepare(entry, request)
                self._ready.appendleft(entry)  # What was begun is completed first.

    def _prepare(self, entry: Entry, request: Request, *, is_lost: bool = False) -> None:
        entry.request = request
        entry.tries = Tries(request.method, self._max_attempts, is_lost=is_lost)

    def _settle(self, entry: Entry, outcome: Outcome) -> None:
        entry.outcome = outcome
        self._settled.append(entry)
        self._open_lane(entry.lane)

    def _give_up(self, entry: Entry) -> None:
        """Put a record aside that got no useful answer in all its tries."""
        if self._is_stopped:
            return  # It was cut short, not refused.
        self._given_up.append(entry)
        self._open_lane(entry.lane)
        if len(self._given_up) >= self._most_given_up:
            self._stop(
                ClosersUnavailableError(
                    f"The last {len(self._given_up)} records got no useful answer ({entry.reason}); "
                    "the push is stopped so as not to reject them and the rest."
                )
            )

    def _settle_given_up(self) -> None:
        """Reject what got no useful answer although others did."""
        for entry in self._given_up:
            entry.outcome = Outcome.REJECTED
        self._settled.extend(self._given_up)
        self._given_up.clear()

    def _settle_predecessor(self, entry: Entry) -> None:
        """Reject what was given up of the same email: to send it in a later try would be out of order."""
        for earlier in [given_up for given_up in self._given_up if given_up.lane == entry.lane]:
            self._given_up.remove(earlier)
            earlier.outcome = Outcome.REJECTED
            self._settled.append(earlier)

    def _wait_in_lane(self, entry: Entry) -> None:
        waiting = self._lanes[entry.lane]
        if waiting is None:
            waiting = self._lanes[entry.lane] = deque()
        waiting.append(entry)
        self._in_lanes += 1

    def _open_lane(self, lane: str) -> None:
        """Let the next record of an email go."""
        if waiting := self._lanes.get(lane):
            self._in_lanes -= 1
            self._ready.append(waiting.popleft())
        else:
            self._lanes.pop(lane, None)

    def _stop(self, error: ClosersError | None) -> None:
        self._is_stopped = True
        self.error = self.error or error
        self._ready.clear()
        self._delayed.clear()
        self._lanes.clear()
        self._in_lanes = 0
        self._given_up.clear()
        self._work.notify_all()
        self._room.notify_all()
