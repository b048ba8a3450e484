"""The cluster check's account agrees with what is so, and notices what is not."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_closers.hooks.closers import ClosersHook
from tests.cluster.account import Allowed, Observed, agreements, chunk_of, limits
from tests.cluster.chunked_run import ChunkPush

pytestmark = pytest.mark.usefixtures("closers_connection")

HELD = [{"email": "p3@acme.io", "firstName": "Before", "otherAttribute": {"plan": "free"}}]
ALLOWED = Allowed(requests_per_second=1000, pushes_at_once=1, window=2)


def leads(chunk: int) -> list[dict[str, Any]]:
    names = ("first_name", "last_name", "job_title", "company", "city", "plan")
    people = [
        dict.fromkeys(names)
        | {"email": f"p{i}@acme.io", "first_name": f"P{i}", "job_title": "CTO", "city": "Bern"}
        for i in range(5 * chunk, 5 * chunk + 5)
    ]
    # A person twice, with another spelling of the domain; and a lead that is refused.
    return [
        *people,
        people[3] | {"email": people[3]["email"].replace("acme", "ACME"), "plan": "team"},
        people[1] | {"email": f"nobody{chunk}"},
    ]


def push(records: list[dict[str, Any]]) -> dict[str, Any]:
    others = ("company", "city", "plan")
    report = ClosersHook().push(
        "create", records, if_exists="update", field_map={"job_title": "title"}, other_attributes=others
    )
    return report.as_dict()


@pytest.fixture
def pushes(sandbox) -> tuple[list[ChunkPush], Observed]:
    """Two pushes; the first was killed after three leads, and the next try began with the third of them."""
    sandbox.add_prospects(HELD)
    first = push(leads(0)[:3])
    killed_at = time.monotonic()
    report = push(leads(0)[2:])
    # The third was open when the first try saved for the last time; its two requests were not counted.
    report |= {count: report[count] + first[count] for count in ("created", "updated", "requests")}
    report["updated"] -= 1
    report["requests"] -= 2
    killed = ChunkPush(0, leads(0), report, tries=2, resumed="Resumed: 2 records are settled, 1 is not.")
    observed = Observed(killed_at, frozenset({0}), most_pushes_at_once=1, workers={0: ["a", "b"], 1: ["b"]})
    return [killed, ChunkPush(1, leads(1), push(leads(1)), tries=1, resumed=None)], observed


def disagreeing(pushes: list[ChunkPush], observed: Observed, sandbox: Any) -> list[str]:
    chunks = [chunk_of(push, sandbox.journal(), observed) for push in pushes]
    checks = [*agreements(chunks, HELD, sandbox), *limits(chunks, ALLOWED, observed, sandbox)]
    return [check.what for check in checks if not check.agrees]


def test_what_is_so_agrees(pushes, sandbox):
    assert disagreeing(*pushes, sandbox) == []


def test_what_was_sent_twice_is_told_from_what_was_not(pushes, sandbox):
    (killed, whole), observed = pushes

    first, second = (chunk_of(push, sandbox.journal(), observed) for push in (killed, whole))

    assert (first.was_killed, first.requests_twice, first.leads_twice, first.leads_spared) == (True, 2, 1, 2)
    assert (second.was_killed, second.requests_twice, second.unreported) == (False, 0, 0)
    assert first.unreported == 2


def test_a_prospect_with_a_wrong_field_is_noticed(pushes, sandbox):
    ClosersHook().update_prospect({"email": "p2@acme.io", "title": "CEO"})

    assert "leads in Closers, every field right" in disagreeing(*pushes, sandbox)


def test_a_prospect_that_nobody_pushed_is_noticed(pushes, sandbox):
    sandbox.add_prospects([{"email": "stranger@acme.io"}])

    assert disagreeing(*pushes, sandbox) == ["prospects now"]


def test_a_prospect_that_was_added_twice_is_noticed(pushes, sandbox):
    ClosersHook().delete_prospect("p7@acme.io")
    push(leads(1)[2:3])

    assert "times that one prospect was added" in disagreeing(*pushes, sandbox)


@pytest.mark.parametrize("count", ["created", "requests"])
def test_a_report_that_counts_wrong_is_noticed(count, pushes, sandbox):
    (killed, whole), observed = pushes
    wrong = replace(whole, report=whole.report | {count: whole.report[count] + 1})

    assert disagreeing([killed, wrong], observed, sandbox)


def test_a_killed_push_that_started_over_is_noticed(pushes, sandbox):
    (killed, whole), observed = pushes

    assert disagreeing([replace(killed, resumed=None), whole], observed, sandbox) == [
        "killed pushes that went on"
    ]


def test_more_at_once_than_the_pool_allows_is_noticed(pushes, sandbox):
    both, observed = pushes

    assert disagreeing(both, replace(observed, most_pushes_at_once=2), sandbox) == [
        "pushes at once (the pool's slots)"
    ]
