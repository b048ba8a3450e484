"""Transfer of a query's rows to Closers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_closers.operators.push import PushOperator


class SqlToClosersOperator(PushOperator):
    """
    Pushes the rows of a query, as they come from the database.

    The connection is any whose hook is a ``DbApiHook``. Rows are streamed with a server-side cursor
    where the driver has one (PostgreSQL, MySQL), and fetched bit by bit elsewhere: memory doesn't
    grow with their number. The query runs as long as the push does.

    Takes every parameter of :class:`~airflow_provider_closers.operators.push.PushOperator`, and these:

    :param conn_id: The database connection's id (templated).
    :param sql: The query, or the path of a ``.sql`` file (templated); its column names are the
        records' keys. For a retry that goes on from a checkpoint it needs an ``ORDER BY`` that leaves
        nothing to chance.
    :param operation: ``create``, ``update``, ``upsert`` or ``delete``.
    :param parameters: What the driver binds to the query's placeholders (templated).
    :param hook_params: What the database hook takes beside the connection.
    """

    template_fields: Sequence[str] = ("conn_id", "sql", "parameters", *PushOperator.template_fields)
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "parameters": "json"}

    def __init__(
        self,
        *,
        conn_id: str,
        sql: str,
        operation: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        hook_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(operation=operation, **kwargs)
        self.conn_id = conn_id
        self.sql = sql
        self.parameters = parameters
        self.hook_params = hook_params

    def _records(self, context: Any) -> Iterable[Any]:  # noqa: ARG002 - it takes none of it

        from airflow_provider_closers.operators.inputs import query_rows

        return query_rows(self.conn_id, self.sql, self.parameters, self.hook_params)
