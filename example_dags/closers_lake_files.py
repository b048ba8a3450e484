"""
### Leads from files

Lists of a fair and of the website lie in a folder of the lake, as they were exported: a CSV with
semicolons and a byte order mark, another one, a file of JSON Lines; each with a line or two that is none.

**closers_lake_files** pushes whatever is in the folder. Our own people and test addresses are dropped
(`filtered`), and what can't be used is written to a file of rejects, with the reason. The task bears
five of them.

**closers_push_rejects_again** pushes that file once it is mended. To mend it, open it, put right what is
under `record` in each line (an object, where it holds the text of a broken line), and delete the lines
that are past mending; then trigger this DAG with the file's `path`. What is still wrong is rejected
again, into a new file.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lead_warehouse
from airflow.providers.common.compat.sdk import Param, dag

from airflow_provider_closers.transfers.file_to_closers import FileToClosersOperator

# Yours may be s3://aws_lake@bucket/leads/*.csv
LAKE = Path(__file__).parent / "data" / "lake"

OUR_DOMAIN = "@our-company.example.com"


def no_colleagues(record: dict[str, Any]) -> dict[str, Any] | None:
    """Drop those who are no prospects."""
    email = (record.get("email") or "").lower()
    return None if email.endswith(OUR_DOMAIN) or email.startswith("test@") else record


# Both DAGs read the same records.
READING = {
    "operation": "create",
    "transform": no_colleagues,
    "other_attributes": ["company", "met_at", "notes"],
}


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_lake_files():
    FileToClosersOperator(
        task_id="push_files",
        path=str(LAKE),
        csv_options={"delimiter": ";"},
        max_rejects=5,
        rejects_path=f"{lead_warehouse.EXAMPLES_HOME}/rejects/{{{{ run_id }}}}/push_files.jsonl",
        **READING,
    )


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "path": Param(
            type="string",
            minLength=1,
            title="Mended rejects",
            description="The file: `rejects_path` in the XCom of the push that wrote it.",
        )
    },
    tags=["closers", "example"],
    doc_md=__doc__,
)
def closers_push_rejects_again():
    FileToClosersOperator(
        task_id="push_again",
        path="{{ params.path }}",
        rejects_path=f"{lead_warehouse.EXAMPLES_HOME}/rejects/{{{{ run_id }}}}/push_again.jsonl",
        **READING,
    )


closers_lake_files()
closers_push_rejects_again()
