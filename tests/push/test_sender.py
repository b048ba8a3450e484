"""One request, sent as often as it takes: against a client that answers by script, on a clock of its own."""

from __future__ import annotations

import threading

import pytest

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.errors import (
    ClosersAuthError,
    ClosersRateLimitError,
    ClosersUnavailableError,
)
from airflow_provider_closers.push import sender as module
from airflow_provider_closers.push.journey import Request
from airflow_provider_closers.push.pace import Pacer
from airflow_provider_closers.push.sender import OUTAGE_ANSWERS, OUTAGE_SECONDS, PushStoppedError, Sender

POST = Request("POST", {"email": "jane@acme.io"})
PATCH = Request("PATCH", {"email": "jane@acme.io", "title": "CTO"})
DELETE = Request("DELETE", {"email": "jane@acme.io"})

OK = Answer(Verdict.OK, 200, data={"id": 7})
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


class World:
    """Time, which passes when somebody waits, and a client that gives the scripted answers in order."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.answers: list[Answer] = []
        self.sent: list[tuple[str, float]] = []
        self.seconds_per_answer = 0.0

    def monotonic(self) -> float:
        return self.now

    def send(self, method: str, body: dict[str, object]) -> Answer:
        self.sent.append((method, self.now))
        self.now += self.seconds_per_answer
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Stop(threading.Event):
    """An event that is waited for on the world's clock."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._world.now += timeout or 0.0
        return self.is_set()


@pytest.fixture
def world(monkeypatch) -> World:
    world = World()
    monkeypatch.setattr(module, "time", world)
    monkeypatch.setattr(module, "backoff", lambda attempts: float(attempts))
    return world


@pytest.fixture
def new_sender(world):
    def new(*answers: Answer, max_attempts: int = 5, rate: float | None = None, **more: float) -> Sender:
        world.answers = list(answers)
        sender = Sender(world, Pacer(rate, world.monotonic), max_attempts, **more)
        sender._stopped = Stop(world)
        return sender

    return new


# -- tries


@pytest.mark.parametrize(
    "answer", [OK, EXISTS, NOT_FOUND, REFUSED, NOT_THE_API], ids=lambda answer: answer.verdict.value
)
@pytest.mark.parametrize("request_", [POST, PATCH, DELETE], ids=lambda request: request.method)
def test_a_final_answer_is_returned_at_once(new_sender, world, request_, answer):
    sent = new_sender(answer).send(request_)

    assert sent == (answer, 1)
    assert len(world.sent) == 1


@pytest.mark.parametrize("useless", [DOWN, LOST, SLOW_DOWN], ids=["down", "lost", "slow down"])
def test_an_answer_of_no_use_is_tried_again(new_sender, world, useless):
    sender = new_sender(useless, useless, OK)

    sent = sender.send(PATCH)

    assert (sent.answer.verdict, sent.attempts) == (Verdict.OK, 3)
    assert (sender.requests, sender.retries) == (3, 2)


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_the_last_answer_is_returned_when_the_tries_are_used_up(new_sender, world, max_attempts):
    sender = new_sender(DOWN, max_attempts=max_attempts)

    sent = sender.send(POST)

    assert sent == (DOWN, max_attempts)
    assert len(world.sent) == max_attempts
    assert not sender.is_stopped


def test_tries_are_spaced_by_the_backoff(new_sender, world):
    new_sender(DOWN, max_attempts=4).send(POST)

    assert [at for _, at in world.sent] == [1000.0, 1001.0, 1003.0, 1006.0]


def test_what_the_client_raises_is_passed_on(new_sender, world, monkeypatch):
    def explode(method: str, body: dict[str, object]) -> Answer:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(world, "send", explode)

    with pytest.raises(RuntimeError, match="out of cheese"):
        new_sender(OK).send(POST)


# -- ambiguity


