"""One request to the API, and what its answer means."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from airflow_provider_closers import __version__
from airflow_provider_closers.answer import Answer, Verdict, read_answer
from airflow_provider_closers.errors import (
    ClosersAPIError,
    ClosersAuthError,
    ClosersConfigError,
    ClosersError,
    ClosersRateLimitError,
    ClosersUnavailableError,
    ProspectExistsError,
    ProspectNotFoundError,
)

if TYPE_CHECKING:
    import requests

    from airflow_provider_closers.connections import WatchedAdapter
    from airflow_provider_closers.settings import ClosersSettings

PATH = "/v1/crm/prospect"


class ClosersClient:
    """
    Sends single requests over kept-alive connections; safe to share between threads.

    :param settings: The connection's checked contents.
    :raises ClosersConfigError: The certificate authority's bundle, the connection's own or the
        environment's ``REQUESTS_CA_BUNDLE``, is not there; or host or key can't stand in a request.
    """

    def __init__(self, settings: ClosersSettings) -> None:
        from airflow_provider_closers.connections import WatchedAdapter

        self._settings = settings
        self._key = settings.api_key
        self._key_bytes = self._key.encode()
        self._template = _new_template(settings)
        self._url = str(self._template.url)
        self._adapter = WatchedAdapter(settings.max_concurrency, settings.timeout)
        self._session = _new_session(self._adapter)
        # The environment (proxies, REQUESTS_CA_BUNDLE) is read once: it can't change within a
        # push, and reading it again costs more than sending the request.
        self._environment: dict[str, Any] = self._session.merge_environment_settings(  # type: ignore[assignment]
            self._url, {}, stream=False, verify=settings.ca_bundle or True, cert=None
        )
        bundle = self._environment["verify"]
        if isinstance(bundle, str) and not Path(bundle).exists():
            raise ClosersConfigError(f"The bundle of certificate authorities is not there: {bundle!r}.")
        if settings.base_url.startswith("http:"):
            # Plain http is for loopback: a proxy would be shown the key, and knows nothing of our loopback.
            self._environment["proxies"] = {}

    def send(self, method: str, body: Mapping[str, Any]) -> Answer:
        """
        Send one request, once, and read its answer; never raises for what the network does.

        :param method: ``POST``, ``PATCH`` or ``DELETE``.
        :param body: The JSON object to send.
        """
        if self._adapter.watch.is_aborted:
            return Answer(Verdict.UNAVAILABLE, reason="abandoned")
        request = self._prepare(method, body)
        try:
            response = self._session.send(
                request, timeout=self._settings.timeout, allow_redirects=False, **self._environment
            )
            content = response.content
        except OSError as e:  # every error of requests is one, and some come through as they are
            return _read_failure_to_answer(e)
        answer = read_answer(method, response.status_code, response.headers, content, time.time())
        if self._key_bytes not in content:
            return answer
        # Should the far end echo our headers, the key stops here: blotted out before a text is cut, which
        # could leave a part of it, but after the verdict, which must not depend on what the key looks like.
        content = content.replace(self._key_bytes, b"***")
        blotted = read_answer(method, response.status_code, response.headers, content, time.time())
        data = _blotted(answer.data, f"Bearer {self._key}", self._key)
        return replace(answer, reason=blotted.reason, text=blotted.text, data=data)

    def abort(self) -> None:
        """
        End every request under way, and send none any more.

        Their :meth:`send` returns at once, and so does every later one, with an answer that says so.
        """
        self._adapter.watch.abort()

    def close(self) -> None:
        """Close the kept-alive connections."""
        self._session.close()

    def _prepare(self, method: str, body: Mapping[str, Any]) -> requests.PreparedRequest:
        url, data = self._url, _encode(body).encode()
        if method == "DELETE" and self._settings.delete_email_in == "query":
            url, data = f"{url}?{urlencode(body)}", b""
        # A copy with what changes: to prepare each anew costs more than to send it. Not left to the
        # session either, which would let a .netrc entry replace our header.
        request = copy(self._template)
        request.method, request.url, request.body = method, url, data
        request.headers = self._template.headers.copy()
        request.headers["Content-Length"] = str(len(data))
        return request


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def error_from(method: str, answer: Answer) -> ClosersError:
    """Return the error that tells a caller what an answer other than ``OK`` asks of them."""
    what = f"{method} {PATH} " + (f"answered {answer.status}" if answer.status else "got no answer")
    match answer.verdict:
        case Verdict.UNAUTHORIZED:
            return ClosersAuthError(f"{what}: the API refused the key; check the connection's password.")
        case Verdict.RATE_LIMITED:
            return ClosersRateLimitError(
                f"{what}: too many requests; try again later{_in(answer)}.", answer.retry_after
            )
        case Verdict.UNAVAILABLE:
            # What the API wrote is not repeated; what kept us from an answer is our own words.
            why = f" ({answer.reason})" if answer.status is None else ""
            return ClosersUnavailableError(f"{what}{why}; try again later{_in(answer)}.", answer.retry_after)
        case Verdict.EXISTS:
            return ProspectExistsError(f"{what}: a prospect with this email exists.")
        case Verdict.NOT_FOUND:
            return ProspectNotFoundError(f"{what}: no prospect has this email.")
        case Verdict.NOT_THE_API:
            return ClosersAPIError(
                f"{what}, which is not the API's answer; check the connection's host.",
                answer.status or 0,
                answer.text,
            )
        case _:
            return ClosersAPIError(f"{what}: the API refused the request.", answer.status or 0, answer.text)


def _in(answer: Answer) -> str:
    return "" if answer.retry_after is None else f", in {answer.retry_after:.0f} s"


def _blotted(value: Any, *secrets: str) -> Any:
    """Return an answer's data with each text that is a secret, or ends in one, blotted out."""
    if isinstance(value, dict):
        return {key: _blotted(item, *secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_blotted(item, *secrets) for item in value]
    if isinstance(value, str) and (value in secrets or secrets[0] in value):
        return value.replace(secrets[-1], "***")
    return value


def _new_template(settings: ClosersSettings) -> requests.PreparedRequest:
    """Return a request with what all have in common."""
    import requests

    headers = {
        "Authorization": f"Bearer {settings.api_key}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # an answer is too short for compression to pay
        "User-Agent": f"airflow-provider-closers/{__version__}",
    }
    try:
        template = requests.Request("POST", settings.base_url + PATH, headers=headers).prepare()
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader):
        # Its message would show the key.
        raise ClosersConfigError("The host or the API key is nothing that HTTP can say.") from None
    parts = urlsplit(str(template.url))
    is_default_port = parts.port == {"http": 80, "https": 443}[parts.scheme]
    host = parts.netloc.rpartition(":")[0] if is_default_port else parts.netloc
    template.headers = {"Host": host, **template.headers}  # type: ignore[assignment]
    return template


