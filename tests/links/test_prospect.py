"""The links of a push's task."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_closers.links import prospect as module
from airflow_provider_closers.links.prospect import ClosersLink, RejectsLink


def rejects_link(monkeypatch: pytest.MonkeyPatch, report: Any) -> str:
    monkeypatch.setattr(module, "XCom", SimpleNamespace(get_value=lambda **_: report))
    return RejectsLink().get_link(None, ti_key=None)


@pytest.mark.parametrize(
    ("path", "page"),
    [
        (
            "s3://aws@lake/rejects/run 7.jsonl",
            "https://console.aws.amazon.com/s3/object/lake?prefix=rejects%2Frun%207.jsonl",
        ),
        (
            "gs://lake/rejects/7.jsonl",
            "https://console.cloud.google.com/storage/browser/_details/lake/rejects/7.jsonl",
        ),
        ("https://files.example.com/7.jsonl", "https://files.example.com/7.jsonl"),
        ("file:///tmp/7.jsonl", ""),
        (None, ""),
    ],
    ids=["S3", "Google", "web", "a worker's disk", "no rejects"],
)
def test_rejects_lead_to_the_page_that_their_storage_has_for_them(monkeypatch, path, page):
    assert rejects_link(monkeypatch, {"rejects_path": path}) == page


@pytest.mark.parametrize("report", [None, "text", {}], ids=["none", "another's", "without a path"])
def test_without_a_report_there_is_no_link_and_no_error(monkeypatch, report):
    assert rejects_link(monkeypatch, report) == ""


@pytest.mark.parametrize(
    ("connection", "page"),
    [
        ({"host": "http://127.0.0.1:8765"}, "http://127.0.0.1:8765/"),
        ({}, "https://closershq.io"),
        ({"host": "no host"}, ""),
    ],
    ids=["sandbox", "account", "unusable connection"],
)
def test_closers_leads_to_the_sandbox_s_page_or_to_the_vendor(monkeypatch, connection, page):
    fields = {"conn_type": "closers", "password": "key-123"} | connection
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(fields))

    assert ClosersLink().get_link(SimpleNamespace(closers_conn_id="crm"), ti_key=None) == page
