"""A suppression list: who is on it, what it takes for an entry, and how it grows."""

from __future__ import annotations

import hashlib
import hmac
import json
import unicodedata

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.address import read_address
from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.suppression import SuppressionList
from airflow_provider_closers.suppression.entry import line_of_value

# Airflow 2.11's paths warn when they are joined.
pytestmark = pytest.mark.filterwarnings("ignore:in a future version of UPath:PendingDeprecationWarning")

SECRET = "correct horse"  # not a real one


def hashed(address: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), address.encode(), hashlib.sha256).hexdigest()


def listing(*entries: str, secret: str | None = SECRET) -> SuppressionList:
    return SuppressionList(entries, name="'list.txt'", secret=secret)


@pytest.fixture(params=["a local path", "file://", "an object store"])
def path(request, tmp_path, bucket):
    """Where a list may be: every kind of path."""
    return {
        "a local path": tmp_path / "new" / "list.txt",
        "file://": ObjectStoragePath(f"file://{tmp_path}/new/list.txt"),
        "an object store": ObjectStoragePath(f"{bucket}/new/list.txt"),
    }[request.param]


def write(path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)


def read(path) -> bytes:
    with path.open("rb") as file:
        return file.read()


def lines(path) -> list[bytes]:
    """Return the lines of a list's file, and of its parts."""
    parts = path.with_name(path.name + ".d")
    files = [*([path] if path.exists() else ()), *(parts.iterdir() if parts.exists() else ())]
    return [line for file in files for line in read(file).splitlines()]


def entries(path) -> list[bytes]:
    return [line for line in lines(path) if not line.startswith(b"#")]


# -- who is on it


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param("jane@acme.io", id="an address"),
        pytest.param("  jane@acme.io\r\n", id="with space around"),
        pytest.param("Jane@ACME.io", id="in another case"),
        pytest.param(f"hmac-sha256:{hashed('jane@acme.io')}", id="a keyed hash"),
        pytest.param(f"hmac-sha256:{hashed('jane@acme.io').upper()}", id="a keyed hash in upper case"),
        pytest.param('{"email": "jane@acme.io"}', id="an address as JSON"),
        pytest.param('{"at": 1, "email": "JANE@acme.io"}', id="JSON with more in it"),
        pytest.param(json.dumps({"hmac_sha256": hashed("jane@acme.io")}), id="a keyed hash as JSON"),
    ],
)
def test_an_entry_stands_for_an_address(entry):
    listed = listing("# asked to be left alone", "", entry)

    assert "jane@acme.io" in listed
    assert "JANE@acme.io" in listed
    assert "joe@acme.io" not in listed
    assert "jane@acme.io.uk" not in listed


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        pytest.param("o'brien@acme.io", "o'brien@acme.io", id="an apostrophe"),
        pytest.param("jane+news@acme.io", "jane+news@acme.io", id="a tag"),
        pytest.param("jane@xn--bcher-kva.example", "jane@bücher.example", id="a domain in ASCII"),
        pytest.param("jane@BÜCHER.example", "jane@bücher.example", id="a domain as it reads"),
        pytest.param("jane@xn--strae-oqa.example", "jane@straße.example", id="an eszett"),
        pytest.param("jane@xn--a.example", "jane@xn--a.example", id="a domain that is no IDNA"),
        pytest.param("zoe\u0308@acme.io", "zo\u00eb@acme.io", id="an accent composed and decomposed"),
    ],
)
def test_all_spellings_of_an_address_are_one(entry, address):
    assert address in listing(entry)
    assert entry in listing(address)


@pytest.mark.parametrize(
    ("given", "listed"),
    [("Jane@xn--bcher-kva.de", "jane@bücher.de"), ("joe@BÜCHER.de", "joe@xn--bcher-kva.de")],
    ids=["given in ASCII", "listed in ASCII"],
)
def test_an_address_is_found_in_the_form_that_the_record_rules_give_it(given, listed):
    assert RecordRules().read({"email": given}).email in listing(listed)


