"""
The three documented operations.

Raw ASGI rather than a framework's route: benchmarks and million-record tests run through here, and a
dropped connection needs the server's transport.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

from airflow_provider_closers.sandbox.contract import (
    API_PATH,
    MAX_BODY_BYTES,
    METHODS,
    Refusal,
    check_body,
    check_content_type,
    read_json,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from airflow_provider_closers.sandbox.journal import KeyCheck
    from airflow_provider_closers.sandbox.misbehaviour import Fault
    from airflow_provider_closers.sandbox.state import SandboxState

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Header = tuple[bytes, bytes]

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_HTML = (b"content-type", b"text/html; charset=utf-8")

_LOGIN_PAGE = b"<!doctype html><title>Sign in</title><h1>Sign in to continue</h1>"

_SUCCESS_STATUS = {"POST": 201, "PATCH": 200, "DELETE": 200}

# SO_LINGER with no time: closing the socket resets the connection instead of ending it politely.
_NO_LINGER = struct.pack("ii", 1, 0)

# Shorter than any time-out that a caller would set, so that it is not silence that ends a drip.
_SECONDS_BETWEEN_DRIPS = 0.02
_LENGTH_NEVER_REACHED = 1_000_000

# Of a body that is no JSON, the journal keeps so many characters.
_RAW_BODY_KEPT = 2_000


@dataclass(slots=True)
class _Request:
    """A request as far as it could be understood."""

    method: str
    query: str
    key: KeyCheck
    #: As it came, for the journal.
    body: Any
    email: str | None
    #: What the operation works with; empty where there is a refusal.
    record: dict[str, Any]
    #: What the contract holds against the request, if anything.
    refusal: Refusal | None
    arrived: float
    wall: float


@dataclass(slots=True)
class _Answer:
    """An answer, and how it goes out: as it should (``None``), or in one of the ways to go wrong."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (_JSON,)
    goes_wrong: Literal["truncate", "drop", "reset_before", "hang", "drip", "close"] | None = None


