"""How a task fails so that an Airflow without retry policies does not try it again."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_closers.errors import ClosersError


def not_to_be_retried(error: ClosersError) -> Exception:
    """
    Return an error that is what it was, and an ``AirflowFailException`` too, which Airflow takes for final.
    """
    kind = type(error)
    final: type[Exception] = type(
        kind.__name__,
        (kind, AirflowFailException),
        # Its name stands for another class, by which pickle would look for it.
        {"__module__": kind.__module__, "__reduce__": lambda _: (not_to_be_retried, (error,))},
    )
    return final(*error.args)
