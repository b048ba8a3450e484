"""The record rules."""

from __future__ import annotations

import datetime as dt
import enum
import json
import re
import uuid
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_closers.errors import ClosersConfigError, InvalidProspectError
from airflow_provider_closers.prospect import (
    API_NAMES,
    STATUS_FLAGS,
    Prospect,
    RecordRules,
)

NAN = float("nan")


def read(record: Any, **rules: Any) -> Prospect:
    return RecordRules(**rules).read(record)


@pytest.mark.parametrize("key", ["first_name", "firstName", "FIRST_NAME", "First Name", "first-name"])
def test_keys_match_ignoring_case_and_separators(key):
    assert read({"email": "jane@acme.io", key: "Jane"}).fields == {"firstName": "Jane"}


def test_every_field_has_its_name_in_the_api():
    record = dict.fromkeys(STATUS_FLAGS, True) | {
        "email": "jane@acme.io",
        "first_name": "Jane",
        "last_name": "Doe",
        "title": "CTO",
        "other_attribute": {"plan": "pro"},
    }

    assert read(record).patch_body == {
        "email": "jane@acme.io",
        "firstName": "Jane",
        "lastName": "Doe",
        "title": "CTO",
        "bounced": True,
        "openedEmail": True,
        "replied": True,
        "isContacted": True,
        "unSubscribed": True,
        "otherAttribute": {"plan": "pro"},
    }


@pytest.mark.parametrize(
    "nothing",
    [None, NAN, Decimal("NaN"), Decimal("sNaN"), pd.NA, pd.NaT],
    ids=["None", "nan", "Decimal NaN", "Decimal sNaN", "pandas NA", "pandas NaT"],
)
def test_what_is_missing_is_not_sent(nothing):
    record = {"email": "jane@acme.io", "title": nothing, "other_attribute": {"plan": nothing, "city": "Bonn"}}

    assert read(record).fields == {"otherAttribute": {"city": "Bonn"}}


@pytest.mark.parametrize("value", [True, 1, 1.0, Decimal(1), "true", "YES", " on ", "t", "1"], ids=repr)
def test_usual_words_for_true_are_true(value):
    assert read({"email": "jane@acme.io", "replied": value}).fields == {"replied": True}


@pytest.mark.parametrize("value", [False, 0, 0.0, "false", "No", "off", "f", "0"], ids=repr)
def test_usual_words_for_false_are_false(value):
    read_flag = read({"email": "jane@acme.io", "replied": value}, reset_flags=["replied"])

    assert read_flag.fields == {"replied": False}


@pytest.mark.parametrize("value", ["maybe", "", 2, -1, 0.5, [], {}, dt.date(2026, 1, 1)], ids=repr)
def test_a_flag_that_says_neither_rejects_the_record(value):
    with pytest.raises(
        InvalidProspectError, match=f"'bounced' is an? {type(value).__name__} that says neither"
    ):
        read({"email": "jane@acme.io", "bounced": value})


@pytest.mark.parametrize("flag", STATUS_FLAGS)
def test_a_status_flag_is_a_latch(flag):
    withheld = read({"email": "jane@acme.io", flag: False})
    reset = read({"email": "jane@acme.io", flag: False}, reset_flags=(flag,))

    assert (withheld.fields, withheld.withheld_flags) == ({}, 1)
    assert (reset.fields, reset.withheld_flags) == ({API_NAMES[flag]: False}, 0)


@pytest.mark.parametrize("names", ["Is_Contacted", ["isContacted"], ("is_contacted",)], ids=repr)
def test_reset_flags_takes_the_api_s_spelling_and_a_single_name(names):
    assert read({"email": "jane@acme.io", "is_contacted": 0}, reset_flags=names).withheld_flags == 0


def test_reset_flags_refuses_what_is_no_flag():
    with pytest.raises(ClosersConfigError, match="reset_flags names 'title'; the status flags are bounced"):
        RecordRules(reset_flags=["title"])


def test_post_carries_only_what_the_page_lists_for_it_and_the_rest_follows():
    prospect = read({"email": "jane@acme.io", "first_name": "Jane", "title": "CTO", "replied": True})

    assert prospect.post_body == {"email": "jane@acme.io", "firstName": "Jane"}
    assert prospect.beyond_post_body == {"email": "jane@acme.io", "title": "CTO", "replied": True}


