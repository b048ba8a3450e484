"""A push against the sandbox: outcomes, order, faults, stops. Sandbox, journal and report must agree."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.errors import (
    ClosersAuthError,
    ClosersConfigError,
    ClosersRateLimitError,
    ClosersUnavailableError,
)
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.push import engine, window
from airflow_provider_closers.push.report import Reject

JANE = {"email": "jane@acme.io"}


def people(count: int) -> list[dict[str, Any]]:
    return [{"email": f"p{i}@acme.io", "first_name": f"P{i}"} for i in range(count)]


def nonzero(report: Any) -> dict[str, int]:
    return {name: n for name, n in report.outcomes.items() if n}


# -- outcomes


def test_create_adds_prospects(push, sandbox):
    report = push("create", people(50))

    assert nonzero(report) == {"created": 50}
    assert report.requests == sandbox.count() == 50
    assert sandbox.prospect("p7@acme.io")["firstName"] == "P7"


@pytest.mark.parametrize("dialect", ["409", "400", "422", "422_errors", "200"])
@pytest.mark.parametrize(
    ("if_exists", "outcome", "first_name"),
    [("skip", "existing", "Old"), ("update", "updated", "New"), ("fail", "rejected", "Old")],
)
def test_create_treats_an_existing_prospect_as_asked(push, sandbox, dialect, if_exists, outcome, first_name):
    sandbox.configure(exists_dialect=dialect)
    sandbox.add_prospects([JANE | {"firstName": "Old"}])

    report = push("create", [JANE | {"first_name": "New"}], if_exists=if_exists)

    assert nonzero(report) == {outcome: 1}
    assert sandbox.prospect("jane@acme.io")["firstName"] == first_name


@pytest.mark.parametrize("dialect", ["404", "400", "422", "200"])
@pytest.mark.parametrize(
    ("operation", "if_missing", "outcome"),
    [
        ("update", "fail", "rejected"),
        ("update", "skip", "missing"),
        ("update", "create", "created"),
        ("delete", "skip", "missing"),
        ("delete", "fail", "rejected"),
    ],
)
def test_a_missing_prospect_is_treated_as_asked(push, sandbox, dialect, operation, if_missing, outcome):
    sandbox.configure(missing_dialect=dialect)

    report = push(operation, [JANE], if_missing=if_missing)

    assert nonzero(report) == {outcome: 1}
    assert sandbox.count() == (outcome == "created")


def test_defaults_make_a_second_run_harmless(push, sandbox):
    for _ in range(2):
        created = push("create", people(3))
        updated = push("update", [person | {"title": "CTO"} for person in people(3)])
        upserted = push("upsert", people(3))

    assert nonzero(created) == {"existing": 3}
    assert nonzero(updated) == {"updated": 3}
    assert nonzero(upserted) == {"updated": 3}
    assert nonzero(push("delete", people(3))) == {"deleted": 3}
    assert nonzero(push("delete", people(3))) == {"missing": 3}


@pytest.mark.parametrize(
    ("known", "first_of_the_last"),
    [pytest.param(0, "POST", id="all new"), pytest.param(300, "PATCH", id="all known")],
)
def test_an_upsert_learns_which_request_comes_first(push, sandbox, known, first_of_the_last):
    sandbox.add_prospects([{"email": person["email"]} for person in people(known)])

    report = push("upsert", people(300), settings={"max_concurrency": 4})

    assert nonzero(report) == {"updated": known} if known else {"created": 300}
    assert report.requests <= 310
    assert sandbox.journal()[-1].method == first_of_the_last


def test_a_mixed_upsert_sends_everything_whichever_request_it_begins_with(push, sandbox):
    records = [person | {"title": "CTO"} for person in people(200)]
    sandbox.add_prospects([{"email": person["email"], "firstName": "Old"} for person in records[50:150]])

    report = push("upsert", records)

    assert nonzero(report) == {"created": 100, "updated": 100}
    assert all(
        (prospect["firstName"], prospect["title"]) == (f"P{i}", "CTO")
        for i, prospect in enumerate(sandbox.prospect(person["email"]) for person in records)
    )


def test_a_post_is_followed_by_what_the_page_does_not_list_for_it(push, sandbox):
    record = JANE | {"first_name": "Jane", "title": "CTO", "replied": True, "bounced": False, "plan": "pro"}

    report = push("create", [record])

    assert nonzero(report) == {"created": 1}
    assert report.withheld_flags == 1
    assert [(entry.method, entry.body) for entry in sandbox.journal()] == [
        ("POST", JANE | {"firstName": "Jane", "otherAttribute": {"plan": "pro"}}),
        ("PATCH", JANE | {"title": "CTO", "replied": True}),
    ]


def test_a_record_whose_rest_was_refused_says_that_it_was_created(push, sandbox):
    sandbox.add_fault("error", method="PATCH", status=422)

    report = push("create", [JANE | {"title": "CTO"}])

    assert nonzero(report) == {"rejected": 1}
    assert report.rejects[0].reason.startswith("created, but not completed: PATCH answered 422")


def test_bad_records_are_rejected_and_the_others_pushed(push, sandbox):
    rejected: list[Reject] = []
    records = [*people(5), {"email": "nobody"}, 7, {"first_name": "Jane"}, *people(7)[5:]]

    report = push("create", records, on_reject=rejected.append)

    assert nonzero(report) == {"created": 7, "rejected": 3}
    assert [(reject.index, reject.record, reject.attempts) for reject in rejected] == [
        (5, {"email": "nobody"}, 0),
        (6, 7, 0),
        (7, {"first_name": "Jane"}, 0),
    ]
    assert len(sandbox.journal()) == 7


def test_a_record_that_raises_when_read_is_a_reject(push):
    class Broken(dict):
        def items(self):
            raise RuntimeError

    assert push("create", [Broken(JANE), JANE]).outcomes["rejected"] == 1


def test_the_report_keeps_the_first_rejects_only(push):
    report = push("create", [{"email": str(i)} for i in range(30)])

    assert report.rejected == 30
    assert [reject.index for reject in report.rejects] == list(range(20))


def test_a_refused_record_keeps_status_attempts_and_reason(push, sandbox):
    sandbox.add_fault("error", status=422, email="jane@acme.io")

    (reject,) = push("create", [JANE]).rejects

    assert (reject.status, reject.attempts) == (422, 1)
    assert reject.reason.startswith("POST answered 422")


def test_preview_sends_nothing_and_counts_everything(push, sandbox):
    records = [*people(3), {"email": "nobody"}, JANE | {"replied": False}]

    report = push("create", records, preview=True, suppression={"p0@acme.io"})

    assert nonzero(report) == {"suppressed": 1, "rejected": 1, "unresolved": 3}
    assert (report.requests, report.withheld_flags, report.error) == (0, 1, None)
    assert sandbox.journal() == []


@pytest.mark.parametrize("operation", ["create", "update", "upsert"])
def test_a_suppressed_address_is_never_sent(push, sandbox, operation):
    report = push(operation, people(3), suppression={"p1@acme.io"}, if_missing="skip")

    assert report.suppressed == 1
    assert sandbox.journal(email="p1@acme.io") == []


def test_an_erased_address_is_on_the_list_before_its_delete_leaves(push, sandbox):
    sandbox.add_prospects([{"email": person["email"]} for person in people(3)])
    requests_when_added = []

    class List(set):
        def add(self, emails):
            requests_when_added.append(len(sandbox.journal()))
            self.update(emails)

    listed = List()
    report = push("delete", [*people(3), {"email": "nobody"}], suppression=listed)

    assert nonzero(report) == {"deleted": 3, "rejected": 1}
    assert listed == {"p0@acme.io", "p1@acme.io", "p2@acme.io"}
    assert requests_when_added == [0]


def test_a_list_that_can_t_grow_stops_before_the_first_delete(push, sandbox):
    class Full(set):
        def add(self, emails):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        push("delete", people(3), suppression=Full())

    assert sandbox.journal() == []


# -- streaming and order


def test_what_came_before_the_input_failed_is_listed_and_erased(push, sandbox):
    sandbox.add_prospects([{"email": person["email"]} for person in people(500)])
    listed: list[str] = []

    def source() -> Iterator[Any]:
        yield from people(500)
        raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        push("delete", source(), suppression=Listing(listed))

    assert len(listed) == 500
    assert sandbox.count() < 100


class Listing(set[str]):
    def __init__(self, emails: list[str]) -> None:
        self.emails = emails

    def add(self, emails: Iterable[str]) -> None:
        self.emails += emails


def test_input_is_read_as_it_is_pushed(push):
    read_ahead = 0

    def source() -> Iterator[dict[str, Any]]:
        nonlocal read_ahead
        for i, person in enumerate(people(500)):
            read_ahead = max(read_ahead, i - done)
            yield person

    done = 0

    class Counting(set):
        def __contains__(self, email: object) -> bool:
            nonlocal done
            done += 1
            return False

    report = push("create", source(), suppression=Counting(), settings={"max_concurrency": 4})

    assert report.created == 500
    assert read_ahead <= 16


def test_records_of_one_email_are_applied_in_input_order(push, sandbox):
    sandbox.configure(latency_jitter=0.01)
    emails = ["jane@acme.io", "JANE@acme.io", "joe@acme.io"]
    records = [{"email": emails[i % 3], "title": str(i)} for i in range(90)]

    report = push("update", records, if_missing="skip")

    assert report.total == 90
    for same in (emails[:2], emails[2:]):
        titles = [int(e.body["title"]) for e in sandbox.journal() if e.email in same]
        assert titles == sorted(titles)


def test_no_more_than_max_concurrency_are_in_flight(push, sandbox):
    sandbox.configure(latency=0.02)

    push("create", people(40), settings={"max_concurrency": 4})

    spans = [(e.monotonic, e.monotonic + e.latency) for e in sandbox.journal()]
    assert max(sum(a <= start < b for a, b in spans) for start, _ in spans) <= 4


def test_requests_per_second_is_kept(push, sandbox):
    report = push("create", people(150), settings={"requests_per_second": 50})

    moments = sorted(entry.monotonic for entry in sandbox.journal())
    assert max(sum(a <= b < a + 1 for b in moments) for a in moments) <= 51
    assert report.seconds < 150 / 50 / 0.95


# -- faults


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("error", {"status": 500}),
        ("error", {"status": 503}),
        ("error", {"status": 408}),
        ("error", {"status": 429, "times": 1}),  # each slows the push down
        ("reset_before", {}),
        ("drop", {}),
        ("truncate", {}),
        ("empty", {}),
        ("html", {"status": 502, "writes": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.get("status", "")),
)
@pytest.mark.parametrize(
    ("operation", "outcome"), [("create", "created"), ("update", "updated"), ("delete", "deleted")]
)
@pytest.mark.usefixtures("quick_backoff")
def test_a_passing_fault_changes_no_outcome(push, sandbox, operation, outcome, kind, details):
    if operation != "create":
        sandbox.add_prospects([{"email": person["email"]} for person in people(10)])
    for email in ("p0@acme.io", "p5@acme.io", "p9@acme.io"):
        sandbox.add_fault(kind, email=email, **{"times": 2, **details})

    report = push(operation, people(10))

    assert nonzero(report) == {outcome: 10}
    assert sandbox.count() == (0 if operation == "delete" else 10)
    assert report.requests == len(sandbox.journal()) == 10 + report.retries


@pytest.mark.parametrize("if_exists", ["skip", "fail", "update"])
@pytest.mark.usefixtures("quick_backoff")
def test_a_create_whose_answer_was_lost_is_created(push, sandbox, if_exists):
    sandbox.add_fault("drop", method="POST")

    report = push("create", [JANE | {"title": "CTO"}], if_exists=if_exists)

    assert nonzero(report) == {"created": 1}
    assert sandbox.prospect("jane@acme.io")["title"] == "CTO"


@pytest.mark.usefixtures("quick_backoff")
def test_an_upsert_whose_answer_was_lost_still_applies_every_field(push, sandbox):
    """The lost POST may have met an older prospect: nothing of the record may be missing then."""
    sandbox.add_prospects([JANE | {"firstName": "Old"}])
    sandbox.add_fault("drop", method="POST")

    push("upsert", [JANE | {"first_name": "New"}])

    assert sandbox.prospect("jane@acme.io")["firstName"] == "New"


@pytest.mark.usefixtures("quick_backoff")
def test_an_error_that_is_no_lost_answer_leaves_existing_existing(push, sandbox):
    sandbox.add_prospects([JANE])
    sandbox.add_fault("error", status=500)

    assert nonzero(push("create", [JANE])) == {"existing": 1}


@pytest.mark.usefixtures("quick_backoff")
def test_a_record_is_given_up_after_max_attempts(push, sandbox):
    sandbox.add_fault("error", status=500, email="p1@acme.io", times=3)

    report = push("create", people(3), settings={"max_attempts": 3})

    assert nonzero(report) == {"created": 2, "rejected": 1}
    (reject,) = report.rejects
    assert (reject.index, reject.attempts, reject.status) == (1, 3, 500)
    assert report.retries == 2


@pytest.mark.usefixtures("quick_backoff")
def test_a_given_up_record_says_that_it_may_have_worked(push, sandbox):
    sandbox.add_fault("drop", times=2)

    (reject,) = push("delete", [JANE], settings={"max_attempts": 1}).rejects

    assert "DELETE got no answer" in reject.reason
    assert reject.reason.endswith("it may have worked all the same")


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_back_the_whole_push(push, sandbox, form):
    sandbox.configure(retry_after=form, retry_after_seconds=1, requests_per_second=5)

    report = push("create", people(8), settings={"max_concurrency": 8})

    journal = sandbox.journal()
    refused = [entry for entry in journal if entry.status == 429]
    assert nonzero(report) == {"created": 8}
    assert refused
    first_answered = min(entry.monotonic + entry.latency for entry in refused)
    in_flight_then = [e for e in journal if e.monotonic <= first_answered]
    later = [e for e in journal if e.monotonic > first_answered + 0.05]
    assert len(in_flight_then) <= 8
    assert min(entry.monotonic for entry in later) >= first_answered + 0.9


@pytest.mark.usefixtures("quick_backoff")
def test_a_rate_limit_is_found_and_no_record_lost(push, sandbox):
    sandbox.configure(requests_per_second=40)

    report = push("create", people(120))

    assert nonzero(report) == {"created": 120}
    assert sandbox.count() == 120


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_of_a_year_stops_the_push(push, sandbox, status):
    sandbox.add_fault("error", status=status, retry_after=31_536_000, times=100)

    report = push("create", people(5))

    assert nonzero(report) == {"unresolved": 5}
    assert isinstance(report.error, ClosersRateLimitError | ClosersUnavailableError)


@pytest.mark.parametrize("value", ["-5", "soon", "Sun, 99 Nov 2026"])
@pytest.mark.usefixtures("quick_backoff")
def test_a_retry_after_that_makes_no_sense_is_ignored(push, sandbox, value):
    sandbox.add_fault("error", status=429, retry_after=value)

    assert nonzero(push("create", [JANE])) == {"created": 1}


@pytest.mark.parametrize(
    ("kind", "details"),
    [("redirect", {"location": "/"}), ("redirect", {"status": 307}), ("html", {"status": 404})],
)
def test_an_answer_that_is_not_the_api_s_is_no_success(push, sandbox, kind, details):
    sandbox.add_prospects([JANE])
    sandbox.add_fault(kind, **details)

    report = push("delete", [JANE])

    assert nonzero(report) == {"rejected": 1}
    assert len(sandbox.journal()) == 1
    assert sandbox.count() == 1


# -- stops


def test_a_refused_key_stops_at_once_and_leaves_the_rest_unresolved(push, sandbox):
    report = push("create", people(200), api_key="wrong", settings={"max_concurrency": 4})

    assert nonzero(report) == {"unresolved": 200}
    assert isinstance(report.error, ClosersAuthError)
    assert len(sandbox.journal()) <= 4


def test_a_stopped_push_counts_a_generator_to_its_end(push):
    report = push("create", (person for person in people(200)), api_key="wrong")

    assert nonzero(report) == {"unresolved": 200}


@pytest.mark.usefixtures("quick_backoff")
def test_a_dead_host_does_not_burn_through_the_records(push):
    quick = {"max_concurrency": 4, "outage_seconds": 1.0}

    report = push("create", people(500), base_url="http://127.0.0.1:9", settings=quick)

    assert report.rejected <= 20
    assert report.unresolved == 500 - report.rejected
    assert isinstance(report.error, ClosersUnavailableError)


@pytest.mark.usefixtures("quick_backoff")
def test_an_outage_leaves_the_rest_unresolved(push, sandbox):
    sandbox.configure(error_rate=1.0)

    report = push("create", people(500), settings={"outage_seconds": 0.2})

    assert nonzero(report) == {"unresolved": 500}
    assert isinstance(report.error, ClosersUnavailableError)


class Interrupted(BaseException):
    """What Airflow raises in a task's thread for a time-out or SIGTERM is such."""


