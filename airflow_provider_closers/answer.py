"""
What an answer of the API means.

The vendor documents neither status codes nor bodies, so this reads every customary way to say a
thing, and where two readings are possible prefers the one that loses nothing: a refusal is
reported, never taken for "already exists" or "no such prospect". Pure: no I/O, no clock.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any


class Verdict(enum.Enum):
    """What an answer says, in terms of what to do next."""

    OK = "ok"
    EXISTS = "exists"
    NOT_FOUND = "not found"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate limited"
    UNAVAILABLE = "unavailable"
    #: Not from the API: a redirect, a page of HTML, another service's 404. Asking again won't help.
    NOT_THE_API = "not the API"
    REFUSED = "refused"

    @property
    def is_transient(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self in (Verdict.RATE_LIMITED, Verdict.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    One request's answer, read.

    :param verdict: What it says.
    :param status: HTTP status, ``None`` where no answer came.
    :param reason: Why, in a few words, with no email in it.
    :param text: The start of the body, as it came.
    :param data: The decoded body of a success, ``{}`` where it has none.
    :param retry_after: Seconds that the API asks to wait.
    :param may_have_worked: Whether the request may have taken effect all the same: it was sent,
        and what came back does not tell.
    :param is_assumed: Whether ``OK`` is concluded rather than said: an earlier try was lost, and
        this one finds its effect (set by the push, which knows of earlier tries).
    """

    verdict: Verdict
    status: int | None = None
    reason: str = ""
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    retry_after: float | None = None
    may_have_worked: bool = False
    is_assumed: bool = False


# Gateways (and Cloudflare's own 52x) answer so when the API took the request and its answer was
# lost on the way back.
_ANSWER_LOST_ON_THE_WAY = frozenset({502, 504, 520, 522, 524})

_UNAVAILABLE = frozenset({408, 425})


def is_transient_status(status: int) -> bool:
    """Tell whether a status says that the same request may well succeed a little later."""
    return status == 429 or status >= 500 or status in _UNAVAILABLE