SPELLINGS = [
    str,
    str.upper,
    str.title,
    lambda address: unicodedata.normalize("NFD", address),
    lambda address: address.replace("b\u00fccher.de", "xn--bcher-kva.de"),
]
FORMS = [
    str,
    lambda address: f"  {address}\t",
    lambda address: json.dumps({"email": address}),
    lambda address: json.dumps({"email": address, "reason": "asked"}, ensure_ascii=False),
    lambda address: f"hmac-sha256:{hashed(address.lower())}",
    lambda address: json.dumps({"hmac_sha256": hashed(address.lower())}),
]
LOCALS = st.text("ab1.+-_'\u00e9", min_size=1, max_size=3)
ADDRESSES = st.builds("{}@{}".format, LOCALS, st.sampled_from(["a.io", "b\u00fccher.de"]))


@settings(deadline=None)
@given(
    there=st.lists(st.tuples(ADDRESSES, st.sampled_from(SPELLINGS[:2]), st.sampled_from(FORMS)), max_size=6),
    asked=st.lists(st.tuples(ADDRESSES, st.sampled_from(SPELLINGS)), max_size=6),
)
def test_whoever_is_listed_in_any_form_is_found_in_any_spelling_and_nobody_else(there, asked):
    listed = listing(*(form(spelling(address)) for address, spelling, form in there))

    on_it = {address for address, _, _ in there}
    for address, spelling in [*asked, *((address, spelling) for address in on_it for spelling in SPELLINGS)]:
        assert (spelling(address) in listed) == (address in on_it)


@pytest.mark.parametrize(
    ("keyed_hash", "also"),
    [(hashed("joe@acme.io"), "joe@acme.io"), (hashed("jane@acme.io", "another key"), "jane@acme.io")],
    ids=["of another address", "of another key"],
)
def test_of_a_line_with_an_address_and_a_keyed_hash_both_count(keyed_hash, also):
    listed = listing(json.dumps({"email": "jane@acme.io", "hmac_sha256": keyed_hash}))

    assert "jane@acme.io" in listed
    assert also in listed


def test_of_a_line_with_one_and_null_for_the_other_the_one_counts():
    assert "jane@acme.io" in listing('{"email": "jane@acme.io", "hmac_sha256": null}', secret=None)
    assert "jane@acme.io" in listing(json.dumps({"email": None, "hmac_sha256": hashed("jane@acme.io")}))


DOMAIN_LETTERS = "aZ9-.\u00fc\u00dfu\u0308\u0939\u093f\u0928\u094d\uff41\u3002\uff0e\u24d0\u00ad\u200b"
SENT = st.builds(
    "{}@{}{}".format,
    st.text("aZ9.+_'*%?#{}\u00e9e\u0301\u0939\u093f\uff41", min_size=1, max_size=4),
    st.text(DOMAIN_LETTERS, min_size=1, max_size=6),
    st.sampled_from([".io", ".\u092d\u093e\u0930\u0924", "\u3002jp", ".xn--p1ai", ".io\u200b"]),
)


def is_sent(address):
    """Tell whether the record rules take it, and it is not meant for a domain."""
    try:
        read_address(address)
    except ValueError:
        return False
    return bool(address.rpartition("@")[0].strip("*%?."))


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(SENT.filter(is_sent))
@example("jane@bu\u0308cher.example")
@example("jane@\u0939\u093f\u0928\u094d\u0926\u0940.\u092d\u093e\u0930\u0924")
@example("jane@\uff41\uff43\uff4d\uff45\u3002io")
@example("a*b@x.io")
@example("#x@acme.io")
@example("{a}@x.io")
@example(" jane@acme.io ")
def test_whom_the_record_rules_take_a_list_can_hold(address):
    in_json = [json.dumps({"email": address}), json.dumps({"email": address, "at": 1}, ensure_ascii=False)]
    in_a_query = line_of_value(address)
    in_a_file = [] if address.strip().startswith("#") else [address]

    for entry in (*in_json, in_a_query, *in_a_file):
        listed = listing(entry, secret=None)
        assert read_address(address) in listed
        assert address.strip(" ") in listed


