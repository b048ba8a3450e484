"""The links of a push's task."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_closers.links import push as module
from airflow_provider_closers.links.push import ClosersLink, PushReportLink, RejectsLink
from airflow_provider_closers.plugin import registration

KEY = SimpleNamespace(
    dag_id="leads", run_id="manual__2026-11-27T01:00:00+00:00", task_id="group.push", map_index=3
)


@pytest.mark.parametrize(
    ("base_url", "below"),
    [("https://airflow.acme.io/team/", "https://airflow.acme.io/team"), ("", "")],
    ids=["base_url", "no_base_url"],
)
def test_link_leads_to_the_page_of_the_push(base_url, below, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    monkeypatch.setattr(registration, "HAS_VIEWS", True)

    link = PushReportLink().get_link(None, ti_key=KEY)

    assert link == (
        f"{below}/closers/push/leads/manual__2026-11-27T01%3A00%3A00%2B00%3A00/group.push?map_index=3"
    )


def test_link_is_empty_where_airflow_has_no_such_page(monkeypatch):
    monkeypatch.setattr(registration, "HAS_VIEWS", False)

    assert PushReportLink().get_link(None, ti_key=KEY) == ""


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


def test_closers_is_found_for_a_mapped_task_as_airflow_2_has_it_in_its_web_server(monkeypatch):
    connection = {"conn_type": "closers", "password": "key-123", "host": "http://127.0.0.1:8765"}
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(connection))
    mapped = SimpleNamespace(closers_conn_id=None, partial_kwargs={"closers_conn_id": "crm"})

    assert ClosersLink().get_link(mapped, ti_key=None) == "http://127.0.0.1:8765/"
