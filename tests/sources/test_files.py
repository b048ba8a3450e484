"""Which files a path stands for, and what is common to all formats."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import fsspec
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.sources.files import FileRecords

# What Airflow 2's own `/` gives rise to.
pytestmark = pytest.mark.filterwarnings("ignore:in a future version of UPath:PendingDeprecationWarning")


@pytest.fixture(params=["a local path", "file://", "a store"])
def place(request, tmp_path, bucket):
    """An empty folder on each kind of storage."""
    if request.param == "a local path":
        return tmp_path
    if request.param == "file://":
        return ObjectStoragePath(f"file://{tmp_path}")
    return ObjectStoragePath(f"{bucket}/{tmp_path.name}")  # Its folders outlive a test.


def put(place, name, content=None):
    """Put a file there; unless given, its one record says its name."""
    content = f"name\n{name}\n".encode() if content is None else content
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
    return path


def names(records):
    return [record["name"] for record in records]


# -- a file


def test_a_file_is_read(place):
    path = put(place, "leads.csv")

    assert names(FileRecords(path)) == ["leads.csv"]


def test_each_iteration_reads_the_file_anew(place):
    records = FileRecords(put(place, "leads.csv"))
    first = names(records)
    put(place, "leads.csv", b"name\nnew\n")

    assert (first, names(records)) == (["leads.csv"], ["new"])


def test_nothing_is_read_before_the_first_record_is_asked_for(tmp_path):
    iter(FileRecords(tmp_path / "missing.csv"))


@pytest.mark.parametrize("name", ["missing.csv", "no/folder/missing.csv", "miss*.csv", "no*/x.csv"])
def test_a_missing_input_is_not_an_empty_one(place, name):
    put(place, "other.csv")

    with pytest.raises(ClosersConfigError, match=r"(no|No) file.*(miss.*|x)\.csv'\.") as raised:
        list(FileRecords(place / name))

    assert "A missing input is not an empty one" in str(raised.value)


@pytest.mark.parametrize("name", ["a?.csv", "a#b.csv", "a[1].csv", "a*.csv", "a b:%20.csv"])
def test_a_path_that_exists_is_no_pattern(place, name):
    put(place, "ab.csv")
    put(place, "a1.csv")
    path = put(place, name)

    assert names(FileRecords(path)) == [name]


@pytest.mark.parametrize("name", ["a?.csv", "a[1].csv"])
def test_a_uri_is_read_as_it_is_written(bucket, name):
    put(ObjectStoragePath(bucket), name)

    assert names(FileRecords(ObjectStoragePath(f"{bucket}/{name}"))) == [name]


# -- a folder


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(place):
    for name in ["part-2.csv", "part-10.csv", "part-1.csv"]:
        put(place, name)

    assert names(FileRecords(place)) == ["part-1.csv", "part-10.csv", "part-2.csv"]


@pytest.mark.parametrize("name", ["_SUCCESS", ".part-1.csv.crc", "_temporary/0/part-2.csv"])
def test_what_is_no_data_in_a_folder_is_left_out(place, name):
    put(place, "part-1.csv")
    put(place, name, b"")

    assert names(FileRecords(place)) == ["part-1.csv"]


@pytest.mark.parametrize("name", ["", "old_$folder$"], ids=["of the folder", "of one in it"])
def test_an_object_in_a_folder_s_place_is_left_out(bucket, name):
    folder = ObjectStoragePath(f"{bucket}/in")
    put(folder, "leads.csv")
    memory = fsspec.filesystem("memory")
    memory.store[f"/bucket/in/{name}"] = MemoryFile(memory, f"/bucket/in/{name}", b"")

    assert names(FileRecords(folder)) == ["leads.csv"]
    assert names(FileRecords(folder / "*")) == ["leads.csv"]


def test_a_folder_in_a_folder_is_an_error_that_names_it(place):
    put(place, "leads.csv")
    put(place, "more/leads.csv")

    with pytest.raises(ClosersConfigError, match=r"a folder, 'more', .*pattern such as '.*\*\*/\*\.parquet'"):
        list(FileRecords(place))


@pytest.mark.parametrize("name", [None, "_SUCCESS"], ids=["nothing", "no data"])
def test_a_folder_without_a_file_is_an_error(place, name):
    put(place, "in/x").unlink()
    (place / "in").mkdir(parents=True, exist_ok=True)
    if name:
        put(place, f"in/{name}")

    with pytest.raises(ClosersConfigError, match=r"no file in the folder '.*in'\. A missing input"):
        list(FileRecords(place / "in"))


def test_a_store_may_name_a_folder_as_part_of_itself(bucket, monkeypatch):
    folder = ObjectStoragePath(f"{bucket}/in")
    put(folder, "leads.csv")
    itself = {"name": "/bucket/in/", "type": "directory", "size": 0}
    listed = MemoryFileSystem.ls
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda *args, **kwargs: [*listed(*args, **kwargs), itself])

    assert names(FileRecords(folder)) == ["leads.csv"]


# -- a pattern


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("*.csv", ["b.csv"], id="in the last part"),
        pytest.param("b.*", ["b.csv"], id="for the suffix"),
        pytest.param("?.csv", ["b.csv"], id="one character"),
        pytest.param("[ab].csv", ["b.csv"], id="one of some characters"),
        pytest.param("y=*/*.csv", ["y=1/a.csv", "y=2/a.csv"], id="in two parts"),
        pytest.param("y=*/a.csv", ["y=1/a.csv", "y=2/a.csv"], id="in a folder"),
        pytest.param("**/*.csv", ["b.csv", "y=1/a.csv", "y=1/z/c.csv", "y=2/a.csv"], id="at any depth"),
        pytest.param("y=1/**", ["y=1/a.csv", "y=1/z/c.csv"], id="all below"),
        pytest.param("_*.csv", ["_b.csv"], id="that asks for what is left out else"),
        pytest.param("_old/*.csv", ["_old/d.csv"], id="in a folder that is named"),
    ],
)
def test_a_pattern_stands_for_the_files_that_match(place, pattern, expected):
    for name in ["y=2/a.csv", "y=1/a.csv", "y=1/z/c.csv", "b.csv", "_b.csv", "_old/d.csv", ".x/e.csv"]:
        put(place, name)

    assert names(FileRecords(place / pattern)) == expected


def test_a_folder_of_a_pattern_s_path_may_be_named_like_a_pattern(place):
    put(place, "[1]/a.csv")
    put(place, "1/b.csv")

    assert names(FileRecords(place / "[1]" / "*.csv")) == ["[1]/a.csv"]


@pytest.mark.parametrize("name", ["a#b", "a?b", "a*b", "a b%20"])
def test_a_folder_may_have_any_name(place, name):
    put(place, f"{name}/a.csv")

    assert names(FileRecords(place / name)) == names(FileRecords(place / name / "*.csv")) == [f"{name}/a.csv"]


def test_a_pattern_that_matches_folders_alone_is_an_error(place):
    put(place, "y=1/a.csv")

    with pytest.raises(ClosersConfigError, match=r"No file matches '.*y=\*'"):
        list(FileRecords(place / "y=*"))


def test_a_link_that_leads_nowhere_is_not_left_out(tmp_path):
    put(tmp_path, "a.csv")
    (tmp_path / "b.csv").symlink_to(tmp_path / "gone.csv")

    with pytest.raises(FileNotFoundError, match=r"b\.csv"):
        list(FileRecords(tmp_path))


# -- formats

RECORD = {"name": "leads"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"name\nleads\n"),
        ("x.CSV", b"name\nleads\n"),
        ("x.tsv", b"name\t\nleads\t\n"),
        ("x.jsonl", b'{"name": "leads"}'),
        ("x.ndjson", b'{"name": "leads"}'),
        ("x.json", b'{"name": "leads"}'),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz", ".GZ"], ids=["plain", "gz", "GZ"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain inside", "gzip inside"])
def test_a_suffix_says_the_format_and_the_first_bytes_say_gzip(tmp_path, name, content, suffix, pack):
    put(tmp_path, name + suffix, pack(content))

    assert list(FileRecords(tmp_path)) == [RECORD]


def test_a_file_format_overrules_the_suffix(tmp_path):
    put(tmp_path, "leads.csv", b'{"name": "leads"}')

    assert list(FileRecords(tmp_path, file_format="jsonl")) == [RECORD]


def test_a_folder_may_hold_several_formats(tmp_path):
    put(tmp_path, "a.csv")
    put(tmp_path, "b.json", b'{"name": "b.json"}')

    assert names(FileRecords(tmp_path)) == ["a.csv", "b.json"]


def test_an_unknown_suffix_is_an_error_before_the_first_record(place):
    put(place, "a.csv")
    put(place, "b.xlsx")

    with pytest.raises(
        ClosersConfigError, match=r"'.*b\.xlsx' is of no format.*file_format.*csv, jsonl, par"
    ):
        next(iter(FileRecords(place)))


@pytest.mark.parametrize(
    ("file_format", "message"),
    [
        (
            "json",
            r"file_format is 'json'; it must be one of csv, jsonl, parquet \(did you mean 'jsonl'\?\)\.",
        ),
        ("PARQUET", r"'PARQUET'; it must be one of csv, jsonl, parquet\."),
        (7, "file_format is 7;"),
        ("", "file_format is '';"),
    ],
)
def test_an_unknown_format_is_an_error(file_format, message):
    with pytest.raises(ClosersConfigError, match=message):
        FileRecords(Path("x"), file_format=file_format)


@pytest.mark.parametrize("encoding", ["utf-9", "base64", None, "hex"])
def test_an_unknown_encoding_is_an_error(encoding):
    with pytest.raises(ClosersConfigError, match=f"encoding is {encoding!r}"):
        FileRecords(Path("x"), encoding=encoding)


# -- damaged files


@pytest.mark.parametrize("name", ["x.csv.gz", "x.jsonl.gz"])
@pytest.mark.parametrize(
    ("damage", "error"),
    [
        pytest.param(lambda packed: packed[: len(packed) // 2], EOFError, id="cut in two"),
        pytest.param(lambda packed: packed[:-8] + b"\0" * 8, OSError, id="wrong checksum"),
        pytest.param(lambda packed: packed + b"rubbish", OSError, id="followed by something else"),
    ],
)
def test_a_damaged_gzip_raises_and_names_the_file(place, name, damage, error):
    content = b"".join(b'{"name": "%d"}\n' % number for number in range(100_000))
    path = put(place, name, damage(gzip.compress(content)))

    with pytest.raises(error, match=r".") as raised:
        list(FileRecords(path))

    (note,) = raised.value.__notes__
    assert note.startswith("This came while '")
    assert note.endswith(f"{name}' was read.")


# -- resources


@pytest.fixture
def opened(monkeypatch):
    """The files that were opened."""
    files = []
    open_path = Path.open

    def open_and_note(self, *args, **kwargs):
        files.append(open_path(self, *args, **kwargs))
        return files[-1]

    monkeypatch.setattr(Path, "open", open_and_note)
    return files


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.jsonl"])
def test_a_file_is_closed_with_the_generator(tmp_path, opened, name):
    content = b'"name"\n"a"\n' * 100_000
    path = put(tmp_path, name, gzip.compress(content) if name.endswith("gz") else content)
    opened.clear()

    records = iter(FileRecords(path))
    next(records)
    was_open = [not file.closed for file in opened]
    records.close()

    assert was_open == [True]
    assert opened[0].closed


def test_a_file_is_closed_when_it_fails(tmp_path, opened):
    path = put(tmp_path, "x.csv.gz", gzip.compress(b"name\n" + os.urandom(100_000).hex().encode())[:-50])
    opened.clear()

    with pytest.raises(EOFError, match="end-of-stream"):
        list(FileRecords(path))

    assert [file.closed for file in opened] == [True]


def test_one_file_is_open_at_a_time(tmp_path, opened):
    for number in range(3):
        put(tmp_path, f"{number}.csv")
    opened.clear()

    most = max(sum(not file.closed for file in opened) for _ in FileRecords(tmp_path))

    assert (most, len(opened)) == (1, 3)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    line = b"jane@acme.io,Jane,Doe\n" if name == "x.csv" else b'{"email": "jane@acme.io", "name": "Jane"}\n'

    def peak(lines):
        header = b"email,first_name,last_name\n" if name == "x.csv" else b""
        records = FileRecords(put(tmp_path, name, header + line * lines))
        tracemalloc.start()
        assert sum(1 for _ in records) == lines
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(120_000) < peak(30_000) * 1.2


def test_an_error_of_whoever_reads_is_not_the_file_s(tmp_path):
    path = put(tmp_path, "x.json", json.dumps("jane@acme.io").encode())

    def read():
        for _ in FileRecords(path):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine") as raised:
        read()

    assert not hasattr(raised.value, "__notes__")
