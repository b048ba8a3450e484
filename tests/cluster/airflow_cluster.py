"""An Airflow with PostgreSQL, Redis and Celery workers that lasts no longer than its check."""

from __future__ import annotations

import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import postgresql
import redis_broker
from demo import airflow_home
from demo.airflow_home import LOOPBACK
from demo.components import Components
from demo.rest_api import RestApi

HOME = airflow_home.CHECKOUT / ".cluster"
LOGS = HOME / "logs"

WORKERS = ("worker-1", "worker-2")
#: How many tasks a worker runs at once.
WORKER_CONCURRENCY = 2
#: Seconds of silence after which Airflow gives a task up for lost.
HEARTBEAT_TIMEOUT = 15
START_TIMEOUT = 120


@dataclass(frozen=True)
class Cluster:
    """A running Airflow: its processes, and its REST API."""

    components: Components
    api: RestApi

    def wait_until_it_knows(self, dag_id: str) -> None:
        """
        Wait until a DAG can be run.

        :raises AirflowFailedError: A component ended, or Airflow does not find the DAG.
        """

        def knows() -> bool:
            status, _ = self.api.ask("GET", f"/dags/{dag_id}")
            return status == HTTPStatus.OK

        self.components.wait_until(knows, START_TIMEOUT, f"Airflow did not find {dag_id}", "dag-processor")


def missing_packages() -> list[str]:
    """Return the Debian packages of the servers that this machine has not."""
    there = {"postgresql": postgresql.programs(), "redis-server": shutil.which("redis-server")}
    return [package for package, program in there.items() if program is None]


@contextmanager
def airflow_cluster() -> Iterator[Cluster]:
    """
    Start everything, and stop it at the end of the block.

    :raises AirflowFailedError: A component ended, or did not come up.
    """
    shutil.rmtree(HOME, ignore_errors=True)
    with postgresql.postgresql_server() as database, redis_broker.redis_server() as broker:
        port = free_port()
        settings = settings_of(port, database.sqlalchemy_url, broker.broker_url)
        airflow_home.migrate(HOME, **settings)
        with Components(airflow_home.environment(HOME, **settings), LOGS) as components:
            cluster = Cluster(components, RestApi(port))
            start(cluster, port)
            yield cluster


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return probe.getsockname()[1]


def settings_of(port: int, database_url: str, broker_url: str) -> dict[str, str]:
    """Return Airflow's settings, as environment variables."""
    url = f"http://{LOOPBACK}:{port}"
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url,
        "AIRFLOW__CELERY__BROKER_URL": broker_url,
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(WORKER_CONCURRENCY),
        # A day, which is the provider's default for a broker that is reached through a port: the message
        # of a task whose worker is killed does not come back. It is the scheduler that tries again.
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        # Whoever can reach the port is the administrator, without a password: hence loopback only.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        # Usually five minutes.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    }


def start(cluster: Cluster, port: int) -> None:
    """Start the components, and wait until each is ready."""
    components = cluster.components
    components.start("api-server", "--host", LOOPBACK, "--port", str(port))
    components.wait_until_healthy(cluster.api, ["metadatabase"])
    # Their log servers would listen to the network.
    components.start("scheduler", "--skip-serve-logs")
    components.start("dag-processor")
    components.start("triggerer", "--skip-serve-logs")
    for worker in WORKERS:
        components.start("celery", "worker", "--celery-hostname", worker, "--skip-serve-logs", name=worker)
    components.wait_until_healthy(cluster.api, ["scheduler", "dag_processor", "triggerer"])
    for worker in WORKERS:

        def is_ready(worker: str = worker) -> bool:
            return f"{worker} ready" in components.log(worker).read_text("utf-8", "replace")

        components.wait_until(is_ready, START_TIMEOUT, f"{worker} was not ready", worker)
