"""What became of the source's records, and of those who are gone from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_closers.push.report import PushReport


@dataclass(kw_only=True)
class SyncReport(PushReport):
    """
    The counts of a sync.

    ``total`` are the source's records and the people who are gone from it. Each of them is in one
    outcome, or is unchanged, kept or postponed: together they add up to ``total``.

    :param read: Records of the source.
    :param removed: People in the snapshot who are not in the source; ``total`` is both.
    :param unchanged: Records that say what the CRM was told before; nothing is sent.
    :param kept: Removed people to whom nothing is done; the sync forgets them.
    :param postponed: Removed people whose removal waits, since a record can't be read that may be theirs.
    """

    operation: str = "sync"
    read: int = 0
    removed: int = 0
    unchanged: int = 0
    kept: int = 0
    postponed: int = 0

    @property
    def outcomes(self) -> dict[str, int]:
        """The count of each outcome, and of those about whom nothing is done."""
        without_a_request = {name: getattr(self, name) for name in ("unchanged", "kept", "postponed")}
        return {**without_a_request, **super().outcomes}

    @property
    def to_do(self) -> int:
        """How many there were to do something about: not those who are gone and left alone."""
        return self.total - self.kept - self.postponed

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a small JSON object, with emails masked."""
        return {**super().as_dict(), "read": self.read, "removed": self.removed}
