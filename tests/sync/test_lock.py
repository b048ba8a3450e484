"""A second run is kept out, and a dead one holds up nobody for long."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_closers.errors import SyncRunningError
from airflow_provider_closers.sync.lock import SECONDS_TO_LIVE, Lock, locked


class Clock:
    """Time that passes when somebody says so."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "object store"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "file":
        return tmp_path / "syncs" / "people.snapshot.lock"
    return ObjectStoragePath(f"{request.getfixturevalue('bucket')}/syncs/people.snapshot.lock")


def lock(path: Any, owner: str, clock: Clock) -> Lock:
    return Lock(path, owner, now=clock, sleep=clock.sleep)


def test_a_second_run_is_refused_while_the_first_is_at_it(path, clock):
    with (
        lock(path, "first", clock),
        pytest.raises(SyncRunningError, match=r"lock .*: first\. .* runs out in \d+ seconds"),
        lock(path, "second", clock),
    ):
        pytest.fail("it got in")

    with lock(path, "second", clock) as second:
        second.check()
    assert not path.exists()


def test_the_lock_of_a_dead_run_runs_out(path, clock):
    lock(path, "dead", clock).__enter__()
    clock.time += SECONDS_TO_LIVE - 2
    with pytest.raises(SyncRunningError), lock(path, "second", clock):
        pytest.fail("it got in")
    clock.time += 2

    with lock(path, "second", clock) as second:
        second.check()


def test_a_lock_that_is_renewed_does_not_run_out(path, clock):
    with lock(path, "first", clock) as first:
        for _ in range(3):
            clock.time += SECONDS_TO_LIVE - 1
            first.renew()

        with pytest.raises(SyncRunningError), lock(path, "second", clock):
            pytest.fail("it got in")


def test_what_is_confirmed_is_not_what_was_looked_up_before(path, clock):
    first = lock(path, "dag run task", clock)
    first.__enter__()

    with lock(path, "dag run task", clock):
        first.check()
        with pytest.raises(SyncRunningError, match="as a later try of the same task"):
            first.confirm()
    first.__exit__(None, None, None)


def test_another_try_of_the_same_task_takes_over_at_once_and_the_first_one_stops(path, clock):
    first = lock(path, "dag run task", clock)
    first.__enter__()

    with lock(path, "dag run task", clock) as second:
        first.renew()
        with pytest.raises(SyncRunningError, match="as a later try of the same task"):
            first.check()
        second.check()
        second.confirm()
        first.__exit__(None, None, None)
        assert path.exists()
        second.renew()
        second.check()


def test_a_renewal_that_fails_is_tried_again(path, clock, monkeypatch, caplog):
    monkeypatch.setattr("airflow_provider_closers.sync.lock._SECONDS_BETWEEN_RENEWALS", 0.001)
    renewed, renew, tries = threading.Event(), Lock.renew, []

    def renew_at_the_second_try(self: Lock) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the store is away")
        renew(self)
        renewed.set()

    monkeypatch.setattr(Lock, "renew", renew_at_the_second_try)

    with lock(path, "first", clock) as first:
        assert renewed.wait(5)
        first.check()

    assert "can't be renewed" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"owner": null, "renewed": "x"}'])
def test_a_file_that_holds_no_lock_runs_out_too(path, clock, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    clock.time = 4e9  # long after the file was written

    with lock(path, "first", clock) as first:
        first.check()


def test_of_several_that_begin_at_once_one_gets_in(tmp_path):
    path, inside, refused = tmp_path / "lock", [], []
    begin, end = threading.Barrier(8), threading.Barrier(8)

    def compete(number: int) -> None:
        begin.wait()
        try:
            with Lock(path, f"run {number}"):
                inside.append(number)
                end.wait()
        except SyncRunningError:
            refused.append(number)
            end.wait()

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert (len(inside), len(refused)) == (1, 7)


def test_who_writes_over_the_lock_in_a_store_gets_in_and_the_other_does_not(bucket, clock):
    path = ObjectStoragePath(f"{bucket}/lock")

    def meanwhile(_: float) -> None:
        path.write_text(json.dumps({"owner": "second", "token": "x", "renewed": clock.time}))

    with pytest.raises(SyncRunningError, match="second"), Lock(path, "first", now=clock, sleep=meanwhile):
        pytest.fail("it got in")


def test_the_lock_is_beside_the_snapshot_and_only_where_it_is_needed(tmp_path):
    snapshot = tmp_path / "people.snapshot"

    with locked(snapshot, "run") as held:
        held.confirm()
        assert json.loads((tmp_path / "people.snapshot.lock").read_text())["owner"] == "run"
    with locked(snapshot, None, is_needed=False) as held:
        held.confirm()
        assert list(tmp_path.iterdir()) == []
