"""A DAG whose traces are looked at: what Airflow stores and tells of pushes; one of them is deferred."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import airflow
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_closers.assets.closers import create_asset
from airflow_provider_closers.operators.prospect import CreateProspectOperator
from airflow_provider_closers.transfers.file_to_closers import FileToClosersOperator

PROSPECTS = create_asset(host="crm.example.com:8443")


@dag(schedule=None, start_date=datetime(2026, 1, 1), params={"folder": "", "leads": ""})
def closers_observed():
    @task(show_return_value_in_logs=False)  # else Airflow itself logs what the task returns
    def extract():
        return [{"email": f"secret-person-{i}@acme.io", "last_name": "Secret"} for i in range(3)]

    @task(show_return_value_in_logs=False)
    def chunks():
        return [[{"email": f"secret-person-{i}{j}@acme.io"} for j in range(2)] for i in range(2)]

    CreateProspectOperator(
        task_id="unmapped", prospects=extract(), closers_conn_id="closers_default", outlets=[PROSPECTS]
    )
    CreateProspectOperator.partial(
        task_id="mapped", rejects_path="{{ params.folder }}/rejects.jsonl", outlets=[PROSPECTS]
    ).expand(prospects=chunks())
    FileToClosersOperator(
        task_id="deferred", path="{{ params.leads }}", operation="upsert", longest_wait=0.5, max_rejects=1
    )


the_dag = closers_observed()


def stored() -> dict[str, Any]:
    """Read what the run left in Airflow's database."""
    from airflow.models import TaskInstance
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    try:
        from airflow.models.asset import AssetEvent
    except ImportError:  # Airflow 2
        from airflow.models.dataset import DatasetEvent as AssetEvent

    with create_session() as session:
        return {
            "states": {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in session.query(TaskInstance)},
            "rendered": {
                f"{row.task_id}[{row.map_index}]": row.rendered_fields
                for row in session.query(RenderedTaskInstanceFields)
            },
            "events": {
                f"{event.source_task_id}[{event.source_map_index}]": event.extra
                for event in session.query(AssetEvent)
            },
        }


if __name__ == "__main__":
    if airflow.__version__.startswith("2."):  # its dag.test() knows of no datasets but those in the database
        the_dag.bulk_write_to_db([the_dag])
    run = the_dag.test(run_conf={"folder": sys.argv[1], "leads": sys.argv[2]})
    reports = {ti.task_id: ti.xcom_pull(task_ids=ti.task_id) for ti in run.get_task_instances()}
    left = json.dumps(stored() | {"reports": {"deferred": reports["deferred"]}})
    Path(sys.argv[1], "left.json").write_text(left)  # OpenLineage's process may still print
