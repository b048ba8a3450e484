"""From somebody else's file of addresses to a suppression list."""

from __future__ import annotations

import gzip
import json

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.suppression import SuppressionList, importing
from airflow_provider_closers.suppression.importing import Imported, import_addresses

# Airflow 2.11's paths warn when they are joined.
pytestmark = pytest.mark.filterwarnings("ignore:in a future version of UPath:PendingDeprecationWarning")

SECRET = "not a real one"


@pytest.fixture
def listed(tmp_path) -> SuppressionList:
    return SuppressionList.from_file(tmp_path / "list.txt", secret=SECRET, create=True)


@pytest.fixture(params=["on a disk", "in a store"])
def path(request, tmp_path, bucket):
    """Where a list may be."""
    return tmp_path / "list.txt" if request.param == "on a disk" else ObjectStoragePath(f"{bucket}/list.txt")


def imported(source, listed, **arguments) -> tuple[Imported, list[str]]:
    faults: list[str] = []
    return import_addresses(source, listed, on_fault=faults.append, **arguments), faults


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("out.txt", b"# theirs\nJane@acme.io\n\n  joe@acme.io \r\n", id="one address a line"),
        pytest.param("unsubscribed", b"jane@acme.io\njoe@acme.io", id="without a suffix"),
        pytest.param("out.csv", b"name,Email\nJ,jane@acme.io\n,joe@acme.io\nN,\n", id="CSV"),
        pytest.param("out.csv.gz", gzip.compress(b"email\njane@acme.io\njoe@acme.io\n"), id="gzipped CSV"),
        pytest.param("out.jsonl", b'{"email": "jane@acme.io"}\n"joe@acme.io"\n', id="JSON Lines"),
    ],
)
def test_a_file_s_addresses_go_onto_the_list_as_keyed_hashes(tmp_path, listed, name, content):
    (tmp_path / name).write_bytes(content)

    counts, faults = imported(tmp_path / name, listed)

    assert counts == Imported(addresses=2, added=2, faults=0)
    assert faults == []
    again = SuppressionList.from_file(tmp_path / "list.txt", secret=SECRET)
    assert "jane@acme.io" in again
    assert "joe@acme.io" in again
    assert b"@" not in (tmp_path / "list.txt").read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("out.csv", b"email\n#x@acme.io\n", id="CSV"),
        pytest.param("out.jsonl", b'{"email": "#x@acme.io"}\n', id="JSON Lines"),
    ],
)
def test_in_a_column_a_number_sign_begins_no_comment(tmp_path, listed, name, content):
    (tmp_path / name).write_bytes(content)

    counts, _ = imported(tmp_path / name, listed)

    assert counts == Imported(addresses=1, added=1, faults=0)
    assert "#x@acme.io" in listed


def test_a_line_that_may_be_a_comment_or_an_address_is_a_fault_that_says_how_to_write_either(
    tmp_path, listed
):
    (tmp_path / "out.txt").write_text("# jim@acme.io\n #x@acme.io\njoe@acme.io\n")

    counts, faults = imported(tmp_path / "out.txt", listed)

    assert counts == Imported(addresses=1, added=1, faults=1)
    assert faults[0].startswith(
        "record 2: it is an address that begins with '#'. For an entry write it as JSON"
    )
    assert "acme" not in faults[0]


@pytest.mark.parametrize(
    ("name", "content"), [("out.txt", b""), ("out.csv", b"email\n"), ("out.jsonl", b"\n"), ("out.csv", b"")]
)
def test_an_import_of_nobody_leaves_a_list_to_push_by(path, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    counts, _ = imported(tmp_path / name, SuppressionList.from_file(path, secret=SECRET, create=True))

    assert counts == Imported(addresses=0, added=0, faults=0)
    assert SuppressionList.from_file(path, secret=SECRET).count() == 0


def test_an_import_of_nobody_leaves_a_list_as_it_is(path, tmp_path):
    SuppressionList.from_file(path, secret=SECRET, create=True).add(["jane@acme.io"])
    (tmp_path / "out.txt").write_text("jane@acme.io\n")

    imported(tmp_path / "out.txt", SuppressionList.from_file(path, secret=SECRET, create=True))

    assert SuppressionList.from_file(path, secret=SECRET).count() == 1
    parts = path.with_name("list.txt.d")
    assert sum(part.name != "begun" for part in (parts.iterdir() if parts.exists() else ())) <= 1


def test_who_is_there_twice_or_on_the_list_is_added_once(tmp_path, listed, monkeypatch):
    monkeypatch.setattr(importing, "_BATCH", 2)
    (tmp_path / "out.txt").write_text("jane@acme.io\nJANE@acme.io\njoe@acme.io\njane@acme.io\njim@acme.io\n")
    listed.add(["jim@acme.io"])

    counts, _ = imported(tmp_path / "out.txt", listed)

    assert counts == Imported(addresses=5, added=2, faults=0)
    assert (tmp_path / "list.txt").read_bytes().count(b"\nhmac-sha256:") == 3


def test_what_is_no_address_is_told_and_holds_up_nobody(tmp_path, listed):
    (tmp_path / "out.csv").write_text("email\njane@acme.io\nnobody\nJoe <joe@acme.io>\na,b\njim@acme.io\n")

    counts, faults = imported(tmp_path / "out.csv", listed)

    assert counts == Imported(addresses=2, added=2, faults=3)
    assert faults[:2] == ["record 2 holds no address", "record 3 holds no address"]
    assert "line 5 of out.csv" in faults[2]
    assert "jim@acme.io" in listed


def test_the_column_may_have_another_name(tmp_path, listed):
    (tmp_path / "out.csv").write_text("email,Work mail\nx,jane@acme.io\n")

    counts, _ = imported(tmp_path / "out.csv", listed, column="work mail")

    assert counts.added == 1


def test_a_column_that_is_not_there_is_an_error(tmp_path, listed):
    (tmp_path / "out.csv").write_text("mail\njane@acme.io\n")

    with pytest.raises(ClosersConfigError, match=r"no column 'email'; there are 'mail'"):
        imported(tmp_path / "out.csv", listed)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("out.csv", "jane@acme.io,Jane\njoe@acme.io,Joe\n"),
        ("out.jsonl", '{"jane@acme.io": "Jane", "at": 1}\n'),
    ],
)
def test_addresses_where_names_of_columns_should_be_are_an_error_that_repeats_none(
    tmp_path, listed, name, content
):
    (tmp_path / name).write_text(content)

    with pytest.raises(
        ClosersConfigError, match=r"is a record, and no header|names should be there is an"
    ) as e:
        imported(tmp_path / name, listed)

    assert not any(word in str(e.value) for word in ("acme", "Jane"))


def test_source_and_list_may_be_in_a_store(bucket):
    source, target = (ObjectStoragePath(f"{bucket}/{name}") for name in ("out.jsonl", "list.txt"))
    with source.open("wb") as file:
        file.write(json.dumps({"email": "jane@acme.io"}).encode())

    imported(source, SuppressionList.from_file(target, secret=SECRET, create=True))

    assert "jane@acme.io" in SuppressionList.from_file(target, secret=SECRET)
