"""The window of records in flight, and the accounting."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

from airflow_provider_closers.answer import Verdict
from airflow_provider_closers.errors import ClosersConfigError, ClosersUnavailableError, InvalidProspectError
from airflow_provider_closers.prospect import Prospect, RecordRules, mask_email
from airflow_provider_closers.push.checkpoint import (
    Checkpoint,
    InputChangedError,
    Ledger,
    Record,
    is_usable,
)
from airflow_provider_closers.push.journey import RecordRefusedError, Route
from airflow_provider_closers.push.pace import Pacer
from airflow_provider_closers.push.report import REJECTS_KEPT, Outcome, PushReport, Reject
from airflow_provider_closers.push.sender import Client, PushStoppedError, Sender
from airflow_provider_closers.settings import ClosersSettings

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOG_LINES = 10.0
_SECONDS_BETWEEN_CHECKPOINTS = 5.0
#: Seconds that requests under way get to end once the push was told to stop.
_SECONDS_TO_DRAIN = 10.0
#: Seconds spent on counting the records that a stopped push will not send.
_SECONDS_TO_COUNT = 10.0
#: Records that go onto the suppression list in one write.
_ERASURES_AT_ONCE = 1_000

_NO_USE = frozenset({Verdict.UNAVAILABLE, Verdict.RATE_LIMITED, Verdict.NOT_THE_API})


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

    :param client: Sends a request once.
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
        if state := self._state():
            try:
                return _Run(self).run(records, state)
            except InputChangedError:
                self._forget(records)
        return _Run(self).run(records, None)

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
        # A file of rejects that goes on from an earlier try holds those of the other input.
        if start_over := getattr(self.on_reject, "start_over", None):
            start_over()
        if iter(records) is records:
            raise ClosersConfigError(
                "The checkpoint was made on another input, host or set of rules, and this input can be read "
                "only once; the checkpoint is dropped: run again to start over."
            )
        log.warning("The checkpoint was made on another input, host or set of rules: starting over.")


@dataclass(slots=True)
class _Entry:
    """A record in the window, and in the end what became of it."""

    index: int
    record: Any
    prospect: Prospect
    attempts: int = 0
    outcome: Outcome = Outcome.UNRESOLVED
    reason: str = ""
    status: int | None = None
    verdict: Verdict | None = None


class _Run:
    """One run of a push. Only its own thread reads, counts and logs; the workers only send."""

    def __init__(self, push: Push) -> None:
        self._push = push
        self._report = PushReport(operation=push.route.operation, preview=push.preview)
        purpose = f"{push.settings.base_url} {push.route!r} {push.rules!r}"
        self._ledger = Ledger(purpose) if push.checkpoint and not push.preview else None
        settings = push.settings
        self._sender = Sender(push.client, Pacer(settings.requests_per_second), settings.max_attempts)
        self._window = 2 * settings.max_concurrency
        self._in_window = 0
        # Per email in flight, the records of the same email that wait for it.
        self._lanes: dict[str, deque[_Entry]] = {}
        self._done: queue.SimpleQueue[_Entry] = queue.SimpleQueue()
        # Given up without a useful answer since the last that got one: rejects, unless it is an outage.
        self._unanswered: list[_Entry] = []
        self._started = time.monotonic()
        self._log_at = self._started + _SECONDS_BETWEEN_LOG_LINES
        self._save_at = self._started + _SECONDS_BETWEEN_CHECKPOINTS

    def run(self, records: Iterable[Any], state: dict[str, Any] | None) -> PushReport:
        to_do: Iterator[Record] = enumerate(records)
        if state:
            to_do = chain(self._resume(to_do, state), to_do)
        if self._push.suppression is not None and self._push.route.operation == "delete":
            to_do = self._with_erasures_listed(to_do)
        self._workers = ThreadPoolExecutor(self._push.settings.max_concurrency, "closers-push")
        try:
            self._push_all(to_do)
        except BaseException:
            self._sender.stop()
            self._drain(_SECONDS_TO_DRAIN)
            raise
        finally:
            self._workers.shutdown(wait=False, cancel_futures=True)
            self._finish(records, to_do)
        return self._report

    def _push_all(self, to_do: Iterator[Record]) -> None:
        while not self._sender.is_stopped:
            numbered_record = next(to_do, None)
            if numbered_record is None:
                break
            self._admit(*numbered_record)
            self._settle_what_is_done()
            while self._in_window >= self._window:
                self._wait_for_one()
        self._drain()
        if not self._sender.is_stopped:
            self._reject_unanswered()

    # -- into the window

    def _admit(self, index: int, record: Any) -> None:
        """Send a record on its way, or settle it where nothing is to be sent."""
        if self._ledger:
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
            return self._report.count(Outcome.UNRESOLVED)
        return self._depart(_Entry(index, record, prospect))

    def _refuse(self, index: int, record: Any, reason: str) -> None:
        """Reject a record that breaks the rules."""
        self._reject(Reject(index, record, reason, email=mask_email(self._push.rules.email_in(record))))

    def _is_suppressed(self, prospect: Prospect) -> bool:
        listed, operation = self._push.suppression, self._push.route.operation
        return listed is not None and operation != "delete" and prospect.email in listed

    def _depart(self, entry: _Entry) -> None:
        self._in_window += 1
        # Nobody documents whether the API minds the case of an email: treated as one, two records
        # can't overtake each other either way.
        email = entry.prospect.email.casefold()
        if email in self._lanes:
            self._lanes[email].append(entry)
        else:
            self._lanes[email] = deque()
            self._workers.submit(self._work, entry)

    def _with_erasures_listed(self, to_do: Iterator[Record]) -> Iterator[Record]:
        """Put addresses on the suppression list before any of them is erased."""
        while batch := list(islice(to_do, _ERASURES_AT_ONCE)):
            if not self._push.preview and not self._sender.is_stopped:
                self._push.suppression.add(self._emails_in(batch))  # type: ignore[union-attr]
            yield from batch

    def _emails_in(self, batch: list[Record]) -> Iterator[str]:
        for _, record in batch:
            try:
                yield self._push.rules.read(record).email
            except Exception:  # noqa: BLE001, S112 - it becomes a reject when its turn comes
                continue

    # -- in the workers' threads

    def _work(self, entry: _Entry) -> None:
        try:
            self._travel(entry)
        except PushStoppedError:
            pass
        except Exception as e:
            log.exception("Record %d failed in an unforeseen way.", entry.index)
            entry.verdict = Verdict.UNAVAILABLE  # Should all fail so, it is an outage.
            entry.outcome, entry.reason = Outcome.REJECTED, f"sending the record raised {type(e).__name__}"
        finally:
            self._done.put(entry)

    def _travel(self, entry: _Entry) -> None:
        journey = self._push.route.start(entry.prospect)
        try:
            request = next(journey)
            while True:
                sent = self._sender.send(request)
                entry.attempts += sent.attempts
                entry.verdict = sent.answer.verdict
                request = journey.send(sent.answer)
        except StopIteration as end:
            entry.outcome = end.value
        except RecordRefusedError as e:
            if self._sender.is_stopped and entry.verdict in _NO_USE:
                return  # It was cut short, not refused.
            entry.outcome, entry.reason, entry.status = Outcome.REJECTED, e.reason, e.status

    # -- out of the window

    def _settle_what_is_done(self) -> None:
        while True:
            try:
                self._settle(self._done.get_nowait())
            except queue.Empty:
                return self._keep_posted()

    def _wait_for_one(self, timeout: float = 1.0) -> None:
        with contextlib.suppress(queue.Empty):
            self._settle(self._done.get(timeout=timeout))
        self._keep_posted()

    def _drain(self, seconds: float = float("inf")) -> None:
        until = time.monotonic() + seconds
        while self._in_window and time.monotonic() < until:
            self._wait_for_one(0.2)

    def _settle(self, entry: _Entry) -> None:
        self._in_window -= 1
        self._send_next_of(entry.prospect.email.casefold())
        if entry.outcome is Outcome.UNRESOLVED:
            self._report.count(Outcome.UNRESOLVED)
        elif entry.outcome is Outcome.REJECTED and entry.verdict in _NO_USE:
            self._unanswered.append(entry)
            self._watch_for_an_outage(entry.reason)
        else:
            self._settle_for_good(entry)
            self._reject_unanswered()

    def _settle_for_good(self, entry: _Entry) -> None:
        if entry.outcome is Outcome.REJECTED:
            email = mask_email(entry.prospect.email)
            self._reject(Reject(entry.index, entry.record, entry.reason, entry.attempts, entry.status, email))
        else:
            self._report.withheld_flags += entry.prospect.withheld_flags
            self._count(entry.index, entry.outcome)

    def _reject_unanswered(self) -> None:
        while self._unanswered:
            self._settle_for_good(self._unanswered.pop(0))

    def _send_next_of(self, email: str) -> None:
        if waiting := self._lanes[email]:
            self._workers.submit(self._work, waiting.popleft())
        else:
            del self._lanes[email]

    def _watch_for_an_outage(self, reason: str) -> None:
        """Stop when a whole window of records in a row was given up without a useful answer."""
        if len(self._unanswered) >= max(self._push.settings.max_concurrency, 10):
            self._sender.stop(
                ClosersUnavailableError(
                    f"The last {len(self._unanswered)} records got no useful answer ({reason}); "
                    "the push is stopped so as not to reject them and the rest."
                )
            )

    # -- accounting

    def _count(self, index: int, outcome: Outcome) -> None:
        self._report.count(outcome)
        if self._ledger:
            self._ledger.settle(index)

    def _reject(self, reject: Reject) -> None:
        if self._push.on_reject:
            try:
                self._push.on_reject(reject)
            except BaseException:
                self._report.count(Outcome.UNRESOLVED)  # Its reject is not safe: it stays open.
                raise
        if len(self._report.rejects) < REJECTS_KEPT:
            self._report.rejects.append(reject)
        self._count(reject.index, Outcome.REJECTED)

    def _finish(self, records: Iterable[Any], to_do: Iterator[Record]) -> None:
        self._save(is_final=True)
        # What is still under way now was abandoned.
        self._report.count(Outcome.UNRESOLVED, self._in_window + len(self._unanswered))
        if self._sender.is_stopped:
            self._report.count(Outcome.UNRESOLVED, self._count_unread(records, to_do))
        self._update_report()
        self._report.error = self._sender.error
        log.info("%s", self._report)

    def _count_unread(self, records: Iterable[Any], to_do: Iterator[Record]) -> int:
        """Count what a stopped push has not read, without reading for long."""
        try:
            return max(len(records) - self._report.total, 0)  # type: ignore[arg-type]
        except TypeError:
            pass
        if self._sender.error is None:
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

    def _update_report(self) -> None:
        self._report.requests = self._requests_before + self._sender.requests
        self._report.retries = self._retries_before + self._sender.retries
        self._report.seconds = self._seconds_before + time.monotonic() - self._started

    def _keep_posted(self) -> None:
        now = time.monotonic()
        if now >= self._log_at:
            self._log_at = now + _SECONDS_BETWEEN_LOG_LINES
            self._update_report()
            log.info("%s; %d under way", self._report, self._in_window)
        if now >= self._save_at:
            self._save_at = now + _SECONDS_BETWEEN_CHECKPOINTS
            self._save()

    # -- checkpoint

    _requests_before = 0
    _retries_before = 0
    _seconds_before = 0.0

    def _resume(self, numbered: Iterator[Record], state: dict[str, Any]) -> list[Record]:
        """Take over the counts of an earlier try and return the records it left."""
        assert self._ledger is not None  # noqa: S101 - there is a checkpoint
        still_open = self._ledger.resume(numbered, state)
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
        log.info(
            "Resumed: %d records are settled, %d of those read are not.", self._report.total, len(still_open)
        )
        return still_open

    def _save(self, *, is_final: bool = False) -> None:
        if self._ledger is None or self._push.checkpoint is None:
            return
        try:
            self._push.checkpoint.save({} if is_final and not self._sender.is_stopped else self._state())
        except Exception:
            # It only spares work: without it, or with an older one, a later try sends more than it must.
            log.warning("The checkpoint can't be saved.", exc_info=True)

    def _state(self) -> dict[str, Any]:
        assert self._ledger is not None  # noqa: S101 - there is a checkpoint
        self._update_report()
        report = self._report.as_dict()
        counts = {name: n for name, n in self._report.outcomes.items() if name != Outcome.UNRESOLVED}
        counts |= {name: report[name] for name in ("withheld_flags", "requests", "retries", "seconds")}
        return {
            "operation": self._report.operation,
            **self._ledger.state(),
            "counts": counts,
            "rejects": report["rejects"],
        }
