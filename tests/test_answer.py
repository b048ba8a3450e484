"""What an answer means: the table of everything that the vendor leaves open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_closers.answer import Answer, Verdict, read_answer

EXISTS, NOT_FOUND, REFUSED = Verdict.EXISTS, Verdict.NOT_FOUND, Verdict.REFUSED
NOW = 1_000_000_000.0


def read(method: str, status: int, body: Any = b"", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return read_answer(method, status, named, content, NOW)


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "message",
    [
        "Prospect already exists",
        "A prospect with this email already exists",
        "A prospect with the email jane@acme.io already exists.",
        "Prospect with email 'jane@acme.io' exists",
        "Prospect exists",
        "PROSPECT_ALREADY_EXISTS",
        "prospectAlreadyExists",
        "Email has already been taken",
        "This email is already in use",
        "The email has already been added to your CRM",
        "There is already a prospect with this email",
        "You already have a prospect with this email",
        "Email address is already used by another prospect",
        "Email already being used",
        "The prospect has already been created",
        "email_taken",
        "Contact already in CRM",
        "Duplicate email",
        "email must be unique",
        'duplicate key value violates unique constraint "prospect_email_key"',
        "E11000 duplicate key error collection: crm.prospects",
        "conflict",
    ],
)
def test_a_refused_post_that_says_exists_is_understood(status, message):
    assert read("POST", status, {"message": message}).verdict is EXISTS


@pytest.mark.parametrize(
    "message",
    [
        "Email is invalid",
        "email must be a valid email",
        "Malformed email: duplicate@@",
        "already-exists@acme is not a valid email",
        "'already exists' is not a valid first name",
        "“Already exists” is no title",
        "Email does not exist",
        "The email domain does not exist",
        "Mailbox does not exist",
        "Email is invalid or already exists",
        "field firstname does not already exist",
        "account must already exist",
        "Campaign already started",
        "campaign already exists",
        "otherAttribute key already exists",
        "attribute 'plan' already exists",
        "invalid email: already exists?",
        "Email already exists in blacklist",
        "Duplicate records are not allowed in otherAttribute",
        "Unauthorized field title",
        "Email already unsubscribed",
        "Duplicate key firstName in JSON",
        "otherAttribute must be an object",
        "title is not allowed",
        "email is required",
        "Bad Request",
        "",
    ],
)
def test_another_refusal_of_a_post_is_not_taken_for_exists(message):
    assert read("POST", 400, {"message": message}).verdict is REFUSED


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("status", [400, 404, 422])
@pytest.mark.parametrize(
    "message",
    [
        "Prospect not found",
        "prospect_not_found",
        "PROSPECT_NOT_FOUND",
        "No such prospect",
        "Unknown prospect",
        "Prospect does not exist",
        "Prospect doesn’t exist",
        "Prospect with email jane@acme.io not found",
        "prospect with that email does not exist",
        "The prospect could not be found",
        "Could not find prospect",
        "Couldn't find a prospect with this email",
        "We could not find any prospect with that email",
        "There is no prospect with that email",
        "No prospect found with this email",
        "No contact matches",
        "No matching prospect",
        "Prospect does not exists",
        "The prospect you are trying to update does not exist",
        "Contact with this email was not found",
        "Email not found",
        "Not Found",
    ],
)
def test_a_refusal_that_says_no_such_prospect_is_understood(method, status, message):
    assert read(method, status, {"message": message}).verdict is NOT_FOUND


@pytest.mark.parametrize(
    "message",
    [
        "email is required",
        "no email given",
        "email is malformed",
        "Email domain not found",
        "The email's domain does not exist",
        "Mailbox not found",
        "Campaign not found",
        "API user not found",
        "Account user does not exist",
        "Unauthorized field title",
        "firstName not found in schema",
        "Unknown field 'title'",
        "Unknown email format",
        "Field prospect.title is unknown",
        "'prospect not found' is not a valid title",
    ],
)
def test_another_refusal_is_not_taken_for_no_such_prospect(message):
    assert read("PATCH", 400, {"message": message}).verdict is REFUSED


@pytest.mark.parametrize(
    ("method", "body", "verdict"),
    [
        ("POST", {"success": False, "message": "Prospect already exists"}, EXISTS),
        ("POST", {"success": "false", "error": {"code": "PROSPECT_EXISTS"}}, EXISTS),
        ("POST", {"statusCode": 409, "message": "?"}, EXISTS),
        ("POST", {"error": {"status": 409}}, EXISTS),
        ("POST", {"status": "error", "message": "Email is already taken"}, EXISTS),
        ("POST", b"Prospect already exists", EXISTS),
        ("DELETE", {"ok": False, "message": "No such prospect"}, NOT_FOUND),
        ("DELETE", {"success": False, "code": "404"}, NOT_FOUND),
        ("PATCH", {"errors": [{"message": "prospect not found"}]}, NOT_FOUND),
        ("POST", {"success": False, "message": "email is malformed"}, REFUSED),
        ("POST", {"success": False}, REFUSED),
        ("POST", {"error": "email is malformed"}, REFUSED),
        ("POST", False, REFUSED),
        ("POST", {"status": False, "message": "Prospect already exists"}, EXISTS),
        ("POST", {"message": "Prospect already exists"}, EXISTS),
        ("POST", "Prospect already exists", EXISTS),
        ("POST", {"success": None, "message": "Prospect already exists"}, EXISTS),
        ("POST", {"success": "FALSE", "message": "Prospect already exists"}, EXISTS),
        ("POST", {"isSuccess": False, "message": "Prospect already exists"}, EXISTS),
        ("POST", [{"success": False, "message": "Prospect already exists"}], EXISTS),
        ("POST", {"data": {"success": False, "message": "Prospect already exists"}}, EXISTS),
        ("POST", {"success": False, "data": {"message": "Prospect already exists"}}, EXISTS),
        ("POST", {"result": "error", "message": "Prospect already exists"}, EXISTS),
        ("POST", {"status": "exists"}, REFUSED),
        ("DELETE", {"message": "Prospect not found"}, NOT_FOUND),
        ("DELETE", {"deleted": 0}, REFUSED),
        ("POST", b"Error: could not save", REFUSED),
        ("POST", {"success": False, "message": "Invalid API key"}, Verdict.UNAUTHORIZED),
        ("POST", {"success": False, "message": "Too many requests"}, Verdict.RATE_LIMITED),
        ("POST", {"success": False, "code": 503}, Verdict.UNAVAILABLE),
    ],
)
def test_a_200_whose_body_says_failure_is_a_failure(method, body, verdict):
    assert read(method, 200, body).verdict is verdict


@pytest.mark.parametrize(
    ("status", "body", "data"),
    [
        (200, b"", {}),
        (204, b"", {}),
        (201, {"id": 7}, {"id": 7}),
        (200, {"success": True, "error": None, "data": {"title": "Error"}}, None),
        (200, {"status": "success", "code": 200, "errors": []}, None),
        (200, {"status": "active", "email": "jane@acme.io"}, None),
        (200, {"message": "Prospect created"}, None),
        (200, {"deleted": 1}, None),
        (200, {"success": True, "message": "The prospect exists"}, None),
        (200, [{"id": 7}], {"data": [{"id": 7}]}),
        (200, b"null", {}),
        (200, b"OK", {}),
        (201, b"Prospect created", {}),
    ],
)
def test_a_success_is_decoded_to_a_dict(status, body, data):
    answer = read("POST", status, body)

    assert answer.verdict is Verdict.OK
    assert answer.data == (body if data is None else data)


@pytest.mark.parametrize(
    ("method", "status", "body", "verdict"),
    [
        ("POST", 409, b"", EXISTS),
        ("PATCH", 409, b"", REFUSED),
        ("DELETE", 404, b"", NOT_FOUND),
        ("DELETE", 410, b"", NOT_FOUND),
        ("PATCH", 404, {"detail": "Not Found"}, NOT_FOUND),
        ("POST", 404, b"", Verdict.NOT_THE_API),
        ("DELETE", 404, {"message": "Cannot DELETE /v1/crm/prospect"}, Verdict.NOT_THE_API),
        ("DELETE", 404, {"message": "no Route matched with those values"}, Verdict.NOT_THE_API),
        ("POST", 405, b"", Verdict.NOT_THE_API),
        ("POST", 413, b"", REFUSED),
        ("POST", 415, b"", REFUSED),
        ("POST", 401, b"", Verdict.UNAUTHORIZED),
        ("POST", 403, b"", Verdict.UNAUTHORIZED),
        ("POST", 400, {"message": "API key is missing"}, Verdict.UNAUTHORIZED),
        ("POST", 403, {"message": "Rate limit exceeded"}, Verdict.RATE_LIMITED),
        ("POST", 429, b"", Verdict.RATE_LIMITED),
        ("POST", 408, b"", Verdict.UNAVAILABLE),
        ("POST", 500, b"", Verdict.UNAVAILABLE),
        ("POST", 500, {"message": "Prospect already exists"}, Verdict.UNAVAILABLE),
        ("POST", 503, b"", Verdict.UNAVAILABLE),
        ("POST", 599, b"", Verdict.UNAVAILABLE),
        ("POST", 301, b"", Verdict.NOT_THE_API),
        ("POST", 302, b"", Verdict.NOT_THE_API),
        ("POST", 307, b"", Verdict.NOT_THE_API),
        ("POST", 422, {"errors": {"email": ["has already been taken"]}}, EXISTS),
        ("POST", 422, {"errors": [{"field": "email", "message": "already exists"}]}, EXISTS),
        ("POST", 422, {"message": "Invalid.", "errors": {"email": ["must be valid"]}}, REFUSED),
        ("POST", 400, {"email": ["prospect with this email already exists."]}, EXISTS),
        ("POST", 400, {"message": "Unauthorized"}, Verdict.UNAUTHORIZED),
        ("POST", 400, b"prospect already exists", EXISTS),
    ],
)
def test_each_status_has_its_verdict(method, status, body, verdict):
    assert read(method, status, body).verdict is verdict


@pytest.mark.parametrize(
    "echo",
    [
        {"detail": [{"msg": "Field required", "input": {"title": "prospect already exists"}}]},
        {"message": "title is not allowed", "data": {"title": "duplicate email"}},
        {"message": "bad", "prospect": {"error": "already exists"}},
        {"title_given": "already exists"},
    ],
)
def test_what_the_api_merely_echoes_is_not_its_say(echo):
    assert read("POST", 422, echo).verdict is REFUSED


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.NOT_THE_API),
        (201, Verdict.NOT_THE_API),
        (400, Verdict.NOT_THE_API),
        (401, Verdict.UNAUTHORIZED),
        (403, Verdict.UNAUTHORIZED),
        (404, Verdict.NOT_THE_API),
        (409, Verdict.NOT_THE_API),
        (429, Verdict.RATE_LIMITED),
        (500, Verdict.UNAVAILABLE),
        (502, Verdict.UNAVAILABLE),
        (503, Verdict.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_page_of_html_is_never_the_api_s_say(method, status, verdict):
    page = b"<!DOCTYPE html><title>Prospect already exists</title><p>prospect not found"

    assert read(method, status, page).verdict is verdict
    assert read(method, status, b"<p>prospect not found", content_type="text/html").verdict is verdict


@pytest.mark.parametrize(
    ("method", "status", "body", "verdict"),
    [
        ("POST", 200, b"", Verdict.OK),
        ("DELETE", 204, b"", Verdict.OK),
        ("POST", 201, b"OK", Verdict.OK),
        ("POST", 200, {"success": True}, Verdict.OK),
        ("POST", 400, b"Prospect already exists", EXISTS),
        ("PATCH", 404, {"message": "Prospect not found"}, NOT_FOUND),
        ("DELETE", 404, b"", NOT_FOUND),
    ],
)
def test_a_content_type_of_html_alone_makes_no_page(method, status, body, verdict):
    """Flask, Django, PHP and Express call what they send so unless told otherwise."""
    assert read(method, status, body, content_type="text/html; charset=utf-8").verdict is verdict


def test_json_that_is_cut_short_is_no_confirmation():
    answer = read("POST", 200, b'{"success": tr', content_type="application/json")

    assert answer.verdict is Verdict.UNAVAILABLE
    assert answer.may_have_worked


@pytest.mark.parametrize(
    ("status", "body", "may_have_worked"),
    [
        (200, b"<html>", True),
        (502, b"", True),
        (504, b"<html>", True),
        (524, b"", True),
        (500, b"", False),
        (503, b"", False),
        (429, b"", False),
        (400, b"", False),
    ],
)
def test_an_answer_lost_behind_a_gateway_may_have_worked(status, body, may_have_worked):
    assert read("POST", status, body).may_have_worked is may_have_worked


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Sun, 09 Sep 2001 01:46:50 GMT", 10.0),
        ("Sun, 09 Sep 2001 01:46:30 GMT", 0.0),
        ("31536000", 31_536_000.0),
        ("-5", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("Sun, 99 Sep 2001", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_as_seconds_and_as_a_date(status, value, seconds):
    assert read("POST", status, retry_after=value).retry_after == seconds


def test_the_reason_is_short_and_holds_no_address():
    answer = read("POST", 400, {"message": "jane@acme.io is blocked. " + "x" * 5_000})

    assert answer.reason.startswith("<email> is blocked.")
    assert "jane" not in read("DELETE", 404, {"message": "Cannot DELETE /x?email=jane%40acme.io"}).reason
    assert len(answer.reason) <= 200
    assert answer.text.startswith('{"message": "jane@acme.io')
    assert len(answer.text) <= 2_000


@given(
    st.sampled_from(["POST", "PATCH", "DELETE"]),
    st.integers(200, 599),
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["message", "error", "status", "data"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode()),
)
def test_any_answer_has_a_verdict(method, status, body):
    answer = read_answer(method, status, {}, body, NOW)

    assert isinstance(answer.data, dict)
    assert (answer.verdict is Verdict.OK) <= (200 <= status < 300)
    assert (answer.verdict is EXISTS) <= (method == "POST")
    assert (answer.verdict is NOT_FOUND) <= (method != "POST")
