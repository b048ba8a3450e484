"""
### Leads as soon as the warehouse has them

**closers_warehouse_refresh** loads into the warehouse what changed elsewhere, and says so: its asset event
tells in `extra` from when until when the refreshed rows are stamped.

**closers_refreshed_leads** starts on that event, and pushes those rows into Closers. A run has no data
interval of its own (on Airflow 2.11 it has the producer's, which is something else). It may stand for
several events, in no particular order: it then pushes from the first one's beginning to the last one's
end. Triggered by hand, it pushes what was refreshed during the last 24 hours.

Both need the connection `warehouse` (see `lead_warehouse.py`), the second one `closers_default`, too.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import lead_warehouse
from airflow.providers.common.compat.sdk import Asset, dag, task

from airflow_provider_closers.transfers.sql_to_closers import SqlToClosersOperator

WAREHOUSE = Asset("closers_example_warehouse")


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_warehouse_refresh():
    @task(outlets=[WAREHOUSE])
    def refresh(outlet_events) -> None:
        """Note that the next ten leads were contacted: what a load from the sales team's system may bring."""
        with closing(sqlite3.connect(lead_warehouse.ready())) as warehouse, warehouse:
            since = next_stamp(warehouse)
            warehouse.execute(
                """
                UPDATE leads SET is_contacted = 1, updated_at = :stamp WHERE id IN (
                    SELECT id FROM leads
                    WHERE is_contacted IS NULL AND unsubscribed IS NULL AND erasure_requested_on IS NULL
                    ORDER BY id LIMIT 10
                )
                """,
                {"stamp": since.strftime(lead_warehouse.TIMESTAMP)},
            )
        until = since + timedelta(seconds=1)
        outlet_events[WAREHOUSE].extra = {
            "since": since.strftime(lead_warehouse.TIMESTAMP),
            "until": until.strftime(lead_warehouse.TIMESTAMP),
        }

    refresh()


def next_stamp(warehouse: sqlite3.Connection) -> datetime:
    """Return the time, or a second after the last stamp: no two refreshes may share one."""
    [(last,)] = warehouse.execute("SELECT max(updated_at) FROM leads")
    return max(datetime.now(UTC).replace(microsecond=0), datetime.fromisoformat(last) + timedelta(seconds=1))


@dag(
    schedule=[WAREHOUSE],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_refreshed_leads():
    @task
    def refreshed(**context) -> dict[str, str]:
        """Return the window that all events of this run cover together."""
        # An asset is a dataset on Airflow 2.
        triggering = context.get("triggering_asset_events", context.get("triggering_dataset_events"))
        extras = [event.extra for events in triggering.values() for event in events]
        now = datetime.now(UTC)
        last_day = {
            "since": (now - timedelta(days=1)).strftime(lead_warehouse.TIMESTAMP),
            "until": now.strftime(lead_warehouse.TIMESTAMP),
        }
        # No event: a run by hand. One that somebody made in Airflow's interface names no window.
        windows = [{**last_day, **extra} for extra in extras] or [last_day]
        return {
            "since": min(window["since"] for window in windows),
            "until": max(window["until"] for window in windows),
        }

    SqlToClosersOperator(
        task_id="push_refreshed",
        conn_id="warehouse",
        # Bound by the database's driver, not written into the query: SQLite's placeholders begin with a
        # colon; others' are %(since)s.
        sql="""
            SELECT email, first_name, last_name, is_contacted FROM leads
            WHERE updated_at >= :since AND updated_at < :until
            ORDER BY updated_at, id
        """,
        parameters=refreshed(),
        operation="upsert",
        suppression_list={
            "conn_id": "warehouse",
            "sql": "SELECT email FROM leads WHERE unsubscribed OR erasure_requested_on IS NOT NULL",
        },
        rejects_path=f"{lead_warehouse.EXAMPLES_HOME}/rejects/{{{{ run_id }}}}/push_refreshed.jsonl",
    )


closers_warehouse_refresh()
closers_refreshed_leads()
