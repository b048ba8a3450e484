"""One `HttpOperator` per record."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import dag, task
from airflow.providers.http.operators.http import HttpOperator

from benchmarks.contenders.job import PATH
from benchmarks.contenders.stopwatch import STOPWATCH


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def post_records() -> None:
    """Post each record in a mapped task."""

    @task
    def bodies() -> list[str]:
        # The first task pays for what Airflow loads; it is not held against those that follow.
        STOPWATCH.start()
        return list(json.loads(os.environ["BENCHMARK_BODIES"]))

    HttpOperator.partial(task_id="post", http_conn_id="closers_http", endpoint=PATH, method="POST").expand(
        data=bodies()
    )


post_records()
