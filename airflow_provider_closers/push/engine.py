"""One push: reads the input, and accounts for every record of it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

from airflow_provider_closers.errors import ClosersConfigError, InvalidProspectError
from airflow_provider_closers.prospect import Prospect, RecordRules, mask_email
from airflow_provider_closers.push.checkpoint import (
    Checkpoint,
    InputChangedError,
    Ledger,
    Record,
    is_usable,
)
from airflow_provider_closers.push.journey import Route
from airflow_provider_closers.push.progress import Progress, table
from airflow_provider_closers.push.rejects import RejectSink, as_sink
from airflow_provider_closers.push.report import REJECTS_KEPT, Outcome, PushReport, Reject
from airflow_provider_closers.push.window import Client, Entry, Window
from airflow_provider_closers.settings import ClosersSettings

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOG_LINES = 10.0
_SECONDS_BETWEEN_SAVES = 5.0
#: Where a save takes longer than this, it is not to a disk of this machine, and is worth to be spared ...
_SECONDS_OF_A_SLOW_SAVE = 0.005
#: ... so that saving takes no more than this part of the time.
_SHARE_FOR_SAVING = 0.05
#: Seconds that requests under way get to end once the push was told to stop.
_SECONDS_TO_DRAIN = 5.0
#: Seconds spent on counting the records that a stopped push will not send.
_SECONDS_TO_COUNT = 10.0
#: Records that go onto the suppression list in one write.
_ERASURES_AT_ONCE = 1_000


class Suppression(Protocol):
    """Addresses that must not be contacted again."""

    def __contains__(self, email: str, /) -> bool:
        """Tell whether an address is on the list."""

    def add(self, emails: Iterable[str], /) -> None:
        """Put addresses on the list, for good when this returns."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """
    One operation, applied to a stream of records.

    :param client: Sends a request once. A stopped push may :meth:`~.window.Client.abort` it.
    :param settings: Concurrency, pace and tries.
    :param route: What to do with each record.
    :param rules: How to read each record.
    :param suppression: Addresses not to send; those erased are added.
    :param preview: Read and check everything, send nothing.
    :param on_reject: Called with each reject, in this thread.
    :param checkpoint: Where to keep how far the push got.
    """

    client: Client
    settings: ClosersSettings
    route: Route
    rules: RecordRules
    suppression: Suppression | None = None
    preview: bool = False
    on_reject: Callable[[Reject], None] | None = None
    checkpoint: Checkpoint | None = None

    def run(self, records: Iterable[Any]) -> PushReport:
        """
        Push every record, and account for every record.

        A refused key or an outage ends the push early: the report says so in ``error`` and counts
        the rest as ``unresolved``. What the input or ``on_reject`` raises, a signal or Ctrl-C ends
        it early too, and is raised again when the requests under way have ended.
        """
        rejects = as_sink(self.on_reject)
        if state := self._state():
            try:
                return _Run(self, rejects).run(records, state)
            except InputChangedError:
                self._forget(records)
                rejects.start_over()
        return _Run(self, rejects).run(records, None)

    def _state(self) -> dict[str, Any] | None:
        """Return where an earlier try stopped, ``None`` where there is nothing to go on from."""
        state = self.checkpoint.load() if self.checkpoint and not self.preview else None
        if state and not is_usable(state, self.route.operation):
            log.warning("The checkpoint is of another operation or version, or damaged: starting over.")
            return None
        return state

    def _forget(self, records: Iterable[Any]) -> None:
        """Give up the checkpoint of another input."""
        assert self.checkpoint is not None  # noqa: S101 - it is where the state came from
        self.checkpoint.save({})
        if iter(records) is records:
            raise ClosersConfigError(
                "The checkpoint was made on another input, host or set of rules, and this input can be read "
                "only once; the checkpoint is dropped: run again to start over."
            )
        log.warning("The checkpoint was made on another input, host or set of rules: starting over.")


class _Run:
    """
    One run of a push: the part in the caller's thread, which reads, counts, saves and logs.

    A signal can interrupt it anywhere. So nothing is deduced from a record that is half accounted
    for: ``unresolved`` is what was read and has no other outcome.
    """

    def __init__(self, push: Push, rejects: RejectSink) -> None:
        self._push = push
        self._on_reject = rejects
        self._report = PushReport(operation=push.route.operation, preview=push.preview)
        self._window = Window(push.client, push.settings, push.route)
        self._under_way: dict[int, Entry] = {}
        self._read = 0

        purpose = f"{push.settings.base_url} {push.route!r} {push.rules!r}"
        self._ledger = Ledger(purpose) if push.checkpoint and not push.preview else None
        # What is not below it is not sent before the next save, so that a state foresees what a
        # killed push sent after it.
        self._announced = 0
        # What an earlier try may have sent: what it announced, or where it had the time to say, these.
        self._announced_before = 0
        self._doubtful: frozenset[int] | None = None

        self._started = self._saved_at = time.monotonic()
        self._log_at = self._started + _SECONDS_BETWEEN_LOG_LINES
        self._save_at = self._started + _SECONDS_BETWEEN_SAVES
        self._read_when_saved = 0
        self._saves_took = deque([0.0], maxlen=5)

    def run(self, records: Iterable[Any], state: dict[str, Any] | None) -> PushReport:
        to_do: Iterator[Record] = enumerate(records)
        if state:
            to_do = chain(self._resume(to_do, state), to_do)
            self._update_report()
        self._progress = Progress(_length_of(records), self._report.total - self._report.unresolved)
        if self._push.suppression is not None and self._push.route.operation == "delete":
            to_do = self._with_erasures_listed(to_do)
        try:
            self._push_all(to_do)
        except BaseException:
            self._window.stop()
            self._window.close(_SECONDS_TO_DRAIN)
            with contextlib.suppress(Exception):  # what ended the push tells more
                self._settle_rest()
            self._finish(records, to_do)
            raise
        self._window.close(_SECONDS_TO_DRAIN)
        try:
            self._settle_rest()
        finally:
            self._finish(records, to_do)
        return self._report

    def _push_all(self, to_do: Iterator[Record]) -> None:
        while not self._window.is_stopped:
            numbered_record = next(to_do, None)
            if numbered_record is None:
                break
            self._admit(*numbered_record)
            self._account_for_settled()
            self._keep_posted()
            if self._window.size >= self._window.capacity:
                # Half a window at a time: to wake for each settled record would cost as much as to send it.
                self._wait(self._window.capacity // 2)
        self._window.last_is_in()
        self._wait(0)

    def _wait(self, at_most: int) -> None:
        """Wait until no more than so many records are under way, accounting for those that end."""
        while self._window.size > at_most and not self._window.is_stopped:
            self._window.wait(at_most, 1.0)
            self._account_for_settled()
            self._keep_posted()
        self._account_for_settled()

    # -- into the window

    def _admit(self, index: int, record: Any) -> None:
        """Send a record on its way, or settle it where nothing is to be sent."""
        self._read = max(self._read, index + 1)
        if self._ledger:
            if index >= self._announced:
                self._save()
            self._ledger.read(index, record)
        try:
            prospect = self._push.rules.read(record)
        except InvalidProspectError as e:
            return self._refuse(index, record, str(e))
        except Exception as e:  # noqa: BLE001 - a record is a stranger's object: reading it may do anything
            return self._refuse(index, record, f"reading the record raised {type(e).__name__}")
        if self._is_suppressed(prospect):
            return self._count(index, Outcome.SUPPRESSED)
        if self._push.preview:
            self._report.withheld_flags += prospect.withheld_flags
            return None
        entry = Entry(index, record, prospect, self._may_have_been_sent(index))
        self._under_way[index] = entry
        return self._window.add(entry)

    def _refuse(self, index: int, record: Any, reason: str) -> None:
        """Reject a record that breaks the rules."""
        self._reject(Reject(index, record, reason, email=mask_email(self._push.rules.email_in(record))))

    def _is_suppressed(self, prospect: Prospect) -> bool:
        listed, operation = self._push.suppression, self._push.route.operation
        return listed is not None and operation != "delete" and prospect.email in listed

    def _may_have_been_sent(self, index: int) -> bool:
        if self._doubtful is not None:
            return index in self._doubtful
        return index < self._announced_before

    def _with_erasures_listed(self, to_do: Iterator[Record]) -> Iterator[Record]:
        """Put addresses on the suppression list before any of them is erased."""
        while batch := list(islice(to_do, _ERASURES_AT_ONCE)):
            if not self._push.preview and not self._window.is_stopped:
                self._push.suppression.add(self._emails_in(batch))  # type: ignore[union-attr]
            yield from batch

    def _emails_in(self, batch: list[Record]) -> Iterator[str]:
        for _, record in batch:
            try:
                yield self._push.rules.read(record).email
            except Exception:  # noqa: BLE001, S112 - it becomes a reject when its turn comes
                continue

    # -- accounting

    def _account_for_settled(self) -> None:
        for entry in self._window.take_settled():
            if entry.outcome is Outcome.REJECTED:
                email = mask_email(entry.prospect.email)
                self._reject(
                    Reject(entry.index, entry.record, entry.reason, entry.attempts, entry.status, email)
                )
            else:
                self._report.withheld_flags += entry.prospect.withheld_flags
                self._count(entry.index, entry.outcome)

    def _reject(self, reject: Reject) -> None:
        self._on_reject(reject)  # Should it raise, the record stays open: its reject is not safe.
        if len(self._report.rejects) < REJECTS_KEPT:
            self._report.rejects.append(reject)
        self._count(reject.index, Outcome.REJECTED)

    def _count(self, index: int, outcome: Outcome) -> None:
        self._report.count(outcome)
        self._under_way.pop(index, None)
        if self._ledger:
            self._ledger.settle(index)

    def _settle_rest(self) -> None:
        self._account_for_settled()
        self._on_reject.flush()

    def _finish(self, records: Iterable[Any], to_do: Iterator[Record]) -> None:
        self._save(is_final=True)
        self._report.error = self._window.error
        self._update_report(self._count_unread(records, to_do))
        log.info("%s", table(self._report, self._window))

    def _count_unread(self, records: Iterable[Any], to_do: Iterator[Record]) -> int:
        """Count what a stopped push has not read, without reading for long."""
        if not self._window.was_cut_short:
            return 0
        if (length := _length_of(records)) is not None:
            return max(length - self._read, 0)
        if self._window.error is None:
            return 0  # Stopped from outside: there is no time to read on.
        count, until = 0, time.monotonic() + _SECONDS_TO_COUNT
        try:
            for _ in to_do:
                count += 1
                if time.monotonic() > until:
                    log.warning("The input goes on; what follows is not read and not counted.")
                    break
        except Exception:
            log.warning("The input failed while a stopped push counted it.", exc_info=True)
        return count

    def _update_report(self, unread: int = 0) -> None:
        report = self._report
        report.total = self._read + unread
        settled = sum(n for name, n in report.outcomes.items() if name != Outcome.UNRESOLVED)
        report.unresolved = report.total - settled
        report.requests = self._requests_before + self._window.requests
        report.retries = self._retries_before + self._window.retries
        report.seconds = self._seconds_before + time.monotonic() - self._started

    def _keep_posted(self) -> None:
        now = time.monotonic()
        if now >= self._log_at:
            self._log_at = now + _SECONDS_BETWEEN_LOG_LINES
            self._update_report()
            log.info("%s", self._progress.line(self._report, self._window))
        if now >= self._save_at:
            self._save()

    # -- checkpoint

    _requests_before = 0
    _retries_before = 0
    _seconds_before = 0.0

    def _resume(self, numbered: Iterator[Record], state: dict[str, Any]) -> list[Record]:
        """Take over the counts of an earlier try and return the records it left."""
        assert self._ledger is not None  # noqa: S101 - there is a checkpoint
        still_open = self._ledger.resume(numbered, state)
        self._announced_before = state["announced"]
        if (doubtful := state.get("doubtful")) is not None:
            self._doubtful = frozenset(doubtful)
        counts = dict(state["counts"])
        self._requests_before = counts.pop("requests")
        self._retries_before = counts.pop("retries")
        self._seconds_before = counts.pop("seconds")
        self._report.withheld_flags = counts.pop("withheld_flags")
        for outcome, records in counts.items():
            self._report.count(Outcome(outcome), records)
        self._report.rejects = [
            Reject(reject["index"], None, reject["reason"], email=reject["email"])
            for reject in state["rejects"]
        ]
        self._read = self._read_when_saved = state["read"]
        open_before = frozenset(state["open"])
        self._on_reject.resume(lambda index: index < state["read"] and index not in open_before)
        log.info(
            "Resumed: %d records are settled, %d of those read are not.",
            state["read"] - len(still_open),
            len(still_open),
        )
        return still_open

    def _save(self, *, is_final: bool = False) -> None:
        """Keep how far the push got, the rejects first: what counts as rejected must be in their file."""
        began = time.monotonic()
        try:
            self._on_reject.flush()
            if self._ledger and self._push.checkpoint:
                self._announced = self._read + (0 if is_final else self._next_stride(began))
                is_done = is_final and not self._window.was_cut_short
                self._push.checkpoint.save({} if is_done else self._state(is_final=is_final))
        except Exception:
            # It only spares work: without it, or with an older one, a later try sends more than it must.
            log.warning("The checkpoint can't be saved.", exc_info=True)
        self._saved_at, self._read_when_saved = time.monotonic(), self._read
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
        # One less, for the record that is being read.
        room = max(self._window.capacity - len(self._ledger.still_open) - 1, 0)
        seconds_to_save = min(self._saves_took)  # one that was slow by chance says nothing
        if seconds_to_save < _SECONDS_OF_A_SLOW_SAVE:
            return room
        per_second = (self._read - self._read_when_saved) / max(now - self._saved_at, 1e-6)
        return max(room, int(per_second * seconds_to_save / _SHARE_FOR_SAVING))

    def _state(self, *, is_final: bool) -> dict[str, Any]:
        assert self._ledger is not None  # noqa: S101 - there is a checkpoint
        self._update_report()
        report = self._report.as_dict()
        counts = {name: n for name, n in self._report.outcomes.items() if name != Outcome.UNRESOLVED}
        counts |= {name: report[name] for name in ("withheld_flags", "requests", "retries", "seconds")}
        return {
            "operation": self._report.operation,
            **self._ledger.state(self._announced),
            # Which of the open records were sent is known only when nothing more is sent.
            "doubtful": self._doubtful_now() if is_final else None,
            "counts": counts,
            "rejects": report["rejects"],
        }

    def _doubtful_now(self) -> list[int]:
        """Return which of the open records may have been sent, now that nothing more is."""
        assert self._ledger is not None  # noqa: S101 - there is a checkpoint
        not_read = range(self._read, self._announced_before)
        return [
            index
            for index in chain(self._ledger.still_open, not_read)
            if (
                self._under_way[index].is_doubtful
                if index in self._under_way
                else self._may_have_been_sent(index)
            )
        ]


def _length_of(records: Iterable[Any]) -> int | None:
    try:
        return len(records)  # type: ignore[arg-type]
    except TypeError:
        return None
