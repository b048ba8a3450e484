"""When a push saves where it stands, and what it says of what was sent."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_closers.push import saver
from airflow_provider_closers.push.rejects import as_sink
from airflow_provider_closers.push.report import Outcome, PushReport
from airflow_provider_closers.push.saver import Saver

CAPACITY = 64


class Clock:
    """A clock that goes on only when it is told."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(saver, "time", clock)
    return clock


class Store:
    """A checkpoint whose save takes some time, and fails where it is told."""

    def __init__(self, clock: Clock, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.clock, self.seconds, self.error = clock, seconds, error
        self.saves: list[dict[str, Any]] = []

    def load(self) -> dict[str, Any] | None:
        return None

    def save(self, state: dict[str, Any]) -> None:
        self.clock.now += self.seconds
        if self.error:
            raise self.error
        self.saves.append(state)


def push(under_test: Saver, store: Store, records: int, *, first: int = 0, per_second: float) -> PushReport:
    """Read so many records and settle each when half a window more were read; save when it is time to."""
    report = PushReport(operation="create")
    for index in range(first, first + records):
        if under_test.is_due_before(index) or under_test.is_due(store.clock.now):
            under_test.save(report)
        under_test.read(index, {"index": index})
        store.clock.now += 1 / per_second
        if index >= CAPACITY // 2:
            under_test.settle(index - CAPACITY // 2)
            report.count(Outcome.CREATED)
    return report


def test_the_rush_into_the_first_window_does_not_announce_what_takes_minutes(clock):
    store = Store(clock, seconds=0.05)

    push(Saver(store, as_sink(None), "", CAPACITY), store, 80, per_second=100_000)

    assert max(state["announced"] - state["read"] for state in store.saves) <= 2 * CAPACITY


def test_saving_to_slow_storage_takes_a_small_part_of_the_time(clock):
    store = Store(clock, seconds=0.05)

    push(Saver(store, as_sink(None), "", CAPACITY), store, 30_000, per_second=300)

    assert len(store.saves) * 0.05 < 0.07 * (30_000 / 300)
    # Of what was announced no more than was read until the next save, or twice as much.
    assert max(state["announced"] - state["read"] for state in store.saves) < 2 * 300


def test_saving_to_a_quick_disk_announces_no_more_than_a_window(clock):
    store = Store(clock)

    push(Saver(store, as_sink(None), "", CAPACITY), store, 1_000, per_second=5_000)

    assert all(state["announced"] - state["read"] + len(state["open"]) <= CAPACITY for state in store.saves)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"announced": 500}, id="announced by a killed try"),
        pytest.param({"announced": 10, "doubtful": [3, 499]}, id="named by a try that was stopped"),
    ],
)
def test_what_any_earlier_try_may_have_sent_stays_in_doubt(clock, said):
    store = Store(clock)
    first = Saver(store, as_sink(None), "", CAPACITY)
    first.read(0, "a record")
    first.save(PushReport(operation="create"))
    state = store.saves[-1] | said
    second = Saver(store, as_sink(None), "", CAPACITY)

    second.resume(iter([(0, "a record")]), state)
    second.save(PushReport(operation="create"))

    assert store.saves[-1]["announced"] == 500
    assert second.may_have_been_sent(499)
    assert not second.may_have_been_sent(500)


def test_a_store_that_fails_is_asked_every_few_seconds_and_complained_of_at_length_once(clock, caplog):
    store = Store(clock, error=OSError("away"))

    push(Saver(store, as_sink(None), "", CAPACITY), store, 2_000, per_second=100)

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 3 <= len(warnings) <= 5  # in 20 s
    assert [bool(record.exc_info) for record in warnings] == [True] + [False] * (len(warnings) - 1)


def test_a_store_that_comes_back_has_what_is_true_then(clock):
    store = Store(clock, error=OSError("away"))
    under_test = Saver(store, as_sink(None), "", CAPACITY)
    push(under_test, store, 1_000, per_second=100)

    store.error = None
    push(under_test, store, 600, first=1_000, per_second=100)

    assert store.saves[0]["read"] > 1_000
    assert store.saves[0]["announced"] > store.saves[0]["read"]


def test_counts_that_are_no_longer_those_of_the_records_are_not_saved(clock, caplog):
    store = Store(clock)
    under_test = Saver(store, as_sink(None), "", CAPACITY)
    report = push(under_test, store, 100, per_second=100)
    saved = len(store.saves)

    report.count(Outcome.CREATED)  # As by a push that a signal stops before it settles the record.
    under_test.save_last(report, is_complete=False, under_way={})

    assert len(store.saves) == saved
    assert "stays as it was" in caplog.text


def test_without_a_checkpoint_the_rejects_are_flushed_all_the_same(clock):
    flushed = []
    sink = as_sink(None)
    sink.flush = lambda: flushed.append(clock.now)
    store = SimpleNamespace(clock=clock)

    push(Saver(None, sink, "", CAPACITY), store, 2_000, per_second=100)

    assert len(flushed) == 3  # in 20 s
