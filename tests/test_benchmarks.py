"""That the benchmarks run and count what they send; how fast anything is, is not tested."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.append(str(CHECKOUT))

from benchmarks import inputs, machine, sync, throughput, transfers  # noqa: E402
from benchmarks.contenders.job import Job  # noqa: E402
from benchmarks.contenders.readers import SQL  # noqa: E402
from benchmarks.contenders.rows import rows  # noqa: E402
from benchmarks.run import ContenderFailedError, run  # noqa: E402
from benchmarks.server import API_KEY, Server  # noqa: E402


def test_every_contender_is_in_the_tables():
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    first_table = ended.stdout.partition("A limit that nobody told them")[0]
    rates = rates_in(first_table)
    for contender in throughput.CONTENDERS:
        assert (rates[contender.label] == "-") == (machine.version(contender.needs) is None)
    assert "theoretical limit" in rates
    assert "requests + threads + Retry" in ended.stdout
    assert "200 records of a generator" in ended.stdout
    rates = rates_in(ended.stdout.partition("200 records from their source")[2])
    for contender in transfers.CONTENDERS:
        assert (rates[contender.label] == "-") == bool(contender.wants)
    synced = rates_in(ended.stdout.partition("2,000 rows, of which one in 100 changed")[2])
    assert synced["ClosersHook.sync"] == "20"
    for label, _, needs in sync.ENGINES:
        assert (synced[label] == "-") == (needs is not None and machine.version(needs) is None)


def rates_in(table: str) -> dict[str, str]:
    lines = [line.split("|") for line in table.splitlines() if line.startswith("|")]
    return {name.strip(): rate.strip() for _, name, rate, *_ in lines}


def test_a_contender_that_counts_otherwise_than_the_sandbox_fails(tmp_path):
    with Server() as server:
        job = Job(contender="urllib3_threads", server=server.url, api_key=API_KEY, concurrency=2, records=10)
        assert run(job, server, tmp_path).delivered == 10

        server.reset()
        stranger = json.dumps({"email": "stranger@acme.io"}).encode()
        urllib.request.urlopen(urllib.request.Request(job.url, stranger, job.headers)).close()
        with pytest.raises(ContenderFailedError, match=r"10 prospects; the sandbox has 11"):
            run(job, server, tmp_path)


def test_a_contender_that_breaks_shows_its_log(tmp_path):
    with Server() as server:
        job = Job(contender="nobody", server=server.url, api_key=API_KEY, concurrency=2, records=10)
        with pytest.raises(ContenderFailedError, match=r"No module named 'benchmarks\.contenders\.nobody'"):
            run(job, server, tmp_path)


@pytest.mark.parametrize("seconds", [4.0, 4.05, 4.5], ids=str)
def test_steady_rate_does_not_depend_on_how_many_bursts_fit_in(seconds):
    bursts = [burst * 0.1 for burst in range(int(seconds * 10) + 1)]
    waits = [0.1 + place * 0.0001 for place in range(32)]
    journal = [{"status": 201, "monotonic": at, "latency": wait} for at in bursts for wait in waits]

    assert throughput.steady_rate(journal) == pytest.approx(320, rel=0.01)


def test_steady_rate_of_a_short_run_is_not_known():
    journal = [{"status": 201, "monotonic": at * 0.01, "latency": 0.1} for at in range(250)]

    assert throughput.steady_rate(journal) is None
    assert throughput.steady_rate([]) is None


def test_every_source_has_the_rows_of_the_generator(tmp_path):
    wanted = list(rows(250, None))

    with inputs.inputs(250, tmp_path) as sources:
        found = {name: rows_in(name, source) for name, source in sources.items()}

    assert {"csv", "jsonl"} <= found.keys()
    for name, there in found.items():
        assert there == wanted, name


def rows_in(name: str, source: str) -> list[dict[str, str]]:
    match name:
        case "csv":
            with Path(source).open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        case "jsonl":
            return [json.loads(line) for line in Path(source).read_text(encoding="utf-8").splitlines()]
        case "parquet":
            from pyarrow.parquet import read_table

            return read_table(source).to_pylist()
        case _:
            import psycopg2
            from psycopg2.extras import RealDictCursor

            server = json.loads(source)
            where = {"host": server["host"], "user": server["login"], "dbname": server["schema"]}
            with (
                closing(psycopg2.connect(**where)) as connection,
                connection.cursor(cursor_factory=RealDictCursor) as cursor,
            ):
                cursor.execute(SQL)
                return [dict(row) for row in cursor]


def test_without_a_database_only_its_rows_are_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "programs", lambda: None)

    with inputs.inputs(10, tmp_path) as sources:
        assert "postgresql" not in sources

    empty = [contender for contender in transfers.CONTENDERS if contender.source == "postgresql"]
    assert len(empty) == 3
    assert all("PostgreSQL's initdb and postgres" in contender.wants for contender in empty)
    assert not transfers.YARDSTICK.wants


@pytest.mark.parametrize("name", ["file_to_closers", "requests_threads", "reading"], ids=str)
def test_a_transfer_that_leaves_records_behind_fails(name, tmp_path):
    some = tmp_path / "some.csv"
    some.write_text("email,first_name,last_name,company,city,plan\n" + "jane@acme.io,J,D,Acme,Graz,pro\n")
    contender = transfers.Contender(name=name, label="short", source="csv", reader="file_records")

    with Server() as server, pytest.raises(ContenderFailedError, match=r"short: 1 records of 2"):
        transfers._run(contender, {"csv": str(some)}, 2, server, tmp_path)
