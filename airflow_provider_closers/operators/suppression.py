"""A suppression list with what Airflow knows of it: where it is, and the key of its hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.operators.paths import storage_path

if TYPE_CHECKING:
    from airflow_provider_closers.suppression import SuppressionList

#: The connection whose password is the key of a list's hashes.
SUPPRESSION_CONN_ID = "closers_suppression"
#: The Airflow Variable that holds the key where there is no such connection. Its name ends so that
#: Airflow masks it.
SUPPRESSION_SECRET_VARIABLE = "closers_suppression_secret"  # noqa: S105 - a name, not a secret

_WHAT_A_LIST_MAY_BE = "it must be the path of a file, or a mapping of 'conn_id' and 'sql'"


def open_suppression_list(
    suppression_list: str | Mapping[str, str], *, create: bool = False
) -> SuppressionList:
    """
    Read a suppression list, as every operator does before its first request.

    The key of its hashes is the password of the connection ``closers_suppression`` or, where there is
    no such connection, the Variable ``closers_suppression_secret``.

    :param suppression_list: The path of a file on any ObjectStoragePath, or a query as
        ``{"conn_id": ..., "sql": ...}``, of which the first column counts.
    :param create: Whether an absent file is an empty list.
    :return: The list. :meth:`~airflow_provider_closers.suppression.SuppressionList.add` adds to one
        in a file.
    :raises ClosersConfigError: It can't be read or is malformed, or there is no key and it takes one.
    """
    from airflow_provider_closers.suppression import SuppressionList

    if isinstance(suppression_list, Mapping):
        return SuppressionList(_entries(suppression_list), name="of the query", secret=_secret())
    if not isinstance(suppression_list, str):
        raise ClosersConfigError(
            f"suppression_list is of type {type(suppression_list).__name__}; {_WHAT_A_LIST_MAY_BE}."
        )
    return SuppressionList.from_file(storage_path(suppression_list), secret=_secret(), create=create)


def _entries(query: Mapping[str, str]) -> Iterator[str]:
    """Yield what stands in a query's first column; the rows are not all in memory."""
    if set(query) != {"conn_id", "sql"} or not all(isinstance(value, str) for value in query.values()):
        keys = ", ".join(map(repr, query))
        raise ClosersConfigError(
            f"suppression_list is a mapping of {keys}; {_WHAT_A_LIST_MAY_BE} (both str)."
        )
    from airflow_provider_closers.operators.database import database_hook
    from airflow_provider_closers.sources.sql import QueryRows
    from airflow_provider_closers.suppression.entry import line_of_value

    rows = QueryRows(database_hook(query["conn_id"]), query["sql"].rstrip().removesuffix(";"))
    values = (next(iter(row.values())) for row in rows)
    return (line_of_value(str(value)) for value in values if value is not None)


def _secret() -> str | None:
    """Return the key of the hashes, ``None`` where Airflow has none."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, Variable

    try:
        connection: Any = BaseHook.get_connection(SUPPRESSION_CONN_ID)
    except AirflowNotFoundException:
        secret: str | None = Variable.get(SUPPRESSION_SECRET_VARIABLE, None)
        return secret
    if not connection.password:
        raise ClosersConfigError(
            f"The connection {SUPPRESSION_CONN_ID!r} has no password; it must be the key of the "
            "suppression list's hashes."
        )
    return str(connection.password)
