"""`make ui`: Airflow's web interface with the examples, and the sandbox with its page, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
from pathlib import Path

from airflow_provider_closers.sandbox.server import SandboxServer
from demo import airflow_home, earlier_import
from demo.airflow_home import LOOPBACK, AirflowFailedError
from demo.components import Components
from demo.rest_api import RestApi

# Not the home of `make demo`: a scheduler would take its runs for ones that it has to finish.
HOME = airflow_home.CHECKOUT / ".airflow"

WELCOME = """
  Airflow   {airflow}   (no password; only this machine gets in)
  Sandbox   {sandbox}   (its prospects and requests; the connection closers_default leads here)

Trigger an example in Airflow and watch the sandbox; at the first start, last night's run of
closers_nightly_leads comes by itself. Ctrl-C stops everything."""


def main(arguments: list[str]) -> int:
    """Serve until Ctrl-C; 0 where that was what ended it."""
    parser = argparse.ArgumentParser(prog="make ui")
    parser.add_argument("--airflow-port", type=int, required=True)
    parser.add_argument("--sandbox-port", type=int, required=True)
    options = parser.parse_args(arguments)

    for name, port in (("AIRFLOW_PORT", options.airflow_port), ("SANDBOX_PORT", options.sandbox_port)):
        if is_taken(port):
            print(f"Port {port} is taken: choose another, as in 'make ui {name}={port + 1}'", file=sys.stderr)
            return 2

    # A closed terminal and a `kill` end it as Ctrl-C does, which a shell's background job would ignore.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        serve(options.airflow_port, options.sandbox_port)
    except AirflowFailedError as e:
        print(f"\n{e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nAll stopped.")
    return 0


def is_taken(port: int) -> bool:
    """Tell whether something listens on a port of this machine."""
    with socket.socket() as probe:
        # As servers do, to start again on a port that was let go a moment ago.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def serve(airflow_port: int, sandbox_port: int) -> None:
    """
    Start everything, say where it is, and watch over it.

    :raises AirflowFailedError: A component of Airflow ended.
    """
    url = f"http://{LOOPBACK}:{airflow_port}"
    airflow_home.migrate(HOME)
    environ = airflow_home.environment(
        HOME,
        # Whoever can reach the port is the administrator, without a password: hence loopback only.
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
        AIRFLOW__API__BASE_URL=url,
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{url}/execution/",
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
        # The Test button of the connection form.
        AIRFLOW__CORE__TEST_CONNECTION="Enabled",
        AIRFLOW__CORE__PARALLELISM="4",
        # Show a changed DAG file soon.
        AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="5",
    )
    api = RestApi(airflow_port)
    with SandboxServer(port=sandbox_port) as sandbox, Components(environ, HOME / "logs") as airflow:
        sandbox.add_prospects(earlier_import.prospects())
        print("Starting Airflow", flush=True)
        airflow.start("api-server", "--host", LOOPBACK, "--port", str(airflow_port))
        airflow.wait_until_healthy(api, ["metadatabase"])
        # Before there is a scheduler, which starts the run of last night as soon as it sees the DAG.
        configure(api, sandbox, Path(environ["CLOSERS_EXAMPLES_HOME"]))
        # One by one, and not by `airflow standalone`: its log servers would listen to the network.
        airflow.start("scheduler", "--skip-serve-logs")
        airflow.start("dag-processor")
        airflow.start("triggerer", "--skip-serve-logs")
        airflow.wait_until_healthy(api, ["scheduler", "dag_processor", "triggerer"])
        print(WELCOME.format(airflow=url, sandbox=sandbox.url), flush=True)
        while True:
            time.sleep(1)
            airflow.check_alive()


def configure(api: RestApi, sandbox: SandboxServer, examples_home: Path) -> None:
    """
    Give Airflow the connections and the pool that the examples need.

    Into its database rather than the environment, which would win over what is changed in the form.
    """
    connection = {
        "connection_id": "closers_default",
        "conn_type": "closers",
        "description": "The sandbox of 'make ui'",
        "host": sandbox.url,
        "password": sandbox.api_key,
        # Airflow 3.3's Test button fails for a stored connection that has none.
        "port": 0,
    }
    api.put("/connections", "closers_default", connection)
    warehouse = {
        "connection_id": "warehouse",
        "conn_type": "sqlite",
        "description": "The leads of the examples",
        "host": str(examples_home / "warehouse.sqlite"),
    }
    api.put("/connections", "warehouse", warehouse)
    pool = {
        "name": "closers_api",
        "slots": 2,
        "include_deferred": False,
        "description": "Pushes into the Closers account at the same time",
    }
    api.put("/pools", "closers_api", pool)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
