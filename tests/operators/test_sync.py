"""SyncProspectsOperator: what a DAG author sees."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, Variable

from airflow_provider_closers.errors import (
    ClosersConfigError,
    PushFailedError,
    PushStoppedError,
    SnapshotError,
    SourceShrunkError,
    SyncRunningError,
    TooManyDeletesError,
)
from airflow_provider_closers.operators.suppression import SUPPRESSION_SECRET_VARIABLE
from airflow_provider_closers.operators.sync import SyncProspectsOperator

JANE = {"email": "jane@acme.io", "first_name": "Jane"}
BOB = {"email": "bob@acme.io", "first_name": "Bob"}
EVE = {"email": "eve@acme.io", "first_name": "Eve"}

pytestmark = pytest.mark.usefixtures("closers_connection")


class TaskInstance:
    """Stands in for Airflow's: who it is, and its XComs."""

    dag_id, task_id = "nightly", "sync"

    def __init__(self, run_id: str = "monday", map_index: int = -1, max_tries: int = 0) -> None:
        self.run_id, self.map_index, self.max_tries = run_id, map_index, max_tries
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


@pytest.fixture
def snapshot(tmp_path: Path) -> str:
    return str(tmp_path / "syncs" / "people.snapshot")


@pytest.fixture
def sync(snapshot: str) -> Any:
    """Run the operator; the first time begins the snapshot, unless it is told not to."""

    def run(prospects: Any = None, ti: TaskInstance | None = None, **parameters: Any) -> dict[str, Any]:
        parameters.setdefault("full_resync", not Path(snapshot).exists())
        operator = SyncProspectsOperator(
            task_id="sync", prospects=prospects, snapshot_path=snapshot, **parameters
        )
        return operator.execute({"ti": ti} if ti else {})

    return run


def nonzero(report: dict[str, Any]) -> dict[str, int]:
    outcomes = (
        "created updated deleted existing missing suppressed filtered rejected unresolved "
        "unchanged kept postponed"
    )
    return {name: report[name] for name in outcomes.split() if report[name]}


# -- the report


def test_the_xcom_is_the_report_of_a_push_with_what_only_a_sync_counts(sync):
    sync([JANE, BOB])

    report = sync([BOB | {"first_name": "Rob"}, EVE, {"email": "nobody"}], max_rejects=1)

    assert json.loads(json.dumps(report)) == report
    assert (report["operation"], report["total"], report["read"], report["removed"]) == ("sync", 4, 3, 1)
    assert nonzero(report) == {"created": 1, "updated": 1, "rejected": 1, "postponed": 1}
    assert report["requests"] == 2
    assert [(reject["index"], reject["email"]) for reject in report["rejects"]] == [(2, "n***")]


def test_too_many_rejects_fail_the_task_and_the_others_are_synced(sync, sandbox, tmp_path):
    ti = TaskInstance()

    with pytest.raises(PushFailedError, match="1 of 2 records were rejected"):
        sync([JANE, {"email": "nobody"}], ti, rejects_path=str(tmp_path / "rejects.jsonl"))

    assert sandbox.count() == 1
    assert ti.xcoms["return_value"]["created"] == 1
    assert json.loads((tmp_path / "rejects.jsonl").read_text())["record"] == {"email": "nobody"}


def test_an_outage_fails_the_task_and_the_next_try_sends_the_rest(sync, sandbox):
    sync([JANE])
    sandbox.add_fault("error", status=403)
    with pytest.raises(Exception, match="403"):
        sync([JANE, BOB])

    assert nonzero(sync([JANE, BOB])) == {"created": 1, "unchanged": 1}


def test_an_empty_first_source_ends_as_on_empty_says(sync):
    with pytest.raises(AirflowSkipException):
        sync([], on_empty="skip")
    with pytest.raises(PushFailedError, match="no prospects to push"):
        sync([], on_empty="fail", full_resync=True)


@pytest.mark.parametrize(("on_empty", "end"), [("skip", AirflowSkipException), ("fail", PushFailedError)])
def test_a_source_that_is_empty_removes_nobody_where_that_is_not_well(sync, sandbox, on_empty, end):
    sync([JANE, BOB])

    with pytest.raises(end, match="no prospects to push"):
        sync(iter(()), on_removed="delete", max_removed=1.0, on_empty=on_empty)

    assert sandbox.count() == 2
    assert nonzero(sync([JANE, BOB], on_empty=on_empty)) == {"unchanged": 2}


