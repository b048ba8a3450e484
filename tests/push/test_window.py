"""
The records under way, against a client that answers when the test says so.

Real threads, and no sleeping: what has not happened is known from what the window's only worker does
instead. Each wait has a limit, so that a lost wake-up fails a test and does not hang it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.errors import (
    ClosersAPIError,
    ClosersAuthError,
    ClosersError,
    ClosersRateLimitError,
    ClosersUnavailableError,
)
from airflow_provider_closers.prospect import Prospect
from airflow_provider_closers.push import outage
from airflow_provider_closers.push import window as module
from airflow_provider_closers.push.journey import Journey, RecordRefusedError, Request, Route
from airflow_provider_closers.push.pace import Pacer
from airflow_provider_closers.push.report import Outcome
from airflow_provider_closers.push.window import Entry, Window
from airflow_provider_closers.settings import ClosersSettings

OK = Answer(Verdict.OK, 200)
EXISTS = Answer(Verdict.EXISTS, 409)
NOT_FOUND = Answer(Verdict.NOT_FOUND, 404)
REFUSED = Answer(Verdict.REFUSED, 422)
NOT_THE_API = Answer(Verdict.NOT_THE_API, 302)
UNAUTHORIZED = Answer(Verdict.UNAUTHORIZED, 401)
#: Did not take effect: no connection, or the API says so itself.
DOWN = Answer(Verdict.UNAVAILABLE, 503)
#: May have taken effect: the answer was lost on its way.
LOST = Answer(Verdict.UNAVAILABLE, may_have_worked=True)
SLOW_DOWN = Answer(Verdict.RATE_LIMITED, 429)

#: Seconds after which what should have happened will not.
NEVER = 20.0


class ScriptedClient:
    """Holds each request until the test answers it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._answers: list[Future[Answer]] = []
        self.sent: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.sent_at: list[float] = []
        self.is_aborted = False
        #: Whether requests under way end when they are aborted, as they should.
        self.heeds_abort = True

    def send(self, method: str, body: dict[str, Any]) -> Answer:
        answer: Future[Answer] = Future()
        with self._changed:
            self.sent.append((method, body["email"].partition("@")[0]))
            self.bodies.append(body)
            self.sent_at.append(time.monotonic())
            self._answers.append(answer)
            self._changed.notify_all()
        return answer.result(3 * NEVER)

    def abort(self) -> None:
        self.is_aborted = True
        if self.heeds_abort:
            self.end_all()

    def end_all(self) -> None:
        with self._changed:
            for answer in self._answers:
                if not answer.done():
                    answer.set_result(LOST)

    def request(self, number: int) -> tuple[str, str]:
        """Wait for the request of this number, from 0."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.sent) > number, NEVER)
        assert came, f"only {len(self.sent)} requests were sent: {self.sent}"
        return self.sent[number]

    def answer(self, number: int, answer: Answer | Exception) -> None:
        self.request(number)
        if isinstance(answer, Exception):
            self._answers[number].set_exception(answer)
        else:
            self._answers[number].set_result(answer)


class ScriptedPacer:
    """Gives the moment that the test sets, and keeps what it is told."""

    note = Pacer.note

    def __init__(self, requests_per_second: float | None = None) -> None:
        self.rate = requests_per_second
        self.moment = 0.0
        self.told: list[tuple[Any, ...]] = []
        self._was_asked = threading.Semaphore(0)

    def next_moment(self) -> float:
        self._was_asked.release()
        return self.moment

    def leave(self, now: float) -> None:
        self.told.append(("leave",))

    def answered(self, sent_at: float) -> None:
        self.told.append(("answered",))

    def throttled(self, sent_at: float, now: float, retry_after: float | None) -> None:
        assert sent_at <= now
        self.told.append(("throttled", retry_after))

    def hold_back(self, until: float) -> None:
        self.told.append(("hold back", round(until - time.monotonic())))

    def wait_until_asked(self) -> None:
        assert self._was_asked.acquire(timeout=NEVER)


class Pushing:
    """A window, its client, and what its own thread does, in a test's words."""

    def __init__(self, route: Route, **connection: Any) -> None:
        self.client = ScriptedClient()
        self.window = Window(self.client, ClosersSettings(api_key="k", **connection), route)
        self.pacer: Any = self.window._pacer
        self.settled: list[Entry] = []
        self._count = 0
        self._answered = threading.Semaphore(0)
        take_in = self.window._take_in

        def take_in_and_tell(*arguments: Any) -> None:
            try:
                take_in(*arguments)
            finally:
                self._answered.release()

        self.window._take_in = take_in_and_tell  # type: ignore[method-assign]

    def add(self, *names: str, is_doubtful: bool = False, **fields: Any) -> list[Entry]:
        """Put in a record of each name, which is its email but for the domain."""
        entries = []
        for name in names:
            prospect = Prospect(f"{name}@acme.io", {"firstName": name, **fields})
            entry = Entry(self._count, {"email": prospect.email}, prospect, is_doubtful)
            self._count += 1
            self.window.add(entry)
            entries.append(entry)
        return entries

    def answer(self, *answers: Answer | Exception, at: int = 0) -> None:
        """Answer the requests from number ``at`` on, one after the other; return when each was taken in."""
        for number, answer in enumerate(answers, at):
            self.client.answer(number, answer)
            assert self._answered.acquire(timeout=NEVER)
            with self.window._lock:
                pass  # The worker has done what it does under the lock.

    def outcomes(self) -> dict[str, str]:
        """Return what became of each record that was settled."""
        self.settled.extend(self.window.take_settled())
        return {entry.prospect.email.partition("@")[0]: entry.outcome.value for entry in self.settled}

    def finish(self) -> dict[str, str]:
        """End as a push does that came to its end."""
        self.window.wait(0, NEVER)
        assert self.window.size == 0
        self.window.close(NEVER)
        return self.outcomes()

    def stop(self) -> dict[str, str]:
        """End as a push does that is told to; what is in flight does not answer any more."""
        self.window.stop()
        self.window.close(0.0)
        return self.outcomes()

    @property
    def workers(self) -> int:
        return len(self.window._workers)

    def end(self) -> None:
        self.window.stop()
        self.client.end_all()
        for worker in self.window._workers:
            worker.join(NEVER)
            assert not worker.is_alive()


