"""That the benchmarks run and count what they send; how fast anything is, is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.append(str(CHECKOUT))

from benchmarks import machine, throughput  # noqa: E402
from benchmarks.contenders.job import Job  # noqa: E402
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
    lines = [line.split("|") for line in first_table.splitlines() if line.startswith("|")]
    rates = {name.strip(): rate.strip() for _, name, rate, *_ in lines}
    for contender in throughput.CONTENDERS:
        assert (rates[contender.label] == "-") == (machine.version(contender.needs) is None)
    assert "theoretical limit" in rates
    assert "requests + threads + Retry" in ended.stdout
    assert "200 records of a generator" in ended.stdout


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
