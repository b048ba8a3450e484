"""What an import pulls in: Airflow parses DAG files all day."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["requests", "urllib3", "email_validator", "pandas", "polars", "fastapi", "uvicorn", "wtforms"]


def modules_after(code: str) -> set[str]:
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    return set(shown.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module",
    [
        "operators.prospect",
        "operators.sync",
        "transfers.sql_to_closers",
        "transfers.file_to_closers",
        "hooks.closers",
        "get_provider_info",
    ],
)
def test_what_a_dag_file_imports_is_light(module):
    # What Airflow loads itself is no cost of ours: on 2.11 that is half of this list.
    airflow = "import airflow.providers.common.compat.sdk as sdk\nsdk.BaseOperator, sdk.BaseHook, sdk.DAG"

    added = modules_after(f"{airflow}\nbefore = set(sys.modules)\nimport airflow_provider_closers.{module}")

    assert not added & set(HEAVY)
    assert len(added) <= 12


@pytest.mark.parametrize(
    "module", ["errors", "settings", "prospect", "answer", "client", "suppression", "push.engine", "sync.run"]
)
def test_what_stands_left_of_the_hook_needs_no_airflow(module):
    added = modules_after(f"import airflow_provider_closers.{module}")

    assert not {name for name in added if name.split(".")[0] == "airflow"}
    assert not added & {"requests", "email_validator"}


def test_the_sandbox_shares_nothing_with_the_provider():
    added = modules_after("import airflow_provider_closers.sandbox.server")

    ours = {name for name in added if name.startswith("airflow_provider_closers.")}
    assert ours
    assert all(name.startswith("airflow_provider_closers.sandbox") for name in ours)