class ProspectApi:
    """
    The API at its one path.

    :param state: The account that it works on.
    """

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self._authorization = f"Bearer {state.api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        state = self._state
        arrived, wall = time.monotonic(), time.time()
        with state.lock:
            era = state.era
            state.in_flight += 1
            state.journal.arrived(arrived, state.in_flight)
        try:
            raw = await _read_body(receive)
            if raw is None:  # the caller left
                return
            request = self._understand(scope, raw, arrived, wall)
            answer = self._over_the_rate(request)
            if answer is None:
                await self._wait()
                with state.lock:
                    # A reset in the meantime: what began before it must not write after it.
                    answer = self._settle(request) if era == state.era else _NO_ANSWER
            if answer.goes_wrong is not None:
                await self._spoil(answer, receive, send)
                return
        finally:
            with state.lock:
                state.in_flight -= 1
        await send_whole(send, answer.status, answer.body, answer.headers)

    def _understand(self, scope: Scope, raw: bytes, arrived: float, wall: float) -> _Request:
        method: str = scope["method"]
        query: str = scope["query_string"].decode("latin-1")
        authorization = content_type = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value

        body, refusal = _decode(raw)
        key: KeyCheck = "ok"
        if authorization != self._authorization:
            key = "missing" if authorization is None else "wrong"
        record: dict[str, Any] = {}
        if method not in METHODS:
            refusal = Refusal(405, f"{method} is not a method of {API_PATH}.")
        elif key != "ok":
            refusal = Refusal(401, f"The API key is {key}.")
        elif refusal is None:
            try:
                if raw:
                    check_content_type(content_type)
                record = check_body(method, self._parameters(method, body, query, has_body=bool(raw)))
            except Refusal as refused:
                refusal = refused

        return _Request(
            method=method,
            query=query,
            key=key,
            body=body,
            email=record.get("email") or _email_in(body, query),
            record=record,
            refusal=refusal,
            arrived=arrived,
            wall=wall,
        )

    def _parameters(self, method: str, body: Any, query: str, *, has_body: bool) -> Any:
        """Return what the operation works with: the body, or the query of a DELETE that may have one."""
        pairs = parse_qsl(query, keep_blank_values=True)
        if method != "DELETE":
            if pairs:
                raise Refusal(400, f"{pairs[0][0]}: {method} {API_PATH} takes nothing in the query.")
            return body
        where = self._state.settings.delete_email_in
        if has_body and where == "query":
            raise Refusal(400, "DELETE takes the email in the query, not in the body.")
        if pairs and where == "body":
            raise Refusal(400, "DELETE takes the email in the body, not in the query.")
        if (pairs and has_body) or len(pairs) > 1:
            raise Refusal(400, "DELETE takes one email, in the body or in the query, and nothing else.")
        return body if has_body else dict(pairs)

    def _over_the_rate(self, request: _Request) -> _Answer | None:
        """Return the 429 of a request that came too soon: a limiter answers at once, before all else."""
        state = self._state
        with state.lock:
            rate = state.settings.requests_per_second
            if rate is None or state.rate_limit.allows(rate, time.monotonic()):
                return None
            answer = _failure(429, "Too many requests.", self._retry_after())
            self._note(request, answer, wrote=False, fault="rate_limit")
        return answer

    async def _wait(self) -> None:
        settings = self._state.settings
        if settings.latency or settings.latency_jitter:
            jitter = settings.latency_jitter * self._state.chance.random()
            await self._state.hold(settings.latency + jitter)

    def _settle(self, request: _Request) -> _Answer:
        """Decide what becomes of a request, and note it; the lock is held, so that both are one."""
        state = self._state
        settings = state.settings
        struck: str | None = None
        wrote = False
        if (fault := state.faults.take(request.method, request.email)) is not None:
            struck = fault.kind
            answer = _Answer(200, b'{"success": true}')
            if fault.takes_effect:
                answer, wrote = self._carry_out(request)
            answer = _spoilt(answer, fault)
        elif settings.error_rate and state.chance.random() < settings.error_rate:
            struck = "error_rate"
            status = state.chance.choice((500, 502, 503))
            answer = _failure(status, "Something went wrong.", self._retry_after() if status == 503 else None)
        else:
            answer, wrote = self._carry_out(request)
            if settings.drop_rate and state.chance.random() < settings.drop_rate:
                struck = "drop_rate"
                answer.goes_wrong = "drop"
        self._note(request, answer, wrote=wrote, fault=struck)
        return answer

    def _carry_out(self, request: _Request) -> tuple[_Answer, bool]:
        """Do what the request asks; return the answer, and whether anything was written."""
        if request.refusal is not None:
            return _failure(request.refusal.status, request.refusal.message), False
        state, settings, record = self._state, self._state.settings, request.record
        if request.method == "POST":
            prospect = state.crm.create(record)
            if prospect is None:
                return _in_dialect(settings.exists_dialect, **_EXISTS), False
        elif request.method == "PATCH":
            merge = settings.other_attribute == "merge"
            prospect = state.crm.update(record, merge_other_attribute=merge)
        else:
            prospect = state.crm.delete(record["email"])
        if prospect is None:
            return _in_dialect(settings.missing_dialect, **_MISSING), False
        status = _SUCCESS_STATUS[request.method]
        if settings.success_body == "json":
            return _Answer(status, _dump({"success": True, "data": prospect.as_record()})), True
        if settings.success_body == "text":
            return _Answer(status, b"OK", (_TEXT,)), True
        return _Answer(204 if request.method == "DELETE" else status, b"", ()), True

    def _note(self, request: _Request, answer: _Answer, *, wrote: bool, fault: str | None) -> None:
        unanswered = answer.goes_wrong in ("drop", "reset_before", "hang")
        self._state.journal.add(
            wall=request.wall,
            monotonic=request.arrived,
            method=request.method,
            email=request.email,
            query=request.query,
            body=request.body,
            key=request.key,
            status="dropped" if unanswered else answer.status,
            wrote=wrote,
            fault=fault,
        )

    def _retry_after(self) -> str | None:
        return self._state.settings.retry_after_header()

    async def _spoil(self, answer: _Answer, receive: Receive, send: Send) -> None:
        transport = _transport_of(send)
        if answer.goes_wrong == "truncate":
            length = (b"content-length", b"%d" % len(answer.body))
            start = {"type": "http.response.start", "status": answer.status}
            await send({**start, "headers": [length, *answer.headers]})
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            transport.close()
        elif answer.goes_wrong == "drop":
            transport.close()
        elif answer.goes_wrong == "reset_before":
            _reset(transport)
        elif answer.goes_wrong == "close":
            await send_whole(send, answer.status, answer.body, answer.headers)
            transport.close()
        elif answer.goes_wrong == "drip":
            await self._drip(answer, send, receive)
            return
        else:
            await self._hang(transport, receive)
            return
        await _until_disconnected(receive)

    async def _hang(self, transport: asyncio.Transport, receive: Receive) -> None:
        """Keep the caller waiting until it leaves, or until a reset or the end of the server."""
        leaving = asyncio.ensure_future(_until_disconnected(receive))
        held = asyncio.ensure_future(self._state.hold(None))
        await asyncio.wait((leaving, held), return_when=asyncio.FIRST_COMPLETED)
        held.cancel()
        transport.close()
        await leaving

    async def _drip(self, answer: _Answer, send: Send, receive: Receive) -> None:
        """Send an answer that never ends, until the caller leaves, or until a reset or the server's end."""
        leaving = asyncio.ensure_future(_until_disconnected(receive))
        length = (b"content-length", b"%d" % _LENGTH_NEVER_REACHED)
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": [length, *answer.headers]})
        # White space may follow JSON, so what has come so far is never wrong, only never the whole.
        for byte in chain(answer.body, repeat(ord(" "))):
            await send({"type": "http.response.body", "body": bytes((byte,)), "more_body": True})
            if not await self._state.hold(_SECONDS_BETWEEN_DRIPS) or leaving.done():
                break
        _transport_of(send).close()
        await leaving


