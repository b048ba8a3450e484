"""One push: reads the input, and accounts for every record of it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

from airflow_provider_closers.address import mask_email
from airflow_provider_closers.choices import check_number
from airflow_provider_closers.errors import CheckpointDroppedError
from airflow_provider_closers.prospect import Prospect, RecordRules
from airflow_provider_closers.push.checkpoint import (
    Checkpoint,
    InputChangedError,
    Record,
    is_usable,
)
from airflow_provider_closers.push.history import History
from airflow_provider_closers.push.journey import Router
from airflow_provider_closers.push.progress import Progress, table
from airflow_provider_closers.push.reading import Reader, Refusal, Transform
from airflow_provider_closers.push.rejects import RejectSink, as_sink
from airflow_provider_closers.push.report import Outcome, PushReport, Reject
from airflow_provider_closers.push.retry import LONGEST_WAIT
from airflow_provider_closers.push.saver import Saver
from airflow_provider_closers.push.source import Source, Unreadable
from airflow_provider_closers.push.window import Client, Entry, Window
from airflow_provider_closers.settings import ClosersSettings

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOG_LINES = 10.0
#: Seconds that requests under way get to end once the push was told to stop. (Airflow kills a process five
#: seconds after SIGTERM: with a second to cut them off, and to save, this is what is left.)
_SECONDS_TO_DRAIN = 2.5
#: Seconds spent on counting the records that a stopped push will not send.
_SECONDS_TO_COUNT = 10.0
#: Records that go onto the suppression list in one write.
_ERASURES_AT_ONCE = 1_000
#: Seconds for which the records of one write are waited for.
_SECONDS_FOR_ERASURES = 1.0


class Suppression(Protocol):
    """Addresses that must not be contacted again."""

    def __contains__(self, email: str, /) -> bool:
        """Tell whether an address is on the list."""

    def add(self, emails: Iterable[str], /) -> None:
        """Put addresses on the list, for good when this returns."""


class Meter(Protocol):
    """Is told how a push goes, for those who watch over many of them."""

    def note(self, report: PushReport, latencies: Sequence[float], /) -> None:
        """
        Take note of a push's figures; called when it begins, now and then, and when it ends.

        :param report: How it stands. When it begins, it counts what earlier tries came to.
        :param latencies: Seconds from request to answer, of some of the requests since the last call.
        """


@dataclass(frozen=True, kw_only=True)
class Push:
    """
    One operation, applied to a stream of records.

    :param client: Sends a request once. A stopped push may :meth:`~.window.Client.abort` it.
    :param settings: Concurrency, pace and tries.
    :param route: What to do with each record.
    :param rules: How to read each record.
    :param transform: Is given each record, and returns it as the rules should read it, or ``None``
        to drop it.
    :param suppression: Addresses not to send; those erased are added.
    :param preview: Read and check everything, send nothing.
    :param on_reject: Called with each reject, in this thread.
    :param on_settled: Called with each record that was sent, and its outcome, in this thread.
    :param checkpoint: Where to keep how far the push got.
    :param longest_wait: Seconds of ``Retry-After`` that the push sits out; a longer one stops it.
    :param on_interrupt: Called with the report of a push that ends with an exception.
    :param meter: Is told how the push goes, in this thread.
    """

    client: Client
    settings: ClosersSettings
    route: Router
    rules: RecordRules
    transform: Transform | None = None
    suppression: Suppression | None = None
    preview: bool = False
    on_reject: Callable[[Reject], None] | None = None
    on_settled: Callable[[Any, Outcome], None] | None = None
    checkpoint: Checkpoint | None = None
    longest_wait: float = LONGEST_WAIT
    on_interrupt: Callable[[PushReport], None] | None = None
    meter: Meter | None = None

    def __post_init__(self) -> None:
        check_number("longest_wait", self.longest_wait, 0, 86_400)

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
        if not isinstance(records, Source | Collection):
            raise CheckpointDroppedError(
                "The checkpoint was made on another input, host or set of rules, and this input may be one "
                "that can be read only once; the checkpoint is dropped: run again to start over."
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
        self._window = Window(push.client, push.settings, push.route, push.longest_wait)
        self._reader = Reader(push.rules, push.transform)
        # Records that were read before their turn, by their index.
        self._read_ahead: dict[int, Prospect | Refusal | None] = {}
        self._under_way: dict[int, Entry] = {}
        self._read = 0

        purpose = f"{push.settings.base_url} {push.route!r} {push.rules!r}"
        checkpoint = None if push.preview else push.checkpoint
        self._history = History()
        self._saver = Saver(checkpoint, rejects, purpose, self._window.capacity)
        self._is_complete = False
        self._has_meter_failed = False

        self._started = time.monotonic()
        self._log_at = self._started + _SECONDS_BETWEEN_LOG_LINES

    def run(self, records: Iterable[Any], state: dict[str, Any] | None) -> PushReport:
        to_do: Iterator[Record] = enumerate(records)
        if state:
            to_do = chain(self._resume(to_do, state), to_do)
        self._note_moment()
        self._measure()
        self._progress = Progress(_length_of(records), self._report.total - self._report.unresolved)
        if self._push.suppression is not None and self._push.route.operation == "delete":
            to_do = self._with_erasures_listed(to_do)
        try:
            to_do = self._begin(to_do, is_resumed=bool(state))
            self._push_all(to_do)
            self._close_window()
        except BaseException:
            self._window.stop()
            try:
                self._close_window()
            finally:
                with contextlib.suppress(Exception):  # what ended the push tells more
                    self._settle_rest()
                self._finish(records, to_do)
                self._report_interrupt()
            raise
        try:
            self._settle_rest()
            self._is_complete = not self._window.was_cut_short
        finally:
            self._finish(records, to_do)
        return self._report

    def _begin(self, to_do: Iterator[Record], *, is_resumed: bool) -> Iterator[Record]:
        """Read the first record; before there is one, the rejects of the last push are not dropped."""
        first = list(islice(to_do, 1))
        if not is_resumed and not self._push.preview:
            self._on_reject.start_over()
        return chain(first, to_do)

    def _close_window(self) -> None:
        try:
            self._window.close(_SECONDS_TO_DRAIN)
        except BaseException:  # It was told to stop once more, and waits no longer.
            self._push.client.abort()
            raise

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
        if self._saver.is_due_before(index):
            self._save()
        self._saver.read(index, record)
        ahead = self._read_ahead
        prospect = ahead.pop(index) if index in ahead else self._reader.read(record)
        if prospect is None:
            return self._count(index, Outcome.FILTERED)
        if isinstance(prospect, Refusal):
            return self._reject(Reject(index, _original(record), prospect.reason, email=prospect.email))
        if self._is_suppressed(prospect):
            return self._count(index, Outcome.SUPPRESSED)
        if self._push.preview:
            self._report.withheld_flags += prospect.withheld_flags
            return None
        entry = Entry(index, record, prospect, self._saver.may_have_been_sent(index))
        self._under_way[index] = entry
        return self._window.add(entry)

    def _is_suppressed(self, prospect: Prospect) -> bool:
        listed, operation = self._push.suppression, self._push.route.operation
        return listed is not None and operation != "delete" and prospect.email in listed

    def _with_erasures_listed(self, to_do: Iterator[Record]) -> Iterator[Record]:
        """Put addresses on the suppression list before any of them is erased."""
        failure: Exception | None = None
        while not failure:
            batch, failure = _read_some(to_do)
            if not batch and not failure:
                return
            self._read_ahead = {index: self._reader.read(record) for index, record in batch}
            if not self._push.preview and not self._window.is_stopped:
                read = self._read_ahead.values()
                emails = [prospect.email for prospect in read if isinstance(prospect, Prospect)]
                self._push.suppression.add(emails)  # type: ignore[union-attr]
            yield from batch
        raise failure

    # -- accounting

    def _account_for_settled(self) -> None:
        for entry in self._window.take_settled():
            if self._push.on_settled is not None:
                # First: a record that is counted, and not noted, would be lost to who goes by the notes.
                self._push.on_settled(entry.record, entry.outcome)
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
        self._report.note_reject(reject)
        self._count(reject.index, Outcome.REJECTED)

    def _count(self, index: int, outcome: Outcome) -> None:
        self._report.count(outcome)
        self._under_way.pop(index, None)
        self._saver.settle(index)

    def _settle_rest(self) -> None:
        self._account_for_settled()
        self._on_reject.flush()

    def _finish(self, records: Iterable[Any], to_do: Iterator[Record]) -> None:
        self._note_moment()
        self._saver.save_last(
            self._report,
            is_complete=self._is_complete,
            under_way={index: entry.is_doubtful for index, entry in self._under_way.items()},
        )
        self._report.error = self._window.error
        self._update_report(self._count_unread(records, to_do))
        log.info("%s", table(self._report, self._window))
        self._measure()

    def _report_interrupt(self) -> None:
        try:
            if self._push.on_interrupt is not None:
                self._push.on_interrupt(self._report)
        except Exception:
            log.warning("The report of the interrupted push can't be passed on.", exc_info=True)

    def _count_unread(self, records: Iterable[Any], to_do: Iterator[Record]) -> int:
        """Count what a stopped push has not read, without reading for long."""
        if self._is_complete:
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
        report.unresolved = report.total - report.settled
        report.requests = self._requests_before + self._window.requests
        report.retries = self._retries_before + self._window.retries
        report.throttled = self._throttled_before + self._window.throttled
        report.seconds = self._seconds

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _note_moment(self) -> None:
        self._update_report()
        report = self._report
        self._history.note(
            (report.seconds, report.settled, report.requests, report.retries, report.throttled)
        )
        report.pace = self._history.moments

    def _measure(self) -> None:
        if self._push.meter is None or self._has_meter_failed:
            return
        latencies = [*self._window.latencies]
        self._window.latencies.clear()
        try:
            self._push.meter.note(self._report, latencies)
        except Exception:
            log.warning("The push can't be measured.", exc_info=True)
            self._has_meter_failed = True

    def _keep_posted(self) -> None:
        now = time.monotonic()
        if self._history.is_due(self._seconds):
            self._note_moment()
        if now >= self._log_at:
            self._log_at = now + _SECONDS_BETWEEN_LOG_LINES
            self._update_report()
            log.info("%s", self._progress.line(self._report, self._window))
            self._measure()
        if self._saver.is_due(now):
            self._save()

    def _save(self) -> None:
        self._update_report()
        self._saver.save(self._report)

    # -- what an earlier try came to

    _requests_before = 0
    _retries_before = 0
    _throttled_before = 0
    _seconds_before = 0.0

    def _resume(self, numbered: Iterator[Record], state: dict[str, Any]) -> list[Record]:
        """Take over the counts of an earlier try and return the records it left."""
        still_open = self._saver.resume(numbered, state)
        counts = dict(state["counts"])
        self._requests_before = counts.pop("requests")
        self._retries_before = counts.pop("retries")
        self._throttled_before = counts.pop("throttled")
        self._seconds_before = counts.pop("seconds")
        self._report.withheld_flags = counts.pop("withheld_flags")
        self._report.may_pass = counts.pop("may_pass")
        self._report.reasons.update(state["reasons"])
        self._history = History(state["pace"])
        for outcome, records in counts.items():
            self._report.count(Outcome(outcome), records)
        self._report.rejects = [
            Reject(reject["index"], None, reject["reason"], email=reject["email"])
            for reject in state["rejects"]
        ]
        self._read = state["read"]
        open_before = frozenset(state["open"])
        self._on_reject.resume(lambda index: index < state["read"] and index not in open_before)
        log.info(
            "Resumed: %d records are settled, %d of those read are not.",
            state["read"] - len(still_open),
            len(still_open),
        )
        return still_open


def _read_some(to_do: Iterator[Record]) -> tuple[list[Record], Exception | None]:
    """Return the next records, as many as go onto a list in one write, and what the input raised, if so."""
    batch: list[Record] = []
    until = time.monotonic() + _SECONDS_FOR_ERASURES
    try:
        for numbered_record in islice(to_do, _ERASURES_AT_ONCE):
            batch.append(numbered_record)
            if time.monotonic() > until:
                break
    except Exception as e:  # noqa: BLE001 - raised when those before it are on their way
        return batch, e
    return batch, None


def _original(record: Any) -> Any:
    """Return what the user finds in the source in this record's place."""
    return record.raw if isinstance(record, Unreadable) else record


def _length_of(records: Iterable[Any]) -> int | None:
    try:
        return len(records)  # type: ignore[arg-type]
    except TypeError:
        return None
