"""The rows of a query, out of real databases."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import psycopg.rows
import psycopg2
import psycopg2.extras
import pymysql
import pymysql.cursors
import pytest
import throwaway

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.source import Source
from airflow_provider_closers.sources.sql import FETCH_SIZE, QueryRows

MILLIONS = 10_000_000
STAND_INS = Path(throwaway.__file__).parent


class OpenedBy:
    """A hook, and what it opened."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self.connections: list[Any] = []

    def get_conn(self) -> Any:
        self.connections.append(self._connect())
        return self.connections[-1]


@dataclass
class Database:
    """
    A database as the tests talk to it.

    :param count: Counts from 1 to ``{}`` in a column ``n``.
    :param placeholder: Where a parameter goes.
    :param is_closed: Tells whether a connection is closed.
    """

    hook: OpenedBy
    count: str
    placeholder: str
    is_closed: Callable[[Any], bool]

    def rows(self, sql: str, parameters: Any = None) -> QueryRows:
        return QueryRows(self.hook, sql, parameters)


POSTGRESQL = ["PostgresHook", "psycopg2", "psycopg"]
OTHERS = ["SqliteHook", "duckdb", "pymysql"]


def on_postgresql_server(name: str, server: Any) -> Database:
    def connect() -> Any:
        return {"psycopg2": psycopg2, "psycopg": psycopg}[name].connect(server.conninfo)

    if name == "PostgresHook":
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        connect = PostgresHook("warehouse").get_conn
    series = "SELECT generate_series(1, {}) AS n"
    return Database(OpenedBy(connect), series, "%s", lambda connection: bool(connection.closed))


def on_mariadb_server(server: Any) -> Database:
    return Database(
        OpenedBy(lambda: pymysql.connect(**server.arguments)),
        "SELECT seq AS n FROM seq_1_to_{}",
        "%s",
        lambda connection: not connection.open,
    )


def in_sqlite_file() -> Database:
    from airflow.providers.sqlite.hooks.sqlite import SqliteHook

    count = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT n FROM s"
    return Database(OpenedBy(SqliteHook("warehouse").get_conn), count, "?", refuses_to_work)


def in_duckdb_file(path: Path) -> Database:
    hook = OpenedBy(lambda: duckdb.connect(path))
    return Database(hook, "SELECT range + 1 AS n FROM range({})", "?", refuses_to_work)


def refuses_to_work(connection: Any) -> bool:
    try:
        connection.cursor()
    except (sqlite3.ProgrammingError, duckdb.ConnectionException):
        return True
    return False


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    if request.param == "SqliteHook":
        connection = {"conn_type": "sqlite", "host": str(tmp_path / "leads.db")}
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
        return in_sqlite_file()
    if request.param == "duckdb":
        return in_duckdb_file(tmp_path / "leads.duckdb")
    if request.param == "pymysql":
        return on_mariadb_server(request.getfixturevalue("mariadb"))
    server = request.getfixturevalue("postgresql")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(server.airflow_connection))
    return on_postgresql_server(request.param, server)


on_each = pytest.mark.parametrize("database", POSTGRESQL + OTHERS, indirect=True)
on_postgresql = pytest.mark.parametrize("database", POSTGRESQL, indirect=True)


def resident() -> int:
    """Return the bytes of memory that this process has."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


# -- the rows


@on_each
def test_a_row_is_a_dict_of_its_columns(database):
    sql = "SELECT 'jane@acme.io' AS email, NULL AS title, 7 AS score UNION ALL SELECT 'joe@acme.io', 'CTO', 8"

    rows = list(database.rows(sql + " ORDER BY score"))

    assert rows == [
        {"email": "jane@acme.io", "title": None, "score": 7},
        {"email": "joe@acme.io", "title": "CTO", "score": 8},
    ]
    assert {type(key) for row in rows for key in row} == {str}


@on_each
@pytest.mark.parametrize(
    "count",
    [0, 1, FETCH_SIZE - 1, FETCH_SIZE, FETCH_SIZE + 1, 3 * FETCH_SIZE],
    ids=["none", "one", "nearly a batch", "a batch", "a batch and one", "three batches"],
)
def test_no_row_is_lost_where_a_batch_ends(database, count):
    sql = f"SELECT n FROM ({database.count.format(4 * FETCH_SIZE)}) AS numbers WHERE n <= {count} ORDER BY n"

    rows = list(database.rows(sql))

    assert rows == [{"n": n} for n in range(1, count + 1)]


@on_each
@pytest.mark.parametrize("kind", [list, tuple])
def test_parameters_are_bound_by_the_driver(database, kind):
    name = """O'Neil"; DROP TABLE people; -- %s ? \\"""
    cast = "CHAR(90)" if database.placeholder == "%s" else "VARCHAR"

    rows = list(database.rows(f"SELECT CAST({database.placeholder} AS {cast}) AS name", kind([name])))

    assert [row["name"].rstrip(" ") for row in rows] == [name]


