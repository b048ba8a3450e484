"""
What counts as the report of a push, its small form, and the sum of several.

A report comes out of an XCom or an asset event, where any task can put anything: what leaves here has
the shape that the page expects, whatever went in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_closers.push.report import Outcome

OUTCOMES = tuple(outcome.value for outcome in Outcome)
#: By whether it has this key, the database tells a report from another value.
TELLING_KEY = Outcome.UNRESOLVED.value

# What only a sync has beside them: records and removed people about whom nothing is sent.
_SYNC_OUTCOMES = ("unchanged", "kept", "postponed")
_COUNTS = ("total", *OUTCOMES, "withheld_flags", "requests", "retries", "throttled")
# What a list of pushes has no room for, or must not show (the rejects name emails, masked).
_LARGE = ("error", "pace", "reject_reasons", "rejects", "rejects_path")

_LARGEST = 2**53  # up to which JavaScript counts
_MAX_REJECTS = 20
_MAX_REASONS = 10
_MAX_PACE_POINTS = 60


def report_of(value: Any) -> dict[str, Any] | None:
    """Return a value as a report, every key there and of its type; ``None`` if it is none."""
    if not isinstance(value, Mapping) or not {"operation", "total", *OUTCOMES} <= value.keys():
        return None
    return {
        "operation": str(value["operation"]),
        "preview": value.get("preview") is True,
        **{name: _count(value.get(name)) for name in _COUNTS},
        **{name: _count(value[name]) for name in _SYNC_OUTCOMES if name in value},
        "seconds": _number(value.get("seconds")),
        "error": _text(value.get("error")),
        "pace": _pace(value.get("pace")),
        "reject_reasons": [
            {"reason": str(each.get("reason")), "count": _count(each.get("count"))}
            for each in _mappings(value.get("reject_reasons"))[:_MAX_REASONS]
        ],
        "rejects": [
            {
                "index": _count(each.get("index")),
                "email": _text(each.get("email")),
                "reason": str(each.get("reason")),
            }
            for each in _mappings(value.get("rejects"))[:_MAX_REJECTS]
        ],
        "rejects_path": _text(value.get("rejects_path")),
    }


def small(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report's counts, for a list of pushes."""
    return {key: value for key, value in report.items() if key not in _LARGE}


def sum_of(reports: Iterable[Mapping[str, Any]], *, seconds: float) -> dict[str, Any]:
    """
    Return the report of a mapped task: what its instances' reports come to together.

    :param seconds: How long it took from the first one's start to the last one's end.
    """
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    operations, previews = set(), []
    for report in reports:
        totals.update({name: report[name] for name in (*_COUNTS, *_SYNC_OUTCOMES) if name in report})
        reasons.update({each["reason"]: each["count"] for each in report["reject_reasons"]})
        operations.add(report["operation"])
        previews.append(report["preview"])
    return {
        "operation": ", ".join(sorted(operations)),
        "preview": bool(previews) and all(previews),
        **{name: totals[name] for name in (*_COUNTS, *_SYNC_OUTCOMES) if name in totals},
        "seconds": seconds,
        "error": None,
        # The instances run beside and after each other, each on a clock of its own.
        "pace": [],
        "reject_reasons": [
            {"reason": reason, "count": count} for reason, count in reasons.most_common(_MAX_REASONS)
        ],
        "rejects": [],
        "rejects_path": None,
    }


def _count(value: Any) -> int:
    return max(0, int(_number(value)))


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and -_LARGEST < value < _LARGEST else 0


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _pace(value: Any) -> list[list[float]]:
    """Return the points with a whole row of numbers each, at most 60."""
    if not isinstance(value, list):
        return []
    rows = [row for row in value if isinstance(row, list | tuple) and len(row) == 5]
    return [[_number(number) for number in row] for row in rows[:_MAX_PACE_POINTS]]
