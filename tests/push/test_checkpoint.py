"""What is kept between two tries: the file, the fingerprint, and what may be gone on from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from object_store import StoredPath

from airflow_provider_closers.push.checkpoint import FileCheckpoint, InputChangedError, Ledger, is_usable

ROWS = [{"email": f"p{i}@acme.io"} for i in range(6)]

#: What the engine saves.
STATE: dict[str, Any] = {
    "operation": "create",
    "version": 3,
    "read": 5,
    "open": [3, 4],
    "announced": 9,
    "fingerprint": "00",
    "counts": {
        "created": 2,
        "updated": 0,
        "deleted": 0,
        "existing": 0,
        "missing": 0,
        "suppressed": 0,
        "filtered": 0,
        "rejected": 1,
        "withheld_flags": 0,
        "requests": 3,
        "retries": 0,
        "throttled": 0,
        "may_pass": 1,
        "seconds": 0.25,
    },
    "pace": [[0.0, 0, 0, 0, 0], [0.25, 3, 3, 0, 0]],
    "reasons": {"no": 1},
    "rejects": [{"index": 1, "email": "j***@acme.io", "reason": "no"}],
}


def ledger_of(rows: list[Any], *, settled: tuple[int, ...] = ()) -> Ledger:
    ledger = Ledger()
    for index, row in enumerate(rows):
        ledger.read(index, row)
    for index in settled:
        ledger.settle(index)
    return ledger


def resumed(rows: list[Any], state: dict[str, Any]) -> list[tuple[int, Any]]:
    return Ledger().resume(iter(enumerate(rows)), state)


# -- the file


PATHS = [
    pytest.param(lambda folder: folder / "new" / "point.json", id="a local path"),
    pytest.param(lambda folder: ObjectStoragePath(f"file://{folder}/new/point.json"), id="file://"),
    pytest.param(lambda folder: StoredPath(folder / "new" / "point.json"), id="a store"),
]


@pytest.mark.parametrize("path_in", PATHS)
def test_a_file_keeps_the_state_that_was_saved_last(tmp_path, path_in):
    for read in (1, 2):
        FileCheckpoint(path_in(tmp_path)).save(STATE | {"read": read})

    assert FileCheckpoint(path_in(tmp_path)).load() == STATE | {"read": 2}


@pytest.mark.parametrize("path_in", PATHS)
def test_an_empty_state_leaves_no_file(tmp_path, path_in):
    checkpoint = FileCheckpoint(path_in(tmp_path))
    checkpoint.save(STATE)

    for _ in range(2):
        checkpoint.save({})

    assert checkpoint.load() is None
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("path_in", PATHS)
def test_an_absent_file_is_nothing_to_go_on_from(tmp_path, path_in):
    assert FileCheckpoint(path_in(tmp_path)).load() is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(json.dumps(STATE).encode()[:-40], id="cut short"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[1, 2]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
def test_a_file_that_can_t_be_understood_is_nothing_to_go_on_from(tmp_path, content):
    path = tmp_path / "point.json"
    path.write_bytes(content)

    assert FileCheckpoint(path).load() is None


def test_a_file_that_can_t_be_read_is_an_error(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path.name)):
        FileCheckpoint(tmp_path).load()


def test_airflow_s_own_paths_into_a_store(bucket):
    checkpoint = FileCheckpoint(ObjectStoragePath(f"{bucket}/new/point.json"))

    assert checkpoint.load() is None
    for read in (1, 2):
        checkpoint.save(STATE | {"read": read})
    assert checkpoint.load() == STATE | {"read": 2}
    for _ in range(2):
        checkpoint.save({})

    assert checkpoint.load() is None


def test_a_state_that_can_t_be_written_leaves_the_earlier_one(tmp_path, monkeypatch):
    checkpoint = FileCheckpoint(tmp_path / "point.json")
    checkpoint.save(STATE)

    def full(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(STATE | {"read": 6})

    assert checkpoint.load() == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["point.json"]


# -- what a push can go on from


def test_a_state_is_usable_for_its_operation():
    assert is_usable(STATE, "create")
    assert is_usable(json.loads(json.dumps(STATE)), "create")
    assert not is_usable(STATE, "delete")


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(STATE | {"announced": 5}, id="all that was announced was read"),
        pytest.param(STATE | {"doubtful": None}, id="nobody knows what is doubtful"),
        pytest.param(STATE | {"doubtful": [3, 7]}, id="some are doubtful"),
    ],
)
def test_a_state_may_differ_in_what_an_earlier_try_knew(state):
    assert is_usable(state, "create")


def changed(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (STATE | changes).items() if value is not ...}


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(None, id="nothing"),
        pytest.param({}, id="empty"),
        pytest.param("create", id="text"),
        pytest.param([STATE], id="a list"),
        pytest.param({"offset": 5}, id="another program's"),
        pytest.param(changed(version=4), id="a later version's"),
        pytest.param(changed(version=1), id="an earlier version's"),
        pytest.param(changed(version=...), id="of no version"),
        *(pytest.param(changed(**{key: ...}), id=f"without {key}") for key in STATE),
        *(pytest.param(changed(**{key: None}), id=f"{key} is null") for key in STATE),
        *(pytest.param(changed(**{key: "x"}), id=f"{key} is text") for key in STATE if key != "fingerprint"),
        pytest.param(changed(open=[3, 5]), id="open, but never read"),
        pytest.param(changed(open=[-1, 3]), id="open before the first"),
        pytest.param(changed(open=[3]), id="a record that is nowhere"),
        pytest.param(changed(announced=4), id="read, but never announced"),
        pytest.param(changed(announced=9.0), id="announced is a float"),
        pytest.param(
            changed(announced=True, read=1, open=[0], counts=dict.fromkeys(STATE["counts"], 0)),
            id="announced is a bool",
        ),
        pytest.param(changed(doubtful=7), id="doubtful is a number"),
        pytest.param(changed(doubtful=[3, "x"]), id="doubtful has text"),
        pytest.param(changed(read=6), id="counts that don't add up"),
        pytest.param(changed(counts=STATE["counts"] | {"paused": 0}), id="an outcome of a later version"),
        pytest.param(changed(counts=STATE["counts"] | {"created": 3, "existing": -1}), id="a negative count"),
        pytest.param(changed(rejects=[{"index": 1}]), id="a reject without its reason"),
        pytest.param(changed(rejects=["no"]), id="a reject that is text"),
        pytest.param(changed(pace=[[0.5, 3]]), id="a moment of other figures"),
        pytest.param(changed(pace=["words"]), id="a moment of letters"),
        pytest.param(changed(pace=[[float("nan")] * 5]), id="a moment that is no number"),
        pytest.param(changed(pace=[[0.0] * 5] * 61), id="more moments than are kept"),
        pytest.param(changed(reasons=["no"]), id="reasons without counts"),
    ],
)
def test_what_can_t_be_gone_on_from_is_recognised(state):
    assert not is_usable(state, "create")


# -- the ledger


def test_a_state_is_small_whatever_was_settled():
    ledger = ledger_of([{"email": f"p{i}@acme.io"} for i in range(10_000)], settled=tuple(range(9_990)))

    assert len(json.dumps(ledger.state())) < 250
    assert ledger.state()["open"] == list(range(9_990, 10_000))


def test_the_open_records_come_back_with_their_places():
    state = ledger_of(ROWS[:5], settled=(0, 2, 3)).state()

    records = enumerate(ROWS)
    left = Ledger().resume(records, json.loads(json.dumps(state)))

    assert left == [(1, ROWS[1]), (4, ROWS[4])]
    assert list(records) == [(5, ROWS[5])]


def test_a_state_says_what_was_announced():
    ledger = ledger_of(ROWS[:3], settled=(1,))

    assert ledger.still_open == [0, 2]
    assert ledger.state(7)["announced"] == 7
    assert ledger.state()["announced"] == ledger.state()["read"] == 3


def test_a_ledger_that_was_resumed_stands_where_the_earlier_one_did():
    earlier, later = ledger_of(ROWS[:5], settled=(0, 2, 3)), Ledger()
    records = iter(enumerate(ROWS))

    for index, record in later.resume(records, earlier.state()):
        later.read(index, record)

    assert later.state() == earlier.state()
    for ledger in (earlier, later):
        ledger.read(5, ROWS[5])
        ledger.settle(1)
    assert later.state() == earlier.state()


def test_what_comes_after_the_part_that_was_read_may_change():
    state = ledger_of(ROWS[:4], settled=(0, 1)).state()

    left = resumed([*ROWS[:4], {"email": "new@acme.io"}], state)

    assert [index for index, _ in left] == [2, 3]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="empty"),
        pytest.param(ROWS[:3], id="shorter"),
        pytest.param([ROWS[1], ROWS[0], *ROWS[2:]], id="in another order"),
        pytest.param([*ROWS[:2], {"email": "p2@acme.io", "title": "CTO"}, *ROWS[3:]], id="one has more"),
        pytest.param([{"email": "new@acme.io"}, *ROWS], id="one more at the start"),
        pytest.param([*ROWS[:2], {"email": "new@acme.io"}, *ROWS[2:]], id="one more in between"),
        pytest.param([*ROWS[:2], *ROWS[3:]], id="one less"),
        pytest.param([*ROWS[:2], ROWS[1], ROWS[3]], id="one taken for another"),
        pytest.param([*ROWS[:3], {"email": "P3@acme.io"}], id="the last in another spelling"),
    ],
)
def test_another_input_is_noticed(rows):
    state = ledger_of(ROWS[:4], settled=(0, 1)).state()

    with pytest.raises(InputChangedError, match=r"^$"):
        resumed(rows, state)


class Text:
    """A record that looks as it is told."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param([1, 11], [11, 1], id="digits"),
        pytest.param([Text("a\nb"), Text("c")], [Text("a"), Text("b\nc")], id="lines"),
        pytest.param([Text("a"), Text("1 b")], [Text("a1"), Text(" b")], id="blanks"),
    ],
)
def test_records_don_t_run_into_each_other(earlier, later):
    state = ledger_of(earlier).state()

    with pytest.raises(InputChangedError, match=r"^$"):
        resumed(later, state)


