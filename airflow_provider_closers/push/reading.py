"""From a record as it was given to a prospect, or to what else becomes of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_tb
from typing import Any

from airflow_provider_closers.address import mask_email
from airflow_provider_closers.errors import ClosersConfigError, InvalidProspectError
from airflow_provider_closers.prospect import Prospect, RecordRules
from airflow_provider_closers.push.source import Unreadable

#: What the user makes of a record before the rules read it; ``None`` drops it.
Transform = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Why a record can't be sent.

    :param reason: Names the field, the value's kind and the way out; holds nothing of the value.
    :param email: The record's email, masked; ``None`` where it has none.
    :param person: Whose record it is, by the email; ``None`` where that can't be told.
    """

    reason: str
    email: str | None = None
    person: str | None = field(default=None, repr=False)


class Reader:
    """
    Reads records by the rules, after what the user makes of them.

    :param rules: How to read each record.
    :param transform: Is given each record, a copy of it, and returns it as it should be, or ``None``
        to drop it. What it raises refuses that record.
    :raises ClosersConfigError: ``transform`` can't be called.
    """

    def __init__(self, rules: RecordRules, transform: Transform | None = None) -> None:
        if transform is not None and not callable(transform):
            raise ClosersConfigError(
                f"transform is of type {type(transform).__name__}; it must be a function of one record."
            )
        self._rules = rules
        self._transform = transform

    def read(self, record: Any) -> Prospect | Refusal | None:
        """
        Return the prospect in a record, why there is none, or ``None`` where the user drops it.

        Never raises: a record is a stranger's object, and to read it may do anything.
        """
        if isinstance(record, Unreadable):
            return Refusal(record.reason)
        if self._transform is not None:
            try:
                transformed = self._transform(_copy_of(record))
            except Exception as e:  # noqa: BLE001 - whatever it is, the others are to be pushed
                # Whose record it is nobody knows: it was the transform's to say.
                return self._refusal(f"transform raised {_described(e, record)}", record, person=None)
            if transformed is None:
                return None
            record = transformed
        try:
            return self._rules.read(record)
        except InvalidProspectError as e:
            return self._refusal(str(e), record, self._rules.person_in(record))
        except Exception as e:  # noqa: BLE001 - as above
            reason = f"reading the record raised {type(e).__name__}"
            return self._refusal(reason, record, self._rules.person_in(record))

    def _refusal(self, reason: str, record: Any, person: str | None) -> Refusal:
        return Refusal(reason, mask_email(self._rules.email_in(record)), person)


def _copy_of(record: Any) -> Any:
    """Return a record that a transform may change, down to what is in it: a reject keeps the original."""
    if not isinstance(record, Mapping):
        return record
    return {
        key: deepcopy(value) if isinstance(value, _CONTAINERS) else value for key, value in record.items()
    }


_CONTAINERS = (dict, list, set)


def _described(error: Exception, record: Any) -> str:
    """Say what a transform raised, and where; its text may hold the record's values, and is left out."""
    described = type(error).__name__
    if isinstance(error, KeyError) and isinstance(record, Mapping):
        described += _about_missing_key(error.args[0] if error.args else None, record)
    called = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)][1:2]
    return "".join([described, *(f" ({Path(file).name}, line {line})" for file, line in called)])


def _about_missing_key(key: Any, record: Mapping[Any, Any]) -> str:
    # A key that is one of the record's values, or an email, was looked for elsewhere: nobody is to read it.
    if not isinstance(key, str) or len(key) > 80 or "@" in key:
        return ""
    if key in record or key in map(str, record.values()):
        return ""
    nearest = difflib.get_close_matches(key, [name for name in record if isinstance(name, str)], n=1)
    return f": the record has no {key!r}{f' (nearest: {nearest[0]!r})' if nearest else ''}"
