"""Keeps how far a push got, so that a later try can go on from there."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from airflow_provider_closers.push.checkpoint import Checkpoint, Ledger, Record
from airflow_provider_closers.push.rejects import RejectSink
from airflow_provider_closers.push.report import Outcome, PushReport

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_SAVES = 5.0
#: Where a save takes longer than this, it is not to a disk of this machine, and is worth to be spared ...
_SECONDS_OF_A_SLOW_SAVE = 0.005
#: ... so that saving takes no more than this part of the time.
_SHARE_FOR_SAVING = 0.05
#: Over less than this a rate says nothing: the first window is read at once.
_SECONDS_THAT_SHOW_A_RATE = 0.1


class Saver:
    """
    Saves where a push stands: the rejects, then the checkpoint where there is one.

    :param checkpoint: Where to keep it; without, only the rejects are flushed.
    :param rejects: Flushed first: what counts as rejected must be in their file.
    :param purpose: What is done with the input, and where.
    :param capacity: Records that a killed push may send twice, at most.
    """

    def __init__(
        self, checkpoint: Checkpoint | None, rejects: RejectSink, purpose: str, capacity: int
    ) -> None:
        self._checkpoint = checkpoint
        self._rejects = rejects
        self._ledger = Ledger(purpose) if checkpoint else None
        # What is not below it is not sent before the next save, so that a state foresees what a
        # killed push sent after it.
        self._announced = 0
        # What earlier tries may have sent: what is below this, or where the last had the time to say, these.
        self._announced_before = 0
        self._doubtful: frozenset[int] | None = None

        self._capacity = self._stride = capacity
        self._saved_at = time.monotonic()
        self._save_at = self._saved_at + _SECONDS_BETWEEN_SAVES
        self._read_when_saved = 0
        self._saves_took = deque([0.0], maxlen=5)
        self._has_failed = False

    # -- what the push reads and settles

    def resume(self, numbered: Iterator[Record], state: dict[str, Any]) -> list[Record]:
        """Read the input up to where an earlier try had read it, and return the records that it left open."""
        assert self._ledger is not None  # noqa: S101 - the state is of a checkpoint
        still_open = self._ledger.resume(numbered, state)
        doubtful = state.get("doubtful")
        self._announced_before = max([state["announced"], *(index + 1 for index in doubtful or ())])
        self._doubtful = None if doubtful is None else frozenset(doubtful)
        self._read_when_saved = self._ledger.position
        return still_open

    def read(self, index: int, record: Any) -> None:
        """Note a record as read and open."""
        if self._ledger:
            self._ledger.read(index, record)

    def settle(self, index: int) -> None:
        """Note a record as settled for good."""
        if self._ledger:
            self._ledger.settle(index)

    def may_have_been_sent(self, index: int) -> bool:
        """Tell whether an earlier try may have sent a record."""
        return index < self._announced_before if self._doubtful is None else index in self._doubtful

    # -- when, and what

    def is_due(self, now: float) -> bool:
        """Tell whether it is time to save."""
        return now >= self._save_at

    def is_due_before(self, index: int) -> bool:
        """Tell whether this record must not be sent before the next save."""
        return self._ledger is not None and index >= self._announced

    def save(self, report: PushReport) -> None:
        """Save while the push goes on. Where that fails, it is logged, and tried again some seconds later."""
        if not self._ledger:
            return self._keep(None)
        self._announced = self._ledger.position + self._next_stride(time.monotonic())
        # What is open may be any earlier try's, until it is settled.
        announced = max(self._announced, self._announced_before)
        return self._keep(self._state(report, announced, doubtful=None))

    def save_last(self, report: PushReport, *, is_complete: bool, under_way: Mapping[int, bool]) -> None:
        """
        Save when nothing more is sent.

        :param is_complete: Whether the push came to its end, and there is nothing to go on with.
        :param under_way: Of the records that were under way, whether each may have been sent.
        """
        if not self._ledger or is_complete:
            return self._keep({} if self._ledger else None)
        doubtful = [
            index
            for index in chain(self._ledger.still_open, range(self._ledger.position, self._announced_before))
            if under_way.get(index, self.may_have_been_sent(index))
        ]
        state = self._state(report, self._ledger.position, doubtful)
        if report.settled != state["read"] - len(state["open"]):
            # Stopped between two lines that belong together: what was saved before is older, and right.
            log.warning("The push was stopped while it counted; the checkpoint stays as it was saved before.")
            return None
        return self._keep(state)

    def _keep(self, state: dict[str, Any] | None) -> None:
        began = time.monotonic()
        try:
            self._rejects.flush()
            if self._checkpoint and state is not None:
                self._checkpoint.save(state)
            self._has_failed = False
        except Exception:
            # It only spares work: without it, or with an older one, a later try sends more than it must.
            log.warning("How far the push got can't be saved.", exc_info=not self._has_failed)
            self._has_failed = True
            self._announced = sys.maxsize  # To try again with every record would help nobody.
        self._saved_at = time.monotonic()
        took = self._saved_at - began
        self._saves_took.append(took)
        self._save_at = self._saved_at + max(_SECONDS_BETWEEN_SAVES, took / _SHARE_FOR_SAVING)

    def _next_stride(self, now: float) -> int:
        """
        Return how many records more may be read before the next save.

        Together with those that are open they are a window: what a killed push may send twice. Only
        where saving is slow, and stays so, are they more: so that it takes but a small part of the time.
        """
        assert self._ledger is not None  # noqa: S101 - there is a checkpoint
        read_since = self._ledger.position - self._read_when_saved
        self._read_when_saved = self._ledger.position
        # One less, for the record that is being read.
        room = max(self._capacity - len(self._ledger.still_open) - 1, 0)
        seconds_to_save = min(self._saves_took)  # one that was slow by chance says nothing
        if seconds_to_save < _SECONDS_OF_A_SLOW_SAVE:
            return room
        per_second = read_since / max(now - self._saved_at, _SECONDS_THAT_SHOW_A_RATE)
        # Twice as many each time, at most: a rate that shows for a moment would announce an hour's records.
        self._stride = min(int(per_second * seconds_to_save / _SHARE_FOR_SAVING), 2 * self._stride)
        self._stride = max(self._stride, self._capacity)
        return max(room, self._stride)

    def _state(self, report: PushReport, announced: int, doubtful: list[int] | None) -> dict[str, Any]:
        assert self._ledger is not None  # noqa: S101 - there is a checkpoint
        told = report.as_dict()
        counts = {name: n for name, n in report.outcomes.items() if name != Outcome.UNRESOLVED}
        counts |= {name: told[name] for name in ("requests", "retries", "throttled", "seconds")}
        counts |= {"withheld_flags": report.withheld_flags, "may_pass": report.may_pass}
        return {
            "operation": report.operation,
            **self._ledger.state(announced),
            # Which of the open records were sent is known only when nothing more is sent.
            "doubtful": doubtful,
            "counts": counts,
            "pace": told["pace"],
            "reasons": dict(report.reasons),
            "rejects": told["rejects"],
        }
