"""What may be given as ``prospects``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.prospect import is_field


@dataclass(frozen=True, slots=True)
class Unreadable:
    """
    Stands for a record that its source can't read, and becomes a reject.

    :param raw: What stands in its place.
    :param reason: Why it can't be read, and where it stands; nothing of what is in it.
    """

    raw: Any
    reason: str


class Source(ABC):
    """Records that can be read again from their start, each time they are iterated over."""

    @abstractmethod
    def __iter__(self) -> Iterator[Any]:
        """Read the records from the first one on."""


def records_of(prospects: Any, operation: str) -> Iterable[Any]:
    """
    Return the records in what the user gave: one mapping, or any iterable of mappings.

    :param prospects: The argument as it was given.
    :param operation: For ``delete`` an email string stands for its record.
    :return: The iterable itself, not copied.
    :raises ClosersConfigError: It holds no records; says what it is and what to give.
    """
    # A list that a template turned into text is no email, though it is a string.
    if isinstance(prospects, str) and operation == "delete" and prospects.lstrip()[:1] not in ("[", "{"):
        return [prospects]
    if isinstance(prospects, Mapping):
        if prospects and all(
            isinstance(value, Mapping) and not is_field(key) for key, value in prospects.items()
        ):
            raise _not_records("a mapping of mappings", "pass list(prospects.values())")
        return [prospects]
    if prospects is None:
        raise _not_records("None", "see whether the upstream task returns its records")
    if isinstance(prospects, str):
        raise _not_records(
            "a str",
            "pass the upstream task's output itself (prospects=extract()), or set "
            "render_template_as_native_obj=True on the DAG",
        )
    if hasattr(prospects, "to_dicts"):
        raise _not_records("a data frame", "pass frame.to_dicts()")
    if hasattr(prospects, "to_dict"):
        if not hasattr(prospects, "columns"):
            raise _not_records("a series", "pass series.to_list()")
        raise _not_records("a data frame", 'pass frame.to_dict("records")')
    if isinstance(prospects, bytes | bytearray) or not isinstance(prospects, Iterable):
        raise _not_records(f"of type {type(prospects).__name__}", "pass a list of mappings")
    return prospects


def _not_records(what: str, way_out: str) -> ClosersConfigError:
    return ClosersConfigError(
        f"prospects is {what}; it must be one mapping or an iterable of them: {way_out}."
    )
