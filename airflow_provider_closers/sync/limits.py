"""What may go missing from a source before somebody has to look."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from airflow_provider_closers.choices import check_choice
from airflow_provider_closers.errors import ClosersConfigError, SourceShrunkError, TooManyDeletesError

ON_REMOVED = ("keep", "flag", "delete")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    How many people may be gone from a source.

    :param max_removed: How many may be gone at all: a count, or a fraction of those known.
    :param max_deletes: How many may be deleted: a count, or a fraction of those known.
    :raises ClosersConfigError: One is neither.
    """

    max_removed: float = 0.5
    max_deletes: float = 100

    def __post_init__(self) -> None:
        check_count_or_fraction("max_removed", self.max_removed)
        check_count_or_fraction("max_deletes", self.max_deletes)

    def check(self, *, known: int, removed: int, deletes: int) -> None:
        """
        Check that no more are gone than may be.

        :param known: People in the snapshot.
        :param removed: Those of them who are not in the source.
        :param deletes: Those who would be deleted.
        :raises SourceShrunkError: Too many are gone.
        :raises TooManyDeletesError: Too many would be deleted.
        """
        if removed > _count(self.max_removed, known):
            raise SourceShrunkError(
                f"{removed:,} of the {known:,} people whom the sync knows are not in its source any more, "
                f"and max_removed is {self.max_removed}. See whether the source is whole; if it is, set "
                "max_removed to what you expect (1.0: all). Nothing was sent."
            )
        if deletes > _count(self.max_deletes, known):
            raise TooManyDeletesError(
                f"There are {deletes:,} prospects to delete, of {known:,} whom the sync knows, and "
                f"max_deletes is {self.max_deletes}. Deletion can't be undone: look at the source, then set "
                "max_deletes to what you expect. Nothing was sent."
            )


@dataclass(frozen=True, kw_only=True)
class Removal:
    """
    What becomes of people who are gone from the source.

    :param on_removed: ``keep``, ``flag`` or ``delete``.
    :param field: For ``flag``, the field that is set to true.
    :raises ClosersConfigError: It is something else, or the field is missing or of no use.
    """

    on_removed: str = "keep"
    field: str | None = None

    def __post_init__(self) -> None:
        check_choice("on_removed", self.on_removed, ON_REMOVED)
        if (self.on_removed == "flag") != bool(self.field):
            raise ClosersConfigError(
                f"removed_field is {self.field!r} and on_removed {self.on_removed!r}; on_removed='flag' "
                "takes a field to set, and nothing else does."
            )


def check_count_or_fraction(parameter: str, limit: Any) -> None:
    """
    Check a limit.

    :param parameter: Its name, for the message.
    :raises ClosersConfigError: It is neither a count nor a fraction.
    """
    is_count = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0
    if not is_count and not (isinstance(limit, float) and 0 <= limit <= 1):
        raise ClosersConfigError(
            f"{parameter} is {limit!r}; it must be a count (an int), or a fraction (a float from 0 to 1)."
        )


def _count(limit: float, known: int) -> float | Fraction:
    # As the fraction that was written: 0.29 times 100 is 28.999... to a float.
    return limit if isinstance(limit, int) else Fraction(str(limit)) * known
