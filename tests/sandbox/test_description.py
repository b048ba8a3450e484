"""The sandbox and openapi.yaml say the same: what one allows the other takes, what one forbids it refuses."""

from __future__ import annotations

from importlib.resources import files

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, event, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode

from airflow_provider_closers.sandbox.contract import API_PATH, FIELD_TYPES

DESCRIPTION = yaml.safe_load(files("airflow_provider_closers.sandbox").joinpath("openapi.yaml").read_text())
OUR_HEADERS = {"authorization", "content-type"}
EXAMPLES = settings(
    max_examples=80,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def schema_in(mode: GenerationMode) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    schema.config.generation.update(modes=[mode])
    # Not the coverage phase: it tries other methods, too, of which the description says nothing.
    schema.config.phases.update(phases=["examples", "fuzzing"])
    return schema


def described(method: str) -> dict:
    operation = DESCRIPTION["paths"][API_PATH][method.lower()]
    return operation["requestBody"]["content"]["application/json"]["schema"]


def is_allowed(case: schemathesis.Case) -> bool:
    """Ask the description itself: among what is made up to be allowed or forbidden, some is not."""
    validator = Draft202012Validator({**described(case.method), "components": DESCRIPTION["components"]})
    return case.media_type == "application/json" and validator.is_valid(case.body)


def agrees(case: schemathesis.Case, sandbox) -> None:
    """Send a request, and compare the sandbox's verdict with the description's."""
    sandbox.reset()
    # It makes up others, too: with a Host of its own the request is for another server.
    case.headers = {name: value for name, value in case.headers.items() if name.lower() in OUR_HEADERS}
    allowed = is_allowed(case)
    if allowed and case.method != "POST":
        sandbox.add_prospects([{"email": case.body["email"]}])

    answer = case.call(base_url=sandbox.url, headers={"Authorization": f"Bearer {sandbox.api_key}"})

    [entry] = sandbox.journal()
    # To break a request, schemathesis may take its key away.
    allowed = allowed and entry.key == "ok"
    event("allowed" if allowed else "forbidden")
    assert entry.wrote is allowed, (case.method, case.body, answer.text)
    assert answer.status_code in ((200, 201) if allowed else (400, 401)), answer.text


positive = schema_in(GenerationMode.POSITIVE)
negative = schema_in(GenerationMode.NEGATIVE)


@positive.parametrize()
@EXAMPLES
def test_sandbox_agrees_with_the_description_on_sound_requests(case, running_sandbox):
    agrees(case, running_sandbox)


@negative.parametrize()
@EXAMPLES
def test_sandbox_agrees_with_the_description_on_broken_requests(case, running_sandbox):
    agrees(case, running_sandbox)


@pytest.mark.parametrize("method", FIELD_TYPES)
def test_fields_and_their_types_are_the_described_ones(method):
    schemas = DESCRIPTION["components"]["schemas"]
    schema = schemas[described(method)["$ref"].rpartition("/")[2]]

    def type_of(field: dict[str, str]) -> str:
        return field.get("type") or schemas[field["$ref"].rpartition("/")[2]]["type"]

    names = {str: "string", bool: "boolean", dict: "object"}
    assert {name: type_of(field) for name, field in schema["properties"].items()} == {
        name: names[kind] for name, kind in FIELD_TYPES[method].items()
    }
    assert schema["required"] == ["email"]
    assert schema["additionalProperties"] is False
