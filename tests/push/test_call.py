"""One request on its own: against a client that answers by script, on a clock of its own."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.push import call as module
from airflow_provider_closers.push.call import Caller
from airflow_provider_closers.push.journey import Request
from airflow_provider_closers.push.pace import Pacer
from airflow_provider_closers.settings import ClosersSettings

POST = Request("POST", {"email": "jane@acme.io"})
PATCH = Request("PATCH", {"email": "jane@acme.io", "title": "CTO"})
DELETE = Request("DELETE", {"email": "jane@acme.io"})

OK = Answer(Verdict.OK, 200, data={"id": 7})
EXISTS = Answer(Verdict.EXISTS, 409)
NOT_FOUND = Answer(Verdict.NOT_FOUND, 404)
REFUSED = Answer(Verdict.REFUSED, 422)
UNAUTHORIZED = Answer(Verdict.UNAUTHORIZED, 401)
NOT_THE_API = Answer(Verdict.NOT_THE_API, 302)
DOWN = Answer(Verdict.UNAVAILABLE, 503)
LOST = Answer(Verdict.UNAVAILABLE, may_have_worked=True)
SLOW_DOWN = Answer(Verdict.RATE_LIMITED, 429)


def wait(seconds: float, status: int = 429) -> Answer:
    verdict = Verdict.RATE_LIMITED if status == 429 else Verdict.UNAVAILABLE
    return Answer(verdict, status, retry_after=seconds)


class World:
    """Time, which passes when somebody waits, and a client that gives the scripted answers in order."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.answers: list[Answer] = []
        self.sent: list[tuple[str, float]] = []
        self.seconds_per_answer = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def send(self, method: str, body: dict[str, Any]) -> Answer:
        self.sent.append((method, self.now))
        self.now += self.seconds_per_answer
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def abort(self) -> None:
        raise AssertionError("a single request is never aborted")


@pytest.fixture
def world(monkeypatch) -> World:
    world = World()
    monkeypatch.setattr(module, "time", world)
    monkeypatch.setattr(module, "backoff", lambda attempts: float(attempts))
    return world


@pytest.fixture
def new_caller(world):
    def new(*answers: Answer, max_attempts: int = 5, rate: float | None = None) -> Caller:
        world.answers = list(answers)
        settings = ClosersSettings(api_key="k", max_attempts=max_attempts, requests_per_second=rate)
        return Caller(world, settings)

    return new


