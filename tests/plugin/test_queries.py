from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from airflow_history import History, report

from airflow_provider_closers.get_provider_info import get_provider_info
from airflow_provider_closers.operators.push import PushOperator

if TYPE_CHECKING:
    from airflow_provider_closers.plugin.queries import Page


def recent(history: History, *, dag_ids: set[str] = frozenset({"leads"}), **how: Any) -> Page:
    from airflow_provider_closers.plugin.queries import recent_pushes

    return recent_pushes(history.session, dag_ids=dag_ids, **how)


def tasks(page: Page) -> list[str]:
    return [push.task_id for push in page.pushes]


def test_pushes_come_newest_first_with_their_reports(history):
    history.ran("first", returned=report(total=1, created=1))
    history.ran("second", operator="SqlToClosersOperator", returned=report(total=2, rejected=2))

    page = recent(history)

    assert [(push.task_id, push.report["total"]) for push in page.pushes] == [("second", 2), ("first", 1)]
    assert page.older is None


def test_what_is_no_push_is_left_out(history):
    history.ran("reader", operator="PythonOperator", returned={"unresolved": 1, "rows": [1, 2]})
    history.ran("skipped", state="skipped")
    history.ran("waiting", state="upstream_failed")

    assert tasks(recent(history)) == []


def test_a_push_without_report_is_there(history):
    history.ran("running", state="running")
    history.ran("odd", returned="s3://bucket/an-xcom-kept-elsewhere")

    assert [(push.task_id, push.state, push.report) for push in recent(history).pushes] == [
        ("odd", "success", None),
        ("running", "running", None),
    ]


def test_dags_that_the_user_may_not_read_are_left_out(history):
    history.ran("mine", dag_id="leads")
    history.ran("theirs", dag_id="salaries")

    assert tasks(recent(history, dag_ids={"leads"})) == ["mine"]
    assert tasks(recent(history, dag_ids=set())) == []


def test_a_function_that_pushes_is_known_by_its_asset(history):
    told = report(total=7, created=7)
    history.ran("by_hand", run_id="1", operator="@task", returned=told, event=told)
    history.ran("by_hand", run_id="2", operator="@task", state="failed")
    history.ran("other", operator="@task", returned=1, event={}, uri="s3://bucket/leads.csv")

    page = recent(history)

    assert [(push.run_id, push.state) for push in page.pushes] == [("2", "failed"), ("1", "success")]


def test_the_event_tells_where_the_xcom_does_not(history):
    history.ran("by_hand", run_id="1", operator="@task", event=report(total=3, created=3))
    history.ran("by_hand", run_id="2", operator="@task", returned="done", event=report(total=4, created=4))

    assert [push.report["total"] for push in recent(history).pushes] == [4, 3]


def test_pushes_of_one_operation(history):
    history.ran("creates", returned=report(total=1, created=1))
    history.ran("deletes", operator="DeleteProspectOperator", returned=report(operation="delete"))
    history.ran("tells", operator="@task", event=report(operation="delete"))
    history.ran("runs", state="running")

    assert tasks(recent(history, operation="delete")) == ["tells", "deletes"]


@pytest.mark.parametrize(
    ("limit", "stretch", "many_dags"),
    [(2, 100, False), (3, 100, True), (10, 4, False), (10, 4, True), (1, 3, False), (1, 1, True)],
)
def test_older_pages_go_on_where_the_last_one_ended(history, limit, stretch, many_dags):
    """Whether a page is full, or its stretch of Airflow's history is at an end."""
    for n in range(9):
        history.ran(f"push_{n}", returned=report(total=n, created=n))
        history.ran(f"other_{n}", operator="PythonOperator")
    dag_ids = {"leads"} | ({f"dag_{n}" for n in range(60)} if many_dags else set())

    seen, before = [], None
    while True:
        page = recent(history, dag_ids=dag_ids, limit=limit, stretch=stretch, before=before)
        assert len(page.pushes) <= limit
        seen += tasks(page)
        before = page.older
        if before is None:
            break

    assert seen == [f"push_{n}" for n in reversed(range(9))]


def test_the_instances_of_a_mapped_task(history):
    from airflow_provider_closers.plugin.queries import push_instances

    for map_index in (1, 0, 2):
        history.ran("push", map_index=map_index, returned=report(total=map_index, created=map_index))
    history.ran("push", run_id="other", map_index=0)
    of_task = {"dag_id": "leads", "run_id": "night", "task_id": "push"}

    every = push_instances(history.session, **of_task)
    [one] = push_instances(history.session, **of_task, map_index=2)

    assert [push.map_index for push in every] == [0, 1, 2]
    assert one.report["total"] == 2
    assert push_instances(history.session, **of_task, map_index=3) == []


@pytest.mark.usefixtures("history")
def test_every_operator_of_the_package_is_known():
    from airflow_provider_closers.plugin.queries import OPERATORS

    info = get_provider_info()
    names = [name for entry in info["operators"] for name in entry["python-modules"]]
    names += [entry["python-module"] for entry in info["transfers"]]
    pushing = {
        value.__name__
        for name in names
        for value in vars(import_module(name)).values()
        if isinstance(value, type)
        and issubclass(value, PushOperator)
        and not value.__name__.startswith("_")
        and value.__module__ == name  # not what the operators there are made of
    }

    assert set(OPERATORS) == pushing