# Numbers whose hashes collide, so that their order is that in which they came.
IN_ANY_ORDER = [
    pytest.param(lambda numbers: {"x": set(numbers)}, id="a set"),
    pytest.param(lambda numbers: {"x": [{"y": (frozenset(numbers),)}]}, id="nested"),
    pytest.param(lambda numbers: {frozenset(numbers): "x"}, id="a key"),
    pytest.param(lambda numbers: set(numbers), id="the record itself"),
    pytest.param(lambda numbers: [set(numbers), object()], id="beside an address in memory"),
]


@pytest.mark.parametrize("record_of", IN_ANY_ORDER)
def test_the_order_of_a_set_makes_no_difference(record_of):
    assert str({0, 8}) != str({8, 0}), "the test needs numbers that collide"
    state = ledger_of([record_of([0, 8])]).state()

    assert len(resumed([record_of([8, 0])], state)) == 1
    for members in ([0], [0, 7], [0, 8, 16]):
        with pytest.raises(InputChangedError, match=r"^$"):
            resumed([record_of(members)], state)


class Row(Mapping[str, Any]):
    """A mapping of a stranger's class, whose text says nothing of what is in it."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def test_a_mapping_is_known_by_what_is_in_it():
    state = ledger_of([Row(email="p0@acme.io"), Row(email="p1@acme.io")]).state()

    assert len(resumed([Row(email="p0@acme.io"), Row(email="p1@acme.io")], state)) == 2
    with pytest.raises(InputChangedError, match=r"^$"):
        resumed([Row(email="p0@acme.io"), Row(email="other@acme.io")], state)


def test_where_a_value_lies_in_memory_makes_no_difference():
    rows = [[{"email": "p0@acme.io", "picture": memoryview(b"\x89PNG")}] for _ in range(2)]

    state = ledger_of(rows[0]).state()

    assert len(resumed(rows[1], state)) == 1


class Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("not for your eyes")


def endless() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"email": "p0@acme.io", "x": Unreadable()}, id="its text can't be had"),
        pytest.param({"email": "p0@acme.io", "x": 10**5_000}, id="a number too long to write"),
        pytest.param({"email": "p0@acme.io", "x": endless()}, id="too deep"),
        pytest.param({"email": "p0@acme.io", "x": "\ud800"}, id="half a surrogate pair"),
        pytest.param(None, id="None"),
    ],
)
def test_any_record_can_be_noted(record):
    state = ledger_of([record]).state()

    assert resumed([record], state) == [(0, record)]


def test_the_fingerprint_is_the_same_in_another_process():
    script = (
        "import datetime, decimal, uuid\n"
        "from airflow_provider_closers.push.checkpoint import Ledger\n"
        "ledger = Ledger()\n"
        "ledger.read(0, {'email': 'p0@acme.io', 'on': datetime.date(2026, 1, 2), 'x': object()})\n"
        "ledger.read(1, {'sum': decimal.Decimal('19.90'), 'id': uuid.UUID(int=7), 'n': 1.5, 'e': None})\n"
        "ledger.read(2, {'tags': {'a', 'b', 'c', 'd'}, 'nested': [{'x': frozenset('abcd')}]})\n"
        "ledger.read(3, set('abcd'))\n"
        "print(ledger.state()['fingerprint'])"
    )

    prints = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(prints) == 1
