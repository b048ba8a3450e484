"""CSV: what a record is, and that a bad line costs no other line."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.push.rejects import RejectsFile
from airflow_provider_closers.push.report import Reject
from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.sources import csv_records
from airflow_provider_closers.sources.files import FileRecords


@pytest.fixture
def read(tmp_path):
    """Read a CSV file of this content."""

    def read(content, name="leads.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        encoding = options.pop("encoding", "utf-8")
        return list(FileRecords(path, encoding=encoding, csv_options=options or None))

    return read


def good(records):
    return [record for record in records if not isinstance(record, Unreadable)]


def bad(records):
    return [record for record in records if isinstance(record, Unreadable)]


# -- records


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("a,b\n1,2\n", id="LF"),
        pytest.param("a,b\r\n1,2\r\n", id="CRLF"),
        pytest.param("a,b\r1,2\r", id="CR"),
        pytest.param("a,b\n1,2", id="the last line has no end"),
        pytest.param("\ufeffa,b\n1,2\n", id="a byte order mark"),
        pytest.param('\ufeff"a",b\n1,2\n', id="a byte order mark before a quote"),
        pytest.param("\n\r\na,b\n\n1,2\n\n\n", id="blank lines"),
        pytest.param("a,b,\n1,2,\n", id="a delimiter at the end of each line"),
        pytest.param("a,,b, \n1,,2,\n", id="columns without a name"),
        pytest.param('"a","b"\n"1","2"\n', id="quotes"),
    ],
)
def test_a_record_is_a_mapping_from_column_to_text(read, content):
    assert read(content) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_quoted_cell_may_have_several_lines(read, end):
    records = read(f'a,b{end}"x{end}{end}y",2{end}3,4{end}5{end}')

    assert good(records) == [{"a": f"x{end}{end}y", "b": "2"}, {"a": "3", "b": "4"}]
    assert [record.reason for record in bad(records)] == ["line 6 of leads.csv has 1 cells, its header has 2"]


def test_an_empty_cell_is_none(read):
    assert read('a,b,c\n,"", \n') == [{"a": None, "b": None, "c": " "}]


@pytest.mark.parametrize("content", ["", "\n\n", "a,b\n", "a,b", "\ufeff"])
def test_a_file_without_a_record_has_none(read, content):
    assert read(content) == []


@pytest.mark.parametrize(
    ("content", "options"),
    [
        pytest.param("a;b\n1;2\n", {"delimiter": ";"}, id="delimiter"),
        pytest.param("a\tb\n1\t2\n", {"dialect": "excel-tab"}, id="dialect"),
        pytest.param("a,b\n'1','2'\n", {"quotechar": "'"}, id="quotechar"),
        pytest.param("a, b\n1, 2\n", {"skipinitialspace": True}, id="skipinitialspace"),
        pytest.param("1,2\n", {"fieldnames": ["a", "b"]}, id="fieldnames"),
        pytest.param("a,b\n1,2\n", {"fieldnames": None}, id="no fieldnames"),
        pytest.param("1,,2\n", {"fieldnames": ["a", "", "b"]}, id="fieldnames with none"),
    ],
)
def test_options_are_those_of_the_csv_module(read, content, options):
    assert read(content, **options) == [{"a": "1", "b": "2"}]


def test_an_escaped_line_end_belongs_to_the_cell(read):
    options = {"quoting": csv.QUOTE_NONE, "escapechar": "\\", "quotechar": None}

    assert read('a,b\n1\\\n2,"\n3,4\n', **options) == [{"a": "1\n2", "b": '"'}, {"a": "3", "b": "4"}]


def test_numbers_without_quotes_are_numbers_where_that_is_asked_for(read):
    records = read('"a","b"\n0,"x"\n1.5,y\n2,"z"\n', quoting=csv.QUOTE_NONNUMERIC)

    assert good(records) == [{"a": 0.0, "b": "x"}, {"a": 2.0, "b": "z"}]
    assert bad(records) == [Unreadable("1.5,y", "line 3 of leads.csv: a cell without quotes is not a number")]


@pytest.mark.parametrize("name", ["x.tsv", "x.TSV.gz"])
def test_a_tsv_file_has_tabs_unless_said_otherwise(read, name):
    assert read("a\tb\n1\t2\n", name) == read("a;b\n1;2\n", name, delimiter=";") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "gb18030"])
def test_a_text_may_be_in_any_encoding(read, encoding):
    records = read("a,b\né,2\n".encode(encoding), encoding=encoding)

    assert records == [{"a": "é", "b": "2"}]


def test_only_line_ends_end_a_line(read):
    """What str.splitlines takes for ends too."""
    cell = "1\x0b2\x0c3\x1c4\x1d5\x1e6\x857\u20288\u20299"

    assert read(f"a,b\n{cell},x\n") == [{"a": cell, "b": "x"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("width", [1, 7, 13])
def test_lines_are_the_same_wherever_a_block_ends(read, monkeypatch, end, width):
    monkeypatch.setattr("airflow_provider_closers.sources.lines._BLOCK", width)

    records = read(f'a,b{end}é,"x{end}y"{end}{end}1{end}\U0001f600,2{end}')

    assert good(records) == [{"a": "é", "b": f"x{end}y"}, {"a": "\U0001f600", "b": "2"}]
    assert [record.reason for record in bad(records)] == ["line 5 of leads.csv has 1 cells, its header has 2"]


# -- what is wrong with the whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimeter": ";"}, r"csv_options has 'delimeter'; it may have .*\(did you mean 'delimiter'\?\)"),
        ({"restkey": "x"}, "csv_options has 'restkey'"),
        ({"delimiter": "\\t"}, r"csv_options can't be used .*delimiter='\\\\t'.*1-character"),
        ({"quoting": 9}, 'quoting=9.*bad "quoting" value'),
        ({"dialect": "exel"}, "dialect='exel'.*unknown dialect"),
        ({"fieldnames": "a,b"}, "'fieldnames' must be a list"),
        ({"fieldnames": []}, "'fieldnames' must be a list"),
        ({"fieldnames": ["a", 1]}, "'fieldnames' must be a list"),
        ({"fieldnames": ["a", "b", "a"]}, "'fieldnames' has the column 'a' 2 times"),
        ([("delimiter", ";")], "csv_options is of type list; it must be a mapping"),
    ],
)
def test_a_wrong_option_is_an_error_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(ClosersConfigError, match=message):
        FileRecords(tmp_path / "missing.csv", csv_options=options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,a,a\n", r"The header of '.*leads\.csv' has the column 'a' 3 times"),
        ('a,"b\n' + "1,2\n" * 3, r"The header of '.*leads\.csv' can't be read: unexpected end of data"),
        ('a,"b\n' + "1,2\n" * 200_000, r"can't be read: (nothing closes it|a cell has more characters)"),
        ('a,"b"c\n', r"can't be read: ',' expected after"),
        (b"a,\xe9\n1,2\n", r"can't be read: it is not utf-8; encoding says"),
        (b"x" * 17 * 2**20, r"can't be read: .*(longer than 16,777,216|131,072)"),
    ],
    ids=["twice", "open", "open for long", "malformed", "undecodable", "too long"],
)
def test_a_bad_header_is_an_error(read, content, message):
    with pytest.raises(ClosersConfigError, match=message):
        read(content)


@pytest.mark.parametrize(
    "lines", ["", "1,2\n" * 900, '"1"2\n' * 900], ids=["the header", "good lines", "bad lines"]
)
def test_bytes_that_no_byte_can_stand_for_raise_and_name_the_file(read, monkeypatch, lines):
    monkeypatch.setattr("airflow_provider_closers.sources.lines._BLOCK", 64)

    with pytest.raises(UnicodeDecodeError, match="utf-16") as raised:
        read(f"a,b\n{lines}".encode("utf-16-le") + b"\x00\xdc\x00\x00" * 50, encoding="utf-16-le")

    assert "leads.csv' was read" in raised.value.__notes__[0]


# -- bad lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2,3", "has 3 cells, its header has 2"),
        ("1", "has 1 cells, its header has 2"),
        ('"1"x,2', "',' expected after '\"'"),
        ('1,"2', "a quote is not closed in order (line 503: unexpected end of data)"),
        ('"', "a quote is not closed in order"),
        ("x" * 200_000 + ",2", "a cell has more characters than csv.field_size_limit() allows, 131,072"),
    ],
    ids=["more", "fewer", "behind a quote", "open at the end", "a lone quote", "a large cell"],
)
def test_a_bad_line_is_one_reject(read, line, reason):
    before, behind = "1,2\n" * 300, "3,4\n" * 201

    records = read(f"a,b\n{before}{line}\n{behind}")

    (only,) = bad(records)
    assert records.index(only) == 300
    assert only.raw == line
    assert only.reason.startswith("line 302 of leads.csv")
    assert reason in only.reason
    assert good(records) == [{"a": "1", "b": "2"}] * 300 + [{"a": "3", "b": "4"}] * 201


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lenient"])
@pytest.mark.parametrize("lines", [0, 3, 999, 1_000, 1_001, 50_000])
def test_an_open_quote_takes_no_other_line_with_it(read, strict, lines):
    records = read('a,b\n1,2\n3,"4\n' + "5,6\n" * lines, strict=strict)

    assert [record.raw for record in bad(records)] == ['3,"4']
    assert good(records) == [{"a": "1", "b": "2"}] + [{"a": "5", "b": "6"}] * lines


def test_a_record_may_have_a_thousand_lines_and_no_more(read):
    def with_lines(count):
        return '"' + "x\n" * (count - 1) + '",2\n'

    longest, too_long = (read("a,b\n" + with_lines(count) + "3,4\n" * 500) for count in (1_000, 1_001))

    assert [record["b"] for record in longest] == ["2", *["4"] * 500]
    assert len(bad(too_long)) == 1_001
    assert [record["b"] for record in good(too_long)] == ["4"] * 500


@pytest.mark.parametrize("limit", [131_072, 40_000_000])
def test_an_open_quote_takes_no_more_than_its_line_whatever_a_cell_may_hold(read, limit):
    before = csv.field_size_limit(limit)
    try:
        records = read('a,b\n3,"4\n' + ("x" * 100_000 + ",6\n") * 200)
    finally:
        csv.field_size_limit(before)

    assert [record.raw for record in bad(records)] == ['3,"4']
    assert len(good(records)) == 200


def test_what_is_behind_an_open_quote_is_not_all_in_memory(tmp_path, monkeypatch):
    path = tmp_path / "leads.csv"
    path.write_bytes(b'a,b\n3,"4\n' + b"5,6\n" * 1_000_000)
    files = []
    open_path = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: files.append(open_path(self, mode)) or files[-1])
    before = csv.field_size_limit(2**30)
    records = iter(FileRecords(path))

    try:
        first = next(records)
    finally:
        csv.field_size_limit(before)

    assert first.reason == (
        "line 2 of leads.csv: a quote is not closed in order "
        "(nothing closes it within 1,000 lines, or 16,777,216 characters)"
    )
    assert files[0].tell() < 3_000_000


def test_lines_that_look_like_one_record_of_the_wrong_width_are_read_again(read):
    records = read('a,b\n"1\n2,3\nx"\n4,5\n')

    assert good(records) == [{"a": "2", "b": "3"}, {"a": "4", "b": "5"}]
    assert [(record.raw, record.reason) for record in bad(records)] == [
        ('"1', "the record in lines 2 to 4 of leads.csv has 1 cells, its header has 2"),
        ('x"', "line 4 of leads.csv has 1 cells, its header has 2"),
    ]


def test_every_other_line_may_be_bad(read):
    records = read("a,b\n" + '1,2\n3,"4"x\n' * 5_000)

    assert len(good(records)) == len(bad(records)) == 5_000
    assert [record.reason.split()[1] for record in bad(records)] == [str(2 * n + 3) for n in range(5_000)]


def test_a_value_in_a_column_without_a_name_is_a_reject(read):
    records = read('a,b,\n1,2,\n3,4,"x\ny"\n5,6,\n')

    assert good(records) == [{"a": "1", "b": "2"}, {"a": "5", "b": "6"}]
    assert bad(records) == [
        Unreadable('3,4,"x\ny"', "line 3 of leads.csv has a value in column 3, which has no name")
    ]


@pytest.mark.parametrize(
    ("content", "raw", "number"),
    [
        (b"a,b\n1,2\nJos\xe9,4\n5,6\n", "Jos\\xe9,4", 3),
        (b'a,b\n1,2\n"J\nos\xe9",4\n5,6\n', '"J\nos\\xe9",4', 4),
    ],
    ids=["one line", "several lines"],
)
def test_bytes_that_are_not_in_the_encoding_are_a_reject(read, tmp_path, content, raw, number):
    records = read(content)

    assert good(records) == [{"a": "1", "b": "2"}, {"a": "5", "b": "6"}]
    reason = f"line {number} of leads.csv is not utf-8; encoding says how the text is encoded"
    assert bad(records) == [Unreadable(raw, reason)]
    with RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        rejects(Reject(0, bad(records)[0].raw, reason))
    assert json.loads((tmp_path / "rejects.jsonl").read_bytes())["record"] == raw


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("more", [-1, 0, 1, 2**18 - 9, 2**18 - 11, 2**21 - 1])
def test_a_line_that_is_too_long_is_a_reject_and_not_kept(read, end, more):
    """Its end comes before, at and behind the point where it is cut, and between two blocks."""
    line = b"x" * (16 * 2**20 + more)

    records = read(end.join([b"a,b", b"1,2", line, b"3,4", b"5", b""]))

    assert good(records) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    too_long, short = bad(records)
    if more + len(end) > 0:
        assert too_long.raw == "x" * 1_000 + "..."
        assert too_long.reason == "line 3 of leads.csv is longer than 16,777,216 characters"
    assert short.reason == "line 5 of leads.csv has 1 cells, its header has 2"


def test_a_line_that_is_too_long_ends_no_open_quote(read):
    records = read(b'a,b\n1,"2\n' + b"x" * 17 * 2**20 + b'\n3,4"\n5,6\n')

    assert [record.raw[:5] for record in bad(records)] == ['1,"2', "xxxxx"]
    assert good(records) == [{"a": "3", "b": '4"'}, {"a": "5", "b": "6"}]


def test_a_bad_line_does_not_change_the_limit_of_the_process(read):
    before = csv.field_size_limit()

    read("a,b\n" + "x" * 200_000 + ",2\n")

    assert csv.field_size_limit() == before


def test_reasons_hold_nothing_of_the_line(read):
    secret = "5ecret"
    content = f'a,b\n{secret}\n{secret},1,2\n"{secret}"x,1\n{secret},"\n'

    reasons = " ".join(record.reason for record in bad(read(content)))

    assert len(reasons) > 100
    assert secret not in reasons


# -- any content

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
awkward = st.text(st.sampled_from('a",;\n\r \té'), max_size=8)
options = st.fixed_dictionaries(
    {},
    optional={
        "delimiter": st.sampled_from(",;\t|é"),
        "quotechar": st.sampled_from("\"'`"),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    },
)
blocks = st.sampled_from([5, 64, 256 * 1024])


def written(rows, **options):
    text = io.StringIO(newline="")
    csv.writer(text, **options).writerows(rows)
    return text.getvalue()


def as_records(header, rows):
    return [dict(zip(header, [cell or None for cell in row], strict=True)) for row in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.tuples(cells | awkward, cells | awkward)), options=options, block=blocks)
@example(rows=[("", "")], options={}, block=5)
def test_what_the_csv_module_wrote_is_read_as_it_was(tmp_path, rows, options, block):
    path = tmp_path / "x.csv"
    path.write_bytes(written([("a", "b"), *rows], **options).encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_closers.sources.lines._BLOCK", block)
        records = list(FileRecords(path, csv_options=options))

    assert records == as_records(["a", "b"], rows)


plain = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters='\0\n\r",'), min_size=1, max_size=9
)
bad_lines = st.sampled_from(['"', 'x,"y', '"x', '"x"y,z', "x", "x,y,z", '"x,y', '""",y', '"x,""'])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.tuples(plain, plain), max_size=30),
    bad_line=bad_lines,
    place=st.integers(0, 30),
    block=blocks,
    batch=st.sampled_from([1, 3, 250]),
    line=st.sampled_from(["{},{}", '"{}","{}"', '{},"{}"']),
)
def test_a_bad_line_among_good_ones_is_the_only_reject(tmp_path, rows, bad_line, place, block, batch, line):
    """
    Exactly it is rejected, wherever it stands; every other line is a record, in its order.

    Provided that no quoted cell behind it begins with a delimiter: there the open quote would end.
    """
    place = min(place, len(rows))
    lines = [line.format(*row) for row in rows]
    path = tmp_path / "x.csv"
    path.write_bytes("\n".join(["a,b", *lines[:place], bad_line, *lines[place:], ""]).encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_closers.sources.lines._BLOCK", block)
        patch.setattr(csv_records, "_BATCH", batch)
        records = list(FileRecords(path))

    assert records[place].raw == bad_line
    assert f"line {place + 2} of x.csv" in records[place].reason
    del records[place]
    assert records == as_records(["a", "b"], rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.text(st.sampled_from('a",\n\r\udce9'), max_size=60),
    block=blocks,
    batch=st.sampled_from([1, 2, 250]),
)
def test_every_line_of_any_text_is_in_a_record_or_a_reject(tmp_path, content, block, batch):
    """And the batches and blocks that it is read in make no difference."""
    path = tmp_path / "x.csv"
    path.write_bytes(f"h,i\n{content}".encode(errors="surrogateescape"))
    whole = list(FileRecords(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_closers.sources.lines._BLOCK", block)
        patch.setattr(csv_records, "_BATCH", batch)
        records = list(FileRecords(path))

    assert records == whole
    letters = sum(
        record.raw.count("a") if isinstance(record, Unreadable) else str([*record.values()]).count("a")
        for record in records
    )
    assert letters == content.count("a")


def test_a_gzipped_file_has_the_same_line_numbers(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 100_000 + b"3\n"))

    *_, last = FileRecords(path)

    assert last.reason == "line 100002 of x.csv.gz has 1 cells, its header has 2"


def test_the_records_before_a_bad_line_do_not_wait_for_what_follows(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 1_000_000)

    first = list(itertools.islice(FileRecords(path), 3))

    assert first == [{"a": "1", "b": "2"}] * 3
