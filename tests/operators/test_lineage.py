"""Where a push's records come from, in OpenLineage's terms."""

from __future__ import annotations

import json

import pytest

from airflow_provider_closers.operators.lineage import file_source, lineage_of
from airflow_provider_closers.push.report import PushReport
from airflow_provider_closers.transfers.sql_to_closers import SqlToClosersOperator


@pytest.mark.parametrize(
    ("path", "namespace", "name"),
    [
        ("/data/leads.csv", "file", "/data/leads.csv"),
        ("file:///data/leads.csv", "file", "/data/leads.csv"),
        ("s3://aws_lake@lake/leads/*.parquet", "s3://lake", "leads/*.parquet"),
        ("gs://lake", "gs://lake", "/"),
    ],
)
def test_files_are_named_as_openlineage_names_them(path, namespace, name):
    (source,) = file_source(path).inputs

    assert (source.namespace, source.name) == (namespace, name)


def test_a_query_s_tables_are_the_inputs(monkeypatch, closers_connection, postgresql):
    connection = postgresql.airflow_connection
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    sql = "SELECT l.email FROM sales.leads l JOIN regions r ON r.id = l.region"
    operator = SqlToClosersOperator(task_id="push", conn_id="warehouse", sql=sql, operation="create")
    operator._report = PushReport(operation="create", total=7, created=5, rejected=2)

    lineage = operator.get_openlineage_facets_on_complete(None)

    database = connection["schema"]
    assert {table.name for table in lineage.inputs} == {
        f"{database}.sales.leads",
        f"{database}.public.regions",
    }
    assert all(table.namespace.startswith("postgres://") for table in lineage.inputs)
    assert lineage.outputs[0].outputFacets["outputStatistics"].rowCount == 5
    assert lineage.job_facets["sql"].query.startswith("SELECT l.email")


def test_records_of_unknown_origin_have_an_output_all_the_same():
    lineage = lineage_of(PushReport(operation="update", total=3, updated=3), "https://api.closershq.io", None)

    assert lineage.inputs == []
    assert [(output.namespace, output.name) for output in lineage.outputs] == [
        ("closers://api.closershq.io", "prospects")
    ]


def test_a_task_that_did_not_push_has_no_lineage(closers_connection):
    operator = SqlToClosersOperator(task_id="push", conn_id="warehouse", sql="SELECT 1", operation="create")

    assert operator.get_openlineage_facets_on_failure(None) is None
