"""Time, CPU and memory of this process's run."""

from __future__ import annotations

import time

from benchmarks import vitals


class Stopwatch:
    """Measures from its last start on."""

    def start(self) -> None:
        """Start, or start over."""
        self._idle = vitals.rss()
        self._cpu = time.process_time()
        self._began = time.monotonic()

    def read(self) -> dict[str, float]:
        """Return seconds, CPU seconds, and the memory at the start and at its highest, in bytes."""
        return {
            "seconds": time.monotonic() - self._began,
            "cpu_seconds": time.process_time() - self._cpu,
            "idle": self._idle,
            "peak": vitals.peak_rss(),
        }


#: The process's own. A DAG that this process runs starts it over when its preliminaries are done.
STOPWATCH = Stopwatch()
