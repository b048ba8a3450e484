"""
A server that lasts no longer than who started it, however that ends.

A guard, a process of its own, starts the server and waits for the end of its own input. That comes
when the test run closes it, and also when the run is killed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def unavailable(server: str, reason: str) -> None:
    """Skip, or fail where CLOSERS_TESTS_REQUIRE says that this server is to be there."""
    import pytest  # not at the top: the guard wants to be quick

    if server in os.environ.get("CLOSERS_TESTS_REQUIRE", "").replace(" ", "").split(","):
        pytest.fail(f"CLOSERS_TESTS_REQUIRE names {server}, but {reason}", pytrace=False)
    pytest.skip(reason)


@contextlib.contextmanager
def server_folder(account: str) -> Iterator[Path]:
    """Make a folder for a server; its path is short, since that of a socket must be."""
    folder = Path(tempfile.mkdtemp(prefix="closers-"))
    try:
        shutil.chown(folder, **_owner(account))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: Sequence[str | Path], account: str) -> None:
    """Run a command to its end as the server's account."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **_identity(account),
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}")


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], folder: Path, account: str, *, ready: str, stop: signal.Signals
) -> Iterator[None]:
    """
    Run a server until the end of the block, or of this process.

    :param folder: Its folder, removed when it has ended.
    :param account: Whose process it is to be if this one is root's: servers refuse to be.
    :param ready: What is in the line that the server prints when it can be talked to.
    :param stop: The signal that ends it, the sooner the better: its data is thrown away.
    """
    guard = subprocess.Popen(
        [sys.executable, __file__, folder, account, ready, str(int(stop)), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests; the server is still wanted while they end
    )
    try:
        if guard.stdout.readline() != "ready\n":
            raise RuntimeError(f"{command[0]} did not start:\n{guard.stdout.read()}")
        yield
    finally:
        guard.stdin.close()
        guard.wait(30)
        guard.stdout.close()


def _owner(account: str) -> dict[str, int]:
    """Return who a server's folder belongs to."""
    if os.getuid():
        return {"user": os.getuid()}
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid}


def _identity(account: str) -> dict[str, Any]:
    """Return how a process becomes a server's account."""
    return {} if os.getuid() else {**_owner(account), "extra_groups": []}


def guard(folder: str, account: str, ready: str, stop: str, *command: str) -> None:
    """Start a server, say when it is ready, and end it when our input ends."""
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd="/",
        **_identity(account),
    )
    threading.Thread(target=_end_with_our_input, args=(server, int(stop)), daemon=True).start()
    said = []
    for line in server.stdout:
        if said is not None:
            said.append(line)
            if ready in line:
                _tell("ready\n")
                said = None
    server.wait()
    if said is not None:
        _tell("".join(["\n", *said]))
    shutil.rmtree(folder, ignore_errors=True)


def _tell(text: str) -> None:
    """Tell who started us, if it is still there."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(text)
        sys.stdout.flush()


def _end_with_our_input(server: subprocess.Popen[str], stop: int) -> None:
    sys.stdin.read()
    server.send_signal(stop)


if __name__ == "__main__":
    guard(*sys.argv[1:])
