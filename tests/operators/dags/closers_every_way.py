"""One DAG with every way to hand prospects to an operator, and every way for its task to end."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import airflow
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_closers.operators.prospect import (
    CreateProspectOperator,
    DeleteProspectOperator,
    UpdateProspectOperator,
)

CHUNKS = [[{"email": f"m{i}@acme.io"}, {"email": f"bad{i}"}] for i in range(2)]


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"rejects_path": "{{ params.folder }}/{{ task.task_id }}.jsonl"},
    params={"folder": ""},
)
def closers_every_way():
    @task
    def extract():
        return [{"email": "a@acme.io"}, {"email": "bad"}, {"email": "{{ not.a.template }}@acme.io"}]

    @task
    def erased():
        return "m1@acme.io"

    @task(trigger_rule="all_done")
    def read_report(ti=None):
        return ti.xcom_pull("rejects_too_many")["created"]

    rejecting = CreateProspectOperator(task_id="rejects_too_many", prospects=extract(), max_rejects=1)
    rejecting >> read_report()
    CreateProspectOperator(task_id="literal", prospects=[{"email": "{{ dag.dag_id }}@acme.io"}])
    if not airflow.__version__.startswith("3.0."):  # which copies a DAG's arguments, generators too
        CreateProspectOperator(task_id="generator", prospects=({"email": f"g{i}@acme.io"} for i in range(3)))
    CreateProspectOperator(task_id="empty", prospects=[], on_empty="skip")
    mapped = CreateProspectOperator.partial(task_id="mapped", max_rejects=1).expand(prospects=CHUNKS)
    UpdateProspectOperator.partial(task_id="mapped_records", if_missing="create").expand(
        prospects=[{"email": "u1@acme.io", "title": "CTO"}, {"email": "u2@acme.io"}]
    )
    DeleteProspectOperator(task_id="too_many", prospects=["a@acme.io"] * 5, max_deletes=3)
    mapped >> erased() >> DeleteProspectOperator(task_id="template", prospects="{{ ti.xcom_pull('erased') }}")


the_dag = closers_every_way()

if __name__ == "__main__":
    run = the_dag.test(run_conf={"folder": sys.argv[1]})
    states = {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()}
    read = {ti.task_id: ti.xcom_pull(task_ids="read_report") for ti in run.get_task_instances()}[
        "read_report"
    ]
    sys.stdout.write(json.dumps({"states": states, "read": read}) + "\n")
