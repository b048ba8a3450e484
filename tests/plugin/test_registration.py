from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from airflow_provider_closers.plugin import registration
from airflow_provider_closers.plugin.registration import HAS_VIEWS, ClosersPlugin

needs_views = pytest.mark.skipif(not HAS_VIEWS, reason="Airflow has views from plugins since 3.1")


def test_airflow_finds_the_plugin_by_its_entry_point():
    [entry_point] = metadata.entry_points(group="airflow.plugins", name="closers")

    assert entry_point.load() is ClosersPlugin


def test_an_airflow_without_views_gets_an_empty_plugin(monkeypatch):
    monkeypatch.setattr(registration, "HAS_VIEWS", False)

    plugin = ClosersPlugin()

    assert plugin.external_views == []
    assert plugin.fastapi_apps == []


def test_loading_the_plugin_imports_nothing_that_serves():
    script = (
        "import sys\n"
        "from airflow.providers.common.compat.sdk import AirflowPlugin, conf\n"
        "before = set(sys.modules)\n"
        "from airflow_provider_closers.plugin.registration import ClosersPlugin\n"
        "ClosersPlugin().external_views if hasattr(ClosersPlugin, 'external_views') else None\n"
        "print(*sorted(set(sys.modules) - before))"
    )

    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )

    # The package itself, the plugin's folder and the module.
    assert set(shown.stdout.split()) <= {
        "airflow_provider_closers",
        "airflow_provider_closers.plugin",
        "airflow_provider_closers.plugin.registration",
    }


@needs_views
def test_views_are_taken_below_the_address_of_airflow():
    views = ClosersPlugin().external_views

    assert [view["destination"] for view in views] == ["nav", "task_instance"]
    assert not [view for view in views if view["href"].startswith(("/", "http"))]


@needs_views
def test_tab_can_be_left_out(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CLOSERS__TASK_TAB", "False")

    views = ClosersPlugin().external_views

    assert [view["destination"] for view in views] == ["nav"]