@on_each
def test_a_percent_sign_needs_no_doubling_in_a_query_without_parameters(database):
    sql = "SELECT who FROM (SELECT 'jane%s' AS who UNION SELECT 'joe') AS people WHERE who LIKE 'j%s'"

    rows = list(database.rows(sql))

    assert rows == [{"who": "jane%s"}]


@on_each
def test_a_semicolon_and_a_comment_may_end_the_query(database):
    rows = list(database.rows("SELECT 1 AS n; -- one"))

    assert rows == [{"n": 1}]


# -- when the query is run


def test_a_query_is_a_source_that_opens_nothing_until_it_is_read():
    hook = OpenedBy(lambda: pytest.fail("It was opened."))

    rows = QueryRows(hook, "SELECT 1")
    iterator = iter(rows)

    assert isinstance(rows, Source)
    assert hook.connections == []
    assert iterator is not iter(rows)


@on_each
def test_the_query_runs_anew_on_a_connection_of_its_own_each_time_it_is_read(database):
    rows = database.rows(database.count.format(3))

    first = list(rows)
    second = list(rows)

    assert first == second == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert len({id(connection) for connection in database.hook.connections}) == 2


@on_each
def test_two_readings_do_not_disturb_each_other(database):
    rows = database.rows(database.count.format(3))

    pairs = list(zip(rows, rows, strict=True))

    assert [(one["n"], other["n"]) for one, other in pairs] == [(1, 1), (2, 2), (3, 3)]


