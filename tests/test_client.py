"""One request: what leaves, and what the network may do."""

from __future__ import annotations

import datetime as dt
import gzip
import ipaddress
import itertools
import json
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from requests_mock import ANY

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


def test_an_email_in_the_query_is_in_no_log(sandbox, new_client, caplog):
    sandbox.add_prospects([JANE])
    sandbox.configure(delete_email_in="query")
    client = new_client(base_url=sandbox.url, api_key=sandbox.api_key, delete_email_in="query")

    with caplog.at_level("DEBUG"):
        answer = client.send("DELETE", {"email": JANE["email"]})

    assert answer.verdict is Verdict.OK
    assert sandbox.prospects() == []
    # The far end, in the same process, has a log of its own.
    told = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]
    assert any('"DELETE /v1/crm/prospect HTTP/1.1" 200' in message for message in told)
    assert not any("acme" in message for message in told)


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


@pytest.mark.parametrize("unusable", [{"api_key": "key\nX: y"}, {"base_url": "https://*.acme.io"}])
def test_what_http_can_t_say_is_refused_without_showing_the_key(new_client, unusable):
    with pytest.raises(ClosersConfigError, match=r"^The host or the API key is nothing that HTTP can say\.$"):
        new_client(**unusable)


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


class RawServer:
    """Does with its first connection as the first behaviour says, and so on; the last one stays."""

    def __init__(self, *behaviours: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None):
        self.behaviours = list(behaviours)
        self.tls = tls
        self.connections: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection = self.listener.accept()[0]
                behave = self.behaviours[min(len(self.connections), len(self.behaviours) - 1)]
                self.connections.append(connection)
                threading.Thread(target=self.serve, args=(connection, behave), daemon=True).start()

    def serve(self, connection: socket.socket, behave: Callable[[socket.socket], None]) -> None:
        with suppress(OSError), closing(connection):
            connection.settimeout(10)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with closing(connection):
                behave(connection)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    servers = []

    def start(*behaviours: Callable[[socket.socket], None], **options: Any) -> RawServer:
        servers.append(RawServer(*behaviours, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def read_request(connection: socket.socket) -> bytes:
    """Return one request; what there is of it where the connection was closed before its end."""
    request = b""
    while chunk := connection.recv(65_536):
        request += chunk
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= int(length[1] if length else 0):
            break
    return request


def saying(*answers: bytes, then_close: bool = False) -> Callable[[socket.socket], None]:
    """Answer one request after the other, all from the last on alike unless the connection is closed."""

    def behave(connection: socket.socket) -> None:
        for answer in itertools.chain(answers, [] if then_close else itertools.repeat(answers[-1])):
            if not read_request(connection):
                break
            connection.sendall(answer)

    return behave


def dripping(start: bytes, drop: bytes = b"x") -> Callable[[socket.socket], None]:
    """Start an answer, and go on with it a little at a time until the client goes away."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(start)
        while True:
            time.sleep(0.02)
            connection.sendall(drop)

    return behave


def hanging(connection: socket.socket) -> None:
    """Say nothing until the client goes away."""
    while connection.recv(65_536):
        pass


def answer_of(body: bytes, *headers: str, status: str = "201 Created") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


OK = answer_of(b'{"id": 7}')


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS for 127.0.0.1, and the bundle that trusts it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("authority")
    bundle, key_file = folder / "ca.pem", folder / "key.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, key_file)
    return context, bundle


DRIPS = {
    "in the status": dripping(b"HTTP/1.1 200 O", b"K"),
    "in the headers": dripping(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "in interim answers": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "in the body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    "in chunks": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "with no length": dripping(b"HTTP/1.0 200 OK\r\n\r\n"),
    "nothing at all": hanging,
}


@pytest.mark.parametrize("behave", DRIPS.values(), ids=DRIPS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_timeout_holds_for_the_whole_answer(serve, new_client, authority, scheme, behave):
    tls, bundle = authority
    server = serve(behave, saying(OK), tls=tls if scheme == "https" else None)
    client = new_client(base_url=server.url, timeout=0.3, ca_bundle=str(bundle))

    started = time.monotonic()
    answer = client.send("POST", JANE)

    assert 0.2 < time.monotonic() - started < 2
    assert answer == Answer(Verdict.UNAVAILABLE, reason="no whole answer within 0.3 s", may_have_worked=True)
    assert client.send("POST", JANE).data == {"id": 7}  # of a new connection
    assert len(server.connections) == 2


def test_the_timeout_holds_for_what_is_sent(serve, new_client):
    server = serve(lambda connection: threading.Event().wait(2))

    answer = new_client(base_url=server.url, timeout=0.3).send("POST", {"note": "x" * 20_000_000})

    assert (answer.reason, answer.may_have_worked) == ("no whole answer within 0.3 s", True)


class _FullListener:
    """A listener whose queue is full: who connects waits."""

    def __enter__(self) -> str:
        self.sockets = [socket.socket() for _ in range(4)]
        listener, *clients = self.sockets
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in clients:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        for opened in self.sockets:
            opened.close()


def test_the_timeout_holds_for_the_connection(new_client):
    with _FullListener() as url:
        answer = new_client(base_url=url, timeout=0.3).send("POST", JANE)

    assert answer == Answer(Verdict.UNAVAILABLE, reason="no whole answer within 0.3 s")


def test_the_timeout_holds_for_the_handshake(serve, new_client):
    url = serve(hanging).url.replace("http:", "https:")

    answer = new_client(base_url=url, timeout=0.3).send("POST", JANE)

    assert answer == Answer(Verdict.UNAVAILABLE, reason="no whole answer within 0.3 s")


def test_the_timeout_holds_for_the_proxy(serve, new_client, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", serve(dripping(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n")).url)

    answer = new_client(timeout=0.3).send("POST", JANE)

    assert answer == Answer(Verdict.UNAVAILABLE, reason="no whole answer within 0.3 s")


def test_a_mute_address_leaves_time_for_the_next(serve, new_client, monkeypatch):
    server = serve(saying(OK))
    with _FullListener() as mute:
        ports = [int(url.rpartition(":")[2]) for url in (mute, server.url)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)

        answer = new_client(base_url="http://localhost", timeout=0.6).send("POST", JANE)

    assert answer.verdict is Verdict.OK


def test_tls_and_its_kept_alive_connections_work(serve, new_client, authority):
    tls, bundle = authority
    server = serve(saying(OK), tls=tls)
    client = new_client(base_url=server.url, ca_bundle=str(bundle))

    assert [client.send("POST", JANE).data for _ in range(3)] == [{"id": 7}] * 3
    assert len(server.connections) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(serve, new_client, authority):
    answer = new_client(base_url=serve(saying(OK), tls=authority[0]).url).send("POST", JANE)

    assert answer.reason.startswith("SSLError: ")
    assert not answer.may_have_worked


def test_a_host_that_speaks_no_tls_is_told_from_one_that_does_not_answer(serve, new_client):
    def complain(connection: socket.socket) -> None:
        connection.recv(4_096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    server = serve(complain)
    answer = new_client(base_url=server.url.replace("http:", "https:")).send("POST", JANE)

    assert "write http:// before it" in answer.reason
    assert not answer.may_have_worked


def test_tls_that_breaks_in_the_answer_may_have_worked(serve, new_client, authority):
    tls, bundle = authority

    def break_tls(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        socket.socket.send(connection, b"\x17\x03\x03\x00\x20" + b"nonsense" * 4)

    answer = new_client(base_url=serve(break_tls, tls=tls).url, ca_bundle=str(bundle)).send("POST", JANE)

    assert answer.reason.startswith("SSLError: ")
    assert answer.may_have_worked


def test_a_proxy_is_asked_for_a_tunnel_and_not_shown_the_key(serve, new_client, authority, monkeypatch):
    tls, bundle = authority
    server, seen = serve(saying(OK), tls=tls), []

    def tunnel(connection: socket.socket) -> None:
        seen.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as far_end:
            threading.Thread(target=pump, args=(far_end, connection), daemon=True).start()
            pump(connection, far_end)

    monkeypatch.setenv("HTTPS_PROXY", serve(tunnel).url.replace("//", "//user:word@"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = new_client(base_url=server.url, ca_bundle=str(bundle))

    assert [client.send("POST", JANE).data for _ in range(2)] == [{"id": 7}] * 2
    assert len(seen) == 1
    assert seen[0].startswith(f"CONNECT {server.url.removeprefix('https://')} ".encode())
    assert b"proxy-authorization: basic " in seen[0].lower()
    assert KEY.encode() not in seen[0]


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65_536):
            sink.sendall(chunk)


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
def test_a_proxy_s_refusal_can_t_have_worked(serve, new_client, monkeypatch, status):
    monkeypatch.setenv("HTTPS_PROXY", serve(saying_to_connect(status)).url)

    answer = new_client().send("POST", JANE)

    assert answer.reason.startswith("ProxyError")
    assert not answer.may_have_worked


def saying_to_connect(status: str) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    return behave


def send_in_threads(
    client: ClosersClient, count: int, body: dict[str, Any] = JANE
) -> Callable[[], list[Answer]]:
    """Start sending; return what waits for the answers."""
    pool = ThreadPoolExecutor(count)
    futures = [pool.submit(client.send, "POST", body) for _ in range(count)]

    def wait() -> list[Answer]:
        with pool:
            return [future.result(timeout=5) for future in futures]

    return wait


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("It never came to this.")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_abort_ends_what_is_under_way_and_lets_nothing_more_out(serve, new_client, authority, scheme):
    tls, bundle = authority
    asked = []

    def note_and_hang(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        hanging(connection)

    server = serve(note_and_hang, tls=tls if scheme == "https" else None)
    client = new_client(base_url=server.url, ca_bundle=str(bundle))
    wait = send_in_threads(client, 8)
    wait_until(lambda: len(asked) == 8)

    started = time.monotonic()
    client.abort()

    assert wait() == [Answer(Verdict.UNAVAILABLE, reason="abandoned", may_have_worked=True)] * 8
    assert client.send("POST", JANE) == Answer(Verdict.UNAVAILABLE, reason="abandoned")
    assert time.monotonic() - started < 1
    assert len(server.connections) == 8


def test_abort_ends_a_handshake(serve, new_client):
    server = serve(hanging)
    client = new_client(base_url=server.url.replace("http:", "https:"))
    wait = send_in_threads(client, 2)
    wait_until(lambda: len(server.connections) == 2)

    started = time.monotonic()
    client.abort()

    assert wait() == [Answer(Verdict.UNAVAILABLE, reason="abandoned")] * 2
    assert time.monotonic() - started < 1


def test_abort_ends_an_attempt_to_connect(new_client):
    with _FullListener() as url:
        client = new_client(base_url=url)
        wait = send_in_threads(client, 2)
        time.sleep(0.1)

        started = time.monotonic()
        client.abort()

        assert wait() == [Answer(Verdict.UNAVAILABLE, reason="abandoned")] * 2
        assert time.monotonic() - started < 1


def test_abort_also_holds_where_requests_is_mocked(requests_mock, new_client):
    requests_mock.post(URL)
    client = new_client()

    client.abort()

    assert client.send("POST", JANE) == Answer(Verdict.UNAVAILABLE, reason="abandoned")
    assert not requests_mock.called


MIB = 1024 * 1024
ENDLESS = {
    "announced": answer_of(b"[" * (MIB + 1)),
    "in one chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n" + b"[" * 2 * MIB,
    "with no length": b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 2 * MIB,
    "gzip": answer_of(gzip.compress(b"[" * 50 * MIB), "Content-Encoding: gzip"),
    "deflate": answer_of(zlib.compress(b"[" * 50 * MIB), "Content-Encoding: deflate"),
}


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
def test_no_more_is_read_than_an_answer_may_hold(serve, new_client, endless):
    server = serve(saying(endless), saying(OK))
    client = new_client(base_url=server.url, timeout=5.0)

    answer = client.send("POST", JANE)

    assert answer == Answer(Verdict.UNAVAILABLE, reason="an answer of more than 1 MiB", may_have_worked=True)
    assert client.send("POST", JANE).data == {"id": 7}
    assert len(server.connections) == 2


def test_no_more_is_unpacked_than_shows_that_it_is_too_much():
    from airflow_provider_closers.connections import LARGEST_ANSWER, _unpack

    assert len(_unpack(gzip.compress(b"[" * 50 * MIB), "gzip")) == LARGEST_ANSWER + 1


def test_an_answer_may_be_large(serve, new_client):
    text = "x" * (MIB - 2)

    answer = new_client(base_url=serve(saying(answer_of(json.dumps(text).encode()))).url).send("POST", JANE)

    assert answer.data == {"data": text}


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("name", "pack"), [("gzip", gzip.compress), ("DEFLATE", zlib.compress), ("deflate", raw_deflate)]
)
def test_compression_is_not_asked_for_but_read(serve, new_client, name, pack):
    asked = []

    def behave(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(answer_of(pack(b'{"id": 7}'), f"content-encoding: {name}"))

    answer = new_client(base_url=serve(behave).url).send("POST", JANE)

    assert answer.data == {"id": 7}
    assert b"Accept-Encoding: identity\r\n" in asked[0]


def test_compression_that_can_t_be_read_may_have_worked(serve, new_client):
    server = serve(saying(answer_of(b"nonsense", "Content-Encoding: gzip")))

    answer = new_client(base_url=server.url).send("POST", JANE)

    assert (answer.verdict, answer.may_have_worked) == (Verdict.UNAVAILABLE, True)


# Each with whether the connection ends with it.
ANSWERS = {
    "after 100 Continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, False),
    "in chunks": (
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"id\r\n5\r\n": 7}\r\n0\r\n\r\n',
        False,
    ),
    "with something behind": (OK + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False),
    "closing": (answer_of(b'{"id": 7}', "Connection: close"), True),
    "with no length": (b'HTTP/1.1 201 Created\r\n\r\n{"id": 7}', True),
    "HTTP/1.0": (b'HTTP/1.0 201 Created\r\nContent-Length: 9\r\n\r\n{"id": 7}', True),
}


@pytest.mark.parametrize(("text", "closes"), ANSWERS.values(), ids=ANSWERS)
def test_every_shape_of_an_answer_is_read_and_the_next_is_the_next_one_s(serve, new_client, text, closes):
    first = [saying(text, then_close=True)] if closes else []
    server = serve(*first, saying(*[text] * (not closes), answer_of(b'{"id": 8}')))
    client = new_client(base_url=server.url)

    answers = [client.send("POST", JANE) for _ in range(2)]

    assert [answer.data for answer in answers] == [{"id": 7}, {"id": 8}]
    assert len(server.connections) == 1 + closes


def test_an_interim_answer_is_not_taken_for_the_answer(serve, new_client):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    server = serve(saying(hints), saying(answer_of(b'{"id": 8}')))
    client = new_client(base_url=server.url)

    answer = client.send("POST", JANE)

    assert answer == Answer(Verdict.UNAVAILABLE, reason="an interim answer, 103", may_have_worked=True)
    assert client.send("POST", JANE).data == {"id": 8}
    assert len(server.connections) == 2


def test_an_early_answer_is_read_though_the_request_was_not(serve, new_client):
    def refuse(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(answer_of(b"too long", status="413 Content Too Large"))

    answer = new_client(base_url=serve(refuse).url).send("POST", {"note": "x" * 20_000_000})

    assert answer.status == 413


def test_a_connection_that_was_closed_meanwhile_is_replaced(serve, new_client):
    server = serve(saying(OK, then_close=True), saying(answer_of(b'{"id": 8}')))
    client = new_client(base_url=server.url)

    client.send("POST", JANE)
    wait_until(lambda: server.connections[0].fileno() == -1)

    assert client.send("POST", JANE).data == {"id": 8}


def test_a_request_that_was_lost_on_a_kept_connection_is_not_sent_again(serve, new_client):
    asked = []

    def answer_the_first(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(OK)
        asked.append(read_request(connection))

    server = serve(answer_the_first)
    client = new_client(base_url=server.url)

    answers = [client.send("POST", JANE) for _ in range(2)]

    assert [answer.verdict for answer in answers] == [Verdict.OK, Verdict.UNAVAILABLE]
    assert answers[1].may_have_worked
    assert len(asked) == 2
    assert len(server.connections) == 1


def test_head_and_body_leave_as_one(serve, new_client):
    pieces = []

    def behave(connection: socket.socket) -> None:
        pieces.append(connection.recv(65_536))
        connection.sendall(OK)

    server = serve(behave)
    new_client(base_url=server.url).send("POST", JANE)

    head, _, body = pieces[0].decode().partition("\r\n\r\n")
    assert head.splitlines()[:2] == [
        "POST /v1/crm/prospect HTTP/1.1",
        f"Host: {server.url.removeprefix('http://')}",
    ]
    assert json.loads(body) == JANE


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://crm.acme.io", "crm.acme.io"),
        ("https://crm.acme.io:443", "crm.acme.io"),
        ("https://crm.acme.io:8443", "crm.acme.io:8443"),
        ("http://[::1]:8765", "[::1]:8765"),
        ("http://[::1]", "[::1]"),
        ("https://bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_the_host_is_named_as_http_wants_it(requests_mock, new_client, base_url, host):
    requests_mock.post(ANY)

    new_client(base_url=base_url).send("POST", JANE)

    assert requests_mock.last_request.headers["Host"] == host


def test_each_of_many_threads_gets_the_answer_to_its_own_request(sandbox, new_client):
    sandbox.configure(drop_rate=0.1, latency_jitter=0.005)
    client = new_client(base_url=sandbox.url, api_key=sandbox.api_key, max_concurrency=32, timeout=20.0)
    emails = [f"jane{number}@acme.io" for number in range(640)]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda email: client.send("POST", {"email": email}), emails))

    verdicts = {answer.verdict for answer in answers}
    assert verdicts == {Verdict.OK, Verdict.UNAVAILABLE}
    for email, answer in zip(emails, answers, strict=True):
        assert answer.may_have_worked == (answer.verdict is Verdict.UNAVAILABLE)
        assert answer.verdict is Verdict.UNAVAILABLE or email in json.dumps(answer.data)
    assert len(sandbox.journal()) == len(emails)


def test_each_of_many_threads_gets_its_own_answer_while_others_run_out_of_time(serve, new_client):
    def echo_or_hang(connection: socket.socket) -> None:
        while request := read_request(connection):
            email = json.loads(request.partition(b"\r\n\r\n")[2])["email"]
            if email.startswith("slow"):
                dripping(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n")(connection)
            connection.sendall(answer_of(json.dumps({"email": email}).encode()))

    client = new_client(base_url=serve(echo_or_hang).url, max_concurrency=32, timeout=2)
    emails = [f"{'slow' if number % 20 == 0 else 'fast'}{number}@acme.io" for number in range(320)]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda email: client.send("POST", {"email": email}), emails))

    for email, answer in zip(emails, answers, strict=True):
        if answer.verdict is Verdict.OK:
            assert answer.data == {"email": email}
        else:
            assert answer.reason == "no whole answer within 2 s"
        assert answer.verdict is Verdict.OK or email.startswith("slow")


def watch_is_there(client: ClosersClient) -> bool:
    watchman = client._adapter.watch._watchman
    return watchman is not None and watchman.is_alive()


def test_close_leaves_no_thread_and_no_socket_behind(serve, new_client):
    server = serve(dripping(b"HTTP/1.1 200 OK\r\n"), saying(OK))
    client = new_client(base_url=server.url, timeout=0.3)
    client.send("POST", JANE)
    send_in_threads(client, 8)()
    assert watch_is_there(client)
    assert [connection for connection in server.connections if connection.fileno() != -1]

    client.close()

    assert not watch_is_there(client)
    # The far end sees a connection end only when the last handle on it is closed.
    wait_until(lambda: all(connection.fileno() == -1 for connection in server.connections))
    assert client.send("POST", JANE).verdict is Verdict.OK  # a closed client opens anew


def test_a_client_that_is_not_closed_leaves_no_thread_behind(serve, new_client):
    client = new_client(base_url=serve(saying(OK)).url, timeout=0.2)

    for _ in range(2):
        client.send("POST", JANE)
        assert watch_is_there(client)
        wait_until(lambda: not watch_is_there(client))


def test_close_lets_a_request_under_way_end_in_its_time(serve, new_client):
    client = new_client(base_url=serve(hanging).url, timeout=0.4)
    wait = send_in_threads(client, 1)
    time.sleep(0.1)

    client.close()

    assert [answer.reason for answer in wait()] == ["no whole answer within 0.4 s"]
