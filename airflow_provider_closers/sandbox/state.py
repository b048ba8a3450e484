"""Everything that the sandbox remembers, behind one lock."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow_provider_closers.sandbox.crm import Crm
from airflow_provider_closers.sandbox.journal import Journal
from airflow_provider_closers.sandbox.misbehaviour import Fault, FaultQueue, RateLimit, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

Part = Literal["prospects", "journal", "faults", "settings"]
PARTS: tuple[Part, ...] = get_args(Part)

DEFAULT_API_KEY = "sandbox-key"
DEFAULT_JOURNAL_SIZE = 10_000


class SandboxState:
    """
    The account with its prospects, the journal, and the ways in which the sandbox misbehaves.

    The server changes it on its event loop, tests and control endpoints from other threads: whoever
    reads or writes more than one thing of it holds ``lock``.

    :param api_key: The key that the API accepts.
    :param settings: The settings to start with, and to go back to on a reset.
    :param journal_size: How many requests the journal keeps.
    :param seed: Makes what is left to chance repeatable.
    """

    def __init__(
        self,
        *,
        api_key: str = DEFAULT_API_KEY,
        settings: Settings | None = None,
        journal_size: int = DEFAULT_JOURNAL_SIZE,
        seed: int | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.api_key = api_key
        self.settings = self._started_with = settings or Settings()
        self.crm = Crm(ignore_email_case=self.settings.ignore_email_case)
        self.journal = Journal(journal_size)
        self.faults = FaultQueue()
        self.rate_limit = RateLimit()
        self.chance = random.Random(seed)  # noqa: S311 - decides about faults, not about secrets
        self.in_flight = 0
        #: Grows with each reset: a request that began before one must not write after it.
        self.era = 0
        self._seed = seed
        self._held: dict[asyncio.Future[bool], asyncio.AbstractEventLoop] = {}

    def configure(self, changes: dict[str, Any]) -> Settings:
        """
        Change settings; the others stay.

        :raises ValueError: A setting is unknown or its value is not allowed; nothing was changed.
        """
        with self.lock:
            settings = self.settings.changed(changes)
            self.crm.set_ignore_email_case(settings.ignore_email_case)
            self.settings = settings
            return settings

    def reset(self, keep: Iterable[Part] = ()) -> None:
        """
        Go back to the start; requests that are held up at the moment end without effect or answer.

        :param keep: What stays as it is: ``prospects``, ``journal``, ``faults``, ``settings``.
        :raises ValueError: ``keep`` names something else, or the prospects that are kept clash with the
            settings that come back; nothing was reset.
        """
        kept = set(keep)
        if unknown := kept.difference(PARTS):
            raise ValueError(f"keep: {', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
        with self.lock:
            if "prospects" not in kept:
                self.crm.clear()
            if "settings" not in kept:
                self.configure(self._started_with.model_dump())
            self.era += 1
            if "journal" not in kept:
                self.journal.clear()
            if "faults" not in kept:
                self.faults.clear()
            self.rate_limit.clear()
            self.chance.seed(self._seed)
        self.release_held()

    async def hold(self, seconds: float | None) -> bool:
        """
        Hold up a request.

        :param seconds: For how long; ``None``: until :meth:`release_held`.
        :return: False where it was released before its time.
        """
        loop = asyncio.get_running_loop()
        held: asyncio.Future[bool] = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, _settle, held, True)
        with self.lock:
            self._held[held] = loop
        try:
            return await held
        finally:
            with self.lock:
                del self._held[held]
            if timer is not None:
                timer.cancel()

    def release_held(self) -> None:
        """Let go of every request that is held up, from whichever thread."""
        with self.lock:
            for held, loop in self._held.items():
                # The loop may have been closed, and its requests be gone with it.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_settle, held, False)

    def stats(self) -> dict[str, Any]:
        """Return the counts that the page shows."""
        with self.lock:
            return {
                "prospects": len(self.crm),
                "requests": {**self.journal.counts(), "in_flight": self.in_flight},
            }

    def add_faults(self, faults: Iterable[Fault]) -> None:
        """Let faults wait for their requests, in this order."""
        with self.lock:
            for fault in faults:
                self.faults.add(fault)


def _settle(held: asyncio.Future[bool], outcome: bool) -> None:
    if not held.done():
        held.set_result(outcome)
