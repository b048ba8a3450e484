"""The link from a task to the report of its push."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf


class PushReportLink(BaseOperatorLink):
    """Leads to the push on the plugin's page; empty where Airflow has no such page (before 3.1)."""

    name = "Push report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - as Airflow calls it
        """Return the page's address. A worker computes it, and must not fail over it."""
        # Not at the top: a DAG file that has a push in it needs no plugin.
        from airflow_provider_closers.plugin.registration import HAS_VIEWS, URL_PREFIX

        if not HAS_VIEWS:
            return ""
        airflow = conf.get("api", "base_url", fallback="").rstrip("/")
        instance = "/".join(quote(part, safe="") for part in (ti_key.dag_id, ti_key.run_id, ti_key.task_id))
        return f"{airflow}{URL_PREFIX}/push/{instance}?map_index={ti_key.map_index}"
