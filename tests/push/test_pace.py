"""The pace of a push, on a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable

import pytest

from airflow_provider_closers.push.pace import Pacer


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def moments(pacer: Pacer, count: int) -> list[float]:
    return [pacer.reserve() for _ in range(count)]


# -- moments


def test_a_fixed_rate_spaces_requests_evenly(clock):
    pacer = Pacer(4.0, clock)

    assert moments(pacer, 4) == [1000.0, 1000.25, 1000.5, 1000.75]


def test_time_that_was_not_used_is_not_made_up_for(clock):
    pacer = Pacer(4.0, clock)
    pacer.reserve()

    clock.now += 60

    assert moments(pacer, 2) == [1060.0, 1060.25]


def test_without_a_rate_requests_leave_at_once(clock):
    pacer = Pacer(None, clock)

    assert moments(pacer, 3) == [1000.0] * 3
    assert pacer.rate is None


@pytest.mark.parametrize("rate", [None, 2.0], ids=["no rate", "a fixed rate"])
def test_a_hold_holds_everybody(clock, rate):
    pacer = Pacer(rate, clock)
    taken_before = pacer.reserve()

    pacer.hold_back(30)

    assert pacer.reserve() == 1030.0
    assert not pacer.still_good(taken_before)
    assert pacer.still_good(1030.0)


def test_the_longest_hold_counts(clock):
    pacer = Pacer(None, clock)

    for seconds in (30, 5):
        pacer.hold_back(seconds)

    assert pacer.reserve() == 1030.0


def test_a_hold_ends(clock):
    pacer = Pacer(None, clock)
    pacer.hold_back(30)

    clock.now += 31

    assert pacer.reserve() == 1031.0


def test_threads_share_the_moments(clock):
    pacer, taken = Pacer(1_000.0, clock), []

    def take() -> None:
        for _ in range(200):
            taken.append(pacer.reserve())  # noqa: PERF401 - one by one, against the other threads

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == pytest.approx([1000 + n / 1_000 for n in range(1_600)])


# -- the rate


def test_a_fixed_rate_stays_whatever_is_answered(clock):
    pacer = Pacer(5.0, clock)

    for _ in range(100):
        pacer.answered()
        pacer.throttled(clock.now)
        clock.now += 2

    assert pacer.rate == 5.0


def test_nothing_limits_the_rate_before_the_first_429(clock):
    pacer = Pacer(None, clock)

    for _ in range(100):
        pacer.answered()

    assert pacer.rate is None


@pytest.mark.parametrize(
    ("per_second", "rate"),
    [(100, 70.0), (0, 7.0)],
    ids=["a part of what got through", "a modest one if nothing did"],
)
def test_the_first_429_sets_a_rate(clock, per_second, rate):
    pacer = Pacer(None, clock)
    for _ in range(3):
        for _ in range(per_second):
            clock.now += 1 / per_second
            pacer.answered()

    pacer.throttled(clock.now)

    assert pacer.rate == pytest.approx(rate, rel=0.05)


def test_one_burst_of_429_cuts_the_rate_once(clock):
    pacer = Pacer(None, clock)

    for _ in range(16):
        pacer.throttled(clock.now)

    assert pacer.rate == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("sent_after", "is_cut"),
    [(-1.0, False), (0.5, False), (1.5, True)],
    ids=["left before the cut", "left just after it", "left at the new rate"],
)
def test_a_429_counts_when_it_speaks_of_the_present_rate(clock, sent_after, is_cut):
    pacer = Pacer(None, clock)
    pacer.throttled(clock.now)
    before = pacer.rate

    clock.now += 3
    pacer.throttled(1_000.0 + sent_after)

    assert (pacer.rate < before) is is_cut


def test_the_rate_never_falls_to_nothing(clock):
    pacer = Pacer(None, clock)

    for _ in range(100):
        clock.now += 2
        pacer.throttled(clock.now)

    assert pacer.rate == pytest.approx(0.2)


def test_a_rate_that_is_used_up_climbs(clock):
    pacer = Pacer(None, clock)
    pacer.throttled(clock.now)

    for _ in range(40):
        clock.now = pacer.reserve()
        pacer.answered()

    assert pacer.rate > 15


def test_a_rate_that_is_not_used_up_does_not_climb_out_of_sight(clock):
    pacer = Pacer(None, clock)
    pacer.throttled(clock.now)

    for _ in range(40 * 3_600):
        clock.now += 1 / 40
        pacer.answered()

    assert 40 < pacer.rate < 90


# -- against an API


class Run:
    """A push of endless records against an API that counts requests over the last second."""

    def __init__(self, limit: Callable[[float], float], *, latency: float, workers: int, seconds: float):
        clock = Clock()
        start, pacer = clock.now, Pacer(None, clock)
        self.passed: list[float] = []
        self.refused: list[float] = []
        in_last_second: deque[float] = deque()
        order = itertools.count()
        events = [(start, next(order), "ready", 0.0) for _ in range(workers)]
        while events[0][0] < start + seconds:
            clock.now, _, what, sent = heapq.heappop(events)
            if what == "ready":
                moment = pacer.reserve()
                heapq.heappush(events, (moment, next(order), "leave", moment))
                continue
            if what == "leave":
                heapq.heappush(events, (clock.now + latency, next(order), "answer", sent))
                continue
            while in_last_second and in_last_second[0] <= clock.now - 1:
                in_last_second.popleft()
            if len(in_last_second) < limit(clock.now - start):
                in_last_second.append(clock.now)
                self.passed.append(clock.now - start)
                pacer.answered()
            else:
                self.refused.append(clock.now - start)
                pacer.throttled(sent)
            heapq.heappush(events, (clock.now, next(order), "ready", 0.0))


@pytest.mark.parametrize("latency", [0.01, 0.1], ids=lambda seconds: f"{seconds} s")
@pytest.mark.parametrize("limit", [10, 50, 100], ids=lambda limit: f"{limit} a second")
def test_it_finds_a_rate_limit_and_uses_most_of_it(limit, latency):
    run = Run(lambda _: limit, latency=latency, workers=16, seconds=120)

    assert sum(at > 60 for at in run.passed) / 60 > 0.75 * limit
    assert sum(at > 60 for at in run.refused) < 0.05 * sum(at > 60 for at in run.passed)


def test_it_uses_a_limit_that_was_raised():
    run = Run(lambda at: 10 if at < 60 else 100, latency=0.05, workers=32, seconds=240)

    assert sum(at > 180 for at in run.passed) / 60 > 70


def test_it_gives_way_within_seconds_to_a_limit_that_fell_after_a_long_free_run():
    run = Run(lambda at: 20 if at < 10 or at > 900 else 1_000, latency=0.2, workers=16, seconds=960)

    assert sum(899 < at < 900 for at in run.passed) > 70
    assert not [at for at in run.refused if 500 < at < 900]
    assert sum(at > 912 for at in run.refused) < 0.1 * sum(at > 912 for at in run.passed)
