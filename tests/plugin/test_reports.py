from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_closers.errors import ClosersAuthError
from airflow_provider_closers.plugin.reports import OUTCOMES, report_of, small, sum_of
from airflow_provider_closers.push.report import PushReport, Reject

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=8),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=25,
)
KEYS = set(PushReport(operation="create").as_dict())
reports = st.fixed_dictionaries(
    {"operation": st.sampled_from(["create", "upsert"]), "total": st.integers(0, 1000)}
    | {outcome: st.integers(0, 1000) for outcome in OUTCOMES}
).map(report_of)


def test_the_report_of_a_push_is_kept_as_it_is():
    pushed = PushReport(
        operation="upsert", total=3, created=2, rejected=1, requests=5, retries=2, seconds=1.25, throttled=1
    )
    pushed.pace = [(0.5, 1, 2, 1, 0), (1.25, 3, 5, 2, 1)]
    pushed.rejects = [Reject(index=2, record={}, reason="no", email="j***@acme.io")]
    pushed.rejects_path = "s3://bucket/rejects.jsonl"
    pushed.error = ClosersAuthError("POST /v1/crm/prospect was answered 401.")
    stored = json.loads(json.dumps(pushed.as_dict()))

    assert report_of(stored) == stored


def test_a_report_from_before_there_was_a_pace_is_one():
    stored = PushReport(operation="create", total=1, created=1).as_dict()
    for key in ("throttled", "error", "pace", "reject_reasons"):
        del stored[key]

    report = report_of(stored)

    assert report["throttled"] == 0
    assert report["pace"] == []
    assert report["error"] is None


@pytest.mark.parametrize(
    "value",
    [None, "text", [1], {}, {"unresolved": 3}, {"operation": "create", "total": 1}],
    ids=["none", "text", "list", "empty", "like_one", "half"],
)
def test_other_values_are_no_report(value):
    assert report_of(value) is None


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), anything), anything)
def test_whatever_a_task_stored_comes_out_in_the_shape_of_a_report(values, other):
    stored = dict.fromkeys(["operation", "total", *OUTCOMES], other) | values

    report = report_of(stored)

    assert report.keys() == KEYS
    assert all(type(report[name]) is int and report[name] >= 0 for name in ("total", *OUTCOMES))
    assert all(len(point) == 5 for point in report["pace"])
    assert len(report["pace"]) <= 60
    assert all(each.keys() == {"index", "email", "reason"} for each in report["rejects"])
    json.loads(json.dumps(report, allow_nan=False))


@given(st.lists(reports, min_size=1))
def test_the_sum_of_mapped_pushes_adds_up(mapped):
    whole = sum_of(mapped, seconds=7.5)

    assert whole.keys() == KEYS
    for name in ("total", *OUTCOMES):
        assert whole[name] == sum(report[name] for report in mapped)


def test_the_sum_counts_a_reason_once():
    mapped = [
        report_of(PushReport(operation="create").as_dict())
        | {"reject_reasons": [{"reason": "taken", "count": n}, {"reason": f"own {n}", "count": 1}]}
        for n in (3, 4)
    ]

    whole = sum_of(mapped, seconds=0)

    assert whole["reject_reasons"][0] == {"reason": "taken", "count": 7}
    assert len(whole["reject_reasons"]) == 3


def test_a_list_of_pushes_holds_no_email():
    report = report_of(PushReport(operation="create", total=1, rejected=1).as_dict()) | {
        "rejects": [{"index": 0, "email": "j***@acme.io", "reason": "j***@acme.io is taken"}],
        "reject_reasons": [{"reason": "j***@acme.io is taken", "count": 1}],
        "error": "j***@acme.io",
    }

    assert "acme" not in json.dumps(small(report))
