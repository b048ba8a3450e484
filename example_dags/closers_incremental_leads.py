r"""
### Incremental leads

Every night the leads that changed during the day travel into Closers, and no others. Each run has a
window of one day, which begins where the window of the run before ended: no change is missed, and none
is pushed twice. (A lead that changes again is in the window of its last change only.)

It needs the connections `closers_default` and `warehouse` (see `lead_warehouse.py`). Once it is unpaused
it makes up for every day since its start date, one after the other.

**By hand:** trigger it with `since` and `until`; without them the last whole day is pushed.

**Days before the start date, or once more** (leads that are in Closers already are updated):

    airflow backfill create --dag-id closers_incremental_leads \
        --from-date 2026-11-01 --to-date 2026-11-14 --reprocess-behavior completed      # Airflow 3
    airflow dags backfill closers_incremental_leads \
        --start-date 2026-11-01 --end-date 2026-11-14 --reset-dagruns --yes             # Airflow 2.11

Both dates are days whose changes are pushed.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import lead_warehouse
from airflow.providers.common.compat.sdk import AirflowFailException, Param, dag, task
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_closers.transfers.sql_to_closers import SqlToClosersOperator


def window(params: dict[str, Any], dag_run: Any) -> tuple[str, str]:
    """Return the window's beginning, which is part of it, and its end, which is not; for the query."""
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    if end is None:
        # Airflow 3 gives a run by hand no interval, unless one types in a logical date. Take what
        # Airflow 2 gives it: the last whole day.
        end = datetime.combine(dag_run.run_after.astimezone(UTC), time.min, UTC)
        start = end - timedelta(days=1)
    since = midnight(params["since"]) if params["since"] else start
    until = midnight(params["until"]) if params["until"] else end
    if since >= until:
        # Nothing would be pushed, and the run would be green.
        raise AirflowFailException(f"The window from {since} until {until} is empty: set both.")
    return written(since), written(until)


def midnight(day: str) -> datetime:
    """Return when a day begins."""
    return datetime.combine(datetime.fromisoformat(day), time.min, UTC)


def written(moment: datetime) -> str:
    """Write a moment as the warehouse does."""
    return moment.astimezone(UTC).strftime(lead_warehouse.TIMESTAMP)


@dag(
    # Not "@daily": on Airflow 3 that makes runs whose interval begins and ends at the same moment.
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 11, 15, tzinfo=UTC),
    # Without catchup the days on which the DAG was paused, or Airflow down, would be left out for good.
    catchup=True,
    is_paused_upon_creation=True,
    max_active_runs=1,
    default_args={"retries": 2},
    params={
        "since": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Since",
            description="Push what changed on this day (UTC) and later; else in the run's data interval.",
        ),
        "until": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Until",
            description="Push what changed before this day (UTC), which itself is not included.",
        ),
    },
    user_defined_macros={"window": window},
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_incremental_leads():
    @task
    def warehouse() -> None:
        """Build the invented warehouse, the first time."""
        lead_warehouse.ready()

    push = SqlToClosersOperator(
        task_id="push_changed",
        conn_id="warehouse",
        sql="sql/changed_leads.sql",
        operation="upsert",
        field_map={"job_title": "title"},
        other_attributes=["company", "city", "plan"],
        # Who opted out or wants to be erased is sent by no run, whatever else changed about them.
        suppression_list={
            "conn_id": "warehouse",
            "sql": "SELECT email FROM leads WHERE unsubscribed OR erasure_requested_on IS NOT NULL",
        },
        # Not a fraction: in a small window one bad lead is a large one.
        max_rejects=5,
        rejects_path=f"{lead_warehouse.EXAMPLES_HOME}/rejects/{{{{ run_id }}}}/push_changed.jsonl",
        # A retry goes on where the try before it ended; it may, since the query is in a fixed order.
        checkpoint_path=f"{lead_warehouse.EXAMPLES_HOME}/checkpoints/{{{{ run_id }}}}/push_changed.json",
    )

    warehouse() >> push


closers_incremental_leads()
