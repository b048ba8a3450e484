"""The endpoints by which the sandbox is looked into and changed, and who may use them."""

from __future__ import annotations

import pytest

JANE = {"email": "jane@acme.io"}


@pytest.fixture
def control(sandbox, session):
    def control(method: str, path: str, body: object = None, **headers: str):
        url = f"{sandbox.url}/sandbox/{path}"
        return session.request(method, url, json=body, headers=headers, timeout=5)

    return control


def test_settings_are_shown_and_changed_while_running(control, call):
    assert control("GET", "settings").json()["exists_dialect"] == "409"

    changed = control("PATCH", "settings", {"exists_dialect": 422, "latency": 0.01})

    assert changed.status_code == 200
    assert changed.json() == control("GET", "settings").json()
    assert (changed.json()["exists_dialect"], changed.json()["latency"]) == ("422", 0.01)
    call("POST", JANE)
    assert call("POST", JANE).status_code == 422


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lag": 1}, "lag: there is nothing of this name"),
        ({"latency": -1}, "latency: "),
        ({"error_rate": 1.5}, "error_rate: "),
        ({"requests_per_second": 0}, "requests_per_second: "),
        ({"exists_dialect": "404"}, "exists_dialect: "),
        ({"missing_dialect": 409}, "missing_dialect: "),
        ({"retry_after": "soon"}, "retry_after: "),
        ({"latency": 1, "drop_rate": "much"}, "drop_rate: "),
    ],
    ids=str,
)
def test_wrong_setting_is_refused_by_name_and_changes_nothing(control, changes, message):
    before = control("GET", "settings").json()

    answer = control("PATCH", "settings", changes)

    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)
    assert control("GET", "settings").json() == before


def test_clash_of_a_setting_with_the_prospects_is_told(control, sandbox):
    sandbox.add_prospects([JANE, {"email": "JANE@acme.io"}])

    assert control("PATCH", "settings", {"ignore_email_case": True}).status_code == 409


def test_faults_are_added_shown_and_cleared(control, call):
    added = control("POST", "faults", [{"kind": "error", "status": 500, "times": 3}, {"kind": "drop"}])
    call("POST", JANE)

    assert added.status_code == 201
    assert control("GET", "faults").json() == [
        {"kind": "error", "times": 2, "status": 500},
        {"kind": "drop", "times": 1},
    ]
    assert control("DELETE", "faults").status_code == 204
    assert control("GET", "faults").json() == []


@pytest.mark.parametrize(
    "faults", [[{"kind": "explode"}], [{"kind": "drop", "when": 1}], {"kind": "drop"}], ids=str
)
def test_wrong_fault_is_refused(control, faults):
    assert control("POST", "faults", faults).status_code == 400
    assert control("GET", "faults").json() == []


def test_prospects_are_searched_and_paged_newest_first(control, sandbox):
    sandbox.add_prospects(
        {"email": f"jane{n}@acme.io", "lastName": "Even" if n % 2 == 0 else "Odd"} for n in range(6)
    )

    page = control("GET", "prospects?limit=2&offset=1").json()
    odd = control("GET", "prospects?q=%20ODD&limit=2").json()

    assert page["total"] == 6
    assert [prospect["email"] for prospect in page["prospects"]] == ["jane4@acme.io", "jane3@acme.io"]
    assert odd["total"] == 3
    assert [prospect["email"] for prospect in odd["prospects"]] == ["jane5@acme.io", "jane3@acme.io"]
    assert odd["prospects"][0]["created"] == odd["prospects"][0]["updated"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1000000", "offset=-1", "limit=x"])
def test_wrong_page_is_refused(control, query):
    assert control("GET", f"prospects?{query}").status_code == 400


def test_stats_are_shown(control, sandbox):
    shown = control("GET", "stats").json()

    assert {**shown["requests"], "per_second": []} == {**sandbox.stats()["requests"], "per_second": []}


@pytest.mark.parametrize("keep", [[], ["prospects"], ["journal"], ["faults"], ["settings"]], ids=str)
def test_reset_goes_back_to_the_start_but_for_what_is_kept(control, call, sandbox, keep):
    call("POST", JANE)
    sandbox.configure(success_body="text")
    sandbox.add_fault("drop")

    assert control("POST", "reset", {"keep": keep} if keep else None).status_code == 200

    assert sandbox.count() == (1 if "prospects" in keep else 0)
    assert len(sandbox.journal()) == (1 if "journal" in keep else 0)
    assert len(sandbox.faults()) == (1 if "faults" in keep else 0)
    assert sandbox.settings.success_body == ("text" if "settings" in keep else "json")


def test_unknown_part_is_no_reset(control, sandbox):
    sandbox.add_prospects([JANE])

    assert control("POST", "reset", {"keep": ["everything"]}).status_code == 400
    assert sandbox.count() == 1
    with pytest.raises(ValueError, match="everything is none of prospects"):
        sandbox.reset(keep=["everything"])


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "https://localhost:1"])
def test_page_of_another_site_cannot_take_control(control, sandbox, origin):
    sandbox.add_prospects([JANE])

    answers = [
        control("POST", "reset", Origin=origin),
        control("PATCH", "settings", {"latency": 9}, Origin=origin),
        control("POST", "faults", [{"kind": "drop"}], Origin=origin),
        control("DELETE", "faults", Origin=origin),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert sandbox.count() == 1
    assert sandbox.settings.latency == 0
    assert sandbox.faults() == []


def test_own_page_can_take_control(control, sandbox):
    assert control("POST", "reset", Origin=sandbox.url).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1"]
)
@pytest.mark.parametrize("path", ["/", "/sandbox/prospects", "/v1/crm/prospect"])
def test_name_that_was_made_to_point_here_is_not_served(sandbox, session, host, path):
    answer = session.get(sandbox.url + path, headers={"Host": host}, timeout=5)

    assert answer.status_code in (400, 403)
    assert sandbox.journal() == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.2:1", "[::1]:8765"])
def test_names_of_this_machine_are_served(sandbox, session, host):
    assert session.get(sandbox.url, headers={"Host": host}, timeout=5).status_code == 200
