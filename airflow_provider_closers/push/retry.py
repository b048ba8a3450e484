"""Whether to send a request again, and when. Pure, but for the dice."""

from __future__ import annotations

import random

from airflow_provider_closers.answer import Answer

#: The longest ``Retry-After`` that a push waits for, in seconds. A longer one (a daily quota, or
#: nonsense) stops the push: a worker should not sit it out.
LONGEST_WAIT = 300.0

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 60.0


def should_retry(answer: Answer, attempts: int, max_attempts: int) -> bool:
    """Tell whether to send a request again after ``attempts`` tries, the last answered so."""
    return answer.verdict.is_transient and attempts < max_attempts


def asks_too_much(answer: Answer, longest_wait: float) -> bool:
    """Tell whether the API asks for more patience than the caller has."""
    return answer.retry_after is not None and answer.retry_after > longest_wait


def backoff(attempts: int) -> float:
    """Return the seconds to wait after ``attempts`` tries: exponential, with full jitter."""
    ceiling = min(_FIRST_BACKOFF * 2 ** (attempts - 1), _LONGEST_BACKOFF)
    return random.uniform(0, ceiling)  # noqa: S311 - it spreads load, it keeps no secret
