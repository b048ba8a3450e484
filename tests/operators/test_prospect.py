"""The operators: what a DAG author sees."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pandas as pd
import polars as pl
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, BaseOperator

from airflow_provider_closers.errors import (
    ClosersAuthError,
    ClosersConfigError,
    PushFailedError,
    TooManyDeletesError,
)
from airflow_provider_closers.operators.prospect import (
    CreateProspectOperator,
    DeleteProspectOperator,
    UpdateProspectOperator,
)

JANE = {"email": "jane@acme.io", "first_name": "Jane"}
OPERATORS = [CreateProspectOperator, UpdateProspectOperator, DeleteProspectOperator]

pytestmark = pytest.mark.usefixtures("closers_connection")


class FakeTaskInstance:
    """Stands in for the task instance where only its XCom and map index matter."""

    def __init__(self, map_index: int = -1) -> None:
        self.map_index = map_index
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


def run(
    operator: type[BaseOperator], prospects: Any, ti: FakeTaskInstance | None = None, **parameters: Any
) -> Any:
    return operator(task_id="push", prospects=prospects, **parameters).execute({"ti": ti} if ti else {})


def people(count: int) -> list[dict[str, Any]]:
    return [{"email": f"p{i}@acme.io"} for i in range(count)]


def nonzero(report: dict[str, Any]) -> dict[str, int]:
    outcomes = "created updated deleted existing missing suppressed filtered rejected unresolved"
    return {name: report[name] for name in outcomes.split() if report[name]}


# -- reports


def test_the_xcom_is_the_report_as_a_small_json_object(sandbox):
    sandbox.add_prospects([{"email": "p1@acme.io"}])

    report = run(
        CreateProspectOperator, [*people(3), JANE | {"replied": False}, {"email": "jane@acme"}], max_rejects=1
    )

    assert json.loads(json.dumps(report)) == {
        "operation": "create",
        "preview": False,
        "total": 5,
        "created": 3,
        "updated": 0,
        "deleted": 0,
        "existing": 1,
        "missing": 0,
        "suppressed": 0,
        "filtered": 0,
        "rejected": 1,
        "unresolved": 0,
        "withheld_flags": 1,
        "requests": 4,
        "retries": 0,
        "throttled": 0,
        "seconds": report["seconds"],
        "error": None,
        "pace": [[0.0, 0, 0, 0, 0], [report["pace"][1][0], 5, 4, 0, 0]],
        "reject_reasons": [{"reason": report["rejects"][0]["reason"], "count": 1}],
        "rejects": [{"index": 4, "email": "j***@acme", "reason": report["rejects"][0]["reason"]}],
        "rejects_path": None,
    }


def test_each_operator_applies_its_operation(sandbox):
    created = run(CreateProspectOperator, people(3))
    updated = run(UpdateProspectOperator, [{"email": "p1@acme.io", "replied": True}])
    deleted = run(DeleteProspectOperator, ["p0@acme.io", {"email": "p2@acme.io"}])

    assert (nonzero(created), nonzero(updated), nonzero(deleted)) == (
        {"created": 3},
        {"updated": 1},
        {"deleted": 2},
    )
    assert sandbox.prospects() == [sandbox.prospect("p1@acme.io")]
    assert sandbox.prospect("p1@acme.io")["replied"] is True


def test_a_second_run_of_any_operator_ends_green(sandbox):
    for _ in range(2):
        run(CreateProspectOperator, people(3))
    for _ in range(2):
        run(UpdateProspectOperator, people(3))
    for _ in range(2):
        run(DeleteProspectOperator, people(3))

    assert sandbox.prospects() == []


@pytest.mark.parametrize(
    ("operator", "parameters", "outcome"),
    [
        (CreateProspectOperator, {"if_exists": "update"}, "updated"),
        (UpdateProspectOperator, {"if_missing": "skip"}, "updated"),
        (DeleteProspectOperator, {"if_missing": "fail"}, "deleted"),
    ],
)
def test_the_policies_reach_the_push(sandbox, operator, parameters, outcome):
    sandbox.add_prospects([{"email": "jane@acme.io"}])

    assert nonzero(run(operator, JANE, **parameters)) == {outcome: 1}


def test_the_common_parameters_reach_the_push(sandbox):
    sandbox.add_prospects([{"email": "jane@acme.io"}])
    record = {"work_email": "jane@acme.io", "tier": "pro", "bounced": False}

    run(
        UpdateProspectOperator,
        record,
        field_map={"work_email": "email"},
        other_attributes=["tier"],
        reset_flags=["bounced"],
    )

    assert sandbox.journal()[-1].body == {
        "email": "jane@acme.io",
        "bounced": False,
        "otherAttribute": {"tier": "pro"},
    }


def test_a_reject_shows_its_email_wherever_the_record_has_it():
    report = run(CreateProspectOperator, {"mail": "jane@acme"}, field_map={"mail": "email"}, max_rejects=1)

    assert report["rejects"][0]["email"] == "j***@acme"


def test_29_of_100_are_not_more_than_a_fraction_of_0_29(sandbox):
    records = [{"email": "bad"}] * 29 + people(71)

    assert run(CreateProspectOperator, records, max_rejects=0.29)["rejected"] == 29


def test_a_preview_of_nothing_does_not_fail():
    assert run(CreateProspectOperator, [], preview=True, on_empty="fail")["total"] == 0


def test_preview_sends_nothing_and_fails_for_nothing_it_finds(sandbox):
    report = run(CreateProspectOperator, [JANE, {"email": "jane"}], preview=True)

    assert nonzero(report) == {"rejected": 1, "unresolved": 1}
    assert report["preview"] is True
    assert sandbox.journal() == []


@pytest.mark.parametrize(("said", "outcome"), [("True", "unresolved"), (" false", "created")])
def test_a_template_may_say_whether_it_is_a_preview(sandbox, said, outcome):
    report = run(CreateProspectOperator, [JANE], preview=said)

    assert nonzero(report) == {outcome: 1}
    assert report["preview"] is (outcome == "unresolved")


@pytest.mark.parametrize("said", ["", "no", 0, None, "{{ params.preview }}"])
def test_a_preview_that_is_neither_on_nor_off_is_an_error(sandbox, said):
    with pytest.raises(ClosersConfigError, match=r"preview is .*; it must be True or False"):
        run(CreateProspectOperator, [JANE], preview=said)

    assert sandbox.journal() == []


def test_where_all_are_rejected_nobody_says_that_others_were_pushed():
    with pytest.raises(PushFailedError, match=r"2 of 2 records were rejected, .*; nothing was pushed\."):
        run(CreateProspectOperator, [{"email": "a"}, {"email": "b"}])


# -- prospects


@pytest.mark.parametrize(
    "prospects",
    [
        JANE,
        [JANE],
        (JANE,),
        iter([JANE]),
        (record for record in [JANE]),
        {"jane": JANE}.values(),
        pd.DataFrame([JANE]).to_dict("records"),
        pl.DataFrame([JANE]).to_dicts(),
    ],
    ids=["mapping", "list", "tuple", "iterator", "generator", "view", "pandas records", "polars records"],
)
def test_prospects_is_one_mapping_or_any_iterable_of_them(prospects):
    assert run(CreateProspectOperator, prospects)["created"] == 1


@pytest.mark.parametrize(
    ("prospects", "message"),
    [
        ("[{'email': 'jane@acme.io'}]", "prospects is a str; .* render_template_as_native_obj=True"),
        (7, "prospects is of type int; it must be one mapping or an iterable of them"),
        (None, "prospects is None; .* see whether the upstream task returns its records"),
        (b"jane@acme.io", "prospects is of type bytes"),
        (
            {"jane": JANE, "joe": {}},
            "prospects is a mapping of mappings; .* list\\(prospects.values\\(\\)\\)",
        ),
        (pd.DataFrame([JANE]), 'prospects is a data frame; .* frame.to_dict\\("records"\\)'),
        (pl.DataFrame([JANE]), "prospects is a data frame; .* frame.to_dicts\\(\\)"),
    ],
    ids=["str", "int", "None", "bytes", "mapping of mappings", "pandas", "polars"],
)
def test_prospects_that_hold_no_records_are_an_error_with_a_way_out(sandbox, prospects, message):
    with pytest.raises(ClosersConfigError, match=message):
        run(CreateProspectOperator, prospects)

    assert sandbox.journal() == []


def test_a_single_email_can_be_deleted(sandbox):
    sandbox.add_prospects([{"email": "jane@acme.io"}])

    assert run(DeleteProspectOperator, "jane@acme.io")["deleted"] == 1


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("empty", [[], (), iter(())], ids=["list", "tuple", "iterator"])
def test_no_prospects_are_a_success_unless_said_otherwise(operator, empty):
    assert run(operator, empty)["total"] == 0


def test_no_prospects_skip_or_fail_the_task_where_asked():
    with pytest.raises(AirflowSkipException, match="no prospects to push"):
        run(CreateProspectOperator, [], on_empty="skip")
    with pytest.raises(PushFailedError, match="no prospects to push"):
        run(CreateProspectOperator, [], on_empty="fail")


# -- limits


@pytest.mark.parametrize(
    ("rejects", "good", "limit", "fails"),
    [
        (0, 1, 0, False),
        (1, 9, 0, True),
        (1, 9, 1, False),
        (2, 8, 1, True),
        (1, 9, 0.1, False),
        (2, 8, 0.1, True),
    ],
)
def test_the_task_fails_above_max_rejects_after_pushing_the_others(sandbox, rejects, good, limit, fails):
    records = [{"email": "bad"}] * rejects + people(good)

    if fails:
        with pytest.raises(
            PushFailedError, match=f"{rejects} of 10 records were rejected, max_rejects={limit}"
        ):
            run(CreateProspectOperator, records, max_rejects=limit)
    else:
        run(CreateProspectOperator, records, max_rejects=limit)

    assert sandbox.count() == good


@pytest.mark.parametrize("limit", [-1, 1.0, 2.5, True, "5", None, float("nan")], ids=repr)
def test_an_unusable_max_rejects_is_refused_before_anything_is_sent(sandbox, limit):
    with pytest.raises(ClosersConfigError, match="max_rejects is"):
        run(CreateProspectOperator, JANE, max_rejects=limit)

    assert sandbox.journal() == []


@pytest.mark.parametrize(
    "prospects",
    [people(4), (person for person in people(4)), iter(["x"] * 4)],
    ids=["list", "generator", "bad"],
)
def test_more_than_max_deletes_is_an_error_before_the_first_delete(sandbox, prospects):
    sandbox.add_prospects(people(4))

    with pytest.raises(
        TooManyDeletesError, match=r"max_deletes is 3.*set max_deletes to the number you expect"
    ):
        run(DeleteProspectOperator, prospects, max_deletes=3)

    assert sandbox.journal() == []


@pytest.mark.parametrize("prospects", [people(4), iter(people(4))], ids=["list", "iterator"])
def test_as_many_as_max_deletes_are_deleted(sandbox, prospects):
    sandbox.add_prospects(people(4))

    assert run(DeleteProspectOperator, prospects, max_deletes=4)["deleted"] == 4


def test_the_delete_limit_is_100_unless_said_otherwise(sandbox):
    with pytest.raises(TooManyDeletesError, match="There are 101 records to delete, and max_deletes is 100"):
        run(DeleteProspectOperator, people(101))


def test_the_delete_limit_reads_no_more_than_it_must():
    read = 0

    def source():
        nonlocal read
        while True:
            read += 1
            yield "jane@acme.io"

    with pytest.raises(TooManyDeletesError, match="more than 5 records"):
        run(DeleteProspectOperator, source(), max_deletes=5)

    assert read == 6


@pytest.mark.parametrize("prospects", [people(4), iter(people(4))], ids=["list", "iterator"])
def test_a_preview_counts_beyond_max_deletes(sandbox, prospects, caplog):
    report = run(DeleteProspectOperator, prospects, max_deletes=3, preview=True)

    assert report["total"] == 4
    assert sandbox.journal() == []


@pytest.mark.parametrize("limit", [-1, 1.5, None, True, "many"], ids=repr)
def test_an_unusable_max_deletes_is_refused(sandbox, limit):
    with pytest.raises(ClosersConfigError, match="max_deletes is"):
        run(DeleteProspectOperator, people(1), max_deletes=limit)

    assert sandbox.journal() == []


@pytest.mark.parametrize(
    ("operator", "parameters", "message"),
    [
        (CreateProspectOperator, {"if_exists": "ignore"}, "if_exists is 'ignore'"),
        (
            UpdateProspectOperator,
            {"if_missing": None, "on_empty": "ok"},
            "on_empty is 'ok'; it must be one of success",
        ),
        (DeleteProspectOperator, {"if_missing": "create"}, "if_missing is 'create'"),
        (CreateProspectOperator, {"reset_flags": ["email"]}, "reset_flags names 'email'"),
        (CreateProspectOperator, {"field_map": {"mail": "emial"}}, "field_map renames 'mail' to 'emial'"),
        (CreateProspectOperator, {"suppression_list": {"sql": "x"}}, "a mapping of 'conn_id' and 'sql'"),
        (
            CreateProspectOperator,
            {"suppression_list": 5},
            "suppression_list is of type int; it must be the path",
        ),
    ],
)
def test_an_unusable_parameter_is_refused_before_anything_is_sent(sandbox, operator, parameters, message):
    with pytest.raises(ClosersConfigError, match=message):
        run(operator, JANE, **parameters)

    assert sandbox.journal() == []


# -- failures


def test_a_failed_task_leaves_its_report_as_xcom():
    ti = FakeTaskInstance()

    with pytest.raises(PushFailedError, match="1 of 2 records were rejected") as raised:
        run(CreateProspectOperator, [JANE, {"email": "bad"}], ti)

    assert nonzero(ti.xcoms["return_value"]) == {"created": 1, "rejected": 1}
    assert raised.value.report.created == 1


def test_a_refused_key_fails_the_task_with_the_rest_unresolved(sandbox, monkeypatch):
    connection = {"conn_type": "closers", "host": sandbox.url, "password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_CLOSERS_DEFAULT", json.dumps(connection))
    ti = FakeTaskInstance()

    with pytest.raises(ClosersAuthError, match="the API refused the key"):
        run(CreateProspectOperator, people(50), ti, max_rejects=50)

    assert nonzero(ti.xcoms["return_value"]) == {"unresolved": 50}


def test_no_email_is_written_to_the_log(caplog):
    with caplog.at_level("DEBUG"):
        run(CreateProspectOperator, [JANE, {"email": "jane@acme@acme.io"}], max_rejects=1)

    assert "jane@acme" not in caplog.text


# -- files


def test_rejects_are_written_whole(sandbox, tmp_path):
    path = tmp_path / "new" / "rejects.jsonl"
    sandbox.add_fault("error", status=422, email="p1@acme.io")

    report = run(
        CreateProspectOperator,
        [*people(3), {"email": "bad", "when": {1}, "score": float("nan")}],
        max_rejects=2,
        rejects_path=str(path),
    )

    lines = sorted(
        (json.loads(line) for line in path.read_text().splitlines()), key=lambda line: line["index"]
    )
    assert report["rejects_path"].endswith("new/rejects.jsonl")
    assert [(line["index"], line["attempts"], line["status"]) for line in lines] == [
        (1, 1, 422),
        (3, 0, None),
    ]
    assert [line["record"] for line in lines] == [
        {"email": "p1@acme.io"},
        {"email": "bad", "when": [1], "score": None},
    ]


def test_no_rejects_leave_no_file_and_remove_an_older_one(tmp_path):
    path = tmp_path / "rejects.jsonl"
    path.write_text("{}\n")

    report = run(CreateProspectOperator, JANE, rejects_path=str(path))

    assert report["rejects_path"] is None
    assert not path.exists()


def test_a_preview_leaves_the_rejects_of_the_last_push_alone(tmp_path):
    path = tmp_path / "rejects.jsonl"
    path.write_text("{}\n")

    report = run(CreateProspectOperator, {"email": "bad"}, rejects_path=str(path), preview=True)

    assert (report["rejected"], report["rejects_path"]) == (1, None)
    assert path.read_text() == "{}\n"


def test_another_input_drops_the_rejects_of_the_one_before(sandbox, tmp_path):
    files = {name: str(tmp_path / name) for name in ("rejects_path", "checkpoint_path")}
    sandbox.add_fault("error", status=401, email="p30@acme.io")
    with pytest.raises(ClosersAuthError, match="refused the key"):
        run(CreateProspectOperator, [{"email": "first"}, *people(60)], **files)

    report = run(CreateProspectOperator, [{"email": "second"}, *people(60)], max_rejects=1, **files)

    assert report["rejected"] == 1
    (line,) = (tmp_path / "rejects_path").read_text().splitlines()
    assert json.loads(line)["record"] == {"email": "second"}


def test_a_checkpoint_counts_for_one_host_and_one_set_of_rules_only(sandbox, tmp_path):
    path = str(tmp_path / "checkpoint.json")
    sandbox.add_fault("error", status=401, email="p30@acme.io")
    with pytest.raises(ClosersAuthError, match="refused the key"):
        run(CreateProspectOperator, people(60), checkpoint_path=path)
    sandbox.reset(keep=["settings"])

    report = run(CreateProspectOperator, people(60), checkpoint_path=path, if_exists="update")

    assert report["created"] == sandbox.count() == 60


@pytest.mark.parametrize("path", ["no-such-store://x/rejects.jsonl", "/dev/null/rejects.jsonl"])
def test_an_unusable_rejects_path_is_refused_before_anything_is_sent(sandbox, path):
    with pytest.raises(ClosersConfigError, match="rejects"):
        run(CreateProspectOperator, JANE, rejects_path=path)

    assert sandbox.journal() == []


def test_mapped_instances_write_files_of_their_own(tmp_path):
    for map_index in (0, 1):
        report = run(
            CreateProspectOperator,
            {"email": f"bad{map_index}"},
            FakeTaskInstance(map_index),
            max_rejects=1,
            rejects_path=str(tmp_path / "rejects.jsonl"),
        )
        assert report["rejects_path"].endswith(f"rejects-{map_index}.jsonl")

    assert len(list(tmp_path.iterdir())) == 2


def test_mapped_instances_keep_checkpoints_of_their_own(sandbox, tmp_path):
    sandbox.add_fault("error", status=401, times=2)

    for map_index in (0, 1):
        with pytest.raises(ClosersAuthError, match="refused the key"):
            run(
                CreateProspectOperator,
                JANE,
                FakeTaskInstance(map_index),
                checkpoint_path=str(tmp_path / "checkpoint.json"),
            )

    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-0.json", "checkpoint-1.json"}


def test_a_retry_goes_on_from_the_checkpoint(sandbox, tmp_path):
    path = tmp_path / "checkpoint.json"
    sandbox.add_fault("error", status=401, email="p30@acme.io")
    with pytest.raises(ClosersAuthError, match="refused the key"):
        run(CreateProspectOperator, people(60), checkpoint_path=str(path))
    assert "@" not in path.read_text()
    sent = {entry.email for entry in sandbox.journal() if entry.status == 201}

    report = run(CreateProspectOperator, people(60), checkpoint_path=str(path))

    assert report["total"] == report["created"] + report["existing"] == 60
    assert sandbox.count() == 60
    assert not path.exists()
    assert len([entry for entry in sandbox.journal() if entry.email in sent]) <= len(sent) + 32


# -- suppression list


@pytest.mark.usefixtures("airflow_db")
def test_a_suppressed_address_is_never_sent(sandbox, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("P1@acme.io\n")

    report = run(CreateProspectOperator, people(3), suppression_list=str(path))

    assert nonzero(report) == {"created": 2, "suppressed": 1}
    assert sandbox.journal(email="p1@acme.io") == []


@pytest.mark.usefixtures("airflow_db")
def test_the_suppression_list_may_be_a_query_which_can_only_be_read(sandbox, tmp_path, monkeypatch):
    pytest.importorskip("airflow.providers.sqlite", reason="comes with Airflow 2.11, not with 3.x")
    with closing(sqlite3.connect(tmp_path / "crm.db")) as database, database:
        database.execute("CREATE TABLE opted_out (email TEXT)")
        database.executemany("INSERT INTO opted_out VALUES (?)", [("P1@acme.io",), (None,)])
    warehouse = {"conn_type": "sqlite", "host": str(tmp_path / "crm.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(warehouse))
    query = {"conn_id": "warehouse", "sql": "SELECT email FROM opted_out"}

    report = run(CreateProspectOperator, people(3), suppression_list=query)
    with pytest.raises(ClosersConfigError, match="can only be read; give a file"):
        run(DeleteProspectOperator, people(1), suppression_list=query)

    assert nonzero(report) == {"created": 2, "suppressed": 1}
    assert sandbox.count() == 2


@pytest.mark.usefixtures("airflow_db")
def test_an_erased_person_is_not_brought_back(sandbox, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_CLOSERS_SUPPRESSION_SECRET", "pepper")
    path = tmp_path / "list.txt"
    run(CreateProspectOperator, people(3))

    run(DeleteProspectOperator, ["p1@acme.io"], suppression_list=str(path))
    report = run(CreateProspectOperator, people(3), suppression_list=str(path))

    assert nonzero(report) == {"existing": 2, "suppressed": 1}
    assert sandbox.prospect("p1@acme.io") is None
    assert "@" not in path.read_text()


@pytest.mark.usefixtures("airflow_db")
def test_a_delete_without_the_list_s_secret_deletes_nothing(sandbox, tmp_path):
    with pytest.raises(ClosersConfigError, match="takes a key for the hashes"):
        run(DeleteProspectOperator, ["p1@acme.io"], suppression_list=str(tmp_path / "list.txt"))

    assert sandbox.journal() == []


@pytest.mark.parametrize("operator", [CreateProspectOperator, UpdateProspectOperator])
def test_a_list_that_can_t_be_read_stops_before_the_first_request(sandbox, tmp_path, operator):
    with pytest.raises(ClosersConfigError, match="can't be read"):
        run(operator, people(3), suppression_list=str(tmp_path / "list.txt"))

    assert sandbox.journal() == []


# -- as Airflow sees them


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_parameter_shadows_what_airflow_means_by_it(operator):
    """``email`` would make Airflow mail its alerts to the prospect; ``dry_run`` is a method."""
    task = operator(task_id="push", prospects=[])

    assert getattr(task, "email", None) is None
    assert callable(task.dry_run) or not hasattr(BaseOperator, "dry_run")


@pytest.mark.parametrize("operator", OPERATORS)
def test_paths_connection_and_prospects_are_templated(operator):
    assert set(operator.template_fields) == {
        "prospects",
        "closers_conn_id",
        "rejects_path",
        "checkpoint_path",
        "suppression_list",
        "preview",
    }


def test_of_the_fields_of_a_user_s_own_subclass_airflow_is_told_all_but_the_records():
    class Own(CreateProspectOperator):
        template_fields = (*CreateProspectOperator.template_fields, "campaign")

        def __init__(self, *, campaign, **kwargs):
            super().__init__(**kwargs)
            self.campaign = campaign

    with DAG("closers", schedule=None):
        task = Own(task_id="push", prospects=[JANE], campaign="{{ word }}")

    task.render_template_fields({"word": "spring"})

    assert task.campaign == "spring"
    assert set(task.template_fields) == {*CreateProspectOperator.template_fields, "campaign"} - {"prospects"}


@pytest.mark.parametrize("operator", OPERATORS)
def test_default_args_reach_the_common_parameters(operator):
    with DAG(
        "closers",
        schedule=None,
        default_args={"closers_conn_id": "crm", "max_rejects": 0.5, "rejects_path": "x"},
    ):
        task = operator(task_id="push", prospects=[])

    assert (task.closers_conn_id, task.max_rejects, task.rejects_path) == ("crm", 0.5, "x")


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_can_be_mapped_over_chunks(operator):
    with DAG("closers", schedule=None):
        task = operator.partial(task_id="push", max_rejects=3, rejects_path="x").expand(prospects=[[], []])

    assert type(task).__name__ == "MappedOperator"


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_unknown_parameter_is_refused_when_the_dag_is_parsed(operator):
    with pytest.raises((TypeError, Exception), match="max_reject"):
        operator(task_id="push", prospects=[], max_reject=3)


# -- transform


def test_a_transform_drops_changes_and_refuses_records(sandbox):
    def transform(record: dict[str, Any]) -> dict[str, Any] | None:
        if record["mail"].endswith("@example.com"):
            return None
        return {"email": record["mail"], "first_name": record["name"].split()[0]}

    report = run(
        CreateProspectOperator,
        [
            {"mail": "jane@acme.io", "name": "Jane Doe"},
            {"mail": "test@example.com", "name": "Test"},
            {"mail": "joe@acme.io"},
        ],
        transform=transform,
        max_rejects=1,
    )

    assert nonzero(report) == {"created": 1, "filtered": 1, "rejected": 1}
    assert report["rejects"][0]["reason"].startswith("transform raised KeyError: the record has no 'name'")
    assert sandbox.prospect("jane@acme.io")["firstName"] == "Jane"


def test_a_rejects_file_holds_records_as_they_were_before_the_transform(tmp_path):
    rejects = tmp_path / "rejects.jsonl"

    run(
        CreateProspectOperator,
        [{"mail": "jane@acme"}],
        transform=lambda record: {"email": record["mail"]},
        max_rejects=1,
        rejects_path=str(rejects),
    )

    assert json.loads(rejects.read_text())["record"] == {"mail": "jane@acme"}
