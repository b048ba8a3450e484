"""
### Erasure, after a human agreed

Deleting a prospect takes it out of the account and out of every campaign, for good. Here somebody looks
first: the run waits at **approve** under *Required Actions* in Airflow's interface until a person
answers. *Approve* lets **erase** run; *Reject* skips it, and nothing is sent to Closers.

Needs Airflow 3.1, where operators first could ask a human; on older versions this file holds no DAG.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import airflow
import lead_warehouse
from airflow.providers.common.compat.sdk import chain, dag, task

from airflow_provider_closers.operators.prospect import DeleteProspectOperator


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_guarded_erasure():
    # The module refuses to be imported by an older Airflow.
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    # Else Airflow's log shows what the task returns: people.
    @task(show_return_value_in_logs=False)
    def find_requests() -> list[dict[str, str]]:
        """Read who asked to be erased."""
        return lead_warehouse.query(
            """
            SELECT id, email, erasure_requested_on FROM leads
            WHERE erasure_requested_on IS NOT NULL
            ORDER BY erasure_requested_on, id
            """
        )

    @task(show_return_value_in_logs=False)
    def emails(requests: list[dict[str, str]]) -> list[str]:
        """Keep what the API identifies a prospect by."""
        return [request["email"] for request in requests]

    requests = find_requests()

    approve = ApprovalOperator(
        task_id="approve",
        subject="Erase {{ ti.xcom_pull('find_requests') | length }} prospects from Closers?",
        # Numbers of rows, no addresses: what a person reads here stays in Airflow's database.
        body="""
{% for request in ti.xcom_pull('find_requests') -%}
* lead {{ request.id }}, asked on {{ request.erasure_requested_on }}
{% endfor %}
This can't be undone.
""",
    )
    erase = DeleteProspectOperator(
        task_id="erase",
        prospects=emails(requests),
        max_deletes=20,
        rejects_path=f"{lead_warehouse.EXAMPLES_HOME}/rejects/{{{{ run_id }}}}/erase.jsonl",
    )
    chain(requests, approve, erase)


if tuple(int(part) for part in airflow.__version__.split(".")[:2]) >= (3, 1):
    closers_guarded_erasure()
else:
    logging.getLogger(__name__).info(
        "closers_guarded_erasure needs Airflow 3.1 or newer; this is %s.", airflow.__version__
    )