@pytest.mark.parametrize("comment", ["# jane@acme.io", "#", "#jane", "# key of ours: x@y", "#\tjane@acme.io"])
def test_a_comment_is_no_entry(comment):
    assert listing(comment, "joe@acme.io").count() == 1


@pytest.mark.parametrize("line", ["#x@acme.io", "#jane@acme.io", "##@acme.io", "#x@b\u00fccher.de"])
def test_what_may_be_a_comment_or_an_address_is_an_error_that_says_how_to_write_either(line):
    with pytest.raises(
        ClosersConfigError, match=r"line 2: .* as JSON, as in \{\"email\": .*put a blank after the '#'"
    ) as e:
        listing("joe@acme.io", line)

    assert "acme" not in str(e.value)


def test_an_empty_list_holds_nobody():
    assert "jane@acme.io" not in listing(secret=None)
    assert "jane@acme.io" not in listing("", "   ", "# nobody", secret=None)


# -- malformed


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param("email", id="a CSV file's header"),
        pytest.param('"jane@acme.io"', id="quoted, as CSV"),
        pytest.param("'jane@acme.io'", id="quoted, as SQL"),
        pytest.param("jane@acme.io,2026-01-02", id="more columns"),
        pytest.param("jane@acme.io;", id="a separator"),
        pytest.param("Jane Doe <jane@acme.io>", id="a name"),
        pytest.param("<jane@acme.io>", id="pointed brackets"),
        pytest.param("mailto:jane@acme.io", id="a link"),
        pytest.param("jane@acme.io joe@acme.io", id="two addresses"),
        pytest.param("jane@acme.io.", id="a full stop"),
        pytest.param("jane@@acme.io", id="two signs"),
        pytest.param("@acme.io", id="a domain"),
        pytest.param("*@acme.io", id="a wildcard"),
        pytest.param("%@acme.io", id="a wildcard of SQL"),
        pytest.param("jane@*.acme.io", id="a wildcard in the domain"),
        pytest.param("jane@", id="no domain"),
        pytest.param("j\x00a\x00n\x00e@acme.io", id="in UTF-16"),
        pytest.param("jane\u200b@acme.io", id="what can't be seen"),
        pytest.param("hmac-sha256:abc", id="a hash cut short"),
        pytest.param(f"hmac-sha256:{'g' * 64}", id="no hex digits"),
        pytest.param(f"hmac-sha1:{'a' * 64}", id="another hash"),
        pytest.param("a" * 64, id="a hash without its name"),
        pytest.param('{"email": "jane"}', id="JSON without an address"),
        pytest.param('{"mail": "jane@acme.io"}', id="JSON without a known name"),
        pytest.param('{"email": ["jane@acme.io"]}', id="JSON with a list"),
        pytest.param('{"email": "jane@acme.io"', id="JSON cut short"),
        pytest.param('{"a":' * 100_000, id="JSON without end"),
        pytest.param('{"email": "jane@acme.io"} {"email": "joe@acme.io"}', id="JSON twice"),
        pytest.param('{"email": "jane@acme.io\\njoe@acme.io"}', id="JSON with two lines"),
        pytest.param('{"email": "jane@acme.io", "hmac_sha256": "abc"}', id="JSON with half a hash"),
        pytest.param('{"email": "jane@acme.io", "hmac_sha256": 7}', id="JSON with a number for a hash"),
        pytest.param(json.dumps({"email": "jane", "hmac_sha256": "a" * 64}), id="JSON with half an address"),
    ],
)
def test_a_line_that_could_never_match_is_an_error_that_names_it(entry):
    with pytest.raises(
        ClosersConfigError, match=r"list 'list\.txt' is malformed in line 3: .*Nothing was"
    ) as e:
        listing("# first", "joe@acme.io", entry, "jim@acme.io")

    assert "jane" not in str(e.value)


