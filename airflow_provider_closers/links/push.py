"""Links from a push's task to its report, to its rejects, and to the CRM."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom, conf

log = logging.getLogger(__name__)


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


class RejectsLink(BaseOperatorLink):
    """Leads to the rejects' file, where its storage has a page for it (S3, Google, a web server)."""

    name = "Rejects"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - the XCom says it
        """Return the page's address; empty where there are no rejects, or no page."""
        try:
            report = XCom.get_value(ti_key=ti_key, key="return_value")
            return page_of(report["rejects_path"]) if isinstance(report, dict) else ""
        except Exception:  # a link must not fail the task
            log.debug("There is no link to the rejects.", exc_info=True)
            return ""


class ClosersLink(BaseOperatorLink):
    """Leads to the CRM: to the vendor's site, or to the sandbox's page where that is what is pushed to."""

    name = "Closers"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - all tries have one
        """Return the address; empty where the connection can't be read."""
        from airflow_provider_closers.hooks.closers import ClosersHook

        try:
            # Airflow 2 asks in the web server, where a mapped task has what it shares in `partial_kwargs`.
            shared = getattr(operator, "partial_kwargs", {})
            conn_id = (
                operator.closers_conn_id or shared.get("closers_conn_id") or ClosersHook.default_conn_name
            )
            base_url = ClosersHook(conn_id).settings.base_url
        except Exception:  # a link must not fail the task
            log.debug("There is no link to Closers.", exc_info=True)
            return ""
        # Only a sandbox is talked to without TLS. Of the vendor's own site no page is documented.
        return f"{base_url}/" if base_url.startswith("http://") else "https://closershq.io"


def page_of(path: str | None) -> str:
    """Return the address at which a browser shows a file, empty where there is none."""
    parts = urlsplit(path or "")
    bucket, key = parts.netloc.rpartition("@")[2], parts.path.lstrip("/")
    match parts.scheme:
        case "http" | "https":
            return path or ""
        case "s3" | "s3a":
            return f"https://console.aws.amazon.com/s3/object/{bucket}?prefix={quote(key, safe='')}"
        case "gs" | "gcs":
            return f"https://console.cloud.google.com/storage/browser/_details/{bucket}/{quote(key)}"
        case _:
            return ""
