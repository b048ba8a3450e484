"""
### Erased, and not brought back

1. **erase** deletes who asked for it from the account and from every campaign, and before that puts them on
   the suppression list, as keyed hashes.
2. **sync** then lets Closers follow the warehouse, which still has them: the list keeps them out, and its
   report counts them as `suppressed`.

The key of the hashes is the Airflow Variable `closers_suppression_secret`: any long random text, to be kept
as long as the list. The first run must be triggered with *full_resync*, as that of `closers_warehouse_sync`.

It needs the connections `warehouse` (see `lead_warehouse.py`) and `closers_default`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import lead_warehouse
from airflow.providers.common.compat.sdk import Param, chain, dag, task

from airflow_provider_closers.operators.prospect import DeleteProspectOperator
from airflow_provider_closers.operators.sync import SyncProspectsOperator

SUPPRESSION_LIST = f"{lead_warehouse.EXAMPLES_HOME}/suppression/erased.txt"


@dag(
    schedule="0 4 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    params={"full_resync": Param(False, type="boolean", description="Send every lead, as a first run must.")},
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_erasure_requests():
    @task
    def find_requests() -> list[str]:
        """Read who asked to be erased."""
        requests = lead_warehouse.query(
            "SELECT email FROM leads WHERE erasure_requested_on IS NOT NULL ORDER BY id"
        )
        return [request["email"] for request in requests]

    erase = DeleteProspectOperator(
        task_id="erase",
        prospects=find_requests(),
        suppression_list=SUPPRESSION_LIST,
        max_deletes=20,
    )
    sync = SyncProspectsOperator(
        task_id="sync",
        conn_id="warehouse",
        # Those who were erased are among the rows.
        sql="sql/one_row_a_lead.sql",
        field_map={"job_title": "title"},
        other_attributes=["company", "city", "plan"],
        snapshot_path=f"{lead_warehouse.EXAMPLES_HOME}/syncs/after_erasure.snapshot",
        full_resync="{{ params.full_resync }}",
        suppression_list=SUPPRESSION_LIST,
    )
    chain(erase, sync)


closers_erasure_requests()
