"""The file transfer: from files of any kind to counted outcomes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_closers.errors import ClosersConfigError, PushFailedError, TooManyDeletesError
from airflow_provider_closers.transfers.file_to_closers import FileToClosersOperator

pytestmark = pytest.mark.usefixtures("closers_connection")

MESSY = Path(__file__).parent / "messy.csv"


def run(path: Any, operation: str = "create", **parameters: Any) -> dict[str, Any]:
    return FileToClosersOperator(task_id="push", path=str(path), operation=operation, **parameters).execute(
        {}
    )


def people(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"email": f"p{i}@acme.io", "first_name": f"P{i}", "plan": "pro"} for i in range(first, first + count)
    ]


def nonzero(report: dict[str, Any]) -> dict[str, int]:
    outcomes = "created updated deleted existing missing suppressed filtered rejected unresolved"
    return {name: report[name] for name in outcomes.split() if report[name]}


def as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def as_json_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def as_parquet(records: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), file, row_group_size=4)
    return file.getvalue()


FORMATS = [
    pytest.param(as_csv, "csv", id="csv"),
    pytest.param(as_json_lines, "jsonl", id="jsonl"),
    pytest.param(as_parquet, "parquet", id="parquet"),
]


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("write", "suffix"), FORMATS)
def test_a_file_s_records_are_pushed(sandbox, tmp_path, write, suffix, zipped):
    content = write(people(10))
    path = tmp_path / f"leads.{suffix}{'.gz' if zipped else ''}"
    path.write_bytes(gzip.compress(content) if zipped else content)

    report = run(path, other_attributes=["plan"])

    assert nonzero(report) == {"created": 10}
    assert sandbox.prospect("p7@acme.io")["firstName"] == "P7"
    assert sandbox.prospect("p7@acme.io")["otherAttribute"] == {"plan": "pro"}


@pytest.mark.parametrize(("write", "suffix"), FORMATS)
def test_the_format_can_be_said_where_the_name_does_not(tmp_path, write, suffix):
    path = tmp_path / "part-0000"
    path.write_bytes(write(people(3)))

    with pytest.raises(ClosersConfigError, match="file_format"):
        run(path, other_attributes="*")

    assert nonzero(run(path, file_format=suffix, other_attributes="*")) == {"created": 3}


@pytest.mark.filterwarnings("ignore:in a future version of UPath:PendingDeprecationWarning")
def test_the_files_of_a_folder_are_pushed_in_name_order(sandbox, bucket):
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    folder = ObjectStoragePath(f"{bucket}/leads")
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(["c.csv", "a.jsonl", "b.parquet.gz"]):
        write = {"c": as_csv, "a": as_json_lines, "b": as_parquet}[name[0]]
        content = write(people(2, first=2 * number))
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    report = run(f"{bucket}/leads", other_attributes="*", preview=True)
    run(f"{bucket}/leads/[ab]*", other_attributes="*")

    assert report["total"] == 6
    assert {entry.email for entry in sandbox.journal()} == {f"p{i}@acme.io" for i in (2, 3, 4, 5)}


def test_a_missing_file_fails_the_task_whatever_empty_ones_do(sandbox, tmp_path):
    with pytest.raises(ClosersConfigError, match=r"leads\.csv"):
        run(tmp_path / "leads.csv", on_empty="skip")

    assert sandbox.journal() == []


def test_a_bad_line_is_a_reject_with_its_number_and_the_others_are_pushed(sandbox, tmp_path):
    rejects = tmp_path / "rejects.jsonl"

    with pytest.raises(PushFailedError, match="max_rejects=0"):
        run(MESSY, rejects_path=str(rejects), other_attributes=["notes"])

    reasons = {line["index"]: line["reason"] for line in map(json.loads, rejects.read_text().splitlines())}
    assert [reason.partition(" of ")[0] for reason in reasons.values() if reason.startswith("line")] == [
        "line 6",
        "line 7",
        "line 8",
        "line 10",
    ]
    assert {prospect["email"] for prospect in sandbox.prospects()} == {
        "jane@acme.io",
        "zoë@acme.io",
        "joe@acme.io",
        "last@acme.io",
    }
    assert sandbox.prospect("joe@acme.io")["otherAttribute"] == {"notes": 'said\r\n"call me"'}


def test_a_messy_file_s_rejects_are_mended_and_pushed_again_to_a_clean_end(sandbox, tmp_path):
    rejects = tmp_path / "rejects.jsonl"
    first = run(MESSY, rejects_path=str(rejects), other_attributes=["notes"], max_rejects=5)

    lines = [json.loads(line) for line in rejects.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["record"] = {"email": f"mended{number}@acme.io", "first_name": "Mended"}
    rejects.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = tmp_path / "again.jsonl"
    second = run(rejects, rejects_path=str(again))

    assert (first["rejected"], first["created"]) == (len(lines), 4)
    assert nonzero(second) == {"created": len(lines)}
    assert not again.exists()
    assert sandbox.count() == first["total"]


def test_a_csv_keeps_to_its_dialect(sandbox, tmp_path):
    path = tmp_path / "leads.csv"
    path.write_text("jane@acme.io;'O;Neil'\n", encoding="utf-16")

    report = run(
        path,
        encoding="utf-16",
        csv_options={"delimiter": ";", "quotechar": "'", "fieldnames": ["email", "last_name"]},
    )

    assert nonzero(report) == {"created": 1}
    assert sandbox.prospect("jane@acme.io")["lastName"] == "O;Neil"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"operation": "merge"}, "operation is 'merge'"),
        ({"file_format": "xlsx"}, "file_format is 'xlsx'"),
        ({"csv_options": {"delimeter": ";"}}, "delimeter"),
        ({"encoding": "utf-9"}, "utf-9"),
        ({"path": "nowhere://leads.csv"}, "nowhere"),
        ({"path": " "}, "' ' is no path"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_unusable_parameter_is_refused_before_anything_is_sent(sandbox, tmp_path, parameters, message):
    path = tmp_path / "leads.csv"
    path.write_bytes(as_csv(people(3)))

    with pytest.raises(ClosersConfigError, match=message):
        run(**{"path": path, **parameters})

    assert sandbox.journal() == []


@pytest.mark.parametrize("path", ["leads.jsonl", "*.jsonl", "."])
def test_a_file_that_is_read_is_not_overwritten_with_rejects(sandbox, tmp_path, path):
    leads = tmp_path / "leads.jsonl"
    leads.write_bytes(as_json_lines(people(3)))

    with pytest.raises(ClosersConfigError, match="another rejects_path"):
        run(tmp_path / path, rejects_path=str(leads), other_attributes="*")

    assert leads.read_bytes() == as_json_lines(people(3))
    assert sandbox.journal() == []


def test_a_push_that_does_not_begin_leaves_the_last_one_s_rejects(tmp_path):
    rejects = tmp_path / "rejects.jsonl"
    rejects.write_text("to be mended\n")

    with pytest.raises(ClosersConfigError, match="A missing input"):
        run(tmp_path / "leads.csv", rejects_path=str(rejects))
    assert rejects.read_text() == "to be mended\n"

    (tmp_path / "leads.csv").write_bytes(as_csv(people(3)))
    run(tmp_path / "leads.csv", rejects_path=str(rejects), other_attributes="*")
    assert not rejects.exists()


def test_a_csv_without_a_header_is_refused_and_shows_nobody_s_email(sandbox, tmp_path):
    path = tmp_path / "erase.csv"
    path.write_text("jane.planted@acme.io\n")

    with pytest.raises(ClosersConfigError, match="it is a record, and no header") as raised:
        run(path, "delete")

    assert "planted" not in str(raised.value)


def test_a_line_that_nobody_mended_deletes_nobody(sandbox, tmp_path):
    sandbox.add_prospects([{"email": "jane@acme.io"}])
    path, rejects = tmp_path / "erase.csv", tmp_path / "rejects.jsonl"
    path.write_text("email,first_name\njane@acme.io\n")
    run(path, "delete", rejects_path=str(rejects), max_rejects=1)

    with pytest.raises(PushFailedError, match="make it an object"):
        run(rejects, "delete")

    assert sandbox.prospect("jane@acme.io")


def test_a_list_of_paths_is_refused(tmp_path):
    operator = FileToClosersOperator(task_id="push", path=["a.csv", "b.csv"], operation="create")

    with pytest.raises(ClosersConfigError, match="it must be one URI"):
        operator.execute({})


def test_a_path_object_will_do(tmp_path):
    path = tmp_path / "leads.csv"
    path.write_bytes(as_csv(people(3)))

    operator = FileToClosersOperator(task_id="push", path=path, operation="create", other_attributes="*")

    assert nonzero(operator.execute({})) == {"created": 3}


def test_no_more_are_deleted_than_allowed(sandbox, tmp_path):
    sandbox.add_prospects([{"email": person["email"]} for person in people(5)])
    path = tmp_path / "erase.jsonl"
    path.write_text("".join(f'"{person["email"]}"\n' for person in people(5)))

    with pytest.raises(TooManyDeletesError, match="more than 4 records"):
        run(path, "delete", max_deletes=4)
    assert sandbox.journal() == []

    assert nonzero(run(path, "delete", max_deletes=5)) == {"deleted": 5}


def test_a_retry_goes_on_in_the_middle_of_a_file(sandbox, tmp_path):
    from airflow_provider_closers.errors import ClosersAuthError

    path, checkpoint = tmp_path / "leads.csv", tmp_path / "checkpoint.json"
    path.write_bytes(as_csv(people(200)))
    sandbox.add_fault("error", status=401, after=120)

    with pytest.raises(ClosersAuthError, match="401"):
        run(path, other_attributes="*", checkpoint_path=str(checkpoint))
    report = run(path, other_attributes="*", checkpoint_path=str(checkpoint))

    assert nonzero(report) == {"created": 200}
    assert len([entry for entry in sandbox.journal() if entry.status != 401]) == 200


def test_a_file_that_changed_since_is_pushed_from_its_start(sandbox, tmp_path):
    from airflow_provider_closers.errors import ClosersAuthError

    path, checkpoint = tmp_path / "leads.csv", tmp_path / "checkpoint.json"
    path.write_bytes(as_csv(people(200)))
    sandbox.add_fault("error", status=401, after=120)
    with pytest.raises(ClosersAuthError, match="401"):
        run(path, other_attributes="*", checkpoint_path=str(checkpoint))

    path.write_bytes(as_csv(people(100, first=500)))
    report = run(path, other_attributes="*", checkpoint_path=str(checkpoint))

    assert nonzero(report) == {"created": 100}
