"""The tables of parameters say what the code takes, and that of metrics what it counts."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest
from documents import PROJECT, tables

from airflow_provider_closers.hooks.metrics import COUNTERS
from airflow_provider_closers.operators import prospect
from airflow_provider_closers.operators.push import PushOperator
from airflow_provider_closers.settings import DEFAULTS
from airflow_provider_closers.transfers.file_to_closers import FileToClosersOperator
from airflow_provider_closers.transfers.sql_to_closers import SqlToClosersOperator

DOCS = PROJECT / "docs"
#: Of the base class, but not of every operator.
PER_OPERATION = {"operation", "if_exists", "if_missing", "max_deletes"}


def documented(header: str, file: str) -> dict[str, tuple[Any, bool]]:
    """Return the default of each parameter in a table, and whether it is templated."""
    (table,) = [rows for rows in tables(DOCS / file) if rows[0][0] == header]
    default = table[0].index("default")
    return {row[0].split("`")[1]: (value(row[default]), row[0].endswith("*t*")) for row in table[1:]}


def value(cell: str) -> Any:
    """Read a default; words say what stands for none."""
    try:
        return ast.literal_eval(cell.strip("`"))
    except (SyntaxError, ValueError):
        return cell.strip("`") if cell.startswith("`") else None


def taken(operator: type[PushOperator]) -> dict[str, tuple[Any, bool]]:
    """Return the default of each parameter, and whether it is templated."""
    parameters = inspect.signature(operator.__init__).parameters.values()
    return {
        parameter.name: (
            None if parameter.default is parameter.empty else parameter.default,
            parameter.name in operator.template_fields,
        )
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def test_the_operators_parameters():
    common = {name: told for name, told in taken(PushOperator).items() if name not in PER_OPERATION}

    assert documented("parameter", "operators.md") == common | {"prospects": (None, True)}


def test_what_each_operator_takes_beside():
    (table,) = [rows for rows in tables(DOCS / "operators.md") if rows[0][0] == "operator"]
    operators = (
        prospect.CreateProspectOperator,
        prospect.UpdateProspectOperator,
        prospect.DeleteProspectOperator,
    )

    assert {(row[0].strip("`"), row[1].strip("`"), value(row[2])) for row in table[1:]} == {
        (operator.__name__, name, default)
        for operator in operators
        for name, (default, _) in taken(operator).items()
        if name != "prospects"
    }


@pytest.mark.parametrize("transfer", [SqlToClosersOperator, FileToClosersOperator])
def test_the_transfers_parameters(transfer):
    own = {name: told for name, told in taken(transfer).items() if name != "operation"}

    assert documented(f"`{transfer.__name__}`", "transfers.md") == own


def test_the_connections_extras():
    extras = {name: default for name, (default, _) in documented("extra", "connection.md").items()}

    assert extras == DEFAULTS


def test_the_metrics():
    (table,) = [rows for rows in tables(DOCS / "observability.md") if rows[0][0] == "metric"]

    assert {name.strip("`"): counts for name, counts in table[1:]} == COUNTERS