@pytest.mark.parametrize("secret", [None, ""], ids=["none", "an empty one"])
def test_keyed_hashes_take_their_key(secret):
    with pytest.raises(
        ClosersConfigError, match=r"'list\.txt' holds keyed hashes; .* missing \(the password"
    ):
        listing(f"hmac-sha256:{hashed('jane@acme.io')}", secret=secret)


def test_another_key_s_hashes_match_nobody():
    assert "jane@acme.io" not in listing(f"hmac-sha256:{hashed('jane@acme.io', 'another')}")


def test_another_key_than_that_of_what_was_added_is_noticed(path):
    SuppressionList.from_file(path, secret=SECRET, create=True).add(["jane@acme.io"])

    with pytest.raises(
        ClosersConfigError, match=r"list\.txt.* keyed hashes of another key than the one given"
    ):
        SuppressionList.from_file(path, secret="another")

    assert "jane@acme.io" in SuppressionList.from_file(path, secret=SECRET)


def test_a_list_is_marked_with_its_key_once(path):
    for person in ("jane", "joe", "jim"):
        listed = SuppressionList.from_file(path, secret=SECRET, create=True)
        listed.add([f"{person}@acme.io"])
        listed.add([f"{person}.doe@acme.io"])

    assert len(entries(path)) == 6
    assert len([line for line in lines(path) if line.startswith(b"# key hmac-sha256:")]) == 1


def test_half_a_key_mark_is_none(path):
    content = f"# key hmac-sha256:{'ab' * 20}\nhmac-sha256:{hashed('jane@acme.io')}\n"
    write(path, content.encode())

    assert "jane@acme.io" in SuppressionList.from_file(path, secret=SECRET)


# -- the file


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"# list\njane@acme.io\njoe@acme.io\n", id="Unix"),
        pytest.param(b"# list\r\njane@acme.io\r\njoe@acme.io\r\n", id="Windows"),
        pytest.param(b"jane@acme.io\rjoe@acme.io\r", id="old Mac"),
        pytest.param(b"jane@acme.io\njoe@acme.io", id="no end of the last line"),
        pytest.param(b"\xef\xbb\xbfjane@acme.io\njoe@acme.io\n", id="a byte order mark, as Excel writes it"),
    ],
)
def test_a_file_is_read_line_by_line(path, content):
    write(path, content)

    listed = SuppressionList.from_file(path)

    assert "jane@acme.io" in listed
    assert "joe@acme.io" in listed


def test_a_malformed_line_of_a_file_is_named_by_its_number_and_the_file(path):
    write(path, b"jane@acme.io\n\nnobody\n")

    with pytest.raises(ClosersConfigError, match=r"list\.txt' is malformed in line 3:"):
        SuppressionList.from_file(path)


def test_a_missing_file_is_an_error(path):
    with pytest.raises(
        ClosersConfigError, match=r"list\.txt' can't be read \(FileNotFoundError\).* an empty file"
    ):
        SuppressionList.from_file(path)


def test_a_missing_file_may_be_an_empty_list(path):
    listed = SuppressionList.from_file(path, create=True)

    assert "jane@acme.io" not in listed
    assert not path.exists()


@pytest.mark.parametrize("create", [False, True], ids=["must exist", "may be created"])
def test_a_folder_is_no_list(tmp_path, create):
    with pytest.raises(ClosersConfigError, match=r"can't be read \(IsADirectoryError\); nothing was sent"):
        SuppressionList.from_file(tmp_path, create=create)


def test_what_is_no_utf_8_is_no_list(path):
    write(path, "jane@acme.io".encode("utf-16"))

    with pytest.raises(ClosersConfigError, match=r"list\.txt' is malformed in line 1"):
        SuppressionList.from_file(path)


def test_a_list_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "open", forbidden)

    with pytest.raises(ClosersConfigError, match=r"can't be read \(PermissionError\); nothing was sent"):
        SuppressionList.from_file(tmp_path / "list.txt")