def test_the_share_of_rejects_is_that_of_those_to_whom_something_is_done(sync):
    sync([{"email": f"p{i}@acme.io"} for i in range(9)])

    with pytest.raises(PushFailedError, match="1 of 1 records were rejected"):
        sync([{"email": "nobody"}], max_removed=1.0, max_rejects=0.2)


def test_a_retry_reports_what_the_first_try_did_too(sync, sandbox):
    people = [{"email": f"p{i}@acme.io"} for i in range(50)]
    sandbox.add_fault("error", status=422, email="p20@acme.io")
    with pytest.raises(PushFailedError, match="1 of 50 records were rejected"):
        sync(people, TaskInstance())

    assert nonzero(sync(people, TaskInstance(), full_resync=True)) == {"created": 50}


# -- sources


def test_rows_of_a_query_are_synced(sync, sandbox, tmp_path, monkeypatch):
    warehouse = tmp_path / "warehouse.sqlite"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(warehouse)}))
    with closing(sqlite3.connect(warehouse)) as database, database:
        database.execute("CREATE TABLE leads (email, first_name)")
        database.execute("INSERT INTO leads VALUES ('jane@acme.io', 'Jane'), ('bob@acme.io', NULL)")
    source = {"conn_id": "warehouse", "sql": "SELECT * FROM leads WHERE email <> :but;"}

    reports = [sync(parameters={"but": "x"}, **source)]
    with closing(sqlite3.connect(warehouse)) as database, database:
        database.execute("UPDATE leads SET first_name = 'Bob' WHERE first_name IS NULL")
    reports.append(sync(parameters={"but": "x"}, **source))

    assert [nonzero(report) for report in reports] == [{"created": 2}, {"updated": 1, "unchanged": 1}]
    assert sandbox.prospect("bob@acme.io")["firstName"] == "Bob"


def test_files_are_synced(sync, tmp_path):
    leads = tmp_path / "leads.csv"
    leads.write_text("email;first_name\njane@acme.io;Jane\n")
    first = sync(path=str(leads), csv_options={"delimiter": ";"})
    leads.write_text("email;first_name\njane@acme.io;Joan\nbob@acme.io;\n")

    second = sync(path=str(leads), csv_options={"delimiter": ";"})

    assert (nonzero(first), nonzero(second)) == ({"created": 1}, {"created": 1, "updated": 1})


def test_the_rejects_file_can_not_be_the_source(sync, tmp_path):
    leads = tmp_path / "leads.jsonl"
    leads.write_text('{"email": "jane@acme.io"}\n')

    with pytest.raises(ClosersConfigError, match="to be read, and to be written with the rejects"):
        sync(path=str(leads), rejects_path=str(leads))


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({}, "missing"),
        ({"prospects": [JANE], "path": "x.csv"}, "prospects and path"),
        ({"sql": "SELECT 1", "path": "x.csv"}, "sql and path"),
    ],
    ids=["none", "two", "two others"],
)
def test_there_must_be_exactly_one_source(sync, sources, said):
    with pytest.raises(ClosersConfigError, match=f"The source is {said}; give exactly one"):
        sync(**sources)


# -- the snapshot


def test_without_a_snapshot_nothing_is_sent_unless_it_is_said(sync, sandbox, snapshot):
    with pytest.raises(SnapshotError, match="first run"):
        sync([JANE], full_resync=False)
    sync([JANE], full_resync=True)
    Path(snapshot).unlink()
    with pytest.raises(SnapshotError, match="lost"):
        sync([JANE, BOB], full_resync=False, on_removed="delete")

    assert sandbox.stats()["requests"]["total"] == 1
    assert nonzero(sync([JANE, BOB], full_resync=True, on_removed="delete")) == {"created": 1, "updated": 1}
    assert nonzero(sync([JANE, BOB])) == {"unchanged": 2}


def test_a_full_resync_pushes_everything_and_removes_nobody(sync, sandbox):
    sync([JANE, BOB])

    report = sync([JANE], full_resync=True, on_removed="delete")

    assert nonzero(report) == {"updated": 1}
    assert sandbox.count() == 2


