"""A PostgreSQL server to throw away."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import throwaway

USER = "closers"


@dataclass(frozen=True)
class PostgresqlServer:
    """A running server, reached through a socket in its folder; it asks for no password."""

    folder: Path

    @property
    def airflow_connection(self) -> dict[str, Any]:
        """What to put, as JSON, into an AIRFLOW_CONN_... variable."""
        return {"conn_type": "postgres", "host": str(self.folder), "login": USER, "schema": "postgres"}

    @property
    def conninfo(self) -> str:
        """What libpq takes, and with it each of its drivers."""
        return f"host={self.folder} user={USER} dbname=postgres"

    @property
    def sqlalchemy_url(self) -> str:
        """What SQLAlchemy takes, and Airflow for its own database."""
        return f"postgresql+psycopg2://{USER}@/postgres?host={self.folder}"


@contextlib.contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Start a server; skips where there is none, see :func:`throwaway.unavailable`."""
    folder_with = programs()
    if folder_with is None:
        throwaway.unavailable("postgresql", "PostgreSQL's initdb and postgres are not installed")
    with throwaway.server_folder("postgres") as folder:
        data = folder / "data"
        prepare = [
            folder_with / "initdb",
            "--no-sync",
            "--auth=trust",
            "--locale=C",
            "--encoding=UTF8",
        ]
        throwaway.run([*prepare, f"--username={USER}", f"--pgdata={data}"], "postgres")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "logging_collector": "off",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "100",  # each process of an Airflow may open fifteen
        }
        command = [folder_with / "postgres", "-D", data]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        ready = "ready to accept connections"
        with throwaway.running(command, folder, "postgres", ready=ready, stop=signal.SIGQUIT):
            yield PostgresqlServer(folder)


def programs() -> Path | None:
    """Return where the newest server's programs are; Debian keeps them off the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else Path("/usr/lib/postgresql").glob("*/bin/initdb")
    folders = [initdb.parent for initdb in found if (initdb.parent / "postgres").exists()]
    return max(folders, key=lambda folder: folder.parent.name.zfill(3), default=None)