class Backoff:
    """Waits for no time at all, or for ever, and keeps for which tries it was asked."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.asked: list[int] = []

    def __call__(self, attempts: int) -> float:
        self.asked.append(attempts)
        return self.seconds

    def for_ever(self) -> None:
        self.seconds = 1e6


@pytest.fixture
def backoff(monkeypatch) -> Backoff:
    backoff = Backoff()
    monkeypatch.setattr(module, "backoff", backoff)
    return backoff


@pytest.fixture
def no_pauses(monkeypatch) -> None:
    """Let probes of a dark API leave at once, though one at a time."""
    monkeypatch.setattr(outage, "_FIRST_PAUSE", 0.0)


@pytest.fixture
def pushing(monkeypatch, backoff) -> Iterator[Callable[..., Pushing]]:
    """Begin a push: its operation, or its route, and the connection's extras by their names."""
    begun: list[Pushing] = []
    monkeypatch.setattr(module, "Pacer", ScriptedPacer)

    def begin(route: Any = "create", **connection: Any) -> Pushing:
        connection = {"max_concurrency": 1} | connection
        if isinstance(route, str):
            route = Route(operation=route)
        begun.append(Pushing(route, **connection))
        return begun[-1]

    yield begin
    for push in begun:
        push.end()


# -- what leaves, and in which order


def test_records_are_sent_in_the_order_in_which_they_were_put_in(pushing):
    push = pushing()

    push.add("a", "b", "c")
    push.answer(OK, OK, OK)

    assert push.client.sent == [("POST", "a"), ("POST", "b"), ("POST", "c")]
    assert push.finish() == {"a": "created", "b": "created", "c": "created"}


def test_a_record_that_waits_for_its_retry_holds_no_worker(pushing, backoff):
    push = pushing()
    backoff.for_ever()

    push.add("a", "b", "c")
    push.answer(DOWN, OK, OK)

    assert push.client.sent == [("POST", "a"), ("POST", "b"), ("POST", "c")]
    assert push.outcomes() == {"b": "created", "c": "created"}
    assert (push.window.size, push.window.in_flight, push.workers) == (1, 0, 1)


def test_many_that_wait_hold_nobody_either(pushing, backoff):
    push = pushing(max_concurrency=2, max_attempts=2)
    backoff.for_ever()

    push.add(*"abcd")
    push.answer(DOWN, DOWN, DOWN, DOWN)
    push.add("e")
    push.answer(OK, at=4)

    assert push.outcomes() == {"e": "created"}
    assert (push.window.size, push.window.in_flight) == (4, 0)


def test_a_retry_goes_before_new_ones(pushing):
    push = pushing()

    push.add("a", "b")
    push.answer(DOWN, DOWN, OK, OK)

    assert push.client.sent == [("POST", "a"), ("POST", "a"), ("POST", "a"), ("POST", "b")]


def test_the_retry_that_is_due_first_goes_first(pushing, backoff):
    push = pushing()

    push.add("a", "b", "c")
    backoff.for_ever()
    push.answer(DOWN)
    backoff.seconds = 0.0
    push.answer(DOWN, OK, OK, at=1)

    assert [name for _, name in push.client.sent] == ["a", "b", "b", "c"]


def test_what_was_begun_is_completed_first(pushing):
    push = pushing()

    push.add("a", "b", title="CTO")
    push.answer(OK, OK, OK, OK)

    assert push.client.sent == [("POST", "a"), ("PATCH", "a"), ("POST", "b"), ("PATCH", "b")]
    assert push.finish() == {"a": "created", "b": "created"}


def test_tries_are_spaced_by_the_backoff_of_their_own_request(pushing, backoff):
    push = pushing()

    push.add("a", title="CTO")
    push.answer(DOWN, LOST, SLOW_DOWN, OK, DOWN, OK)

    assert backoff.asked == [1, 2, 3, 1]
    assert push.finish() == {"a": "created"}
    assert [entry.attempts for entry in push.settled] == [6]


def test_a_backoff_is_waited_for(pushing, backoff):
    push = pushing()
    backoff.seconds = 0.05

    push.add("a")
    push.answer(DOWN, OK)

    first, second = push.client.sent_at
    assert second - first >= 0.05


def test_requests_retries_and_429s_are_counted(pushing):
    push = pushing()

    push.add("a", title="CTO")
    push.answer(SLOW_DOWN, DOWN, SLOW_DOWN, OK, LOST, OK)

    window = push.window
    assert (window.requests, window.retries, window.throttled) == (6, 4, 2)


def test_what_an_earlier_process_may_have_sent_is_taken_for_its_effect(pushing):
    push = pushing("upsert")

    push.add("a", is_doubtful=True)
    push.add("b")
    # The first answer finds the lost POST's effect; the second is of a request never sent before.
    push.answer(EXISTS, OK, EXISTS, OK)

    assert push.finish() == {"a": "created", "b": "updated"}


def test_one_request_s_lost_answer_says_nothing_of_the_next(pushing):
    push = pushing(Route(operation="update", if_missing="create"))

    push.add("a")
    push.answer(LOST, NOT_FOUND, EXISTS, OK)

    assert push.client.sent == [("PATCH", "a"), ("PATCH", "a"), ("POST", "a"), ("PATCH", "a")]
    assert push.finish() == {"a": "updated"}


# -- records of one email


@pytest.mark.parametrize("other", ["jane", "JANE", "Jane"])
def test_records_of_one_email_never_overtake(pushing, other):
    push = pushing("update", max_concurrency=4)

    push.add("jane", other, "bob")
    # Were it free to go, the second would have gone before the third.
    assert {push.client.request(0)[1], push.client.request(1)[1]} == {"jane", "bob"}
    assert push.window.size == 3
    push.answer(OK, at=push.client.sent.index(("PATCH", "jane")))

    assert push.client.request(2) == ("PATCH", other)


@pytest.mark.parametrize(
    ("answers", "requests"),
    [
        pytest.param([DOWN, OK, OK], ["POST a", "POST a", "PATCH a"], id="a retry"),
        pytest.param([LOST, EXISTS, OK], ["POST a", "POST a", "PATCH a"], id="a lost answer"),
        pytest.param([OK, DOWN, OK], ["POST a", "PATCH a", "PATCH a"], id="a retry of what follows"),
        pytest.param([REFUSED], ["POST a"], id="a refusal"),
        pytest.param([NOT_THE_API], ["POST a"], id="it was given up"),
    ],
)
def test_the_next_of_an_email_waits_for_all_that_the_first_takes(pushing, backoff, answers, requests):
    push = pushing("create", max_concurrency=2)
    backoff.seconds = 0.02  # A worker has the time to take another record meanwhile.

    push.add("a", "A", title="CTO")
    push.answer(*answers)
    push.client.request(len(answers))

    assert [" ".join(request) for request in push.client.sent] == [*requests, "POST A"]


