"""How a push went over time, in a few dozen moments."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_closers.push.history import MOST_MOMENTS, History


def told(history: History, until: float, step: float = 0.25) -> History:
    """Tell a history how a push of a hundred records a second stands, whenever it is due."""
    seconds = history.moments[-1][0] if history.moments else 0.0
    while seconds < until:
        if history.is_due(seconds):
            history.note((seconds, int(seconds * 100), int(seconds * 110), int(seconds * 10), int(seconds)))
        seconds += step
    return history


@given(st.floats(min_value=0, max_value=20_000), st.floats(min_value=0.1, max_value=40))
def test_however_long_a_push_takes_its_moments_are_few_in_order_and_spread(until, step):
    moments = told(History(), until, step).moments

    assert len(moments) <= MOST_MOMENTS
    assert moments == sorted(moments)
    gaps = [later[0] - earlier[0] for earlier, later in pairwise(moments)]
    assert not gaps or max(gaps) <= max(until / MOST_MOMENTS * 4, 1.0) + 2 * step


def test_a_long_push_is_told_to_its_end():
    history = told(History(), 3_600)

    history.note((3_601.0, 360_100, 396_110, 36_010, 3_601))

    assert history.moments[-1] == (3_601.0, 360_100, 396_110, 36_010, 3_601)
    assert len(history.moments) > MOST_MOMENTS // 3


@pytest.mark.parametrize("first_try", [1.5, 30.0, 5_000.0])
def test_a_later_try_goes_on_with_the_moments_of_the_earlier(first_try):
    earlier = json.loads(json.dumps(told(History(), first_try).moments))

    history = told(History(earlier), first_try * 2)

    moments = history.moments
    assert len(moments) <= MOST_MOMENTS
    assert moments == sorted(moments)
    assert moments[-1][0] == pytest.approx(first_try * 2, rel=0.1, abs=1.5)


def test_moments_are_small():
    history = told(History(), 100_000)

    assert len(json.dumps(history.moments)) < 4_000
