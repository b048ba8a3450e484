"""
An email address: whether it is one, as it is sent, and as it is compared.

Nobody documents whether the API minds the case of an email, so two spellings that differ in it are
compared as one. So are two spellings of one domain: DNS knows them by the same name.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Container
from functools import lru_cache
from typing import Any

# Of letters and digits that every mail server takes; of the others the library is asked each time.
_PLAIN_LOCAL_PART = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*")
_DOMAIN = re.compile(r"[\w.-]*")


def read_address(text: str, known: Container[str] = ()) -> str:
    """
    Return an address as it is sent: its domain in lower case, and mapped as the mail system maps it (UTS 46).

    :param text: The address, perhaps with blanks around it.
    :param known: Addresses that were read before: their domains are not checked again.
    :raises ValueError: It is none; says what is wrong with it, and doesn't repeat it.
    """
    given = text.strip(" ")
    local, _, given_domain = given.rpartition("@")
    domain = mapped_domain(given_domain)
    email = f"{local}@{domain}"
    # The library takes longer than all else that is done to a record, and nearly all of it for the domain.
    is_plain = len(given) <= 254 and len(local) <= 64 and _PLAIN_LOCAL_PART.fullmatch(local)
    is_good = is_plain and (email in known or _is_good_domain(domain))
    if not is_good and (complaint := _complaint(given)):
        raise ValueError(complaint)
    return email


def normal_form(address: str) -> str:
    """Return the form in which addresses are compared: one for all spellings of the same address."""
    if address.isascii() and "xn--" not in (lowered := address.lower()):
        return lowered
    local, _, domain = address.rpartition("@")
    return f"{unicodedata.normalize('NFC', local).casefold()}@{_domain_as_it_reads(domain)}"


def mapped_domain(domain: str) -> str:
    """Return a domain in lower case; letters of other scripts as the mail system maps them (UTS 46)."""
    return domain.lower() if domain.isascii() else _mapped(domain)


def mask_email(email: Any) -> str | None:
    """Return ``j***@acme.io`` for ``jane@acme.io``; ``None`` for what is not a string."""
    if not isinstance(email, str):
        return None
    local, at, domain = email.strip()[:254].rpartition("@")
    if not at:
        return f"{domain[:1]}***"
    # What follows the domain in a malformed address may be anything, a line break among it.
    return f"{local[:1]}***@{_DOMAIN.match(domain)[0]}"  # type: ignore[index]


@lru_cache(maxsize=65_536)
def _mapped(domain: str) -> str:
    import idna

    try:
        return idna.uts46_remap(domain, std3_rules=False)
    except idna.IDNAError:  # of what is in no domain, too, there is to be one form
        return unicodedata.normalize("NFC", domain).casefold()


@lru_cache(maxsize=65_536)
def _domain_as_it_reads(domain: str) -> str:
    return _mapped(".".join(map(_label_as_it_reads, mapped_domain(domain).split("."))))


def _label_as_it_reads(label: str) -> str:
    if label.startswith("xn--"):
        with contextlib.suppress(UnicodeError):
            return label[4:].encode("ascii").decode("punycode")
    return label


@lru_cache(maxsize=65_536)
def _is_good_domain(domain: str) -> bool:
    return _complaint(f"x@{domain}") is None


def _complaint(email: str) -> str | None:
    """Return what the library says against an address, ``None`` if nothing."""
    from email_validator import EmailNotValidError, validate_email

    try:
        # `.test` is reserved for rehearsals, so letting it through can reach nobody.
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError as e:
        return str(e)
    return None
