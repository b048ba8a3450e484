"""
The connections under the client: those of requests and urllib3, with an end to every request.

Their own timeouts bound the gaps between two bytes, so a far end that drips would hold a request for
ever, and nothing ends a request from outside. Here a :class:`Watch` knows every request under way and
shuts its socket when its time is up, or when all are to end. It also makes the sockets' own timeouts,
and the system calls they cost, superfluous. Pools, proxies and TLS stay urllib3's.

Loads requests and urllib3: import it inside functions.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import zlib
from collections.abc import Mapping
from typing import Any

import requests  # noqa: TID253 - this module is itself loaded late
from requests.adapters import HTTPAdapter  # noqa: TID253
from urllib3.connection import HTTPConnection  # noqa: TID253
from urllib3.exceptions import (  # noqa: TID253
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util import Timeout  # noqa: TID253
from urllib3.util.connection import allowed_gai_family  # noqa: TID253

#: Bytes of an answer's body, as sent or unpacked, that are read; the API's answers are tiny.
LARGEST_ANSWER = 1024 * 1024

ABANDONED = "abandoned"


class UnansweredError(requests.exceptions.RequestException):
    """
    No whole answer came; the error that says so is its cause.

    :param why_ended: Why the request was ended from here; ``None`` where the cause tells all.
    :param may_have_left: Whether any byte of the request may have left.
    """

    def __init__(self, why_ended: str | None, *, may_have_left: bool) -> None:
        super().__init__(why_ended)
        self.why_ended = why_ended
        self.may_have_left = may_have_left


class _EndedError(OSError):
    """The request was ended from here; its exchange says why."""


class Exchange:
    """One request and its answer, under way."""

    __slots__ = ("ends_at", "handle", "may_have_left", "query", "why_ended")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        #: What stands behind the path, the ``?`` too.
        self.query = ""
        #: The socket to shut in order to end it.
        self.handle: socket.socket | None = None
        self.may_have_left = False
        self.why_ended: str | None = None


class Watch:
    """
    Knows the requests under way, and ends those that are overdue, or all.

    Its thread starts with a request, and goes on :meth:`close` or after a while without any: a client
    that nobody closes leaves none behind.

    :param timeout: Seconds for one request, from connecting to the last byte of the answer.
    """

    def __init__(self, timeout: float) -> None:
        self.is_aborted = False
        self._timeout = timeout
        self._overdue = f"no whole answer within {timeout:g} s"
        # Whoever takes an exchange out of here, in one atomic step, decides how it ends: its own
        # thread with an answer, or another that ends it, after which no answer counts any more.
        self._under_way: dict[Exchange, bool] = {}
        self._of_this_thread = threading.local()
        # Held while a socket is shut from outside, lest it be closed and its number taken meanwhile.
        # Reentrant: a signal's handler, or a finalizer, may come here from within.
        self._lock = threading.RLock()
        self._watchman: threading.Thread | None = None
        self._wake = threading.Event()

    def begin(self) -> Exchange:
        """
        Note that a request of this thread begins.

        :raises UnansweredError: After :meth:`abort`.
        """
        exchange = self._of_this_thread.exchange = Exchange(time.monotonic() + self._timeout)
        self._under_way[exchange] = True
        if self.is_aborted:
            self._under_way.pop(exchange, None)
            raise UnansweredError(ABANDONED, may_have_left=False)
        if self._watchman is None or not self._watchman.is_alive():  # a fork leaves it dead
            self._start()
        return exchange

    def hold(self, handle: socket.socket) -> Exchange:
        """
        Take the socket that this thread's request is going to use, and return the request.

        :raises OSError: The request was ended; nothing may be sent any more.
        """
        exchange: Exchange = self._of_this_thread.exchange
        exchange.handle = handle
        if exchange not in self._under_way:
            raise _EndedError
        return exchange

    def seconds_left(self) -> float:
        """Return how long this thread's request may still take; never 0, which sockets take otherwise."""
        exchange: Exchange = self._of_this_thread.exchange
        return max(exchange.ends_at - time.monotonic(), 0.001)

    def finish(self, exchange: Exchange) -> bool:
        """Note that a request is over; return ``False`` where it was ended from elsewhere before."""
        return self._under_way.pop(exchange, False)

    def why_ended(self, exchange: Exchange) -> str | None:
        """Return why a failed request was ended from here, ``None`` where it was not."""
        if exchange.why_ended is None and time.monotonic() >= exchange.ends_at:
            return self._overdue  # a socket's own timeout was faster than the watchman
        return exchange.why_ended

    def close_handle(self, handle: socket.socket) -> None:
        """Close a socket that :meth:`hold` was given."""
        with self._lock:
            handle.close()

    def abort(self) -> None:
        """End every request under way, and every later one as it begins."""
        self.is_aborted = True
        for exchange in list(self._under_way):
            self._end(exchange, ABANDONED)

    def close(self) -> None:
        """End the thread, as soon as no request is under way."""
        watchman = self._watchman
        self._wake.set()
        if watchman is not None and not self._under_way:
            watchman.join(1)

    def _end(self, exchange: Exchange, why: str) -> None:
        with self._lock:
            exchange.why_ended = exchange.why_ended or why
            if self._under_way.pop(exchange, False) and exchange.handle is not None:
                with contextlib.suppress(OSError):  # not connected
                    exchange.handle.shutdown(socket.SHUT_RDWR)

    def _start(self) -> None:
        with self._lock:
            if self._watchman is None or not self._watchman.is_alive():
                self._wake.clear()
                self._watchman = threading.Thread(target=self._run, name="closers-watch", daemon=True)
                self._watchman.start()

    def _run(self) -> None:
        while True:
            # All have the same time, so none that begins while this waits is overdue before it wakes.
            self._wake.wait(self._seconds_to_the_next())
            self._wake.clear()
            now = time.monotonic()
            for exchange in list(self._under_way):
                if exchange.ends_at <= now:
                    self._end(exchange, self._overdue)
            if not self._under_way and self._may_go():
                return

    def _seconds_to_the_next(self) -> float:
        now = time.monotonic()
        due = min((exchange.ends_at for exchange in list(self._under_way)), default=now + self._timeout)
        return max(due - now, 0.0)

    def _may_go(self) -> bool:
        # In this order: a request that begins now either starts another thread or is seen here.
        self._watchman = None
        if not self._under_way:
            return True
        with self._lock:
            if self._watchman is None:
                self._watchman = threading.current_thread()
            return self._watchman is not threading.current_thread()


