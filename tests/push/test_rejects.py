"""The rejects' file: whatever was rejected is in it, a line each, to be mended and pushed again."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from object_store import StoredPath

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.rejects import RejectsFile, as_sink
from airflow_provider_closers.push.report import Reject

JANE = {"email": "jane@acme.io", "first_name": "Jane"}
JOE = {"email": "joe@acme.io"}

PATHS = [
    pytest.param(lambda folder: folder / "new" / "rejects.jsonl", id="a local path"),
    pytest.param(lambda folder: ObjectStoragePath(f"file://{folder}/new/rejects.jsonl"), id="file://"),
    pytest.param(lambda folder: StoredPath(folder / "new" / "rejects.jsonl"), id="a store"),
]


def reject(record: Any, index: int = 0) -> Reject:
    return Reject(index, record, "no good", 2, 422)


def lines(path: Any) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def written(folder: Any, record: Any) -> Any:
    """Return a record as the file gives it back."""
    path = folder / "one.jsonl"
    with RejectsFile(path) as file:
        file(reject(record))
    (line,) = lines(path)
    return line["record"]


# -- the file


@pytest.mark.parametrize("path_in", PATHS)
def test_each_reject_is_a_line_that_says_why(tmp_path, path_in):
    with RejectsFile(path_in(tmp_path)) as file:
        file(Reject(3, JANE, "no good", 2, 422))
        file(Reject(7, "nobody", "the record is a str"))

    assert file.is_written
    assert lines(tmp_path / "new" / "rejects.jsonl") == [
        {"index": 3, "reason": "no good", "attempts": 2, "status": 422, "record": JANE},
        {"index": 7, "reason": "the record is a str", "attempts": 0, "status": None, "record": "nobody"},
    ]


@pytest.mark.parametrize("path_in", PATHS)
@pytest.mark.parametrize("keep", [False, True], ids=["anew", "going on"])
def test_without_a_reject_there_is_no_file(tmp_path, path_in, keep):
    with RejectsFile(path_in(tmp_path), keep=keep) as file:
        pass

    assert not file.is_written
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    with RejectsFile(tmp_path / "rejects.jsonl") as file:
        file(reject(JANE))

        assert [line["record"] for line in lines(tmp_path / "rejects.jsonl")] == [JANE]


@pytest.mark.parametrize("path_in", PATHS)
def test_the_file_of_an_earlier_push_is_removed_when_this_one_begins(tmp_path, path_in):
    with RejectsFile(path_in(tmp_path)) as file:
        file(reject(JANE))

    with RejectsFile(path_in(tmp_path)) as file:
        assert (tmp_path / "new" / "rejects.jsonl").exists()
        file.start_over()
        assert not (tmp_path / "new" / "rejects.jsonl").exists()
        file(reject(JOE))

    assert [line["record"] for line in lines(tmp_path / "new" / "rejects.jsonl")] == [JOE]


@pytest.mark.parametrize("path_in", PATHS)
def test_a_push_that_goes_on_keeps_the_rejects_of_the_earlier_try(tmp_path, path_in):
    for index, record in enumerate([JANE, JOE]):
        with RejectsFile(path_in(tmp_path), keep=True) as file:
            file(reject(record, index))

    assert [line["record"] for line in lines(tmp_path / "new" / "rejects.jsonl")] == [JANE, JOE]


def test_a_push_that_goes_on_without_new_rejects_still_has_those_of_the_earlier_try(tmp_path):
    path = tmp_path / "rejects.jsonl"
    with RejectsFile(path) as file:
        file(reject(JANE))

    with RejectsFile(path, keep=True) as file:
        pass

    assert file.is_written
    assert len(lines(path)) == 1


def test_a_line_that_a_crash_cut_short_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "rejects.jsonl"
    path.write_text('{"index": 0, "record": {}}\n{"index": 1, "rea')

    with RejectsFile(path, keep=True) as file:
        file(reject(JOE, 2))

    first, cut, last = path.read_text().splitlines()
    assert json.loads(first)["index"] == 0
    assert cut == '{"index": 1, "rea'
    assert json.loads(last)["record"] == JOE


@pytest.mark.parametrize("path_in", PATHS)
def test_the_rejects_of_a_push_that_fails_are_kept(push, tmp_path, path_in):
    def source():
        yield {"email": "nobody"}
        raise RuntimeError("stopped")

    file = RejectsFile(path_in(tmp_path))
    with file, pytest.raises(RuntimeError, match="stopped"):
        push("create", source(), on_reject=file)

    assert file.is_written
    assert len(lines(tmp_path / "new" / "rejects.jsonl")) == 1


def test_a_path_that_can_t_be_written_is_an_error_before_the_first_reject(tmp_path):
    (tmp_path / "taken").write_text("")

    with (
        pytest.raises(ClosersConfigError, match=r"can't be written .*; nothing was sent"),
        RejectsFile(tmp_path / "taken" / "rejects.jsonl"),
    ):
        pass


@pytest.mark.parametrize("path_in", PATHS)
def test_starting_over_drops_what_was_there(tmp_path, path_in):
    path = tmp_path / "new" / "rejects.jsonl"
    path.parent.mkdir()
    path.write_text("{}\n")

    with RejectsFile(path_in(tmp_path), keep=True) as file:
        file(reject(JOE))
        file.start_over()
        assert not file.is_written
        file(reject(JANE))

    assert [line["record"] for line in lines(path)] == [JANE]


def test_a_file_that_nobody_entered_begins_anew_too(tmp_path):
    path = tmp_path / "rejects.jsonl"
    path.write_text("{}\n")

    file = RejectsFile(path)
    assert not file.is_written
    file(reject(JANE))
    file.__exit__(None, None, None)

    assert [line["record"] for line in lines(path)] == [JANE]


# -- a store


def test_on_a_store_rejects_are_safe_once_they_are_flushed(tmp_path):
    path = StoredPath(tmp_path / "rejects.jsonl")

    with RejectsFile(path) as file:
        for index, record in enumerate([JANE, JOE]):
            file(reject(record, index))
            file.flush()
            file.flush()
            assert len(lines(path)) == index + 1

    assert path.uploads == 2


def test_rejects_outlive_a_failing_store(tmp_path):
    path = StoredPath(tmp_path / "rejects.jsonl")

    with RejectsFile(path) as file:
        file(reject(JANE, 0))
        path.is_down = True
        with pytest.raises(ConnectionError, match="down"):
            file.flush()
        path.is_down = False
        file(reject(JOE, 1))

    assert [line["record"] for line in lines(path)] == [JANE, JOE]


def test_a_store_that_fails_in_the_end_is_an_error(tmp_path):
    path = StoredPath(tmp_path / "rejects.jsonl")
    path.is_down = True

    with pytest.raises(ConnectionError, match="down"), RejectsFile(path) as file:
        file(reject(JANE))


def test_a_store_that_fails_in_the_end_does_not_hide_what_ended_the_push(tmp_path, caplog):
    def push_is_stopped(file: RejectsFile) -> None:
        file(reject(JANE))
        raise RuntimeError("stopped")

    path = StoredPath(tmp_path / "rejects.jsonl")
    path.is_down = True
    with pytest.raises(RuntimeError, match="stopped"), RejectsFile(path) as file:
        push_is_stopped(file)

    assert "The last rejects can't be written" in caplog.text


def test_airflow_s_own_paths_into_a_store(bucket):
    path = ObjectStoragePath(f"{bucket}/new/rejects.jsonl")

    with RejectsFile(path) as file:
        for index, record in enumerate([JANE, JOE, JANE]):
            file(reject(record, index))
        file.flush()
        assert len(lines(path)) == 3
    with RejectsFile(path, keep=True) as file:
        file.resume(lambda index: index < 1)
        file(reject(JOE, 1))
    assert [line["record"] for line in lines(path)] == [JANE, JOE]
    assert file.is_written
    with RejectsFile(path) as file:
        file.start_over()

    assert not file.is_written
    assert not path.exists()


# -- a push that goes on


def a_line(index: int, **changes: Any) -> bytes:
    line = {"index": index, "reason": "no good", "attempts": 1, "status": 422, "record": JANE}
    return json.dumps(line | changes).encode() + b"\n"


@pytest.mark.parametrize("path_in", PATHS)
@pytest.mark.parametrize(
    ("earlier", "kept"),
    [
        pytest.param(a_line(0) + a_line(4), a_line(0) + a_line(4), id="all are settled"),
        pytest.param(a_line(0) + a_line(5) + a_line(4), a_line(0) + a_line(4), id="one is not"),
        pytest.param(a_line(7) + a_line(5), b"", id="none is"),
        pytest.param(a_line(0) + a_line(1)[:-20], a_line(0), id="a line cut short"),
        pytest.param(a_line(0)[:-20], b"", id="nothing but a line cut short"),
        pytest.param(a_line(0) + a_line(1)[:-1], a_line(0) + a_line(1), id="the last lacks its end"),
        pytest.param(a_line(0) + a_line(6)[:-1], a_line(0), id="the last lacks its end and is not settled"),
        pytest.param(b"# mine\n\n{}\n" + a_line(9), b"# mine\n\n{}\n", id="lines that are not ours"),
        pytest.param(b'[9]\n{"index": 9}\n', b'[9]\n{"index": 9}\n', id="JSON that is not ours"),
        pytest.param(a_line(True), a_line(True), id="an index that is none"),
        pytest.param(b"\xff\x00\n" + a_line(9), b"\xff\x00\n", id="no text"),
        pytest.param(b"[" * 100_000 + b"\n", b"[" * 100_000 + b"\n", id="too deep"),
        pytest.param(
            a_line(0, reason="\u2028\x85é") * 2, a_line(0, reason="\u2028\x85é") * 2, id="line breaks"
        ),
    ],
)
def test_what_comes_again_is_dropped(tmp_path, path_in, earlier, kept):
    path = tmp_path / "new" / "rejects.jsonl"
    path.parent.mkdir()
    path.write_bytes(earlier)

    with RejectsFile(path_in(tmp_path), keep=True) as file:
        file.resume(lambda index: index < 5)
        assert file.is_written is bool(kept)
        file(reject(JOE, 5))

    assert path.read_bytes().startswith(kept)
    (last,) = path.read_bytes().removeprefix(kept).splitlines()
    assert json.loads(last)["index"] == 5
    assert [entry.name for entry in path.parent.iterdir()] == ["rejects.jsonl"]


@pytest.mark.parametrize("path_in", PATHS)
def test_what_comes_again_is_dropped_even_if_it_does_not(tmp_path, path_in):
    path = tmp_path / "new" / "rejects.jsonl"
    path.parent.mkdir()
    path.write_bytes(a_line(0) + a_line(5))

    with RejectsFile(path_in(tmp_path), keep=True) as file:
        file.resume(lambda index: index < 5)
        file.flush()

        assert path.read_bytes() == a_line(0)


@pytest.mark.parametrize("path_in", PATHS)
def test_a_push_can_go_on_without_a_file(tmp_path, path_in):
    with RejectsFile(path_in(tmp_path), keep=True) as file:
        file.resume(lambda _: True)
        assert not file.is_written
        file(reject(JANE))

    assert len(lines(tmp_path / "new" / "rejects.jsonl")) == 1


def test_a_file_that_is_not_to_be_kept_is_not_gone_on_with(tmp_path):
    path = tmp_path / "rejects.jsonl"
    path.write_bytes(a_line(0))

    with RejectsFile(path) as file:
        file.resume(lambda _: True)

    assert not path.exists()


# -- killed

PUSH = """
import sys
from pathlib import Path
from object_store import StoredPath
from airflow_provider_closers.push.checkpoint import FileCheckpoint
from airflow_provider_closers.push.rejects import RejectsFile
from airflow_provider_closers.push.report import Reject

