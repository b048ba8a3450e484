"""
Run one DAG in this process's Airflow, as `airflow dags test` does, and write down what its pushes report.

    python -m demo.run_dag closers_nightly_leads reports.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow.models import DagBag

from demo.airflow_home import EXAMPLE_DAGS


def main(dag_id: str, reports_path: Path) -> None:
    """Run the DAG; exit with an error where it did not succeed."""
    run = DagBag(dag_folder=str(EXAMPLE_DAGS)).dags[dag_id].test()
    returned = {task.task_id: task.xcom_pull(task_ids=task.task_id) for task in run.get_task_instances()}
    reports = {
        task: value for task, value in returned.items() if isinstance(value, dict) and "operation" in value
    }
    reports_path.write_text(json.dumps(reports), encoding="utf-8")
    if run.state != "success":
        sys.exit(f"The run of {dag_id} ended as {run.state}.")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
