"""The hook: connection, single calls, pushes, and the form's Test button."""

from __future__ import annotations

import json
import logging
import pickle
from typing import Any

import pytest

from airflow_provider_closers.errors import (
    ClosersAPIError,
    ClosersAuthError,
    ClosersConfigError,
    ClosersRateLimitError,
    ClosersUnavailableError,
    InvalidProspectError,
    ProspectExistsError,
    ProspectNotFoundError,
    PushFailedError,
)
from airflow_provider_closers.hooks.closers import ClosersHook
from airflow_provider_closers.suppression import SuppressionList

URL = "https://api.closershq.io/v1/crm/prospect"
JANE = {"email": "jane@acme.io", "first_name": "Jane"}


def connect(monkeypatch: pytest.MonkeyPatch, **connection: Any) -> ClosersHook:
    """Define a connection and return a hook on it."""
    fields = {"conn_type": "closers", "password": "key-123"} | connection
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(fields))
    return ClosersHook(closers_conn_id="crm")


@pytest.fixture
def hook(closers_connection) -> ClosersHook:
    return ClosersHook(closers_connection)


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch):
    monkeypatch.setattr("airflow_provider_closers.push.call.backoff", lambda _: 0.002)


# -- connection


def test_the_default_connection_is_closers_default():
    assert ClosersHook().closers_conn_id == "closers_default"


@pytest.mark.usefixtures("airflow_db")
def test_a_missing_connection_is_named():
    with pytest.raises(Exception, match="no_such_connection"):
        ClosersHook("no_such_connection").create_prospect(JANE)


@pytest.mark.parametrize("kind", ["postgres", "aws", "ssh"])
def test_the_password_of_another_system_is_not_sent(monkeypatch, kind):
    hook = connect(monkeypatch, conn_type=kind)

    with pytest.raises(ClosersConfigError, match=f"'crm' is of the type '{kind}', .* of the type 'closers'"):
        hook.push("create", [JANE])


def test_nothing_is_read_before_first_use(monkeypatch):
    hook = connect(monkeypatch, password="")

    with pytest.raises(ClosersConfigError, match="Connection 'crm': the password is empty"):
        hook.create_prospect(JANE)


@pytest.mark.parametrize(
    "uri",
    [
        "closers://:key-123@api.closershq.io",
        "closers://:key-123@api.closershq.io:443/https?timeout=10&max_concurrency=4",
        "closers://:key-123@",
    ],
)
def test_a_connection_may_be_a_uri(monkeypatch, requests_mock, uri):
    monkeypatch.setenv("AIRFLOW_CONN_CRM", uri)
    requests_mock.post(URL.replace(".io/", ".io:443/") if ":443" in uri else URL, json={})

    ClosersHook("crm").create_prospect(JANE)

    assert requests_mock.last_request.headers["Authorization"] == "Bearer key-123"


def test_the_extras_reach_the_client(monkeypatch, requests_mock):
    hook = connect(monkeypatch, extra={"timeout": 3, "delete_email_in": "query"})
    requests_mock.delete(URL)

    hook.delete_prospect("jane@acme.io")

    assert requests_mock.last_request.timeout == 3
    assert requests_mock.last_request.qs == {"email": ["jane@acme.io"]}


def test_the_key_is_in_no_repr_and_no_error(monkeypatch, requests_mock):
    hook = connect(monkeypatch, password="key-that-nobody-may-see")
    requests_mock.post(URL, status_code=400, text="you sent key-that-nobody-may-see")

    with pytest.raises(ClosersAPIError, match="answered 400") as raised:
        hook.create_prospect(JANE)

    for shown in (
        repr(hook),
        repr(hook.settings),
        repr(raised.value),
        raised.value.text,
        pickle.dumps(raised.value),
    ):
        assert "nobody" not in str(shown)


# -- single calls


def test_create_returns_the_api_s_answer(hook, sandbox):
    answer = hook.create_prospect(JANE)

    assert answer["data"]["email"] == "jane@acme.io"
    assert sandbox.prospect("jane@acme.io")["firstName"] == "Jane"


