"""What stands in a line: read quickly where many are plain, and with the same result."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.suppression.entry import (
    EntryError,
    _entries_one_by_one,
    digest_of,
    entries_in,
    keyed_hash_of,
)

KEY = b"not a real one"

locals_ = st.text("abcXYZ09._+-'#{}\u00e9\u00df\u0130", min_size=1, max_size=6)
domains = st.sampled_from(
    ["acme.io", "ACME.io", "a-b.co", "b\u00fccher.de", "xn--bcher-kva.de", "x", "a..b", "_a"]
)
addresses = st.builds("{}@{}".format, locals_, domains)
lines = st.one_of(
    addresses,
    addresses.map(lambda address: json.dumps({"email": address})),
    addresses.map(lambda address: json.dumps({"email": address}, separators=(",", ":"))),
    addresses.map(lambda address: json.dumps({"email": address}, ensure_ascii=False) + ".uk"),
    addresses.map(lambda address: f"hmac-sha256:{keyed_hash_of(address, KEY).hex()}"),
    addresses.map(lambda address: json.dumps({"hmac_sha256": keyed_hash_of(address, KEY).hex()})),
    addresses.map(
        lambda address: json.dumps({"email": address, "hmac_sha256": keyed_hash_of(address, KEY).hex()})
    ),
    addresses.map(lambda address: json.dumps({"id": 7, "email": f"{address}\n{address}"})),
    st.sampled_from(
        [
            "",
            " ",
            "# jane@acme.io",
            "nobody",
            "hmac-sha256:abc",
            "{}",
            "a@b@c",
            "a b@c",
            '"',
            "a\x7f@b",
            "*@acme.io",
            "a*b@acme.io",
            "%@acme.io",
            "a\u200b@b",
            "a\u00a0@b",
            "a\u2028b@c",
        ]
    ),
)


@settings(deadline=None)
@given(st.lists(st.tuples(lines, st.sampled_from(["\n", "\r\n", " \n"])).map("".join), max_size=4))
@example(['{"email": "a@b.c"}.uk\n'])
@example(["#a@b.c\n"])
@example(["a@b.c\nd@e.f\n"])
@example(['{"email": "hmac-sha256:%s"}\n' % ("a" * 64)])
@example(["{a@b.c\n"])
@example(["a\u0130@b.c\n"])
def test_many_lines_at_once_come_to_the_same_as_one_by_one(some):
    def outcome(read):
        try:
            return read(some)
        except EntryError as e:
            return e.args

    assert outcome(entries_in) == outcome(_entries_one_by_one)


@pytest.mark.parametrize(
    "line",
    [
        "jane@acme.io",
        '{"email": "jane@acme.io"}',
        '{"email":"jane@acme.io"}',
        '{"id": 7, "email": "jane@acme.io", "tags": ["\\u00fc", null]}',
    ],
)
def test_plain_addresses_are_read_at_once(line, monkeypatch):
    monkeypatch.setattr("airflow_provider_closers.suppression.entry._entries_one_by_one", None)

    assert entries_in([f"{line}\n", f"{line}\r\n"]).digests == digest_of("jane@acme.io") * 2


@pytest.mark.parametrize("address", ["jane@b\u00fccher.example", "jane@xn--bcher-kva.example"])
def test_addresses_of_other_scripts_are_read_at_once(address, monkeypatch):
    monkeypatch.setattr("airflow_provider_closers.suppression.entry._entries_one_by_one", None)

    assert entries_in([f"{address}\n"]).digests == digest_of("jane@b\u00fccher.example")


@pytest.mark.parametrize("line", ["hmac-sha256:{}", '{{"hmac_sha256": "{}"}}'])
def test_plain_hashes_are_read_at_once(line, monkeypatch):
    keyed_hash = keyed_hash_of("jane@acme.io", KEY)
    monkeypatch.setattr("airflow_provider_closers.suppression.entry._entries_one_by_one", None)

    assert entries_in([line.format(keyed_hash.hex()) + "\n"]).hashes == keyed_hash