class NotedPacer:
    """Lets everything pass, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    note = Pacer.note

    def next_moment(self) -> float:
        return 0.0

    def leave(self, now: float) -> None:
        self.told.append(("leave", now))

    def answered(self, sent_at: float) -> None:
        self.told.append(("answered", sent_at))

    def throttled(self, sent_at: float, now: float, retry_after: float | None) -> None:
        self.told.append(("throttled", sent_at, now, retry_after))

    def hold_back(self, until: float) -> None:
        self.told.append(("hold back", until))


# -- tries


@pytest.mark.parametrize(
    "answer",
    [OK, EXISTS, NOT_FOUND, REFUSED, UNAUTHORIZED, NOT_THE_API],
    ids=lambda answer: answer.verdict.value,
)
@pytest.mark.parametrize("request_", [POST, PATCH, DELETE], ids=lambda request: request.method)
def test_a_final_answer_is_returned_at_once(new_caller, world, request_, answer):
    assert new_caller(answer).call(request_) == answer

    assert world.sent == [(request_.method, 1000.0)]


@pytest.mark.parametrize("useless", [DOWN, LOST, SLOW_DOWN], ids=["down", "lost", "slow down"])
def test_an_answer_of_no_use_is_tried_again(new_caller, world, useless):
    assert new_caller(useless, useless, OK).call(PATCH).verdict is Verdict.OK

    assert len(world.sent) == 3


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_the_last_answer_is_returned_when_the_tries_are_used_up(new_caller, world, max_attempts):
    assert new_caller(DOWN, max_attempts=max_attempts).call(POST) == DOWN

    assert len(world.sent) == max_attempts


def test_tries_are_spaced_by_the_backoff_and_nothing_is_waited_for_after_the_last(new_caller, world):
    new_caller(DOWN, max_attempts=4).call(POST)

    assert [at for _, at in world.sent] == [1000.0, 1001.0, 1003.0, 1006.0]
    assert world.now == 1006.0


def test_what_the_client_raises_is_passed_on(new_caller, world, monkeypatch):
    def explode(method: str, body: dict[str, object]) -> Answer:
        raise RuntimeError("out of cheese")

    caller = new_caller(OK)
    with monkeypatch.context() as patched:
        patched.setattr(world, "send", explode)
        with pytest.raises(RuntimeError, match="out of cheese"):
            caller.call(POST)

    assert caller.call(POST) == OK


@pytest.mark.parametrize(
    ("request_", "answers", "verdict", "is_assumed"),
    [
        pytest.param(POST, [LOST, EXISTS], Verdict.OK, True, id="lost, and there it is: ours"),
        pytest.param(POST, [DOWN, EXISTS], Verdict.EXISTS, False, id="never arrived, so it is another's"),
        pytest.param(DELETE, [LOST, NOT_FOUND], Verdict.OK, True, id="lost, and it is gone: our doing"),
        pytest.param(PATCH, [LOST, NOT_FOUND], Verdict.NOT_FOUND, False, id="no change makes one vanish"),
    ],
)
def test_a_lost_answer_decides_whose_effect_is_found(new_caller, request_, answers, verdict, is_assumed):
    answer = new_caller(*answers).call(request_)

    assert (answer.verdict, answer.is_assumed) == (verdict, is_assumed)


def test_one_request_s_lost_answer_says_nothing_of_the_next(new_caller):
    caller = new_caller(LOST, OK, EXISTS)
    caller.call(POST)

    assert caller.call(POST).verdict is Verdict.EXISTS


# -- Retry-After


@pytest.mark.parametrize("status", [429, 503])
def test_a_short_retry_after_is_waited_for_in_place_of_the_backoff(new_caller, world, status):
    caller = new_caller(wait(4.0, status), OK)

    assert caller.call(POST) == OK
    (_, first), (_, second) = world.sent
    assert first == 1000.0
    assert 1004.0 <= second < 1005.0


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_of_no_seconds_is_a_backoff(new_caller, world, status):
    caller = new_caller(*[wait(0.0, status)] * 3, OK, max_attempts=4)

    assert caller.call(POST) == OK
    assert world.sent[-1][1] >= 1000.0 + 1 + 2 + 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_short_retry_after_holds_the_next_request_too(new_caller, world, status):
    caller = new_caller(wait(4.0, status), OK, max_attempts=1)

    assert caller.call(POST) == wait(4.0, status)
    assert world.now == 1000.0
    caller.call(PATCH)

    assert 1004.0 <= world.sent[1][1] < 1005.0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("seconds", [5.1, 60.0, 86_400.0])
def test_a_retry_after_above_its_patience_is_returned_at_once(new_caller, world, status, seconds):
    assert new_caller(wait(seconds, status)).call(POST) == wait(seconds, status)

    assert world.sent == [("POST", 1000.0)]
    assert world.now == 1000.0


def test_a_request_that_waits_for_its_moment_heeds_a_hold_that_comes_in_between(
    new_caller, world, monkeypatch
):
    caller = new_caller(OK)
    caller._pacer.hold_back(1_002.0)
    sleep = world.sleep

    def sleep_while_another_thread_is_told_to_hold_back(seconds: float) -> None:
        monkeypatch.setattr(world, "sleep", sleep)
        caller._pacer.hold_back(1_004.0)
        sleep(seconds)

    monkeypatch.setattr(world, "sleep", sleep_while_another_thread_is_told_to_hold_back)
    caller.call(PATCH)

    assert 1004.0 <= world.sent[0][1] < 1005.0


# -- pace


def test_requests_keep_to_the_account_s_rate(new_caller, world):
    caller = new_caller(OK, rate=0.1)

    for _ in range(5):
        caller.call(POST)

    spans = [later - earlier for (_, earlier), (_, later) in pairwise(world.sent)]
    assert len(spans) == 4
    assert all(10.0 <= span < 10.5 for span in spans)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param(OK, [("answered", 1000.0)], id="an answer"),
        pytest.param(REFUSED, [("answered", 1000.0)], id="a refusal"),
        pytest.param(DOWN, [("answered", 1000.0)], id="503"),
        pytest.param(LOST, [], id="no answer is none that got through"),
        pytest.param(SLOW_DOWN, [("throttled", 1000.0, 1000.5, None)], id="429"),
        pytest.param(wait(3.0), [("throttled", 1000.0, 1000.5, 3.0)], id="429 with a wait"),
        pytest.param(wait(3.0, 503), [("answered", 1000.0), ("hold back", 1003.5)], id="503 with a wait"),
    ],
)
def test_each_answer_sets_the_pace_of_the_requests_that_follow(new_caller, world, answer, told):
    caller = new_caller(answer, max_attempts=1)
    caller._pacer = NotedPacer()
    world.seconds_per_answer = 0.5

    caller.call(POST)

    assert caller._pacer.told == [("leave", 1000.0), *told]


# -- threads


class ForgetfulClient:
    """Loses the first of each two answers that a thread gets; the second finds the first's effect."""

    def __init__(self) -> None:
        self._sent = threading.local()

    def send(self, method: str, body: dict[str, Any]) -> Answer:
        self._sent.count = getattr(self._sent, "count", 0) + 1
        return LOST if self._sent.count % 2 else EXISTS

    def abort(self) -> None:
        raise AssertionError