def test_a_retry_of_a_full_resync_goes_on_and_a_cleared_task_starts_over(sync):
    sync([JANE, BOB], TaskInstance(max_tries=1), full_resync=True)

    retried = sync([JANE, BOB], TaskInstance(max_tries=1), full_resync=True)
    cleared = sync([JANE, BOB], TaskInstance(max_tries=3), full_resync=True)

    assert (nonzero(retried), nonzero(cleared)) == ({"unchanged": 2}, {"updated": 2})


@pytest.mark.parametrize("said", ["True", "true", " TRUE "])
def test_a_template_may_say_whether_to_resync(sync, said):
    sync([JANE], full_resync=said)

    assert nonzero(sync([JANE], full_resync="False")) == {"unchanged": 1}


@pytest.mark.parametrize("said", ["", "yes", None, 1])
def test_a_switch_that_says_neither_is_an_error(sync, said):
    with pytest.raises(ClosersConfigError, match=r"full_resync is .*; it must be True or False"):
        sync([JANE], full_resync=said)


def test_another_accounts_snapshot_is_refused(sync, sandbox, monkeypatch):
    sync([JANE])
    monkeypatch.setenv(
        "AIRFLOW_CONN_OTHER",
        json.dumps({"conn_type": "closers", "host": sandbox.url, "password": sandbox.api_key}),
    )

    with pytest.raises(SnapshotError, match=r"that of closers_default at .* this sync is of other at"):
        sync([], on_removed="delete", max_removed=1.0, closers_conn_id="other")


def test_a_snapshot_may_be_in_an_object_store(bucket, sandbox):
    def sync(prospects: Any, **parameters: Any) -> dict[str, Any]:
        path = f"{bucket}/syncs/people.snapshot"
        operator = SyncProspectsOperator(
            task_id="sync", prospects=prospects, snapshot_path=path, **parameters
        )
        return operator.execute({})

    sync([JANE, BOB], full_resync=True)

    assert nonzero(sync([JANE, EVE])) == {"created": 1, "unchanged": 1, "kept": 1}


def test_each_mapped_instance_has_a_snapshot_of_its_own(sync, snapshot):
    sync([JANE], TaskInstance(map_index=0), full_resync=True)
    sync([BOB], TaskInstance(map_index=1), full_resync=True)

    assert sorted(path.name for path in Path(snapshot).parent.iterdir()) == [
        "people-0.snapshot",
        "people-1.snapshot",
    ]


# -- two runs


def test_a_second_run_at_once_is_refused_and_sends_nothing(sync, sandbox):
    sync([JANE])

    def source():
        with pytest.raises(SyncRunningError, match="nightly monday sync"):
            sync([BOB], TaskInstance("tuesday"))
        yield JANE

    sync(source(), TaskInstance("monday"))

    assert sandbox.stats()["requests"]["total"] == 1


def test_a_later_try_of_the_task_takes_over_and_the_earlier_one_stops(sync, sandbox, monkeypatch):
    sync([JANE], TaskInstance())
    monkeypatch.setattr("airflow_provider_closers.sync.lock._SECONDS_BETWEEN_RENEWALS", 0.01)

    def source():
        sync([JANE, BOB], TaskInstance())
        yield from (JANE, BOB, EVE)
        for _ in range(200):
            import time

            time.sleep(0.005)

    with pytest.raises(SyncRunningError, match="Another run took the sync's lock"):
        sync(source(), TaskInstance())

    assert sandbox.prospect("bob@acme.io")


# -- guards


def test_a_source_that_is_suddenly_empty_fails_the_task(sync, sandbox):
    sync([JANE, BOB, EVE])
    ti = TaskInstance()

    with pytest.raises(SourceShrunkError, match="3 of the 3 people"):
        sync([], ti, on_removed="delete")

    assert sandbox.count() == 3
    assert nonzero(ti.xcoms["return_value"]) == {"unresolved": 3}
    assert nonzero(sync([], on_removed="delete", max_removed=1.0)) == {"deleted": 3}


def test_max_deletes_is_a_limit_by_default(sync, sandbox):
    people = [{"email": f"p{i}@acme.io"} for i in range(300)]
    sync(people)

    with pytest.raises(TooManyDeletesError, match="101 prospects to delete, of 300"):
        sync(people[101:], on_removed="delete")

    assert nonzero(sync(people[101:], on_removed="delete", max_deletes=0.5)) == {
        "deleted": 101,
        "unchanged": 199,
    }
    assert sandbox.count() == 199