def test_nothing_follows_a_post_that_carries_everything():
    assert read({"email": "jane@acme.io", "first_name": "Jane", "replied": False}).beyond_post_body is None


@pytest.mark.parametrize(
    ("given_email", "sent"),
    [
        ("Jane.DOE@Acme.IO", "Jane.DOE@acme.io"),
        (" jane@acme.io ", "jane@acme.io"),
        ("jane+lists@acme.io", "jane+lists@acme.io"),
        ("o'neil@acme.io", "o'neil@acme.io"),
        ("jürgen@müller.de", "jürgen@müller.de"),
        ("jane@MÜLLER.de", "jane@müller.de"),
        ("jane@XN--BCHER-KVA.de", "jane@xn--bcher-kva.de"),
        ("rehearsal@acme.test", "rehearsal@acme.test"),
    ],
)
def test_the_domain_is_lower_cased_and_the_local_part_left_alone(given_email, sent):
    assert read({"email": given_email}).email == sent


_LOCAL_PARTS = st.one_of(
    st.from_regex(r"[a-zA-Z0-9.+_-]{1,66}", fullmatch=True), st.text("ab.+-_'\" @ü", max_size=5)
)
_DOMAINS = st.one_of(
    st.sampled_from(
        ["acme.io", "ACME.io", "acme", "a..io", "-acme.io", "[127.0.0.1]", "acme.test", "münchen.de"]
    ),
    st.from_regex(r"[a-z]{1,63}(\.[a-z]{1,63}){1,4}", fullmatch=True),
)


@given(_LOCAL_PARTS, _DOMAINS)
def test_an_email_is_taken_if_the_library_takes_it(local, domain):
    address = f"{local}@{domain}".strip(" ")
    try:
        validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError as e:
        with pytest.raises(InvalidProspectError, match=re.escape(str(e))):
            read({"email": address})
    else:
        assert read({"email": address}).email == f"{address.rpartition('@')[0]}@{domain.lower()}"


@pytest.mark.parametrize(
    "email",
    [
        "jane",
        "jane@",
        "@acme.io",
        "jane@acme",
        "jane doe@acme.io",
        "jane@acme.io\n",
        "jane@acme.io\r\nBcc: all@acme.io",
        "jane@acme.io\x00",
        "Jane <jane@acme.io>",
        "jane@acme.io, joe@acme.io",
        "x" * 391 + "@acme.io",
        "x" * 5_000_000,
        "jane@acme..io",
    ],
    ids=lambda email: repr(email[:40]),
)
def test_an_unusable_email_rejects_the_record_without_repeating_it(email):
    with pytest.raises(InvalidProspectError, match="'email' is not a valid address") as raised:
        read({"email": email})

    assert email not in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"first_name": "Jane"}, "'email' is missing; it identifies the prospect"),
        ({"email": None}, r"'email' is empty \(NULL\)"),
        ({"email": NAN}, r"'email' is empty \(NULL\)"),
        ({"email": 7}, "'email' is an int; it must be a str"),
        ({"email": ["jane@acme.io"]}, "'email' is a list; it must be a str"),
        ({}, "'email' is missing"),
        ("jane@acme.io", "the record is a str; it must be a mapping"),
        (7, "the record is an int; it must be a mapping"),
        (None, "the record is a NoneType; it must be a mapping"),
        ([("email", "jane@acme.io")], "the record is a list; it must be a mapping"),
        ({"email": "jane@acme.io", 7: "x"}, "a key is an int; keys must be field names"),
        ({"email": "jane@acme.io", "first_name": 7}, "'first_name' is an int; it must be a str"),
        ({"email": "jane@acme.io", "title": b"CTO"}, "'title' is a bytes; it must be a str"),
        ({"email": "jane@acme.io", "title": "x" * 5_000_000}, "'title' is a str of 5,000,000 characters"),
        ({"email": "jane@acme.io", "Email": "joe@acme.io"}, "'email' is given twice, once as 'Email'"),
        ({"email": "jane@acme.io", "frist_name": "x"}, r"'frist_name' is no field \(nearest: 'first_name'\)"),
        ({"email": "jane@acme.io", "zzz": "x"}, "'zzz' is no field; rename it with field_map"),
        ({"email": "jane@acme.io", "other_attribute": [1]}, "'other_attribute' is a list; it must be a map"),
        ({"email": "jane@acme.io", "other_attribute": "x"}, "'other_attribute' is a str that is not JSON"),
        ({"email": "jane@acme.io", "other_attribute": "[1]"}, "'other_attribute' is a list"),
        (
            {"email": "jane@acme.io", "other_attribute": {"a": {1}}},
            "'other_attribute.a' is a set, which JSON",
        ),
        ({"email": "jane@acme.io", "other_attribute": {"a": [b""]}}, r"'other_attribute.a\[0\]' is a bytes"),
        (
            {"email": "jane@acme.io", "other_attribute": {"a": float("inf")}},
            "'other_attribute.a' is infinite",
        ),
        ({"email": "jane@acme.io", "other_attribute": {1: 2, "1": 3}}, "has the key '1' twice"),
        ({"email": "jane@acme.io", "other_attribute": {(1, 2): 3}}, "'other_attribute' has a tuple as a key"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value)[:60],
)
def test_an_unusable_record_names_the_field_the_kind_and_the_way_out(record, message):
    with pytest.raises(InvalidProspectError, match=message):
        read(record)


