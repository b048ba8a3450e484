from __future__ import annotations

import pytest

from airflow_provider_closers.sandbox.crm import Crm

JANE = {"email": "jane@acme.io", "firstName": "Jane", "otherAttribute": {"city": "Zürich"}}


@pytest.mark.parametrize(
    ("needle", "found"),
    [("jane", True), ("acme", True), ("doe", True), ("cto", True), ("zürich", True), ("berlin", False)],
)
def test_search_looks_at_email_names_title_and_attributes(needle, found):
    prospect = Crm().create({**JANE, "lastName": "Doe", "title": "CTO"})

    assert prospect.mentions(needle) is found


def test_changed_prospect_keeps_its_time_of_creation():
    crm = Crm()
    prospect = crm.create(JANE)
    created = prospect.created

    crm.update({"email": "jane@acme.io", "title": "CTO"}, merge_other_attribute=True)

    assert prospect.created == created
    assert prospect.updated >= created


def test_cases_that_are_told_apart_again_keep_their_spelling():
    crm = Crm(ignore_email_case=True)
    crm.create({"email": "Jane@acme.io"})
    assert crm.find("JANE@ACME.IO") is not None

    crm.set_ignore_email_case(False)

    assert crm.find("Jane@acme.io") is not None
    assert crm.find("jane@acme.io") is None
