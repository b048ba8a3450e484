"""Arguments that are one of a few words, a number within bounds, or a switch."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from airflow_provider_closers.errors import ClosersConfigError


def check_choice(parameter: str, value: Any, allowed: Sequence[str]) -> None:
    """
    Check that an argument is one of the words that it may be.

    :param parameter: Its name, for the message.
    :raises ClosersConfigError: It is not; names what is allowed, and the nearest of it.
    """
    if value in allowed:
        return
    hint = did_you_mean(value, allowed)
    raise ClosersConfigError(f"{parameter} is {value!r}; it must be one of {', '.join(allowed)}{hint}.")


def check_number(parameter: str, value: Any, lowest: float, highest: float) -> None:
    """
    Check that an argument is a number within bounds, these included.

    :param parameter: Its name, for the message.
    :raises ClosersConfigError: It is not; names what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise ClosersConfigError(f"{parameter} is {value!r}; it must be a number from {lowest} to {highest}.")


def read_switch(parameter: str, value: Any) -> bool:
    """
    Return a switch that a template may have turned into text.

    :param parameter: Its name, for the message.
    :raises ClosersConfigError: It says neither.
    """
    if isinstance(value, bool):
        return value
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ClosersConfigError(f"{parameter} is {value!r}; it must be True or False.")


def did_you_mean(value: Any, words: Sequence[str]) -> str:
    """Return the nearest of some words as a question to end a message with; empty if none is near."""
    nearest = difflib.get_close_matches(str(value), words, n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
