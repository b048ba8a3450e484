"""A sync: what it sends, and how it accounts for everybody."""

from __future__ import annotations

import json
import logging
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_closers.errors import (
    ClosersAuthError,
    ClosersConfigError,
    SourceShrunkError,
    TooManyDeletesError,
)
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.push.rejects import RejectsFile
from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.suppression import SuppressionList

JANE = {"email": "jane@acme.io", "first_name": "Jane", "title": "CTO"}
BOB = {"email": "bob@acme.io", "first_name": "Bob"}
EVE = {"email": "eve@acme.io", "plan": "pro", "city": "Bern"}
EVERYBODY = [JANE, BOB, EVE]


def nonzero(report: Any) -> dict[str, int]:
    return {name: n for name, n in report.outcomes.items() if n}


class Requests:
    """What the sandbox was sent since."""

    def __init__(self, sandbox: Any) -> None:
        self._sandbox = sandbox
        self._seen = len(sandbox.journal())

    def new(self) -> list[tuple[str, Any]]:
        entries = sandbox_entries(self._sandbox)[self._seen :]
        self._seen += len(entries)
        return [(entry.method, entry.body) for entry in entries]


def sandbox_entries(sandbox: Any) -> list[Any]:
    return sorted(sandbox.journal(), key=lambda entry: entry.seq)


@pytest.fixture
def requests(sandbox: Any) -> Requests:
    return Requests(sandbox)


# -- what is sent


def test_the_first_sync_creates_everybody(sync, sandbox):
    report = sync(EVERYBODY)

    assert nonzero(report) == {"created": 3}
    assert sandbox.count() == 3
    assert sandbox.prospect("jane@acme.io")["title"] == "CTO"


def test_nothing_is_sent_where_nothing_changed(sync, requests, snapshot_path):
    sync(EVERYBODY)
    requests.new()
    kept = snapshot_path.read_bytes()

    report = sync(EVERYBODY[::-1])

    assert nonzero(report) == {"unchanged": 3}
    assert report.requests == 0
    assert requests.new() == []
    assert snapshot_path.read_bytes() == kept


def test_of_a_known_person_only_the_changed_fields_are_sent(sync, requests):
    sync(EVERYBODY)
    requests.new()

    report = sync([JANE | {"title": "CEO"}, BOB, EVE])

    assert nonzero(report) == {"updated": 1, "unchanged": 2}
    assert requests.new() == [("PATCH", {"email": "jane@acme.io", "title": "CEO"})]


def test_other_attributes_are_sent_whole_when_one_of_them_changed(sync, requests):
    sync([EVE | {"first_name": "Eve"}])
    requests.new()

    sync([EVE | {"first_name": "Eve", "city": "Basel"}])

    attributes = {"plan": "pro", "city": "Basel"}
    assert requests.new() == [("PATCH", {"email": "eve@acme.io", "otherAttribute": attributes})]


def test_somebody_new_whom_the_crm_has_is_updated(sync, sandbox):
    sandbox.add_prospects([{"email": "bob@acme.io", "firstName": "Rob", "title": "CFO"}])

    report = sync([BOB])

    assert nonzero(report) == {"updated": 1}
    assert sandbox.prospect("bob@acme.io") == {"email": "bob@acme.io", "firstName": "Bob", "title": "CFO"}


@pytest.mark.parametrize(
    "gone", [{}, {"title": None}, {"title": float("nan")}], ids=["absent", "None", "NaN"]
)
def test_a_field_that_is_not_given_any_more_is_no_change(sync, requests, gone):
    sync([JANE])
    requests.new()
    without_title = {name: value for name, value in JANE.items() if name != "title"} | gone

    assert nonzero(sync([without_title])) == {"unchanged": 1}
    assert nonzero(sync([JANE])) == {"unchanged": 1}
    assert nonzero(sync([JANE | {"title": "CEO"}])) == {"updated": 1}
    assert requests.new() == [("PATCH", {"email": "jane@acme.io", "title": "CEO"})]


def test_a_withheld_flag_is_no_change(sync, requests):
    sync([JANE | {"replied": True}])
    requests.new()

    withheld = [sync([JANE | {"replied": flag}]) for flag in (False, True, False)]

    assert [nonzero(report) for report in withheld] == [{"unchanged": 1}] * 3
    assert [report.withheld_flags for report in withheld] == [1, 0, 1]
    assert requests.new() == []


def test_a_flag_that_may_be_reset_is_a_change(sync, sandbox):
    sync([JANE | {"replied": True}])

    report = sync([JANE | {"replied": False}], rules=RecordRules(reset_flags="replied"))

    assert nonzero(report) == {"updated": 1}
    assert sandbox.prospect("jane@acme.io")["replied"] is False


def test_values_of_other_types_that_are_sent_alike_are_no_change(sync):
    sync([EVE | {"since": date(2026, 1, 2), "price": Decimal("19.90"), "replied": "yes"}])

    report = sync([EVE | {"price": "19.90", "since": "2026-01-02", "replied": 1}])

    assert nonzero(report) == {"unchanged": 1}


def test_a_person_keeps_the_spelling_under_which_the_crm_knows_them(sync, requests):
    sync([JANE | {"email": "Jane@acme.io"}])
    requests.new()

    assert nonzero(sync([JANE | {"email": "jane@ACME.io"}])) == {"unchanged": 1}
    assert nonzero(sync([JANE | {"title": "CEO"}])) == {"updated": 1}
    assert requests.new() == [("PATCH", {"email": "Jane@acme.io", "title": "CEO"})]


def test_a_changed_rule_sends_what_it_changes(sync, requests):
    rename = {"plan": "tier", "city": "town"}
    sync([JANE, EVE])
    requests.new()

    report = sync([JANE, EVE], rules=RecordRules(other_attributes="*", field_map=rename))

    assert nonzero(report) == {"unchanged": 1, "updated": 1}
    [(method, body)] = requests.new()
    assert (method, body["otherAttribute"]) == ("PATCH", {"tier": "pro", "town": "Bern"})


# -- somebody else removed a person from the CRM


def test_whom_somebody_removed_from_the_crm_is_not_brought_back(sync, sandbox):
    sync([JANE, BOB])
    remove(sandbox, "jane@acme.io")

    reports = [sync([JANE | {"title": title}, BOB]) for title in ("CEO", "CEO", "CFO")]

    assert [nonzero(report) for report in reports] == [{"missing": 1, "unchanged": 1}] * 3
    assert sandbox.count() == 1


def test_who_is_missing_for_a_night_is_updated_the_next(sync, sandbox):
    sync([JANE])
    sandbox.add_fault("error", status=404, method="PATCH")
    assert nonzero(sync([JANE | {"title": "CEO"}])) == {"missing": 1}

    report = sync([JANE | {"title": "CEO"}])

    assert nonzero(report) == {"updated": 1}
    assert sandbox.prospect("jane@acme.io")["title"] == "CEO"


def test_who_is_created_anew_by_half_is_completed_the_next_time(sync, sandbox):
    sync([JANE])
    remove(sandbox, "jane@acme.io")
    sandbox.add_fault("error", status=422, method="PATCH", after=1)
    joan = JANE | {"first_name": "Joan"}
    assert nonzero(sync([joan], if_missing="create")) == {"rejected": 1}
    assert "title" not in sandbox.prospect("jane@acme.io")

    sync([joan], if_missing="create")

    assert sandbox.prospect("jane@acme.io") == {"email": "jane@acme.io", "firstName": "Joan", "title": "CTO"}


def test_whom_somebody_removed_can_be_created_anew_and_whole(sync, sandbox):
    sync([JANE])
    remove(sandbox, "jane@acme.io")

    report = sync([JANE | {"first_name": "Joan"}], if_missing="create")

    assert nonzero(report) == {"created": 1}
    assert sandbox.prospect("jane@acme.io") == {"email": "jane@acme.io", "firstName": "Joan", "title": "CTO"}


def test_whom_somebody_removed_can_be_a_reject_each_time(sync, sandbox):
    sync([JANE])
    remove(sandbox, "jane@acme.io")

    for _ in range(2):
        report = sync([JANE | {"title": "CEO"}], if_missing="fail")

        assert nonzero(report) == {"rejected": 1}
        assert "no prospect has this email" in report.rejects[0].reason


# -- those of whom nothing was ever confirmed


def test_who_was_not_sent_is_not_removed(sync, sandbox, tmp_path):
    listed = SuppressionList.from_file(tmp_path / "list", secret="key", create=True)
    by_hand = [f"p{i}@acme.io" for i in range(40)]
    sandbox.add_prospects([{"email": email} for email in by_hand])
    assert isinstance(sync([{"email": email} for email in by_hand], api_key="wrong").error, ClosersAuthError)

    report = sync([JANE], on_removed="delete", suppression=listed)

    assert nonzero(report) == {"created": 1}
    assert sandbox.count() == 41
    assert listed.count() == 0


def test_whom_the_api_refused_is_not_removed(sync, sandbox):
    sandbox.add_prospects([{"email": "bob@acme.io", "title": "made by hand"}])
    sandbox.add_fault("error", status=422, email="bob@acme.io")
    assert nonzero(sync([JANE, BOB])) == {"created": 1, "rejected": 1}

    report = sync([JANE], on_removed="delete")

    assert nonzero(report) == {"unchanged": 1}
    assert sandbox.prospect("bob@acme.io")["title"] == "made by hand"


def test_whom_the_api_refused_may_be_spelled_in_another_way_the_next_time(sync, sandbox):
    sandbox.add_fault("error", status=422, email="Bob@acme.io")
    sync([BOB | {"email": "Bob@acme.io"}])

    sync([BOB])

    assert [prospect["email"] for prospect in sandbox.prospects()] == ["bob@acme.io"]


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop", "times": 3, "method": "POST"},  # each time it worked, and the answer was lost
        {"kind": "error", "status": 422, "method": "PATCH"},  # created, and not completed
    ],
    ids=["lost answers", "by half"],
)
def test_who_may_have_been_created_is_removed(sync, sandbox, fault):
    dee = {"email": "dee@acme.io", "title": "CTO"}
    sync([JANE])
    sandbox.add_fault(**fault, email="dee@acme.io")
    assert nonzero(sync([JANE, dee], settings={"max_attempts": 3})) == {"rejected": 1, "unchanged": 1}

    report = sync([JANE], on_removed="delete")

    assert nonzero(report) == {"deleted": 1, "unchanged": 1}
    assert sandbox.count() == 1


def remove(sandbox: Any, email: str) -> None:
    """Remove a prospect as a person does in the CRM."""
    others = [prospect for prospect in sandbox.prospects() if prospect["email"] != email]
    sandbox.reset(keep=["journal", "faults", "settings"])
    sandbox.add_prospects(others)


# -- those who are gone from the source


def test_who_is_gone_is_kept_by_default_and_forgotten(sync, requests):
    sync(EVERYBODY)
    requests.new()

    report, next_report = sync([BOB, EVE]), sync([BOB, EVE])

    assert nonzero(report) == {"kept": 1, "unchanged": 2}
    assert (report.read, report.removed) == (2, 1)
    assert nonzero(next_report) == {"unchanged": 2}
    assert requests.new() == []


def test_who_is_gone_and_comes_back_is_sent_whole(sync, requests):
    sync(EVERYBODY)
    sync([BOB, EVE])
    requests.new()

    report = sync(EVERYBODY)

    assert nonzero(report) == {"updated": 1, "unchanged": 2}
    assert requests.new()[-1] == ("PATCH", {"email": "jane@acme.io", "firstName": "Jane", "title": "CTO"})


def test_who_is_gone_is_flagged_once(sync, requests):
    sync(EVERYBODY)
    requests.new()
    parts = {"on_removed": "flag", "removed_field": "unsubscribed"}

    report, next_report = sync([BOB, EVE], **parts), sync([BOB, EVE], **parts)

    assert nonzero(report) == {"updated": 1, "unchanged": 2}
    assert nonzero(next_report) == {"unchanged": 2}
    assert requests.new() == [("PATCH", {"email": "jane@acme.io", "unSubscribed": True})]


def test_the_flag_may_be_another_attribute(sync, sandbox):
    sync([JANE])

    sync([], on_removed="flag", removed_field="former")

    assert sandbox.prospect("jane@acme.io")["otherAttribute"] == {"former": True}


def test_a_flag_that_the_rules_refuse_is_found_out_before_the_source_is_read(sync):
    def source():
        pytest.fail("it was read")
        yield

    for field, reason in (
        ("title", "must be a str"),
        ("email", "must be a str"),
        ("nonsense", "is no field"),
    ):
        with pytest.raises(ClosersConfigError, match=f"removed_field is '{field}'.*{reason}"):
            sync(source(), on_removed="flag", removed_field=field, rules=RecordRules())


def test_who_is_gone_is_deleted_and_forgotten(sync, sandbox, requests):
    sync(EVERYBODY)
    requests.new()

    report, next_report = (sync([BOB, EVE], on_removed="delete") for _ in range(2))

    assert nonzero(report) == {"deleted": 1, "unchanged": 2}
    assert nonzero(next_report) == {"unchanged": 2}
    assert requests.new() == [("DELETE", {"email": "jane@acme.io"})]
    assert sandbox.count() == 2


def test_who_is_gone_from_both_is_missing_and_forgotten(sync, sandbox):
    sync(EVERYBODY)
    remove(sandbox, "jane@acme.io")

    reports = [sync([BOB, EVE], on_removed="delete") for _ in range(2)]

    assert [nonzero(report) for report in reports] == [{"missing": 1, "unchanged": 2}, {"unchanged": 2}]


def test_a_removal_that_the_api_refuses_is_tried_again(sync, sandbox):
    sync(EVERYBODY)
    sandbox.add_fault("error", status=422, method="DELETE")

    reports = [sync([BOB, EVE], on_removed="delete") for _ in range(2)]

    assert [nonzero(report) for report in reports] == [
        {"rejected": 1, "unchanged": 2},
        {"deleted": 1, "unchanged": 2},
    ]
    [reject] = reports[0].rejects
    assert (reject.index, reject.record, reject.email) == (2, {"email": "jane@acme.io"}, "j***@acme.io")


def test_who_is_filtered_is_gone(sync, sandbox):
    sync(EVERYBODY)

    report = sync(
        EVERYBODY,
        on_removed="delete",
        transform=lambda record: record if record["email"] != "bob@acme.io" else None,
    )

    assert nonzero(report) == {"filtered": 1, "deleted": 1, "unchanged": 2}
    assert sandbox.prospect("bob@acme.io") is None


# -- limits


@pytest.mark.parametrize("on_removed", ["keep", "flag", "delete"])
@pytest.mark.parametrize("rest", [[], [JANE]], ids=["empty", "a third"])
def test_a_source_that_shrank_is_refused_before_the_first_request(
    sync, sandbox, requests, snapshot_path, on_removed, rest
):
    sync(EVERYBODY)
    requests.new()
    kept = snapshot_path.read_bytes()
    field = "unsubscribed" if on_removed == "flag" else None
    rest = [{**record, "title": "changed"} for record in rest]

    with pytest.raises(SourceShrunkError, match=r"of the 3 people .* max_removed is 0\.5"):
        sync(rest, on_removed=on_removed, removed_field=field, limits={"max_removed": 0.5})

    assert requests.new() == []
    assert snapshot_path.read_bytes() == kept


def test_half_of_a_source_may_go_by_default(sync):
    sync(EVERYBODY[:2])

    assert nonzero(sync([JANE], limits={"max_removed": 0.5})) == {"kept": 1, "unchanged": 1}


@pytest.mark.parametrize("limit", [1, 0.5, 0], ids=str)
def test_more_deletes_than_allowed_are_refused_before_the_first_request(sync, requests, limit):
    sync(EVERYBODY)
    requests.new()
    limits = {"max_removed": 1.0, "max_deletes": limit}

    with pytest.raises(TooManyDeletesError, match="2 prospects to delete, of 3"):
        sync([JANE | {"title": "changed"}], on_removed="delete", limits=limits)

    assert requests.new() == []


def test_a_fraction_is_that_which_is_written(sync):
    people = [{"email": f"p{i}@acme.io"} for i in range(100)]
    sync(people)

    # 0.29 * 100 is 28.999999999999996.
    report = sync(people[29:], on_removed="delete", limits={"max_removed": 0.29, "max_deletes": 0.29})

    assert report.deleted == 29


@pytest.mark.parametrize("limit", [2, 0.67], ids=str)
def test_as_many_deletes_as_allowed_are_made(sync, limit):
    sync(EVERYBODY)

    report = sync([JANE], on_removed="delete", limits={"max_removed": 1.0, "max_deletes": limit})

    assert nonzero(report) == {"deleted": 2, "unchanged": 1}


@pytest.mark.parametrize("limit", [-1, True, "7", 1.5, float("nan"), None])
@pytest.mark.parametrize("name", ["max_removed", "max_deletes"])
def test_a_limit_that_is_none_is_an_error(sync, name, limit):
    with pytest.raises(ClosersConfigError, match=f"{name} is .* must be a count .* or a fraction"):
        sync([], limits={name: limit})


# -- records that can't be used


def test_who_has_a_record_that_breaks_the_rules_is_not_gone(sync, sandbox):
    sync(EVERYBODY)

    report = sync([{"email": " Jane@ACME.io ", "first_name": 7}, EVE], on_removed="delete")

    assert nonzero(report) == {"rejected": 1, "unchanged": 1, "deleted": 1}
    assert sandbox.prospect("jane@acme.io") is not None
    assert nonzero(sync([JANE, EVE], on_removed="delete")) == {"unchanged": 2}


@pytest.mark.parametrize(
    ("stranger", "transform"),
    [
        ({"first_name": "Jane"}, None),
        ({"email": "jane(at)acme.io"}, None),
        ({"email": "jane@acme.io", "E-Mail": "bob@acme.io"}, None),
        (Unreadable("jane@acme.io;Jane", "line 2 has too few cells"), None),
        (7, None),
        (
            {"email": "x@acme.io"},
            lambda record: {**record, "title": {}["x"]} if "x@" in record["email"] else record,
        ),
    ],
    ids=["no email", "a malformed one", "two of them", "an unreadable line", "no record", "transform raised"],
)
def test_a_record_of_nobody_knows_whom_postpones_removals(sync, sandbox, stranger, transform):
    sync(EVERYBODY)

    report = sync([stranger, BOB, EVE], on_removed="delete", transform=transform)

    assert nonzero(report) == {"rejected": 1, "unchanged": 2, "postponed": 1}
    assert sandbox.count() == 3
    assert nonzero(sync([BOB, EVE], on_removed="delete")) == {"deleted": 1, "unchanged": 2}


def test_a_second_record_of_one_person_is_a_reject(sync, sandbox):
    records = [JANE, BOB, JANE | {"email": "JANE@acme.io", "title": "CFO"}]

    reports = [sync(records) for _ in range(2)]

    assert [nonzero(report) for report in reports] == [
        {"created": 2, "rejected": 1},
        {"unchanged": 2, "rejected": 1},
    ]
    [reject] = reports[0].rejects
    assert (reject.index, reject.record) == (2, records[2])
    assert "that of record 0, too" in reject.reason
    assert sandbox.prospect("jane@acme.io")["title"] == "CTO"


def test_a_good_record_counts_beside_one_of_the_same_person_that_breaks_the_rules(sync):
    report = sync([JANE | {"first_name": 7}, JANE])

    assert nonzero(report) == {"rejected": 1, "created": 1}


def test_a_reject_is_tried_again_next_time(sync, sandbox):
    sandbox.add_fault("error", status=422, email="bob@acme.io")

    first, second = sync(EVERYBODY), sync(EVERYBODY)

    assert nonzero(first) == {"created": 2, "rejected": 1}
    assert (first.rejects[0].index, first.rejects[0].email) == (1, "b***@acme.io")
    assert nonzero(second) == {"created": 1, "unchanged": 2}


def test_a_change_that_was_rejected_is_tried_again_next_time(sync, sandbox):
    sync(EVERYBODY)
    sandbox.add_fault("error", status=422, method="PATCH")
    changed = [JANE | {"title": "CEO"}, BOB, EVE]

    reports = [sync(changed) for _ in range(3)]

    assert [nonzero(report) for report in reports] == [
        {"rejected": 1, "unchanged": 2},
        {"updated": 1, "unchanged": 2},
        {"unchanged": 3},
    ]


def test_all_rejects_are_in_the_file_with_what_was_to_be_sent(sync, sandbox, tmp_path):
    sync([JANE, BOB])
    sandbox.add_fault("error", status=422, method="PATCH")

    with RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        sync([BOB, {"email": "nobody"}, JANE | {"title": "CEO"}], on_reject=rejects)

    lines = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [(line["index"], line["record"]) for line in lines] == [
        (1, {"email": "nobody"}),
        (2, {"email": "jane@acme.io", "title": "CEO"}),
    ]


def test_the_rejects_of_the_last_sync_are_replaced(sync, tmp_path):
    for name in ("first", "second"):
        with RejectsFile(tmp_path / "rejects.jsonl", keep=True) as rejects:
            sync([{"email": name}, BOB | {"title": name}], on_reject=rejects)

    [line] = (tmp_path / "rejects.jsonl").read_text().splitlines()
    assert json.loads(line)["record"] == {"email": "second"}


# -- the suppression list


def suppression_list(path: Path) -> SuppressionList:
    return SuppressionList.from_file(path, secret="key", create=True)


def test_who_is_on_the_list_is_never_sent(sync, requests, tmp_path):
    (tmp_path / "list").write_text("jane@acme.io\nEVE@acme.io\n")
    sync([EVE])
    requests.new()

    reports = [
        sync(source, suppression=suppression_list(tmp_path / "list"))
        for source in (
            EVERYBODY,
            [JANE, BOB, EVE | {"plan": "free"}],
        )
    ]

    assert [nonzero(report) for report in reports] == [
        {"created": 1, "suppressed": 2},
        {"unchanged": 1, "suppressed": 2},
    ]
    assert requests.new() == [("POST", {"email": "bob@acme.io", "firstName": "Bob"})]


def test_who_is_let_back_in_is_sent_whole(sync, sandbox, tmp_path):
    sync([JANE, BOB])
    remove(sandbox, "jane@acme.io")
    listed = SuppressionList(["jane@acme.io"], name="list")
    assert nonzero(sync([JANE, BOB], suppression=listed)) == {"suppressed": 1, "unchanged": 1}

    report = sync([JANE, BOB], suppression=SuppressionList([], name="list"))

    assert nonzero(report) == {"created": 1, "unchanged": 1}
    assert sandbox.prospect("jane@acme.io")["title"] == "CTO"


def test_who_is_on_the_list_is_not_flagged_either_and_forgotten(sync, requests, tmp_path):
    sync([JANE, BOB])
    (tmp_path / "list").write_text("jane@acme.io\n")
    requests.new()
    parts = {
        "on_removed": "flag",
        "removed_field": "bounced",
        "suppression": suppression_list(tmp_path / "list"),
    }

    reports = [sync([BOB], **parts) for _ in range(2)]

    assert [nonzero(report) for report in reports] == [{"suppressed": 1, "unchanged": 1}, {"unchanged": 1}]
    assert requests.new() == []


def test_who_is_deleted_is_on_the_list_before_and_does_not_come_back(sync, sandbox, tmp_path):
    sync(EVERYBODY)
    sandbox.add_fault("error", status=422, method="DELETE")

    refused = sync([BOB, EVE], on_removed="delete", suppression=suppression_list(tmp_path / "list"))
    assert nonzero(refused) == {"rejected": 1, "unchanged": 2}
    assert "jane@acme.io" in suppression_list(tmp_path / "list")

    deleted = sync([BOB, EVE], on_removed="delete", suppression=suppression_list(tmp_path / "list"))
    assert nonzero(deleted) == {"deleted": 1, "unchanged": 2}

    back = sync(EVERYBODY, on_removed="delete", suppression=suppression_list(tmp_path / "list"))
    assert nonzero(back) == {"suppressed": 1, "unchanged": 2}
    assert sandbox.count() == 2


def test_a_list_that_can_not_grow_is_an_error_before_the_source_is_read(sync, requests):
    sync(EVERYBODY)
    requests.new()

    with pytest.raises(ClosersConfigError, match="can only be read"):
        sync([JANE, BOB], on_removed="delete", suppression=SuppressionList([], name="of the query"))

    assert requests.new() == []


def test_a_list_that_can_not_grow_will_do_where_nobody_is_deleted(sync):
    report = sync(EVERYBODY, suppression=SuppressionList(["bob@acme.io"], name="of the query"))

    assert nonzero(report) == {"created": 2, "suppressed": 1}


# -- what is in doubt


class KilledError(BaseException):
    """What a test raises where a process would be killed."""


def kill() -> None:
    raise KilledError


@pytest.mark.parametrize(
    ("parts", "first", "second", "sent"),
    [
        (
            {},
            [JANE | {"title": "CEO"}],
            [JANE],
            ("PATCH", {"email": "jane@acme.io", "title": "CTO"}),
        ),
        (
            {"on_removed": "delete"},
            [],
            [JANE],
            ("POST", {"email": "jane@acme.io", "firstName": "Jane"}),
        ),
        (
            {"on_removed": "delete"},
            [JANE, BOB],
            [JANE],
            ("DELETE", {"email": "bob@acme.io"}),
        ),
    ],
    ids=["a change that is taken back", "somebody deleted who comes back", "somebody created who is gone"],
)
def test_what_a_killed_sync_may_have_done_is_done_anew_and_undone(
    sync, sandbox, requests, parts, first, second, sent
):
    sync([JANE])
    with pytest.raises(KilledError):
        sync(first, check=kill, **parts)
    assert len(requests.new()) == 3  # that took effect, and was not confirmed to the snapshot

    sync(second, **parts)

    assert sent in requests.new()
    assert [prospect["email"] for prospect in sandbox.prospects()] == ["jane@acme.io"]
    assert sandbox.prospect("jane@acme.io")["title"] == "CTO"
    assert nonzero(sync(second, **parts)) == {"unchanged": 1}


def test_a_change_that_was_rejected_and_taken_back_is_sent(sync, sandbox):
    sync([JANE])
    sandbox.add_fault("error", status=422, method="PATCH", writes=True)
    assert nonzero(sync([JANE | {"title": "CEO"}])) == {"rejected": 1}
    assert sandbox.prospect("jane@acme.io")["title"] == "CEO"

    report = sync([JANE])

    assert nonzero(report) == {"updated": 1}
    assert sandbox.prospect("jane@acme.io")["title"] == "CTO"


# -- preview


def test_a_preview_says_what_would_be_done_and_does_nothing(sync, requests, snapshot_path, caplog):
    sync(EVERYBODY)
    requests.new()
    kept = snapshot_path.read_bytes()
    caplog.set_level(logging.INFO)

    source = [
        JANE | {"title": "CEO"},
        {"email": "new@acme.io", "first_name": "New"},
        {"email": "bob@acme.io"},
    ]
    report = sync(source, on_removed="delete", preview=True)

    assert nonzero(report) == {"unchanged": 1, "unresolved": 3}
    assert requests.new() == []
    assert snapshot_path.read_bytes() == kept
    assert [path.name for path in snapshot_path.parent.iterdir()] == [snapshot_path.name]
    for line in (
        "new: 1 would be sent",
        "n***@acme.io: firstName",
        "changed: 1",
        "j***@acme.io: title",
        "delete: 1",
    ):
        assert line in caplog.text
    assert "jane@" not in caplog.text


def test_a_preview_tells_of_limits_and_goes_on(sync, caplog):
    sync(EVERYBODY)

    report = sync([], on_removed="delete", preview=True, limits={"max_removed": 0.5})

    assert nonzero(report) == {"unresolved": 3}
    assert "max_removed is 0.5" in caplog.text