class WatchedAdapter(HTTPAdapter):
    """
    Sends requests to one host, each within its time.

    :param connections: Connections kept alive, at most.
    :param timeout: Seconds for one request, from connecting to the last byte of the answer.
    """

    def __init__(self, connections: int, timeout: float) -> None:
        super().__init__(pool_connections=1, pool_maxsize=connections)
        self.watch = Watch(timeout)
        self._pool: Any = None  # urllib3's HTTPConnectionPool
        self._pool_lock = threading.Lock()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,  # noqa: ARG002 - the watch's business
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """
        Send a request, once.

        :raises UnansweredError: No whole answer came.
        """
        exchange = self.watch.begin()
        _, mark, query = str(request.url).partition("?")
        exchange.query = mark + query
        try:
            return super().send(request, stream, _NO_TIMEOUT, verify, cert, proxies)  # type: ignore[arg-type]
        except (OSError, HTTPError) as e:
            why = self.watch.why_ended(exchange)
            raise UnansweredError(why, may_have_left=exchange.may_have_left) from e
        finally:
            self.watch.finish(exchange)

    def close(self) -> None:
        """Close the connections that are kept alive."""
        pool, self._pool = self._pool, None
        super().close()
        if pool is not None:
            pool.close()  # the parent leaves that to the garbage collector
        self.watch.close()

    # What follows is called by the parent's `send`, for each request. The pool, with its proxy and
    # its TLS settings, is found once: it is the same for all, and finding it costs more than sending.

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the pool of the one host."""
        return self._pool or self._find_pool(request, verify, proxies, cert)

    def _find_pool(self, request: requests.PreparedRequest, verify: Any, proxies: Any, cert: Any) -> Any:
        with self._pool_lock:
            if self._pool is None:
                pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
                super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
                pool.ConnectionCls = _watched(pool.ConnectionCls, self.watch)
                self._pool = pool
            return self._pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the pool as it was made."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:  # noqa: ARG002
        """
        Return the path: a proxy is spoken to by CONNECT only.

        Without the query, in which DELETE may have the email: urllib3 logs what it is given, and has it in
        its errors.
        """
        return request.path_url.partition("?")[0]

    def build_response(self, req: Any, resp: Any) -> requests.Response:  # noqa: ARG002
        """Hand out what was read, and give the connection back."""
        resp.release_conn()
        response = requests.Response()
        response.status_code, response.headers = resp.status, resp.headers
        response._content, response._content_consumed = resp.content, True  # type: ignore[attr-defined] # noqa: SLF001
        return response


_NO_TIMEOUT = Timeout(connect=None, read=None)


class _Reply:
    """An answer, read whole; as much of urllib3's response as its pool looks at."""

    length_remaining = 0
    version_string = "HTTP/1.1"
    retries: Any = None
    _pool: Any = None
    _connection: Any = None

    def __init__(self, status: int, headers: http.client.HTTPMessage, content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    def release_conn(self) -> None:
        self._pool._put_conn(self._connection)  # noqa: SLF001 - as urllib3's own response does


def _watched(kind: Any, watch: Watch) -> Any:
    return type(f"Watched{kind.__name__}", (_WatchedConnection, kind), {"watch": watch})


class _WatchedConnection(HTTPConnection):
    """
    Put before a connection class of urllib3: has each request watched.

    Reads every answer whole, so that the pool gets back a connection with nothing left to read, or
    closes it because of an error.
    """

    watch: Watch
    # A second handle on the socket: TLS takes the first over, and gives none out while it shakes hands.
    _handle: socket.socket | None = None
    _exchange: Exchange

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(None)  # the watch is enough, and costs no system calls

    def _tunnel(self) -> None:
        super()._tunnel()
        self.watch.hold(self._handle)  # type: ignore[arg-type] # one that was ended looks like a success

    def _new_conn(self) -> socket.socket:
        if hasattr(self, "_socks_options"):  # PySocks opens it, by its own timeout
            self.timeout = self.watch.seconds_left()
            sock = super()._new_conn()
            self._hold(sock)
            return sock
        error: OSError | None = None
        addresses = self._find_addresses()
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            # A share of the time each: behind one that is mute there may be another that answers.
            seconds = self.watch.seconds_left() / (len(addresses) - tried)
            try:
                return self._open(socket.socket(family, kind, protocol), address, seconds)
            except OSError as e:
                error = e
        wrapped = ConnectTimeoutError if isinstance(error, TimeoutError) else NewConnectionError
        raise wrapped(self, "Failed to establish a new connection") from error

    def _find_addresses(self) -> list[Any]:
        try:
            return socket.getaddrinfo(
                self._dns_host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM
            )
        except (socket.gaierror, UnicodeError) as e:
            raise NameResolutionError(self.host, self, e) from e  # type: ignore[arg-type]

    def _open(self, sock: socket.socket, address: Any, seconds: float) -> socket.socket:
        try:
            self._hold(sock)
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(seconds)
            sock.connect(address)
            sock.settimeout(self.watch.seconds_left())
        except BaseException:
            sock.close()
            raise
        return sock

    def _hold(self, sock: socket.socket) -> None:
        self._drop_handle()
        self._handle = sock.dup()
        self.watch.hold(self._handle)

    def _drop_handle(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self.watch.close_handle(handle)

    def close(self) -> None:
        super().close()
        self._drop_handle()

    def request(  # type: ignore[override]
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], **_: Any
    ) -> None:
        if self.sock is None:
            self.connect()
        self._exchange = self.watch.hold(self._handle)  # type: ignore[arg-type]
        head = [f"{method} {url}{self._exchange.query} HTTP/1.1\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in headers.items()]
        head.append("\r\n")
        self._exchange.may_have_left = True
        # All at once: a head of its own is one more segment, and one more time to wait for the GIL.
        # The far end may have answered, and left, before it had read all.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall("".join(head).encode("latin-1") + body)

    def getresponse(self) -> _Reply:  # type: ignore[override]
        response = http.client.HTTPResponse(self.sock)
        try:
            response.begin()
            content = self._read_whole(response)
        finally:
            response.close()
        if response.will_close:
            self.close()
        if not self.watch.finish(self._exchange):
            raise _EndedError
        return _Reply(response.status, response.headers, content)

    def _read_whole(self, response: http.client.HTTPResponse) -> bytes:
        if response.status < 200:
            # Another answer is to follow, and must not be taken for the next request's.
            raise self._end(f"an interim answer, {response.status}")
        content = response.read(LARGEST_ANSWER + 1)
        if response.length:
            raise http.client.IncompleteRead(content, response.length)
        encoding = response.headers.get("Content-Encoding")
        if encoding is not None:
            content = _unpack(content, encoding.lower())
        if len(content) > LARGEST_ANSWER:
            raise self._end(f"an answer of more than {LARGEST_ANSWER // 1024**2} MiB")
        return content

    def _end(self, why: str) -> OSError:
        self._exchange.why_ended = why
        return _EndedError()


def _unpack(content: bytes, encoding: str) -> bytes:
    """Unpack what was not asked to be packed, and not much more of it than may be read."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return content
    # Some servers leave off the envelope of "deflate".
    for wbits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        try:
            return zlib.decompressobj(wbits).decompress(content, LARGEST_ANSWER + 1)
        except zlib.error:
            continue
    raise http.client.HTTPException("unreadable compression")
