"""
The rows of a query, a batch at a time.

A push reads slowly, so the query stays open for as long as the push takes, and on PostgreSQL its
transaction does too, idle most of the time: it holds up VACUUM, and ends with an error where the
server's ``idle_in_transaction_session_timeout`` is shorter than a batch takes to push.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Protocol

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.source import Source

#: Rows to fetch at once. Many more save no time, and each is held in memory.
FETCH_SIZE = 1_000

#: Seconds. MySQL gives up on a client that reads nothing for a minute; a push may well do that.
_MYSQL_PATIENCE = 86_400


class DbApiHook(Protocol):
    """What is needed of Airflow's hook of this name."""

    def get_conn(self) -> Any:
        """Open a connection, as PEP 249 has it."""


class QueryRows(Source):
    """
    The rows of a query, each a dict of its columns; the query runs anew each time they are read.

    The rows stay with the server until they are wanted, where the driver can do that (PostgreSQL's
    and MySQL's can, once they are asked to); elsewhere it is the driver that decides. Nothing is
    committed, so a query that changes something is rolled back in the end.

    :param hook: Opens the connections, one each time the rows are read.
    :param sql: The query.
    :param parameters: What the driver binds to the query's placeholders; ``None`` if it has none, and
        then a ``%`` in it is a ``%``.
    """

    def __init__(self, hook: DbApiHook, sql: str, parameters: Any = None) -> None:
        self._hook = hook
        self._sql = sql
        self._parameters = parameters

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """
        Run the query and yield its rows.

        :raises ClosersConfigError: The statement returns no rows, or two columns of one name. What
            the driver raises is not touched.
        """
        with _cursor_of(self._hook.get_conn()) as cursor:
            cursor.execute(self._sql, *([] if self._parameters is None else [self._parameters]))
            names = _column_names(cursor)
            while rows := cursor.fetchmany(FETCH_SIZE):
                if isinstance(rows[0], Mapping):  # the connection's own idea of a row
                    yield from map(dict, rows)
                else:
                    for row in rows:
                        yield dict(zip(names, row, strict=True))


@contextlib.contextmanager
def _cursor_of(connection: Any) -> Iterator[Any]:
    """Open a cursor; leave it and the connection closed, and what was not read unread."""
    cursor: Any = None
    try:
        cursor = _streaming_cursor(connection)
        yield cursor
    finally:
        # The connection first: the cursors of MySQL's drivers read all that is left when they are
        # closed. The rows are here, or something else has been raised: a failure to close tells no more.
        with contextlib.suppress(Exception):
            connection.close()
        _forget_unread(cursor)
        with contextlib.suppress(Exception):
            cursor.close()


def _streaming_cursor(connection: Any) -> Any:
    """Open a cursor that leaves the rows with the server until they are fetched, if the driver has one."""
    drivers = {base.__module__.partition(".")[0] for base in type(connection).__mro__}
    # PostgreSQL's cursors live in a transaction. Theirs and MySQL's are asked for plain rows too,
    # whatever the connection says: as a dict, a row has lost one of two columns of the same name.
    if "psycopg2" in drivers:
        connection.autocommit = False
        return connection.cursor("closers", cursor_factory=import_module("psycopg2.extensions").cursor)
    if "psycopg" in drivers:
        connection.autocommit = False
        return connection.cursor("closers", row_factory=lambda _: tuple)
    for driver in {"MySQLdb", "pymysql"} & drivers:
        _make_patient(connection)
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    if "mysql" in drivers:  # mysql-connector-python
        _make_patient(connection)
        return connection.cursor(buffered=False)
    return connection.cursor()


def _make_patient(connection: Any) -> None:
    """Have a MySQL server wait for a client that reads slowly."""
    # Not everything that speaks MySQL's protocol has this setting.
    with contextlib.suppress(Exception), contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(
            f"SET SESSION net_write_timeout = GREATEST(@@SESSION.net_write_timeout, {_MYSQL_PATIENCE})"
        )


def _column_names(cursor: Any) -> list[str]:
    if getattr(cursor, "name", None) and cursor.description is None:
        cursor.fetchmany(0)  # psycopg2's server-side cursor learns its columns when it is first fetched from
    if not cursor.description:
        raise ClosersConfigError("The sql returns no rows: it must be a query, such as a SELECT.")
    names = [str(column[0]) for column in cursor.description]
    [(name, count)] = Counter(names).most_common(1)
    if count > 1:
        raise ClosersConfigError(
            f"The query returns {count} columns named {name!r}; a record holds only one: "
            f"give each column a name of its own (SELECT ... AS another_name)."
        )
    return names


def _forget_unread(cursor: Any) -> None:
    """Keep pymysql from reading the rest off the closed connection when its result is collected."""
    result: Any = getattr(cursor, "_result", None)
    if hasattr(result, "unbuffered_active"):  # nobody else's cursor has this
        result.unbuffered_active = False
