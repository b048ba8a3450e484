"""What may be given as ``prospects``, and what each mistake is told."""

from __future__ import annotations

import re
from collections import OrderedDict
from types import MappingProxyType

import pandas as pd
import polars as pl
import pytest

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.push.source import records_of

JANE = {"email": "jane@acme.io", "first_name": "Jane"}
JOE = {"email": "joe@acme.io", "first_name": "Joe"}
OPERATIONS = ["create", "update", "upsert", "delete"]


async def coroutine_rows():
    yield JANE


# -- what is taken


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "prospects",
    [
        pytest.param([], id="an empty list"),
        pytest.param([JANE, JOE], id="a list"),
        pytest.param((JANE, JOE), id="a tuple"),
        pytest.param((person for person in [JANE, JOE]), id="a generator"),
        pytest.param({JANE["email"]: JANE}.values(), id="the values of a dict"),
        pytest.param(map(dict, [JANE]), id="a map"),
        pytest.param({"jane@acme.io", "joe@acme.io"}, id="a set of emails"),
        pytest.param([None, 7, "x"], id="a list of anything: each becomes a reject of its own"),
    ],
)
def test_an_iterable_is_taken_as_it_is_and_not_read(operation, prospects):
    assert records_of(prospects, operation) is prospects


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "record",
    [
        pytest.param(JANE, id="a dict"),
        pytest.param(OrderedDict(JANE), id="an OrderedDict"),
        pytest.param(MappingProxyType(JANE), id="a mapping of another kind"),
        pytest.param(JANE | {"other_attribute": {"plan": "pro"}}, id="with a mapping in it"),
        pytest.param({}, id="an empty one"),
    ],
)
def test_a_single_mapping_is_one_record(operation, record):
    (only,) = records_of(record, operation)

    assert only is record


def test_for_delete_an_email_string_stands_for_its_record():
    assert list(records_of("jane@acme.io", "delete")) == ["jane@acme.io"]


def test_an_empty_input_holds_no_records():
    assert list(records_of([], "create")) == list(records_of(iter(()), "create")) == []


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(pd.DataFrame([JANE, JOE]).to_dict("records"), id="pandas"),
        pytest.param(pl.DataFrame([JANE, JOE]).to_dicts(), id="polars"),
        pytest.param(
            pd.DataFrame([JANE | {"title": None}, JOE | {"title": "CTO"}])
            .convert_dtypes()
            .to_dict("records"),
            id="pandas, with its own NULL",
        ),
    ],
)
def test_a_frame_s_records_are_prospects(records):
    read = [RecordRules().read(record) for record in records_of(records, "create")]

    assert [prospect.email for prospect in read] == ["jane@acme.io", "joe@acme.io"]
    assert read[0].fields == {"firstName": "Jane"}


# -- what is refused, and the way out


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("prospects", "message"),
    [
        pytest.param(None, "is None; .*upstream task return", id="None"),
        pytest.param(7, "is of type int; .*: pass a list of mappings", id="a number"),
        pytest.param(True, "is of type bool", id="a bool"),
        pytest.param(b"jane@acme.io", "is of type bytes; .*: pass a list of mappings", id="bytes"),
        pytest.param(bytearray(b"x"), "is of type bytearray", id="a bytearray"),
        pytest.param(object(), "is of type object", id="an object"),
        pytest.param(dict, "is of type type", id="a class"),
        pytest.param(len, "is of type builtin_function_or_method", id="a function that was not called"),
        pytest.param(coroutine_rows(), "is of type async_generator", id="an async generator"),
        pytest.param(
            {"jane": JANE, "joe": JOE},
            r"is a mapping of mappings; .*: pass list\(prospects.values\(\)\)",
            id="a dict of dicts",
        ),
        pytest.param(
            pd.DataFrame([JANE]), r'is a data frame; .*: pass frame.to_dict\("records"\)', id="a pandas frame"
        ),
        pytest.param(
            pl.DataFrame([JANE]), r"is a data frame; .*: pass frame.to_dicts\(\)", id="a polars frame"
        ),
        pytest.param(
            pd.Series(["jane@acme.io"]), r"is a series; .*: pass series.to_list\(\)", id="a pandas series"
        ),
        pytest.param(str([JANE]), "is a str; .*render_template_as_native_obj=True", id="a list as text"),
    ],
)
def test_what_holds_no_records_is_refused_with_the_way_out(operation, prospects, message):
    with pytest.raises(ClosersConfigError, match=message):
        records_of(prospects, operation)


@pytest.mark.parametrize("operation", ["create", "update", "upsert"])
@pytest.mark.parametrize("text", ["jane@acme.io", "", "None"], ids=["an email", "nothing", "None as text"])
def test_a_string_is_no_record_except_to_delete(operation, text):
    with pytest.raises(ClosersConfigError, match=r"is a str; .*prospects=extract\(\)"):
        records_of(text, operation)


def test_a_refusal_does_not_show_what_was_given():
    with pytest.raises(ClosersConfigError, match="is a str") as raised:
        records_of(str([JANE]), "create")

    assert not re.search("jane|@", str(raised.value))
