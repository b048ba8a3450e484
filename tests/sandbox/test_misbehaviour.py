"""Every way to go wrong, as a caller with ``requests`` sees it."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest
import requests

from airflow_provider_closers.sandbox.misbehaviour import Fault, RateLimit
from airflow_provider_closers.sandbox.server import SandboxServer

JANE = {"email": "jane@acme.io"}
TAKEN, MISSING = "A prospect with this email already exists.", "There is no prospect with this email."


@pytest.mark.parametrize(
    ("dialect", "status", "body"),
    [
        ("409", 409, {"success": False, "message": TAKEN}),
        ("400", 400, {"success": False, "message": TAKEN}),
        ("422", 422, {"success": False, "message": TAKEN}),
        ("200", 200, {"success": False, "message": TAKEN}),
        (
            "422_errors",
            422,
            {
                "message": "The given data was invalid.",
                "errors": {"email": ["The email has already been taken."]},
            },
        ),
    ],
)
def test_dialects_of_already_exists(call, sandbox, dialect, status, body):
    sandbox.configure(exists_dialect=dialect)
    sandbox.add_prospects([JANE])

    answer = call("POST", JANE)

    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("dialect", "status", "body"),
    [
        ("404", 404, {"success": False, "message": MISSING}),
        ("400", 400, {"success": False, "message": MISSING}),
        ("422", 422, {"success": False, "message": MISSING}),
        ("200", 200, {"success": False, "message": MISSING}),
        (
            "422_errors",
            422,
            {
                "message": "The given data was invalid.",
                "errors": {"email": ["The selected email does not exist."]},
            },
        ),
    ],
)
def test_dialects_of_no_such_prospect(call, sandbox, method, dialect, status, body):
    sandbox.configure(missing_dialect=dialect)

    answer = call(method, JANE)

    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.parametrize(
    ("form", "statuses", "text"), [("text", [201, 200, 200], "OK"), ("empty", [201, 200, 204], "")]
)
def test_success_without_json(call, sandbox, form, statuses, text):
    sandbox.configure(success_body=form)

    answers = [call(method, JANE) for method in ("POST", "PATCH", "DELETE")]

    assert [answer.status_code for answer in answers] == statuses
    assert {answer.text for answer in answers} == {text}


@pytest.mark.parametrize(
    ("where", "body", "query", "status"),
    [
        ("either", JANE, "", 200),
        ("either", None, "?email=jane@acme.io", 200),
        ("either", None, "?email=jane%40acme.io", 200),
        ("either", JANE, "?email=jane@acme.io", 400),
        ("either", None, "?mail=jane@acme.io", 400),
        ("either", None, "?email=jane@acme.io&force=1", 400),
        ("either", None, "", 400),
        ("body", JANE, "", 200),
        ("body", None, "?email=jane@acme.io", 400),
        ("query", None, "?email=jane@acme.io", 200),
        ("query", JANE, "", 400),
    ],
)
def test_delete_takes_the_email_where_it_is_told_to(call, sandbox, where, body, query, status):
    sandbox.configure(delete_email_in=where)
    sandbox.add_prospects([JANE])

    answer = call("DELETE", body, query=query)

    assert answer.status_code == status
    assert sandbox.count() == (0 if status == 200 else 1)


@pytest.mark.parametrize(("mode", "expected"), [("merge", {"a": 1, "b": 2}), ("replace", {"b": 2})])
def test_patch_merges_or_replaces_the_other_attributes(call, sandbox, mode, expected):
    sandbox.configure(other_attribute=mode)
    sandbox.add_prospects([{**JANE, "otherAttribute": {"a": 1}}])

    call("PATCH", {**JANE, "otherAttribute": {"b": 2}})

    assert sandbox.prospect("jane@acme.io")["otherAttribute"] == expected


def test_case_of_emails_matters_unless_it_is_told_otherwise(call, sandbox):
    sandbox.add_prospects([JANE])

    assert call("PATCH", {"email": "JANE@acme.io"}).status_code == 404
    sandbox.configure(ignore_email_case=True)
    assert call("PATCH", {"email": "JANE@acme.io", "title": "CTO"}).json()["data"]["email"] == "jane@acme.io"


def test_case_cannot_be_ignored_while_two_prospects_differ_in_nothing_else(sandbox):
    sandbox.add_prospects([JANE, {"email": "Jane@acme.io"}])

    with pytest.raises(ValueError, match="differ only in the case"):
        sandbox.configure(ignore_email_case=True)

    assert sandbox.settings.ignore_email_case is False
    assert sandbox.count() == 2


def test_latency_holds_up_the_answer(call, sandbox):
    sandbox.configure(latency=0.1)

    call("POST", JANE)

    # Event loops round their clocks to the millisecond.
    assert 0.098 <= sandbox.journal()[0].latency < 2


def test_jitter_comes_on_top(call, sandbox):
    sandbox.configure(latency_jitter=0.05)

    for number in range(4):
        call("POST", {"email": f"jane{number}@acme.io"})

    assert len({round(entry.latency, 4) for entry in sandbox.journal()}) > 1


def test_requests_beyond_the_rate_are_refused_without_effect(call, sandbox):
    sandbox.configure(requests_per_second=3)

    statuses = [call("POST", {"email": f"jane{number}@acme.io"}).status_code for number in range(5)]

    assert statuses == [201, 201, 201, 429, 429]
    assert sandbox.count() == 3
    assert {entry.fault for entry in sandbox.journal()} == {None, "rate_limit"}


def test_rate_limit_is_a_sliding_window():
    limit = RateLimit()

    passed = [limit.allows(2, now) for now in (0.0, 0.75, 0.9, 1.0, 1.5, 1.75)]

    assert passed == [True, True, False, True, False, True]


def test_rate_below_one_stretches_the_window():
    limit = RateLimit()

    assert [limit.allows(0.5, now) for now in (0.0, 1.9, 2.0)] == [True, False, True]


@pytest.mark.parametrize("form", ["none", "seconds", "date"])
def test_retry_after_comes_in_either_form_or_not_at_all(call, sandbox, form):
    sandbox.configure(requests_per_second=1, retry_after=form, retry_after_seconds=7)

    call("POST", JANE)
    header = call("POST", JANE).headers.get("retry-after")

    if form == "none":
        assert header is None
    elif form == "seconds":
        assert header == "7"
    else:
        assert 6 <= parsedate_to_datetime(header).timestamp() - time.time() <= 9


def test_error_rate_answers_5xx_without_effect(call, sandbox):
    sandbox.configure(error_rate=1, retry_after="seconds")

    answers = [call("POST", JANE) for _ in range(30)]

    assert {answer.status_code for answer in answers} == {500, 502, 503}
    assert {answer.status_code for answer in answers if "retry-after" in answer.headers} == {503}
    assert sandbox.count() == 0


def test_drop_rate_writes_and_closes_unanswered(call, sandbox):
    sandbox.configure(drop_rate=1)

    with pytest.raises(requests.ConnectionError, match="closed connection without response"):
        call("POST", JANE)

    assert sandbox.prospects() == [JANE]
    [entry] = sandbox.journal()
    assert (entry.status, entry.wrote, entry.fault) == ("dropped", True, "drop_rate")


def test_rates_strike_a_share_of_the_requests(call, sandbox):
    sandbox.configure(error_rate=0.5)

    statuses = [call("PATCH", JANE).status_code for _ in range(100)]

    assert 25 < statuses.count(404) < 75


def test_chance_is_repeatable_with_a_seed(call, sandbox):
    def run() -> list[int]:
        sandbox.reset()
        sandbox.configure(error_rate=0.5)
        return [call("PATCH", JANE).status_code for _ in range(20)]

    assert run() == run()


def test_drop_writes_and_closes_without_a_byte(call, sandbox):
    sandbox.add_fault("drop")

    with pytest.raises(requests.ConnectionError, match="closed connection without response"):
        call("POST", JANE)

    assert sandbox.prospects() == [JANE]
    assert call("POST", JANE).status_code == 409


def test_reset_before_resets_without_effect(call, sandbox):
    sandbox.add_fault("reset_before")

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        call("POST", JANE)

    assert sandbox.count() == 0


def test_truncate_writes_and_cuts_the_answer(call, sandbox):
    sandbox.add_fault("truncate")

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        call("POST", JANE)

    assert sandbox.prospects() == [JANE]


def test_truncate_has_something_to_cut_from_an_empty_success(call, sandbox):
    sandbox.configure(success_body="empty")
    sandbox.add_prospects([JANE])
    sandbox.add_fault("truncate")

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        call("DELETE", JANE)


def test_hang_writes_and_never_answers(call, sandbox):
    sandbox.add_fault("hang")

    with pytest.raises(requests.ReadTimeout, match="timed out"):
        call("POST", JANE, timeout=0.2)

    assert sandbox.prospects() == [JANE]


def test_drip_writes_and_its_answer_never_ends(call, sandbox):
    sandbox.add_fault("drip")

    # No pause between two bytes is as long as the time-out, so that alone does not end it.
    answer = call("POST", JANE, timeout=0.2, stream=True)
    began, seen = time.monotonic(), b""
    for byte in answer.iter_content(1):
        seen += byte
        if time.monotonic() > began + 0.6:
            break
    answer.close()

    assert answer.status_code == 201
    assert 10 < len(seen) <= 35
    assert b'{"success":true,"data":'.startswith(seen[:20])
    assert sandbox.prospects() == [JANE]


def test_drip_has_something_to_begin_with_for_an_empty_success(call, sandbox):
    sandbox.configure(success_body="empty")
    sandbox.add_prospects([JANE])
    sandbox.add_fault("drip")

    answer = call("DELETE", JANE, stream=True)

    assert next(answer.iter_content(5)) == b'{"suc'
    answer.close()


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_reset_ends_an_answer_that_does_not_end_by_itself(call, sandbox, kind):
    sandbox.add_fault(kind)
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(call, "POST", JANE)
        while sandbox.count() == 0:
            time.sleep(0.005)

        sandbox.reset()

        with pytest.raises(requests.RequestException, match=r"closed connection|IncompleteRead"):
            request.result(5)


def test_close_answers_and_then_closes_the_connection(sandbox):
    host, port = sandbox.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    headers = {"Authorization": f"Bearer {sandbox.api_key}", "Content-Type": "application/json"}
    sandbox.add_fault("close", after=1)

    for _ in range(2):
        connection.request("PATCH", "/v1/crm/prospect", json.dumps(JANE), headers)
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (404, False)
        assert b"There is no prospect" in answer.read()

    assert connection.sock.recv(1) == b""
    connection.close()


def test_empty_answers_the_status_alone(call, sandbox):
    sandbox.add_fault("empty")

    answer = call("POST", JANE)

    assert (answer.status_code, answer.content) == (201, b"")
    assert sandbox.prospects() == [JANE]


def test_error_answers_its_status_without_effect(call, sandbox):
    sandbox.add_fault("error", status=429, retry_after=3)

    answer = call("POST", JANE)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert sandbox.count() == 0


def test_html_answers_a_page(call, sandbox):
    sandbox.add_fault("html", status=502)

    answer = call("POST", JANE)

    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")
    assert sandbox.count() == 0


def test_redirect_leads_a_client_that_follows_it_to_a_200(call, sandbox):
    sandbox.add_fault("redirect", times=2)

    assert call("POST", JANE).headers["location"] == "/"
    assert call("POST", JANE, allow_redirects=True).status_code == 200
    assert sandbox.count() == 0


def test_fault_may_write_all_the_same(call, sandbox):
    sandbox.add_fault("error", status=504, writes=True)

    assert call("POST", JANE).status_code == 504
    assert sandbox.prospects() == [JANE]


def test_fault_strikes_only_what_it_fits_and_as_often_as_told(call, sandbox):
    sandbox.add_fault("error", email="jane@acme.io", method="PATCH", times=2)
    sandbox.add_prospects([JANE, {"email": "joe@acme.io"}])

    statuses = [call("PATCH", {"email": "joe@acme.io"}).status_code]
    statuses += [call("PATCH", JANE).status_code for _ in range(3)]

    assert statuses == [200, 503, 503, 200]
    assert sandbox.faults() == []


def test_fault_lets_requests_pass_that_come_before_its_turn(call, sandbox):
    sandbox.add_fault("error", email="jane@acme.io", after=2)
    sandbox.add_prospects([JANE, {"email": "joe@acme.io"}])

    statuses = [call("PATCH", {"email": "joe@acme.io"}).status_code]
    statuses += [call("PATCH", JANE).status_code]
    assert [(fault.times, fault.after) for fault in sandbox.faults()] == [(1, 1)]
    statuses += [call("PATCH", JANE).status_code for _ in range(3)]

    assert statuses == [200, 200, 200, 503, 200]
    assert sandbox.faults() == []


def test_a_fault_that_lets_a_request_pass_leaves_it_to_the_next(call, sandbox):
    sandbox.add_fault("error", status=500, after=1)
    sandbox.add_fault("error", status=502)

    assert [call("POST", JANE).status_code for _ in range(3)] == [502, 500, 201]


def test_faults_strike_in_order(call, sandbox):
    for status in (500, 502):
        sandbox.add_fault("error", status=status)

    assert [call("POST", JANE).status_code for _ in range(3)] == [500, 502, 201]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "drop", "status": 500}, "status has no meaning"),
        ({"kind": "error", "status": 200}, "status of an error"),
        ({"kind": "redirect", "status": 200}, "status of a redirect"),
        ({"kind": "drop", "retry_after": 1}, "retry_after has no meaning"),
        ({"kind": "error", "retry_after": "1\r\nx: y"}, "value of a header"),
        ({"kind": "error", "location": "/"}, "location has no meaning"),
        ({"kind": "redirect", "location": "/\n"}, "value of a header"),
        ({"kind": "explode"}, "kind"),
        ({"kind": "drop", "times": 0}, "times"),
        ({"kind": "drop", "after": -1}, "after"),
        ({"kind": "drip", "status": 500}, "status has no meaning"),
        ({"kind": "drop", "when": "now"}, "when"),
    ],
    ids=str,
)
def test_fault_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Fault(**fields)


def test_reset_ends_what_is_held_up_without_effect(call, sandbox):
    sandbox.configure(latency=30)
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(call, "POST", JANE)
        while not sandbox.stats()["requests"]["in_flight"]:
            time.sleep(0.005)

        sandbox.reset()

        with pytest.raises(requests.ConnectionError, match="closed connection without response"):
            request.result(5)
    assert sandbox.count() == 0
    assert sandbox.journal() == []


def test_server_stops_while_a_request_hangs(session):
    with SandboxServer() as sandbox, ThreadPoolExecutor(1) as pool:
        sandbox.add_fault("hang")
        url, headers = f"{sandbox.url}/v1/crm/prospect", {"Authorization": "Bearer sandbox-key"}
        request = pool.submit(session.post, url, json=JANE, headers=headers, timeout=5)
        while sandbox.count() == 0:
            time.sleep(0.005)
        began = time.monotonic()

        sandbox.stop()

        assert time.monotonic() - began < 1
        with pytest.raises(requests.ConnectionError, match="closed connection without response"):
            request.result(5)
