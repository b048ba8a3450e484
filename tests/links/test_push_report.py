from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_closers.links.push_report import PushReportLink
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