def test_a_long_line_of_one_email_is_sent_one_by_one(pushing):
    push = pushing("update", max_concurrency=4)
    names = ["jane", "Jane", "JANE", "jAnE"] * 5

    push.add(*names)
    push.answer(*[OK] * len(names))

    assert [name for _, name in push.client.sent] == names
    assert push.workers == 1
    push.finish()
    assert [entry.index for entry in push.settled] == list(range(len(names)))


def test_an_email_whose_records_were_all_settled_starts_anew(pushing):
    push = pushing("update")

    for number in range(3):
        push.add("jane")
        push.answer(OK, at=number)

    assert push.window._lanes == {}
    assert len(push.client.sent) == 3


# -- workers


def test_workers_are_hired_as_needed(pushing):
    push = pushing(max_concurrency=8)

    for number in range(10):
        push.add(f"p{number}")
        push.answer(OK, at=number)

    assert push.workers == 1


def test_no_more_than_max_concurrency_are_in_flight(pushing):
    push = pushing(max_concurrency=3)

    push.add(*"abcdef")
    push.client.request(2)

    assert (push.workers, push.window.in_flight, push.window.size) == (3, 3, 6)
    assert len(push.client.sent) == 3


def test_a_burst_gets_all_workers_at_once(pushing):
    """One worker that has nothing to do must not be taken for enough."""
    push = pushing(max_concurrency=8)
    push.add("first")
    push.answer(OK)
    assert push.workers == 1

    push.add(*"abcdefgh")
    push.client.request(8)  # Nobody has answered: eight are in flight.

    assert (push.workers, push.window.in_flight) == (8, 8)


def test_workers_that_have_nothing_to_do_wake_up_for_a_burst(pushing):
    push = pushing(max_concurrency=8)
    push.add(*"abcdefgh")
    push.answer(*[OK] * 8)

    push.add(*"ijklmnop")
    push.client.request(15)

    assert (push.workers, push.window.in_flight) == (8, 8)


def test_where_the_system_has_no_more_threads_fewer_do(pushing, monkeypatch):
    push = pushing(max_concurrency=8)
    push.add("a")
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("closers-push"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    push.add("b", "c")
    push.answer(OK, OK, OK)

    assert push.workers == 1
    assert push.finish() == {"a": "created", "b": "created", "c": "created"}


def test_where_the_system_has_no_thread_at_all_it_says_so(pushing, monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        pushing().add("a")


@pytest.mark.parametrize("is_stopped", [False, True], ids=["at its end", "stopped"])
def test_all_workers_end_when_the_window_is_closed(pushing, is_stopped):
    push = pushing(max_concurrency=4)
    push.add(*"abcd")
    push.answer(OK, OK, OK, OK)

    push.stop() if is_stopped else push.finish()

    for worker in push.window._workers:
        worker.join(NEVER)
    assert [worker.is_alive() for worker in push.window._workers] == [False] * 4


def test_a_worker_does_not_keep_the_process_alive(pushing):
    push = pushing()

    push.add("a")

    assert all(worker.daemon for worker in push.window._workers)


def test_a_window_that_was_never_used_closes():
    window = Window(ScriptedClient(), ClosersSettings(api_key="k"), Route(operation="create"))

    window.last_is_in()
    window.close(NEVER)

    assert not window.was_cut_short


# -- waiting for room


def test_a_wait_ends_when_there_is_room(pushing):
    push = pushing(max_concurrency=4)
    push.add(*"abcd")
    push.client.request(3)
    room = threading.Event()

    def wait() -> None:
        push.window.wait(2, NEVER)
        room.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    push.answer(OK)
    assert not room.is_set()
    push.answer(OK, at=1)

    assert room.wait(NEVER)
    waiting.join(NEVER)


def test_a_wait_ends_when_its_time_is_over(pushing):
    push = pushing()
    push.add("a")

    push.window.wait(0, 0.01)

    assert push.window.size == 1


# -- pace


def test_nothing_leaves_before_its_moment(pushing):
    push = pushing(max_concurrency=4)
    push.pacer.moment = float("inf")

    push.add("a", "b")
    push.pacer.wait_until_asked()
    with push.window._lock:
        assert (push.client.sent, push.window._size()) == ([], 2)
    push.pacer.moment = 0.0
    push.add("c")  # which wakes a worker

    push.client.request(2)
    assert {name for _, name in push.client.sent} == set("abc")


def test_a_retry_waits_for_its_moment_too(pushing):
    push = pushing()
    push.add("a")
    push.client.request(0)
    push.pacer.moment = float("inf")

    push.answer(DOWN)
    for _ in range(2):  # once for the first request, and once for the second
        push.pacer.wait_until_asked()
    with push.window._lock:
        assert (push.window.requests, push.window._size()) == (1, 1)
    push.pacer.moment = 0.0
    push.add("b")

    assert push.client.request(1) == ("POST", "a")


def test_requests_are_spaced_by_the_account_s_rate(pushing, monkeypatch):
    monkeypatch.setattr(module, "Pacer", Pacer)
    push = pushing(max_concurrency=4, requests_per_second=50.0)

    push.add(*"abcdefghijkl")
    for number in range(12):
        push.client.answer(number, OK)

    assert push.window.rate == 50.0
    # Without a pace it takes no time; how evenly they leave is the pacer's business.
    assert push.client.sent_at[-1] - push.client.sent_at[0] >= 11 * 0.02 / 2


def test_retry_after_holds_everybody(pushing, backoff, monkeypatch):
    monkeypatch.setattr(module, "Pacer", Pacer)
    push = pushing(max_concurrency=2)
    backoff.for_ever()  # A wait that was asked for takes its place.

    push.add("a", "b")
    push.client.request(1)
    told_at = time.monotonic()
    push.answer(Answer(Verdict.UNAVAILABLE, 503, retry_after=0.2), OK)
    push.add("c")
    push.answer(OK, at=2)

    assert push.client.request(3) == ("POST", "c")
    assert push.client.sent_at[2] - told_at >= 0.2


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param(OK, [("answered",)], id="an answer"),
        pytest.param(REFUSED, [("answered",)], id="a refusal"),
        pytest.param(DOWN, [("answered",)], id="503"),
        pytest.param(LOST, [], id="no answer is none that got through"),
        pytest.param(SLOW_DOWN, [("throttled", None)], id="429"),
        pytest.param(
            Answer(Verdict.RATE_LIMITED, 429, retry_after=300.0),
            [("throttled", 300.0)],
            id="429 with a wait",
        ),
        pytest.param(
            Answer(Verdict.UNAVAILABLE, 503, retry_after=200.0),
            [("answered",), ("hold back", 200)],
            id="503 with a wait",
        ),
    ],
)
def test_each_answer_sets_the_pace_of_the_requests_that_follow(pushing, answer, told):
    push = pushing(max_attempts=1)

    push.add("a")
    push.answer(answer)

    assert push.pacer.told == [("leave",), *told]
    assert not push.window.is_stopped


