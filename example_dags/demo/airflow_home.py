"""An Airflow that lives in a folder of the checkout and leaves the user's own alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE_DAGS = CHECKOUT / "example_dags"
LOOPBACK = "127.0.0.1"


class AirflowFailedError(Exception):
    """An Airflow process ended as it should not; its log says why."""

    def __init__(self, what: str, log: Path) -> None:
        super().__init__(what, log)
        self.what = what
        self.log = log

    def __str__(self) -> str:
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            tail = "".join(deque(lines, maxlen=30))
        return f"{self.what}. The end of {self.log}:\n\n{tail}"


def environment(home: Path, **settings: str) -> dict[str, str]:
    """
    Return the environment for this Airflow's processes.

    :param home: Its AIRFLOW_HOME.
    :param settings: Further variables.
    """
    # Whatever the user has set for an Airflow of their own, its database above all, stays out of this.
    own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    # A proxy knows nothing of our loopback.
    no_proxy = ",".join(filter(None, [own.get("NO_PROXY") or own.get("no_proxy"), LOOPBACK, "localhost"]))
    return own | {
        "AIRFLOW_HOME": str(home),
        "CLOSERS_EXAMPLES_HOME": own.get("CLOSERS_EXAMPLES_HOME", str(home / "closers-examples")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLE_DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Seconds. Nobody wants to watch the usual five minutes pass.
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "5",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONWARNINGS": "ignore",
        **settings,
    }


def migrate(home: Path, **settings: str) -> None:
    """
    Create or upgrade the metadata database, unless this version of Airflow did so before.

    :param home: Its AIRFLOW_HOME.
    :param settings: Further variables.
    :raises AirflowFailedError: Airflow could not.
    """
    stamp, version = home / "migrated", metadata.version("apache-airflow")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == version:
        return
    home.mkdir(parents=True, exist_ok=True)
    print(f"Creating the database of Airflow {version} (once)", flush=True)
    run_to_end(
        "airflow db migrate",
        ["-m", "airflow", "db", "migrate"],
        environment(home, **settings),
        home / "migrate.log",
    )
    stamp.write_text(version, encoding="utf-8")


def run_to_end(what: str, arguments: list[str], environ: dict[str, str], log: Path) -> None:
    """
    Run a Python process whose output goes to a file.

    :raises AirflowFailedError: It ended with an error, or not at all within five minutes.
    """
    with log.open("w", encoding="utf-8") as output:
        try:
            subprocess.run(
                [sys.executable, *arguments],
                env=environ,
                cwd=EXAMPLE_DAGS,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=300,
                check=True,
            )
        except subprocess.CalledProcessError as e:
            raise AirflowFailedError(f"{what} failed", log) from e
        except subprocess.TimeoutExpired as e:
            raise AirflowFailedError(f"{what} did not end within five minutes", log) from e
