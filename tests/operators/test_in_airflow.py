"""The operators inside a real DAG run: mapping, templates, XComs and task states."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).parent / "dags"


@pytest.mark.usefixtures("airflow_db", "closers_connection")
def test_every_way_to_hand_over_prospects_and_to_end_a_task(sandbox, tmp_path):
    # In a process of its own, since Airflow reads its DAGs folder once.
    run = subprocess.run(
        [sys.executable, "-W", "ignore", DAGS / "closers_every_way.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"AIRFLOW__CORE__DAGS_FOLDER": str(DAGS)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    shown = json.loads(run.stdout.splitlines()[-1])

    assert shown["states"] == {
        "extract[-1]": "success",
        "rejects_too_many[-1]": "failed",
        "read_report[-1]": "success",
        "literal[-1]": "success",
        "generator[-1]": "success",
        "empty[-1]": "skipped",
        "mapped[0]": "success",
        "mapped[1]": "success",
        "mapped_records[0]": "success",
        "mapped_records[1]": "success",
        "too_many[-1]": "failed",
        "erased[-1]": "success",
        "template[-1]": "success",
    }
    # The failed task's report can be read downstream.
    assert shown["read"] == 1
    assert {prospect["email"] for prospect in sandbox.prospects()} == {
        "a@acme.io",
        "closers_every_way@acme.io",
        "g0@acme.io",
        "g1@acme.io",
        "g2@acme.io",
        "m0@acme.io",
        "u1@acme.io",
        "u2@acme.io",
    }
    assert {path.name for path in tmp_path.iterdir()} == {
        "rejects_too_many.jsonl",
        "mapped-0.jsonl",
        "mapped-1.jsonl",
    }
    # What an upstream task returned is data, never a template.
    assert "{{ not.a.template }}" in (tmp_path / "rejects_too_many.jsonl").read_text()
    assert sandbox.api_key not in run.stdout + run.stderr