def test_a_useful_answer_pays_for_retries_and_each_retry_costs(pushing, monkeypatch):
    push = pushing()
    happenings = []
    budget = push.window._budget
    monkeypatch.setattr(budget, "earn", lambda: happenings.append("earn"))
    monkeypatch.setattr(budget, "spend", lambda: happenings.append("spend"))

    push.add("a", title="CTO")
    push.answer(DOWN, SLOW_DOWN, OK, NOT_THE_API)

    assert happenings == ["spend", "spend", "earn"]


def test_a_retry_waits_for_the_budget_and_new_ones_pass_it(pushing, monkeypatch):
    push = pushing()
    monkeypatch.setattr(push.window._budget, "next_moment", lambda now: float("inf"))

    push.add("a", "b", "c")
    push.answer(DOWN, OK, OK)

    assert [name for _, name in push.client.sent] == ["a", "b", "c"]
    assert push.window.size == 1


# -- stops


def test_after_a_stop_nothing_leaves_and_what_is_in_flight_still_settles(pushing, backoff):
    push = pushing(max_concurrency=3)
    backoff.for_ever()
    push.add("a", "b", "c", "C", "d", "e")
    push.answer(DOWN)  # "a" waits for its retry, "C" for "c", "e" for a worker

    push.client.request(3)
    push.window.stop()
    push.add("f")
    push.answer(OK, REFUSED, DOWN, at=1)
    push.window.close(NEVER)

    assert push.outcomes() == {"b": "created", "c": "rejected"}
    assert [name for _, name in push.client.sent] == ["a", "b", "c", "d"]
    assert push.window.was_cut_short
    assert push.window.error is None
    assert not push.client.is_aborted
    assert push.window.size == 0


def test_after_a_stop_what_was_begun_is_not_completed(pushing):
    push = pushing()
    (entry,) = push.add("a", title="CTO")
    push.client.request(0)

    push.window.stop()
    push.answer(OK)

    assert push.stop() == {}
    assert len(push.client.sent) == 1
    assert entry.is_doubtful


def test_what_was_settled_before_a_stop_stays_settled(pushing):
    push = pushing()
    push.add("a", "b")
    push.answer(OK)

    assert push.stop() == {"a": "created"}


def test_the_first_reason_to_stop_is_kept(pushing):
    window, first = pushing().window, ClosersAuthError("first")

    for error in (None, first, ClosersUnavailableError("second")):
        window.stop(error)

    assert window.error is first


def test_a_stop_ends_the_wait_for_a_retry(pushing, backoff):
    push = pushing(max_concurrency=2)
    backoff.for_ever()
    push.add("a", "b")
    push.answer(DOWN, DOWN)

    push.stop()

    for worker in push.window._workers:
        worker.join(NEVER)
        assert not worker.is_alive()


def test_to_close_aborts_a_client_that_hangs(pushing):
    push = pushing(max_concurrency=2)
    entries = push.add("a", "b")
    push.client.request(1)

    push.window.stop()
    push.window.close(0.01)

    assert push.client.is_aborted
    assert push.window.size == 0
    assert push.outcomes() == {}
    assert [entry.is_doubtful for entry in entries] == [True, True]


def test_to_close_does_not_wait_for_ever_where_even_that_is_of_no_use(pushing, monkeypatch):
    push = pushing()
    (entry,) = push.add("a")
    push.client.request(0)
    push.client.heeds_abort = False
    wait, waited = push.window.wait, []

    def wait_less(at_most: int, seconds: float) -> None:
        waited.append(seconds)
        wait(at_most, 0.01)

    monkeypatch.setattr(push.window, "wait", wait_less)
    push.window.stop()
    push.window.close(5.0)

    assert sum(waited) < 10
    assert push.client.is_aborted
    assert entry.is_doubtful


def test_a_refused_key_stops_everything_at_once(pushing):
    push = pushing(max_concurrency=2)
    push.add(*"abcd")
    push.client.request(1)

    push.answer(UNAUTHORIZED)
    assert push.window.is_stopped
    push.answer(OK, at=1)

    assert push.stop() == {push.client.sent[1][1]: "created"}
    assert len(push.client.sent) == 2
    assert isinstance(push.window.error, ClosersAuthError)


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, ClosersRateLimitError), (503, ClosersUnavailableError)],
    ids=["429", "503"],
)
@pytest.mark.parametrize("max_attempts", [1, 5])
def test_a_retry_after_that_is_too_long_stops_the_push(pushing, status, error, max_attempts):
    verdict = Verdict.RATE_LIMITED if status == 429 else Verdict.UNAVAILABLE
    push = pushing(max_attempts=max_attempts)

    push.add("a", "b")
    push.answer(Answer(verdict, status, retry_after=300.1))

    assert push.stop() == {}
    assert len(push.client.sent) == 1
    assert isinstance(push.window.error, error)
    assert getattr(push.window.error, "retry_after", 300.1) == 300.1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(DOWN, ClosersUnavailableError, id="503"),
        pytest.param(LOST, ClosersUnavailableError, id="no answer"),
        pytest.param(SLOW_DOWN, ClosersRateLimitError, id="429"),
        pytest.param(NOT_THE_API, ClosersAPIError, id="not the API"),
    ],
)
def test_an_outage_stops_the_push_and_rejects_nobody(pushing, no_pauses, answer, error):
    push = pushing(outage_seconds=0.0, max_attempts=1)

    push.add(*"abcdefgh")
    push.answer(*[answer] * 5)

    assert push.window.is_stopped
    assert push.stop() == {}
    assert len(push.client.sent) == 5
    assert isinstance(push.window.error, error)


def test_an_outage_that_is_over_in_time_stops_nothing(pushing, no_pauses):
    push = pushing(outage_seconds=60.0, max_attempts=20)

    push.add("a", "b", "c")
    push.answer(*[DOWN] * 40, OK, OK, OK)

    assert set(push.finish().values()) == {"created"}
    assert push.window.error is None
    assert not push.window.was_cut_short


# -- a dark API


