"""What the documented API accepts, method by method, over the wire."""

from __future__ import annotations

import pytest

JANE = {"email": "jane@acme.io"}
FULL_POST = {**JANE, "firstName": "Jane", "lastName": "Doe", "otherAttribute": {"plan": "pro", "seats": 3}}
FLAGS = ("bounced", "openedEmail", "replied", "isContacted", "unSubscribed")
FULL_PATCH = {**FULL_POST, "title": "CTO", **dict.fromkeys(FLAGS, True)}


def test_post_adds_a_prospect(call, sandbox):
    answer = call("POST", FULL_POST)

    assert answer.status_code == 201
    assert answer.json() == {"success": True, "data": FULL_POST}
    assert sandbox.prospects() == [FULL_POST]


def test_patch_changes_what_is_given_and_leaves_the_rest(call, sandbox):
    sandbox.add_prospects([FULL_POST])

    answer = call("PATCH", {**JANE, "lastName": "Roe", "replied": True})

    assert answer.status_code == 200
    assert sandbox.prospect("jane@acme.io") == {**FULL_POST, "lastName": "Roe", "replied": True}


def test_patch_takes_every_field_that_the_page_lists(call, sandbox):
    sandbox.add_prospects([JANE])

    assert call("PATCH", FULL_PATCH).json()["data"] == FULL_PATCH


def test_delete_removes_the_prospect(call, sandbox):
    sandbox.add_prospects([JANE])

    assert call("DELETE", JANE).status_code == 200
    assert sandbox.prospects() == []


def test_second_post_of_an_email_is_refused_and_changes_nothing(call, sandbox):
    sandbox.add_prospects([FULL_POST])

    answer = call("POST", {**JANE, "firstName": "Other"})

    assert answer.status_code == 409
    assert "already exists" in answer.json()["message"]
    assert sandbox.prospects() == [FULL_POST]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_unknown_email_is_refused(call, method):
    answer = call(method, JANE)

    assert answer.status_code == 404
    assert answer.json()["success"] is False


@pytest.mark.parametrize(
    ("method", "field"),
    [
        *[("POST", field) for field in ("title", *FLAGS, "first_name", "id")],
        *[("PATCH", field) for field in ("phone", "Email")],
        *[("DELETE", field) for field in ("firstName", "title", "otherAttribute", "replied")],
    ],
)
def test_undocumented_field_is_refused_by_name(call, sandbox, method, field):
    if method != "POST":
        sandbox.add_prospects([JANE])
    before = sandbox.prospects()

    answer = call(method, {**JANE, field: FULL_PATCH.get(field, "x")})

    assert answer.status_code == 400
    assert answer.json()["message"] == f"{field} is not a field of {method} /v1/crm/prospect."
    assert sandbox.prospects() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", None),
        ("email", 1),
        ("firstName", None),
        ("firstName", 1),
        ("lastName", ["Doe"]),
        ("title", True),
        ("bounced", "true"),
        ("bounced", 1),
        ("replied", None),
        ("otherAttribute", "{}"),
        ("otherAttribute", []),
        ("otherAttribute", None),
    ],
    ids=repr,
)
def test_wrong_type_is_refused_by_name(call, field, value):
    answer = call("PATCH", {**JANE, field: value})

    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"{field} must be ")


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_empty_object_lacks_the_email(call, method):
    answer = call(method, {})

    assert (answer.status_code, answer.json()["message"]) == (400, "email is required.")


@pytest.mark.parametrize(
    "email",
    [
        "",
        "jane",
        "@acme.io",
        "jane@",
        "a@b@c",
        "ja ne@acme.io",
        "jane@acme.io\n",
        "j\x00@acme.io",
        "j\u00a0@a.io",
        "a" * 250 + "@b.io",
    ],
    ids=repr,
)
def test_implausible_email_is_refused(call, sandbox, email):
    assert call("POST", {"email": email}).status_code == 400
    assert sandbox.count() == 0


@pytest.mark.parametrize(
    "email", ["a@b", "o'hara+tag@acme.io", "jané@büro.example", "a" * 249 + "@b.io"], ids=repr
)
def test_plausible_email_is_taken(call, email):
    assert call("POST", {"email": email}).status_code == 201


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"email=jane@acme.io", b"\xff\xfe", b'{"email": NaN}', b'{"email": 1e999}', b"[" * 100_000],
    ids=["empty", "half", "form", "bytes", "nan", "infinity", "deep"],
)
def test_body_that_is_no_json_is_refused(call, body):
    answer = call("POST", data=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [[], "jane@acme.io", 1, [JANE]], ids=repr)
def test_body_that_is_no_object_is_refused(call, body):
    assert call("POST", body).json()["message"] == "The body must be a JSON object."


def test_body_beyond_a_mebibyte_is_refused(call):
    assert call("POST", {**JANE, "firstName": "x" * 1_100_000}).status_code == 413


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=UTF-8", 201),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("application/json; charset=latin-1", 415),
    ],
)
def test_content_type_must_be_json(call, content_type, status):
    answer = call("POST", data=b'{"email": "jane@acme.io"}', headers={"Content-Type": content_type})

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("authorization", "key"),
    [
        (None, "missing"),
        ("Bearer wrong", "wrong"),
        ("Basic dTpw", "wrong"),
        ("the-key-of-the-tests", "wrong"),
        ("Bearer ", "wrong"),
    ],
)
def test_request_without_the_key_is_refused(call, sandbox, authorization, key):
    answer = call("POST", JANE, headers={"Authorization": authorization})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert sandbox.count() == 0
    assert sandbox.journal()[-1].key == key


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
def test_other_methods_are_refused(call, method):
    answer = call(method)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST, PATCH, DELETE"


@pytest.mark.parametrize("path", ["/v1/crm/prospects", "/v1/crm/prospect/", "/v1", "/docs", "/openapi.json"])
def test_other_paths_are_not_found_and_say_so_as_json(sandbox, session, path):
    answer = session.get(sandbox.url + path, timeout=5)

    assert answer.status_code == 404
    assert answer.json()["success"] is False


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_query_is_refused_where_none_is_documented(call, method):
    answer = call(method, JANE, query="?dry=1")

    assert answer.status_code == 400
    assert answer.json()["message"].startswith("dry: ")


def test_name_that_utf8_cannot_express_survives(call, sandbox, session):
    body = b'{"email": "jane@acme.io", "firstName": "\\ud800"}'

    answer = call("POST", data=body, headers={"Content-Type": "application/json"})
    listed = session.get(f"{sandbox.url}/sandbox/prospects", timeout=5)

    assert answer.json()["data"]["firstName"] == "\ud800"
    assert listed.json()["prospects"][0]["firstName"] == "\ud800"
