"""`make ui`: Airflow's web interface with the examples, and the sandbox with its page, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_closers.sandbox.server import SandboxServer
from demo import airflow_home, earlier_import
from demo.airflow_home import LOOPBACK, AirflowFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Not the home of `make demo`: a scheduler would take its runs for ones that it has to finish.
HOME = airflow_home.CHECKOUT / ".airflow"

WELCOME = """
  Airflow   {airflow}   (no password; only this machine gets in)
  Sandbox   {sandbox}   (its prospects and requests; the connection closers_default leads here)

Trigger an example in Airflow and watch the sandbox; at the first start, last night's run of
closers_nightly_leads comes by itself. Ctrl-C stops everything."""

START_TIMEOUT = 120
STOP_TIMEOUT = 15


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
    logs = HOME / "logs"
    logs.mkdir(exist_ok=True)
    with SandboxServer(port=sandbox_port) as sandbox, running_components() as components:

        def start(name: str, *flags: str) -> None:
            components[name] = start_component([name, *flags], environ, logs / f"{name}.log")

        sandbox.add_prospects(earlier_import.prospects())
        print("Starting Airflow", flush=True)
        start("api-server", "--host", LOOPBACK, "--port", str(airflow_port))
        wait_until_healthy(airflow_port, ["metadatabase"], components, logs)
        # Before there is a scheduler, which starts the run of last night as soon as it sees the DAG.
        configure(airflow_port, sandbox, Path(environ["CLOSERS_EXAMPLES_HOME"]))
        # One by one, and not by `airflow standalone`: its log servers would listen to the network.
        start("scheduler", "--skip-serve-logs")
        start("dag-processor")
        start("triggerer", "--skip-serve-logs")
        wait_until_healthy(airflow_port, ["scheduler", "dag_processor", "triggerer"], components, logs)
        print(WELCOME.format(airflow=url, sandbox=sandbox.url), flush=True)
        while True:
            time.sleep(1)
            check_alive(components, logs)


@contextmanager
def running_components() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Hold the components of Airflow by name, and stop them all at the end."""
    components: dict[str, subprocess.Popen[bytes]] = {}
    try:
        yield components
    finally:
        # A second Ctrl-C would leave some of them behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in components.values():
            process.terminate()
        for process in components.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
            # Whatever it has started and not taken along.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def start_component(command: list[str], environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a component in a session of its own, where a Ctrl-C in the terminal does not reach it."""
    with log.open("w", encoding="utf-8") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "airflow", *command],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def check_alive(components: dict[str, subprocess.Popen[bytes]], logs: Path) -> None:
    """
    Look whether all components still run.

    :raises AirflowFailedError: One does not.
    """
    for name, process in components.items():
        if process.poll() is not None:
            raise AirflowFailedError(f"Airflow's {name} ended", logs / f"{name}.log")


def wait_until_healthy(
    airflow_port: int, parts: list[str], components: dict[str, subprocess.Popen[bytes]], logs: Path
) -> None:
    """
    Wait until Airflow says that these parts of it are healthy.

    :raises AirflowFailedError: A component ended, or a part was not healthy within two minutes.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        time.sleep(0.5)
        check_alive(components, logs)
        try:
            _, health = ask(airflow_port, "GET", "/api/v2/monitor/health")
        except OSError:
            continue  # it does not listen yet
        if all(health[part]["status"] == "healthy" for part in parts):
            return
    raise AirflowFailedError("Airflow did not come up", logs / "api-server.log")


def configure(airflow_port: int, sandbox: SandboxServer, examples_home: Path) -> None:
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
    put(airflow_port, "/api/v2/connections", "closers_default", connection)
    warehouse = {
        "connection_id": "warehouse",
        "conn_type": "sqlite",
        "description": "The leads of the examples",
        "host": str(examples_home / "warehouse.sqlite"),
    }
    put(airflow_port, "/api/v2/connections", "warehouse", warehouse)
    pool = {
        "name": "closers_api",
        "slots": 2,
        "include_deferred": False,
        "description": "Pushes into the Closers account at the same time",
    }
    put(airflow_port, "/api/v2/pools", "closers_api", pool)


def put(airflow_port: int, collection: str, name: str, item: dict[str, Any]) -> None:
    """Add an item to one of Airflow's collections, or change the one that an earlier start left."""
    status, answer = ask(airflow_port, "POST", collection, item)
    if status == HTTPStatus.CONFLICT:
        status, answer = ask(airflow_port, "PATCH", f"{collection}/{name}", item)
    if status >= HTTPStatus.BAD_REQUEST:
        raise RuntimeError(f"Airflow refuses {collection}/{name} with {status}: {answer}")


def ask(
    airflow_port: int, method: str, path: str, item: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer of Airflow's REST API."""
    api = HTTPConnection(LOOPBACK, airflow_port, timeout=10)
    with closing(api):
        body = None if item is None else json.dumps(item)
        api.request(method, path, body=body, headers={"Content-Type": "application/json"})
        answer = api.getresponse()
        return answer.status, json.load(answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