def test_a_dark_api_is_asked_by_one_request_at_a_time(pushing, backoff, no_pauses):
    push = pushing(max_concurrency=3, max_attempts=100)
    push.add(*"abcdef")
    assert push.window.dark_for == 0
    push.answer(*[DOWN] * 7)  # Five make it dark; two more were in flight then.
    assert push.window.dark_for > 0

    for number in range(7, 20):
        push.client.request(number)
        with push.window._lock:
            assert push.window.in_flight == 1
        push.answer(DOWN, at=number)

    push.answer(OK, at=20)
    push.client.request(23)
    assert push.window.in_flight == 3
    assert push.window.dark_for == 0


def test_a_dark_api_is_asked_by_those_who_have_the_most_tries_left(pushing, no_pauses):
    push = pushing(max_attempts=100)
    push.add("a")
    push.answer(*[DOWN] * 5)

    push.client.request(5)
    push.add("b", "c", "d")
    push.answer(DOWN, DOWN, DOWN, at=5)

    assert [name for _, name in push.client.sent[5:8]] == ["a", "b", "c"]


def test_a_pause_between_probes_is_waited_for(pushing, monkeypatch):
    monkeypatch.setattr(outage, "_FIRST_PAUSE", 0.05)
    push = pushing(max_attempts=100)

    push.add("a", "b", "c", "d", "e", "f")
    push.answer(*[DOWN] * 5)
    push.client.request(5)

    assert push.client.sent_at[5] - push.client.sent_at[4] >= 0.05


@pytest.mark.parametrize("useless", [DOWN, LOST, SLOW_DOWN], ids=["down", "lost", "slow down"])
def test_the_last_records_of_a_push_outlast_an_outage_that_is_over_in_time(pushing, no_pauses, useless):
    push = pushing(max_concurrency=2, max_attempts=3)
    push.add("a", "b")
    push.window.last_is_in()

    push.client.request(1)
    push.answer(*[useless] * 20)
    assert push.outcomes() == {}
    push.answer(OK, OK, at=20)

    assert push.finish() == {"a": "created", "b": "created"}
    assert max(entry.attempts for entry in push.settled) > 3


def test_the_last_records_of_a_push_stay_unsettled_where_the_outage_lasts(pushing, no_pauses):
    push = pushing(max_concurrency=2, max_attempts=3)
    push.add("a", "b")
    push.window.last_is_in()

    push.client.request(1)
    push.answer(*[DOWN] * 20)
    push.window._outage._outage_seconds = 0.0
    push.answer(DOWN, at=20)

    assert push.stop() == {}
    assert isinstance(push.window.error, ClosersUnavailableError)


def test_a_blip_rejects_those_who_had_one_try_and_stops_nothing(pushing, no_pauses):
    push = pushing(max_attempts=1)
    push.add(*(f"p{number}" for number in range(30)))

    push.answer(*[DOWN] * 20)  # from the fifth on it is dark
    push.answer(*[OK] * 26, at=20)

    assert Counter(push.finish().values()) == {"rejected": 4, "created": 26}
    assert push.window.error is None


def test_a_record_that_was_asked_often_in_the_dark_is_given_up_in_the_light(pushing, no_pauses):
    push = pushing(max_concurrency=2, max_attempts=3)
    push.add("a", "b")
    push.client.request(1)
    push.answer(*[DOWN] * 20)

    push.answer(OK, DOWN, at=20)
    outcomes = push.finish()

    assert sorted(outcomes.values()) == ["created", "rejected"]
    assert len(push.client.sent) == 22


def test_a_wait_of_no_seconds_is_a_backoff(pushing, backoff):
    push = pushing()

    push.add("a")
    push.answer(
        Answer(Verdict.UNAVAILABLE, 503, retry_after=0.0), Answer(Verdict.RATE_LIMITED, retry_after=0.0)
    )
    push.answer(Answer(Verdict.UNAVAILABLE, 503, retry_after=0.1), OK, at=2)

    assert backoff.asked == [1, 2]
    assert push.finish() == {"a": "created"}


# -- one email that the API fails at


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_what_fails_at_one_email_is_no_outage(pushing, max_attempts):
    push = pushing(max_attempts=max_attempts, outage_seconds=0.0)
    push.add("good")
    push.answer(OK)

    push.add(*["hot"] * 12)
    push.answer(*[DOWN] * 12 * max_attempts, at=1)
    push.add("better")
    push.window.last_is_in()
    push.answer(OK, at=1 + 12 * max_attempts)

    assert push.finish() == {"good": "created", "hot": "rejected", "better": "created"}
    assert Counter(entry.outcome.value for entry in push.settled) == {"rejected": 12, "created": 2}
    assert push.window.error is None


def test_one_email_s_records_wait_for_no_probe(pushing, monkeypatch):
    monkeypatch.setattr(outage, "_FIRST_PAUSE", 1e6)
    push = pushing(max_attempts=7)
    push.add("a", "A")

    push.answer(*[DOWN] * 14)

    push.finish()
    assert [entry.outcome.value for entry in push.settled] == ["rejected", "rejected"]


def test_where_one_email_gets_no_useful_answer_another_is_asked(pushing, no_pauses):
    push = pushing(max_attempts=100)
    push.add(*["hot"] * 20)
    push.answer(*[DOWN] * 10)

    push.client.request(10)
    push.add("good")
    push.answer(DOWN, at=10)

    assert push.client.request(11) == ("POST", "good")


@pytest.mark.parametrize("is_last_in", [True, False])
def test_a_push_of_one_email_stops_for_an_outage_as_any(pushing, is_last_in):
    """Until all are in, another email may follow, of which more is heard."""
    push = pushing(max_attempts=100, outage_seconds=0.0)
    push.add(*["jane"] * 3)
    if is_last_in:
        push.window.last_is_in()

    push.answer(*[DOWN] * 5)

    assert push.window.is_stopped is is_last_in
    assert push.stop() == {}


def test_where_nobody_can_connect_one_email_is_as_good_as_any(pushing):
    push = pushing(max_attempts=100, outage_seconds=0.0)
    push.add("good")
    push.answer(OK)

    push.add("jane")
    push.answer(*[Answer(Verdict.UNAVAILABLE)] * 5, at=1)

    assert push.window.is_stopped


# -- those who got no useful answer


def test_what_was_given_up_becomes_a_reject_with_the_next_useful_answer(pushing):
    push = pushing(max_attempts=2)
    push.add("a", "b")

    push.answer(DOWN, DOWN)
    assert push.outcomes() == {}
    push.answer(OK, at=2)

    assert push.outcomes() == {"a": "rejected", "b": "created"}
    (reject, _) = push.settled
    assert (reject.reason, reject.status, reject.attempts) == ("POST answered 503", 503, 2)


@pytest.mark.parametrize("useful", [OK, EXISTS, REFUSED], ids=lambda answer: answer.verdict.value)
def test_any_useful_answer_will_do(pushing, useful):
    push = pushing(max_attempts=1)

    push.add("a", "b")
    push.answer(DOWN, useful)

    assert push.outcomes()["a"] == "rejected"


def test_what_was_given_up_becomes_a_reject_at_a_normal_end(pushing):
    push = pushing(max_attempts=1)

    push.add("a", "b", "c")
    push.answer(OK, DOWN, NOT_THE_API)
    assert push.outcomes() == {"a": "created"}

    assert push.finish() == {"a": "created", "b": "rejected", "c": "rejected"}
    assert not push.window.was_cut_short


def test_what_was_given_up_stays_unsettled_where_the_push_is_stopped(pushing):
    push = pushing(max_attempts=1)

    push.add("a", "b", "c", "d")
    push.answer(OK, DOWN, NOT_THE_API)

    assert push.stop() == {"a": "created"}


def test_a_useful_answer_that_comes_after_the_stop_rejects_nobody(pushing):
    push = pushing(max_concurrency=2, max_attempts=1)
    push.add("a", "b")
    push.client.request(1)

    push.answer(DOWN)
    push.window.stop()
    push.answer(OK, at=1)

    assert push.stop() == {push.client.sent[1][1]: "created"}


@pytest.mark.parametrize(("concurrency", "most"), [(1, 10), (4, 10), (16, 16)])
def test_too_many_given_up_in_a_row_stop_the_push(pushing, no_pauses, concurrency, most):
    push = pushing(max_concurrency=concurrency, max_attempts=1)
    push.add(*(f"p{number}" for number in range(most + 4)))

    push.answer(*[NOT_THE_API] * (most - 1))
    assert not push.window.is_stopped
    push.answer(NOT_THE_API, at=most - 1)

    assert push.stop() == {}
    assert isinstance(push.window.error, ClosersUnavailableError)
    assert f"The last {most} records" in str(push.window.error)


def test_a_useful_answer_in_between_starts_the_row_anew(pushing, no_pauses):
    push = pushing(max_attempts=1)
    push.add(*(f"p{number}" for number in range(40)))

    for first in (0, 10, 20, 30):
        push.answer(*[NOT_THE_API] * 9, OK, at=first)

    assert Counter(push.finish().values()) == {"rejected": 36, "created": 4}
    assert push.window.error is None


def test_a_record_given_up_halfway_says_how_far_it_came(pushing):
    push = pushing(max_attempts=1)

    push.add("a", title="CTO")
    push.answer(OK, LOST)

    push.finish()
    (reject,) = push.settled
    assert reject.outcome is Outcome.REJECTED
    assert reject.reason == "created, but not completed: PATCH got no answer; it may have worked all the same"


# -- the unforeseen


def test_a_request_that_raises_is_tried_again_and_lost_until_then(pushing, caplog):
    push = pushing()

    push.add("a")
    push.answer(RuntimeError("out of cheese"), EXISTS)

    assert push.finish() == {"a": "created"}  # It may have been sent: what is found is its effect.
    assert "failed in an unforeseen way" in caplog.text


def test_a_record_whose_requests_always_raise_becomes_a_reject(pushing, caplog):
    push = pushing(max_attempts=3)

    push.add("a", "b")
    push.answer(*[ValueError("jane@acme.io")] * 3, OK)

    assert push.finish() == {"a": "rejected", "b": "created"}
    assert push.settled[0].reason == (
        "POST got no answer: sending raised ValueError; it may have worked all the same"
    )
    assert push.settled[0].attempts == 3


def test_where_every_request_raises_the_push_stops(pushing, no_pauses, caplog):
    push = pushing(max_attempts=1, outage_seconds=0.0)

    push.add(*(f"p{number}" for number in range(20)))
    push.answer(*[RuntimeError("out of cheese")] * 5)

    assert push.stop() == {}
    assert isinstance(push.window.error, ClosersUnavailableError)


@pytest.mark.parametrize("answer", [OK, DOWN, UNAUTHORIZED], ids=lambda answer: answer.verdict.value)
def test_a_journey_that_raises_stops_the_push_and_is_not_lost(pushing, caplog, answer):
    class BrokenRoute:
        def start(self, prospect: Prospect) -> Journey:
            yield Request("POST", {"email": prospect.email})
            raise RuntimeError("out of cheese")

    push = pushing(BrokenRoute(), max_attempts=1)
    push.add("a", "b")

    push.answer(answer)
    for worker in push.window._workers:
        worker.join(NEVER)

    assert push.window.is_stopped
    assert push.stop() == {}
    assert (push.window.size, push.window.was_cut_short) == (0, True)
    assert isinstance(push.window.error, ClosersAuthError if answer is UNAUTHORIZED else ClosersError)
    assert "failed in an unforeseen way" in caplog.text


@pytest.mark.parametrize(
    "part", ["_learn_from", "_settle", "_prepare", "_leave", "_next_moment", "_wait_for", "_open_lane"]
)
def test_whatever_part_of_the_window_breaks_the_push_stops_and_says_so(pushing, caplog, part):
    push = pushing(max_concurrency=2)
    push.add("a", title="CTO")
    push.client.request(0)

    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of cheese")

    setattr(push.window, part, explode)
    push.client.answer(0, OK)
    # What comes after the PATCH is broken, in case that what comes after the POST is not.
    if part not in ("_learn_from", "_prepare", "_leave", "_next_moment"):
        push.client.answer(1, OK)
    for worker in push.window._workers:
        worker.join(NEVER)

    assert isinstance(push.window.error, ClosersError)
    assert (push.window.size, push.window.is_stopped) == (0, True)


def test_a_record_that_has_no_journey_stays_with_who_put_it_in(pushing):
    class BrokenRoute:
        def start(self, prospect: Prospect) -> Journey:
            raise RuntimeError("out of cheese")

    push = pushing(BrokenRoute())

    with pytest.raises(RuntimeError, match="out of cheese"):
        push.add("a")

    assert push.window.size == 0


# -- doubt


