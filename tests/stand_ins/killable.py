"""A push and a sync in a process of their own, for a test to kill."""

from __future__ import annotations

import json
import random
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_closers.client import ClosersClient
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.push import saver
from airflow_provider_closers.push.checkpoint import FileCheckpoint
from airflow_provider_closers.push.engine import Push
from airflow_provider_closers.push.journey import Route
from airflow_provider_closers.push.rejects import RejectsFile
from airflow_provider_closers.settings import ClosersSettings
from airflow_provider_closers.storage import whole_file
from airflow_provider_closers.sync.limits import Removal
from airflow_provider_closers.sync.run import Sync
from airflow_provider_closers.sync.snapshot import Snapshot

if TYPE_CHECKING:
    from airflow_provider_closers.sandbox.server import SandboxServer

CONCURRENCY = 4
#: Records under way at once, at most, with this concurrency: see Window.capacity.
WINDOW = 16


def records() -> list[Any]:
    people: list[Any] = [{"email": f"p{i}@acme.io", "first_name": f"P{i}"} for i in range(150)]
    people[40:40] = [{"email": "nobody"}]
    people[90:90] = [{"email": "p3@acme.io", "first_name": "again"}, 7]
    return people


class MarkedCheckpoint(FileCheckpoint):
    """Leaves a mark when it is dropped at the push's end: who is killed after that takes the report along."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "checkpoint.json")
        self._mark = folder / "at its end"

    def save(self, state: dict[str, Any]) -> None:
        if not state:
            self._mark.touch()
        super().save(state)


def push_in_a_process(url: str, operation: str, folder: str) -> None:
    """Push with checkpoint and rejects file; leave the report beside them."""
    # A busy machine is no slow storage, where more than a window may be sent twice.
    saver._SECONDS_OF_A_SLOW_SAVE = 60.0
    checkpoint = MarkedCheckpoint(Path(folder))
    settings = ClosersSettings(api_key="sandbox-key", base_url=url, max_concurrency=CONCURRENCY)
    with RejectsFile(Path(folder, "rejects.jsonl"), keep=bool(checkpoint.load())) as rejects:
        report = Push(
            client=ClosersClient(settings),
            settings=settings,
            route=Route(operation=operation),
            rules=RecordRules(),
            on_reject=rejects,
            checkpoint=checkpoint,
        ).run(records())
    # As a whole: who is killed in the middle of it has left none.
    whole_file(Path(folder, "report.json")).write(json.dumps(report.as_dict()).encode())


def people_of_night(night: int) -> list[dict[str, str]]:
    """A source that changes: some come, some go, some have another name."""
    numbers = range(15 * night, 15 * night + 160)
    return [{"email": f"p{i}@acme.io", "first_name": f"P{i % 7 * (night + i % 2)}"} for i in numbers]


def sync_in_a_process(url: str, night: int, folder: str) -> None:
    """Sync with a snapshot, which the first time is begun; leave the report beside it."""
    settings = ClosersSettings(api_key="sandbox-key", base_url=url, max_concurrency=CONCURRENCY)
    path = Path(folder, "snapshot")
    with closing(ClosersClient(settings)) as client, closing(Snapshot(path, account="sandbox")) as snapshot:
        if path.exists():
            snapshot.load()
        else:
            snapshot.start_over()
        report = Sync(
            client=client,
            settings=settings,
            snapshot=snapshot,
            rules=RecordRules(),
            removal=Removal(on_removed="delete"),
        ).run(people_of_night(night))
    whole_file(Path(folder, f"report-{night}.json")).write(json.dumps(report.as_dict()).encode())


def kill_at_a_random_moment(
    child: Any, sandbox: SandboxServer, sent_before: int, dice: random.Random
) -> None:
    """Kill a process some requests, and some milliseconds, after so many had been sent in all."""
    further = dice.randrange(90)
    while child.is_alive() and sandbox.stats()["requests"]["total"] < sent_before + further:
        time.sleep(0.0005)
    time.sleep(dice.random() * 0.004)
    child.kill()
