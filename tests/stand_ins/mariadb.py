"""A MariaDB server to throw away."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import throwaway

USER = "closers"
DATABASE = "test"


@dataclass(frozen=True)
class MariadbServer:
    """A running server, reached through a socket in its folder; it asks for no password."""

    folder: Path

    @property
    def arguments(self) -> dict[str, Any]:
        """What pymysql's ``connect`` takes."""
        return {"unix_socket": str(self.folder / "socket"), "user": USER, "database": DATABASE}


@contextlib.contextmanager
def mariadb_server() -> Iterator[MariadbServer]:
    """Start a server; skips where there is none, see :func:`throwaway.unavailable`."""
    # Debian keeps the server in a folder that only root's PATH has.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    install, server = (shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd"))
    if not (install and server):
        throwaway.unavailable("mariadb", "MariaDB's mariadb-install-db and mariadbd are not installed")
    with throwaway.server_folder("mysql") as folder:
        data = folder / "data"
        begin = folder / "begin.sql"
        begin.write_text(
            f"CREATE DATABASE {DATABASE};\n"
            f"CREATE USER {USER}@localhost;\n"
            f"GRANT ALL ON *.* TO {USER}@localhost;\n"
        )
        begin.chmod(0o644)
        prepare = [install, "--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]
        throwaway.run([*prepare, f"--datadir={data}"], "mysql")
        command = [server, "--no-defaults", f"--datadir={data}", f"--socket={folder / 'socket'}"]
        command += [f"--pid-file={folder / 'pid'}", f"--init-file={begin}", "--skip-networking"]
        command += ["--skip-log-bin", "--innodb-flush-log-at-trx-commit=0"]
        # There is nothing in it to be saved, so there is nothing to wait for.
        with throwaway.running(command, folder, "mysql", ready="ready for connections", stop=signal.SIGKILL):
            yield MariadbServer(folder)
