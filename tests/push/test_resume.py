"""A push that is stopped and run again: each record settled once, nothing lost, nothing sent twice."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.errors import CheckpointDroppedError, ClosersAuthError, ClosersUnavailableError
from airflow_provider_closers.push import saver
from airflow_provider_closers.push.checkpoint import FileCheckpoint
from airflow_provider_closers.push.rejects import RejectsFile
from airflow_provider_closers.push.report import Reject
from airflow_provider_closers.push.source import Source


class KeptInMemory:
    """A checkpoint like a task state store: it keeps JSON, nothing else."""

    def __init__(self) -> None:
        self.text = "{}"
        self.saves = 0

    def load(self) -> dict[str, Any] | None:
        return json.loads(self.text)

    def save(self, state: dict[str, Any]) -> None:
        self.text = json.dumps(state)
        self.saves += 1


class Killed(BaseException):
    """What Airflow raises in a task for a time-out or SIGTERM."""


class Rows:
    """Records that can be read again and again, and fail as they are told."""

    def __init__(self, records: list[Any], fail_at: int | None = None) -> None:
        self.records = records
        self.fail_at = fail_at

    def __iter__(self) -> Iterator[Any]:
        for index, record in enumerate(self.records):
            if index == self.fail_at:
                raise Killed
            yield record
        if self.fail_at is not None and self.fail_at >= len(self.records):
            raise Killed


@pytest.fixture(params=["in a file", "in memory"])
def checkpoint(request, tmp_path) -> Any:
    if request.param == "in a file":
        return FileCheckpoint(tmp_path / "new" / "point.json")
    return KeptInMemory()


def people(count: int) -> list[dict[str, Any]]:
    return [{"email": f"p{i}@acme.io"} for i in range(count)]


def nonzero(report: Any) -> dict[str, int]:
    return {name: n for name, n in report.outcomes.items() if n}


def times_sent(sandbox: Any) -> Counter[str]:
    return Counter(entry.email for entry in sandbox.journal())


def stopped_at(push: Any, index: int, records: list[Any], checkpoint: Any, **parts: Any) -> None:
    with pytest.raises(Killed, match=r"^$"):
        push("create", Rows(records, fail_at=index), checkpoint=checkpoint, **parts)


# -- the several ways to be stopped


def test_a_push_goes_on_where_its_source_failed(push, sandbox, checkpoint):
    stopped_at(push, 70, people(100), checkpoint)

    report = push("create", Rows(people(100)), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 100}
    assert report.requests == 100
    assert set(times_sent(sandbox).values()) == {1}


def test_an_iterator_goes_on_too(push, sandbox, checkpoint):
    stopped_at(push, 70, people(100), checkpoint)

    report = push("create", iter(people(100)), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 100}
    assert len(sandbox.journal()) == 100


def test_a_push_goes_on_after_its_key_was_refused(push, sandbox, checkpoint):
    first = push("create", people(60), checkpoint=checkpoint, api_key="wrong")
    assert isinstance(first.error, ClosersAuthError)

    report = push("create", people(60), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 60}
    assert sandbox.count() == 60


def test_a_push_whose_key_is_refused_from_a_moment_on_sends_nothing_twice(push, sandbox, checkpoint):
    class Revoked(Rows):
        def __iter__(self) -> Iterator[Any]:
            for index, record in enumerate(self.records):
                if index == 40:
                    sandbox.add_fault("error", status=401, times=1_000)
                yield record

    first = push("create", Revoked(people(100)), checkpoint=checkpoint, settings={"max_concurrency": 2})
    assert isinstance(first.error, ClosersAuthError)
    assert sum(first.outcomes.values()) == 100
    settled = {entry.email for entry in sandbox.journal() if entry.wrote}
    sandbox.reset(keep=["prospects", "journal"])

    report = push("create", people(100), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 100}
    assert all(times_sent(sandbox)[email] == 1 for email in settled)


def test_a_push_goes_on_after_its_rejects_could_not_be_kept(push, sandbox, checkpoint):
    records = [*people(30), {"email": "nobody"}, *people(60)[30:], {"email": "nobody else"}]
    kept: list[Reject] = []

    def full(_: Reject) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        push("create", records, checkpoint=checkpoint, on_reject=full)
    report = push("create", records, checkpoint=checkpoint, on_reject=kept.append)

    assert nonzero(report) == {"created": 60, "rejected": 2}
    assert [reject.index for reject in kept] == [30, 61]
    assert [reject.index for reject in report.rejects] == [30, 61]
    assert set(times_sent(sandbox).values()) == {1}


def test_a_killed_process_goes_on_from_what_was_saved_last(push, sandbox, checkpoint):
    stopped_at(push, 50, people(80), checkpoint)
    saved, settled = checkpoint.load(), sandbox.count()
    stopped_at(push, 70, people(80), checkpoint)
    sent_since = sandbox.count() - settled

    checkpoint.save(saved)  # As if the second try had been killed before it could save anything.
    report = push("create", people(80), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 80 - sent_since, "existing": sent_since}
    assert sandbox.count() == 80


def test_a_push_is_saved_on_its_way(push, monkeypatch):
    monkeypatch.setattr(saver, "_SECONDS_BETWEEN_SAVES", 0.0)
    kept, seen = KeptInMemory(), []

    def source() -> Iterator[Any]:
        for person in people(100):
            yield person
            seen.append(kept.load())

    push("create", source(), checkpoint=kept, settings={"max_concurrency": 2})

    places = [state["read"] for state in seen if state]
    assert len(set(places)) > 10
    assert places == sorted(places)
    assert all(
        sum(n for name, n in state["counts"].items() if name == "created") + len(state["open"])
        == state["read"]
        for state in seen
        if state
    )


# -- what is taken over


def test_the_report_is_that_of_all_tries_together(push, sandbox, checkpoint):
    sandbox.add_prospects([{"email": "p1@acme.io"}])
    records = [*people(10), {"email": "first"}, *people(20)[10:], {"email": "second"}]
    records[2] = records[2] | {"replied": False}
    parts = {"suppression": {"p3@acme.io"}}
    stopped_at(push, 15, records, checkpoint, **parts)

    report = push("create", records, checkpoint=checkpoint, **parts)

    assert nonzero(report) == {"created": 18, "existing": 1, "suppressed": 1, "rejected": 2}
    assert report.total == len(records) == 22
    assert report.withheld_flags == 1
    assert report.requests == len(sandbox.journal()) == 19
    assert [reject["index"] for reject in report.as_dict()["rejects"]] == [10, 21]
    assert report.as_dict()["rejects"][0]["email"] == "f***"


def test_the_rejects_file_holds_the_rejects_of_all_tries(push, checkpoint, tmp_path):
    path = tmp_path / "rejects.jsonl"
    records = [{"email": "first"}, *people(5), {"email": "second"}]

    with RejectsFile(path) as file:
        stopped_at(push, 4, records, checkpoint, on_reject=file)
    with RejectsFile(path, keep=True) as file:
        push("create", records, checkpoint=checkpoint, on_reject=file)

    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 6]


def test_records_of_one_email_keep_their_order_over_a_stop(push, sandbox, checkpoint):
    records = [{"email": "jane@acme.io", "n": n} for n in range(20)]
    with pytest.raises(Killed, match=r"^$"):
        push("upsert", Rows(records, fail_at=12), checkpoint=checkpoint)

    report = push("upsert", records, checkpoint=checkpoint)

    assert nonzero(report) == {"created": 1, "updated": 19}
    assert sandbox.prospect("jane@acme.io")["otherAttribute"] == {"n": 19}
    sent = [entry.body["otherAttribute"]["n"] for entry in sandbox.journal() if entry.wrote]
    assert sent == list(range(20))


def test_deleted_prospects_are_not_asked_for_again(push, sandbox, checkpoint):
    sandbox.add_prospects(people(40))
    listed = set()

    class List(set):
        def add(self, emails: Any) -> None:
            listed.update(emails)

    emails = [person["email"] for person in people(40)]
    with pytest.raises(Killed, match=r"^$"):
        push("delete", Rows(emails, fail_at=25), checkpoint=checkpoint, suppression=List())
    # The list is filled a batch at a time, and the source failed within the first one.
    assert sandbox.journal() == []
    report = push("delete", emails, checkpoint=checkpoint, suppression=List())

    assert nonzero(report) == {"deleted": 40}
    assert listed == set(emails)


# -- the checkpoint's end


def test_a_finished_push_leaves_no_checkpoint(push, checkpoint, tmp_path):
    stopped_at(push, 5, people(10), checkpoint)
    assert checkpoint.load()

    push("create", people(10), checkpoint=checkpoint)

    assert not checkpoint.load()
    assert not list(tmp_path.rglob("*.json"))


def test_after_a_finished_push_the_next_one_starts_at_the_start(push, checkpoint):
    for outcome in ("created", "existing"):
        assert nonzero(push("create", people(10), checkpoint=checkpoint)) == {outcome: 10}


def test_a_preview_leaves_the_checkpoint_alone(push, checkpoint):
    stopped_at(push, 5, people(10), checkpoint)
    before = checkpoint.load()

    report = push("create", people(10), checkpoint=checkpoint, preview=True)

    assert nonzero(report) == {"unresolved": 10}
    assert checkpoint.load() == before


def test_a_source_that_fails_while_it_is_read_again_leaves_the_checkpoint_as_it_was(
    push, sandbox, checkpoint
):
    stopped_at(push, 50, people(80), checkpoint)
    before = checkpoint.load()

    stopped_at(push, 20, people(80), checkpoint)
    assert checkpoint.load() == before
    report = push("create", people(80), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 80}
    assert set(times_sent(sandbox).values()) == {1}


# -- another input


CHANGED = [
    pytest.param(lambda rows: rows[:20], id="shorter"),
    pytest.param(lambda rows: [{"email": "new@acme.io"}, *rows], id="one more at the start"),
    pytest.param(lambda rows: rows[::-1], id="in another order"),
    pytest.param(lambda rows: [row | {"title": "CTO"} for row in rows], id="other values"),
]


@pytest.mark.parametrize("change", CHANGED)
def test_another_input_starts_over(push, sandbox, checkpoint, change):
    stopped_at(push, 30, people(40), checkpoint)
    records = change(people(40))
    sandbox.reset(keep=["prospects"])

    report = push("create", records, checkpoint=checkpoint)

    assert report.total == report.created + report.existing == len(records)
    assert times_sent(sandbox).keys() == {record["email"] for record in records}
    assert not checkpoint.load()


@pytest.mark.parametrize("change", CHANGED)
def test_another_input_that_can_be_read_once_is_refused_and_then_starts_over(
    push, sandbox, checkpoint, change
):
    stopped_at(push, 30, people(40), checkpoint)
    records = change(people(40))
    sandbox.reset(keep=["prospects"])

    with pytest.raises(CheckpointDroppedError, match=r"can be read only once; .*run again to start over"):
        push("create", iter(records), checkpoint=checkpoint)
    assert sandbox.journal() == []
    report = push("create", iter(records), checkpoint=checkpoint)

    assert report.total == len(records)
    assert times_sent(sandbox).keys() == {record["email"] for record in records}


def test_another_operation_starts_over(push, sandbox, checkpoint):
    stopped_at(push, 30, people(40), checkpoint)
    created = sandbox.count()

    report = push("update", people(40), checkpoint=checkpoint, if_missing="skip")

    assert nonzero(report) == {"updated": created, "missing": 40 - created}


def test_records_that_came_on_top_are_pushed_too(push, sandbox, checkpoint):
    stopped_at(push, 30, people(40), checkpoint)

    report = push("create", people(60), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 60}
    assert set(times_sent(sandbox).values()) == {1}


# -- a checkpoint that can't be used


def damaged(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "cut short": None,
        "another program's": {"offset": 30},
        "a later version's": state | {"version": 4, "counts": [["created", 30]]},
        "without counts": {key: value for key, value in state.items() if key != "counts"},
        "without places": {key: value for key, value in state.items() if key != "open"},
        "an outcome of a later version": state | {"counts": state["counts"] | {"paused": 3}},
        "counts that don't add up": state | {"counts": state["counts"] | {"created": 3}},
        "rejects of another shape": state | {"rejects": [[1, "no"]]},
        "moments of another shape": state | {"pace": [[0.5, 3]]},
        "reasons of another shape": state | {"reasons": ["no"]},
    }


@pytest.mark.parametrize("damage", damaged({"counts": {}}))
@pytest.mark.parametrize("once", [False, True], ids=["can be read again", "can be read once"])
def test_a_checkpoint_that_can_t_be_used_starts_over(push, sandbox, tmp_path, damage, once):
    path = tmp_path / "point.json"
    stopped_at(push, 30, people(40), FileCheckpoint(path))
    created = sandbox.count()
    state = damaged(json.loads(path.read_text()))[damage]
    path.write_text(json.dumps(state) if state else path.read_text()[:-30])
    records = iter(people(40)) if once else people(40)

    report = push("create", records, checkpoint=FileCheckpoint(path))

    assert nonzero(report) == {"created": 40 - created, "existing": created}
    assert sandbox.count() == 40
    assert not path.exists()


@pytest.mark.parametrize("state", ["text", [1], 7], ids=lambda state: type(state).__name__)
def test_a_store_that_returns_what_is_no_state_starts_over(push, state):
    kept = KeptInMemory()
    kept.text = json.dumps(state)

    assert nonzero(push("create", people(3), checkpoint=kept)) == {"created": 3}


# -- what the engine must bear


class Unreadable(dict):
    def __repr__(self) -> str:
        raise RuntimeError("not for your eyes")


def test_a_record_that_can_t_be_fingerprinted_holds_up_nobody(push, checkpoint):
    report = push("create", [*people(3), Unreadable(email="x@acme.io"), 7], checkpoint=checkpoint)

    assert nonzero(report) == {"created": 4, "rejected": 1}


def test_a_checkpoint_that_can_t_be_saved_costs_no_record(push, sandbox, monkeypatch):
    monkeypatch.setattr(saver, "_SECONDS_BETWEEN_SAVES", 0.0)

    class Full(KeptInMemory):
        def save(self, state: dict[str, Any]) -> None:
            raise OSError("disk full")

    report = push("create", people(30), checkpoint=Full())

    assert nonzero(report) == {"created": 30}


def test_a_source_that_fails_while_it_is_counted_does_not_hide_why_the_push_stopped(push, checkpoint):
    def source() -> Iterator[Any]:
        yield from people(150)
        raise OSError("the warehouse hung up")

    report = push("create", source(), checkpoint=checkpoint, api_key="wrong")

    assert isinstance(report.error, ClosersAuthError)
    assert nonzero(report) == {"unresolved": 150}


@pytest.mark.usefixtures("quick_backoff")
def test_records_that_an_outage_left_unanswered_are_sent_by_the_next_try(push, sandbox, checkpoint):
    sandbox.configure(error_rate=1.0)
    quick = {"max_concurrency": 4, "outage_seconds": 0.2}
    first = push("create", people(100), checkpoint=checkpoint, settings=quick)
    assert isinstance(first.error, ClosersUnavailableError)
    sandbox.configure(error_rate=0.0)

    report = push("create", people(100), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 100}
    assert sandbox.count() == 100


def test_what_was_given_up_is_not_sent_after_a_later_record_of_its_email(push, sandbox, checkpoint):
    sandbox.add_prospects([{"email": "jane@acme.io"}])
    sandbox.add_fault("redirect", email="jane@acme.io")  # the first is given up
    rows = [{"email": "jane@acme.io", "title": title} for title in ("old", "new")]

    def source() -> Iterator[Any]:
        yield rows[0]
        while not sandbox.journal():
            time.sleep(0.002)
        time.sleep(0.05)
        yield rows[1]
        while len(sandbox.journal()) < 2:
            time.sleep(0.002)
        raise Killed

    with pytest.raises(Killed):
        push("update", source(), checkpoint=checkpoint)
    report = push("update", rows, checkpoint=checkpoint)

    assert nonzero(report) == {"updated": 1, "rejected": 1}
    assert sandbox.prospect("jane@acme.io")["title"] == "new"


# -- the invariant


RECORDS = st.lists(
    st.integers(0, 11).map(lambda n: {"email": f"p{n}@acme.io", "n": n})
    | st.sampled_from(["bad", {"email": 1}]),
    max_size=40,
)
STOPS = st.lists(st.tuples(st.sampled_from(["source", "key", "reject"]), st.integers(0, 40)), max_size=5)


class StoppedWhere:
    """An input and a rejects handler that end the push somewhere: one of them fails, or the key does."""

    def __init__(self, sandbox: Any, records: list[Any], how: str, where: int) -> None:
        self._sandbox, self._records, self._how, self._where = sandbox, records, how, where
        self.rejects: list[int] = []

    def __iter__(self) -> Iterator[Any]:
        for index, record in enumerate(self._records):
            if index == self._where and self._how == "source":
                raise Killed
            if index == self._where and self._how == "key":
                self._sandbox.add_fault("error", status=401, times=1_000)
            yield record

    def on_reject(self, reject: Reject) -> None:
        if self._how == "reject" and len(self.rejects) == self._where % 3:
            raise Killed
        self.rejects.append(reject.index)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operation=st.sampled_from(["create", "update", "upsert", "delete"]),
    records=RECORDS,
    stops=STOPS,
    concurrency=st.integers(1, 6),
    once=st.booleans(),
)
def test_each_record_is_settled_once_however_often_the_push_is_stopped(
    push, sandbox, operation, records, stops, concurrency, once
):
    sandbox.reset()
    sandbox.add_prospects([{"email": f"p{n}@acme.io"} for n in range(0, 12, 2)])
    kept, rejects, report = KeptInMemory(), [], None

    for how, where in [*stops, ("not", 0)]:
        source = StoppedWhere(sandbox, records, how, where)
        with contextlib.suppress(Killed):
            report = push(
                operation,
                iter(source) if once else source,
                checkpoint=kept,
                on_reject=source.on_reject,
                if_missing="skip",
                settings={"max_concurrency": concurrency},
            )
        rejects += source.rejects
        sandbox.reset(keep=["prospects", "journal"])
        if not kept.load():
            break

    answered = [entry for entry in sandbox.journal() if entry.status != 401]
    wrote = Counter(entry.method for entry in answered if entry.wrote)
    bad = [index for index, record in enumerate(records) if record in ("bad", {"email": 1})]
    assert not kept.load()
    assert report.total == sum(report.outcomes.values()) == len(records)
    assert (report.unresolved, report.rejected) == (0, len(bad))
    assert sorted(rejects) == bad
    assert report.requests == len(sandbox.journal())
    assert (report.created, report.updated, report.deleted) == (
        wrote["POST"],
        wrote["PATCH"],
        wrote["DELETE"],
    )
    if operation != "upsert":  # One request each, however often the push was stopped; an upsert may take two.
        assert len(answered) == len(records) - len(bad)


# -- tries that are killed, one after the other


def test_what_the_first_killed_try_created_counts_as_created_after_a_second_kill(push, sandbox):
    records, kept = people(300), KilledWithoutWarning()
    with pytest.raises(Killed):
        push("create", kept.until(100, records), checkpoint=kept, settings={"max_concurrency": 32})
    reached = json.loads(kept.text)["read"]
    with pytest.raises(Killed):  # With a smaller window, which foresees less.
        push("create", kept.until(reached + 1, records), checkpoint=kept, settings={"max_concurrency": 1})

    report = push("create", records, checkpoint=kept)

    assert nonzero(report) == {"created": 300}


class KilledWithoutWarning(KeptInMemory):
    """A checkpoint of a push that is killed: it keeps what was saved before."""

    is_dead = False

    def until(self, index: int, records: list[Any]) -> Iterator[Any]:
        """Yield so many records; and be killed when their requests had their time."""
        self.is_dead = False
        for number, record in enumerate(records):
            if number == index:
                time.sleep(0.3)
                self.is_dead = True
                raise Killed
            yield record

    def save(self, state: dict[str, Any]) -> None:
        if not self.is_dead:
            super().save(state)


class Cursor:
    """Iterable anew, though what was read is gone."""

    def __init__(self, records: list[Any]) -> None:
        self._records = iter(records)

    def __iter__(self) -> Iterator[Any]:
        return iter(lambda: next(self._records, None), None)


def test_an_input_that_only_looks_as_if_it_could_be_read_again_is_refused_once(push, sandbox, checkpoint):
    stopped_at(push, 30, people(40), checkpoint)
    others = [{"email": f"q{i}@acme.io"} for i in range(40)]

    with pytest.raises(CheckpointDroppedError, match="can be read only once"):
        push("create", Cursor(others), checkpoint=checkpoint)
    report = push("create", Cursor(others), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 40}


def test_a_source_starts_over_where_its_records_changed(push, checkpoint):
    class People(Source):
        def __iter__(self) -> Iterator[Any]:
            yield from ({"email": f"q{i}@acme.io"} for i in range(40))

    stopped_at(push, 30, people(40), checkpoint)

    report = push("create", People(), checkpoint=checkpoint)

    assert nonzero(report) == {"created": 40}
