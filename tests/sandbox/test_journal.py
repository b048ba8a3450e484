from __future__ import annotations

import time
from datetime import datetime

import pytest
import requests

from airflow_provider_closers.sandbox.server import SandboxServer

JANE = {"email": "jane@acme.io"}
KEY = "the-key-of-the-tests"


def test_entry_says_what_was_asked_and_what_became_of_it(call, sandbox):
    before = time.time()

    call("POST", {**JANE, "firstName": "Jane"})

    [entry] = sandbox.journal()
    assert (entry.seq, entry.method, entry.email) == (1, "POST", "jane@acme.io")
    assert entry.body == {**JANE, "firstName": "Jane"}
    assert (entry.key, entry.status, entry.wrote, entry.fault) == ("ok", 201, True, None)
    assert before <= entry.time <= time.time()
    assert 0 <= entry.latency < 2


def test_refused_request_is_noted_with_what_could_be_understood(call, sandbox):
    call("POST", {**JANE, "title": "CTO"})
    call("DELETE", query="?email=joe@acme.io")
    call("POST", data=b"no json", headers={"Content-Type": "application/json"})
    call("GET")

    entries = sandbox.journal()
    assert [(entry.method, entry.status, entry.email) for entry in entries] == [
        ("POST", 400, "jane@acme.io"),
        ("DELETE", 404, "joe@acme.io"),
        ("POST", 400, None),
        ("GET", 405, None),
    ]
    assert entries[1].query == "email=joe@acme.io"
    assert entries[2].body == "no json"
    assert not any(entry.wrote for entry in entries)


@pytest.mark.parametrize("authorization", [f"Bearer {KEY}", "Bearer another-secret", "another-secret"])
def test_key_is_kept_nowhere(call, sandbox, session, authorization):
    call("POST", JANE, headers={"Authorization": authorization})

    shown = "".join(
        session.get(f"{sandbox.url}{path}", timeout=5).text
        for path in ("/", "/sandbox/journal", "/sandbox/stats", "/sandbox/settings", "/sandbox/prospects")
    )
    assert KEY not in shown
    assert "another-secret" not in shown
    assert "secret" not in repr(sandbox.journal())


def test_journal_can_be_followed_and_looked_into(call, sandbox, session):
    for number in range(5):
        call("POST", {"email": f"jane{number}@acme.io"})

    def numbers(query: str) -> list[int]:
        answer = session.get(f"{sandbox.url}/sandbox/journal{query}", timeout=5).json()
        assert answer["total"] == 5
        return [entry["seq"] for entry in answer["entries"]]

    assert numbers("") == [1, 2, 3, 4, 5]
    assert numbers("?limit=2") == [4, 5]
    assert numbers("?since=1&limit=2") == [2, 3]
    assert numbers("?since=5") == []
    assert numbers("?email=jane3@acme.io") == [4]


def test_journal_shows_its_times_as_text(call, sandbox, session):
    call("POST", JANE)

    [entry] = session.get(f"{sandbox.url}/sandbox/journal", timeout=5).json()["entries"]

    assert datetime.fromisoformat(entry["time"]).tzinfo is not None


def test_journal_is_bounded_and_still_counts_all():
    headers = {"Authorization": "Bearer sandbox-key"}
    with SandboxServer(journal_size=3) as sandbox, requests.Session() as session:
        for number in range(5):
            body = {"email": f"jane{number}@acme.io"}
            session.post(f"{sandbox.url}/v1/crm/prospect", json=body, headers=headers, timeout=5)

        assert [entry.seq for entry in sandbox.journal()] == [3, 4, 5]
        assert [entry.seq for entry in sandbox.journal(since=1)] == [3, 4, 5]
        assert [entry.seq for entry in sandbox.journal(since=4)] == [5]
        assert sandbox.stats()["requests"]["total"] == 5


def test_journal_can_be_narrowed_to_an_email_and_a_method(call, sandbox):
    call("POST", JANE)
    call("PATCH", JANE)
    call("PATCH", {"email": "joe@acme.io"})

    assert [entry.seq for entry in sandbox.journal(email="jane@acme.io", method="PATCH")] == [2]
    assert [entry.seq for entry in sandbox.journal(method="PATCH", since=2)] == [3]


def test_stats_count_by_method_status_and_fault(call, sandbox):
    call("POST", JANE)
    call("POST", JANE)
    sandbox.add_fault("error")
    call("PATCH", JANE)

    stats = sandbox.stats()

    assert stats["prospects"] == 1
    requests_ = stats["requests"]
    assert requests_["by_method_and_status"] == {"POST": {"201": 1, "409": 1}, "PATCH": {"503": 1}}
    assert requests_["by_method"] == {"POST": 2, "PATCH": 1}
    assert requests_["by_status"] == {"201": 1, "409": 1, "503": 1}
    assert requests_["by_fault"] == {"error": 1}
    assert (requests_["total"], requests_["wrote"]) == (3, 1)
    assert requests_["peak_per_second"] == 3
    assert requests_["in_flight_peak"] == 1
    assert sum(requests_["per_second"]) == 3
