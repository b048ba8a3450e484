"""
### Leads in chunks

The leads of the warehouse are pushed by several mapped tasks at once, on as many workers as there are.
What they may ask of the Closers account *together* is capped by an Airflow pool, since no task knows
of the others: the account sees at most *slots of the pool* times `max_concurrency` (an extra of the
connection) requests in flight.

Create the pool once; without it Airflow never starts the tasks:

    airflow pools set closers_api 2 "Pushes into the Closers account at the same time"

Give the same pool to every task that talks to that account, in whichever DAG.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import lead_warehouse
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_closers.operators.prospect import CreateProspectOperator

CHUNKS = 4
POOL = "closers_api"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_chunked_leads():
    # Else Airflow's log shows what the task returns: people.
    @task(show_return_value_in_logs=False)
    def chunks() -> list[list[dict[str, Any]]]:
        """
        Deal the leads into chunks by their email.

        All rows of one person land in one chunk, because only within a push are they applied in order.
        Each mapped task pulls this whole list to pick its own part, which is fine for some thousands
        of rows; beyond that let each task read its part of the warehouse.
        """
        leads = lead_warehouse.query(
            """
            SELECT email, first_name, last_name, job_title, company, city, plan FROM leads
            WHERE erasure_requested_on IS NULL
              AND lower(email) NOT IN (SELECT lower(email) FROM leads WHERE unsubscribed)
            ORDER BY id
            """
        )
        dealt: list[list[dict[str, Any]]] = [[] for _ in range(CHUNKS)]
        for lead in leads:
            dealt[crc32(lead["email"].lower().encode()) % CHUNKS].append(lead)
        return dealt

    @task
    def total(reports: list[dict[str, Any]]) -> dict[str, int]:
        """Add up what the chunks report."""
        sums: Counter[str] = Counter()
        for report in reports:
            sums.update({outcome: report[outcome] for outcome in ("created", "updated", "rejected")})
        return dict(sums)

    push = CreateProspectOperator.partial(
        task_id="push_chunk",
        # Who is in Closers already gets the warehouse's name, title and attributes.
        if_exists="update",
        field_map={"job_title": "title"},
        other_attributes=["company", "city", "plan"],
        max_rejects=5,
        # Each mapped task adds its index to the file's name.
        rejects_path=f"{lead_warehouse.EXAMPLES_HOME}/rejects/{{{{ run_id }}}}/push_chunk.jsonl",
        pool=POOL,
    ).expand(prospects=chunks())

    total(push.output)


closers_chunked_leads()