def test_create_sends_what_the_page_does_not_list_for_post_in_a_patch(hook, sandbox):
    hook.create_prospect(JANE | {"title": "CTO", "bounced": False})

    assert [(e.method, e.body) for e in sandbox.journal()] == [
        ("POST", {"email": "jane@acme.io", "firstName": "Jane"}),
        ("PATCH", {"email": "jane@acme.io", "title": "CTO"}),
    ]


@pytest.mark.parametrize("body", ["empty", "text", "json"])
def test_an_answer_without_a_body_is_an_empty_dict(hook, sandbox, body):
    sandbox.configure(success_body=body)

    answers = [hook.create_prospect(JANE), hook.update_prospect(JANE), hook.delete_prospect("jane@acme.io")]

    assert all(isinstance(answer, dict) for answer in answers)
    assert (answers == [{}, {}, {}]) == (body != "json")


@pytest.mark.parametrize("dialect", ["409", "400", "422", "422_errors", "200"])
def test_creating_an_existing_prospect_raises(hook, sandbox, dialect):
    sandbox.configure(exists_dialect=dialect)
    sandbox.add_prospects([{"email": "jane@acme.io"}])

    with pytest.raises(ProspectExistsError, match="POST /v1/crm/prospect answered"):
        hook.create_prospect(JANE)


@pytest.mark.parametrize("dialect", ["404", "400", "422", "200"])
def test_changing_a_missing_prospect_raises(hook, sandbox, dialect):
    sandbox.configure(missing_dialect=dialect)

    with pytest.raises(ProspectNotFoundError, match="PATCH /v1/crm/prospect answered"):
        hook.update_prospect({"email": "jane@acme.io", "replied": True})
    with pytest.raises(ProspectNotFoundError, match="DELETE /v1/crm/prospect answered"):
        hook.delete_prospect("jane@acme.io")


def test_delete_takes_an_email_or_a_record(hook, sandbox):
    sandbox.add_prospects([{"email": "jane@acme.io"}, {"email": "joe@acme.io"}])

    hook.delete_prospect("jane@acme.io")
    hook.delete_prospect({"Email": "joe@acme.io"})

    assert sandbox.prospects() == []


def test_a_false_flag_is_withheld_unless_reset(hook, sandbox):
    sandbox.add_prospects([{"email": "jane@acme.io"}])

    hook.update_prospect({"email": "jane@acme.io", "unsubscribed": False})
    hook.update_prospect({"email": "jane@acme.io", "unsubscribed": False}, reset_flags=["unsubscribed"])

    assert [entry.body for entry in sandbox.journal()] == [
        {"email": "jane@acme.io"},
        {"email": "jane@acme.io", "unSubscribed": False},
    ]


def test_an_unusable_record_is_not_sent(hook, sandbox):
    with pytest.raises(InvalidProspectError, match="'email' is not a valid address"):
        hook.create_prospect({"email": "jane@acme.io\nBcc: all@acme.io"})

    assert sandbox.journal() == []


@pytest.mark.parametrize("call", ["create_prospect", "update_prospect"])
def test_an_email_alone_is_no_record_but_for_delete(hook, sandbox, call):
    with pytest.raises(InvalidProspectError, match="the record is a str; it must be a mapping"):
        getattr(hook, call)("jane@acme.io")

    assert sandbox.journal() == []


def test_a_report_shows_no_records(hook):
    report = hook.push("create", [{"email": "jane@acme"}])

    assert "jane" not in repr(report)
    assert report.serialize() == report.as_dict()


def test_a_wrong_key_raises(monkeypatch, sandbox):
    hook = connect(monkeypatch, host=sandbox.url, password="wrong")

    with pytest.raises(ClosersAuthError, match="answered 401: the API refused the key; check the conn"):
        hook.create_prospect(JANE)

    assert len(sandbox.journal()) == 1


