"""What Airflow learns of the package, asked the way it asks."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_closers.get_provider_info import CONN_FIELDS, get_provider_info
from airflow_provider_closers.hooks.closers import ClosersHook
from airflow_provider_closers.settings import DEFAULTS

IS_AIRFLOW_2 = importlib.metadata.version("apache-airflow").startswith("2.")


def airflow_says(*arguments: str) -> str:
    """Run the command line as a user does, in a wide terminal."""
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "airflow", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "300"},
    )
    return shown.stdout


def test_the_entry_point_leads_to_the_provider_info():
    (entry_point,) = [
        entry_point
        for entry_point in importlib.metadata.entry_points(group="apache_airflow_provider")
        if entry_point.value.startswith("airflow_provider_closers.")
    ]

    assert entry_point.load() is get_provider_info


def test_the_info_keeps_airflow_s_schema():
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())

    jsonschema.validate(get_provider_info(), schema)


def test_everything_that_the_info_names_can_be_imported():
    info = get_provider_info()

    for kind in ("hooks", "operators"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                importlib.import_module(module)
    for name in info["extra-links"]:
        module, _, link = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), link), BaseOperatorLink)
    for kind in ("asset-uris", "dataset-uris"):
        for named in (info[kind][0][part] for part in ("handler", "factory", "to_openlineage_converter")):
            module, _, function = named.rpartition(".")
            assert callable(getattr(importlib.import_module(module), function))
    (connection_type,) = info["connection-types"]
    assert connection_type["hook-class-name"] == f"{ClosersHook.__module__}.{ClosersHook.__name__}"
    assert connection_type["connection-type"] == ClosersHook.conn_type


def test_each_extra_has_a_field_with_its_default():
    assert {name: field["schema"]["default"] for name, field in CONN_FIELDS.items()} == DEFAULTS


@pytest.mark.usefixtures("airflow_db")
def test_airflow_s_command_line_knows_the_provider():
    assert "airflow-provider-closers" in airflow_says("providers", "list")
    assert f"{ClosersHook.__module__}.ClosersHook" in airflow_says("providers", "hooks")
    assert "Closers" in airflow_says("providers", "get", "airflow-provider-closers", "--full")


@pytest.mark.skipif(not IS_AIRFLOW_2, reason="Airflow 3 draws its form from the provider info")
@pytest.mark.usefixtures("airflow_db")
def test_airflow_2_draws_the_form_from_the_hook():
    widgets = airflow_says("providers", "widgets")
    behaviours = airflow_says("providers", "behaviours")

    assert all(f"extra__closers__{name}" in widgets for name in CONN_FIELDS)
    assert "closers" in behaviours
    assert ClosersHook.get_ui_field_behaviour()["relabeling"] == {"host": "Base URL", "password": "API key"}