def _new_session(adapter: WatchedAdapter) -> requests.Session:
    import requests

    session = requests.Session()
    # Not even looked at: a redirect to nonsense would raise instead of being read as an answer.
    session.get_redirect_target = lambda _: None  # type: ignore[method-assign, assignment]
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _read_failure_to_answer(error: Exception) -> Answer:
    from airflow_provider_closers.connections import UnansweredError

    why_ended: str | None = None
    lost_by: BaseException = error
    if isinstance(error, UnansweredError):
        why_ended, lost_by = error.why_ended, error.__cause__ or error
    return Answer(
        Verdict.UNAVAILABLE,
        reason=why_ended or _describe(lost_by),
        may_have_worked=_may_have_reached_the_api(error),
    )


def _may_have_reached_the_api(error: Exception) -> bool:
    """Tell a request that never left (no connection, no handshake) from one whose answer was lost."""
    from requests.exceptions import ConnectTimeout, ProxyError, SSLError
    from urllib3.exceptions import NewConnectionError

    from airflow_provider_closers.connections import UnansweredError

    if isinstance(error, UnansweredError):
        return error.may_have_left
    # Not from our connections, which know, but from what a test put into their place.
    if isinstance(error, ConnectTimeout | ProxyError | SSLError):
        return False
    inner = getattr(error.args[0], "reason", None) if error.args else None
    return not isinstance(inner, NewConnectionError)


def _describe(error: BaseException) -> str:
    """Name the failure by its kind: a message could hold a proxy's password."""
    root = error
    while (deeper := root.__cause__ or root.__context__) is not None:
        root = deeper
    words = getattr(root, "verify_message", None) or getattr(root, "strerror", None)
    inner = words or type(root).__name__
    if "WRONG_VERSION_NUMBER" in inner:
        inner = f"{inner} (the host speaks no TLS; for a sandbox, write http:// before it)"
    return f"{type(error).__name__}: {inner}" if root is not error else inner
