"""What the provider sends keeps the description of the documented API."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
import yaml
from hypothesis import given, reject
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from airflow_provider_closers.client import PATH
from airflow_provider_closers.errors import InvalidProspectError
from airflow_provider_closers.prospect import API_NAMES, STATUS_FLAGS, RecordRules
from airflow_provider_closers.settings import DEFAULT_HOST

DESCRIPTION = yaml.safe_load(files("airflow_provider_closers.sandbox").joinpath("openapi.yaml").read_text())


def validator(method: str) -> Draft202012Validator:
    """Return the validator of a method's request body."""
    operation = DESCRIPTION["paths"][PATH][method.lower()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": DESCRIPTION["components"]})


def test_host_path_and_methods_are_the_described_ones():
    assert DESCRIPTION["servers"] == [{"url": DEFAULT_HOST}]
    assert {path: set(methods) for path, methods in DESCRIPTION["paths"].items()} == {
        PATH: {"post", "patch", "delete"}
    }


def test_patch_is_described_with_every_field_of_the_record_rules():
    schema = DESCRIPTION["components"]["schemas"]["ProspectChange"]

    assert set(schema["properties"]) == set(API_NAMES.values())


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
RECORDS = st.fixed_dictionaries(
    {"email": st.emails()},
    optional={
        "first_name": st.none() | TEXT,
        "LastName": TEXT,
        "title": TEXT,
        "other_attribute": st.dictionaries(TEXT, st.none() | TEXT | st.integers() | st.dates(), max_size=3),
        **{flag: st.sampled_from([True, False, 0, 1, "yes", "no", None]) for flag in STATUS_FLAGS},
    },
)


@given(RECORDS, st.sets(st.sampled_from(STATUS_FLAGS)))
def test_every_body_keeps_the_description(record, reset_flags):
    try:
        prospect = RecordRules(reset_flags=reset_flags).read(record)
    except InvalidProspectError:
        reject()  # An address too exotic for the library that checks them.

    validator("POST").validate(prospect.post_body)
    validator("PATCH").validate(prospect.patch_body)
    if prospect.beyond_post_body:
        validator("PATCH").validate(prospect.beyond_post_body)
        sent_twice = prospect.post_body.keys() & prospect.beyond_post_body.keys()
        assert sent_twice == {"email"}


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("POST", {"email": "jane@acme.io", "title": "CTO"}),
        ("POST", {"firstName": "Jane"}),
        ("PATCH", {"email": "jane@acme.io", "plan": "pro"}),
        ("DELETE", {"email": "jane@acme.io", "firstName": "Jane"}),
    ],
)
def test_the_description_refuses_what_the_page_does_not_list(method: str, body: dict[str, Any]):
    assert not validator(method).is_valid(body)