def read_answer(method: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
    """
    Tell what an answer means.

    :param method: ``POST``, ``PATCH`` or ``DELETE``.
    :param status: HTTP status.
    :param headers: Headers; looked up as ``Content-Type``, ``Retry-After``.
    :param body: The whole body.
    :param now: Seconds since the epoch, against which a ``Retry-After`` date is read.
    """
    text = body.decode("utf-8", "replace").strip()
    answer = _read(method, status, headers, text, now)
    return replace(answer, text=text[:2000]) if answer.verdict is not Verdict.OK else answer


def _read(method: str, status: int, headers: Mapping[str, str], text: str, now: float) -> Answer:
    if 300 <= status < 400:
        return Answer(Verdict.NOT_THE_API, status, "a redirect, which is never followed")
    if _is_html(text):
        return _read_html(status, headers, now)
    try:
        data = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        data = _NOT_JSON
    if 200 <= status < 300:
        return _read_success(method, status, headers, data, text, now)
    return _read_failure(method, status, headers, data, text, now)


_NOT_JSON: Any = object()


def _is_html(text: str) -> bool:
    # By the body: many frameworks call an empty body, a plain word or even JSON text/html.
    start = text[:500].lower()
    return start.startswith("<") or "<html" in start


def _read_html(status: int, headers: Mapping[str, str], now: float) -> Answer:
    """Read a page, which only something between us and the API would send."""
    if status == 429:
        return Answer(
            Verdict.RATE_LIMITED, status, "too many requests", retry_after=_retry_after(headers, now)
        )
    if status in (401, 403, 407):
        # A proxy's or a firewall's login page: no other record will fare better.
        return Answer(Verdict.UNAUTHORIZED, status, "a page of HTML, not the API's answer")
    if status >= 500 or status in _UNAVAILABLE:
        return _unavailable(status, headers, now)
    return Answer(
        Verdict.NOT_THE_API,
        status,
        "a page of HTML, not the API's answer",
        may_have_worked=200 <= status < 300,
    )


def _read_success(
    method: str, status: int, headers: Mapping[str, str], data: Any, text: str, now: float
) -> Answer:
    if data is _NOT_JSON:
        if "json" in headers.get("Content-Type", "").lower() or text[:1] in ("{", "["):
            return Answer(Verdict.UNAVAILABLE, status, "JSON cut short", may_have_worked=True)
        if _text_says_failure(text):
            return _read_failure(method, status, headers, data, text, now)
        return Answer(Verdict.OK, status)  # "OK", "Created": the status is the answer.
    if _says_failure(data):
        return _read_failure(method, _inner_status(data) or status, headers, data, text, now)
    return Answer(Verdict.OK, status, data=data if isinstance(data, dict) else {"data": data} if data else {})


def _read_failure(
    method: str, status: int, headers: Mapping[str, str], data: Any, text: str, now: float
) -> Answer:
    messages = list(_messages(data)) if data is not _NOT_JSON else [text]
    if not messages and isinstance(data, dict) and isinstance(data.get("data"), dict):
        messages = list(_messages(data["data"]))
    said = _plain(" ; ".join(messages))
    reason = _excerpt(messages)
    if status == 429 or _TOO_MANY.search(said):
        return Answer(Verdict.RATE_LIMITED, status, reason, retry_after=_retry_after(headers, now))
    if status in (401, 403) or _BAD_KEY.search(said):
        return Answer(Verdict.UNAUTHORIZED, status, reason)
    if status >= 500 or status in _UNAVAILABLE:
        return _unavailable(status, headers, now, reason)
    if status == 405 or (status in (404, 410) and (_NO_ROUTE.search(said) or method == "POST")):
        return Answer(Verdict.NOT_THE_API, status, reason)
    if method == "POST" and (status == 409 or (_EXISTS.search(said) and not _MALFORMED.search(said))):
        return Answer(Verdict.EXISTS, status, reason)
    if method != "POST" and (status in (404, 410) or _NOT_FOUND.search(said)):
        return Answer(Verdict.NOT_FOUND, status, reason)
    return Answer(Verdict.REFUSED, status, reason)


def _unavailable(status: int, headers: Mapping[str, str], now: float, reason: str = "") -> Answer:
    return Answer(
        Verdict.UNAVAILABLE,
        status,
        reason,
        retry_after=_retry_after(headers, now),
        may_have_worked=status in _ANSWER_LOST_ON_THE_WAY,
    )


def _text_says_failure(text: str) -> bool:
    return bool(_SOUNDS_BAD.search(_plain(text))) or _names_a_refusal(text)


def _names_a_refusal(text: str) -> bool:
    said = _plain(text)
    return any(pattern.search(said) for pattern in (_EXISTS, _NOT_FOUND, _BAD_KEY, _TOO_MANY))


_NO = frozenset({"false", "0", "no", "none", "null"})
_BAD_STATES = frozenset({"error", "fail", "failed", "failure", "exists", "duplicate", "not_found", "false"})


def _says_failure(data: Any) -> bool:
    """Tell whether a 2xx body reports a failure, as ``{"success": false, ...}`` does."""
    if isinstance(data, list):
        return any(isinstance(item, dict) and _says_failure(item) for item in data[:50])
    if isinstance(data, str):
        return _text_says_failure(data)
    if not isinstance(data, dict):
        return data is False
    folded = {str(key).lower(): value for key, value in data.items()}
    for key in ("success", "ok", "succeeded", "issuccess"):
        if key in folded:
            return str(folded[key]).lower() in _NO
    if _inner_status(data) is not None or folded.get("error") or folded.get("errors"):
        return True
    if any(str(folded.get(key, "")).lower() in _BAD_STATES for key in ("status", "result")):
        return True
    if folded.get("deleted", True) in (0, False):
        return True
    inner, message = folded.get("data"), folded.get("message")
    return (isinstance(inner, dict) and "success" in inner and _says_failure(inner)) or (
        isinstance(message, str) and _names_a_refusal(message)
    )


def _inner_status(data: Any) -> int | None:
    """Return the HTTP error status that a body names, as ``{"statusCode": 409}`` does."""
    if not isinstance(data, dict):
        return None
    for key, value in data.items():
        if str(key).lower() in ("status", "statuscode", "status_code", "code"):
            digits = str(value)
            if digits.isdecimal() and len(digits) == 3 and digits[0] in "45":
                return int(digits)
    error = data.get("error")
    return _inner_status(error) if isinstance(error, dict) else None


# Keys under which APIs put what they have to say. Others echo what was sent, which could say
# anything: a prospect whose title is "Duplicate" must not look like a duplicate.
_SPEAKING = frozenset(
    {"message", "msg", "error", "errors", "detail", "details", "description", "reason", "code", "type"}
    | {"title", "statustext", "statusmessage", "errormessage", "errorcode", "errordescription"}
    | {"error_message", "error_code", "error_description"}
)
_ECHOING = frozenset({"input", "value", "received", "data", "prospect", "record", "body", "params", "ctx"})


def _messages(data: Any, *, inside: bool = False, depth: int = 0) -> Iterator[str]:
    if depth > 8:
        return
    if isinstance(data, str):
        if inside or depth == 0:
            yield data
    elif isinstance(data, list):
        for item in data[:50]:
            yield from _messages(item, inside=inside, depth=depth + 1)
    elif isinstance(data, dict):
        for key, value in list(data.items())[:50]:
            name = str(key).lower()
            # {"email": ["already exists"]}: a list of texts by a field's name is what is wrong with it.
            is_complaint = depth == 0 and name == "email" and isinstance(value, list)
            if name in _SPEAKING or is_complaint or (inside and name not in _ECHOING):
                # A key of an error object is part of its say: {"errors": {"email": ["is taken"]}}.
                for message in _messages(value, inside=True, depth=depth + 1):
                    yield message if name in _SPEAKING else f"{key} {message}"


# Straight and typographic quotes, singly and doubly.
_QUOTED = re.compile(r"""(?<!\w)["'`\u201c\u2018].{0,300}?["'`\u201d\u2019](?!\w)""")
_ADDRESS = re.compile(r"[^\s,;:()<>\"'=?&]*(?:@|%40)[^\s,;()<>\"'&]*")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _plain(message: str) -> str:
    """Reduce a message to its own words: what it quotes is the caller's, not the API's."""
    words = _ADDRESS.sub(" ", _QUOTED.sub(" ", message[:5000]))
    words = _CAMEL.sub(" ", words).replace("_", " ").replace("-", " ").replace("\u2019", "'")
    return " ".join(words.lower().split()).rstrip(".!? ")


def _excerpt(messages: list[str]) -> str:
    """Return what the API said, short enough for a log line and with no address in it."""
    whole = " ".join("; ".join(messages).split())
    return _ADDRESS.sub("<email>", whole[:2000])[:200]


_WHO = r"(?:prospects?|contacts?|leads?|e ?mail(?: address)?|records?|entry|resource)"
_WHICH = r"(?: (?:with|for) (?:(?:this|that|the|same|given|provided) )*e ?mail(?: address)?)?"


def _any_of(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{p})" for p in phrases).replace("WHO", _WHO + _WHICH))


# Not meant: "must already exist", "campaign already exists", "is invalid or already exists".
_EXISTS = _any_of(
    r"(?:^|; |: |WHO )(?:(?:has|have|is|was) )?already (?:been |being )?"
    r"(?:exists?|added|created|registered|taken|used|in use|present|in (?:the |your )?(?:crm|account))\b"
    r"(?! (?:in|on) (?:the |your |a )?(?:black|block|deny|suppress))",
    r"(?:is|have|has) already (?:a|an) WHO\b|already (?:have|has) (?:a|an) WHO\b",
    r"(?<!or )WHO exists$|(?<!or )WHO exists;",
    r"WHO (?:is |has been )?(?:taken|duplicated?|a duplicate)$",
    r"duplicate (?:prospects?|contacts?|leads?|e ?mail(?: address)?|key error|key value)\b",
    r"duplicate (?:record|entry)(?:$| for\b)",
    r"WHO (?:must be|should be|is not) unique\b",
    r"\be11000\b",  # MongoDB's duplicate key
    r"unique constraint",
    r"^(?:duplicate|exists|conflict)$",
)

# Said in the same breath as "exists", it may be this that is wrong.
_MALFORMED = _any_of(
    r"\b(?:invalid|malformed) (?:e ?mail|address)",
    r"\b(?:e ?mail|address)(?: is)? (?:invalid|malformed|not valid)\b",
    r"not a valid e ?mail",
)

# Not meant: "email domain not found", "campaign does not exist", "no email given".
_NOT_FOUND = _any_of(
    r"WHO (?:(?:was|were|is|could|can) )?not (?:be )?(?:found|exist|in (?:the|your) (?:crm|account))\b",
    r"WHO (?:doesn't|does not|did not|didn't) exists?\b",
    r"WHO you are trying to \w+ (?:doesn't|does not) exist\b",
    r"WHO (?:couldn't|cannot|can't|wasn't|isn't) (?:be )?found\b",
    r"WHO is unknown$",
    r"\bno (?:such|matching) WHO\b",
    r"\bno (?:prospects?|contacts?|leads?|records?)(?:$| (?:with|for|found|has|match|matches|exists)\b)",
    r"\b(?:unknown|non ?existent) WHO$",
    r"(?:can ?not|can't|could not|couldn't|unable to|did not|didn't) (?:find|locate)"
    r" (?:(?:an?|the|this|that|any) )?WHO\b",
    r"^not found$",
)

# A 404 in these words speaks of the address that was asked for, not of a prospect.
_NO_ROUTE = _any_of(r"\b(?:route|endpoint|path|url|uri|page)\b", r"^cannot (?:post|patch|delete) ")

_BAD_KEY = _any_of(
    r"\b(?:invalid|wrong|missing|expired|revoked|unknown|no)"
    r" (?:api ?key|access token|credentials|authorization)\b",
    r"\b(?:api ?key|access token|authorization(?: header)?) (?:(?:is|has been|was) )?"
    r"(?:invalid|wrong|missing|expired|revoked|required|not (?:valid|found))\b",
    r"^unauthori[sz]ed(?: (?:access|request))?$",
    r"^(?:unauthenticated|not authenticated)$",
)

_TOO_MANY = _any_of(r"\btoo many requests\b", r"\brate limit(?:ed)?\b", r"\bthrottled\b")

_SOUNDS_BAD = _any_of(r"\b(?:error|fail(?:ed|ure)?|invalid|exception|denied|refused)\b")


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return ``Retry-After`` in seconds, ``None`` where it is absent or makes no sense."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = max(parsedate_to_datetime(value).timestamp() - now, 0.0)
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else None
