"""Watches a run of the example, and which worker does what."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable

from demo.airflow_home import AirflowFailedError
from demo.components import Components

from tests.cluster.chunked_run import ChunkedRun

_SECONDS_BETWEEN_LOOKS = 0.3


class Watch:
    """
    What is seen of a run from its start on.

    :param run: The run.
    :param components: The Airflow that it runs on.
    :param seconds: How long the run may take.
    """

    def __init__(self, run: ChunkedRun, components: Components, seconds: float) -> None:
        self._run = run
        self._components = components
        self._seconds = seconds
        self._began = time.monotonic()
        self.state = "queued"
        #: The pushes that Airflow takes for running, by map index; and how many there were at most.
        self.running: frozenset[int] = frozenset()
        self.most_running = 0
        #: Those that were killed, and that Airflow has taken for running ever since.
        self.unnoticed: frozenset[int] = frozenset()
        #: By map index, the workers that a push was seen on, in their order.
        self.workers: dict[int, list[str]] = defaultdict(list)

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return time.monotonic() - self._began

    def until(self, is_so: Callable[[], bool]) -> None:
        """
        Watch until something is so.

        :raises AirflowFailedError: A component ended, the run ended before, or it takes too long.
        """
        self._look()
        while not is_so():
            if self.state in ("failed", "success") or self.seconds > self._seconds:
                what = f"After {self.seconds:.0f} seconds the run is {self.state}: {self._run.task_states()}"
                raise AirflowFailedError(what, self._components.log("scheduler"))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            self._look()

    def kill_busiest_worker(self) -> tuple[str, frozenset[int]]:
        """Kill the worker with most pushes, its task processes too; return its name, and the pushes."""
        at = {index: self.workers[index][-1] for index in self.running}
        ((worker, _),) = Counter(at.values()).most_common(1)
        self._components.kill(worker)
        self.unnoticed = frozenset(index for index in at if at[index] == worker)
        return worker, self.unnoticed

    def _look(self) -> None:
        self._components.check_alive()
        self.state = self._run.state()
        processes = self._run.running()
        self.running = frozenset(processes)
        self.unnoticed &= self.running
        self.most_running = max(self.most_running, len(processes))
        for index, pid in processes.items():
            # The process of a push that was killed belongs to nobody any more.
            worker = self._components.started(pid)
            if worker and worker not in self.workers[index][-1:]:
                self.workers[index].append(worker)
