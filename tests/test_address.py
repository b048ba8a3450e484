"""One address in many spellings: what is sent of it, and that it is compared as one."""

from __future__ import annotations

import string

import pytest
from email_validator import validate_email
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.address import mask_email, normal_form, read_address
from airflow_provider_closers.prospect import RecordRules

locals_ = st.text("abcXYZ09._+-'#{}\u00e9\u00df\u0130", min_size=1, max_size=6)
domains = st.sampled_from(
    [
        "acme.io",
        "ACME.io",
        "a-b.co",
        "b\u00fccher.de",
        "xn--bcher-kva.de",
        "x",
        "a..b",
        "_a",
        "xn--",
        "xn--\u00fc",
    ]
)
addresses = st.builds("{}@{}".format, locals_, domains)


@settings(deadline=None)
@given(addresses)
def test_the_normal_form_of_a_normal_form_is_itself(address):
    assert normal_form(normal_form(address)) == normal_form(address)


@settings(deadline=None)
@given(addresses)
def test_an_address_s_case_changes_nothing(address):
    assert normal_form(address.lower()) == normal_form(address)
    assert normal_form(address.upper()) == normal_form(address)


SPELLINGS = [
    ("jane@acme.io", "JANE@ACME.IO"),
    ("jane@acme.io", "jane@\uff41\uff43\uff4d\uff45.io"),  # full width, as a Japanese keyboard has it
    ("jane@acme.io", "jane@acme\u3002io"),  # its full stop
    ("jane@acme.io", "jane@acme\uff0eio"),
    ("jane@acme.io", "jane@\u24d0cme.io"),
    ("jane@acme.io", "jane@acm\u1d49.io"),
    ("jane@b\u00fccher.example", "jane@B\u00dcCHER.example"),
    ("jane@b\u00fccher.example", "jane@bu\u0308cher.example"),  # the accent apart
    ("jane@b\u00fccher.example", "jane@xn--bcher-kva.example"),
    ("jane@b\u00fccher.example", "jane@XN--BCHER-KVA.example"),
    ("jane@b\u00fccher.example", "jane@\uff22\u00dcCHER.example"),
    ("ren\u00e9@acme.io", "rene\u0301@acme.io"),
]


@pytest.mark.parametrize(("address", "spelling"), SPELLINGS)
def test_spellings_of_one_address_are_compared_as_one(address, spelling):
    assert normal_form(spelling) == address


@pytest.mark.parametrize(("address", "spelling"), SPELLINGS)
def test_what_is_sent_of_a_spelling_has_a_domain_that_any_mail_system_reads(address, spelling):
    sent = RecordRules().read({"email": spelling}).email

    assert normal_form(sent) == address
    assert sent.rpartition("@")[2] in (address.rpartition("@")[2], "xn--bcher-kva.example")


def test_two_domains_are_two():
    assert normal_form("jane@stra\u00dfe.de") != normal_form("jane@strasse.de")


def is_good(address):
    try:
        return validate_email(address, check_deliverability=False, test_environment=True).domain
    except ValueError:
        return None


@settings(deadline=None)
@given(st.text(string.ascii_letters + "\u00fc\u00df\uff41\u3002\u24d0\u0308\u092d.-", min_size=1, max_size=9))
@example("acme\u3002io")
def test_the_library_s_own_reading_of_a_domain_is_compared_as_the_domain(domain):
    if read := is_good(f"jane@{domain}"):
        assert normal_form(f"jane@{domain}") == normal_form(f"jane@{read}")
        assert normal_form(read_address(f"jane@{domain}")) == normal_form(f"jane@{read}")


@pytest.mark.parametrize(
    ("email", "masked"),
    [
        ("jane@acme.io", "j***@acme.io"),
        ("j***@acme.io", "j***@acme.io"),
        ("@acme.io", "***@acme.io"),
        ("jane", "j***"),
        ("jane doe jane@acme.io (call 555-1234)", "j***@acme.io"),
        ("jane@acme.io\nINFO a line of its own", "j***@acme.io"),
        ("", "***"),
        (None, None),
        (7, None),
    ],
)
def test_a_masked_email_shows_its_first_letter_and_domain(email, masked):
    assert mask_email(email) == masked
