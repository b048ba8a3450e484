"""
### Closers follows the warehouse

Every night the whole table of leads is read, and set beside what was sent before: only who is new and what
changed goes to Closers. A lead that is gone from the warehouse gets the attribute `former`, and stays.

**The first run** has no snapshot yet to set the leads beside. Trigger it by hand with *full_resync*; it sends
every lead. The same is the way out should the snapshot ever be lost: without it the task fails, rather than
take every lead for a new one.

It needs the connections `warehouse` (see `lead_warehouse.py`) and `closers_default`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import lead_warehouse
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_closers.operators.sync import SyncProspectsOperator


@dag(
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # A second sync at once would fail: it could not know what the first one has sent.
    max_active_runs=1,
    # A retry sends what the last try did not get to.
    default_args={"retries": 2},
    params={"full_resync": Param(False, type="boolean", description="Send every lead, as a first run must.")},
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_warehouse_sync():
    @task
    def prepare() -> None:
        """Build the warehouse, where there is none."""
        lead_warehouse.ready()

    sync = SyncProspectsOperator(
        task_id="sync",
        conn_id="warehouse",
        sql="sql/one_row_a_lead.sql",
        field_map={"job_title": "title"},
        other_attributes=["company", "city", "plan", "former"],
        snapshot_path=f"{lead_warehouse.EXAMPLES_HOME}/syncs/leads.snapshot",
        full_resync="{{ params.full_resync }}",
        on_removed="flag",
        removed_field="former",
        # More than a tenth at once is no churn, but a table that was not loaded to its end.
        max_removed=0.1,
        suppression_list={
            "conn_id": "warehouse",
            "sql": "SELECT email FROM leads WHERE erasure_requested_on IS NOT NULL",
        },
        rejects_path=f"{lead_warehouse.EXAMPLES_HOME}/rejects/{{{{ run_id }}}}/sync.jsonl",
    )
    prepare() >> sync


closers_warehouse_sync()
