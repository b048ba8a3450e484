"""What Airflow stores, tells and measures of pushes in a real DAG run, and what it must not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).parent / "dags"


class Statsd:
    """A StatsD server that keeps what it is told."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.counted: Counter[str] = Counter()
        self.timed: Counter[str] = Counter()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                told = self.socket.recv(65_536).decode()
            except OSError:
                return
            for line in told.splitlines():
                name, _, figures = line.rpartition(":")
                value, kind, *_ = figures.split("|")
                if kind == "c":
                    self.counted[name] += int(float(value))
                elif kind == "ms":
                    self.timed[name] += 1


@pytest.fixture(scope="module")
def statsd() -> Iterator[Statsd]:
    server = Statsd()
    yield server
    server.socket.close()


@pytest.fixture(scope="module")
def observed(airflow_db, sandbox_server, statsd, tmp_path_factory) -> Any:
    """What a run of the DAG left, in the database and elsewhere."""
    folder = tmp_path_factory.mktemp("observed")
    leads = folder / "leads.csv"
    leads.write_text("email\n" + "".join(f"secret-person-f{i}@acme.io\n" for i in range(60)) + "secret-no\n")
    sandbox_server.reset()
    sandbox_server.add_fault("error", status=429, retry_after=2, email="secret-person-f40@acme.io")
    connection = {"conn_type": "closers", "host": sandbox_server.url, "password": sandbox_server.api_key}
    database = folder / "airflow.db"
    environ = os.environ | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(folder / "lineage.jsonl"), "append": True}
        ),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
        # Every attribute of an operator goes into the events then, whatever it holds.
        "AIRFLOW__OPENLINEAGE__INCLUDE_FULL_TASK_INFO": "True",
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
        "AIRFLOW_CONN_CLOSERS_DEFAULT": json.dumps(connection),
    }
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "airflow", "db", "migrate"],
        env=environ,
        check=True,
        capture_output=True,
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", DAGS / "closers_observed.py", folder, leads],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    assert run.returncode == 0, run.stdout[-6_000:] + run.stderr[-6_000:]
    left = json.loads((folder / "left.json").read_text())
    lineage = [json.loads(line) for path in folder.glob("lineage*") for line in path.read_text().splitlines()]
    return left | {
        "log": run.stdout + run.stderr,
        "lineage": lineage,
        "leads": str(leads),
        "sandbox": len(sandbox_server.journal()),
    }


def test_every_task_ends_well_the_deferred_one_too(observed):
    assert set(observed["states"].values()) == {"success"}
    assert set(observed["states"]) >= {"unmapped[-1]", "mapped[0]", "mapped[1]", "deferred[-1]"}


def test_a_deferred_push_reports_the_whole(observed):
    report = observed["reports"]["deferred"]

    assert (report["total"], report["created"], report["rejected"]) == (61, 60, 1)
    assert report["throttled"] == 1
    assert "The task is deferred until then" in observed["log"]


def test_prospects_are_not_in_the_table_of_rendered_fields(observed):
    assert "secret" not in json.dumps(observed["rendered"]).lower()
    for task in ("unmapped[-1]", "mapped[0]", "mapped[1]"):
        assert "prospects" not in observed["rendered"][task]
        assert observed["rendered"][task]["closers_conn_id"] == "closers_default"
    assert observed["rendered"]["mapped[1]"]["rejects_path"].endswith("/rejects.jsonl")


def test_prospects_are_not_in_the_log(observed):
    assert "secret-person" not in observed["log"]


def test_a_declared_outlet_s_event_has_the_counts_and_no_rejects(observed):
    events = observed["events"]

    assert set(events) == {"unmapped[-1]", "mapped[0]", "mapped[1]"}
    assert (events["unmapped[-1]"]["operation"], events["unmapped[-1]"]["created"]) == ("create", 3)
    assert [events[f"mapped[{i}]"]["created"] for i in range(2)] == [2, 2]
    assert not {"rejects", "pace"} & set(events["unmapped[-1]"])


def test_openlineage_learns_where_from_where_to_and_how_many(observed):
    ended = [event for event in observed["lineage"] if event["eventType"] == "COMPLETE"]
    pushes = [event for event in ended if event["job"]["name"] == "closers_observed.deferred"]

    (push,) = pushes
    (output,) = push["outputs"]
    (source,) = push["inputs"]
    assert output["namespace"].startswith("closers://127.0.0.1:")
    assert output["name"] == "prospects"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 60
    assert (source["namespace"], source["name"]) == ("file", observed["leads"])
    assert source["inputFacets"]["dataQualityMetrics"]["rowCount"] == 61
    assert "secret" not in json.dumps(observed["lineage"]).lower()


def test_the_metrics_add_up(observed, statsd):
    counted = {name.removeprefix("airflow."): n for name, n in statsd.counted.items() if "closers." in name}

    assert counted == {
        "closers.pushed": 3 + 4 + 60,
        "closers.rejected": 1,
        "closers.requests": observed["sandbox"],
        "closers.throttled": 1,
    }
    assert statsd.timed["airflow.closers.request_latency"] == observed["sandbox"]
