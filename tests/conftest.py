"""
What the whole suite stands on: an Airflow of its own, and a Closers to talk to.

Airflow reads its configuration once, when it is first imported, so the environment is set here,
at import, before any test module can pull Airflow in.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mariadb import MariadbServer
    from postgresql import PostgresqlServer

    from airflow_provider_closers.sandbox.server import SandboxServer

EXAMPLE_DAGS = Path(__file__).resolve().parent.parent / "example_dags"
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="closers-tests-"))

# A developer's own AIRFLOW_HOME, database or connections must be neither read nor migrated, and a
# proxy from the environment would stand between the tests and the sandbox on loopback.
for name in list(os.environ):
    if name.startswith("AIRFLOW_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}:
        del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    # On Airflow 3 `dag.test()` knows a DAG only if its file is in here.
    "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLE_DAGS),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    # Seconds; the default is five minutes.
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    # Airflow 2.11 warns for as long as this is not chosen.
    "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",
    # Neither version may phone home from a test run.
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    # The REST API, where a test plays the human that a task waits for, lets anybody in.
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    # The one that Airflow makes up is too short for the liking of its own JWT library, which warns.
    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
}
# As Airflow does with its DAGs folder, so that tests can import what the example DAGs import.
sys.path.append(str(EXAMPLE_DAGS))


@atexit.register
def remove_airflow_home() -> None:
    """Run after Airflow's own exit handlers, which still want their database."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_db() -> Path:
    """A migrated metadata database; the path of its AIRFLOW_HOME."""
    # In a process of its own: the migration leaves engines, loggers and warnings filters behind.
    migrated = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "airflow", "db", "migrate"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if migrated.returncode:
        pytest.fail(f"airflow db migrate failed:\n{migrated.stdout}", pytrace=False)
    return AIRFLOW_HOME


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[SandboxServer]:
    """One sandbox for the whole session; tests want `sandbox`, which empties it first."""
    from airflow_provider_closers.sandbox.server import SandboxServer

    with SandboxServer() as server:
        yield server


@pytest.fixture
def sandbox(sandbox_server: SandboxServer) -> SandboxServer:
    """An empty, well-behaved Closers on a loopback port."""
    sandbox_server.reset()
    return sandbox_server


@pytest.fixture
def closers_connection(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The connection `closers_default`, leading to the sandbox; its id."""
    connection = {"conn_type": "closers", "host": sandbox.url, "password": sandbox.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_CLOSERS_DEFAULT", json.dumps(connection))
    return "closers_default"


@pytest.fixture
def bucket() -> Iterator[str]:
    """A bucket in an object store, in memory, that Airflow knows of; its URI."""
    import fsspec
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    memory = fsspec.filesystem("memory")
    _empty(memory)
    # Airflow's own door to its file systems; it is elsewhere in each version.
    sys.modules[ObjectStoragePath.__module__].attach(protocol="memory", fs=memory)
    yield "memory://bucket"
    _empty(memory)


def _empty(memory: Any) -> None:
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]  # its folders


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server, for the whole session."""
    from postgresql import postgresql_server

    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    """A MariaDB server, for the whole session."""
    from mariadb import mariadb_server

    with mariadb_server() as server:
        yield server


# Plain modules that tests import, and so do the processes that tests start.
sys.path.append(str(Path(__file__).resolve().parent / "stand_ins"))


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that start in milliseconds: forked from one that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killable", "airflow_provider_closers.connections", "email_validator"])
    return context
