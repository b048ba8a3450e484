"""An Airflow for the contenders that need one; the user's own is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DAGS = CHECKOUT / "benchmarks" / "contenders" / "dags"
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def environment(home: Path) -> dict[str, str]:
    """
    Return the environment for a contender.

    :param home: The AIRFLOW_HOME.
    """
    own = {
        name: value
        for name, value in os.environ.items()
        # A proxy would stand between a contender and the sandbox on loopback.
        if not name.startswith("AIRFLOW_") and name.lower() not in _PROXIES
    }
    return own | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # Airflow 2.11 warns for as long as this is not chosen.
        "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONWARNINGS": "ignore",
    }


def migrate(home: Path) -> None:
    """
    Create the metadata database, unless it is there.

    :raises RuntimeError: Airflow could not; its words are in the message.
    """
    stamp = home / "migrated"
    if stamp.exists():
        return
    migrated = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment(home),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if migrated.returncode:
        raise RuntimeError(f"airflow db migrate failed:\n{migrated.stdout}{migrated.stderr}")
    stamp.touch()
