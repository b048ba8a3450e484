"""
What Airflow is told of the plugin.

Airflow loads plugins in every process: schedulers, workers, triggerers. Only the API server asks for
``fastapi_apps``, so that the application is built, and FastAPI imported, when it does.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin, conf

#: Where the application is, below the address of Airflow.
URL_PREFIX = "/closers"

#: Airflow 3.1 was the first with views from elsewhere; before it the plugin is there and empty.
HAS_VIEWS = hasattr(AirflowPlugin, "external_views")

# Without a slash in front: they are taken below Airflow's own address, whose path needs not be "/".
_PAGE: dict[str, Any] = {
    "name": "Closers pushes",
    "href": "closers/",
    "destination": "nav",
    "category": "browse",
    "url_route": "closers-pushes",
    "icon": "closers/static/icon.svg",
}
# Ids in the path and not in the query: 3.1 inserts them as they are, and "+" in a query is a space.
_TASK_TAB: dict[str, Any] = {
    "name": "Closers push",
    "href": "closers/push/{DAG_ID}/{RUN_ID}/{TASK_ID}?map_index={MAP_INDEX}&tab=1",
    "destination": "task_instance",
    "url_route": "closers-push",
    "icon": "closers/static/icon.svg",
}


class ClosersPlugin(AirflowPlugin):
    """The page *Closers pushes* and the tab *Closers push*."""

    name = "closers"

    def __init__(self) -> None:
        super().__init__()
        self.external_views = _views() if HAS_VIEWS else []

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override] # Airflow only reads it
        """The application that serves both; built when it is first asked for."""
        if not HAS_VIEWS:
            return []
        from airflow_provider_closers.plugin.app import build_app

        return [{"app": build_app(), "url_prefix": URL_PREFIX, "name": "Closers pushes"}]


def _views() -> list[dict[str, Any]]:
    """Return the views; Airflow can't show a tab on some tasks only, so that it can be left out."""
    has_tab = conf.getboolean("closers", "task_tab", fallback=True)
    return [_PAGE, _TASK_TAB] if has_tab else [_PAGE]
