"""Whether to send a request again, and when. Pure, but for the dice."""

from __future__ import annotations

import random
from dataclasses import replace

from airflow_provider_closers.answer import Answer, Verdict

#: The longest ``Retry-After`` that a push waits for by default, in seconds. A longer one (a daily quota, or
#: nonsense) stops the push: a worker should not sit it out.
LONGEST_WAIT = 300.0

_FIRST_BACKOFF = 0.5
#: Seconds between two tries of a request, at most, unless the API asks for more.
LONGEST_BACKOFF = 60.0

#: Where an earlier try was lost, this answer is that try's own effect.
OWN_EFFECT = {"POST": Verdict.EXISTS, "DELETE": Verdict.NOT_FOUND}


def should_retry(answer: Answer, attempts: int, max_attempts: int) -> bool:
    """Tell whether to send a request again after ``attempts`` tries, the last answered so."""
    return answer.verdict.is_transient and attempts < max_attempts


def asks_too_much(answer: Answer, longest_wait: float) -> bool:
    """Tell whether the API asks for more patience than the caller has."""
    return answer.retry_after is not None and answer.retry_after > longest_wait


def backoff(attempts: int) -> float:
    """Return the seconds to wait after ``attempts`` tries: exponential, with full jitter."""
    ceiling = min(_FIRST_BACKOFF * 2 ** (attempts - 1), LONGEST_BACKOFF)
    return random.uniform(0, ceiling)  # noqa: S311 - it spreads load, it keeps no secret


class Tries:
    """
    The tries of one request, and what they come to together.

    :param method: The request's method.
    :param max_attempts: How many tries there are, at most.
    :param is_lost: Whether an earlier process may have sent the request and not seen its answer.
    """

    __slots__ = ("_max_attempts", "_method", "count", "is_lost")

    def __init__(self, method: str, max_attempts: int, *, is_lost: bool = False) -> None:
        self._method = method
        self._max_attempts = max_attempts
        self.is_lost = is_lost
        self.count = 0

    @property
    def may_find_own_effect(self) -> bool:
        """Whether another try may find what an earlier one did."""
        return self.is_lost and self._method in OWN_EFFECT

    def final(self, answer: Answer) -> Answer | None:
        """
        Note the answer to one more try.

        :return: The request's answer; ``None`` where it should be tried again.
        """
        self.count += 1
        if self.is_lost and answer.verdict is OWN_EFFECT.get(self._method):
            return replace(answer, verdict=Verdict.OK, is_assumed=True)
        self.is_lost = self.is_lost or answer.may_have_worked
        if should_retry(answer, self.count, self._max_attempts):
            return None
        return replace(answer, may_have_worked=True) if self.is_lost else answer


class RetryBudget:
    """
    Keeps retries to a share of what works, so that an API in trouble is not asked ever more often.

    Each retry costs a token, each useful answer earns a part of one, and time earns some: records
    can't be dropped for want of tokens, so their retries wait, and never for ever.
    """

    _MOST = 100.0
    _PER_USEFUL_ANSWER = 0.5
    _PER_SECOND = 10.0

    def __init__(self, now: float) -> None:
        self._tokens = self._MOST
        self._counted_at = now

    def earn(self) -> None:
        """Note a useful answer."""
        self._tokens = min(self._tokens + self._PER_USEFUL_ANSWER, self._MOST)

    def next_moment(self, now: float) -> float:
        """Return when the next retry may leave: ``now``, or later."""
        self._tokens = min(self._tokens + (now - self._counted_at) * self._PER_SECOND, self._MOST)
        self._counted_at = now
        return now + max(1.0 - self._tokens, 0.0) / self._PER_SECOND

    def spend(self) -> None:
        """Note a retry."""
        self._tokens -= 1.0
