"""A long Retry-After frees the worker: the task is deferred, and goes on where it stopped."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_closers.errors import (
    ClosersConfigError,
    ClosersRateLimitError,
    ClosersUnavailableError,
)
from airflow_provider_closers.operators.prospect import CreateProspectOperator
from airflow_provider_closers.transfers.file_to_closers import FileToClosersOperator

pytestmark = pytest.mark.usefixtures("closers_connection")

PEOPLE = [{"email": f"p{i}@acme.io"} for i in range(200)]


class TaskInstance:
    """Stands in for Airflow's; its XComs survive a deferral."""

    task_id = "push"
    map_index = -1
    try_number = 1
    max_tries = 2

    def __init__(self) -> None:
        self.xcoms: dict[str, str] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.dumps(value)

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return json.loads(self.xcoms[key]) if key in self.xcoms else None


class TaskStateStore(dict[str, Any]):
    """Stands in for Airflow's."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)


@pytest.fixture(params=["task state store", "file", "nothing"])
def keeping(request, tmp_path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What keeps a task's checkpoint: parts of its context, and parameters."""
    if request.param == "task state store":
        return {"task_state_store": TaskStateStore()}, {}
    return {}, {"checkpoint_path": str(tmp_path / "checkpoint.json")} if request.param == "file" else {}


def operator(**parameters: Any) -> CreateProspectOperator:
    return CreateProspectOperator(**{"task_id": "push", "prospects": PEOPLE, "retries": 2, **parameters})


@pytest.mark.parametrize("status", [429, 503])
def test_a_deferred_push_goes_on_where_it_stopped_and_reports_the_whole(keeping, sandbox, tmp_path, status):
    sandbox.add_fault("error", status=status, retry_after=3_600, after=120)
    kept, parameters = keeping
    parameters |= {"rejects_path": str(tmp_path / "rejects.jsonl"), "max_rejects": 1}
    people = [{"email": "no"}, *PEOPLE]
    context = {"ti": TaskInstance(), **kept}
    before = datetime.now(UTC)

    with pytest.raises(TaskDeferred) as deferred:
        operator(prospects=people, **parameters).execute(context)
    sent = len(sandbox.journal())
    at_deferral = json.loads(context["ti"].xcoms["return_value"])
    report = operator(prospects=people, **parameters).go_on(context, event=deferred.value.trigger.moment)

    trigger = deferred.value.trigger
    assert timedelta(seconds=3_599) < trigger.moment - before < timedelta(seconds=3_620)
    assert type(trigger).__name__ == "DateTimeTrigger"
    assert deferred.value.method_name == "go_on"
    assert 120 < sent < 200
    assert at_deferral["created"] + at_deferral["unresolved"] + 1 == 201
    assert (report["total"], report["created"], report["rejected"]) == (201, 200, 1)
    assert report["requests"] == len(sandbox.journal())
    answered = Counter(entry.email for entry in sandbox.journal() if entry.status != status)
    assert set(answered.values()) == {1}
    assert len((tmp_path / "rejects.jsonl").read_text().splitlines()) == 1


def test_a_wait_within_the_limit_is_sat_out(sandbox):
    sandbox.add_fault("error", status=429, retry_after=1)

    report = operator(longest_wait=1).execute({"ti": TaskInstance()})

    assert report["created"] == 200
    assert report["throttled"] >= 1


def test_the_limit_is_the_user_s_to_set(sandbox):
    sandbox.add_fault("error", status=429, retry_after=2)

    with pytest.raises(TaskDeferred):
        operator(longest_wait=1).execute({"ti": TaskInstance()})


@pytest.mark.parametrize(("status", "error"), [(429, ClosersRateLimitError), (503, ClosersUnavailableError)])
def test_nobody_is_parked_for_more_than_a_day(sandbox, status, error):
    sandbox.add_fault("error", status=status, retry_after=86_401)

    with pytest.raises(error, match="in 86401 s") as raised:
        operator().execute({"ti": TaskInstance()})

    assert raised.value.retry_after == 86_401


def test_a_push_can_be_deferred_again_and_again(keeping, sandbox):
    kept, parameters = keeping
    context = {"ti": TaskInstance(), **kept}

    sandbox.add_fault("error", status=429, retry_after=600, after=50)
    with pytest.raises(TaskDeferred):
        operator(**parameters).execute(context)
    sandbox.add_fault("error", status=429, retry_after=600, after=20)
    with pytest.raises(TaskDeferred):
        operator(**parameters).go_on(context)
    report = operator(**parameters).go_on(context)

    assert report["created"] == 200
    assert report["requests"] == len(sandbox.journal())


def test_a_transfer_is_deferred_too(keeping, sandbox, tmp_path):
    kept, parameters = keeping
    leads = tmp_path / "leads.csv"
    leads.write_text("email\n" + "".join(f"{person['email']}\n" for person in PEOPLE))
    sandbox.add_fault("error", status=429, retry_after=3_600, after=100)
    context = {"ti": TaskInstance(), **kept}

    def transfer() -> FileToClosersOperator:
        return FileToClosersOperator(task_id="push", path=str(leads), operation="upsert", **parameters)

    with pytest.raises(TaskDeferred):
        transfer().execute(context)
    report = transfer().go_on(context)

    assert report["created"] == 200


@pytest.mark.parametrize("wrong", [-1, 86_401, float("nan"), "300", True])
def test_a_wrong_limit_is_named(sandbox, wrong):
    with pytest.raises(ClosersConfigError, match=r"longest_wait is .*from 0 to 86400"):
        operator(longest_wait=wrong).execute({})

    assert sandbox.journal() == []