kind = {"Path": Path, "StoredPath": StoredPath}[sys.argv[1]]
checkpoint = FileCheckpoint(kind(Path("point.json")))
read = (checkpoint.load() or {"read": 0})["read"]
with RejectsFile(kind(Path("rejects.jsonl")), keep=read > 0) as rejects:
    rejects.resume(lambda index: index < read)
    for index in range(read, 1_000_000):
        rejects(Reject(index, {"email": f"p{index}@acme.io"}, "no good"))
        if index % 3 == 2:
            rejects.flush()
            checkpoint.save({"read": index + 1, "what a state holds besides": "x" * 1_500})
"""


def read_in(point: Path) -> int:
    return json.loads(point.read_bytes())["read"] if point.exists() else 0


@pytest.mark.parametrize("kind", [Path, StoredPath], ids=lambda kind: kind.__name__)
def test_a_push_that_is_killed_again_and_again_has_each_reject_once(tmp_path, kind):
    point, path = tmp_path / "point.json", tmp_path / "rejects.jsonl"
    environment = os.environ | {"PYTHONPATH": str(Path(sys.modules[StoredPath.__module__].__file__).parent)}

    for _ in range(4):
        before = read_in(point)
        process = subprocess.Popen([sys.executable, "-c", PUSH, kind.__name__], cwd=tmp_path, env=environment)
        while process.poll() is None and read_in(point) < before + 50:
            pass  # Each look at the state finds a whole one.
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

        settled = range(read_in(point))
        *whole, _ = path.read_bytes().split(b"\n")
        assert {json.loads(line)["index"] for line in whole}.issuperset(settled)

    with RejectsFile(kind(path), keep=True) as file:
        file.resume(settled.__contains__)
    assert [line["index"] for line in lines(path)] == [*settled]


# -- other handlers of rejects


def test_a_plain_function_does_for_a_handler():
    kept: list[Reject] = []
    sink = as_sink(kept.append)

    sink.resume(lambda _: False)
    sink.start_over()
    sink(reject(JANE))
    sink.flush()

    assert kept == [reject(JANE)]


def test_no_handler_does_too():
    sink = as_sink(None)

    sink(reject(JANE))
    sink.flush()


def test_a_file_of_rejects_is_a_handler_as_it_is(tmp_path):
    file = RejectsFile(tmp_path / "rejects.jsonl")

    assert as_sink(file) is file


# -- the records


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "as_written"),
    [
        pytest.param("Zoë 🦄", "Zoë 🦄", id="not ASCII"),
        pytest.param("a\nb\u2028c", "a\nb\u2028c", id="line breaks"),
        pytest.param("\ud800", "\ud800", id="half a surrogate pair"),
        pytest.param(True, True, id="a bool"),
        pytest.param(7, 7, id="an int"),
        pytest.param(1.5, 1.5, id="a float"),
        pytest.param(None, None, id="None"),
        pytest.param(float("nan"), None, id="NaN"),
        pytest.param(decimal.Decimal("NaN"), None, id="a decimal NaN"),
        pytest.param(pd.NA, None, id="pandas' NA"),
        pytest.param(pd.NaT, None, id="pandas' NaT"),
        pytest.param(float("inf"), "inf", id="infinity"),
        pytest.param(np.int64(7), 7, id="numpy's int"),
        pytest.param(np.bool_(True), True, id="numpy's bool"),
        pytest.param(np.array([1, 2]), [1, 2], id="numpy's array"),
        pytest.param(decimal.Decimal("19.90"), "19.90", id="a decimal"),
        pytest.param(dt.date(2026, 1, 2), "2026-01-02", id="a date"),
        pytest.param(uuid.UUID(int=7), str(uuid.UUID(int=7)), id="a UUID"),
        pytest.param(b"\x00", "b'\\x00'", id="bytes"),
        pytest.param(Colour.RED, "Colour.RED", id="an enum"),
        pytest.param((1, [2, {"a": float("nan")}]), [1, [2, {"a": None}]], id="nested"),
        pytest.param({"x"}, ["x"], id="a set"),
        pytest.param(MappingProxyType({"a": 1}), {"a": 1}, id="a mapping of another kind"),
        pytest.param({1: "a", None: "b"}, {"1": "a", "None": "b"}, id="keys that are no text"),
    ],
)
def test_a_record_is_written_as_it_was_given(tmp_path, value, as_written):
    assert written(tmp_path, JANE | {"x": value}) == JANE | {"x": as_written}


class Unreadable:
    def __str__(self) -> str:
        raise RuntimeError("not for your eyes")


def circular() -> dict[str, Any]:
    record: dict[str, Any] = dict(JANE)
    record["self"] = record
    return record


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(JANE | {"x": Unreadable()}, id="its text can't be had"),
        pytest.param(JANE | {"x": 10**5_000}, id="a number too long to write"),
        pytest.param(circular(), id="holds itself"),
    ],
)
def test_a_record_that_can_t_be_written_does_not_hold_up_the_others(tmp_path, record):
    path = tmp_path / "rejects.jsonl"

    with RejectsFile(path) as file:
        file(reject(record, 0))
        file(reject(JOE, 1))

    assert [(line["index"], line["record"]) for line in lines(path)] == [
        (0, "a dict that can't be written"),
        (1, JOE),
    ]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(ANYTHING, max_size=5))
def test_any_records_become_a_line_each(tmp_path, records):
    path = tmp_path / "rejects.jsonl"

    with RejectsFile(path) as file:
        for index, record in enumerate(records):
            file(reject(record, index))

    assert file.is_written is bool(records)
    if records:
        assert [line["index"] for line in map(json.loads, path.read_bytes().split(b"\n")[:-1])] == list(
            range(len(records))
        )


def test_a_mended_reject_can_be_pushed_again(push, sandbox, tmp_path):
    path = tmp_path / "rejects.jsonl"
    broken = {"email": "jane@acme", "first_name": "Jane", "title": None, "score": np.int64(7)}
    with RejectsFile(path) as file:
        push("create", [broken], on_reject=file)

    mended = [line["record"] | {"email": "jane@acme.io"} for line in lines(path)]
    report = push("create", mended)

    assert report.created == 1
    assert sandbox.prospect("jane@acme.io")["otherAttribute"] == {"score": 7}
