"""
What the documented API accepts: the table of the vendor's page "Prospect API", taken strictly.

Whatever the page does not list is refused here, so that a client that relies on more than the vendor
promised finds out before it meets the real API. The texts and status codes of the refusals are the
sandbox's own: the page leaves both open.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

API_PATH = "/v1/crm/prospect"

# The page names no limit; without one, a single request could fill the memory.
MAX_BODY_BYTES = 1_048_576

_POST_TYPES: dict[str, type] = {"email": str, "firstName": str, "lastName": str, "otherAttribute": dict}

_PATCH_TYPES: dict[str, type] = {
    **_POST_TYPES,
    "title": str,
    "bounced": bool,
    "openedEmail": bool,
    "replied": bool,
    "isContacted": bool,
    "unSubscribed": bool,
}

FIELD_TYPES: dict[str, dict[str, type]] = {
    "POST": _POST_TYPES,
    "PATCH": _PATCH_TYPES,
    "DELETE": {"email": str},
}

METHODS = tuple(FIELD_TYPES)

_JSON_NAMES = {str: "a string", bool: "a boolean (true or false)", dict: "an object"}

# One @, something on either side, no white space, no control character. Spelled out character by
# character so that openapi.yaml can say the very same in its dialect of regular expressions.
_EMAIL = re.compile(
    "[^@\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ud800-\udfff]+"
    "@[^@\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ud800-\udfff]+"
)
_EMAIL_MAX = 254


class Refusal(Exception):  # noqa: N818 - an answer of the API, no error of ours
    """
    The request breaks the contract.

    :param status: The status to answer.
    :param message: What is wrong, naming the field.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        # Would go out again as ``Infinity``, which is not JSON.
        raise ValueError("number out of range")
    return value


# The decoder is made once: json.loads() would build a new one on each call with such arguments.
_decode = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite).decode


def read_json(body: bytes) -> Any:
    """Decode a request's body, or refuse it."""
    try:
        return _decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refusal(400, "The body is not valid JSON.") from None


def check_content_type(content_type: bytes | None) -> None:
    """Refuse a body that does not come as JSON."""
    if content_type == b"application/json":
        return
    essence, _, parameters = (content_type or b"").partition(b";")
    charset = parameters.strip().lower().replace(b'"', b"")
    if essence.strip().lower() != b"application/json" or charset not in (b"", b"charset=utf-8"):
        raise Refusal(415, "Content-Type must be application/json.")


def check_email(email: Any) -> None:
    """Refuse what is no plausible address; which addresses exist is none of our business."""
    if not isinstance(email, str):
        raise Refusal(400, "email must be a string.")
    if len(email) > _EMAIL_MAX or _EMAIL.fullmatch(email) is None:
        raise Refusal(400, "email is not a valid email address.")


def check_body(method: str, body: Any) -> dict[str, Any]:
    """
    Refuse a decoded body that the page does not describe for this method.

    :param method: ``POST``, ``PATCH`` or ``DELETE``.
    :param body: What :func:`read_json` returned.
    :return: The body, now known to be a sound record.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object.")
    types = FIELD_TYPES[method]
    for name, value in body.items():
        expected = types.get(name)
        if expected is None:
            raise Refusal(400, f"{name} is not a field of {method} {API_PATH}.")
        if type(value) is not expected:
            raise Refusal(400, f"{name} must be {_JSON_NAMES[expected]}.")
    if "email" not in body:
        raise Refusal(400, "email is required.")
    check_email(body["email"])
    return body
