"""A sync that is killed with SIGKILL at random moments: the CRM follows the source all the same."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from killable import kill_at_a_random_moment, people_of_night, sync_in_a_process

from airflow_provider_closers.sandbox.server import SandboxServer

NIGHTS = 4


def start(processes: Any, sandbox: SandboxServer, night: int, folder: Path) -> Any:
    child = processes.Process(target=sync_in_a_process, args=(sandbox.url, night, str(folder)))
    child.start()
    return child


def start_and_kill(
    processes: Any, sandbox: SandboxServer, night: int, folder: Path, dice: random.Random
) -> None:
    child = start(processes, sandbox, night, folder)
    kill_at_a_random_moment(child, sandbox, sandbox.stats()["requests"]["total"], dice)
    child.join(30)
    assert child.exitcode in (0, -9)


@pytest.mark.parametrize("trial", range(6))
def test_the_crm_follows_although_each_night_is_killed(processes, sandbox, tmp_path, trial):
    dice = random.Random(trial)
    for night in range(NIGHTS):
        for _ in range(dice.randrange(3)):
            start_and_kill(processes, sandbox, night, tmp_path, dice)

    last = start(processes, sandbox, NIGHTS - 1, tmp_path)
    last.join(30)

    assert last.exitcode == 0
    report = json.loads((tmp_path / f"report-{NIGHTS - 1}.json").read_text())
    assert report["total"] == report["read"] + report["removed"]
    assert report["rejected"] == report["unresolved"] == 0
    people = {person["email"]: person["first_name"] for person in people_of_night(NIGHTS - 1)}
    assert {prospect["email"]: prospect["firstName"] for prospect in sandbox.prospects()} == people
    # What was to take a file's place when it was killed is removed some seconds later.
    assert {path.suffix for path in tmp_path.iterdir()} - {".part"} == {"", ".json"}
