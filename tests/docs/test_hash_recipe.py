"""The recipe for keyed hashes that are made elsewhere comes to the provider's own."""

from __future__ import annotations

from typing import Any

import pytest
from documents import PROJECT, snippets

from airflow_provider_closers.address import normal_form
from airflow_provider_closers.suppression import SuppressionList


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """What the snippet defines."""
    names: dict[str, Any] = {}
    guide = PROJECT / "docs" / "suppression-list.md"
    (snippet,) = (snippet for snippet in snippets(guide) if "uts46_remap" in snippet.text)
    exec(compile(snippet.in_its_lines, guide, "exec"), names)
    return names


@pytest.mark.parametrize(
    "address",
    [
        "Jane@ACME.io",
        " jane@acme.io ",
        "O'Brien+News@acme.io",
        "Ren\u00c9@acme.io",
        "rene\u0301@acme.io",
        "stra\u00dfe@stra\u00dfe.de",
        "jane@B\u00dcCHER.example",
        "jane@bu\u0308cher.example",
        "jane@XN--BCHER-KVA.example",
        "jane@\uff41\uff43\uff4d\uff45\u3002io",
        "jane@\u0939\u093f\u0928\u094d\u0926\u0940.\u092d\u093e\u0930\u0924",
        "jane@xn--p1ai.xn--p1ai",
    ],
    ids=ascii,
)
def test_a_hash_by_the_recipe_is_found(recipe, address):
    theirs = SuppressionList([recipe["line"](address, "their key")], name="'theirs'", secret="their key")

    assert address.strip() in theirs
    assert recipe["normal_form"](address) == normal_form(address.strip())
