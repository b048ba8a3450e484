"""Links from a push's task to its rejects, and to the CRM."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

log = logging.getLogger(__name__)


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
            base_url = ClosersHook(operator.closers_conn_id).settings.base_url
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