def test_an_interruption_ends_what_is_in_flight_and_sends_nothing_more(push, sandbox):
    sandbox.configure(latency=0.1)

    def source() -> Iterator[dict[str, Any]]:
        yield from people(4)
        time.sleep(0.03)
        raise Interrupted

    with pytest.raises(Interrupted):
        push("create", source(), settings={"max_concurrency": 4})

    assert sandbox.count() == 4
    time.sleep(0.2)
    assert len(sandbox.journal()) == 4


def test_an_interruption_cuts_waiting_short(push, sandbox):
    sandbox.add_fault("error", status=429, retry_after=120, times=100)

    def source() -> Iterator[dict[str, Any]]:
        yield from people(4)
        time.sleep(0.2)
        raise Interrupted

    started = time.monotonic()
    with pytest.raises(Interrupted):
        push("create", source())

    assert time.monotonic() - started < 5


def test_a_rejects_handler_that_fails_ends_the_push(push):
    def full(_: Reject) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        push("create", [{"email": "nobody"}, *people(3)], on_reject=full)


def test_no_thread_is_left_behind(push):
    push("create", people(10))

    for _ in range(50):
        if not [thread for thread in threading.enumerate() if thread.name.startswith("closers-push")]:
            return
        time.sleep(0.02)
    pytest.fail("The push left threads running.")


