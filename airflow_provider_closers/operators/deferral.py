"""Waiting for the API without a worker: the task is deferred for as long as a ``Retry-After`` asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_closers.errors import ClosersTryLaterError

#: Seconds. A daily quota asks for no more; what does is nonsense, or nothing that a task should wait for.
_LONGEST_DEFERRAL = 86_400.0


def seconds_to_defer(error: Exception | None, longest_wait: float) -> float | None:
    """
    Return for how long a task whose push was stopped by this error should be deferred, if it should.

    :param error: What stopped the push, if anything did.
    :param longest_wait: Seconds that a push sits out itself.
    """
    if not isinstance(error, ClosersTryLaterError):
        return None
    seconds = error.retry_after or 0.0
    return seconds if longest_wait < seconds <= _LONGEST_DEFERRAL else None


def trigger_in(seconds: float) -> Any:
    """Return the standard provider's trigger that fires in so many seconds. It sends nothing."""
    try:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger
    except ImportError:  # Airflow 2.11 installs no standard provider, and has the trigger itself.
        from airflow.triggers.temporal import DateTimeTrigger  # type: ignore[no-redef]
    return DateTimeTrigger(moment=datetime.now(UTC) + timedelta(seconds=seconds))