def test_a_rate_limit_raises_with_the_seconds_to_wait(hook, sandbox):
    sandbox.add_fault("error", status=429, retry_after=120)

    with pytest.raises(ClosersRateLimitError, match="too many requests; try again later, in 120 s") as raised:
        hook.create_prospect(JANE)

    assert raised.value.retry_after == 120
    assert len(sandbox.journal()) == 1


def test_a_passing_fault_is_sat_out(hook, sandbox):
    sandbox.add_fault("error", status=503)
    sandbox.add_fault("error", status=429)
    sandbox.add_fault("reset_before")

    hook.create_prospect(JANE)

    assert sandbox.count() == 1


def test_a_lost_answer_is_asked_for_again(hook, sandbox):
    sandbox.add_fault("drop")

    assert hook.create_prospect(JANE) == {}
    assert sandbox.count() == 1


def test_an_ailing_api_raises_after_max_attempts(hook, sandbox):
    sandbox.configure(error_rate=1.0)

    with pytest.raises(ClosersUnavailableError, match="try again later"):
        hook.update_prospect(JANE)

    assert len(sandbox.journal()) == 5


@pytest.mark.parametrize(("kind", "status"), [("redirect", 302), ("html", 200), ("html", 404)])
def test_an_answer_that_is_not_the_api_s_raises(hook, sandbox, kind, status):
    sandbox.add_fault(kind, status=status)

    with pytest.raises(
        ClosersAPIError, match="is not the API's answer; check the connection's host"
    ) as raised:
        hook.delete_prospect("jane@acme.io")

    assert raised.value.status_code == status


def test_another_refusal_raises_with_status_and_text(hook, sandbox):
    sandbox.add_fault("error", status=418)

    with pytest.raises(ClosersAPIError, match="answered 418: the API refused") as raised:
        hook.update_prospect(JANE)

    assert raised.value.status_code == 418
    assert raised.value.text


# -- push


def test_push_takes_any_iterable_and_reports(hook, sandbox):
    report = hook.push(
        "upsert",
        ({"email": f"p{i}@acme.io", "mail": 1} for i in range(30)),
        field_map={"mail": "n"},
        other_attributes=["n"],
    )

    assert (report.created, report.total) == (30, 30)
    assert sandbox.prospect("p7@acme.io")["otherAttribute"] == {"n": 1}


def test_push_takes_one_record(hook):
    assert hook.push("create", JANE).created == 1


def test_push_refuses_what_holds_no_records(hook):
    with pytest.raises(ClosersConfigError, match="prospects is a str"):
        hook.push("create", "jane@acme.io")


def test_push_passes_every_argument_on(hook, sandbox):
    sandbox.add_prospects([{"email": "jane@acme.io"}])
    rejected = []

    report = hook.push(
        "create",
        [JANE, {"email": "joe@acme.io"}, {"email": "zoe@acme.io", "bounced": False}],
        if_exists="fail",
        suppression={"joe@acme.io"},
        reset_flags="bounced",
        on_reject=rejected.append,
    )

    assert (report.rejected, report.suppressed, report.created) == (1, 1, 1)
    assert [reject.index for reject in rejected] == [0]
    assert sandbox.prospect("zoe@acme.io")["bounced"] is False


@pytest.mark.parametrize(
    "listed",
    [["JANE@acme.io"], {"jane@acme.io"}, SuppressionList(["jane@acme.io"], name="list")],
    ids=["list", "set", "suppression list"],
)
def test_a_suppression_list_may_be_given_as_addresses(hook, sandbox, listed):
    report = hook.push("create", [JANE, {"email": "zoe@acme.io"}], suppression=listed)

    assert (report.suppressed, report.created) == (1, 1)


