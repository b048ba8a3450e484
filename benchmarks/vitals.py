"""CPU time and memory of a process; of others than the own only where there is a ``/proc``."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path


def rss(pid: int | None = None) -> int:
    """
    Return the memory in use, in bytes; 0 where it can't be known.

    :param pid: The process; ``None``: the own.
    """
    return _status("VmRSS", pid) or (_highest_ever() if pid is None else 0)


def peak_rss() -> int:
    """Return the most memory that this process has had in use, in bytes."""
    # The resource module's figure is inherited: it may be that of the process that started this one.
    return _status("VmHWM", None) or _highest_ever()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used; 0 where it can't be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _status(name: str, pid: int | None) -> int:
    try:
        status = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _highest_ever() -> int:
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
