"""The names of a table's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from airflow_provider_closers.errors import ClosersConfigError


def check_names(names: Iterable[str], whose: str, unsent: str) -> None:
    """
    Check that no column is there twice: a record has each key once.

    :param whose: Whose columns these are, for the message.
    :param unsent: What was not sent, a sentence that ends the message.
    :raises ClosersConfigError: One is; names it.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise ClosersConfigError(
                f"{whose} has the column {name!r} {count} times; it must have it once. {unsent}"
            )
