"""
The sandbox in a thread of the own process, for tests.

::

    from airflow_provider_closers.sandbox.server import SandboxServer

    with SandboxServer(exists_dialect="422") as sandbox:
        sandbox.add_fault("drop", email="jane@acme.io")
        ...  # run a DAG against sandbox.url with the key sandbox.api_key
        assert sandbox.prospect("jane@acme.io")["firstName"] == "Jane"
        assert [entry.status for entry in sandbox.journal()] == ["dropped", 422]
"""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import uvicorn  # noqa: TID253 - no DAG file imports the sandbox

from airflow_provider_closers.sandbox.app import SandboxApp
from airflow_provider_closers.sandbox.contract import Refusal, check_body
from airflow_provider_closers.sandbox.misbehaviour import Fault, FaultKind, Settings
from airflow_provider_closers.sandbox.state import DEFAULT_API_KEY, DEFAULT_JOURNAL_SIZE, SandboxState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from airflow_provider_closers.sandbox.journal import JournalEntry
    from airflow_provider_closers.sandbox.state import Part

_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 10.0


class UvicornServer(uvicorn.Server):
    """
    Uvicorn with the sandbox as its application.

    :param state: What the sandbox works on.
    :param allow_remote: See :class:`~airflow_provider_closers.sandbox.app.SandboxApp`.
    """

    def __init__(self, state: SandboxState, *, allow_remote: bool = False) -> None:
        self._sandbox_state = state
        super().__init__(
            uvicorn.Config(
                SandboxApp(state, allow_remote=allow_remote),
                access_log=False,
                log_config=None,
                lifespan="off",
                # The remote address is of no interest, and its header of no authority.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                ws="none",
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop without waiting for requests that hang on purpose."""
        self._sandbox_state.release_held()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """
    Return a socket that listens, so that the port is known and callers queue before the server runs.

    :raises OSError: The address is not there or is taken.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.create_server(address[:2], family=family, backlog=2048)
    # Connections inherit it. Without, head and body of an answer, sent apart, are 40 ms apart.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of the server behind a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class SandboxServer:
    """
    A local Closers API on a port of 127.0.0.1; a context manager, or ``start()`` and ``stop()``.

    One server does for a whole test session; ``reset()`` before each test makes it new. The methods may
    be called from any thread, and see at once what the API did before it answered.

    :param api_key: The key that the API accepts.
    :param port: 0 takes one that is free.
    :param journal_size: How many requests the journal keeps.
    :param seed: Makes what is left to chance (rates, jitter) repeatable.
    :param settings: Any of :class:`~airflow_provider_closers.sandbox.misbehaviour.Settings`, such as
        ``latency=0.1`` or ``exists_dialect="422"``; a reset goes back to these.
    :raises ValueError: A setting is unknown or its value is not allowed.
    """

    def __init__(
        self,
        *,
        api_key: str = DEFAULT_API_KEY,
        port: int = 0,
        journal_size: int = DEFAULT_JOURNAL_SIZE,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        self.api_key = api_key
        self._port = port
        self._state = SandboxState(
            api_key=api_key, settings=Settings(**settings), journal_size=journal_size, seed=seed
        )
        self._url: str | None = None
        self._server: UvicornServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """
        Start to serve; on return the API answers.

        :raises OSError: The port is taken.
        """
        if self._thread is not None:
            raise RuntimeError("The sandbox is running already.")
        listener = listen("127.0.0.1", self._port)
        self._url = url_of(listener)
        self._server = server = UvicornServer(self._state)
        self._thread = threading.Thread(
            target=server.run, args=([listener],), name="closers-sandbox", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("The sandbox did not start.")
            time.sleep(0.002)

    def stop(self) -> None:
        """
        Stop serving; prospects and journal can still be read.

        A request that hangs ends unanswered, and one that waits out its latency is answered at once.
        """
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_STOP_TIMEOUT)
        if self._thread.is_alive():
            raise RuntimeError("The sandbox did not stop.")
        self._server = self._thread = None

    @property
    def url(self) -> str:
        """The base URL, for the ``host`` of a connection; the page is there too."""
        if self._url is None:
            raise RuntimeError("The sandbox has no URL before it is started.")
        return self._url

    @property
    def settings(self) -> Settings:
        """The settings that are in force."""
        return self._state.settings

    def configure(self, **settings: Any) -> Settings:
        """
        Change settings while the server runs; the others stay.

        :return: All settings.
        :raises ValueError: A setting is unknown or its value is not allowed; nothing was changed.
        """
        return self._state.configure(settings)

    def add_fault(self, kind: FaultKind, **details: Any) -> None:
        """
        Let something go wrong with a request to come, after the faults that wait already.

        :param kind: See :class:`~airflow_provider_closers.sandbox.misbehaviour.Fault`.
        :param details: Its other fields, such as ``email``, ``method``, ``times``, ``status``.
        :raises ValueError: A field is unknown or makes no sense for this kind.
        """
        self._state.add_faults([Fault(kind=kind, **details)])

    def faults(self) -> list[Fault]:
        """Return the faults that still wait, each with the ``times`` that it has left."""
        with self._state.lock:
            return self._state.faults.pending()

    def add_prospects(self, records: Iterable[Mapping[str, Any]]) -> None:
        """
        Put prospects into the CRM without a request, for a test to start from.

        :param records: With the API's field names, those of PATCH included.
        :raises ValueError: A record breaks the contract, or its email is there already.
        """
        for record in records:
            try:
                fields = check_body("PATCH", dict(record))
            except Refusal as refusal:
                raise ValueError(refusal.message) from None
            with self._state.lock:
                if self._state.crm.create(fields) is None:
                    raise ValueError(f"There is a prospect with the email {fields['email']} already.")

    def prospect(self, email: str) -> dict[str, Any] | None:
        """Return the prospect with this email, with the API's field names; ``None`` if there is none."""
        with self._state.lock:
            prospect = self._state.crm.find(email)
            return None if prospect is None else prospect.as_record()

    def prospects(self) -> list[dict[str, Any]]:
        """Return all prospects as they were added, with the API's field names and what was given."""
        with self._state.lock:
            return [prospect.as_record() for prospect in self._state.crm.snapshot()]

    def count(self) -> int:
        """Return the number of prospects."""
        with self._state.lock:
            return len(self._state.crm)

    def journal(
        self, *, since: int = 0, email: str | None = None, method: str | None = None
    ) -> list[JournalEntry]:
        """
        Return the requests to the API, in the order in which they took effect or were refused.

        :param since: Only the requests after the one with this ``seq``.
        :param email: Only the requests for this email.
        :param method: Only the requests with this method.
        """
        with self._state.lock:
            return self._state.journal.entries(since=since, email=email, method=method)

    def stats(self) -> dict[str, Any]:
        """Return the counts, also of requests that the journal keeps no more: see ``/sandbox/stats``."""
        return self._state.stats()

    def reset(self, *, keep: Iterable[Part] = ()) -> None:
        """
        Go back to the start: no prospects, journal and faults, and the settings of the constructor.

        Requests that are held up (latency, ``hang``) end without effect or answer.

        :param keep: What stays as it is: ``prospects``, ``journal``, ``faults``, ``settings``.
        """
        self._state.reset(keep)