@pytest.mark.parametrize(
    ("request_", "answers", "verdict", "is_assumed"),
    [
        pytest.param(POST, [LOST, EXISTS], Verdict.OK, True, id="lost, and there it is: ours"),
        pytest.param(POST, [LOST, DOWN, SLOW_DOWN, EXISTS], Verdict.OK, True, id="lost some tries ago"),
        pytest.param(POST, [DOWN, EXISTS], Verdict.EXISTS, False, id="never arrived, so it is another's"),
        pytest.param(POST, [SLOW_DOWN, EXISTS], Verdict.EXISTS, False, id="told to wait, so it is another's"),
        pytest.param(POST, [LOST, OK], Verdict.OK, False, id="lost for good, then created"),
        pytest.param(POST, [LOST, REFUSED], Verdict.REFUSED, False, id="lost, then refused"),
        pytest.param(DELETE, [LOST, NOT_FOUND], Verdict.OK, True, id="lost, and it is gone: our doing"),
        pytest.param(DELETE, [DOWN, NOT_FOUND], Verdict.NOT_FOUND, False, id="was never there"),
        pytest.param(PATCH, [LOST, NOT_FOUND], Verdict.NOT_FOUND, False, id="no change makes one vanish"),
        pytest.param(PATCH, [LOST, EXISTS], Verdict.EXISTS, False, id="no change makes one exist"),
        pytest.param(DELETE, [LOST, EXISTS], Verdict.EXISTS, False, id="no delete makes one exist"),
    ],
)
def test_a_lost_answer_decides_whose_effect_is_found(new_sender, request_, answers, verdict, is_assumed):
    sent = new_sender(*answers).send(request_)

    assert (sent.answer.verdict, sent.answer.is_assumed) == (verdict, is_assumed)
    assert sent.attempts == len(answers)


@pytest.mark.parametrize(
    ("answers", "may_have_worked"),
    [
        pytest.param([LOST, LOST], True, id="lost twice"),
        pytest.param([LOST, DOWN], True, id="lost, then down"),
        pytest.param([LOST, REFUSED], True, id="lost, then refused"),
        pytest.param([DOWN, DOWN], False, id="down twice"),
        pytest.param([DOWN, REFUSED], False, id="down, then refused"),
    ],
)
def test_a_doubt_is_kept_to_the_last_answer(new_sender, answers, may_have_worked):
    sent = new_sender(*answers, max_attempts=2).send(POST)

    assert sent.answer.may_have_worked is may_have_worked


def test_one_request_s_lost_answer_says_nothing_of_the_next(new_sender):
    sender = new_sender(LOST, OK, EXISTS)
    sender.send(POST)

    assert sender.send(POST).answer.verdict is Verdict.EXISTS


# -- Retry-After


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_the_whole_push(new_sender, world, status):
    verdict = Verdict.RATE_LIMITED if status == 429 else Verdict.UNAVAILABLE
    sender = new_sender(Answer(verdict, status, retry_after=20.0), OK)

    sender.send(POST)
    world.now = 1_005.0  # Another thread's request, while the first still waits.
    sender.send(PATCH)

    assert world.sent[:2] == [("POST", 1000.0), ("POST", 1020.0)]
    assert 1020.0 <= world.sent[2][1] < 1021.0


def test_a_request_that_waits_for_its_moment_heeds_a_hold_that_comes_in_between(new_sender, world):
    sender = new_sender(OK, rate=0.1)
    sender.send(POST)
    wait = sender._stopped.wait

    def wait_while_another_thread_is_told_to_hold_back(timeout: float) -> bool:
        sender._stopped.wait = wait
        sender._pacer.hold_back(60.0)
        return wait(timeout)

    sender._stopped.wait = wait_while_another_thread_is_told_to_hold_back
    sender.send(PATCH)

    assert world.sent == [("POST", 1000.0), ("PATCH", 1060.0)]


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, ClosersRateLimitError), (503, ClosersUnavailableError)],
    ids=["429", "503"],
)
def test_a_retry_after_that_is_too_long_stops_the_push(new_sender, world, status, error):
    verdict = Verdict.RATE_LIMITED if status == 429 else Verdict.UNAVAILABLE
    sender = new_sender(Answer(verdict, status, retry_after=31.0), longest_wait=30.0)

    with pytest.raises(PushStoppedError, match=r"^$"):
        sender.send(POST)

    assert sender.is_stopped
    assert isinstance(sender.error, error)
    assert getattr(sender.error, "retry_after", 31.0) == 31.0
    assert len(world.sent) == 1


# -- stops


def test_a_refused_key_stops_everything(new_sender, world):
    sender = new_sender(UNAUTHORIZED)

    for request in (POST, PATCH):
        with pytest.raises(PushStoppedError, match=r"^$"):
            sender.send(request)

    assert isinstance(sender.error, ClosersAuthError)
    assert world.sent == [("POST", 1000.0)]


def test_nothing_is_sent_after_a_stop(new_sender, world):
    sender = new_sender(OK)

    sender.stop()

    with pytest.raises(PushStoppedError, match=r"^$"):
        sender.send(POST)
    assert (world.sent, sender.requests, sender.error) == ([], 0, None)