@pytest.mark.parametrize(
    ("operation", "answers", "is_doubtful"),
    [
        pytest.param("create", [], True, id="sent and not answered"),
        pytest.param("create", [DOWN], False, id="not taken"),
        pytest.param("create", [SLOW_DOWN], False, id="told to wait"),
        pytest.param("create", [SLOW_DOWN, DOWN, SLOW_DOWN], False, id="never taken"),
        pytest.param("create", [LOST], True, id="lost"),
        pytest.param("create", [LOST, DOWN], True, id="lost, then not taken"),
        pytest.param("create", [OK, DOWN], True, id="first of two done, the second not taken"),
        pytest.param("create", [OK, LOST], True, id="first of two done, the second lost"),
        pytest.param("create", [DOWN, OK, SLOW_DOWN], True, id="first of two done after a retry"),
        pytest.param("upsert", [EXISTS, DOWN], False, id="another's prospect, to be changed"),
        pytest.param("upsert", [EXISTS, LOST], False, id="another's prospect, perhaps changed"),
        pytest.param("upsert", [LOST, EXISTS, DOWN], True, id="our own prospect, to be changed"),
        pytest.param("update", [], False, id="a change leaves nothing to be found"),
        pytest.param("update", [LOST], False, id="nor does a lost one"),
        pytest.param("delete", [], True, id="a delete sent and not answered"),
        pytest.param("delete", [LOST], True, id="a delete lost"),
        pytest.param("delete", [DOWN], False, id="a delete not taken"),
    ],
)
def test_a_stop_knows_whose_effect_may_be_found(pushing, backoff, operation, answers, is_doubtful):
    push = pushing(operation, max_attempts=10)
    (entry,) = push.add("a", title="CTO")

    answer_and_wait(push, backoff, answers)
    push.window.stop()
    if not answers:
        assert entry.is_doubtful is is_doubtful  # as a checkpoint finds it should the client hang
    push.stop()

    assert push.outcomes() == {}
    assert entry.is_doubtful is is_doubtful


def answer_and_wait(push: Pushing, backoff: Backoff, answers: list[Answer]) -> None:
    """Give the answers; after the last of them the record waits."""
    push.client.request(0)
    if answers:
        push.answer(*answers[:-1])
        backoff.for_ever()
        push.answer(answers[-1], at=len(answers) - 1)


@pytest.mark.parametrize(
    ("answer", "is_doubtful"),
    [
        pytest.param(DOWN, False, id="not taken"),
        pytest.param(SLOW_DOWN, False, id="told to wait"),
        pytest.param(UNAUTHORIZED, False, id="the key is refused"),
        pytest.param(NOT_THE_API, False, id="did not get there"),
        pytest.param(LOST, True, id="lost"),
        pytest.param(OK, True, id="done, but not completed"),
    ],
)
@pytest.mark.parametrize("max_attempts", [1, 5])
def test_what_is_answered_after_a_stop_counts_for_the_doubt(pushing, answer, max_attempts, is_doubtful):
    push = pushing(max_attempts=max_attempts)
    (entry,) = push.add("a", title="CTO")
    push.client.request(0)

    push.window.stop()
    push.answer(answer)
    push.window.close(NEVER)

    assert push.outcomes() == {}
    assert entry.is_doubtful is is_doubtful


@pytest.mark.parametrize(
    ("answers", "is_doubtful"),
    [
        pytest.param([DOWN, DOWN], False, id="never taken"),
        pytest.param([NOT_THE_API], False, id="did not get there"),
        pytest.param([LOST, DOWN], True, id="lost once"),
        pytest.param([OK, NOT_THE_API], True, id="first of two done"),
    ],
)
def test_what_was_given_up_before_a_stop_is_in_doubt_or_not(pushing, answers, is_doubtful):
    push = pushing(max_attempts=2)
    (entry,) = push.add("a", title="CTO")

    push.answer(*answers)

    assert push.stop() == {}
    assert entry.is_doubtful is is_doubtful


@pytest.mark.parametrize(
    "answer",
    [UNAUTHORIZED, Answer(Verdict.RATE_LIMITED, 429, retry_after=301.0)],
    ids=["the key is refused", "an absurd wait"],
)
@pytest.mark.parametrize("max_attempts", [1, 5])
def test_the_record_on_which_the_push_stopped_is_not_in_doubt(pushing, answer, max_attempts):
    push = pushing(max_attempts=max_attempts)
    (entry,) = push.add("a")

    push.answer(answer)

    assert push.stop() == {}
    assert not entry.is_doubtful


def test_what_was_never_sent_is_not_in_doubt(pushing):
    push = pushing("create")
    sent, same_email, waiting = push.add("a", "A", "b")
    push.client.request(0)

    push.stop()

    assert [entry.is_doubtful for entry in (sent, same_email, waiting)] == [True, False, False]


@pytest.mark.parametrize("answers", [None, [], [DOWN], [DOWN, SLOW_DOWN]], ids=["not sent", "0", "1", "2"])
def test_a_doubt_of_an_earlier_process_is_kept(pushing, backoff, answers):
    push = pushing()
    if answers is None:
        push.add("another")

    (entry,) = push.add("a", is_doubtful=True)
    answer_and_wait(push, backoff, answers or [])
    push.stop()

    assert entry.is_doubtful


# -- whatever happens


