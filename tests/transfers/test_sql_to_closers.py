"""The SQL transfer: from a database's rows to counted outcomes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_closers.errors import (
    ClosersAuthError,
    ClosersConfigError,
    PushFailedError,
    TooManyDeletesError,
)
from airflow_provider_closers.transfers.sql_to_closers import SqlToClosersOperator

pytestmark = pytest.mark.usefixtures("closers_connection")

LEADS = """
    CREATE TABLE leads (
        id INTEGER PRIMARY KEY, email TEXT, first_name TEXT, plan TEXT, updated_at TEXT
    )
"""


@pytest.fixture
def warehouse(tmp_path, monkeypatch) -> sqlite3.Connection:
    """An SQLite warehouse of 200 leads, behind the connection `warehouse`."""
    path = tmp_path / "warehouse.sqlite"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(LEADS)
        connection.executemany(
            "INSERT INTO leads VALUES (?, ?, ?, ?, ?)",
            [(i, f"p{i}@acme.io", f"P{i}", "pro", f"2026-11-{1 + i // 10:02}") for i in range(200)],
        )
        connection.commit()
        yield connection


def run(sql: str, operation: str = "create", **parameters: Any) -> dict[str, Any]:
    operator = SqlToClosersOperator(
        task_id="push", conn_id="warehouse", sql=sql, operation=operation, **parameters
    )
    return operator.execute({})


def nonzero(report: dict[str, Any]) -> dict[str, int]:
    outcomes = "created updated deleted existing missing suppressed filtered rejected unresolved"
    return {name: report[name] for name in outcomes.split() if report[name]}


def test_rows_are_pushed_with_their_columns_for_keys(warehouse, sandbox):
    report = run("SELECT email, first_name, plan FROM leads ORDER BY id;\n", other_attributes=["plan"])

    assert nonzero(report) == {"created": 200}
    assert sandbox.prospect("p7@acme.io")["firstName"] == "P7"
    assert sandbox.prospect("p7@acme.io")["otherAttribute"] == {"plan": "pro"}


def test_parameters_are_bound_and_not_formatted_in(warehouse, sandbox):
    name = "Robert'); DROP TABLE leads; --"
    warehouse.execute("UPDATE leads SET first_name = ? WHERE id = 3", (name,))
    warehouse.commit()

    report = run("SELECT email FROM leads WHERE first_name = :name", parameters={"name": name})

    assert nonzero(report) == {"created": 1}
    assert sandbox.prospect("p3@acme.io")


def test_every_operation_is_at_hand(warehouse, sandbox):
    sandbox.add_prospects([{"email": f"p{i}@acme.io"} for i in range(50)])

    upserted = run("SELECT email, first_name FROM leads WHERE id < 100", "upsert")
    updated = run("SELECT email FROM leads WHERE id BETWEEN 90 AND 109", "update", if_missing="skip")
    deleted = run("SELECT email FROM leads WHERE id BETWEEN 90 AND 109", "delete", max_deletes=20)

    assert nonzero(upserted) == {"created": 50, "updated": 50}
    assert nonzero(updated) == {"updated": 10, "missing": 10}
    assert nonzero(deleted) == {"deleted": 10, "missing": 10}


def test_more_rows_than_may_be_deleted_delete_none(warehouse, sandbox):
    sandbox.add_prospects([{"email": f"p{i}@acme.io"} for i in range(200)])

    with pytest.raises(TooManyDeletesError, match="more than 100 records"):
        run("SELECT email FROM leads", "delete")

    assert sandbox.journal() == []


def test_common_parameters_apply(warehouse, sandbox, tmp_path):
    listed, rejects = tmp_path / "suppressed.txt", tmp_path / "rejects.jsonl"
    listed.write_text("p0@acme.io\n")
    warehouse.execute("UPDATE leads SET email = 'nobody' WHERE id = 5")
    warehouse.commit()

    report = run(
        "SELECT email AS work_email, first_name FROM leads WHERE id < 10 ORDER BY id",
        field_map={"work_email": "email"},
        transform=lambda row: row if row["first_name"] != "P9" else None,
        suppression_list=str(listed),
        max_rejects=1,
        rejects_path=str(rejects),
    )

    assert nonzero(report) == {"created": 7, "suppressed": 1, "filtered": 1, "rejected": 1}
    assert json.loads(rejects.read_text())["record"] == {"work_email": "nobody", "first_name": "P5"}


def test_a_column_that_is_no_field_is_named_with_the_nearest_field(warehouse):
    with pytest.raises(PushFailedError, match=r"'titel' is no field \(nearest: 'title'\)"):
        run("SELECT email, plan AS titel FROM leads")


def test_no_rows_are_an_empty_push(warehouse):
    with pytest.raises(PushFailedError, match="no prospects"):
        run("SELECT email FROM leads WHERE id > 900", on_empty="fail")

    assert run("SELECT email FROM leads WHERE id > 900")["total"] == 0


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        pytest.param(" ", "sql is ' '", id="empty"),
        pytest.param(["SELECT 1"], "it must be one query", id="a list"),
        pytest.param("SELECT email, first_name AS email FROM leads", "'email'", id="a column twice"),
        pytest.param("UPDATE leads SET plan = 'free'", "returns no rows", id="no query"),
    ],
)
def test_an_sql_that_can_t_be_pushed_is_refused_before_anything_is_sent(warehouse, sandbox, sql, message):
    with pytest.raises(ClosersConfigError, match=message):
        run(sql)

    assert sandbox.journal() == []
    assert set(warehouse.execute("SELECT plan FROM leads")) == {("pro",)}


# To load our hook Airflow 2 imports Flask's extensions, which warn of each other.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_connection_that_is_no_database_s_is_refused(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "closers", "password": "k"}))

    with pytest.raises(ClosersConfigError, match=r"'warehouse' is no database's: its hook is a ClosersHook"):
        run("SELECT 1")


def test_a_retry_goes_on_where_the_last_try_stopped(warehouse, sandbox, tmp_path):
    arguments = {"sql": "SELECT email FROM leads ORDER BY id", "checkpoint_path": str(tmp_path / "point")}
    sandbox.add_fault("error", status=401, after=120)

    with pytest.raises(ClosersAuthError, match="401"):
        run(**arguments)
    report = run(**arguments)

    assert nonzero(report) == {"created": 200}
    assert len([entry for entry in sandbox.journal() if entry.status != 401]) == 200


def test_rows_that_changed_since_are_pushed_from_the_first_on(warehouse, sandbox, tmp_path):
    arguments = {"sql": "SELECT email FROM leads ORDER BY id", "checkpoint_path": str(tmp_path / "point")}
    sandbox.add_fault("error", status=401, after=120)
    with pytest.raises(ClosersAuthError, match="401"):
        run(**arguments)

    warehouse.execute("UPDATE leads SET email = 'new' || email WHERE id = 0")
    warehouse.commit()
    report = run(**arguments)

    assert report["total"] == report["created"] + report["existing"] == 200
    assert sandbox.prospect("newp0@acme.io")


def test_sql_comes_from_a_file_and_both_it_and_its_parameters_are_templates(tmp_path):
    (tmp_path / "changed.sql").write_text("SELECT email FROM {{ params.table }} WHERE updated_at >= :since\n")
    with DAG("templates", schedule=None, template_searchpath=str(tmp_path)):
        operator = SqlToClosersOperator(
            task_id="push",
            conn_id="{{ params.conn_id }}",
            sql="changed.sql",
            parameters={"since": "{{ params.since }}"},
            operation="upsert",
        )
    operator.resolve_template_files()

    operator.render_template_fields(
        {"params": {"table": "leads", "conn_id": "warehouse", "since": "2026-11-20"}}
    )

    assert (operator.conn_id, operator.sql, operator.parameters) == (
        "warehouse",
        "SELECT email FROM leads WHERE updated_at >= :since",
        {"since": "2026-11-20"},
    )


def test_postgresql_s_rows_are_streamed_to_closers(postgresql, sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(postgresql.airflow_connection))

    report = run(
        """
        SELECT 'p' || i || '@acme.io' AS email, NULL AS first_name, now() AS seen, 19.90 AS mrr,
               '{"a": 1}'::jsonb AS tags
        FROM generate_series(1, %(rows)s) AS i
        """,
        parameters={"rows": 3_000},
        other_attributes=["seen", "mrr", "tags"],
    )

    assert nonzero(report) == {"created": 3_000}
    prospect = sandbox.prospect("p3000@acme.io")
    assert "firstName" not in prospect
    assert (prospect["otherAttribute"]["mrr"], prospect["otherAttribute"]["tags"]) == ("19.90", {"a": 1})
