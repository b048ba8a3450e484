r"""
The "warehouse" of the example DAGs: one SQLite table of leads, built from `data/leads.csv`.

The leads are invented, and every address lies in a domain reserved for documentation, so that
nobody real is ever mailed. The transfers reach it as the connection `warehouse`:

    airflow connections add warehouse --conn-type sqlite \
        --conn-host "${CLOSERS_EXAMPLES_HOME:-$AIRFLOW_HOME/closers-examples}/warehouse.sqlite"

As in a real warehouse some rows are awkward: names in several scripts, addresses with a plus, NULLs, an
email twice, one that is malformed, and one person who opted out and has a stale second row that does
not know it.
"""

from __future__ import annotations

import csv
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

LEADS_CSV = Path(__file__).parent / "data" / "leads.csv"

AIRFLOW_HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
# Where the examples keep their files. With workers on several machines: a folder that all of them see.
EXAMPLES_HOME = Path(os.environ.get("CLOSERS_EXAMPLES_HOME", AIRFLOW_HOME / "closers-examples"))

# How `updated_at` is written, always in UTC. SQLite compares it as text, and Airflow writes
# `2026-11-20 00:00:00+00:00`, so what is compared with it has to be written like this first.
TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"

SCHEMA = """
CREATE TABLE leads (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL,
    first_name TEXT,
    last_name TEXT,
    job_title TEXT,
    company TEXT,
    city TEXT,
    plan TEXT,
    signed_up_on TEXT NOT NULL,
    is_contacted INTEGER,
    opened_email INTEGER,
    replied INTEGER,
    bounced INTEGER,
    unsubscribed INTEGER,
    erasure_requested_on TEXT,
    updated_at TEXT NOT NULL
)
"""


def read_leads() -> list[dict[str, Any]]:
    """Return what the warehouse is built from; an empty cell stands for NULL."""
    with LEADS_CSV.open(encoding="utf-8", newline="") as file:
        return [{column: cell or None for column, cell in row.items()} for row in csv.DictReader(file)]


def ready() -> Path:
    """Return the SQLite file, which is built first where it is missing or older than the leads."""
    warehouse = EXAMPLES_HOME / "warehouse.sqlite"
    if not warehouse.exists() or warehouse.stat().st_mtime < LEADS_CSV.stat().st_mtime:
        build(warehouse)
    return warehouse


def query(sql: str) -> list[dict[str, Any]]:
    """Return the rows of a query, each as a dict."""
    with closing(sqlite3.connect(ready())) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def build(warehouse: Path) -> None:
    """Fill a new SQLite file with the leads."""
    leads = read_leads()
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    # Two tasks may build at once: each fills a file of its own, and the last one takes the name.
    unfinished = warehouse.with_suffix(f".{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection, connection:
        connection.execute(SCHEMA)
        values = ", ".join(f":{column}" for column in leads[0])
        connection.executemany(f"INSERT INTO leads VALUES ({values})", leads)  # noqa: S608 - our own columns
    unfinished.replace(warehouse)
