"""What a connection says, and what it may not say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.settings import DEFAULTS, ClosersSettings


def settings(*, password: str | None = "key-123", extra: Any = None, **fields: Any) -> ClosersSettings:
    text = extra if isinstance(extra, str | None) else json.dumps(extra)
    return ClosersSettings.from_connection("crm", password=password, extra=text, **fields)


def test_a_key_alone_is_enough():
    assert settings() == ClosersSettings(
        api_key="key-123",
        base_url="https://api.closershq.io",
        requests_per_second=None,
        max_concurrency=16,
        timeout=30.0,
        max_attempts=5,
        delete_email_in="body",
        ca_bundle=None,
    )


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": ""}, "https://api.closershq.io"),
        ({"host": "crm.acme.io"}, "https://crm.acme.io"),
        ({"host": " https://crm.acme.io/ "}, "https://crm.acme.io"),
        ({"host": "https://crm.acme.io//"}, "https://crm.acme.io"),
        ({"host": "https://CRM.acme.io:8443"}, "https://crm.acme.io:8443"),
        ({"host": "crm.acme.io", "port": 8443}, "https://crm.acme.io:8443"),
        ({"host": "https://crm.acme.io:1", "port": 2}, "https://crm.acme.io:1"),
        ({"host": "https://crm.acme.io", "port": 0}, "https://crm.acme.io"),
        ({"host": "http://127.0.0.1:8765"}, "http://127.0.0.1:8765"),
        ({"host": "http://127.9.9.9"}, "http://127.9.9.9"),
        ({"host": "http://localhost:8765/"}, "http://localhost:8765"),
        ({"host": "http://[::1]:8765"}, "http://[::1]:8765"),
        ({"host": "localhost", "port": 8765, "scheme": "http"}, "http://localhost:8765"),
    ],
    ids=repr,
)
def test_the_host_is_the_base_url(fields, base_url):
    assert settings(**fields).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"password": None}, "the password is empty"),
        ({"password": ""}, "the password is empty"),
        ({"password": "key\n"}, "can't stand in a header"),
        ({"password": "key\r\nX-Evil: 1"}, "can't stand in a header"),
        ({"password": "my key"}, "can't stand in a header"),
        ({"password": "schlüssel"}, "can't stand in a header"),
        ({"password": "Bearer key"}, "starts with 'Bearer '"),
        ({"host": "http://api.closershq.io"}, "is plain http, which would show the API key"),
        ({"host": "http://localhost.acme.io"}, "is plain http"),
        ({"host": "http://10.0.0.1"}, "is plain http"),
        ({"host": "api.closershq.io", "scheme": "http"}, "is plain http"),
        ({"host": "https://crm.acme.io/v1"}, "goes on after the host name; give the base URL alone"),
        ({"host": "https://crm.acme.io?x=1"}, "goes on after the host name"),
        ({"host": "https://crm.acme.io#x"}, "goes on after the host name"),
        ({"host": "https://jane:secret@crm.acme.io"}, "the host holds credentials"),
        ({"host": "ftp://crm.acme.io"}, "has the scheme 'ftp'; use 'https'"),
        ({"host": "https://"}, "names no host"),
        ({"host": "https://crm acme.io"}, "names no host"),
        ({"host": "https://[crm"}, "is no URL"),
        ({"host": "https://crm.acme.io:http"}, "is no URL"),
        ({"extra": "timeout=10"}, "the extra is not JSON"),
        ({"extra": "[1]"}, "the extra is a JSON list; it must be an object"),
        ({"extra": {"max_concurency": 4}}, "unknown extra 'max_concurency'; did you mean 'max_concurrency'"),
        ({"extra": {"zzz": 4}}, "unknown extra 'zzz'; known are requests_per_second, "),
        ({"extra": {"requests_per_second": 0}}, "must be a number from 0.01 to 10000"),
        ({"extra": {"requests_per_second": "fast"}}, "'requests_per_second' is 'fast'; it must be a number"),
        ({"extra": {"max_concurrency": 1.5}}, "must be a whole number from 1 to 256"),
        ({"extra": {"max_concurrency": True}}, "must be a whole number"),
        ({"extra": {"max_concurrency": 257}}, "must be a whole number from 1 to 256"),
        ({"extra": {"timeout": -1}}, "must be a number of seconds"),
        ({"extra": '{"timeout": NaN}'}, "must be a number of seconds"),
        ({"extra": '{"timeout": Infinity}'}, "must be a number of seconds"),
        ({"extra": {"timeout": [30]}}, "must be a number of seconds"),
        ({"extra": {"max_attempts": 0}}, "must be a whole number from 1 to 100"),
        ({"extra": {"delete_email_in": "header"}}, "must be 'body' or 'query'"),
        ({"extra": {"ca_bundle": 7}}, "must be the path of a file on this machine"),
        (
            {"extra": {"ca_bundle": "/nowhere/ca.pem"}},
            "'ca_bundle' is '/nowhere/ca.pem'; it must be the path",
        ),
        ({"host": "crm.acme.io", "port": 99_999}, "the port is 99999; it must be a number from 1 to 65535"),
        ({"host": "crm.acme.io", "port": -1}, "the port is -1"),
        ({"host": "https://*.acme.io"}, "names no host"),
        ({"host": "https://.acme.io"}, "names no host"),
        ({"host": "https://acme.io\\v1"}, "names no host"),
        ({"host": "https://acme.io;v1"}, "names no host"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else None,
)
def test_a_wrong_value_names_the_connection_the_field_and_what_is_allowed(fields, message):
    with pytest.raises(ClosersConfigError, match=message) as raised:
        settings(**fields)

    assert str(raised.value).startswith("Connection 'crm': ")
    assert "secret" not in str(raised.value)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("unset", [None, ""])
def test_an_empty_extra_keeps_its_default(unset):
    assert settings(extra=dict.fromkeys(DEFAULTS, unset)) == settings()


def test_the_test_button_of_airflow_2_names_extras_in_its_own_way():
    extra = {"extra__closers__timeout": "10.0", "extra__closers__ca_bundle": "", "max_concurrency": 4}

    assert settings(extra=extra) == settings(extra={"timeout": 10, "max_concurrency": 4})


def test_a_uri_s_extras_are_text():
    extra = {"timeout": "10", "max_concurrency": "4", "requests_per_second": "2.5"}

    assert settings(extra=extra) == ClosersSettings(
        api_key="key-123", timeout=10.0, max_concurrency=4, requests_per_second=2.5
    )


def test_the_key_is_not_in_the_repr():
    assert "key-123" not in repr(settings())
