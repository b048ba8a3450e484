"""A task's next try goes on where the last one stopped; a cleared task starts afresh."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from typing import Any

import pytest

from airflow_provider_closers.errors import ClosersAuthError, PushStoppedError
from airflow_provider_closers.operators.prospect import CreateProspectOperator, DeleteProspectOperator

pytestmark = pytest.mark.usefixtures("closers_connection")

PEOPLE = [{"email": f"p{i}@acme.io"} for i in range(200)]


class TaskInstance:
    """Stands in for Airflow's: which try this is, and the XComs."""

    map_index = -1

    def __init__(self, try_number: int = 1, max_tries: int = 2) -> None:
        self.try_number, self.max_tries = try_number, max_tries
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


class TaskStateStore:
    """Stands in for Airflow's: it keeps JSON, and no None."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any) -> None:
        assert value is not None
        self.values[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@pytest.fixture(params=["task state store", "file"])
def keeping(request, tmp_path) -> Any:
    """Where the tries of a task keep their checkpoint: context and parameters of each try."""
    if request.param == "file":
        return {}, {"checkpoint_path": str(tmp_path / "checkpoint.json")}
    return {"task_state_store": TaskStateStore()}, {}


def run(keeping: Any, ti: TaskInstance, prospects: Any = PEOPLE, **parameters: Any) -> dict[str, Any]:
    context, where = keeping
    operator = CreateProspectOperator(task_id="push", prospects=prospects, retries=2, **where, **parameters)
    return operator.execute({"ti": ti, **context})


def nonzero(report: dict[str, Any]) -> dict[str, int]:
    outcomes = "created updated deleted existing missing suppressed filtered rejected unresolved"
    return {name: report[name] for name in outcomes.split() if report[name]}


def stopped_by_a_refused_key(keeping: Any, sandbox: Any, ti: TaskInstance) -> None:
    sandbox.add_fault("error", status=401, after=120)
    with pytest.raises(ClosersAuthError, match="401"):
        run(keeping, ti)
    sandbox.reset(keep=["prospects", "journal"])


def test_a_retry_goes_on_and_reports_the_whole_push(keeping, sandbox):
    stopped_by_a_refused_key(keeping, sandbox, TaskInstance(1))

    report = run(keeping, TaskInstance(2))

    assert nonzero(report) == {"created": 200}
    assert report["requests"] == len(sandbox.journal())
    answered = Counter(entry.email for entry in sandbox.journal() if entry.status != 401)
    assert set(answered.values()) == {1}


def test_a_task_that_a_person_cleared_starts_afresh(keeping, sandbox):
    stopped_by_a_refused_key(keeping, sandbox, TaskInstance(1))

    report = run(keeping, TaskInstance(try_number=2, max_tries=3))

    assert report["total"] == report["created"] + report["existing"] == 200
    assert report["existing"] >= 100


def test_a_finished_push_leaves_nothing_behind(keeping, sandbox, tmp_path):
    context, _ = keeping

    run(keeping, TaskInstance())

    assert not any(store.values for store in context.values())
    assert not list(tmp_path.iterdir())


def test_an_airflow_that_keeps_nothing_starts_over_and_says_so(sandbox, caplog):
    stopped_by_a_refused_key(({}, {}), sandbox, TaskInstance(1))
    assert "starts over" not in caplog.text

    report = run(({}, {}), TaskInstance(2))

    assert "This try starts over" in caplog.text
    assert report["existing"] >= 100


def test_a_preview_leaves_what_a_try_kept(keeping, sandbox):
    stopped_by_a_refused_key(keeping, sandbox, TaskInstance(1))

    run(keeping, TaskInstance(2), preview=True)
    report = run(keeping, TaskInstance(2))

    assert nonzero(report) == {"created": 200}


# -- being told to stop


def kill_after(operator: Any, requests: int, sandbox: Any) -> threading.Thread:
    """Do what Airflow does at SIGTERM, when so many requests have arrived."""

    def watch() -> None:
        while sandbox.stats()["requests"]["total"] < requests:
            pass
        signal.raise_signal(signal.SIGUSR1)

    thread = threading.Thread(target=watch, daemon=True)
    signal.signal(signal.SIGUSR1, lambda *_: operator.on_kill())
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def usual_handler():
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_push_that_is_told_to_stop_reports_and_is_gone_on_with(keeping, sandbox):
    context, where = keeping
    sandbox.configure(latency=0.05)
    operator = CreateProspectOperator(task_id="push", prospects=PEOPLE, retries=2, **where)
    ti = TaskInstance(1)
    thread = kill_after(operator, 60, sandbox)

    with pytest.raises(PushStoppedError, match="told the task to stop"):
        operator.execute({"ti": ti, **context})
    thread.join()
    sent = sandbox.count()
    second = run(keeping, TaskInstance(2))

    first = ti.xcoms["return_value"]
    assert (first["created"], first["unresolved"]) == (sent, 200 - sent)
    assert 60 <= sent < 200
    assert nonzero(second) == {"created": 200}
    assert len(sandbox.journal()) == 200


def test_who_is_told_to_stop_with_no_push_under_way_raises_nothing():
    operator = DeleteProspectOperator(task_id="erase", prospects=[])

    operator.execute({})

    assert operator.on_kill() is None


def test_what_the_input_raises_is_reported_too(sandbox):
    def source():
        yield from PEOPLE[:50]
        raise OSError("connection lost")

    ti = TaskInstance()
    operator = CreateProspectOperator(task_id="push", prospects=source())

    with pytest.raises(OSError, match="connection lost"):
        operator.execute({"ti": ti})

    assert ti.xcoms["return_value"]["created"] == sandbox.count()
