"""Which fields changed, told from digests."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_closers.prospect import API_NAMES
from airflow_provider_closers.sync.digests import changed_fields, digests_of, updated_digests

texts = st.text('aé\ud800"\\', max_size=3)
values = texts | st.booleans() | st.dictionaries(texts, texts | st.integers(-1, 2), max_size=3)
fields = st.dictionaries(st.sampled_from([name for name in API_NAMES.values() if name != "email"]), values)


@given(fields, fields)
def test_the_changed_fields_are_those_that_are_given_and_differ(before: dict[str, Any], now: dict[str, Any]):
    changed = changed_fields(digests_of(before), digests_of(now))

    # As JSON tells them apart: to Python, True equals 1.
    assert set(changed) == {
        name for name, value in now.items() if name not in before or repr(before[name]) != repr(value)
    }
    assert len(changed) == len(set(changed))


@given(fields, fields)
def test_fields_that_are_not_given_keep_their_digests(before: dict[str, Any], now: dict[str, Any]):
    assert updated_digests(digests_of(before), digests_of(now)) == digests_of(before | now)


@given(fields)
def test_the_order_of_the_fields_is_of_no_matter(given_fields: dict[str, Any]):
    assert digests_of(dict(reversed(given_fields.items()))) == digests_of(given_fields)


def test_digests_are_the_same_in_every_process_and_release():
    assert digests_of({"title": "CTO", "firstName": "Zoë"}).hex() == "00adedd55f6ede1ef9021118de1141deee59"
