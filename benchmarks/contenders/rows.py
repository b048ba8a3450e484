"""The records, as a query of a warehouse would yield them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

_CITIES = ("Lyon", "Graz", "Porto", "Gdańsk", "Turku", "Leeds", "Utrecht")
_PLANS = ("free", "team", "enterprise")
# Not one after the other, which would flatter whoever remembers the last domain.
_STEP, _DOMAINS = 7_919, 25_013


def rows(records: int | None, seconds: float | None) -> Iterator[dict[str, Any]]:
    """
    Yield records until there were so many, or until so much time has passed since the first was asked for.

    :param records: ``None``: no limit.
    :param seconds: ``None``: no limit.
    """
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    for number in count() if records is None else range(records):
        if time.monotonic() >= until:
            return
        yield {
            "email": f"lead{number}@firm{number * _STEP % _DOMAINS}.example.com",
            "first_name": f"First{number % 211}",
            "last_name": f"Last{number % 1_009}",
            "company": f"Firm {number * _STEP % _DOMAINS}",
            "city": _CITIES[number % len(_CITIES)],
            "plan": _PLANS[number % len(_PLANS)],
        }


def body_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the body to post, as whoever goes without the provider writes it."""
    return {
        "email": row["email"],
        "firstName": row["first_name"],
        "lastName": row["last_name"],
        "otherAttribute": {"company": row["company"], "city": row["city"], "plan": row["plan"]},
    }
