"""A sync that is killed with SIGKILL at random moments: the CRM follows the source all the same."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest
from killable import people_of_night, sync_in_a_process

from airflow_provider_closers.sandbox.server import SandboxServer

NIGHTS = 4


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that start in milliseconds: forked from one that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killable", "airflow_provider_closers.connections", "email_validator"])
    return context


def start(processes: Any, sandbox: SandboxServer, night: int, folder: Path) -> Any:
    child = processes.Process(target=sync_in_a_process, args=(sandbox.url, night, str(folder)))
    child.start()
    return child


def kill_at_a_random_moment(child: Any, sandbox: SandboxServer, dice: random.Random) -> None:
    before = sandbox.stats()["requests"]["total"]
    further = dice.randrange(90)
    while child.is_alive() and sandbox.stats()["requests"]["total"] < before + further:
        time.sleep(0.0005)
    time.sleep(dice.random() * 0.004)
    child.kill()
    child.join(30)
    assert child.exitcode in (0, -9)


@pytest.mark.parametrize("trial", range(6))
def test_the_crm_follows_although_each_night_is_killed(processes, sandbox, tmp_path, trial):
    dice = random.Random(trial)
    for night in range(NIGHTS):
        for _ in range(dice.randrange(3)):
            kill_at_a_random_moment(start(processes, sandbox, night, tmp_path), sandbox, dice)

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
