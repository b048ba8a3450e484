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


def test_source_and_list_may_be_in_a_store(bucket):
    source, target = (ObjectStoragePath(f"{bucket}/{name}") for name in ("out.jsonl", "list.txt"))
    with source.open("wb") as file:
        file.write(json.dumps({"email": "jane@acme.io"}).encode())

    imported(source, SuppressionList.from_file(target, secret=SECRET, create=True))

    assert "jane@acme.io" in SuppressionList.from_file(target, secret=SECRET)
