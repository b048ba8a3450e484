from __future__ import annotations

import socket
import threading
import time

import pytest
import requests

from airflow_provider_closers.sandbox.server import SandboxServer

JANE = {"email": "jane@acme.io"}


def test_server_starts_and_stops_quickly_and_can_be_read_afterwards():
    began = time.monotonic()
    with SandboxServer() as sandbox:
        assert requests.get(sandbox.url, timeout=5).status_code == 200
        sandbox.add_prospects([JANE])
    took = time.monotonic() - began

    assert took < 2
    assert sandbox.prospects() == [JANE]
    with pytest.raises(requests.ConnectionError, match="refused"):
        requests.get(sandbox.url, timeout=5)


def test_stopped_server_leaves_no_thread():
    before = set(threading.enumerate())

    with SandboxServer() as sandbox:
        requests.get(f"{sandbox.url}/sandbox/stats", timeout=5)
        assert set(threading.enumerate()) - before

    assert {thread.name for thread in threading.enumerate() if thread not in before} == set()


def test_server_can_be_started_again():
    sandbox = SandboxServer()
    for _ in range(2):
        sandbox.start()
        assert requests.get(sandbox.url, timeout=5).status_code == 200
        sandbox.stop()
    sandbox.stop()


def test_server_is_started_once_at_a_time(sandbox):
    with pytest.raises(RuntimeError, match="running already"):
        sandbox.start()


def test_server_that_was_not_started_has_no_url():
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = SandboxServer().url


def test_taken_port_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sandbox = SandboxServer(port=taken.getsockname()[1])

        with pytest.raises(OSError, match="in use"):
            sandbox.start()


@pytest.mark.parametrize("settings", [{"lag": 1}, {"latency": -1}, {"exists_dialect": "404"}], ids=str)
def test_wrong_setting_is_an_error(sandbox, settings):
    [name] = settings
    with pytest.raises(ValueError, match=name):
        SandboxServer(**settings)
    with pytest.raises(ValueError, match=name):
        sandbox.configure(**settings)


def test_reset_goes_back_to_the_settings_of_the_constructor():
    sandbox = SandboxServer(exists_dialect="422", ignore_email_case=True)
    sandbox.configure(exists_dialect="400", latency=1, ignore_email_case=False)

    sandbox.reset()

    assert (sandbox.settings.exists_dialect, sandbox.settings.latency) == ("422", 0)
    assert sandbox.settings.ignore_email_case is True


def test_prospects_to_start_from_keep_the_contract(sandbox):
    with pytest.raises(ValueError, match="first_name is not a field"):
        sandbox.add_prospects([{**JANE, "first_name": "Jane"}])
    with pytest.raises(ValueError, match="already"):
        sandbox.add_prospects([JANE, JANE])

    assert sandbox.prospects() == [JANE]
    assert sandbox.prospect("joe@acme.io") is None


def test_many_requests_at_once_are_all_counted(call, sandbox):
    def send(first: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            for number in range(first, first + 25):
                body, headers = (
                    {"email": f"p{number}@acme.io"},
                    {"Authorization": f"Bearer {sandbox.api_key}"},
                )
                session.post(f"{sandbox.url}/v1/crm/prospect", json=body, headers=headers, timeout=5)

    threads = [threading.Thread(target=send, args=(first,)) for first in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sandbox.count() == 200
    assert [entry.seq for entry in sandbox.journal()] == list(range(1, 201))
    assert sandbox.stats()["requests"]["in_flight"] == 0