def test_a_long_push_says_how_it_goes(push, sandbox, monkeypatch, caplog):
    monkeypatch.setattr(engine, "_SECONDS_BETWEEN_LOG_LINES", 0.05)
    sandbox.configure(latency=0.02)

    with caplog.at_level("INFO"):
        push("create", people(30), settings={"max_concurrency": 2})

    lines = [record.getMessage() for record in caplog.records if record.name == engine.__name__]
    assert any(
        re.match(r"create: \d+ of 30 \(\d+%\), [\d.]+/s, [\d.]+ s left; pace: no limit", line)
        for line in lines
    )
    assert lines[-1].splitlines()[0].startswith("create: 30 records in ")
    assert not any("@" in line for line in lines)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({"operation": "creat"}, r"operation is 'creat'; .*did you mean 'create'"),
        ({"operation": None}, "operation is None; it must be one of create, update, upsert, delete"),
        (
            {"operation": "create", "if_exists": "ignore"},
            "if_exists is 'ignore'; it must be one of skip, upd",
        ),
        ({"operation": "update", "if_missing": "Fail"}, r"if_missing is 'Fail'; .*did you mean 'fail'"),
        (
            {"operation": "delete", "if_missing": "create"},
            "if_missing is 'create'; it must be one of skip, f",
        ),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_sent(push, sandbox, route, message):
    with pytest.raises(ClosersConfigError, match=message):
        push(route.pop("operation"), people(3), **route)

    assert sandbox.journal() == []


