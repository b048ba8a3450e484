"""Where the benchmarks run: the machine, its cores, and the versions of what is compared."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

_LIBRARIES = (
    "airflow-provider-closers",
    "apache-airflow",
    "apache-airflow-providers-http",
    "apache-airflow-providers-postgres",
    "pandas",
    "pyarrow",
    "requests",
    "urllib3",
    "aiohttp",
    "uvicorn",
    "uvloop",
    "httptools",
)


def _cores() -> list[int]:
    """Return the cores that this process may use; none where the system can't say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


_CORES = _cores()
#: One core for the sandbox and this harness, another for the contender; ``None``: no pinning.
SERVER_CORE, CONTENDER_CORE = (_CORES[0], _CORES[-1]) if len(_CORES) > 1 else (None, None)


def keep_to(core: int | None, pid: int = 0) -> None:
    """Keep a process, by default the own, on one core."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


def description() -> str:
    """Return the lines that stand above the tables."""
    pinning = (
        f"contender on core {CONTENDER_CORE}, sandbox on core {SERVER_CORE}"
        if SERVER_CORE is not None
        else "nothing is pinned to a core"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    libraries = [f"{name} {version(name) or '(not installed)'}" for name in _LIBRARIES]
    load = f"load {os.getloadavg()[0]:.1f} before the start"
    return "\n".join(
        [
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {system}; {pinning}; {load}",
            ", ".join([python, *libraries]),
        ]
    )


def version(distribution: str) -> str | None:
    """Return the version that is installed; ``None``: it is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    if sys.platform == "darwin":
        named = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return named.stdout.strip() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