class GuardedPacer(NotedPacer):
    """A pacer that minds being in two threads' hands, as the real one would."""

    def __init__(self) -> None:
        super().__init__()
        self.lock: Any = None

    def next_moment(self) -> float:
        assert self.lock.locked()
        return 0.0

    def leave(self, now: float) -> None:
        assert self.lock.locked()
        super().leave(now)


def test_threads_share_one_caller(monkeypatch):
    monkeypatch.setattr(module, "backoff", lambda _: 0.0)
    caller = Caller(ForgetfulClient(), ClosersSettings(api_key="k"))
    pacer = caller._pacer = GuardedPacer()
    pacer.lock = caller._lock
    answers: list[Answer] = []

    def run() -> None:
        answers.extend(caller.call(POST) for _ in range(100))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(answers) == 800
    assert all(answer.is_assumed for answer in answers)
    assert sum(1 for kind, *_ in pacer.told if kind == "leave") == 1_600


def test_a_thread_that_waits_does_not_keep_others_waiting(monkeypatch):
    """The first is told to try again in an hour; the second finishes meanwhile."""
    waiting, over, sent = threading.Event(), threading.Event(), []

    class Client:
        def send(self, method: str, body: dict[str, Any]) -> Answer:
            sent.append(method)
            return DOWN if sent == ["POST"] else OK

        def abort(self) -> None:
            raise AssertionError

    def sleep(seconds: float) -> None:
        waiting.set()
        assert over.wait(30)

    monkeypatch.setattr(module, "time", type("Time", (), {"monotonic": lambda: 1_000.0, "sleep": sleep}))
    caller = Caller(Client(), ClosersSettings(api_key="k"))
    caller._pacer = NotedPacer()
    first = threading.Thread(target=caller.call, args=(POST,), daemon=True)

    first.start()
    assert waiting.wait(30)
    assert caller.call(PATCH) == OK
    over.set()
    first.join(30)

    assert sent == ["POST", "PATCH", "POST"]
