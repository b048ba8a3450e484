"""A set of digests, beside Python's own."""

from __future__ import annotations

import random
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_closers.suppression.index import DigestIndex

# Of few bytes, so that some begin alike, and some stand across two neighbours.
DIGESTS = st.lists(st.lists(st.sampled_from(b"\0\1"), min_size=14, max_size=14), max_size=12)


def digest(rest: list[int]) -> bytes:
    return b"\0\0" + bytes(rest)


@settings(deadline=None)
@given(there=DIGESTS, asked=DIGESTS)
def test_it_holds_what_was_put_in_and_nothing_else(there, asked):
    index = DigestIndex()

    index.add(b"".join(map(digest, there)))

    wanted = set(map(digest, there))
    assert all(one in index for one in wanted)
    assert [digest(rest) in index for rest in asked] == [digest(rest) in wanted for rest in asked]
    assert len(index) == len(wanted)


def test_what_stands_across_two_neighbours_is_not_in_it():
    index = DigestIndex()

    index.add(b"\0\0" + b"a" * 14 + b"\0\0" + b"b" * 14)

    assert b"\0\0" + b"a" * 7 + b"b" * 7 not in index
    assert b"\0\1" + b"a" * 14 not in index
    assert b"\0\0" + b"b" * 14 in index


def test_of_longer_digests_the_first_half_counts():
    index = DigestIndex()

    index.add(bytes(range(64)), size=32)

    assert bytes(range(16)) in index
    assert bytes(range(32, 64)) in index
    assert bytes(range(16, 32)) not in index


def test_a_million_take_little_more_memory_than_their_bytes():
    index = DigestIndex()
    digests = random.Random(1).randbytes(16 * 1_000_000)

    for start in range(0, len(digests), 16 * 5_000):
        index.add(digests[start : start + 16 * 5_000])

    assert sum(map(sys.getsizeof, index._buckets)) < 24 * 1_000_000
    assert digests[:16] in index
    assert digests[-16:] in index
