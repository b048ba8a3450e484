"""
### Nightly leads

Every night the leads of the warehouse travel into Closers:

1. **create_prospects** adds whoever is new. Running it again is harmless: who is there already
   counts as `existing`.
2. **update_statuses** tells Closers who was contacted, who replied, bounced or opted out.
3. **delete_erased** erases those who asked for it, from the account and from every campaign.

It needs a connection `closers_default` of the type *Closers*. Each of the three tasks returns a report
with one count per outcome (see its XCom), and writes the records that it could not use to `rejects/`
in the examples' folder (`CLOSERS_EXAMPLES_HOME`, by default `$AIRFLOW_HOME/closers-examples`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import lead_warehouse
from airflow.providers.common.compat.sdk import chain, dag, task

from airflow_provider_closers.operators.prospect import (
    CreateProspectOperator,
    DeleteProspectOperator,
    UpdateProspectOperator,
)

PERSON = ("email", "first_name", "last_name", "job_title", "company", "city", "plan")
STATUS = ("email", "is_contacted", "opened_email", "replied", "bounced", "unsubscribed")

# One file a run and task. `run_id`, because `ts` is undefined in an Airflow 3 run without logical date.
REJECTS_PATH = f"{lead_warehouse.EXAMPLES_HOME}/rejects/{{{{ run_id }}}}/{{{{ task.task_id }}}}.jsonl"


@dag(
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # Two nights at once would race each other to the same prospects.
    max_active_runs=1,
    # Safe, since a push that runs twice ends as if it had run once.
    default_args={"retries": 2},
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_nightly_leads():
    # Else Airflow's log shows what the task returns: people.
    @task(show_return_value_in_logs=False)
    def extract() -> list[dict[str, Any]]:
        """Read the leads. XCom is fine for some thousands of rows; hand over a path when there are more."""
        return lead_warehouse.query("SELECT * FROM leads ORDER BY id")

    @task(multiple_outputs=True, show_return_value_in_logs=False)
    def transform(leads: list[dict[str, Any]]) -> dict[str, list[Any]]:
        """Sort the leads into those to add, those whose status is known, and those to erase."""
        opted_out = {lead["email"].lower() for lead in leads if lead["unsubscribed"]}
        live = [lead for lead in leads if lead["erasure_requested_on"] is None]
        return {
            # Who opted out may be in Closers, and is told below; but is never added.
            "people": [
                {column: lead[column] for column in PERSON}
                for lead in live
                if lead["email"].lower() not in opted_out
            ],
            # One of these rows is stale: it says `unsubscribed = 0` of somebody who has opted out since.
            # Nothing has to be done about it here, as the operators send True only.
            "statuses": [
                {column: lead[column] for column in STATUS} for lead in live if lead["is_contacted"]
            ],
            "erased": [lead["email"] for lead in leads if lead["erasure_requested_on"] is not None],
        }

    batches = transform(extract())

    create = CreateProspectOperator(
        task_id="create_prospects",
        prospects=batches["people"],
        field_map={"job_title": "title"},
        other_attributes=["company", "city", "plan"],
        # The push goes on past a record that it can't use. Up to one in a hundred is no reason to wake
        # anybody at night; what they were and why is in the file.
        max_rejects=0.01,
        rejects_path=REJECTS_PATH,
    )
    update = UpdateProspectOperator(
        task_id="update_statuses",
        prospects=batches["statuses"],
        rejects_path=REJECTS_PATH,
    )
    delete = DeleteProspectOperator(
        task_id="delete_erased",
        prospects=batches["erased"],
        # Erasure can't be undone. A night with more requests than this is a mistake in the warehouse
        # until somebody has looked: the task then fails before its first request.
        max_deletes=20,
        rejects_path=REJECTS_PATH,
    )
    chain(create, update, delete)


closers_nightly_leads()
