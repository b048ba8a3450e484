"""
The pace of a push, in virtual time.

The first part asks the pacer alone. The second runs whole pushes against models of servers, with as
many requests in flight as the push may have, latency, and threads that wake up late; its tables say
what a push delivers of what was allowed, and how much of what it sent was answered 429.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_closers.push.pace import Pacer

# -- servers

Limit = Callable[[float], float]


class Server(Protocol):
    def allows(self, now: float) -> bool: ...


class Window:
    """No more than the limit in any second, as our sandbox counts."""

    def __init__(self, limit: Limit, *, counts_refused: bool = False) -> None:
        self.limit, self.counts_refused = limit, counts_refused
        self.counted: deque[float] = deque()

    def allows(self, now: float) -> bool:
        rate = self.limit(now)
        most = max(1, int(rate))
        while self.counted and self.counted[0] <= now - most / rate:
            self.counted.popleft()
        allowed = len(self.counted) < most
        if allowed or self.counts_refused:
            self.counted.append(now)
        return allowed


class Clockwork:
    """A count that starts anew with each second."""

    def __init__(self, limit: Limit) -> None:
        self.limit, self.second, self.count = limit, -1, 0

    def allows(self, now: float) -> bool:
        second = int(now + 0.37)
        if second != self.second:
            self.second, self.count = second, 0
        self.count += self.count < self.limit(now) + 1
        return self.count <= self.limit(now)


class Bucket:
    """Tokens that drip into a bucket, which is full at first."""

    def __init__(self, limit: Limit, size: float) -> None:
        self.limit, self.size, self.tokens, self.at = limit, size, size, 0.0

    def allows(self, now: float) -> bool:
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.limit(now))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def always(rate: float) -> Limit:
    return lambda now: rate


def steps(*levels: tuple[float, float]) -> Limit:
    """Go through limits, each for so many seconds; the last one stays."""

    def limit(now: float) -> float:
        for rate, seconds in levels:
            if now < seconds:
                return rate
            now -= seconds
        return levels[-1][0]

    return limit


def falls_and_returns(seconds: float, high: float = 80, low: float = 30) -> Limit:
    return steps((high, seconds), (low, seconds), (high, seconds))


# -- pushes


@dataclass
class Push:
    pacer: Pacer = field(default_factory=Pacer)
    workers: int = 16
    starts: float = 0.0
    demand: float = float("inf")
    free: int = 0
    records: float = float("inf")
    alarm: float = float("inf")
    left: list[float] = field(default_factory=list)
    passed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    @property
    def refused_share(self) -> float:
        return len(self.refused) / (len(self.passed) + len(self.refused))

    def of_allowed(self, limit: Limit, seconds: float) -> float:
        return len(self.passed) / sum(limit(n / 20) / 20 for n in range(round(20 * seconds)))


class World:
    """
    Pushes against one server (``None``: no limit), event by event.

    :param jitter: Seconds by which latency grows at random.
    :param late: Seconds by which a thread may be late to wake up.
    """

    def __init__(
        self, server: Server | None, *, latency: float, jitter: float, late: float, retry_after: float | None
    ) -> None:
        self.server, self.retry_after = server, retry_after
        self.latency, self.jitter, self.late = latency, jitter, late
        self.chance = random.Random(1)  # the same numbers every time
        self.order = itertools.count()
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def then(self, at: float, what: Callable[..., None], *more: Any) -> None:
        heapq.heappush(self.events, (at, next(self.order), what, more))

    def run(self, seconds: float) -> None:
        while self.events and self.events[0][0] < seconds:
            now, _, what, more = heapq.heappop(self.events)
            what(now, *more)

    def record_comes(self, now: float, push: Push) -> None:
        push.records += 1
        self.then(now + 1 / push.demand, self.record_comes, push)
        self.let_leave(now, push)

    def thread_wakes_up(self, now: float, push: Push) -> None:
        if now >= push.alarm:
            push.alarm = float("inf")
        self.let_leave(now, push)

    def let_leave(self, now: float, push: Push) -> None:
        while push.free and push.records:
            moment = push.pacer.next_moment()
            if moment > now:
                if moment < push.alarm:
                    push.alarm = moment + self.chance.random() * self.late
                    self.then(push.alarm, self.thread_wakes_up, push)
                return
            push.pacer.leave(now)
            push.left.append(now)
            push.free -= 1
            push.records -= 1
            one_way = (self.latency + self.chance.random() * self.jitter) / 2
            self.then(now + one_way, self.request_arrives, push, now)

    def request_arrives(self, now: float, push: Push, sent_at: float) -> None:
        passes = self.server is None or self.server.allows(now)
        (push.passed if passes else push.refused).append(now)
        self.then(now + (now - sent_at), self.answer_comes, push, sent_at, passes)

    def answer_comes(self, now: float, push: Push, sent_at: float, passes: bool) -> None:
        push.free += 1
        if passes:
            push.pacer.answered(sent_at)
        else:
            push.pacer.throttled(sent_at, now, self.retry_after)
        self.let_leave(now, push)


def run(
    server: Server | None,
    *pushes: Push,
    seconds: float,
    latency: float = 0.05,
    jitter: float = 0.0,
    late: float = 0.002,
    retry_after: float | None = None,
) -> Push:
    """Run pushes in a world of their own and return the first."""
    world = World(server, latency=latency, jitter=jitter, late=late, retry_after=retry_after)
    for push in pushes:
        push.free = push.workers
        if push.demand < float("inf"):
            push.records = 0
            world.then(push.starts, world.record_comes, push)
        else:
            world.then(push.starts, world.let_leave, push)
    world.run(seconds)
    return pushes[0]


def send(pacer: Pacer, count: int, now: float = 0.0) -> list[float]:
    """Let requests leave, each as soon as it may; return when they did."""
    left = []
    for _ in range(count):
        now = max(now, pacer.next_moment())
        pacer.leave(now)
        left.append(now)
    return left


def waits(pacer: Pacer, now: float) -> float:
    return max(0.0, pacer.next_moment() - now)


def limited(rate: int = 50) -> tuple[Pacer, float]:
    """Return a pacer that has just met a limit, and the time."""
    pacer = Pacer()
    left = send(pacer, 2 * rate)
    for at in left[:rate]:
        pacer.answered(at)
    now = left[-1]
    for at in left[rate:]:
        pacer.throttled(at, now, None)
    return pacer, now


# -- a set rate


def most_in_any(left: Sequence[float], span: float) -> int:
    first = most = 0
    for last, at in enumerate(left):
        while left[first] <= at - span:
            first += 1
        most = max(most, last - first + 1)
    return most


@settings(deadline=None)
@given(
    rate=st.one_of(st.integers(1, 300).map(float), st.floats(0.2, 300)),
    events=st.lists(
        st.tuples(
            st.floats(0, 0.05),
            st.sampled_from([*[0.0] * 8, 0.4, 3.0]),
            st.sampled_from([*["answered"] * 6, "lost", "throttled", "asked to wait"]),
        ),
        min_size=1,
        max_size=60,
    ),
)
def test_a_set_rate_is_never_exceeded(rate, events):
    pacer, now, left = Pacer(rate), 0.0, []

    for late, idle, what in itertools.islice(itertools.cycle(events), 900):
        pacer.next_moment()
        now = max(now + idle, pacer.next_moment() + late)
        pacer.leave(now)
        left.append(now)
        if what == "answered":
            pacer.answered(now)
        elif what != "lost" and len(left) % 50 == 0:
            pacer.throttled(now, now, 1.0 if what == "asked to wait" else None)

    most = max(1, round(rate))
    assert most_in_any(left, most / rate) <= most
    assert most_in_any(left, 1.0) <= rate + 1


@pytest.mark.parametrize("late", [0.0, 0.01, 0.05], ids=lambda late: f"woken up to {late} s late")
@pytest.mark.parametrize("rate", [0.5, 1, 2.5, 10, 80, 500], ids=lambda rate: f"{rate} per second")
def test_a_set_rate_is_made_use_of(rate, late):
    push = run(None, Push(Pacer(rate), workers=64), seconds=100, late=late)

    assert len(push.left) >= 0.95 * rate * 100


@pytest.mark.parametrize("rate", [2.5, 80], ids=lambda rate: f"{rate} per second")
def test_a_set_rate_that_is_the_limit_is_hardly_ever_refused(rate):
    push = run(Window(always(rate)), Push(Pacer(rate)), seconds=60, jitter=0.01)

    assert push.refused_share < 0.005


def test_a_set_rate_is_a_ceiling_below_which_the_pace_adapts():
    limit = steps((100, 10), (20, 20), (100, 30))

    push = run(Window(limit), Push(Pacer(50)), seconds=60)

    def per_second(start: float, end: float) -> float:
        return sum(start <= at < end for at in push.passed) / (end - start)

    assert 47 < per_second(0, 10) <= 50
    assert 16 < per_second(13, 30) <= 20
    assert 47 < per_second(45, 60) <= 50
    assert push.refused_share < 0.02
    assert push.pacer.rate == 50


# -- no rate set


def test_a_handful_leaves_at_once():
    pacer = Pacer()

    assert send(pacer, 20, now=7.0) == [7.0] * 20
    assert waits(pacer, 7.0) > 0


@pytest.mark.parametrize(
    ("workers", "latency"),
    [(1, 0.05), (8, 0.005), (16, 0.02), (64, 0.05), (64, 0.005), (256, 0.2), (256, 2.0)],
    ids=lambda value: f"{value} s" if isinstance(value, float) else f"{value} at once",
)
def test_a_push_without_a_limit_is_hardly_held_up(workers, latency):
    capacity = workers / latency

    push = run(None, Push(workers=workers), seconds=5, latency=latency)

    assert len(push.left) >= (5 - 0.6) * capacity
    assert sum(at >= 1 for at in push.left) >= 0.99 * 4 * capacity
    assert push.pacer.rate is None


def test_answers_that_come_in_fits_are_not_held_up_either():
    push = run(None, Push(workers=64), seconds=5, latency=0.02, jitter=0.1)
    unpaced = run(None, Push(Pacer(1e9), workers=64), seconds=5, latency=0.02, jitter=0.1)

    assert len(push.left) >= len(unpaced.left) - 0.5 * 64 / 0.07


def test_the_first_429_tells_the_limit():
    pacer, _ = limited(50)

    assert pacer.rate == pytest.approx(0.97 * 50)


def test_a_429_to_the_very_first_request_leaves_a_modest_rate():
    pacer = Pacer()
    send(pacer, 1)

    pacer.throttled(0.0, 0.1, None)

    assert pacer.rate == pytest.approx(9.7)


def test_what_left_before_the_cut_says_nothing_about_the_rate_since():
    pacer, now = limited(50)
    rate, moment = pacer.rate, pacer.next_moment()

    for _ in range(10):
        pacer.throttled(now - 0.001, now, None)

    assert (pacer.rate, pacer.next_moment()) == (rate, moment)


def test_a_429_that_comes_late_never_raises_a_low_rate():
    pacer, now = limited()
    while pacer.rate > 0.2:
        now = pacer.next_moment()
        pacer.leave(now)
        pacer.throttled(now, now, None)
    low = pacer.rate

    pacer.throttled(now - 0.001, now, None)

    assert pacer.rate <= low


def test_after_the_cut_a_second_holds_no_more_than_the_new_rate():
    pacer, now = limited(50)

    left = send(pacer, 60, now)

    assert most_in_any(left, 1.0) <= 50
    assert left[0] == pytest.approx(now + 1.0, abs=0.1)


def test_the_rate_never_falls_to_nothing():
    pacer, now = limited(50)

    for _ in range(100):
        sent_at = send(pacer, 1, now)[0]
        now = sent_at + 0.01
        pacer.throttled(sent_at, now, None)

    assert pacer.rate == pytest.approx(0.1, rel=0.2)
    assert waits(pacer, now) <= 12


def test_a_rate_that_is_not_used_does_not_climb():
    limit = steps((80, 10), (1_000, 600))
    push = run(Window(limit), Push(), Push(demand=20), seconds=10)

    busy, pacer = push.pacer.rate, push.pacer
    for n in range(20 * 600):
        pacer.leave(10 + n / 20)
        pacer.answered(10 + n / 20)

    assert pacer.rate == pytest.approx(busy, rel=0.1)


def test_asking_changes_nothing():
    asked, unasked = Pacer(), Pacer()
    for n in range(200):
        for _ in range(5):
            asked.next_moment()
        for pacer in (asked, unasked):
            send(pacer, 1, n / 400)
            if n == 150:
                pacer.throttled(n / 400, n / 400, None)

    assert asked.next_moment() == unasked.next_moment()
    assert asked.rate == unasked.rate


# -- holds and probes


@pytest.mark.parametrize("rate", [None, 2.0], ids=["no rate", "a set rate"])
def test_nothing_leaves_before_a_hold_is_over(rate):
    pacer = Pacer(rate)
    send(pacer, 1)

    pacer.hold_back(30.0)
    pacer.hold_back(5.0)

    assert send(pacer, 2, 1.0)[0] == 30.0


@pytest.mark.parametrize("is_late", [False, True], ids=["the first 429", "one that left before the cut"])
def test_retry_after_holds_everybody(is_late):
    pacer, now = limited() if is_late else (Pacer(), 0.0)
    sent_at = now if is_late else send(pacer, 1)[0]

    pacer.throttled(sent_at, now + 0.1, 7.0)

    assert pacer.next_moment() == pytest.approx(now + 7.1)


def test_while_probes_are_refused_they_leave_one_at_a_time_and_ever_more_seldom():
    pacer, now = limited()
    pauses = []

    for _ in range(8):
        probed_at = send(pacer, 1, now)[0]
        is_first = not pauses
        assert is_first or waits(pacer, probed_at) >= 0.99
        now = probed_at + 0.01
        pacer.throttled(probed_at, now, None)
        pauses.append(waits(pacer, now))

    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[-1] >= 4.99


def test_an_accepted_probe_lets_the_others_follow():
    pacer, now = limited()
    sent_at = send(pacer, 1, now)[0]
    pacer.throttled(sent_at, sent_at, None)
    probed_at = send(pacer, 1, sent_at)[0]
    assert waits(pacer, probed_at) == pytest.approx(1.0)

    pacer.answered(probed_at)

    assert waits(pacer, probed_at + 0.2) == 0


def test_a_probe_whose_answer_is_lost_is_not_waited_for_forever():
    pacer, now = limited()
    sent_at = send(pacer, 1, now)[0]
    pacer.throttled(sent_at, sent_at, None)

    left = send(pacer, 10, sent_at)

    assert left[1] == pytest.approx(left[0] + 1.0)
    assert left[-1] < left[1] + 1.0


# -- what a push delivers


@dataclass
class Scenario:
    """
    :param delivers: At least so much of what was allowed (or of what the push can at most).
    :param refused: At most so much of the requests is answered 429.
    """

    name: str
    limit: Limit
    delivers: float
    refused: float
    latency: float = 0.05
    jitter: float = 0.0
    workers: int = 16
    seconds: float = 60
    retry_after: float | None = None
    server: Callable[[Limit], Server] = Window


SCENARIOS = [
    Scenario("a limit that falls and returns, 5 ms", falls_and_returns(20), 0.90, 0.02, latency=0.005),
    Scenario("a limit that falls and returns, 20 ms", falls_and_returns(20), 0.90, 0.02, latency=0.02),
    Scenario("a limit that falls and returns, 50 ms", falls_and_returns(20), 0.90, 0.02),
    Scenario("a limit that falls and returns, 100 ms", falls_and_returns(20), 0.88, 0.02, latency=0.1),
    Scenario("a limit that falls and returns, 200 ms", falls_and_returns(20), 0.90, 0.02, latency=0.2),
    Scenario("... within 15 s", falls_and_returns(15), 0.88, 0.02, seconds=45),
    Scenario("... within a minute", falls_and_returns(60), 0.93, 0.01, seconds=180),
    Scenario("... with few workers", falls_and_returns(20), 0.90, 0.02, workers=8),
    Scenario("... with many workers", falls_and_returns(20), 0.90, 0.02, workers=64),
    Scenario("... with many in flight", falls_and_returns(20), 0.87, 0.04, workers=64, latency=0.2),
    Scenario("... with a jittery latency", falls_and_returns(20), 0.88, 0.03, jitter=0.1),
    Scenario("... far", falls_and_returns(20, 500, 100), 0.88, 0.01, latency=0.02),
    Scenario("... low", falls_and_returns(60, 16, 6), 0.85, 0.03, seconds=180),
    Scenario("... asking for a second of silence", falls_and_returns(20), 0.78, 0.02, retry_after=1.0),
    Scenario("... so, within a minute", falls_and_returns(60), 0.87, 0.01, retry_after=1.0, seconds=180),
    Scenario("a constant 2", always(2), 0.90, 0.16),
    Scenario("a constant 2, for ten minutes", always(2), 0.93, 0.03, seconds=600),
    Scenario("a constant 2.5", always(2.5), 0.74, 0.16),
    Scenario("one in two seconds", always(0.5), 0.68, 0.25, seconds=300),
    Scenario("a constant 10", always(10), 0.93, 0.035),
    Scenario("a constant 80", always(80), 0.95, 0.01),
    Scenario("a constant 500", always(500), 0.95, 0.01, latency=0.02),
    Scenario("a constant 1000", always(1_000), 0.94, 0.01, seconds=20, workers=64),
    Scenario("a constant 80 asking for a second of silence", always(80), 0.90, 0.01, retry_after=1.0),
    Scenario("a second by the clock", falls_and_returns(20), 0.86, 0.035, server=Clockwork),
    Scenario("a bucket of a second", falls_and_returns(20), 0.90, 0.025, server=lambda x: Bucket(x, 80)),
    Scenario("a small bucket", falls_and_returns(20), 0.78, 0.025, server=lambda x: Bucket(x, 10)),
    Scenario("a large bucket", falls_and_returns(20), 0.95, 0.04, server=lambda x: Bucket(x, 300)),
    Scenario(
        "refused requests count",
        falls_and_returns(20),
        0.85,
        0.03,
        server=lambda x: Window(x, counts_refused=True),
    ),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_push_delivers_what_it_may(scenario):
    push = run(
        scenario.server(scenario.limit),
        Push(workers=scenario.workers),
        seconds=scenario.seconds,
        latency=scenario.latency,
        jitter=scenario.jitter,
        retry_after=scenario.retry_after,
    )

    assert push.of_allowed(scenario.limit, scenario.seconds) >= scenario.delivers
    assert push.refused_share <= scenario.refused


def test_a_limit_that_is_lifted_is_left_behind():
    limit = steps((20, 15), (10_000, 15))

    push = run(Window(limit), Push(workers=16), seconds=30)

    assert sum(at >= 29 for at in push.passed) >= 0.95 * 16 / 0.05


def test_a_slow_source_meets_no_limit():
    push = run(Window(always(80)), Push(demand=40), seconds=60)

    assert len(push.passed) >= 0.99 * 40 * 60
    assert push.refused == []
    assert push.pacer.rate is None


@pytest.mark.parametrize("retry_after", [None, 1.0], ids=["no Retry-After", "a second of silence"])
@pytest.mark.parametrize("apart", [0.0, 0.2, 5.0], ids=lambda seconds: f"{seconds} s apart")
def test_pushes_that_share_a_limit_come_to_equal_shares(apart, retry_after):
    pushes = [Push(workers=8, starts=n * apart) for n in range(4)]

    run(Window(always(80)), *pushes, seconds=240, retry_after=retry_after)

    shares = [sum(at >= 60 for at in push.passed) for push in pushes]
    assert max(shares) < 2.5 * min(shares)
    assert sum(shares) >= (0.75 if retry_after else 0.9) * 80 * 180