def test_a_self_referring_attribute_is_rejected():
    loop: dict[str, Any] = {}
    loop["loop"] = loop

    with pytest.raises(InvalidProspectError, match="nested more than 50 deep"):
        read({"email": "jane@acme.io", "other_attribute": loop})


class Plan(enum.StrEnum):
    PRO = "pro"


def test_what_databases_hold_becomes_json_in_the_customary_form():
    held = {
        "when": dt.datetime(2026, 11, 23, 8, 30, tzinfo=dt.UTC),
        "day": dt.date(2026, 11, 23),
        "hour": dt.time(8, 30),
        "price": Decimal("19.90"),
        "id": uuid.UUID(int=7),
        "plan": Plan.PRO,
        "tags": ("a", None, NAN),
        "nested": {"deep": [True, 1.5, None], 7: "seven"},
    }

    sent = read({"email": "jane@acme.io", "other_attribute": held}).fields["otherAttribute"]

    assert json.loads(json.dumps(sent)) == {
        "when": "2026-11-23T08:30:00+00:00",
        "day": "2026-11-23",
        "hour": "08:30:00",
        "price": "19.90",
        "id": "00000000-0000-0000-0000-000000000007",
        "plan": "pro",
        "tags": ["a", None, None],
        "nested": {"deep": [True, 1.5, None], "7": "seven"},
    }


def test_other_attribute_may_be_a_json_object_as_text():
    assert read({"email": "jane@acme.io", "other_attribute": '{"plan": "pro", "x": NaN}'}).fields == {
        "otherAttribute": {"plan": "pro"}
    }


def test_an_empty_other_attribute_is_not_sent():
    assert read({"email": "jane@acme.io", "other_attribute": {"plan": None}}).fields == {}


def test_field_map_renames_and_other_attributes_nests():
    rules = RecordRules(
        field_map={"WORK_EMAIL": "email", "tier": "plan"}, other_attributes=["plan", "Home City"]
    )

    prospect = rules.read({"work_email": "jane@acme.io", "Tier": "pro", "HOME_CITY": "Bonn"})

    assert prospect.email == "jane@acme.io"
    assert prospect.fields == {"otherAttribute": {"plan": "pro", "Home City": "Bonn"}}


def test_a_star_nests_every_key_that_is_no_field():
    record = {"email": "jane@acme.io", "title": "CTO", "Plan": "pro", "other_attribute": {"city": "Bonn"}}

    assert read(record, other_attributes="*").fields == {
        "title": "CTO",
        "otherAttribute": {"Plan": "pro", "city": "Bonn"},
    }


def test_an_attribute_given_twice_is_rejected():
    with pytest.raises(InvalidProspectError, match="'plan' is given twice, once inside 'other_attribute'"):
        read(
            {"email": "jane@acme.io", "plan": "pro", "other_attribute": {"plan": "free"}},
            other_attributes=["plan"],
        )


