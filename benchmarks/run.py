"""One run of one contender, seen from the harness."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.airflow_home import CHECKOUT, environment
from benchmarks.contenders.job import Job
from benchmarks.server import Server

# Beyond the time that it is given records for.
_SECONDS_TO_FINISH = 1_800


class ContenderFailedError(Exception):
    """A contender ended as it should not, or the sandbox saw something else than it says."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """
    What a run came to.

    :param taken: Records that the contender took.
    :param delivered: Prospects that the contender takes for created; the sandbox agrees.
    :param seconds: How long it took.
    :param cpu_seconds: The contender's CPU time.
    :param idle: Its memory before it began, in bytes.
    :param peak: Its memory at the highest.
    :param memory: Its memory when so many per cent of the records had been taken, where their number
        was known.
    :param server_cpu_seconds: The sandbox's CPU time; 0 where it can't be known.
    """

    taken: int
    delivered: int
    seconds: float
    cpu_seconds: float
    idle: int
    peak: int
    memory: dict[str, int]
    server_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.delivered / self.seconds


def run(job: Job, server: Server, home: Path, meanwhile: Callable[[], None] | None = None) -> Measured:
    """
    Run a contender.

    :param job: What it is to do.
    :param server: Where it does so.
    :param home: The AIRFLOW_HOME, where its log is, too.
    :param meanwhile: What to do after the start.
    :raises ContenderFailedError: It failed, or the sandbox holds another number of prospects.
    """
    log = home / f"{job.contender}.log"
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contenders", json.dumps(asdict(job))],
            env=environment(home),
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            used = server.cpu_seconds()
            if ready:
                process.stdin.write("go\n")
                process.stdin.flush()
                if meanwhile is not None:
                    meanwhile()
            said, _ = process.communicate(timeout=(job.seconds or 0) + _SECONDS_TO_FINISH)
        finally:
            process.kill()  # where it has not ended by itself
    if process.returncode:
        raise ContenderFailedError(f"{job.contender} failed. Its log:\n\n{_end_of(log)}")
    measured = Measured(**json.loads(said), server_cpu_seconds=server.cpu_seconds() - used)
    if (there := server.prospects()) != measured.delivered:
        raise ContenderFailedError(
            f"{job.contender} says it created {measured.delivered} prospects; the sandbox has {there}."
        )
    return measured


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
