"""What Airflow asks of a provider package: its connection type, hook and operators."""

from __future__ import annotations

from typing import Any

from airflow_provider_closers import __version__
from airflow_provider_closers.settings import DEFAULT_HOST, DEFAULTS

#: The extras as Airflow 3 draws them; the hook draws the same on Airflow 2.11.
CONN_FIELDS: dict[str, dict[str, Any]] = {
    "requests_per_second": {
        "label": "Requests per second",
        "description": "The account's rate. Empty: found by adapting.",
        "schema": {"type": ["number", "null"], "minimum": 0.01, "maximum": 10_000},
    },
    "max_concurrency": {
        "label": "Max concurrency",
        "description": "Requests in flight at once, at most (per task).",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 256},
    },
    "timeout": {
        "label": "Timeout (s)",
        "description": "Seconds for one request, to the last byte of its answer.",
        "schema": {"type": ["number", "null"], "minimum": 0.1, "maximum": 3_600},
    },
    "max_attempts": {
        "label": "Max attempts",
        "description": "Tries of one request before its record is given up.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 100},
    },
    "outage_seconds": {
        "label": "Outage (s)",
        "description": "Seconds without any useful answer after which a push stops.",
        "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 86_400},
    },
    "delete_email_in": {
        "label": "DELETE email in",
        "description": "Where DELETE carries the email; the vendor's page leaves it open.",
        "schema": {"type": ["string", "null"], "enum": ["body", "query"]},
    },
    "ca_bundle": {
        "label": "CA bundle",
        "description": "Path of a private certificate authority's bundle, on the workers.",
        "schema": {"type": ["string", "null"]},
    },
}
for _name, _field in CONN_FIELDS.items():
    _field["schema"]["default"] = DEFAULTS[_name]

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "login"],
    "relabeling": {"host": "Base URL", "password": "API key"},
    "placeholders": {"host": DEFAULT_HOST, "password": "the key alone, without 'Bearer'"},
}


_ASSET_URI = {
    "schemes": ["closers"],
    "handler": "airflow_provider_closers.assets.closers.sanitize_uri",
    "factory": "airflow_provider_closers.assets.closers.create_asset",
    "to_openlineage_converter": "airflow_provider_closers.assets.closers.convert_asset_to_openlineage",
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-closers",
        "name": "Closers",
        "description": "Push prospects into Closers, the cold-email CRM.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Closers",
                "external-doc-url": "https://closershq.io",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": "Closers",
                "python-modules": ["airflow_provider_closers.hooks.closers"],
            }
        ],
        "operators": [
            {
                "integration-name": "Closers",
                "python-modules": [
                    "airflow_provider_closers.operators.prospect",
                    "airflow_provider_closers.operators.sync",
                ],
            }
        ],
        "transfers": [
            {
                "source-integration-name": "SQL",
                "target-integration-name": "Closers",
                "python-module": "airflow_provider_closers.transfers.sql_to_closers",
            },
            {
                "source-integration-name": "Files",
                "target-integration-name": "Closers",
                "python-module": "airflow_provider_closers.transfers.file_to_closers",
            },
        ],
        "asset-uris": [_ASSET_URI],
        "dataset-uris": [_ASSET_URI],  # what Airflow 2 calls them
        "extra-links": [
            "airflow_provider_closers.links.push.PushReportLink",
            "airflow_provider_closers.links.push.RejectsLink",
            "airflow_provider_closers.links.push.ClosersLink",
        ],
        "connection-types": [
            {
                "connection-type": "closers",
                "hook-class-name": "airflow_provider_closers.hooks.closers.ClosersHook",
                "hook-name": "Closers",
                "conn-fields": CONN_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }
