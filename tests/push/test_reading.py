"""What becomes of a record before anything is sent: read, refused or dropped."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.prospect import Prospect, RecordRules
from airflow_provider_closers.push.reading import Reader, Refusal
from airflow_provider_closers.push.source import Unreadable

COUNTRIES = {"DE": "Germany"}


def read(record: Any, transform: Any = None) -> Prospect | Refusal | None:
    return Reader(RecordRules(bare_emails=True, other_attributes=["country"]), transform).read(record)


def test_a_record_that_keeps_the_rules_is_a_prospect():
    assert read({"Email": "jane@Acme.io"}) == Prospect("jane@acme.io", {})


def test_one_that_breaks_them_is_refused_with_its_email_masked():
    assert read({"email": "jane@acme.io", "titel": "CTO"}) == Refusal(
        "'titel' is no field (nearest: 'title'); rename it with field_map, or name it in other_attributes.",
        "j***@acme.io",
        person="jane@acme.io",
    )


@pytest.mark.parametrize(
    ("record", "person"),
    [
        ({"email": " Jane@ACME.io "}, "Jane@acme.io"),
        ({"email": None, "E-Mail": "jane@acme.io"}, "jane@acme.io"),
        ({"email": "jane@acme.io", "E-Mail": "bob@acme.io"}, None),
        ({"email": "jane(at)acme.io"}, None),
        ({"email": 7}, None),
        ({}, None),
    ],
    ids=str,
)
def test_whose_record_it_is_is_told_where_that_can_be(record, person):
    assert read({**record, "titel": "CTO"}).person == person


def test_nobody_knows_whose_record_it_is_if_the_transform_raised():
    assert read({"email": "jane@acme.io"}, transform=lambda record: record["x"]).person is None


def test_what_a_source_could_not_read_is_refused_with_its_reason():
    assert read(Unreadable('jane@acme.io,"', "line 3 of a.csv: no end"), transform=dict) == Refusal(
        "line 3 of a.csv: no end"
    )


def test_the_rules_read_what_the_transform_returns():
    def transform(record: dict[str, Any]) -> dict[str, Any]:
        return {"email": record["mail"], "first_name": record["name"].split()[0]}

    assert read({"mail": "jane@acme.io", "name": "Jane Doe"}, transform) == Prospect(
        "jane@acme.io", {"firstName": "Jane"}
    )


def test_none_drops_the_record():
    assert read({"email": "jane@acme.io"}, lambda _: None) is None


def test_a_transform_works_on_a_copy():
    record = {"email": "jane@acme.io", "noise": 1}

    prospect = read(record, lambda copy: copy if copy.pop("noise") else None)

    assert prospect == Prospect("jane@acme.io", {})
    assert record == {"email": "jane@acme.io", "noise": 1}


def test_a_transform_s_copy_goes_down_to_what_is_in_it():
    record = {"email": "jane@acme.io", "country": {"codes": ["DE"]}}

    read(record, lambda copy: copy["country"]["codes"].append("FR"))

    assert record["country"] == {"codes": ["DE"]}


def test_a_transform_that_can_t_be_called_is_refused_at_once():
    with pytest.raises(ClosersConfigError, match="transform is of type str"):
        Reader(RecordRules(), "upper")


def test_a_key_that_is_somebody_s_email_is_masked():
    refusal = read({"email": "jane@acme.io", "joe.planted@acme.io": "Joe"})

    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith("'j***@acme.io' is no field")


def test_a_transform_is_given_an_email_that_stands_for_its_record():
    assert read("JANE@acme.io", str.lower) == Prospect("jane@acme.io", {})


def test_what_a_transform_makes_unusable_is_refused_as_it_made_it():
    refusal = read({"mail": "jane@acme.io"}, lambda record: {"email": record["mail"], "plan": "pro"})

    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith("'plan' is no field")
    assert refusal.email == "j***@acme.io"


# -- what a transform raises


def looks_up_a_missing_column(record: dict[str, Any]) -> Any:
    return record["firstname"]


def looks_up_a_value(record: dict[str, Any]) -> Any:
    return COUNTRIES[record["country"]]


def looks_up_an_email_in_another_spelling(record: dict[str, Any]) -> Any:
    return COUNTRIES[record["email"].upper()]


def raises_what_holds_the_email(record: dict[str, Any]) -> Any:
    raise ValueError(f"what about {record['email']}?")


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        pytest.param(
            looks_up_a_missing_column,
            "KeyError: the record has no 'firstname' (nearest: 'first_name') (test_reading.py, line {})",
            id="a column that is not there",
        ),
        pytest.param(
            looks_up_an_email_in_another_spelling,
            "KeyError (test_reading.py, line {})",
            id="an email in another table",
        ),
        pytest.param(looks_up_a_value, "KeyError (test_reading.py, line {})", id="a value in another table"),
        pytest.param(
            raises_what_holds_the_email, "ValueError (test_reading.py, line {})", id="a text with the email"
        ),
        pytest.param(int, "TypeError", id="a function without lines"),
    ],
)
def test_what_a_transform_raises_refuses_its_record_and_tells_nothing_of_its_values(transform, reason):
    record = {"email": "jane@acme.io", "first_name": "Jane", "country": "FR"}

    refusal = read(record, transform)

    line = transform.__code__.co_firstlineno + 1 if hasattr(transform, "__code__") else None
    assert refusal == Refusal(f"transform raised {reason.format(line)}", "j***@acme.io")


def test_what_ends_the_task_ends_the_transform():
    def transform(_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        read({"email": "jane@acme.io"}, transform)
