"""One request on its own, outside of a push: tried until it is settled."""

from __future__ import annotations

import threading
import time

from airflow_provider_closers.answer import Answer
from airflow_provider_closers.push.journey import Request
from airflow_provider_closers.push.pace import Pacer
from airflow_provider_closers.push.retry import Tries, asks_too_much, backoff
from airflow_provider_closers.push.window import Client
from airflow_provider_closers.settings import ClosersSettings

# A caller who waits for one answer has less patience than a push: a longer Retry-After is raised.
_LONGEST_WAIT = 5.0


class Caller:
    """
    Sends single requests, again where it makes sense; safe to share between threads.

    :param client: Sends a request once.
    :param settings: Pace and tries.
    """

    def __init__(self, client: Client, settings: ClosersSettings) -> None:
        self._client = client
        self._max_attempts = settings.max_attempts
        self._pacer = Pacer(settings.requests_per_second)
        self._lock = threading.Lock()

    def call(self, request: Request) -> Answer:
        """Return the final answer; never raises for what the network does."""
        tries = Tries(request.method, self._max_attempts)
        while True:
            sent_at = self._wait_for_a_moment()
            answer = self._client.send(request.method, request.body)
            final = tries.final(answer)
            if asks_too_much(answer, _LONGEST_WAIT):
                return final or answer
            with self._lock:
                self._pacer.note(answer, sent_at, time.monotonic())
            if final:
                return final
            if not answer.retry_after:  # Zero asks for nothing that the pacer could see to.
                time.sleep(backoff(tries.count))

    def _wait_for_a_moment(self) -> float:
        while True:
            with self._lock:
                now = time.monotonic()
                moment = self._pacer.next_moment()
                if moment <= now:
                    self._pacer.leave(now)
                    return now
            time.sleep(moment - now)
