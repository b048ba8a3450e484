"""Who may come in, and what they get: the API at its path, the page and the control endpoints elsewhere."""

from __future__ import annotations

import ipaddress
import json
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_closers.sandbox.api import ProspectApi, send_whole
from airflow_provider_closers.sandbox.contract import API_PATH
from airflow_provider_closers.sandbox.control import build_control

if TYPE_CHECKING:
    from airflow_provider_closers.sandbox.api import Receive, Scope, Send
    from airflow_provider_closers.sandbox.state import SandboxState

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SandboxApp:
    """
    The sandbox as an ASGI application, to be uvicorn's outermost.

    :param state: What it works on.
    :param allow_remote: Serve requests that name a host other than this machine. Otherwise they are
        refused, for they come from a page whose name was made to point here (DNS rebinding).
    """

    def __init__(self, state: SandboxState, *, allow_remote: bool = False) -> None:
        self._api = ProspectApi(state)
        self._control = build_control(state)
        self._allow_remote = allow_remote

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        host = origin = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
        if not self._allow_remote and not _is_loopback_host(host):
            await _refuse(send, "This host name is not served; see --allow-remote.")
        elif scope["path"] == API_PATH:
            await self._api(scope, receive, send)
        elif origin and scope["method"] not in _SAFE_METHODS and not _is_same_origin(origin, host):
            await _refuse(send, "The sandbox is controlled by its own page only, not by another site's.")
        else:
            await self._control(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine, without asking a name server."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def _is_loopback_host(header: bytes) -> bool:
    try:
        hostname = urlsplit(f"//{header.decode('latin-1')}").hostname
    except ValueError:
        return False
    return hostname is not None and is_loopback(hostname)


def _is_same_origin(origin: bytes, host: bytes) -> bool:
    return origin.partition(b"://")[2] == host


async def _refuse(send: Send, message: str) -> None:
    body = json.dumps({"success": False, "message": message}).encode()
    # The body of the request was not read, so the connection can't be used again.
    await send_whole(send, 403, body, ((b"content-type", b"application/json"), (b"connection", b"close")))
