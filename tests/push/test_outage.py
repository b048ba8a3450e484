"""Whether the API is out of order: a table of answers, and the times at which they came."""

from __future__ import annotations

import pytest

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.push.outage import NO_USE, OutageWatch

DOWN = Answer(Verdict.UNAVAILABLE, 503)
OK = Answer(Verdict.OK, 200)

#: Where the clock stands.
START = 1_000.0
OUTAGE_SECONDS = 60.0


def watch(window: int = 1) -> OutageWatch:
    return OutageWatch(OUTAGE_SECONDS, window)


def note(watch: OutageWatch, answer: Answer, *moments: float, email: str = "jane@acme.io") -> None:
    """Note an answer again and again, at so many seconds after the start."""
    for moment in moments:
        watch.note(answer, email, START + moment, START + moment)


@pytest.mark.parametrize(
    ("verdict", "is_of_use"),
    [
        (Verdict.OK, True),
        (Verdict.EXISTS, True),
        (Verdict.NOT_FOUND, True),
        (Verdict.REFUSED, True),
        (Verdict.UNAUTHORIZED, True),  # of use to know: it stops the push by itself
        (Verdict.UNAVAILABLE, False),
        (Verdict.RATE_LIMITED, False),
        (Verdict.NOT_THE_API, False),
    ],
    ids=lambda value: value.value if isinstance(value, Verdict) else None,
)
class TestEachVerdict:
    def test_is_of_use_or_not(self, verdict, is_of_use):
        assert (verdict not in NO_USE) is is_of_use

    def test_makes_dark_or_not(self, verdict, is_of_use):
        watched = watch()

        note(watched, Answer(verdict), 1, 2, 3, 4, 5)

        assert watched.is_dark is not is_of_use

    def test_ends_the_dark_or_not(self, verdict, is_of_use):
        watched = watch()

        note(watched, DOWN, 1, 2, 3, 4, 5)
        note(watched, Answer(verdict), 6)

        assert watched.is_dark is not is_of_use

    def test_ends_an_outage_or_not(self, verdict, is_of_use):
        watched = watch()

        note(watched, DOWN, *range(0, 100, 10))
        note(watched, Answer(verdict), 100)

        assert watched.is_outage(START + 100) is not is_of_use


# -- dark


@pytest.mark.parametrize(
    ("window", "answers"),
    [(1, 5), (5, 5), (6, 6), (16, 16), (256, 256)],
    ids=["never fewer than five", "five", "six", "the default", "the largest"],
)
def test_a_window_of_useless_answers_makes_dark(window, answers):
    watched = watch(window)

    note(watched, DOWN, *[0.1] * (answers - 1))
    assert not watched.is_dark
    note(watched, DOWN, 0.1)

    assert watched.is_dark


def test_after_a_useful_answer_the_window_is_counted_anew():
    watched = watch()

    for _ in range(10):
        note(watched, DOWN, 1, 2, 3, 4)
        note(watched, OK, 5)

    note(watched, DOWN, 6, 7, 8, 9)
    assert not watched.is_dark


def test_no_probe_leaves_while_an_answer_is_awaited():
    watched = watch()

    note(watched, DOWN, 1, 2, 3, 4, 5)

    assert [watched.next_probe(in_flight) for in_flight in (1, 2, 16)] == [float("inf")] * 3
    assert watched.next_probe(0) < float("inf")


def pauses(watched: OutageWatch, count: int) -> list[float]:
    """Send so many probes, each as soon as it may leave; return how long each waited."""
    waited, now = [], START + 10
    note(watched, DOWN, *[10] * 5)
    for _ in range(count):
        probe_at = watched.next_probe(0)
        waited.append(probe_at - now)
        now = probe_at + 0.25  # until it is answered
        watched.note(DOWN, "jane@acme.io", probe_at, now)
    return waited


def test_a_dark_api_is_asked_ever_more_rarely():
    assert pauses(watch(), 7) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_in_the_next_dark_the_pauses_start_over():
    watched = watch()
    pauses(watched, 7)

    note(watched, OK, 10)

    assert pauses(watched, 3) == [0.5, 1.0, 2.0]


# -- outage


@pytest.mark.parametrize(
    ("moments", "is_outage"),
    [
        pytest.param([0, 15, 30, 45, 60.1], True, id="longer than a minute"),
        pytest.param([0, 15, 30, 45, 60.0], False, id="a minute sharp"),
        pytest.param([0, 0.1, 0.2, 0.3, 60.1], True, id="most of them at its start"),
        pytest.param([0, 59.8, 59.9, 60.0, 60.1], True, id="most of them at its end"),
        pytest.param([0, 100, 200, 300], False, id="few answers, however long they took"),
        pytest.param([n / 10 for n in range(500)], False, id="a hiccup of many answers"),
        pytest.param([500, 500.1, 500.2, 500.3, 500.4], False, id="a source that was slow"),
    ],
)
def test_an_outage_is_many_useless_answers_over_a_long_time(moments, is_outage):
    watched = watch()

    note(watched, DOWN, *moments)

    assert watched.is_outage(START + moments[-1]) is is_outage


def test_nothing_at_all_is_no_outage():
    assert not watch().is_outage(START + 10_000)


def test_one_useful_answer_starts_the_time_anew():
    watched = watch()

    note(watched, DOWN, *range(0, 50, 10))
    note(watched, OK, 50)
    note(watched, DOWN, *range(60, 120, 10))

    assert not watched.is_outage(START + 120)
    assert watched.is_outage(START + 120.1)


