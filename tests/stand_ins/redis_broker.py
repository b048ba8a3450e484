"""A Redis server to throw away."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import throwaway


@dataclass(frozen=True)
class RedisServer:
    """A running server, reached through a socket in its folder; it asks for no password."""

    folder: Path

    @property
    def broker_url(self) -> str:
        """What Celery takes."""
        return f"redis+socket://{self.folder / 'socket'}"


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Start a server; skips where there is none, see :func:`throwaway.unavailable`."""
    program = shutil.which("redis-server")
    if program is None:
        throwaway.unavailable("redis", "redis-server is not installed")
    with throwaway.server_folder("redis") as folder:
        settings = {
            "port": "0",  # the socket alone
            "unixsocket": str(folder / "socket"),
            "dir": str(folder),
            "save": "",
            "appendonly": "no",
        }
        command = [program, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        ready = "ready to accept connections"
        # There is nothing in it to be saved, so there is nothing to wait for.
        with throwaway.running(command, folder, "redis", ready=ready, stop=signal.SIGKILL):
            yield RedisServer(folder)