async def send_whole(send: Send, status: int, body: bytes, headers: tuple[Header, ...]) -> None:
    """Send an answer with its length."""
    if status in (204, 304):  # these have neither a body nor a length
        body, sent = b"", [*headers]
    else:
        sent = [(b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, ``None`` where the caller left before its end; of one too long, the beginning."""
    chunks = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        if len(chunks) <= MAX_BODY_BYTES:
            chunks += message.get("body", b"")
        if not message.get("more_body", False):
            return chunks


def _decode(raw: bytes) -> tuple[Any, Refusal | None]:
    """Return the decoded body, or its text and what is wrong with it."""
    if not raw:
        return None, None
    if len(raw) > MAX_BODY_BYTES:
        refusal = Refusal(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
    else:
        try:
            return read_json(raw), None
        except Refusal as refused:
            refusal = refused
    return raw[:_RAW_BODY_KEPT].decode("utf-8", "replace"), refusal


def _email_in(body: Any, query: str) -> str | None:
    """Return the email that a request seems to be about, however wrong the rest of it is."""
    email = body.get("email") if isinstance(body, dict) else dict(parse_qsl(query)).get("email")
    return email if isinstance(email, str) else None


def _dump(payload: Any) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()


def _failure(status: int, message: str, retry_after: str | None = None) -> _Answer:
    headers: tuple[Header, ...] = (_JSON,)
    if retry_after is not None:
        headers = (_JSON, (b"retry-after", retry_after.encode()))
    if status == 401:
        headers = (_JSON, (b"www-authenticate", b"Bearer"))
    if status == 405:
        headers = (_JSON, (b"allow", ", ".join(METHODS).encode()))
    return _Answer(status, _dump({"success": False, "message": message}), headers)


# What a dialect says: in a message of its own, or under the field as Laravel and Rails do.
_EXISTS = {
    "message": "A prospect with this email already exists.",
    "error": "The email has already been taken.",
}
_MISSING = {
    "message": "There is no prospect with this email.",
    "error": "The selected email does not exist.",
}


def _in_dialect(dialect: str, *, message: str, error: str) -> _Answer:
    if dialect == "422_errors":
        body = {"message": "The given data was invalid.", "errors": {"email": [error]}}
        return _Answer(422, _dump(body))
    return _failure(int(dialect), message)


def _spoilt(answer: _Answer, fault: Fault) -> _Answer:
    """Return what becomes of an answer when the fault strikes."""
    status = fault.answered_status(answer.status)
    retry_after = None if fault.retry_after is None else str(fault.retry_after)
    match fault.kind:
        case "error":
            return _failure(status, "Something went wrong.", retry_after)
        case "html":
            extra = () if retry_after is None else ((b"retry-after", retry_after.encode()),)
            return _Answer(status, _LOGIN_PAGE, (_HTML, *extra))
        case "redirect":
            return _Answer(status, b"", ((b"location", (fault.location or "/").encode()),))
        case "empty":
            return _Answer(status, b"", ())
        case "truncate" | "drip":
            # Half of nothing would be the whole: an empty success gets a body to cut.
            whole = answer if answer.body else _Answer(200, b'{"success": true}')
            return _Answer(whole.status, whole.body, whole.headers, goes_wrong=fault.kind)
        case "close":
            return _Answer(answer.status, answer.body, answer.headers, goes_wrong="close")
        case _:
            return _Answer(status, b"", (), goes_wrong=fault.kind)


def _transport_of(send: Send) -> asyncio.Transport:
    """
    Return the connection's transport.

    ASGI has no way to close a connection unanswered. ``send`` is a method of uvicorn's request cycle,
    which has the transport; so this application must be uvicorn's outermost.
    """
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    return transport


def _reset(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


async def _until_disconnected(receive: Receive) -> None:
    # Until uvicorn has seen the end of the connection, it would answer 500 in our place.
    while (await receive())["type"] != "http.disconnect":
        pass


_NO_ANSWER = _Answer(0, b"", (), goes_wrong="drop")
