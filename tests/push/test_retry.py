"""The policy: whether to send again, when, what several tries come to, and how many retries there may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.push import retry
from airflow_provider_closers.push.retry import RetryBudget, Tries, asks_too_much, backoff, should_retry

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


@pytest.mark.parametrize(
    ("verdict", "again"),
    [
        pytest.param(Verdict.OK, False, id="done"),
        pytest.param(Verdict.EXISTS, False, id="exists"),
        pytest.param(Verdict.NOT_FOUND, False, id="not found"),
        pytest.param(Verdict.UNAUTHORIZED, False, id="the key is refused"),
        pytest.param(Verdict.REFUSED, False, id="the record is refused"),
        pytest.param(Verdict.NOT_THE_API, False, id="not the API"),
        pytest.param(Verdict.RATE_LIMITED, True, id="too many requests"),
        pytest.param(Verdict.UNAVAILABLE, True, id="no useful answer"),
    ],
)
def test_only_what_may_pass_is_tried_again(verdict, again):
    assert should_retry(Answer(verdict), 1, 5) is again


def test_every_verdict_has_a_policy():
    table = next(mark for mark in test_only_what_may_pass_is_tried_again.pytestmark if mark.args)

    assert {case.values[0] for case in table.args[1]} == set(Verdict)


@pytest.mark.parametrize(
    ("attempts", "max_attempts", "again"),
    [(1, 1, False), (1, 2, True), (4, 5, True), (5, 5, False), (6, 5, False)],
    ids=["no second try allowed", "one left", "the last one", "used up", "more than allowed"],
)
def test_tries_are_bounded(attempts, max_attempts, again):
    assert should_retry(Answer(Verdict.UNAVAILABLE), attempts, max_attempts) is again


@pytest.mark.parametrize(
    ("retry_after", "too_much"),
    [
        pytest.param(None, False, id="not said"),
        pytest.param(0.0, False, id="at once"),
        pytest.param(300.0, False, id="as long as we wait"),
        pytest.param(300.1, True, id="longer"),
        pytest.param(86_400.0, True, id="a day"),
    ],
)
def test_a_wait_that_is_too_long_is_recognised(retry_after, too_much):
    answer = Answer(Verdict.RATE_LIMITED, 429, retry_after=retry_after)

    assert asks_too_much(answer, retry.LONGEST_WAIT) is too_much


@pytest.mark.parametrize(
    ("attempts", "ceiling"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (7, 32.0), (8, 60.0), (100, 60.0)],
    ids=lambda value: str(value),
)
def test_backoff_doubles_up_to_a_minute(monkeypatch, attempts, ceiling):
    spans = []
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: spans.append((low, high)) or high)

    assert backoff(attempts) == ceiling
    assert spans == [(0, ceiling)]


def test_backoff_has_full_jitter():
    waits = [backoff(3) for _ in range(2_000)]

    assert 0 <= min(waits) < 0.2
    assert 1.8 < max(waits) <= 2.0
    assert 0.9 < sum(waits) / len(waits) < 1.1


# -- tries


def final_of(tries: Tries, *answers: Answer) -> Answer:
    """Give the answers; only the last may be final."""
    *earlier, last = answers
    assert [tries.final(answer) for answer in earlier] == [None] * len(earlier)
    final = tries.final(last)
    assert final is not None
    assert tries.count == len(answers)
    return final


@pytest.mark.parametrize(
    "answer", [OK, EXISTS, NOT_FOUND, REFUSED, NOT_THE_API, UNAUTHORIZED], ids=lambda a: a.verdict.value
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_an_answer_that_will_not_change_is_final_and_left_as_it_is(method, answer):
    assert final_of(Tries(method, 5), answer) == answer


@pytest.mark.parametrize("useless", [DOWN, LOST, SLOW_DOWN], ids=["down", "lost", "slow down"])
@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_the_last_answer_is_final_when_the_tries_are_used_up(useless, max_attempts):
    assert final_of(Tries("POST", max_attempts), *[useless] * max_attempts) == useless


BY_THIS_PROCESS = [
    pytest.param("POST", [LOST, EXISTS], Verdict.OK, True, id="lost, and there it is: ours"),
    pytest.param("POST", [LOST, DOWN, SLOW_DOWN, EXISTS], Verdict.OK, True, id="lost some tries ago"),
    pytest.param("POST", [DOWN, EXISTS], Verdict.EXISTS, False, id="never arrived, so it is another's"),
    pytest.param("POST", [SLOW_DOWN, EXISTS], Verdict.EXISTS, False, id="told to wait, so it is another's"),
    pytest.param("POST", [LOST, OK], Verdict.OK, False, id="lost for good, then created"),
    pytest.param("POST", [LOST, REFUSED], Verdict.REFUSED, False, id="lost, then refused"),
    pytest.param("POST", [LOST, NOT_FOUND], Verdict.NOT_FOUND, False, id="no create makes one vanish"),
    pytest.param("DELETE", [LOST, NOT_FOUND], Verdict.OK, True, id="lost, and it is gone: our doing"),
    pytest.param("DELETE", [DOWN, NOT_FOUND], Verdict.NOT_FOUND, False, id="was never there"),
    pytest.param("PATCH", [LOST, NOT_FOUND], Verdict.NOT_FOUND, False, id="no change makes one vanish"),
    pytest.param("PATCH", [LOST, EXISTS], Verdict.EXISTS, False, id="no change makes one exist"),
    pytest.param("DELETE", [LOST, EXISTS], Verdict.EXISTS, False, id="no delete makes one exist"),
]


@pytest.mark.parametrize(("method", "answers", "verdict", "is_assumed"), BY_THIS_PROCESS)
def test_a_lost_answer_decides_whose_effect_is_found(method, answers, verdict, is_assumed):
    final = final_of(Tries(method, 5), *answers)

    assert (final.verdict, final.is_assumed) == (verdict, is_assumed)


BY_AN_EARLIER_PROCESS = [
    pytest.param("POST", [EXISTS], Verdict.OK, True, id="there it is: ours"),
    pytest.param("POST", [DOWN, SLOW_DOWN, EXISTS], Verdict.OK, True, id="there it is, after some tries"),
    pytest.param("POST", [OK], Verdict.OK, False, id="did not arrive then, is created now"),
    pytest.param("POST", [REFUSED], Verdict.REFUSED, False, id="refused"),
    pytest.param("POST", [UNAUTHORIZED], Verdict.UNAUTHORIZED, False, id="the key is refused"),
    pytest.param("DELETE", [NOT_FOUND], Verdict.OK, True, id="it is gone: our doing"),
    pytest.param("DELETE", [OK], Verdict.OK, False, id="did not arrive then, is deleted now"),
    pytest.param("PATCH", [NOT_FOUND], Verdict.NOT_FOUND, False, id="no change makes one vanish"),
]


@pytest.mark.parametrize(("method", "answers", "verdict", "is_assumed"), BY_AN_EARLIER_PROCESS)
def test_what_an_earlier_process_may_have_sent_counts_as_lost(method, answers, verdict, is_assumed):
    final = final_of(Tries(method, 5, is_lost=True), *answers)

    assert (final.verdict, final.is_assumed) == (verdict, is_assumed)


@pytest.mark.parametrize(
    ("is_lost", "answers", "may_have_worked"),
    [
        pytest.param(False, [LOST, LOST], True, id="lost twice"),
        pytest.param(False, [LOST, DOWN], True, id="lost, then down"),
        pytest.param(False, [DOWN, LOST], True, id="down, then lost"),
        pytest.param(False, [LOST, REFUSED], True, id="lost, then refused"),
        pytest.param(False, [DOWN, DOWN], False, id="down twice"),
        pytest.param(False, [SLOW_DOWN, DOWN], False, id="told to wait, then down"),
        pytest.param(False, [DOWN, REFUSED], False, id="down, then refused"),
        pytest.param(True, [DOWN, DOWN], True, id="by an earlier process, now down"),
        pytest.param(True, [REFUSED], True, id="by an earlier process, now refused"),
    ],
)
def test_a_doubt_is_kept_to_the_last_answer(is_lost, answers, may_have_worked):
    tries = Tries("POST", 2, is_lost=is_lost)

    final = final_of(tries, *answers)

    assert (final.may_have_worked, tries.is_lost) == (may_have_worked, may_have_worked)


@pytest.mark.parametrize(
    ("method", "is_lost", "answers", "may_find"),
    [
        pytest.param("POST", False, [], False, id="not sent yet"),
        pytest.param("POST", False, [DOWN], False, id="not taken"),
        pytest.param("POST", False, [LOST], True, id="a create lost"),
        pytest.param("POST", False, [LOST, DOWN], True, id="a create lost, then not taken"),
        pytest.param("POST", True, [DOWN], True, id="a create of an earlier process"),
        pytest.param("DELETE", False, [LOST], True, id="a delete lost"),
        pytest.param("DELETE", True, [], True, id="a delete of an earlier process"),
        pytest.param("PATCH", False, [LOST], False, id="a change leaves nothing to be found"),
        pytest.param("PATCH", True, [], False, id="nor does that of an earlier process"),
    ],
)
def test_what_another_try_may_find(method, is_lost, answers, may_find):
    tries = Tries(method, 5, is_lost=is_lost)

    for answer in answers:
        tries.final(answer)

    assert tries.may_find_own_effect is may_find


def test_what_a_lost_answer_comes_to_is_all_else_that_was_answered():
    said = Answer(Verdict.EXISTS, 409, reason="exists", text="it exists", data={"id": 7})

    final = final_of(Tries("POST", 2), LOST, said)

    assert (final.status, final.reason, final.text, final.data) == (409, "exists", "it exists", {"id": 7})


# -- the budget

#: Where the clock stands; a budget must not take it for granted that it starts at 0.
START = 1_000.0
BURST = 100


def spend_all(budget: RetryBudget, now: float) -> int:
    """Spend what may be spent at this time of the clock; return how many retries that is."""
    retries = 0
    while budget.next_moment(now) <= now:
        budget.spend()
        retries += 1
    return retries


def test_a_burst_of_retries_may_leave_at_once():
    assert spend_all(RetryBudget(START), START) == BURST


def test_without_useful_answers_retries_trickle():
    budget = RetryBudget(START)
    spend_all(budget, START)

    moments = []
    for _ in range(20):
        moments.append(budget.next_moment(moments[-1] if moments else START))
        budget.spend()

    assert moments == pytest.approx([START + 0.1 * n for n in range(1, 21)])


def test_every_second_useful_answer_pays_for_a_retry():
    budget = RetryBudget(START)
    spend_all(budget, START)

    retries = []
    for _ in range(6):
        budget.earn()
        retries.append(spend_all(budget, START))

    assert retries == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("seconds", "useful"), [(86_400.0, 0), (0.0, 10_000), (86_400.0, 10_000)], ids=["time", "answers", "both"]
)
def test_no_more_than_a_burst_is_saved_up(seconds, useful):
    budget = RetryBudget(START)
    for _ in range(useful):
        budget.earn()

    assert spend_all(budget, START + seconds) == BURST


def test_to_ask_costs_nothing():
    budget = RetryBudget(START)
    spend_all(budget, START)

    assert {budget.next_moment(START) for _ in range(50)} == {START + 0.1}


@given(
    st.lists(
        st.one_of(st.just("useful"), st.just("retry"), st.floats(0, 5, allow_nan=False)),
        max_size=300,
    )
)
def test_retries_keep_to_the_share_and_the_floor_and_always_come(happenings):
    budget, now, useful, retries = RetryBudget(START), START, 0, 0

    for happening in happenings:
        if happening == "useful":
            budget.earn()
            useful += 1
        elif happening == "retry":
            moment = budget.next_moment(now)
            # A tenth of a second makes a token, so that nobody waits longer for the next.
            assert now <= moment <= now + 0.1 + 1e-9
            if moment <= now:
                budget.spend()
                retries += 1
        else:
            now += happening

    assert retries <= BURST + useful / 2 + 10 * (now - START) + 1e-6


@given(st.integers(101, 400))
def test_where_nothing_works_a_retry_waits_and_then_comes(retries):
    budget, now = RetryBudget(START), START

    for _ in range(retries):
        now = budget.next_moment(now)
        for _ in range(3):  # what was due to the rounding of sums
            now = budget.next_moment(now)
        assert budget.next_moment(now) <= now
        budget.spend()

    assert now - START == pytest.approx((retries - BURST) / 10)