@pytest.mark.parametrize("parameters", [{"if_exists": "skip"}, {"checkpoint_path": "x.json"}], ids=str)
def test_what_makes_no_sense_for_a_sync_is_an_error(sync, parameters):
    with pytest.raises(ClosersConfigError, match=f"{next(iter(parameters))} is given; a sync takes none"):
        sync([JANE], **parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"on_removed": "drop"},
        {"on_removed": "flag"},
        {"removed_field": "bounced"},
        {"if_missing": "delete"},
        {"max_removed": "half"},
        {"max_deletes": -1},
    ],
    ids=str,
)
def test_a_wrong_argument_is_an_error_before_anything_is_sent(sync, sandbox, parameters):
    with pytest.raises(ClosersConfigError, match=next(iter(parameters))):
        sync([JANE], **parameters)

    assert sandbox.journal() == []


def test_a_task_that_is_told_to_stop_keeps_what_was_confirmed(sync, snapshot):
    operator = SyncProspectsOperator(task_id="sync", snapshot_path=snapshot, full_resync=True)
    ti = TaskInstance()

    def source():
        yield JANE
        operator.on_kill()

    operator.prospects = source()
    with pytest.raises(PushStoppedError):
        operator.execute({"ti": ti})

    assert nonzero(ti.xcoms["return_value"]) == {"unresolved": 1}
    assert not Path(f"{snapshot}.lock").exists()


# -- the suppression list


def test_an_erased_person_is_not_brought_back(sync, sandbox, tmp_path, monkeypatch):
    from airflow_provider_closers.operators.prospect import DeleteProspectOperator

    monkeypatch.setattr(Variable, "get", {SUPPRESSION_SECRET_VARIABLE: "key"}.get)
    listed = {"suppression_list": str(tmp_path / "erased.txt")}
    sync([JANE, BOB])
    DeleteProspectOperator(task_id="erase", prospects=["jane@acme.io"], **listed).execute({})

    reports = [sync([JANE | {"first_name": name}, BOB], **listed) for name in ("Jane", "Joan")]
    afresh = sync([JANE, BOB], full_resync=True, **listed)

    assert [nonzero(report) for report in reports] == [{"suppressed": 1, "unchanged": 1}] * 2
    assert nonzero(afresh) == {"suppressed": 1, "updated": 1}
    assert sandbox.prospect("jane@acme.io") is None


def test_an_absent_list_is_begun_by_a_sync_that_deletes_and_missed_by_another(sync, tmp_path, monkeypatch):
    monkeypatch.setattr(Variable, "get", {SUPPRESSION_SECRET_VARIABLE: "key"}.get)
    listed = {"suppression_list": str(tmp_path / "erased.txt")}
    sync([JANE, BOB])

    with pytest.raises(ClosersConfigError, match="can't be read"):
        sync([JANE], **listed)
    assert nonzero(sync([JANE], on_removed="delete", **listed)) == {"deleted": 1, "unchanged": 1}
    assert nonzero(sync([JANE, BOB], **listed)) == {"suppressed": 1, "unchanged": 1}


# -- as an operator


def test_it_can_be_mapped_and_templated(snapshot):
    with DAG("mapped", schedule=None) as dag:
        SyncProspectsOperator.partial(task_id="sync", snapshot_path=snapshot).expand(path=["a.csv", "b.csv"])
        operator = SyncProspectsOperator(
            task_id="templated",
            conn_id="{{ 'ware' }}house",
            sql="SELECT '{{ ds }}'",
            snapshot_path="s3://lake/{{ 'people' }}.snapshot",
            full_resync="{{ 1 == 1 }}",
        )

    operator.render_template_fields({"ds": "2026-11-27"})

    assert dag.task_ids == ["sync", "templated"]
    assert (operator.conn_id, operator.sql) == ("warehouse", "SELECT '2026-11-27'")
    assert (operator.snapshot_path, operator.full_resync) == ("s3://lake/people.snapshot", "True")


def test_prospects_are_not_among_the_fields_that_airflow_stores(tmp_path):
    operator = SyncProspectsOperator(
        task_id="sync", prospects=[{"email": "jane@acme.io"}], snapshot_path=str(tmp_path / "{{ name }}")
    )

    operator.render_template_fields({"name": "leads"})

    assert operator.prospects == [{"email": "jane@acme.io"}]
    assert operator.snapshot_path == str(tmp_path / "leads")
    assert "prospects" not in operator.template_fields
