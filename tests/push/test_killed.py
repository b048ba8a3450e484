"""A push that is killed with SIGKILL at random moments and run again: nothing lost, nothing counted twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from killable import WINDOW, kill_at_a_random_moment, push_in_a_process, records

from airflow_provider_closers.sandbox.server import SandboxServer

TRIALS = 25


def kill_until_done(
    processes: Any, sandbox: SandboxServer, operation: str, folder: Path, dice: random.Random
) -> int:
    """Run the push, killing it at random moments, until a run gets to its end; return the number of kills."""
    kills = 0
    while not (folder / "at its end").exists():
        child = processes.Process(target=push_in_a_process, args=(sandbox.url, operation, str(folder)))
        sent_before = sandbox.stats()["requests"]["total"]
        child.start()
        if kills < 4:
            kill_at_a_random_moment(child, sandbox, sent_before, dice)
        child.join(30)
        assert child.exitcode in (0, -9)
        kills += child.exitcode == -9
    return kills


@pytest.mark.parametrize("trial", range(TRIALS))
@pytest.mark.parametrize("operation", ["create", "update", "upsert", "delete"])
def test_a_killed_push_settles_each_record_once(processes, sandbox, tmp_path, operation, trial):
    emails = sorted({r["email"] for r in records() if isinstance(r, dict) and "@" in r["email"]})
    if operation != "create":
        sandbox.add_prospects([{"email": email} for email in emails])

    kills = kill_until_done(processes, sandbox, operation, tmp_path, random.Random(f"{operation} {trial}"))

    if not (tmp_path / "report.json").exists():
        return  # Killed after its end: there was nothing left to resume.
    report = json.loads((tmp_path / "report.json").read_text())
    if operation in ("create", "delete"):
        outcome, otherwise = {"create": ("created", "existing"), "delete": ("deleted", "missing")}[operation]
        # p3 is there (or gone) the second time, unless a kill left in doubt which of the two did it.
        assert report[outcome] in (150, 151)
        assert report[outcome] + report[otherwise] == 151
    elif operation == "upsert":
        # What the killed try may have sent, and now exists, may be its own creation: nobody can know.
        assert report["created"] <= kills * WINDOW
        assert report["created"] + report["updated"] == 151
    else:
        assert report["updated"] == 151
    assert (report["rejected"], report["unresolved"]) == (2, 0)
    assert report["total"] == 153
    assert sandbox.count() == (0 if operation == "delete" else 150)

    rejected = [json.loads(line)["index"] for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert sorted(rejected) == [40, 91]
    first_requests = Counter(
        entry.email for entry in sandbox.journal() if operation != "upsert" or entry.method == "POST"
    )
    sent_twice = sum(n - (1 + (email == "p3@acme.io")) for email, n in first_requests.items())
    assert sent_twice <= kills * WINDOW
    assert not (tmp_path / "checkpoint.json").exists()