@pytest.mark.parametrize(
    "argument",
    [
        {"suppression": "file:///tmp/list-of-jane@acme.io"},
        {"suppression": {"conn_id": "crm", "sql": "SELECT 'jane@acme.io'"}},
        {"suppression": 7},
        {"checkpoint": "/tmp/checkpoint.json"},
        {"on_reject": "rejects.jsonl"},
    ],
    ids=str,
)
def test_an_argument_of_another_kind_is_named_before_anything_is_sent(hook, sandbox, argument):
    [(name, value)] = argument.items()

    with pytest.raises(ClosersConfigError, match=f"^{name} is of type {type(value).__name__}; it must be "):
        hook.push("create", [JANE], **argument)

    assert sandbox.journal() == []


def test_a_snapshot_s_path_is_no_str(hook):
    with pytest.raises(ClosersConfigError, match=r"snapshot_path is of type str; it must be a pathlib\.Path"):
        hook.sync([JANE], snapshot_path="/tmp/people.snapshot")


def test_rejects_are_in_the_log_of_a_task_of_one_s_own(hook, caplog, monkeypatch):
    monkeypatch.setattr(ClosersHook, "log", logging.getLogger("hook"))

    hook.push("create", [{"email": "jane@acme"}, {"first_name": "Jane"}] + [{"email": "x"}] * 20)

    said = [message for message in caplog.messages if "ejected record" in message]
    assert len(said) == 20
    assert said[0].startswith("Rejected record 0 (j***@acme): ")
    assert said[1].startswith("Rejected record 1 (no email): ")
    assert "... and 2 more." in caplog.messages


def test_a_report_raises_what_an_operator_would(hook, sandbox):
    report = hook.push("create", [JANE, {"email": "x"}])
    report.raise_for_failure(max_rejects=1)
    report.raise_for_failure(max_rejects=0.5)
    with pytest.raises(PushFailedError, match="1 of 2 records were rejected, max_rejects=0; the others"):
        report.raise_for_failure()

    sandbox.add_fault("error", status=401)
    stopped = hook.push("create", [{"email": "zoe@acme.io"}])
    with pytest.raises(ClosersAuthError):
        stopped.raise_for_failure(max_rejects=1)


# -- Test button


@pytest.mark.parametrize("exists_dialect", ["409", "400", "422", "200"])
def test_test_connection_tells_a_good_key_and_creates_nothing(hook, sandbox, exists_dialect):
    sandbox.configure(exists_dialect=exists_dialect)

    assert hook.test_connection() == (True, "The API answered and took the key.")
    assert sandbox.count() == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"status_code": 401}, "The API refused the key (it answered 401)"),
        ({"status_code": 403}, "The API refused the key (it answered 403)"),
        ({"status_code": 404}, "not the Closers API: it answered 404"),
        ({"status_code": 200, "text": "<html>Hi"}, "it answered 200 (a page of HTML, not the API's answer)"),
        ({"status_code": 400, "text": "<html>Bad"}, "it answered 400 (a page of HTML"),
        ({"status_code": 302, "headers": {"Location": "/login"}}, "it answered 302 (a redirect"),
        ({"status_code": 500}, "not the Closers API: it answered 500"),
        ({"status_code": 200}, "not the Closers API: it answered 200"),
        ({"status_code": 429}, "has no time now (429, too many requests)"),
    ],
    ids=lambda value: str(value.get("status_code")) if isinstance(value, dict) else None,
)
def test_test_connection_says_what_came(monkeypatch, requests_mock, answer, says):
    requests_mock.post(URL, **answer)

    works, message = connect(monkeypatch).test_connection()

    assert not works
    assert says in message


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        (
            {"host": "http://127.0.0.1:9"},
            "no answer came (ConnectionError: Connection refused)",
        ),
        ({"host": "http://crm.acme.io"}, "Connection 'crm': host 'http://crm.acme.io' is plain http"),
        ({"password": ""}, "Connection 'crm': the password is empty"),
        ({"extra": "{"}, "Connection 'crm': the extra is not JSON"),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:Encountered non-JSON in `extra`")  # Airflow 2.11's own
def test_test_connection_says_what_is_wrong_with_the_connection(monkeypatch, connection, says):
    works, message = connect(monkeypatch, **connection).test_connection()

    assert not works
    assert says in message