def test_a_preview_of_the_first_sync_leaves_no_snapshot(sync, snapshot_path):
    report = sync(EVERYBODY, preview=True)

    assert nonzero(report) == {"unresolved": 3}
    assert not snapshot_path.exists()


# -- what ends a sync early


def test_a_refused_key_stops_the_sync_and_what_was_confirmed_is_kept(sync, sandbox, snapshot_path):
    people = [{"email": f"p{i}@acme.io"} for i in range(200)]
    sandbox.add_fault("error", status=401, email="p100@acme.io")

    stopped = sync(people, settings={"max_concurrency": 4})

    assert isinstance(stopped.error, ClosersAuthError)
    assert stopped.unresolved > 0
    assert stopped.created + stopped.unresolved == 200
    there = sandbox.count()
    again = sync(people)
    assert nonzero(again) == {"unchanged": stopped.created, "created": 200 - there} | (
        {"updated": there - stopped.created} if there > stopped.created else {}
    )


@pytest.mark.parametrize("tries", [2, 3])
def test_another_try_of_a_run_counts_what_the_earlier_ones_did(sync, sandbox, caplog, tries):
    caplog.set_level(logging.INFO)
    people = [{"email": f"p{i}@acme.io", "title": "CTO"} for i in range(160)]
    then = [person | {"title": "CEO"} for person in people[20:70]] + people[70:]
    then += [{"email": f"n{i}@acme.io"} for i in range(40)]
    parts = {"on_removed": "delete", "limits": {"max_removed": 20, "max_deletes": 20}, "run": "monday"}
    sync(people)
    # At the first of those who are deleted, at the last of all; and in between, where there are three.
    for number in (10, 12)[: tries - 1]:
        sandbox.add_fault("error", status=401, email=f"p{number}@acme.io")

    for _ in range(tries - 1):
        assert isinstance(sync(then, **parts).error, ClosersAuthError)
    report = sync(then, **parts)

    assert nonzero(report) == {"created": 40, "updated": 50, "deleted": 20, "unchanged": 90}
    assert (report.read, report.removed) == (180, 20)
    assert sum("Resumed: earlier tries of this run settled" in line for line in caplog.messages) == tries - 1
    assert nonzero(sync(then, run="tuesday")) == {"unchanged": 180}
    assert sandbox.count() == 180


def test_what_an_earlier_try_did_and_the_source_took_back_counts_once(sync, sandbox):
    sync([JANE, BOB])
    sandbox.add_fault("error", status=422, email="eve@acme.io")
    parts = {"on_removed": "delete", "run": "monday"}
    first = sync([JANE | {"title": "CEO"}, EVE], **parts)  # and Bob is deleted

    second = sync([JANE | {"title": "CFO"}, BOB, EVE], **parts)

    assert nonzero(first) == {"updated": 1, "deleted": 1, "rejected": 1}
    assert nonzero(second) == {"updated": 1, "created": 2}


def test_an_input_that_fails_sends_nothing_and_is_reported(sync, requests):
    reports: list[Any] = []

    def source():
        yield from EVERYBODY
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError, match="went away"):
        sync(source(), on_interrupt=reports.append)

    assert requests.new() == []
    assert nonzero(reports[0]) == {"unresolved": 3}


def test_what_ends_a_sync_in_the_middle_leaves_what_was_confirmed(sync, sandbox, snapshot_path):
    people = [{"email": f"p{i}@acme.io"} for i in range(100)]
    seen: list[int] = []
    reports: list[Any] = []

    def stop_at_the_fiftieth():
        seen.append(1)
        if len(seen) == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(people, check=stop_at_the_fiftieth, on_interrupt=reports.append)

    [report] = reports
    assert report.unresolved > 0
    assert report.total == 100 == sum(report.outcomes.values())
    again = sync(people)
    assert again.unchanged >= 49
    assert again.unchanged + again.created + again.updated == 100
    assert Counter(prospect["email"] for prospect in sandbox.prospects()) == dict.fromkeys(
        (person["email"] for person in people), 1
    )
