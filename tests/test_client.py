"""One request: what leaves, and what the network may do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_closers import __version__
from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.client import ClosersClient, error_from
from airflow_provider_closers.errors import ClosersAPIError, ClosersConfigError, ClosersError
from airflow_provider_closers.settings import ClosersSettings

URL = "https://api.closershq.io/v1/crm/prospect"
KEY = "key-that-nobody-may-see"
JANE = {"email": "jane+x@acme.io"}


@pytest.fixture
def new_client() -> Iterator[Callable[..., ClosersClient]]:
    clients = []

    def new(**settings: Any) -> ClosersClient:
        clients.append(ClosersClient(ClosersSettings(**{"api_key": KEY} | settings)))
        return clients[-1]

    yield new
    for client in clients:
        client.close()


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_request_carries_key_json_and_user_agent(requests_mock, new_client, method, monkeypatch):
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    requests_mock.register_uri(method, URL, json={"id": 7})

    answer = new_client().send(method, JANE)

    sent = requests_mock.last_request
    assert answer == Answer(Verdict.OK, 200, data={"id": 7})
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.headers["User-Agent"] == f"airflow-provider-closers/{__version__}"
    assert sent.json() == JANE
    assert sent.timeout == 30.0
    assert sent.verify is True


def test_delete_carries_the_email_in_the_query_where_asked(requests_mock, new_client):
    requests_mock.delete(URL)

    new_client(delete_email_in="query").send("DELETE", JANE)

    assert requests_mock.last_request.url == f"{URL}?email=jane%2Bx%40acme.io"
    assert not requests_mock.last_request.body


def test_a_private_ca_and_the_timeout_are_used(requests_mock, new_client, tmp_path):
    requests_mock.post(URL)
    bundle = tmp_path / "ca.pem"
    bundle.touch()

    new_client(ca_bundle=str(bundle), timeout=3.0).send("POST", JANE)

    assert requests_mock.last_request.verify == str(bundle)
    assert requests_mock.last_request.timeout == 3.0


def test_a_ca_bundle_of_the_environment_that_is_not_there_is_named(new_client, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")

    with pytest.raises(ClosersConfigError, match=r"authorities is not there: '/nowhere/ca.pem'"):
        new_client()


def test_no_proxy_is_shown_the_key_on_its_way_to_loopback(sandbox, new_client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    answer = new_client(base_url=sandbox.url, api_key=sandbox.api_key).send("POST", JANE)

    assert answer.verdict is Verdict.OK


def test_the_environment_s_proxy_and_ca_are_used(requests_mock, new_client, monkeypatch):
    requests_mock.post(URL)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.acme.io:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", __file__)

    new_client().send("POST", JANE)

    assert requests_mock.last_request.proxies["https"] == "http://proxy.acme.io:3128"
    assert requests_mock.last_request.verify == __file__


def test_a_netrc_entry_never_replaces_the_key(sandbox, new_client, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login jane password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))

    answer = new_client(base_url=sandbox.url, api_key=sandbox.api_key).send("POST", JANE)

    assert answer.verdict is Verdict.OK
    assert [entry.key for entry in sandbox.journal()] == ["ok"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/v1/crm/prospect", "http://[nonsense"])
def test_a_redirect_is_never_followed(sandbox, new_client, status, location):
    sandbox.add_fault("redirect", status=status, location=location)

    answer = new_client(base_url=sandbox.url, api_key=sandbox.api_key).send("POST", JANE)

    assert (answer.verdict, answer.status) == (Verdict.NOT_THE_API, status)
    assert len(sandbox.journal()) == 1


def test_cookies_are_not_kept(requests_mock, new_client):
    requests_mock.post(URL, headers={"Set-Cookie": "session=1; Path=/"})
    client = new_client()

    client.send("POST", JANE)
    client.send("POST", JANE)

    assert "Cookie" not in requests_mock.last_request.headers


def test_a_key_that_the_far_end_echoes_stops_here(requests_mock, new_client):
    requests_mock.post(URL, status_code=400, json={"message": f"You sent Bearer {KEY}"})

    answer = new_client().send("POST", JANE)

    assert KEY not in repr(answer)
    assert answer.reason == "You sent Bearer ***"


@pytest.mark.parametrize("before", range(150, 200, 7))
def test_no_part_of_an_echoed_key_is_left_where_a_long_text_is_cut(requests_mock, new_client, before):
    requests_mock.post(URL, status_code=400, json={"message": "x" * before + " " + KEY + " " + "y" * 3_000})

    answer = new_client().send("POST", JANE)

    assert KEY[:4] not in repr(answer)


def test_a_key_that_a_success_echoes_stops_here_and_spoils_nothing_else(requests_mock, new_client):
    requests_mock.post(URL, json={"email": "jane@acme.io", "test": True, "headers": ["Bearer test", "test"]})

    answer = new_client(api_key="test").send("POST", JANE)

    assert answer.data == {"email": "jane@acme.io", "test": True, "headers": ["Bearer ***", "***"]}


def serve_once(behave: Callable[[socket.socket], None]) -> str:
    """Accept one connection and do with it as told; return the URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listener, closing(listener.accept()[0]) as connection:
            connection.recv(65_536)
            behave(connection)

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "behave",
    [
        lambda connection: None,
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        lambda connection: connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"
        ),
        lambda connection: connection.sendall(b"I am no web server\r\n\r\n"),
        lambda connection: threading.Event().wait(0.5),
    ],
    ids=["closed", "cut in the body", "cut in a chunk", "not HTTP", "silent"],
)
def test_a_lost_answer_may_have_worked(new_client, behave):
    answer = new_client(base_url=serve_once(behave), timeout=0.2).send("POST", JANE)

    assert (answer.verdict, answer.status) == (Verdict.UNAVAILABLE, None)
    assert answer.may_have_worked


def test_a_request_that_never_left_can_t_have_worked(new_client):
    answer = new_client(base_url="http://127.0.0.1:9").send("POST", JANE)

    assert answer.verdict is Verdict.UNAVAILABLE
    assert answer.reason == "ConnectionError: Connection refused"
    assert not answer.may_have_worked


def test_a_host_that_no_name_server_knows_is_no_answer(new_client, monkeypatch):
    def fail(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    answer = new_client(base_url="https://crm.acme.io").send("POST", JANE)

    assert answer.reason == "ConnectionError: Name or service not known"
    assert not answer.may_have_worked


def test_a_far_end_without_tls_can_t_have_taken_the_request(new_client):
    url = serve_once(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))

    answer = new_client(base_url=url.replace("http:", "https:")).send("POST", JANE)

    assert answer.reason.startswith("SSLError")
    assert not answer.may_have_worked


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.OK], ids=lambda v: v.name)
@pytest.mark.parametrize("status", [400, None])
def test_an_error_names_method_path_and_status_and_no_body(verdict, status):
    answer = Answer(verdict, status, reason="jane@acme.io", text="jane@acme.io", retry_after=7.0)

    error = error_from("POST", answer)

    assert isinstance(error, ClosersError)
    assert str(error).startswith("POST /v1/crm/prospect ")
    assert ("answered 400" in str(error)) == (status == 400)
    if status:
        assert "jane" not in str(error)
    if isinstance(error, ClosersAPIError):
        assert (error.status_code, error.text) == (status or 0, "jane@acme.io")


def test_a_long_body_is_sent_whole(requests_mock, new_client):
    requests_mock.post(URL)

    new_client().send("POST", JANE | {"otherAttribute": {"note": "ü" * 100_000}})

    assert len(json.loads(requests_mock.last_request.body)["otherAttribute"]["note"]) == 100_000
