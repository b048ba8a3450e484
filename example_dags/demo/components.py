"""The components of an Airflow, each a process: scheduler, API server, workers and so on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

from demo.airflow_home import AirflowFailedError
from demo.rest_api import RestApi, RestApiError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

START_TIMEOUT = 120
STOP_TIMEOUT = 15


class Components:
    """
    The running components by name. At the end of the block all are stopped, with all that they started.

    :param environ: Their environment.
    :param logs: The folder for their output, a file for each.
    """

    def __init__(self, environ: dict[str, str], logs: Path) -> None:
        self._environ = environ
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C would leave some of them behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
            _kill_session(process)

    def start(self, command: str, *words: str, name: str | None = None) -> None:
        """
        Start a component in a session of its own, where a Ctrl-C in the terminal does not reach it.

        :param command: What comes after ``airflow``.
        :param words: What comes after that.
        :param name: Its name, where it is not the command's.
        """
        name = name or command
        with self.log(name).open("w", encoding="utf-8") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", command, *words],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill a component with SIGKILL, with all that it started, and be done with it."""
        _kill_session(self._processes.pop(name))

    def started(self, pid: int) -> str | None:
        """Return the name of the component that a process belongs to, ``None`` if to none."""
        try:
            session = os.getsid(pid)
        except ProcessLookupError:
            return None
        return next((name for name, process in self._processes.items() if process.pid == session), None)

    def log(self, name: str) -> Path:
        """Return the file with a component's output."""
        return self._logs / f"{name}.log"

    def check_alive(self) -> None:
        """
        Look whether all components still run.

        :raises AirflowFailedError: One does not.
        """
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise AirflowFailedError(f"Airflow's {name} ended", self.log(name))

    def wait_until_healthy(self, api: RestApi, parts: list[str]) -> None:
        """
        Wait until Airflow says that these parts of it are healthy.

        :raises AirflowFailedError: A component ended, or a part was not healthy within two minutes.
        """

        def are_healthy() -> bool:
            try:
                _, health = api.ask("GET", "/monitor/health")
            except RestApiError:
                return False  # it does not listen yet
            return all(health[part]["status"] == "healthy" for part in parts)

        self.wait_until(are_healthy, START_TIMEOUT, "Airflow did not come up", "api-server")

    def wait_until(self, is_so: Callable[[], bool], seconds: float, otherwise: str, name: str) -> None:
        """
        Wait until something is so.

        :param is_so: Tells whether it is.
        :param seconds: How long to wait, at most.
        :param otherwise: What to say if it did not come true.
        :param name: The component whose log says why, then.
        :raises AirflowFailedError: A component ended, or it was not so in this time.
        """
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise AirflowFailedError(f"{otherwise} within {seconds:.0f} seconds", self.log(name))
            self.check_alive()
            time.sleep(0.2)


def _kill_session(leader: subprocess.Popen[bytes]) -> None:
    """Kill a session's leader, and then whatever it has started, in whichever process group."""
    leader.kill()
    while members := list(filter(_is_in_session(leader.pid), psutil.process_iter(["status"]))):
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
    leader.wait()


def _is_in_session(session: int) -> Callable[[psutil.Process], bool]:
    def is_in_session(process: psutil.Process) -> bool:
        try:
            return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False

    return is_in_session
