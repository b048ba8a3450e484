"""
### Replies, by the hook

The operators push what a task is given. Where a task of your own decides as it goes, it uses the hook:

1. **welcome_team** (a `PythonOperator`) makes sure that our own mailbox is a prospect, to see each
   campaign as the prospects do. Single calls raise: `ProspectExistsError` is the usual end.
2. **push_replies** (TaskFlow) tells Closers who replied, row by row as the warehouse gives them, and
   decides itself what counts as a failure.
3. **say** reads the report.

On Airflow 3.3 the two have the provider's retry policy: a refused key is not tried again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import airflow
import lead_warehouse
from airflow.providers.common.compat.sdk import chain, dag, task
from airflow.providers.standard.operators.python import PythonOperator

from airflow_provider_closers.hooks.closers import ClosersHook

OUR_OWN = {"email": "team@ourcompany.example.com", "first_name": "Our", "last_name": "Team"}


def retries() -> dict[str, Any]:
    """Return how the tasks are tried again: where Airflow knows policies, by the provider's."""
    version = tuple(int(part) for part in airflow.__version__.split(".")[:2])
    if version < (3, 3):
        return {"retries": 2}
    from airflow_provider_closers.retry_policy import ClosersRetryPolicy

    return {"retries": 2, "retry_policy": ClosersRetryPolicy()}


def welcome() -> None:
    """Add our own mailbox; a second time, bring its name up to date."""
    from airflow_provider_closers.errors import ProspectExistsError

    hook = ClosersHook()
    try:
        hook.create_prospect(OUR_OWN)
    except ProspectExistsError:
        hook.update_prospect(OUR_OWN)


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args=retries(),
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_replies_by_hook():
    @task
    def push_replies() -> dict[str, Any]:
        """Tell Closers who replied; who is no prospect (any more) is none of our business here."""
        replied = lead_warehouse.query("SELECT email, replied, opened_email FROM leads WHERE replied")
        report = ClosersHook().push("update", replied, if_missing="skip")
        report.raise_for_failure()
        return report.as_dict()

    @task
    def say(report: dict[str, Any]) -> str:
        """Say what it came to."""
        return f"{report['updated']} of {report['total']} who replied are prospects"

    welcomed = PythonOperator(task_id="welcome_team", python_callable=welcome)
    report = push_replies()
    chain(welcomed, report)
    say(report)


closers_replies_by_hook()