def test_a_missing_email_points_to_the_key_that_looks_like_it():
    with pytest.raises(InvalidProspectError, match=r'\(field_map=\{"work_mail": "email"\}\?\)'):
        read({"work_mail": "jane@acme.io"}, other_attributes="*")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"field_map": {"mail": "emial"}}, r"'mail' to 'emial', which is no field \(nearest: 'email'\)"),
        ({"field_map": ["mail"]}, "field_map is a list; it must be a mapping"),
        ({"field_map": {"mail": 1}}, "field_map must map a key"),
        ({"other_attributes": [1]}, "other_attributes holds an int"),
        ({"other_attributes": ["email"]}, "other_attributes names 'email'"),
    ],
)
def test_unusable_rules_are_refused_before_any_record(rules, message):
    with pytest.raises(ClosersConfigError, match=message):
        RecordRules(**rules)


def test_a_bare_email_stands_for_its_record_where_asked():
    assert read("jane@acme.io", bare_emails=True) == read({"email": "jane@acme.io"})


@pytest.mark.parametrize("frame", ["pandas", "polars"])
def test_the_records_of_a_data_frame_are_read(frame):
    columns = {
        "email": ["jane@acme.io", "joe@acme.io"],
        "title": [None, "CTO"],
        "replied": [None, True],
        "score": [None, 7],
    }
    records = (
        pd.DataFrame(columns).to_dict("records") if frame == "pandas" else pl.DataFrame(columns).to_dicts()
    )

    first, second = [read(record, other_attributes=["score"]) for record in records]

    assert first.fields == {}
    assert second.fields == {"title": "CTO", "replied": True, "otherAttribute": {"score": 7}}


def test_numpy_s_scalars_and_arrays_are_read():
    numpy = pytest.importorskip("numpy")
    record = {
        "email": "jane@acme.io",
        "replied": numpy.bool_(True),
        "other_attribute": {
            "n": numpy.int64(7),
            "x": numpy.float32("nan"),
            "v": numpy.array([1, 2]),
            "when": numpy.datetime64("2026-11-23T08:30:00.000000001"),
            "never": numpy.datetime64("NaT", "ns"),
        },
    }

    assert read(record).fields == {
        "replied": True,
        "otherAttribute": {"n": 7, "v": [1, 2], "when": "2026-11-23T08:30:00"},
    }


class Unreadable(dict):
    def __iter__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("record", "email"),
    [
        ({"E-Mail": "x"}, "x"),
        ({"Work_Email": "x"}, "x"),
        ({"mail": "x"}, None),
        ("x", "x"),
        (7, None),
        ({1: 2}, None),
        (Unreadable(), None),
    ],
)
def test_the_email_of_an_unusable_record_is_what_stands_for_it(record, email):
    rules = RecordRules(field_map={"work_email": "email"}, bare_emails=True)

    assert rules.email_in(record) == email


def test_equal_rules_show_alike_and_others_do_not():
    rules = {"field_map": {"a": "email", "b": "title"}, "other_attributes": ["x", "y"]}

    assert repr(RecordRules(**rules)) == repr(RecordRules(**rules))
    assert repr(RecordRules(**rules)) != repr(RecordRules(**rules, reset_flags=["bounced"]))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*API_NAMES, *API_NAMES.values(), "plan"]) | st.text(max_size=8)


@given(st.dictionaries(KEYS, ANYTHING, max_size=6), st.sampled_from([(), ("plan",), "*"]))
def test_any_record_is_either_read_into_json_or_rejected(record, other_attributes):
    rules = RecordRules(other_attributes=other_attributes)

    try:
        prospect = rules.read({"email": "jane@acme.io", **record})
    except InvalidProspectError:
        return

    sent = json.loads(json.dumps(prospect.patch_body, allow_nan=False))
    assert set(sent) <= set(API_NAMES.values())
    assert not any(sent.get(API_NAMES[flag]) is False for flag in STATUS_FLAGS)


@given(ANYTHING)
def test_any_object_as_a_record_is_either_read_or_rejected(record):
    try:
        prospect = read(record, bare_emails=True)
    except InvalidProspectError:
        return
    assert "@" in prospect.email


def test_the_domain_of_a_known_email_is_not_checked_again():
    rules = RecordRules(known_emails={"jane@acme"})

    assert rules.read({"email": "jane@ACME"}).email == "jane@acme"
    for email in ("bob@acme", "jane..doe@acme"):
        with pytest.raises(InvalidProspectError, match="not a valid address"):
            rules.read({"email": email})
