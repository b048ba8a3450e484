"""Parquet: what comes of its types, and what is said of a file that is damaged or none."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import re
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

import airflow_provider_closers
from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.sources.files import FileRecords

# What Airflow 2's own `/` gives rise to.
pytestmark = pytest.mark.filterwarnings("ignore:in a future version of UPath:PendingDeprecationWarning")

NANOSECONDS = 1_700_000_000_000_001_999
TIME = dt.datetime(2023, 11, 14, 22, 13, 20, 1)


@pytest.fixture
def write(tmp_path):
    """Write a table to a file."""

    def write(table, name="leads.parquet", **options):
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), tmp_path / name, **options)
        return tmp_path / name

    return write


@pytest.fixture
def without_pandas(monkeypatch):
    """Where pandas is not installed, or at least not to be had."""

    class Nothing:
        def find_spec(self, name, *_):
            if name.partition(".")[0] == "pandas":
                raise ImportError(name)

    for name in [name for name in sys.modules if name.partition(".")[0] == "pandas"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Nothing(), *sys.meta_path])


# -- records


@pytest.mark.parametrize("name", ["x.parquet", "x.pq", "x.PARQUET"])
def test_a_row_is_a_record(write, name):
    path = write({"email": ["jane@acme.io", "joe@acme.io"], "score": [1, None]}, name)

    assert list(FileRecords(path)) == [
        {"email": "jane@acme.io", "score": 1},
        {"email": "joe@acme.io", "score": None},
    ]


@pytest.mark.parametrize("row_group_size", [1, 4_096, 5_000, 20_000])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_rows_come_in_their_order_however_they_are_stored(write, row_group_size, compression):
    path = write({"number": range(10_000)}, row_group_size=max(row_group_size, 100), compression=compression)

    assert [record["number"] for record in FileRecords(path)] == [*range(10_000)]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain inside", "gzip inside"])
@pytest.mark.parametrize("stored", [False, True], ids=["a local path", "a store"])
def test_a_gzipped_file_is_read_too(write, bucket, suffix, pack, stored):
    path = write({"a": [1, 2]})
    content = pack(path.read_bytes())
    target = (ObjectStoragePath(f"{bucket}/in") if stored else path.parent) / f"x.parquet{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(content)

    assert list(FileRecords(target)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param(pa.array(["x"]).dictionary_encode(), "x", id="a dictionary"),
        pytest.param(
            pa.array([[("a", 1), ("b", None)]], pa.map_(pa.string(), pa.int64())),
            {"a": 1, "b": None},
            id="a map",
        ),
        pytest.param(pa.array([{"a": [1]}]), {"a": [1]}, id="a struct"),
        pytest.param(pa.array([Decimal("19.90")]), Decimal("19.90"), id="a decimal"),
        pytest.param(pa.array([dt.date(2024, 2, 29)]), dt.date(2024, 2, 29), id="a date"),
        pytest.param(pa.array([TIME], pa.timestamp("us")), TIME, id="a time in microseconds"),
        pytest.param(pa.array([NANOSECONDS], pa.timestamp("ns")), TIME, id="a time in nanoseconds"),
        pytest.param(
            pa.array([NANOSECONDS], pa.timestamp("ns", "UTC")), TIME.replace(tzinfo=dt.UTC), id="with a zone"
        ),
        pytest.param(
            pa.array([NANOSECONDS], pa.timestamp("ns")).dictionary_encode(), TIME, id="in a dictionary"
        ),
        pytest.param(
            pa.array([{"a": NANOSECONDS}], pa.struct([("a", pa.timestamp("ns"))])),
            {"a": TIME},
            id="in a struct",
        ),
        pytest.param(pa.array([[NANOSECONDS]], pa.list_(pa.timestamp("ns"))), [TIME], id="in a list"),
        pytest.param(
            pa.array([[NANOSECONDS]], pa.large_list(pa.timestamp("ns"))), [TIME], id="in a large list"
        ),
        pytest.param(
            pa.array([[("a", NANOSECONDS)]], pa.map_(pa.string(), pa.timestamp("ns"))),
            {"a": TIME},
            id="in a map",
        ),
        pytest.param(pa.array([1_999], pa.duration("ns")), dt.timedelta(microseconds=1), id="a duration"),
        pytest.param(pa.array([1_999], pa.time64("ns")), dt.time(0, 0, 0, 1), id="a time of day"),
    ],
)
def test_a_value_is_python_s_own_and_takes_no_pandas(write, without_pandas, column, value):
    path = write({"x": pa.concat_arrays([column, pa.nulls(1, column.type)])})

    records = list(FileRecords(path))

    assert records == [{"x": value}, {"x": None}]
    assert type(records[0]["x"]) is type(value)


def test_a_value_that_python_can_t_hold_is_a_reject(write):
    days = pa.array([1, 9_000_000, 2], pa.int32()).cast(pa.date32())
    path = write({"email": ["a", "b", "c"], "on": days})

    first, second, third = FileRecords(path)

    assert (first["on"], third["on"]) == (dt.date(1970, 1, 2), dt.date(1970, 1, 3))
    assert second == Unreadable(
        {"email": "b", "on": "a date32[day] that can't be read (OverflowError)"},
        "row 2 of leads.parquet has what Python can't hold in 'on'",
    )


def test_a_map_with_a_key_twice_is_a_reject(write):
    path = write({"m": pa.array([[("a", 1), ("a", 2)], [("a", 3)]], pa.map_(pa.string(), pa.int64()))})

    first, second = FileRecords(path)

    assert first.reason == "row 1 of leads.parquet has what Python can't hold in 'm'"
    assert second == {"m": {"a": 3}}


# -- what is wrong with the whole


def test_a_column_that_is_there_twice_is_an_error(write):
    path = write(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))

    with pytest.raises(ClosersConfigError, match=r"leads\.parquet' has the column 'a' 2 times"):
        list(FileRecords(path))


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PAR"], ids=["empty", "CSV", "short"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_what_is_no_parquet_is_an_error(tmp_path, content, pack):
    (tmp_path / "x.parquet").write_bytes(pack(content))

    with pytest.raises(ClosersConfigError, match=r"x\.parquet' is not Parquet; file_format"):
        list(FileRecords(tmp_path / "x.parquet"))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut in two"),
        pytest.param(
            lambda content: content[:4] + bytes(len(content) - 500) + content[-496:], id="zeros inside"
        ),
        pytest.param(lambda content: gzip.compress(content)[:-1_000], id="gzipped, and cut"),
    ],
)
def test_a_damaged_file_raises_and_names_the_file(write, damage):
    path = write({"a": range(100_000)}, compression="snappy")
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises((OSError, ValueError, EOFError), match=r".") as raised:
        list(FileRecords(path))

    assert raised.value.__notes__ == [f"This came while {str(path)!r} was read."]


@pytest.mark.parametrize("version", [None, "19.0.1"], ids=["missing", "too old"])
def test_without_pyarrow_the_error_says_how_to_get_it_before_the_first_record(write, monkeypatch, version):
    path = write({"a": [1]})
    (path.parent / "a.csv").write_text("a\n1\n")
    if version:
        monkeypatch.setattr(pa, "__version__", version)
    else:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(
        ClosersConfigError, match=r"takes pyarrow.*pip install 'airflow-provider-closers\[parquet\]'"
    ):
        next(iter(FileRecords(path.parent)))


def test_only_one_module_imports_pyarrow():
    package = Path(airflow_provider_closers.__file__).parent
    imports = re.compile(r"^\s*(import|from) pyarrow\b", re.MULTILINE)
    importers = {file.name for file in package.rglob("*.py") if imports.search(file.read_text())}

    assert importers == {"parquet.py"}


def test_a_large_row_group_is_not_in_memory_as_a_whole(write, monkeypatch):
    """What is in memory is a few pages of each column."""
    rows = 400_000
    path = write(
        {"email": [f"jane.{number}@acme.io" for number in range(rows)], "number": range(rows)},
        row_group_size=rows,
        compression="none",
        use_dictionary=False,
    )
    sizes = []

    class Noting(io.FileIO):
        def read(self, size=-1):
            sizes.append(size)
            return super().read(size)

    monkeypatch.setattr(Path, "open", lambda self, mode: Noting(self, mode))
    before = pa.total_allocated_bytes()

    most = max(pa.total_allocated_bytes() - before for _ in FileRecords(path))

    assert path.stat().st_size > 12_000_000
    assert most < 6_000_000
    assert max(sizes) <= 2**21
