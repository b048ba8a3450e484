"""What a connection says: base URL, key and the extras, checked."""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_closers.errors import ClosersConfigError

DEFAULT_HOST = "https://api.closershq.io"


@dataclass(frozen=True, kw_only=True)
class ClosersSettings:
    """
    The checked contents of one Closers connection.

    :param api_key: The key; kept out of ``repr``.
    :param base_url: Scheme, host and port, with no slash at the end.
    :param requests_per_second: The account's rate; ``None``: found by adapting.
    :param max_concurrency: Requests in flight at once, at most.
    :param timeout: Seconds for one request, from connecting to the last byte of the answer.
    :param max_attempts: Tries of one request before its record is given up.
    :param outage_seconds: Seconds without any useful answer after which a push stops.
    :param delete_email_in: Where DELETE carries the email, ``body`` or ``query``: the vendor's
        page leaves the parameter unnamed.
    :param ca_bundle: Path of a private certificate authority's bundle.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_HOST
    requests_per_second: float | None = None
    max_concurrency: int = 16
    timeout: float = 30.0
    max_attempts: int = 5
    outage_seconds: float = 60.0
    delete_email_in: str = "body"
    ca_bundle: str | None = None

    @classmethod
    def from_connection(
        cls,
        conn_id: str,
        *,
        password: str | None,
        host: str | None = None,
        port: int | None = None,
        scheme: str | None = None,
        extra: str | None = None,
    ) -> ClosersSettings:
        """
        Read the fields of an Airflow connection.

        :param conn_id: Named in every error.
        :param password: The API key.
        :param host: The base URL, or a bare host name; empty: :data:`DEFAULT_HOST`.
        :param port: Used where ``host`` has none; 0 counts as none (the web form stores it).
        :param scheme: Used where ``host`` has none (a connection URI can't say it otherwise).
        :param extra: The extras as JSON text.
        :raises ClosersConfigError: Names the connection, the field and what is allowed.
        """
        try:
            return cls(
                api_key=_read_key(password),
                base_url=_read_base_url(host, port, scheme),
                **_read_extra(extra),
            )
        except _UnusableFieldError as e:
            raise ClosersConfigError(f"Connection {conn_id!r}: {e}") from None


class _UnusableFieldError(ValueError):
    """A field's value and what is allowed; becomes an error that names the connection."""


def _read_key(password: str | None) -> str:
    if not password:
        raise _UnusableFieldError("the password is empty; put the Closers API key there.")
    if password.lower().startswith("bearer "):
        raise _UnusableFieldError("the password starts with 'Bearer '; give the API key alone.")
    if not all("!" <= char <= "~" for char in password):
        raise _UnusableFieldError(
            "the password (the API key) holds a space, a line break or another character that "
            "can't stand in a header; paste the key again, without what surrounds it."
        )
    return password


def _read_base_url(host: str | None, port: int | None, scheme: str | None) -> str:
    given = (host or "").strip() or DEFAULT_HOST
    if "@" in given:
        raise _UnusableFieldError(
            "the host holds credentials; put the API key into the password and no '@' here."
        )
    if "://" not in given:
        given = f"{scheme or 'https'}://{given}"
    try:
        parts = urlsplit(given)
        name, explicit_port = parts.hostname, parts.port
        number = explicit_port or port
    except ValueError:
        raise _UnusableFieldError(f"host {given!r} is no URL; an example is {DEFAULT_HOST!r}.") from None
    if parts.scheme not in ("https", "http"):
        raise _UnusableFieldError(f"host {given!r} has the scheme {parts.scheme!r}; use 'https'.")
    if not name or not (_HOST_NAME.fullmatch(name) or _is_address(name)):
        raise _UnusableFieldError(f"host {given!r} names no host; an example is {DEFAULT_HOST!r}.")
    if parts.path.rstrip("/") or parts.query or parts.fragment:
        raise _UnusableFieldError(
            f"host {given!r} goes on after the host name; give the base URL alone, such as "
            f"{DEFAULT_HOST!r}: the provider adds the API's path."
        )
    if parts.scheme == "http" and not _is_loopback(name):
        raise _UnusableFieldError(
            f"host {given!r} is plain http, which would show the API key to the network; "
            "use https (http is for a loopback address, such as the sandbox)."
        )
    if number and not 0 < number < 65_536:
        raise _UnusableFieldError(
            f"the port is {number}; it must be a number from 1 to 65535, or 0 for none."
        )
    netloc = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{netloc}:{number}" if number else f"{parts.scheme}://{netloc}"


_HOST_NAME = re.compile(r"\w(?:[\w.-]*\w)?")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


# What the form of Airflow 2.11 puts before an extra's name when its Test button is pressed.
_FORM_PREFIX = "extra__closers__"


def _read_extra(extra: str | None) -> dict[str, Any]:
    try:
        values = json.loads(extra) if extra and extra.strip() else {}
    except ValueError:
        raise _UnusableFieldError('the extra is not JSON; an example is {"timeout": 10}.') from None
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise _UnusableFieldError(f"the extra is a JSON {type(values).__name__}; it must be an object.")
    given = {
        str(name).removeprefix(_FORM_PREFIX): value
        for name, value in values.items()
        if value not in (None, "")
    }
    return {name: _read_extra_value(name, value) for name, value in given.items()}


def _read_extra_value(name: str, value: Any) -> Any:
    if name not in _EXTRAS:
        nearest = difflib.get_close_matches(name, _EXTRAS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(_EXTRAS)}."
        raise _UnusableFieldError(f"unknown extra {name!r}; {hint}")
    allowed, read = _EXTRAS[name]
    try:
        return read(value)
    except (ValueError, TypeError, OverflowError):
        raise _UnusableFieldError(f"extra {name!r} is {value!r}; it must be {allowed}.") from None


def _number(lowest: float, highest: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        number = float(_not_a_bool(value))
        if not lowest <= number <= highest or math.isnan(number):
            raise ValueError
        return number

    return read


def _whole_number(lowest: int, highest: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = float(_not_a_bool(value))
        if not number.is_integer() or not lowest <= number <= highest:
            raise ValueError
        return int(number)

    return read


def _not_a_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError
    return value


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError
        return str(value)

    return read


def _existing_path(value: Any) -> str:
    if not Path(value).exists():
        raise ValueError
    return str(value)


# What each extra may be, in words for the error, and its reader. A connection given as a URI
# carries numbers as text, so the readers take both.
_EXTRAS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "requests_per_second": ("a number from 0.01 to 10000", _number(0.01, 10_000)),
    "max_concurrency": ("a whole number from 1 to 256", _whole_number(1, 256)),
    "timeout": ("a number of seconds from 0.1 to 3600", _number(0.1, 3_600)),
    "max_attempts": ("a whole number from 1 to 100", _whole_number(1, 100)),
    "outage_seconds": ("a number of seconds from 1 to 86400", _number(1, 86_400)),
    "delete_email_in": ("'body' or 'query'", _one_of("body", "query")),
    "ca_bundle": ("the path of a file on this machine", _existing_path),
}

#: The extras' defaults, for the connection form.
DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(ClosersSettings) if f.name in _EXTRAS}
