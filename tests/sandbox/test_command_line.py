from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests

from airflow_provider_closers.sandbox.__main__ import main

COMMAND = [sys.executable, "-m", "airflow_provider_closers.sandbox"]


@contextmanager
def started(*switches: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [*COMMAND, *switches], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that is wrong; return what it says to that."""

    def refused(*switches: str, status: int = 2) -> str:
        with pytest.raises(SystemExit, match=str(status)):
            main(switches)
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return refused


def url_in(line: str) -> str:
    return re.search(r"http://\S+(?=/ )", line)[0]


def test_command_says_where_it_serves_and_takes_the_switches():
    with started("--port", "0", "--exists-dialect", "422", "--latency", "0.01", "--ignore-email-case") as (
        process,
        line,
    ):
        url = url_in(line)
        headers = {"Authorization": "Bearer sandbox-key"}
        answers = [
            requests.post(f"{url}/v1/crm/prospect", json={"email": email}, headers=headers, timeout=5)
            for email in ("jane@acme.io", "JANE@acme.io")
        ]
        settings = requests.get(f"{url}/sandbox/settings", timeout=5).json()
        foreign = requests.get(url, headers={"Host": "evil.example"}, timeout=5)

        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=10)

    assert "sandbox-key" in line
    assert [answer.status_code for answer in answers] == [201, 422]
    assert (settings["latency"], settings["ignore_email_case"]) == (0.01, True)
    assert foreign.status_code == 403
    assert (process.returncode, rest, errors) == (0, "", "")


def test_own_key_is_not_printed():
    with started("--port", "0", "--api-key", "a-key-of-my-own") as (_, line):
        headers = {"Authorization": "Bearer a-key-of-my-own"}
        answer = requests.post(f"{url_in(line)}/v1/crm/prospect", json={}, headers=headers, timeout=5)

    assert "a-key-of-my-own" not in line
    assert answer.status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "sandbox.example"])
def test_address_beyond_this_machine_is_refused(refused, host):
    assert "--allow-remote serves there all the same" in refused("--host", host)


def test_address_beyond_this_machine_is_served_where_it_is_allowed():
    with started("--host", "0.0.0.0", "--allow-remote", "--port", "0") as (_, line):
        url = url_in(line).replace("0.0.0.0", "127.0.0.1")
        answer = requests.get(url, headers={"Host": "sandbox.internal"}, timeout=5)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        (["--error-rate", "2"], "argument --error-rate: "),
        (["--latency", "soon"], "argument --latency: "),
        (["--exists-dialect", "404"], "argument --exists-dialect: "),
        (["--port", "70000"], "argument --port: "),
        (["--journal-size", "0"], "argument --journal-size: "),
        (["--lag", "1"], "unrecognized arguments: --lag"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_switch_is_refused(refused, switches, message):
    assert message in refused(*switches)


def test_taken_port_is_told_in_one_line(refused, sandbox):
    port = sandbox.url.rpartition(":")[2]

    said = refused("--port", port, status=1)

    assert said.startswith(f"Can't listen on 127.0.0.1, port {port}: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_missing_extra_is_told_in_one_line(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)

    status = main([])

    said = capsys.readouterr().err
    assert status == 1
    assert said.count("\n") == 1
    assert "pip install 'airflow-provider-closers[sandbox]'" in said


def test_module_can_be_run_without_the_extra():
    code = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(['fastapi', 'uvicorn', 'pydantic'])); "
        "runpy.run_module('airflow_provider_closers.sandbox', run_name='__main__')"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )

    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1


def test_sandbox_imports_neither_airflow_nor_the_rest_of_the_provider():
    code = (
        "import sys, airflow_provider_closers.sandbox.server, airflow_provider_closers.sandbox.__main__\n"
        "print(*sorted(m for m in sys.modules if m.split('.')[0] in ('airflow', 'airflow_provider_closers')))"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)

    package = "airflow_provider_closers"
    assert {m for m in ran.stdout.split() if not m.startswith(f"{package}.sandbox")} == {package}
