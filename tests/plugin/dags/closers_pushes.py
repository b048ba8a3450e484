"""What the page has to show: one push, mapped ones, one with rejects, one by a function, and none."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_closers.assets.closers import create_asset
from airflow_provider_closers.operators.prospect import CreateProspectOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def closers_pushes():
    @task
    def chunks() -> list[list[dict[str, str]]]:
        return [[{"email": f"m{chunk}-{n}@acme.io"} for n in range(20 * (chunk + 1))] for chunk in range(3)]

    @task(outlets=[create_asset(host="sandbox")])
    def by_hand() -> dict[str, object]:
        from airflow_provider_closers.hooks.closers import ClosersHook

        return ClosersHook().push("create", [{"email": f"h{n}@acme.io"} for n in range(5)]).as_dict()

    @task
    def no_push() -> dict[str, int]:
        return {"unresolved": 3}

    CreateProspectOperator(
        task_id="push_leads",
        prospects=[{"email": f"p{n}@acme.io"} for n in range(400)]
        + [{"email": "no address"}, {"email": "<img src=x onerror=alert(1)>"}],
        max_rejects=5,
    )
    CreateProspectOperator.partial(task_id="push_chunk").expand(prospects=chunks())
    CreateProspectOperator(task_id="preview_leads", prospects=[{"email": "p@acme.io"}], preview=True)
    by_hand()
    no_push()


closers_pushes()
