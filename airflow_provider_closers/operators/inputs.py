"""Where a task's records come from: Airflow's connections and paths, as sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.operators.database import database_hook
from airflow_provider_closers.operators.paths import path_of_instance, storage_path

if TYPE_CHECKING:
    from airflow_provider_closers.sources.files import FileRecords
    from airflow_provider_closers.sources.sql import QueryRows


def query_rows(
    conn_id: Any,
    sql: Any,
    parameters: Mapping[str, Any] | Sequence[Any] | None,
    hook_params: Mapping[str, Any] | None,
) -> QueryRows:
    """
    Return the rows of a query.

    :param conn_id: The database connection's id.
    :param sql: The query.
    :param parameters: What the driver binds to the query's placeholders.
    :param hook_params: What the database hook takes beside the connection.
    :raises ClosersConfigError: There is no query, or the connection is no database's.
    """
    from airflow_provider_closers.sources.sql import QueryRows

    if not isinstance(sql, str) or not sql.strip():
        raise ClosersConfigError(
            f"sql is {sql!r}; it must be one query, or the path of a .sql file with one."
        )
    # A file ends with a semicolon, which not every driver takes.
    return QueryRows(database_hook(conn_id, hook_params), sql.rstrip().removesuffix(";"), parameters)


def file_records(
    path: str,
    file_format: str | None,
    encoding: str,
    csv_options: Mapping[str, Any] | None,
    *,
    rejects_path: str | None,
    context: Any,
) -> FileRecords:
    """
    Return the records of files.

    :param path: A file, a folder or a pattern.
    :param file_format: ``csv``, ``jsonl`` or ``parquet``; by default what each file's name says.
    :param encoding: Of CSV and JSON Lines.
    :param csv_options: What Python's ``csv.DictReader`` takes.
    :param rejects_path: Where the task writes its rejects meanwhile.
    :param context: What Airflow gives the task.
    :raises ClosersConfigError: An argument is wrong.
    """
    from airflow_provider_closers.sources.files import FileRecords

    return FileRecords(
        storage_path(path),
        file_format=file_format,
        encoding=encoding,
        csv_options=csv_options,
        output=path_of_instance(rejects_path, context) if rejects_path else None,
    )
