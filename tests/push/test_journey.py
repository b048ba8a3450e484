"""What an upsert learns from the prospects before."""

from __future__ import annotations

import random

import pytest

from airflow_provider_closers.push.journey import Familiarity


def requests_for(are_known: list[bool]) -> float:
    """Return the requests per record of an upsert that goes by what it learnt so far."""
    familiarity, requests = Familiarity(), 0
    for is_known in are_known:
        requests += 1 if familiarity.expects_known == is_known else 2
        familiarity.note(is_known=is_known)
    return requests / len(are_known)


def test_at_first_a_prospect_is_expected_to_be_new():
    assert not Familiarity().expects_known


@pytest.mark.parametrize(
    ("share_known", "at_most"),
    [(0.0, 1.0), (0.02, 1.03), (0.1, 1.12), (0.5, 1.55), (0.9, 1.12), (0.98, 1.03), (1.0, 1.01)],
)
def test_a_guess_is_about_as_often_wrong_as_the_rarer_kind_comes(share_known, at_most):
    dice = random.Random(share_known)

    assert requests_for([dice.random() < share_known for _ in range(5_000)]) <= at_most


def test_an_input_that_turns_from_known_to_new_is_followed_within_a_few_records():
    assert requests_for([True] * 500 + [False] * 500) <= 1.02