def test_the_first_reason_to_stop_is_kept(new_sender):
    sender, first = new_sender(OK), ClosersAuthError("first")

    for error in (None, first, ClosersUnavailableError("second")):
        sender.stop(error)

    assert sender.error is first


def test_an_answer_that_comes_after_the_stop_still_counts(new_sender, world, monkeypatch):
    sender = new_sender(OK)

    def stop_meanwhile(method: str, body: dict[str, object]) -> Answer:
        sender.stop()
        return OK

    monkeypatch.setattr(world, "send", stop_meanwhile)

    assert sender.send(POST).answer == OK


@pytest.mark.parametrize(
    "pause",
    [DOWN, Answer(Verdict.RATE_LIMITED, 429, retry_after=250.0)],
    ids=["in a backoff", "in a hold"],
)
def test_a_stop_ends_a_wait(monkeypatch, pause):
    monkeypatch.setattr(module, "backoff", lambda _: 250.0)
    waiting, ended = threading.Event(), []

    class Client:
        def send(self, method: str, body: dict[str, object]) -> Answer:
            waiting.set()
            return pause

    sender = Sender(Client(), Pacer(), 5)

    def send() -> None:
        with pytest.raises(PushStoppedError, match=r"^$"):
            sender.send(POST)
        ended.append(sender.requests)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    assert waiting.wait(5)
    sender.stop()
    thread.join(5)

    assert ended == [1]


# -- outage


def last_until_stopped(sender: Sender, requests: int) -> int:
    """Send so many requests, and return how many were answered before the push stopped."""
    for number in range(requests):
        try:
            sender.send(PATCH)
        except PushStoppedError:
            return number
    return requests


def test_an_outage_that_lasts_stops_the_push(new_sender, world):
    sender = new_sender(DOWN, max_attempts=1)
    world.seconds_per_answer = 10.0

    answered = last_until_stopped(sender, 100)

    assert OUTAGE_SECONDS / 10 <= answered + 1 <= OUTAGE_SECONDS / 10 + 2
    assert isinstance(sender.error, ClosersUnavailableError)


def test_a_hiccup_of_many_answers_is_no_outage(new_sender, world):
    sender = new_sender(DOWN, max_attempts=1)
    world.seconds_per_answer = 0.1

    assert last_until_stopped(sender, 500) == 500


def test_few_answers_are_no_outage_however_long_they_took(new_sender, world):
    sender = new_sender(DOWN, max_attempts=1)
    world.seconds_per_answer = 100.0

    assert last_until_stopped(sender, OUTAGE_ANSWERS + 1) == OUTAGE_ANSWERS - 1


@pytest.mark.parametrize("use", [OK, EXISTS, NOT_FOUND, REFUSED], ids=lambda answer: answer.verdict.value)
def test_one_useful_answer_ends_an_outage(new_sender, world, use):
    sender = new_sender(*[DOWN, DOWN, DOWN, DOWN, use] * 20, max_attempts=1)
    world.seconds_per_answer = 30.0

    assert last_until_stopped(sender, 99) == 99


def test_a_source_that_was_slow_is_no_outage(new_sender, world):
    """A query may take minutes to its first row; five answers of no use may then come within one second."""
    sender = new_sender(*[DOWN] * OUTAGE_ANSWERS, OK, *[DOWN] * OUTAGE_ANSWERS, OK, max_attempts=100)

    for _ in range(2):
        world.now += 10 * OUTAGE_SECONDS
        assert sender.send(PATCH).answer.verdict is Verdict.OK

    assert not sender.is_stopped


def test_waiting_as_asked_is_no_outage(new_sender, world):
    sender = new_sender(Answer(Verdict.RATE_LIMITED, 429, retry_after=100.0), max_attempts=50)

    sent = sender.send(POST)

    assert sent.attempts == 50
    assert not sender.is_stopped


# -- what others learn


def test_a_429_sets_the_pace(new_sender, world):
    sender = new_sender(SLOW_DOWN, OK)

    sender.send(POST)

    assert sender._pacer.rate is not None


def test_no_answer_at_all_is_none_that_got_through(new_sender, monkeypatch):
    sender, answered = new_sender(LOST, DOWN, OK), []
    monkeypatch.setattr(sender._pacer, "answered", lambda: answered.append(1))

    sender.send(PATCH)

    assert len(answered) == 2


def test_threads_share_the_counts():
    class Client:
        def send(self, method: str, body: dict[str, object]) -> Answer:
            return OK

    sender = Sender(Client(), Pacer(), 5)
    threads = [threading.Thread(target=lambda: [sender.send(POST) for _ in range(250)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (sender.requests, sender.retries) == (2_000, 0)
