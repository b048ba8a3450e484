"""A list and what Airflow knows of it: the key of its hashes, and the query that it may be."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.operators.suppression import open_suppression_list

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def key_in_connection(monkeypatch):
    connection = {"conn_type": "generic", "password": "of the connection"}
    monkeypatch.setenv("AIRFLOW_CONN_CLOSERS_SUPPRESSION", json.dumps(connection))


@pytest.fixture
def key_in_variable(monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_CLOSERS_SUPPRESSION_SECRET", "of the variable")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "list.txt")


def query_of(tmp_path, monkeypatch, *entries: str | None) -> dict[str, str]:
    """A database's table with these entries; the query that reads them."""
    pytest.importorskip("airflow.providers.sqlite", reason="comes with Airflow 2.11, not with 3.x")
    with closing(sqlite3.connect(tmp_path / "crm.db")) as database, database:
        database.execute("CREATE TABLE opted_out (entry TEXT, at TEXT)")
        database.executemany("INSERT INTO opted_out VALUES (?, '2026')", [(entry,) for entry in entries])
    warehouse = {"conn_type": "sqlite", "host": str(tmp_path / "crm.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(warehouse))
    return {"conn_id": "warehouse", "sql": "SELECT entry, at FROM opted_out;"}


# -- the key


def test_the_key_may_be_a_connection_s_password(path, key_in_connection):
    open_suppression_list(path, create=True).add(["jane@acme.io"])

    assert "jane@acme.io" in open_suppression_list(path)


def test_the_key_may_be_a_variable(path, key_in_variable):
    open_suppression_list(path, create=True).add(["jane@acme.io"])

    assert "jane@acme.io" in open_suppression_list(path)


def test_the_connection_goes_before_the_variable(path, key_in_variable, request):
    open_suppression_list(path, create=True).add(["jane@acme.io"])

    request.getfixturevalue("key_in_connection")

    with pytest.raises(ClosersConfigError, match="keyed hashes of another key"):
        open_suppression_list(path)


def test_a_connection_without_the_key_is_an_error(path, key_in_variable, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CLOSERS_SUPPRESSION", '{"conn_type": "generic"}')

    with pytest.raises(ClosersConfigError, match=r"'closers_suppression' has no password"):
        open_suppression_list(path, create=True)


def test_without_any_key_hashes_are_an_error(path, tmp_path):
    (tmp_path / "list.txt").write_text(f"hmac-sha256:{'a' * 64}\n")

    with pytest.raises(ClosersConfigError, match="holds keyed hashes; their key is missing"):
        open_suppression_list(path)


# -- queries


def test_a_query_s_first_column_may_hold_addresses_and_keyed_hashes(
    path, tmp_path, key_in_variable, monkeypatch
):
    open_suppression_list(path, create=True).add(["jane@acme.io"])
    _, keyed_hash = (tmp_path / "list.txt").read_text().splitlines()

    listed = open_suppression_list(query_of(tmp_path, monkeypatch, "Joe@acme.io", None, keyed_hash))

    assert "jane@acme.io" in listed
    assert "joe@acme.io" in listed
    assert "jim@acme.io" not in listed


def test_in_a_row_a_number_sign_begins_no_comment(path, tmp_path, key_in_variable, monkeypatch):
    open_suppression_list(path, create=True).add(["jane@acme.io"])
    key_mark, _ = (tmp_path / "list.txt").read_text().splitlines()

    listed = open_suppression_list(query_of(tmp_path, monkeypatch, key_mark, " #x@acme.io", ""))

    assert "#x@acme.io" in listed
    assert listed.count() == 1


@pytest.mark.parametrize("entry", ["nobody", "# nobody"])
def test_a_malformed_row_is_named_by_its_number(tmp_path, monkeypatch, entry):
    query = query_of(tmp_path, monkeypatch, "joe@acme.io", entry)

    with pytest.raises(ClosersConfigError, match=r"list of the query is malformed in line 2"):
        open_suppression_list(query)


@pytest.mark.parametrize(
    "query",
    [{"sql": "SELECT 1"}, {"conn_id": "warehouse", "sql": None}, {"conn_id": "x", "sql": "y", "z": 1}],
    ids=["no connection", "no text", "more keys"],
)
def test_what_is_no_query_is_an_error(query):
    with pytest.raises(ClosersConfigError, match="must be the path of a file, or a mapping of"):
        open_suppression_list(query)