# -- invariants

LOST = {"html", "truncate", "drop", "reset_before"}
FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["error", "html", "redirect", "empty", "truncate", "drop", "reset_before"]),
        st.integers(0, 7),
        st.integers(1, 4),
    ),
    max_size=6,
)
RECORDS = st.lists(
    st.tuples(st.integers(0, 7), st.booleans()) | st.just("bad") | st.none(), min_size=0, max_size=25
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operation=st.sampled_from(["create", "update", "upsert", "delete"]),
    records=RECORDS,
    faults=FAULTS,
    concurrency=st.integers(1, 8),
)
def test_outcomes_add_up_and_agree_with_the_sandbox_under_any_faults(
    push, sandbox, monkeypatch, operation, records, faults, concurrency
):
    monkeypatch.setattr(window, "backoff", lambda _: 0.001)
    sandbox.reset()
    sandbox.add_prospects([{"email": f"p{i}@acme.io"} for i in range(0, 8, 2)])
    for kind, who, times in faults:
        sandbox.add_fault(kind, email=f"p{who}@acme.io", times=times)
    given_records = [
        {"email": f"p{r[0]}@acme.io", "replied": r[1], "n": i} if isinstance(r, tuple) else r
        for i, r in enumerate(records)
    ]
    before = {prospect["email"] for prospect in sandbox.prospects()}

    report = push(
        operation,
        iter(given_records),
        settings={"max_concurrency": concurrency, "max_attempts": 3},
        rules=RecordRules(other_attributes=["n"]),
    )

    after = {prospect["email"] for prospect in sandbox.prospects()}
    journal = sandbox.journal()
    wrote = [entry for entry in journal if entry.wrote]
    assert report.total == len(records)
    assert report.requests == len(journal)
    assert not any(entry.body.get("replied") is False for entry in journal if isinstance(entry.body, dict))
    posted = sum(entry.method == "POST" for entry in wrote)
    erased = sum(entry.method == "DELETE" for entry in wrote)
    if not any(entry.fault in LOST for entry in journal):
        assert report.created <= posted
        assert report.deleted <= erased
    if not report.rejected and not report.unresolved:
        # Nothing was given up. A lost answer may have said "exists" as well as "created": then no
        # client can know, and the promise is to call it created.
        assert report.created >= posted == len(after - before)
        assert report.deleted >= erased == len(before - after)
    for email in after | before:
        numbers = [
            e.body["otherAttribute"]["n"]
            for e in wrote
            if e.email == email and e.method == "PATCH" and "otherAttribute" in e.body
        ]
        assert numbers == sorted(numbers)
