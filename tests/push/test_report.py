"""What a push came to: its rejects, and several pushes together."""

from __future__ import annotations

import json

import pytest

from airflow_provider_closers.errors import ClosersAuthError, ClosersUnavailableError
from airflow_provider_closers.push.report import REJECTS_KEPT, PushReport, Reject


def noted(*rejects: Reject) -> PushReport:
    report = PushReport(operation="create")
    for reject in rejects:
        report.note_reject(reject)
    return report


def test_the_most_frequent_reasons_come_first():
    rare = [Reject(9, {}, "no email")]
    frequent = [Reject(index, {}, "POST answered 422") for index in range(3)]

    report = noted(*rare, *frequent)

    assert report.as_dict()["reject_reasons"] == [
        {"reason": "POST answered 422", "count": 3},
        {"reason": "no email", "count": 1},
    ]


def test_one_fault_in_many_lines_is_one_reason():
    report = noted(
        Reject(0, "", "line 3 of leads.csv has 2 cells, and the header 3"),
        Reject(1, "", "line 17 of leads.csv has 2 cells, and the header 3"),
        Reject(2, "", "the record in lines 20 to 23 of leads.csv has 4 cells, and the header 3"),
    )

    assert report.as_dict()["reject_reasons"] == [
        {"reason": "line … of leads.csv has 2 cells, and the header 3", "count": 2},
        {"reason": "the record in lines … of leads.csv has 4 cells, and the header 3", "count": 1},
    ]


def test_an_api_with_a_new_reason_each_time_does_not_swell_the_report():
    report = noted(*(Reject(index, {}, f"POST answered 422: request {index:0>40}") for index in range(5_000)))

    told = report.as_dict()
    assert sum(report.reasons.values()) == 5_000
    assert told["reject_reasons"][0] == {"reason": "other reasons", "count": 4_950}
    assert len(told["reject_reasons"]) == 10
    assert len(json.dumps(told)) < 4_000


@pytest.mark.parametrize(
    ("reject", "may_pass"),
    [
        (Reject(0, {}, "no email"), False),
        (Reject(0, {}, "refused", attempts=1, status=422), False),
        (Reject(0, {}, "no such prospect", attempts=1, status=404), False),
        (Reject(0, {}, "no answer", attempts=5), True),
        (Reject(0, {}, "out of order", attempts=5, status=503), True),
        (Reject(0, {}, "too many", attempts=5, status=429), True),
    ],
    ids=["record rule", "422", "404", "no answer", "503", "429"],
)
def test_only_what_the_api_failed_at_may_pass_another_day(reject, may_pass):
    assert noted(reject).may_pass == may_pass


def rejects(count: int) -> list[Reject]:
    return [Reject(index, None, "why") for index in range(count)]


def test_a_further_push_is_added_up():
    first, error = rejects(15), ClosersAuthError("no")
    report = PushReport(
        operation="sync",
        total=9,
        created=2,
        withheld_flags=1,
        requests=3,
        retries=1,
        seconds=1.5,
        rejects=first,
    )

    report.add(
        PushReport(
            operation="update", total=4, created=1, missing=1, requests=2, rejects=rejects(9), error=error
        )
    )
    report.add(PushReport(operation="delete", seconds=0.5, error=ClosersUnavailableError("later")))

    assert report.as_dict() | {"rejects": None, "error": "no"} == PushReport(
        operation="sync",
        total=9,
        created=3,
        missing=1,
        withheld_flags=1,
        requests=5,
        retries=1,
        seconds=2.0,
    ).as_dict() | {"rejects": None, "error": "no"}
    assert report.error is error
    assert report.rejects[:15] == first
    assert len(report.rejects) == REJECTS_KEPT
