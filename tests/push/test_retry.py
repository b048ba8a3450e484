"""The policy: whether to send again, and when."""

from __future__ import annotations

import pytest

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.push import retry
from airflow_provider_closers.push.retry import asks_too_much, backoff, should_retry


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
