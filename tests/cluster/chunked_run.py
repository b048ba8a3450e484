"""One run of the example `closers_chunked_leads`, as Airflow's REST API shows it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from demo.rest_api import RestApi

DAG_ID = "closers_chunked_leads"
POOL = "closers_api"
PUSH = "push_chunk"


@dataclass(frozen=True)
class ChunkPush:
    """What one of the mapped tasks was given, and what came of it."""

    map_index: int
    leads: list[dict[str, Any]]
    report: dict[str, Any]
    tries: int
    #: What the last try said of how far an earlier one had come, if there was one.
    resumed: str | None


class ChunkedRun:
    """
    A run that begins now.

    :param api: Of an Airflow that knows the example.
    """

    def __init__(self, api: RestApi) -> None:
        self._api = api
        api.ask("PATCH", f"/dags/{DAG_ID}", {"is_paused": False})
        run_id = api.post(f"/dags/{DAG_ID}/dagRuns", {"logical_date": None})["dag_run_id"]
        self._path = f"/dags/{DAG_ID}/dagRuns/{run_id}"

    def state(self) -> str:
        """Return the run's state, such as ``running``, ``success`` or ``failed``."""
        return self._api.get(self._path)["state"]

    def task_states(self) -> str:
        """Return the state of each task, to be printed."""
        return ", ".join(f"{t['task_id']}[{t['map_index']}] {t['state']}" for t in self._task_instances())

    def running(self) -> dict[int, int]:
        """Return the process of each push that Airflow takes for running, by map index."""
        return {
            task["map_index"]: task["pid"]
            for task in self._task_instances()
            if task["task_id"] == PUSH and task["state"] == "running" and task["pid"]
        }

    @cached_property
    def chunks(self) -> list[list[dict[str, Any]]]:
        """What the mapped tasks were given, each its leads; known as soon as they run."""
        return self._returned("chunks")

    def pushes(self) -> list[ChunkPush]:
        """Return what came of the mapped tasks, in their order, after the run's end."""
        tries = {t["map_index"]: t["try_number"] for t in self._task_instances() if t["task_id"] == PUSH}
        return [
            ChunkPush(i, leads, self._returned(PUSH, i), tries[i], self._resumed(i, tries[i]))
            for i, leads in enumerate(self.chunks)
        ]

    def _task_instances(self) -> list[dict[str, Any]]:
        return self._api.get(f"{self._path}/taskInstances")["task_instances"]

    def _returned(self, task_id: str, map_index: int = -1) -> Any:
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries/return_value?map_index={map_index}"
        return self._api.get(path)["value"]

    def _resumed(self, map_index: int, try_number: int) -> str | None:
        log = self._api.get(f"{self._path}/taskInstances/{PUSH}/logs/{try_number}?map_index={map_index}")
        return next((line["event"] for line in log["content"] if "Resumed:" in line["event"]), None)
