"""JSON Lines: what a record is, and what is said of a line that is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.push.rejects import RejectsFile
from airflow_provider_closers.push.report import Reject
from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.sources.files import FileRecords

JANE = {"email": "jane@acme.io", "first_name": "Jane"}


@pytest.fixture
def read(tmp_path):
    """Read a JSON Lines file of this content."""

    def read(content, **options):
        path = tmp_path / "leads.jsonl"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(FileRecords(path, **options))

    return read


# -- records


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"a": 1}\n{"a": 2}\n', id="LF"),
        pytest.param('{"a": 1}\r\n{"a": 2}\r\n', id="CRLF"),
        pytest.param('{"a": 1}\r{"a": 2}\r', id="CR"),
        pytest.param('{"a": 1}\n{"a": 2}', id="the last line has no end"),
        pytest.param('\ufeff{"a": 1}\n{"a": 2}', id="a byte order mark"),
        pytest.param('\n \t\n{"a": 1}\n\r\n\n {"a": 2} \n\n', id="blank lines"),
    ],
)
def test_a_line_is_a_record(read, content):
    assert read(content) == [{"a": 1}, {"a": 2}]


def test_an_empty_file_has_no_record(read):
    assert read("") == read("\n") == []


def test_an_email_stands_for_a_record_to_delete(read):
    assert read('"jane@acme.io"\n{"email": "joe@acme.io"}\n') == ["jane@acme.io", {"email": "joe@acme.io"}]


def test_only_line_ends_end_a_line(read):
    cell = "1\x7f2\x853\u20284\u20295"

    assert read(json.dumps({"a": cell}, ensure_ascii=False)) == [{"a": cell}]


def test_a_text_may_be_in_another_encoding(read):
    assert read('{"a": "é"}'.encode("utf-16"), encoding="utf-16") == [{"a": "é"}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text())),
    st.booleans(),
    st.sampled_from([3, 64, 256 * 1024]),
)
def test_what_the_json_module_wrote_is_read_as_it_was(tmp_path, records, ascii_only, block):
    lines = [json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records]
    path = tmp_path / "x.jsonl"
    path.write_bytes("".join(lines).encode(errors="backslashreplace"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_closers.sources.lines._BLOCK", block)

        assert list(FileRecords(path)) == records


# -- a rejects' file


def test_a_rejects_file_can_be_pushed_again(tmp_path):
    path = tmp_path / "rejects.jsonl"
    records = [JANE, "jane@acme.io", "a line, that nobody mended", None, {"other": {"x": [1]}}]
    with RejectsFile(path) as rejects:
        for index, record in enumerate(records):
            rejects(Reject(index, record, "no good", 1, 422))

    assert list(FileRecords(path)) == records


@pytest.mark.parametrize(
    "record",
    [
        {"index": 1, "reason": "x", "attempts": 1, "status": None, "record": JANE, "email": "j@acme.io"},
        {"index": 1, "reason": "x", "attempts": 1, "record": JANE},
        {"record": JANE},
    ],
    ids=["one key more", "one key less", "only the record"],
)
def test_what_only_resembles_a_reject_is_a_record(read, record):
    assert read(json.dumps(record)) == [record]


# -- bad lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": 5ecret}', "is not JSON: Expecting ',' delimiter (column 8)"),
        (' {"a": "5ecret}', "is not JSON: Unterminated string starting at (column 8)"),
        ('{"a": "5ecret"} x', "is not JSON: Extra data (column 17)"),
        ('{"a": 1}{"5ecret": 2}', "is not JSON: Extra data (column 9)"),
        ("{'5ecret': 1}", "is not JSON: Expecting property name enclosed in double quotes (column 2)"),
        ("{", "is not JSON: Expecting property name enclosed in double quotes (column 2)"),
        ("5ecret", "is not JSON: Extra data (column 2)"),
        ("[" * 100_000, "is nested too deep"),
        ('{"a": ' + "1" * 5_000 + "}", "holds a number that is too long"),
        ("[", "is of a JSON array; JSON Lines is wanted, one object a line"),
        (" ] ", "is of a JSON array; JSON Lines is wanted, one object a line"),
        ('[{"a": "5ecret"}]', "is of a JSON array; JSON Lines is wanted, one object a line"),
        ("[]", "is of a JSON array; JSON Lines is wanted, one object a line"),
        ("5", "is JSON's number; it must be an object"),
        ("1.5", "is JSON's number; it must be an object"),
        ("true", "is JSON's true or false; it must be an object"),
        ("null", "is JSON's null; it must be an object"),
    ],
)
def test_a_bad_line_is_a_reject_that_says_where_and_not_what(read, line, reason):
    records = read(f'\n{{"a": 1}}\n{line}\n{{"a": 2}}\n')

    assert records == [{"a": 1}, Unreadable(line, f"line 3 of leads.jsonl {reason}"), {"a": 2}]
    assert "5ecret" not in reason


def test_bytes_that_are_not_in_the_encoding_are_a_reject(read):
    records = read('{"a": "é"}\n'.encode() + b'{"a": "\xe9"}\n{"a": 2}\n')

    reason = "line 2 of leads.jsonl is not utf-8; encoding says how the text is encoded"
    assert records == [{"a": "é"}, Unreadable('{"a": "\\xe9"}', reason), {"a": 2}]


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("{", "line 2 of leads.jsonl is longer than 16,777,216 characters"),
        (" [{", "line 2 of leads.jsonl is of a JSON array; JSON Lines is wanted, one object a line"),
    ],
    ids=["an object", "an array"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_line_that_is_too_long_is_a_reject_and_not_kept(read, start, reason, end):
    line = start + "x" * 17 * 2**20

    first, too_long, bad, last = read(end.join(['{"a": 1}', line, "x", '{"a": 2}']))

    assert (first, last) == ({"a": 1}, {"a": 2})
    assert too_long == Unreadable(line[:1_000] + "...", reason)
    assert bad.reason.startswith("line 3 of")
