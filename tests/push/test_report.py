"""What a push came to, and several of them together."""

from __future__ import annotations

from airflow_provider_closers.errors import ClosersAuthError, ClosersUnavailableError
from airflow_provider_closers.push.report import REJECTS_KEPT, PushReport, Reject


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

    assert report.as_dict() | {"rejects": None} == PushReport(
        operation="sync",
        total=9,
        created=3,
        missing=1,
        withheld_flags=1,
        requests=5,
        retries=1,
        seconds=2.0,
    ).as_dict() | {"rejects": None}
    assert report.error is error
    assert report.rejects[:15] == first
    assert len(report.rejects) == REJECTS_KEPT
