"""Who gets what: Airflow's own application, with an auth manager that knows DAGs, and the plugin in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from airflow_history import History, report

SCRIPT = Path(__file__).with_name("ask_as_users.py")
STATIC = Path(__file__).parents[2] / "airflow_provider_closers" / "plugin" / "static"

LIST = "/closers/api/pushes"
PUSH = "/closers/api/push/leads/night/push"
MAPPED = "/closers/api/push/leads/night/chunk"
OTHER_PUSH = "/closers/api/push/erasures/night/push"
PAGES = ["/closers/", "/closers/push/leads/night/push"]
FILES = [f"/closers/static/{path.name}" for path in sorted(STATIC.iterdir())]
PATHS = [
    LIST,
    f"{LIST}?dag_id=leads",
    f"{LIST}?dag_id=erasures",
    f"{LIST}?operation=delete",
    f"{LIST}?operation=truncate",
    f"{LIST}?before=yesterday",
    PUSH,
    f"{PUSH}?map_index={{MAP_INDEX}}&tab=1",
    f"{PUSH}?map_index=5",
    MAPPED,
    f"{MAPPED}?map_index=1",
    OTHER_PUSH,
    *PAGES,
    *FILES,
    "/closers/docs",
    "/closers/openapi.json",
]


@pytest.fixture(scope="module")
def answers(empty_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    path = shutil.copy(empty_tables, tmp_path_factory.mktemp("airflow"))
    engine = create_engine(f"sqlite:///{path}")
    with Session(engine) as session:
        history = History(session)
        reject = {"index": 0, "email": "j***@acme.io", "reason": "<img src=x onerror=alert(1)>"}
        history.knows("leads", "erasures", "salaries")
        history.ran("push", returned=report(total=1, rejected=1) | {"rejects": [reject]})
        history.ran("chunk", map_index=0, returned=report(total=3, created=3, requests=3))
        history.ran("chunk", map_index=1, returned=report(total=4, existing=4, requests=5, retries=1))
        history.ran("push", dag_id="erasures", returned=report(operation="delete", total=2, deleted=2))
        history.ran("push", dag_id="salaries", returned=report(total=9, created=9))
    engine.dispose()
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, *PATHS],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{path}",
            "AIRFLOW__CORE__AUTH_MANAGER": "picky_auth_manager.PickyAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "PYTHONPATH": str(Path(__file__).parents[1] / "stand_ins"),
        },
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr
    return json.loads(asked.stdout.splitlines()[-1])


def status(answers: dict[str, Any], user: str | None, path: str) -> int:
    return answers[f"{user} {path}"][0]


def shown(answers: dict[str, Any], user: str, path: str) -> Any:
    code, _, text = answers[f"{user} {path}"]
    assert code == 200, text
    return json.loads(text)


@pytest.mark.parametrize("path", [LIST, PUSH, MAPPED, OTHER_PUSH])
def test_nobody_gets_numbers_without_login(path, answers):
    assert status(answers, None, path) == 401


@pytest.mark.parametrize("path", [LIST, PUSH, MAPPED, OTHER_PUSH])
def test_numbers_are_refused_to_who_may_not_read_xcoms(path, answers):
    assert status(answers, "clerk", path) == 403


def test_the_list_has_the_dags_that_the_user_may_read(answers):
    def listed(user: str) -> list[str]:
        return [push["dag_id"] for push in shown(answers, user, LIST)["pushes"]]

    assert set(listed("jane")) == {"leads"}
    assert set(listed("joe")) == {"leads", "erasures"}


def test_a_push_of_another_dag_is_refused(answers):
    assert status(answers, "jane", OTHER_PUSH) == 403
    assert status(answers, "joe", OTHER_PUSH) == 200
    assert status(answers, "jane", f"{LIST}?dag_id=erasures") == 403


def test_the_list_can_be_of_one_dag_or_operation(answers):
    of_dag = shown(answers, "joe", f"{LIST}?dag_id=leads")
    of_operation = shown(answers, "joe", f"{LIST}?operation=delete")

    assert [push["task_id"] for push in of_dag["pushes"]] == ["chunk", "chunk", "push"]
    assert [push["dag_id"] for push in of_operation["pushes"]] == ["erasures"]


def test_what_makes_no_sense_is_refused(answers):
    assert status(answers, "joe", f"{LIST}?operation=truncate") == 422
    assert status(answers, "joe", f"{LIST}?before=yesterday") == 422
    assert status(answers, "joe", f"{PUSH}?map_index=5") == 404


def test_the_list_holds_no_email_and_one_push_the_masked_ones(answers):
    [_, _, listed] = answers[f"joe {LIST}"]

    assert "acme" not in listed
    assert "onerror" not in listed
    assert shown(answers, "joe", PUSH)["push"]["report"]["rejects"][0]["email"] == "j***@acme.io"


def test_an_unmapped_task_is_shown_where_airflow_leaves_the_map_index_open(answers):
    assert shown(answers, "joe", f"{PUSH}?map_index={{MAP_INDEX}}&tab=1") == shown(answers, "joe", PUSH)


def test_a_mapped_task_is_shown_as_the_sum_of_its_instances(answers):
    whole = shown(answers, "joe", MAPPED)
    one = shown(answers, "joe", f"{MAPPED}?map_index=1")

    counts = whole["push"]["report"]
    assert (counts["total"], counts["created"], counts["existing"]) == (7, 3, 4)
    assert (counts["requests"], counts["retries"]) == (8, 1)
    assert counts["seconds"] == 90  # a minute apart, half a minute each
    assert [push["map_index"] for push in whole["instances"]] == [0, 1]
    assert one["push"]["map_index"] == 1
    assert one["instances"] == []


@pytest.mark.parametrize("path", PAGES)
def test_the_page_is_for_who_is_logged_in(path, answers):
    code, headers, _ = answers[f"None {path}"]

    assert code == 307
    assert headers["location"] == f"/api/v2/auth/login?{urlencode({'next': f'http://testserver{path}'})}"
    assert status(answers, "clerk", path) == 200
    assert '<base href="/closers/">' in answers[f"joe {path}"][2]


@pytest.mark.parametrize("path", [LIST, PUSH, *PAGES, *FILES])
def test_everything_comes_with_a_strict_policy(path, answers):
    _, headers, _ = answers[f"joe {path}"]

    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert policy["frame-ancestors"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == ("no-cache" if "/static/" in path else "no-store")


def test_the_page_loads_nothing_from_elsewhere(answers):
    for path in [*PAGES, *FILES]:
        code, _, text = answers[f"joe {path}"]
        assert code == 200
        # The name of the SVG language looks like an address, but nobody goes there.
        assert not re.search(r"https?:|//[a-z]+\.", text.replace("http://www.w3.org/2000/svg", "")), path
        assert "@import" not in text
        assert "url(" not in text


def test_the_page_takes_what_tasks_stored_as_text_only():
    for path in STATIC.iterdir():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\son\w+=|style=",
            path.read_text(encoding="utf-8"),
        ), path.name


def test_the_application_describes_itself_to_nobody(answers):
    # Airflow's own interface answers what nobody else does.
    for path in ("/closers/docs", "/closers/openapi.json"):
        code, _, text = answers[f"joe {path}"]
        assert code == 404 or "api/pushes" not in text
