"""Which failures of a push are worth another try of its task, and when: Airflow 3.3's retry policies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy

from airflow_provider_closers.errors import ClosersTryLaterError, is_final

_FIRST_DELAY = timedelta(minutes=5)
_LONGEST_BACKOFF = timedelta(hours=1)
#: A longer wait than this is no rate limit's, and not believed.
_LONGEST_WAIT = timedelta(days=1)


class ClosersRetryPolicy(RetryPolicy):
    """
    Fails at once where no other try can fare better, waits for as long as asked, backs off in an outage.

    - Fails: a refused key, an unusable connection or argument, more deletes than ``max_deletes``, more
      rejects than ``max_rejects`` (unless the API failed at them rather than refuse them), no records and
      ``on_empty="fail"``.
    - Waits: where the API asked for a wait (``Retry-After``), that long, up to a day.
    - Backs off: otherwise where the API is out of order; ``retry_delay`` at first, then twice as long each
      time, up to an hour or the task's ``max_retry_delay``.
    - Everything else is left to the task's own settings.

    The operators use it unless the task has a policy of its own. It never grants more tries than
    ``retries``, nor any delay where the task itself has ``retry_exponential_backoff``. For Airflow 3.3 and
    newer; older ones have no policies, and this module can't be imported there.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,  # noqa: ARG002 - Airflow sees to it
        context: Any = None,
    ) -> RetryDecision:
        """
        Decide what becomes of the task; Airflow calls this in the worker.

        :param exception: What the task raised.
        :param try_number: The number of the try that failed, from 1.
        :param max_tries: Tries beyond the first, at most.
        :param context: What Airflow gave the task.
        """
        if is_final(exception):
            return RetryDecision.fail(reason=f"{type(exception).__name__}: no other try would fare better.")
        if not isinstance(exception, ClosersTryLaterError):
            return RetryDecision.default()
        asked_for = timedelta(seconds=min(exception.retry_after or 0.0, _LONGEST_WAIT.total_seconds()))
        task = (context or {}).get("task")
        if getattr(task, "retry_exponential_backoff", None) and not asked_for:
            return RetryDecision.default()
        if asked_for:
            return RetryDecision.retry(asked_for, reason="The API asked to wait that long (Retry-After).")
        return RetryDecision.retry(_backoff(task, try_number), reason="The API is out of order: backing off.")

    def serialize(self) -> dict[str, Any]:
        """Return what the serialised DAG holds of the policy: nothing, for it has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: Mapping[str, Any]) -> ClosersRetryPolicy:  # noqa: ARG003 - there are none
        """Return the policy that :meth:`serialize` was called on."""
        return cls()


def _backoff(task: Any, try_number: int) -> timedelta:
    first: timedelta = getattr(task, "retry_delay", None) or _FIRST_DELAY
    longest: timedelta = getattr(task, "max_retry_delay", None) or max(first, _LONGEST_BACKOFF)
    # Capped before it is multiplied: many tries would be more than a time span holds.
    doublings = min(max(try_number, 1) - 1, 12)
    return min(first * (1 << doublings), longest)