def test_a_source_that_had_nothing_to_send_is_no_outage():
    """A query may take minutes to its first row; five answers of no use may then come within a second."""
    watched = watch()

    for began in (0, 1_000, 2_000):
        note(watched, OK, began)
        note(watched, DOWN, *[began + 600 + n / 10 for n in range(20)])

        assert not watched.is_outage(START + began + 602)


@pytest.mark.parametrize("verdict", [Verdict.RATE_LIMITED, Verdict.UNAVAILABLE], ids=["429", "503"])
def test_waiting_as_asked_is_no_outage(verdict):
    watched = watch()
    wait = Answer(verdict, retry_after=100.0)

    for n in range(50):
        note(watched, wait, 100 * n)

        assert not watched.is_outage(START + 100 * n)


def test_an_api_that_is_down_when_the_wait_is_over_is_an_outage_a_minute_later():
    watched = watch()

    note(watched, Answer(Verdict.UNAVAILABLE, 503, retry_after=100.0), 0)
    note(watched, DOWN, 100, 110, 120, 130, 140, 150, 160)

    assert not watched.is_outage(START + 160)
    assert watched.is_outage(START + 160.1)


def test_a_short_retry_after_does_not_shorten_a_longer_one():
    watched = watch()

    note(watched, Answer(Verdict.UNAVAILABLE, 503, retry_after=200.0), 0)
    note(watched, Answer(Verdict.UNAVAILABLE, 503, retry_after=1.0), 1, 2, 3, 4)

    assert not watched.is_outage(START + 260)
    assert watched.is_outage(START + 260.1)


def test_answers_that_were_in_flight_when_it_got_dark_do_not_lengthen_the_pause():
    watched = watch(16)

    note(watched, DOWN, *[0.0] * (16 + 15))

    assert watched.next_probe(0) == START + 0.5


def test_a_source_that_pauses_within_a_row_of_useless_answers_is_no_outage():
    watched = watch()

    note(watched, DOWN, 0, 600, 600.1, 600.2, 600.3)

    assert not watched.is_outage(START + 600.3)


def test_who_is_always_told_to_wait_a_second_is_told_so_for_six_minutes_at_most():
    watched = watch()
    told = Answer(Verdict.UNAVAILABLE, 503, retry_after=1.0)

    note(watched, told, *range(360))
    assert not watched.is_outage(START + 359)

    note(watched, told, *range(360, 365))
    assert watched.is_outage(START + 364)


# -- one email, or the API

LOST = Answer(Verdict.UNAVAILABLE, may_have_worked=True)
NO_CONNECTION = Answer(Verdict.UNAVAILABLE)
SLOW_DOWN = Answer(Verdict.RATE_LIMITED, 429)
NOT_THE_API = Answer(Verdict.NOT_THE_API, 302)


@pytest.mark.parametrize(
    ("answer", "may_be_one"),
    [
        pytest.param(DOWN, True, id="5xx"),
        pytest.param(LOST, True, id="a lost answer"),
        pytest.param(NO_CONNECTION, False, id="no connection: nobody's record got there"),
        pytest.param(SLOW_DOWN, False, id="429"),
        pytest.param(NOT_THE_API, False, id="not the API"),
    ],
)
def test_one_email_s_records_may_be_at_fault_where_the_api_got_them(answer, may_be_one):
    watched = watch()

    note(watched, answer, 1, 2, 3, 4, 5)

    assert watched.may_be_one_email is may_be_one


@pytest.mark.parametrize(
    ("useful_from", "may_be_one"),
    [("bob@acme.io", True), (None, False)],
    ids=["others do well", "nor others"],
)
def test_the_api_is_at_fault_where_two_emails_got_no_useful_answer(useful_from, may_be_one):
    watched = watch()

    note(watched, DOWN, 1, 2, email="bob@acme.io")
    if useful_from:
        note(watched, OK, 3, email=useful_from)
    note(watched, DOWN, 4, 5, 6, 7, 8, email="jane@acme.io")

    assert watched.may_be_one_email is may_be_one


@pytest.mark.parametrize(
    ("answer", "is_free"),
    [
        pytest.param(DOWN, True, id="5xx"),
        pytest.param(NO_CONNECTION, True, id="no connection"),
        pytest.param(SLOW_DOWN, True, id="429"),
        pytest.param(Answer(Verdict.UNAVAILABLE, 503, retry_after=30.0), True, id="a short wait"),
        pytest.param(Answer(Verdict.UNAVAILABLE, 503, retry_after=31.0), False, id="waits without end"),
        pytest.param(NOT_THE_API, False, id="not the API, which asking again does not change"),
        pytest.param(OK, False, id="of use"),
    ],
)
def test_in_the_dark_an_answer_of_no_use_costs_no_try(answer, is_free):
    watched = watch()
    note(watched, DOWN, 1, 2, 3, email="bob@acme.io")
    note(watched, DOWN, 4, email="jane@acme.io")
    assert not watched.costs_no_try(answer)

    note(watched, DOWN, 5, email="jane@acme.io")

    assert watched.costs_no_try(answer) is is_free


def test_where_it_may_be_one_email_s_fault_each_answer_costs_a_try():
    watched = watch()

    note(watched, DOWN, 1, 2, 3, 4, 5)

    assert watched.is_dark
    assert not watched.costs_no_try(DOWN)
