"""``HttpOperator``, mapped over the records: the DAG in `dags`, run by ``dag.test()``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from airflow.models import DagBag

from benchmarks.airflow_home import DAGS
from benchmarks.contenders.http_hook import set_connection
from benchmarks.contenders.job import Job
from benchmarks.contenders.rows import body_of


def prepare(job: Job) -> Callable[[Iterable[dict[str, Any]]], int]:
    """Return what sends the rows."""
    set_connection(job)
    dag = DagBag(dag_folder=str(DAGS)).dags["post_records"]

    def send(rows: Iterable[dict[str, Any]]) -> int:
        os.environ["BENCHMARK_BODIES"] = json.dumps([json.dumps(body_of(row)) for row in rows])
        run = dag.test()
        return sum(task.task_id == "post" and task.state == "success" for task in run.get_task_instances())

    return send
