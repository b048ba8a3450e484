"""The database behind a connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_closers.errors import ClosersConfigError

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook


def database_hook(conn_id: str, hook_params: Mapping[str, Any] | None = None) -> DbApiHook:
    """
    Return the hook of a database's connection.

    :param conn_id: The connection's id.
    :param hook_params: What the hook takes beside the connection.
    :raises ClosersConfigError: The connection is no database's.
    """
    from airflow.providers.common.compat.sdk import BaseHook
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    connection: Any = BaseHook.get_connection(conn_id)
    hook = connection.get_hook(hook_params=dict(hook_params or {}))
    if not isinstance(hook, DbApiHook):
        raise ClosersConfigError(
            f"The connection {conn_id!r} is no database's: its hook is a {type(hook).__name__}, "
            "and no DbApiHook."
        )
    return hook