@pytest.mark.parametrize("kept", [1, len("hmac-sha256:"), 20, 75])
def test_half_an_entry_at_the_end_is_an_error_that_names_both_ways_out(path, kept):
    line = f"hmac-sha256:{hashed('jane@acme.io')}"
    write(path, f"# ours\n{line}\n{line[:kept]}".encode())

    with pytest.raises(
        ClosersConfigError, match=r"malformed in line 3: .* copy it again\. .* remove this line"
    ):
        SuppressionList.from_file(path, secret=SECRET)


# -- growing


def test_what_is_added_is_on_the_list_now_and_when_it_is_read_again(path):
    listed = SuppressionList.from_file(path, secret=SECRET, create=True)

    listed.add(["Jane@acme.io", "joe@acme.io"])

    for each in (listed, SuppressionList.from_file(path, secret=SECRET)):
        assert "jane@acme.io" in each
        assert "joe@acme.io" in each
        assert "jim@acme.io" not in each


def test_what_is_added_is_written_as_keyed_hashes(path):
    SuppressionList.from_file(path, secret=SECRET, create=True).add(["Jane@acme.io"])

    assert entries(path) == [f"hmac-sha256:{hashed('jane@acme.io')}".encode()]


@pytest.mark.parametrize(
    "earlier",
    [
        pytest.param(b"# ours\njim@acme.io\n", id="complete"),
        pytest.param(b"# ours\njim@acme.io", id="no end of the last line"),
    ],
)
def test_adding_leaves_what_is_there_as_it_is(path, earlier):
    write(path, earlier)

    for address in ("jane@acme.io", "joe@acme.io"):
        SuppressionList.from_file(path, secret=SECRET).add([address])

    assert read(path).startswith(b"# ours\njim@acme.io")
    assert len(entries(path)) == 3
    again = SuppressionList.from_file(path, secret=SECRET)
    assert all(address in again for address in ("jim@acme.io", "jane@acme.io", "joe@acme.io"))


@pytest.mark.parametrize(
    "known",
    ["jane@acme.io", f"hmac-sha256:{hashed('jane@acme.io')}"],
    ids=["an address", "a keyed hash"],
)
def test_who_is_on_the_list_is_not_added_again(path, known):
    write(path, known.encode())
    listed = SuppressionList.from_file(path, secret=SECRET)

    listed.add(["jane@acme.io", "JANE@ACME.IO"])
    listed.add([])

    assert read(path) == known.encode()


def test_the_same_address_twice_is_added_once(path):
    listed = SuppressionList.from_file(path, secret=SECRET, create=True)

    listed.add(["jane@acme.io", "Jane@Acme.io"])
    listed.add(["jane@acme.io"])

    assert len(entries(path)) == 1


def test_what_others_added_meanwhile_stays(path):
    write(path, b"jim@acme.io\n")
    listed = SuppressionList.from_file(path, secret=SECRET)
    SuppressionList.from_file(path, secret=SECRET).add(["joe@acme.io"])

    listed.add(["jane@acme.io"])

    assert len(entries(path)) == 3
    assert "joe@acme.io" in SuppressionList.from_file(path, secret=SECRET)


def test_adding_takes_a_key(path):
    write(path, b"jim@acme.io\n")

    with pytest.raises(ClosersConfigError, match=r"list\.txt' takes a key for the hashes; it is missing"):
        SuppressionList.from_file(path).add(["jane@acme.io"])

    assert read(path) == b"jim@acme.io\n"


def test_a_list_from_a_query_can_t_grow():
    with pytest.raises(ClosersConfigError, match=r"'list\.txt' can only be read; give a file"):
        listing("jim@acme.io").add(["jane@acme.io"])


def test_an_address_that_could_not_be_written_is_not_on_the_list():
    def full(lines: bytes) -> None:
        raise OSError("disk full")

    listed = SuppressionList((), name="'list.txt'", secret=SECRET, append=full)

    with pytest.raises(OSError, match="disk full"):
        listed.add(["jane@acme.io"])
    assert "jane@acme.io" not in listed
