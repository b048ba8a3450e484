"""What OpenLineage learns of a push: where its records came from, where they went, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_closers.push.report import PushReport


def lineage_of(
    report: PushReport, base_url: str, source: OperatorLineage[Any, Any] | None
) -> OperatorLineage[Any, Any]:
    """
    Return the lineage of a push; needs the OpenLineage provider, whose listener asks for it.

    :param report: What the push came to.
    :param base_url: Where to; its host is the output's namespace.
    :param source: Where the records came from, ``None`` where nobody can tell.
    """
    from airflow.providers.common.compat.openlineage.facet import (
        OutputDataset,
        OutputStatisticsOutputDatasetFacet,
    )
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_closers.assets.closers import prospects_dataset

    prospects = prospects_dataset(urlsplit(base_url).netloc)
    rows = report.created + report.updated + report.deleted
    output = OutputDataset(
        namespace=prospects.namespace,
        name=prospects.name,
        outputFacets={"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows)},
    )
    whole: OperatorLineage[Any, Any] = OperatorLineage(
        inputs=_with_row_count(source, report.total), outputs=[output]
    )
    return whole if source is None else whole.merge(OperatorLineage(job_facets=source.job_facets))


def source_of(operator: Any) -> OperatorLineage[Any, Any] | None:
    """Return as a source the query or the files that an operator reads; ``None`` for records that it has."""
    if getattr(operator, "sql", None):
        return query_source(operator.conn_id, operator.sql, operator.hook_params)
    if getattr(operator, "path", None):
        return file_source(str(operator.path))
    return None


def file_source(path: str) -> OperatorLineage[Any, Any]:
    """Return as a source a file, a folder or a pattern, named as OpenLineage names such datasets."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    parts = urlsplit(path)
    # A connection's id before an "@" says who looks, not where.
    place = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("", "file", "local"):
        return OperatorLineage(inputs=[Dataset(namespace="file", name=parts.path)])
    return OperatorLineage(
        inputs=[Dataset(namespace=f"{parts.scheme}://{place}", name=parts.path.lstrip("/") or "/")]
    )


def query_source(
    conn_id: str, sql: str, hook_params: Mapping[str, Any] | None
) -> OperatorLineage[Any, Any] | None:
    """Return as a source the tables that a query names; its connection says of which database."""
    from airflow.providers.openlineage.sqlparser import get_openlineage_facets_with_sql

    from airflow_provider_closers.operators.database import database_hook

    hook = database_hook(conn_id, hook_params)
    lineage: OperatorLineage[Any, Any] | None = get_openlineage_facets_with_sql(
        hook=hook, sql=sql, conn_id=conn_id, database=None, use_connection=False
    )
    return lineage


def _with_row_count(source: OperatorLineage[Any, Any] | None, rows: int) -> list[Any]:
    """Say of a single input how many rows were read of it; of several nobody knows."""
    from airflow.providers.common.compat.openlineage.facet import InputDataset
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset

    if source is None or len(source.inputs) != 1:
        return source.inputs if source else []
    facet = data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
        columnMetrics={}, rowCount=rows
    )
    only = source.inputs[0]
    return [
        InputDataset(
            namespace=only.namespace,
            name=only.name,
            facets=only.facets,
            inputFacets={"dataQualityMetrics": facet},
        )
    ]