# -- memory, and what is left unread


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc to see the memory in")
@on_each
def test_rows_stream_and_the_rest_is_left_unread(database):
    rows = iter(database.rows(database.count.format(MILLIONS)))
    seconds_to_read = seconds_for(lambda: list(database.rows(database.count.format(MILLIONS // 200))))
    before = resident()  # What the driver needs itself is not counted.

    read = [row["n"] for row in islice(rows, 10)]
    grown = resident() - before
    seconds_to_close = seconds_for(lambda: (rows.close(), gc.collect()))

    assert read == list(range(1, 11))
    # The rows in a client's memory would be 80 MB at the very least.
    assert grown < 40_000_000
    assert seconds_to_close < 50 * seconds_to_read  # To read them takes four times as long.


def seconds_for(act: Callable[[], Any]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


@on_postgresql
def test_rows_come_before_a_failure_further_down_is_known(database):
    rows = database.rows(f"SELECT 1 / ({5 * FETCH_SIZE} - generate_series(1, {MILLIONS})) AS n")
    errors = (psycopg2.errors.DivisionByZero, psycopg.errors.DivisionByZero)
    reading = iter(rows)

    read = list(islice(reading, 4 * FETCH_SIZE))
    with pytest.raises(errors, match="by zero"):
        next(reading)

    assert len(read) == 4 * FETCH_SIZE


@on_each
@pytest.mark.parametrize("end", ["all read", "closed early", "dropped", "failed"])
def test_the_connection_is_closed_however_the_reading_ends(database, end):
    rows = iter(database.rows(database.count.format(2 * FETCH_SIZE)))
    next(rows)
    [connection] = database.hook.connections

    match end:
        case "all read":
            list(rows)
        case "closed early":
            rows.close()
        case "dropped":
            del rows
            gc.collect()
        case "failed":
            with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
                rows.throw(KeyboardInterrupt("Ctrl-C"))

    assert database.is_closed(connection)


@on_each
def test_the_connection_is_closed_when_the_query_is_refused(database):
    errors = (psycopg.Error, psycopg2.Error, pymysql.Error, sqlite3.Error, duckdb.Error)

    with pytest.raises(errors, match=r"(?i)syntax"):
        list(database.rows("SELEKT 1"))

    [connection] = database.hook.connections
    assert database.is_closed(connection)


# -- what can't be read


@on_each
def test_two_columns_of_one_name_are_refused_before_the_first_record(database):
    rows = iter(database.rows("SELECT 'jane@acme.io' AS email, 1 AS id, 'joe@acme.io' AS email"))

    with pytest.raises(ClosersConfigError, match=r"2 columns named 'email'; .*AS another_name"):
        next(rows)

    [connection] = database.hook.connections
    assert database.is_closed(connection)


@pytest.mark.parametrize(
    ("database", "sql"),
    [
        pytest.param("SqliteHook", "CREATE TABLE people (email TEXT)", id="SQLite"),
        pytest.param("pymysql", "SET @email = 'jane@acme.io'", id="MariaDB"),
    ],
    indirect=["database"],
)
def test_a_statement_that_returns_no_rows_is_refused(database, sql):
    with pytest.raises(ClosersConfigError, match="returns no rows: it must be a query"):
        list(database.rows(sql))


@on_postgresql
def test_a_query_without_columns_is_refused(database):
    with pytest.raises(ClosersConfigError, match="returns no rows: it must be a query"):
        list(database.rows("SELECT"))


@on_postgresql
def test_postgresql_refuses_a_statement_that_is_no_query_itself(database):
    errors = (psycopg2.errors.SyntaxError, psycopg.errors.SyntaxError)

    with pytest.raises(errors, match='at or near "CREATE"'):
        list(database.rows("CREATE TABLE people (email text)"))


@on_postgresql
def test_a_postgresql_connection_that_is_lost_is_an_error_and_no_early_end(database, postgresql):
    rows = iter(database.rows(f"SELECT pg_backend_pid() AS pid, generate_series(1, {MILLIONS})"))
    pid = next(rows)["pid"]
    with contextlib.closing(psycopg2.connect(postgresql.conninfo)) as connection:
        connection.cursor().execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    errors = (psycopg2.OperationalError, psycopg.OperationalError)
    with pytest.raises(errors, match=r"terminating connection|server closed the connection"):
        list(rows)


@pytest.mark.parametrize("database", ["pymysql"], indirect=True)
def test_a_mysql_connection_that_is_lost_is_an_error_and_no_early_end(database, mariadb):
    rows = iter(database.rows(f"SELECT connection_id() AS id, seq FROM seq_1_to_{MILLIONS}"))
    number = next(rows)["id"]
    with pymysql.connect(**mariadb.arguments) as connection:
        connection.cursor().execute(f"KILL CONNECTION {number}")

    with pytest.raises(pymysql.OperationalError, match=r"Lost connection|Connection was killed"):
        list(rows)

    gc.collect()  # Nothing that pymysql leaves behind goes back to the connection: it would warn.


# -- connections that differ


@pytest.mark.parametrize("cursor", ["dictcursor", "realdictcursor", "namedtuplecursor"])
def test_the_postgres_connection_may_ask_for_rows_of_another_kind(cursor, postgresql, monkeypatch):
    from airflow.providers.postgres.hooks.postgres import USE_PSYCOPG3, PostgresHook

    if USE_PSYCOPG3 and cursor == "realdictcursor":
        pytest.skip("the hook refuses it with psycopg 3")
    connection = postgresql.airflow_connection | {"extra": {"cursor": cursor}}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))

    rows = list(QueryRows(PostgresHook("warehouse"), "SELECT 1 AS id, 'jane@acme.io' AS email"))

    assert rows == [{"id": 1, "email": "jane@acme.io"}]


@pytest.mark.parametrize(
    ("driver", "row_kind"),
    [
        pytest.param(psycopg2, {"cursor_factory": psycopg2.extras.DictCursor}, id="psycopg2 DictCursor"),
        pytest.param(psycopg2, {"cursor_factory": psycopg2.extras.RealDictCursor}, id="RealDictCursor"),
        pytest.param(psycopg2, {"cursor_factory": psycopg2.extras.NamedTupleCursor}, id="NamedTupleCursor"),
        pytest.param(psycopg, {"row_factory": psycopg.rows.dict_row}, id="psycopg dict_row"),
        pytest.param(psycopg, {"row_factory": psycopg.rows.namedtuple_row}, id="psycopg namedtuple_row"),
    ],
)
def test_two_columns_of_one_name_do_not_hide_in_rows_of_another_kind(driver, row_kind, postgresql):
    hook = OpenedBy(lambda: driver.connect(postgresql.conninfo, **row_kind))

    with pytest.raises(ClosersConfigError, match="2 columns named 'email'"):
        list(QueryRows(hook, "SELECT 1 AS email, 2 AS email"))


def test_the_mysql_connection_may_ask_for_dicts(mariadb):
    hook = OpenedBy(lambda: pymysql.connect(**mariadb.arguments, cursorclass=pymysql.cursors.DictCursor))

    rows = list(QueryRows(hook, "SELECT 1 AS id, 'jane@acme.io' AS email"))

    assert rows == [{"id": 1, "email": "jane@acme.io"}]


@on_postgresql
def test_a_postgresql_connection_may_be_in_autocommit(database):
    def connect_in_autocommit() -> Any:
        connection = connect()
        connection.autocommit = True
        return connection

    connect = database.hook.get_conn

    rows = list(QueryRows(OpenedBy(connect_in_autocommit), database.count.format(3)))

    assert rows == [{"n": 1}, {"n": 2}, {"n": 3}]


class Wrapped:
    """A connection as a tracing library wraps it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.parametrize(
    "row_kind",
    [None, psycopg2.extras.DictCursor, psycopg2.extras.RealDictCursor, psycopg2.extras.NamedTupleCursor],
    ids=["tuples", "DictCursor", "RealDictCursor", "NamedTupleCursor"],
)
def test_a_connection_that_is_not_recognised_is_read_with_its_own_cursor(row_kind, postgresql):
    hook = OpenedBy(lambda: Wrapped(psycopg2.connect(postgresql.conninfo, cursor_factory=row_kind)))

    rows = list(QueryRows(hook, "SELECT 1 AS id, 'jane@acme.io' AS email"))

    assert rows == [{"id": 1, "email": "jane@acme.io"}]
    assert hook.connections[0].closed


@pytest.mark.parametrize("database", ["pymysql"], indirect=True)
def test_mysql_waits_for_a_client_that_reads_slowly(database):
    rows = list(database.rows("SELECT @@SESSION.net_write_timeout AS seconds"))

    assert rows == [{"seconds": 86400}]


def test_mysql_is_not_made_less_patient_than_it_is(mariadb):
    command = "SET SESSION net_write_timeout = 604800"
    hook = OpenedBy(lambda: pymysql.connect(**mariadb.arguments, init_command=command))

    rows = list(QueryRows(hook, "SELECT @@SESSION.net_write_timeout AS seconds"))

    assert rows == [{"seconds": 604800}]


# -- the servers that these tests start


@pytest.mark.parametrize("module", ["postgresql", "mariadb"])
def test_a_server_goes_with_the_tests_even_if_they_are_killed(module, request):
    request.getfixturevalue(module)  # Skips where there is none.
    script = f"import {module} as m\nwith m.{module}_server() as s: print(s.folder, flush=True); input()"

    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=STAND_INS,
        env=os.environ | {"PYTHONPATH": str(STAND_INS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tests:
        folder = Path(tests.stdout.readline().rstrip("\n"))
        was_there = folder.is_dir()
        tests.send_signal(signal.SIGKILL)
        complaints = tests.stderr.read()  # The guard has it too, so this ends when the guard has ended.

    assert was_there
    assert not folder.exists()
    assert not complaints


@pytest.mark.parametrize(
    ("required", "outcome"),
    [
        pytest.param(None, pytest.skip.Exception, id="nothing is required"),
        pytest.param("mariadb", pytest.skip.Exception, id="another is required"),
        pytest.param("mariadb, postgresql", pytest.fail.Exception, id="it is required"),
    ],
)
def test_a_server_that_is_not_installed_is_skipped_unless_it_is_required(required, outcome, monkeypatch):
    monkeypatch.delenv("CLOSERS_TESTS_REQUIRE", raising=False)
    if required:
        monkeypatch.setenv("CLOSERS_TESTS_REQUIRE", required)

    with pytest.raises(outcome, match="initdb is not installed"):
        throwaway.unavailable("postgresql", "initdb is not installed")