class RandomRoute:
    """Journeys of one to three requests, with every end that there is."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def start(self, prospect: Prospect) -> Journey:
        index = prospect.fields["index"]
        dice = random.Random(f"{self._seed} {index}")
        return self._journey({"email": prospect.email, "index": index}, dice)

    def _journey(self, body: dict[str, Any], dice: random.Random) -> Journey:
        for step in range(dice.choice([1, 1, 2, 3])):
            answer = yield Request(dice.choice(["POST", "PATCH", "DELETE"]), body | {"step": step})
            if answer.verdict is not Verdict.OK:
                raise RecordRefusedError(f"answered {answer.status}", answer.status)
        if dice.random() < 0.1:
            raise RecordRefusedError("refused for what the user asked for", 200)
        return Outcome.UPDATED


class RandomClient:
    """Answers by the dice, after next to no time, and keeps what it saw."""

    def __init__(self, seed: int, weights: list[int], stop_at: int | None) -> None:
        self._seed, self._weights, self._stop_at = seed, weights, stop_at
        self._lock = threading.Lock()
        self._hung = threading.Event()
        self.stop: Callable[[], None] = lambda: None
        self.sent: list[tuple[int, int]] = []
        #: Per record: how many of its requests left what another try may find.
        self.traces: Counter[int] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.is_aborted = False

    def send(self, method: str, body: dict[str, Any]) -> Answer:
        index = body["index"]
        with self._lock:
            number = len(self.sent)
            self.sent.append((index, body["step"]))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if number == self._stop_at:
            self.stop()
        try:
            answer = self._answer(random.Random(f"{self._seed} {number}"))
        except ZeroDivisionError:
            self.traces[index] += method != "PATCH"
            raise
        finally:
            with self._lock:
                self.in_flight -= 1
        if method != "PATCH" and (answer.verdict is Verdict.OK or answer.may_have_worked):
            self.traces[index] += 1
        return answer

    def _answer(self, dice: random.Random) -> Answer:
        time.sleep(dice.choice([0, 0, 0.0002, 0.001]))
        answers: list[Any] = [OK, DOWN, LOST, REFUSED, NOT_THE_API, SLOW_DOWN, "raise", "hang", UNAUTHORIZED]
        answer = dice.choices(answers, self._weights)[0]
        if answer == "hang":
            self._hung.wait(NEVER)
            return LOST
        if answer == "raise":
            raise ZeroDivisionError
        return answer

    def abort(self) -> None:
        self.is_aborted = True
        self._hung.set()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    # Of each kind of answer; the first is of use.
    weights=st.tuples(
        st.sampled_from([1, 10, 100]),
        *[st.sampled_from([0, 0, 1, 10])] * 6,
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0, 0, 1]),
    ).map(list),
    emails=st.lists(st.sampled_from(["ann", "Ann", "bob", "BOB", "cy", "dee", "eve", "fay"]), max_size=60),
    concurrency=st.sampled_from([1, 2, 3, 8]),
    max_attempts=st.sampled_from([1, 2, 5]),
    stop_at=st.none() | st.integers(0, 80),
    outage_seconds=st.sampled_from([0.0, 60.0]),
)
def test_every_record_is_settled_once_or_dropped_by_a_stop(
    monkeypatch, caplog, seed, weights, emails, concurrency, max_attempts, stop_at, outage_seconds
):
    caplog.set_level(logging.CRITICAL)
    with monkeypatch.context() as patched:
        patched.setattr(module, "Pacer", ScriptedPacer)
        patched.setattr(module, "backoff", lambda attempts: 0.0002 * attempts)
        patched.setattr(outage, "_FIRST_PAUSE", 0.0002)
        patched.setattr(outage, "_LONGEST_PAUSE", 0.0005)
        client = RandomClient(seed, weights, stop_at)
        connection = ClosersSettings(
            api_key="k",
            max_concurrency=concurrency,
            max_attempts=max_attempts,
            outage_seconds=outage_seconds,
        )
        window = Window(client, connection, RandomRoute(seed))
        window._budget._PER_SECOND = 1e6  # type: ignore[misc]
        client.stop = window.stop

        entries, settled = [], []
        for index, email in enumerate(emails):
            entries.append(Entry(index, None, Prospect(f"{email}@acme.io", {"index": index})))
            window.add(entries[-1])
            settled.extend(window.take_settled())
        window.last_is_in()
        until = time.monotonic() + (0.1 if weights[7] else NEVER)
        while window.size and not window.is_stopped and time.monotonic() < until:
            window.wait(0, 0.05)
        if window.size:
            assert window.is_stopped or weights[7], "the window hangs"
            window.stop()
        window.close(0.05)
        settled.extend(window.take_settled())
    for worker in window._workers:
        worker.join(NEVER)

    assert not any(worker.is_alive() for worker in window._workers)
    assert window.size == 0
    assert len(window._workers) <= concurrency
    assert client.most_in_flight <= concurrency
    assert_each_is_accounted_for(window, entries, settled)
    assert_emails_kept_their_order(client, entries)
    assert_counts_are_right(window, client, entries)
    assert_doubts_are_kept(client, entries, settled)


def assert_each_is_accounted_for(window: Window, entries: list[Entry], settled: list[Entry]) -> None:
    indexes = [entry.index for entry in settled]
    assert len(set(indexes)) == len(indexes)
    assert {entry.outcome for entry in settled} <= {Outcome.UPDATED, Outcome.REJECTED}
    dropped = {entry.index for entry in entries} - set(indexes)
    assert all(entries[index].outcome is Outcome.UNRESOLVED for index in dropped)
    assert window.was_cut_short or not dropped


def assert_emails_kept_their_order(client: RandomClient, entries: list[Entry]) -> None:
    latest: dict[str, tuple[int, int]] = {}
    for sent in client.sent:
        lane = entries[sent[0]].prospect.email.lower()
        assert sent >= latest.get(lane, (0, 0))
        latest[lane] = sent


def assert_counts_are_right(window: Window, client: RandomClient, entries: list[Entry]) -> None:
    assert window.requests == len(client.sent) == sum(entry.attempts for entry in entries)
    assert window.retries == len(client.sent) - len(set(client.sent))


def assert_doubts_are_kept(client: RandomClient, entries: list[Entry], settled: list[Entry]) -> None:
    for entry in set(entries) - set(settled):
        assert entry.is_doubtful is (client.traces[entry.index] > 0)


# -- what was once wrong


@pytest.mark.parametrize("operation", ["create", "delete"])
def test_a_settled_record_is_in_doubt_until_it_is_accounted_for(pushing, operation):
    push = pushing(operation)
    (entry,) = push.add("a")

    push.answer(OK)

    assert entry.is_doubtful


def test_a_record_is_under_way_while_its_answer_is_taken_in(pushing, backoff):
    push = pushing()
    seen = []
    push.pacer.answered = lambda _: seen.append(push.window._size())
    backoff.for_ever()

    push.add("a")
    push.answer(DOWN)

    assert seen == [1]
    assert push.window._lock.acquire(timeout=1)
    push.window._lock.release()


def test_workers_are_hired_for_what_waits_behind_a_retry(pushing, backoff):
    push = pushing(max_concurrency=4)
    backoff.seconds = 0.1
    push.add("a")
    push.answer(DOWN)
    push.pacer.moment = float("inf")
    push.add("b")
    time.sleep(0.15)

    push.pacer.moment = 0.0
    with push.window._lock:
        push.window._work.notify()
    push.client.request(1)  # a, again; not answered

    push.client.request(2)  # b, beside it


def test_whatever_the_client_raises_is_an_answer(pushing):
    class Panic(BaseException):
        """A Rust extension's is no Exception."""

    push = pushing()

    push.add("a", "b")
    push.client.request(0)
    push.client._answers[0].set_exception(Panic())

    push.client.request(1)


def test_the_429_that_stops_the_push_is_counted(pushing):
    push = pushing()

    push.add("a")
    push.answer(Answer(Verdict.RATE_LIMITED, 429, retry_after=301.0))

    assert push.window.throttled == 1
