"""One sync: reads the source, checks the limits, pushes what changed, keeps the snapshot."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_closers.address import mask_email
from airflow_provider_closers.choices import check_choice
from airflow_provider_closers.errors import (
    ClosersConfigError,
    InvalidProspectError,
    SourceShrunkError,
    TooManyDeletesError,
)
from airflow_provider_closers.prospect import Prospect, RecordRules
from airflow_provider_closers.push.engine import Meter, Push, Suppression
from airflow_provider_closers.push.reading import Reader, Refusal, Transform
from airflow_provider_closers.push.rejects import RejectSink, as_sink
from airflow_provider_closers.push.report import Outcome, PushReport, Reject
from airflow_provider_closers.push.retry import LONGEST_WAIT
from airflow_provider_closers.push.source import Unreadable
from airflow_provider_closers.push.window import Client
from airflow_provider_closers.settings import ClosersSettings
from airflow_provider_closers.sync.changes import Change, ChangesAsTheyAre, Kind, SyncRoute
from airflow_provider_closers.sync.limits import Limits, Removal
from airflow_provider_closers.sync.plan import GONE, Plan
from airflow_provider_closers.sync.report import SyncReport
from airflow_provider_closers.sync.snapshot import Snapshot

log = logging.getLogger(__name__)

#: Changes of each kind that are shown in the log.
_SAMPLE = 5
#: Changes that are noted at once before they are sent, at least ...
_IN_DOUBT_AT_ONCE = 100
#: ... and in no more batches than this.
_BATCHES = 50


@dataclass(frozen=True, kw_only=True)
class Sync:
    """
    One sync of the CRM with a source.

    :param client: Sends a request once.
    :param settings: Concurrency, pace and tries.
    :param snapshot: What is certain of the people in the CRM; loaded, or begun anew.
    :param rules: How to read each record.
    :param transform: Is given each record, and returns it as the rules should read it, or ``None``
        to drop it.
    :param removal: What becomes of those who are gone from the source.
    :param limits: How many may be gone.
    :param if_missing: Where a known person was removed from the CRM by somebody else: ``skip``
        (they are not brought back), ``create`` or ``fail``.
    :param suppression: Addresses not to send; those who are deleted are added.
    :param preview: Read and check everything, log what would be done, and do nothing.
    :param on_reject: Called with each reject, in this thread.
    :param longest_wait: Seconds of ``Retry-After`` that the sync sits out; a longer one stops it.
    :param on_interrupt: Called with the report of a sync that ends with an exception.
    :param meter: Is told how the push of the changes goes.
    :param check: Called between records that are settled; what it raises ends the sync.
    :param confirm: Called before the snapshot is written anew; what it raises ends the sync.
    :raises ClosersConfigError: One of them is unusable.
    """

    client: Client
    settings: ClosersSettings
    snapshot: Snapshot
    rules: RecordRules
    transform: Transform | None = None
    removal: Removal = field(default_factory=Removal)
    limits: Limits = field(default_factory=Limits)
    if_missing: str = "skip"
    suppression: Suppression | None = None
    preview: bool = False
    on_reject: Callable[[Reject], None] | None = None
    longest_wait: float = LONGEST_WAIT
    on_interrupt: Callable[[PushReport], None] | None = None
    meter: Meter | None = None
    check: Callable[[], None] = lambda: None
    confirm: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        check_choice("if_missing", self.if_missing, ("skip", "create", "fail"))

    def run(self, records: Iterable[Any]) -> SyncReport:
        """
        Read the whole source, then send what changed.

        A refused key or an outage ends the sync early: the report says so in ``error``. What else
        ends it early is raised, when what was confirmed is kept.

        :raises SourceShrunkError: More are gone than may be; nothing was sent.
        :raises TooManyDeletesError: More would be deleted than may be; nothing was sent.
        """
        return _Run(self).run(records)


class _Run:
    """One run of a sync, in the caller's thread."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync
        self._on_reject: RejectSink = as_sink(sync.on_reject)
        self._reader = Reader(sync.rules, sync.transform)
        self._removed_fields = _removed_fields(sync)
        self._plan = Plan(sync.snapshot)
        self._route = SyncRoute(sync.if_missing)
        self._changes = _Changes(self._plan, sync, self._route)
        # Keys of people who are gone, and must not be written to.
        self._let_go: list[str] = []
        # Known people who are on the suppression list: should they be let back in, all of them is sent.
        self._suppressed: list[str] = []
        self._report = SyncReport(preview=sync.preview)
        self._began = time.monotonic()

    def run(self, records: Iterable[Any]) -> SyncReport:
        try:
            self._read_source(records)
            self._plan_removals()
            self._say_plan()
            if not self._sync.preview:
                self._push()
        except BaseException:
            self._end_early()
            raise
        self._account()
        log.info("%s", self._report)
        return self._report

    # -- the source

    def _read_source(self, records: Iterable[Any]) -> None:
        if self._sync.suppression is not None and self._sync.removal.on_removed == "delete":
            # One that can't grow is to be found out now.
            self._sync.suppression.add(())
        for index, record in enumerate(records):
            if index == 0 and not self._sync.preview:
                self._on_reject.start_over()
            self._report.read = index + 1
            self._note(index, record)
        self._on_reject.flush()

    def _note(self, index: int, record: Any) -> None:
        """Note a record of the source, and settle it where nothing is to be sent."""
        prospect = self._reader.read(record)
        if prospect is None:
            return self._report.count(Outcome.FILTERED)
        if isinstance(prospect, Refusal):
            if prospect.person is None:
                self._plan.see_somebody()
            else:
                self._plan.see(prospect.person)
            original = record.raw if isinstance(record, Unreadable) else record
            return self._reject(Reject(index, original, prospect.reason, email=prospect.email))
        if self._sync.suppression is not None and prospect.email in self._sync.suppression:
            if prospect.email in self._sync.snapshot:
                self._suppressed.append(prospect.email)
            self._plan.see(prospect.email)
            return self._report.count(Outcome.SUPPRESSED)
        return self._note_prospect(index, record, prospect)

    def _note_prospect(self, index: int, record: Any, prospect: Prospect) -> None:
        change = self._plan.add(index, prospect)
        if isinstance(change, int):
            reason = (
                f"its email is that of record {change}, too, which is the one that counts; "
                "a sync takes one record of each person"
            )
            return self._reject(Reject(index, record, reason, email=mask_email(prospect.email)))
        self._report.withheld_flags += prospect.withheld_flags
        if change is None:
            self._count_unchanged(prospect)
        return None

    def _count_unchanged(self, prospect: Prospect) -> None:
        if outcome := self._sync.snapshot.outcome_of(prospect.email):
            self._report.count(Outcome(outcome))
        else:
            self._report.unchanged += 1

    # -- those who are gone

    def _plan_removals(self) -> None:
        known, removed = self._plan.known(), self._plan.gone()
        before = self._plan.removed_before()
        self._report.removed = removed + sum(before.values())
        for outcome, people in before.items():
            self._report.count(Outcome(outcome), people)
        kind = {"flag": Kind.FLAG, "delete": Kind.DELETE}.get(self._sync.removal.on_removed)
        if self._plan.strangers and removed:
            self._report.postponed = removed
            log.warning(
                "%d records can't be read so far that it is known whose they are. One of them may be that of "
                "somebody who seems to be gone: the removal of %d people waits until all can be read.",
                self._plan.strangers,
                removed,
            )
        elif kind is None:
            self._report.kept = removed
        else:
            self._plan_requests(kind)
        self._plan.finish()
        self._check_limits(known, removed)

    def _plan_requests(self, kind: Kind) -> None:
        listed = self._sync.suppression
        for place, (key, email) in enumerate(self._plan.emails_of_the_gone(), self._report.read):
            if kind is Kind.FLAG and listed is not None and email in listed:
                self._let_go.append(key)
                self._report.count(Outcome.SUPPRESSED)
            else:
                self._plan.remove(kind, place, key, email, self._removed_fields)

    def _check_limits(self, known: int, removed: int) -> None:
        deletes = self._plan.count(Kind.DELETE)
        try:
            self._sync.limits.check(known=known, removed=removed, deletes=deletes)
        except (SourceShrunkError, TooManyDeletesError) as e:
            if not self._sync.preview:
                raise
            log.warning("%s", e)

    # -- the push

    def _push(self) -> None:
        push = Push(
            client=self._sync.client,
            settings=self._sync.settings,
            route=self._route,
            rules=ChangesAsTheyAre(),
            on_reject=lambda reject: self._on_reject(_of_the_source(reject)),
            on_settled=self._on_settled,
            longest_wait=self._sync.longest_wait,
            on_interrupt=self._take_over,
            meter=self._sync.meter,
        )
        if len(self._plan):
            self._take_over(push.run(self._changes))
        self._on_reject.flush()
        self._changes.take_back_unmade()
        if self._report.error is not None:
            self._sync.snapshot.flush()
            return
        if self._report.kept:
            self._sync.snapshot.forget_all(GONE)
        for key in self._let_go:
            self._sync.snapshot.forget(key)
        for email in self._suppressed:
            self._sync.snapshot.distrust(email)
        self._sync.confirm()
        # With rejects the task may fail, and be tried again.
        self._sync.snapshot.save(is_last_try=not self._report.rejected)

    def _on_settled(self, change: Change, outcome: Outcome) -> None:
        self._sync.check()
        if outcome is Outcome.REJECTED or (outcome is Outcome.MISSING and not change.kind.is_removal):
            return  # It stays in doubt, and is tried again next time.
        self._changes.made(change)
        if change.kind.is_removal:
            self._sync.snapshot.forget(change.key, outcome)
        else:
            self._sync.snapshot.settle(change.key, change.email, change.digests, outcome)
        self._sync.snapshot.keep_up()

    def _take_over(self, pushed: PushReport) -> None:
        self._report.add(replace(pushed, rejects=[_of_the_source(reject) for reject in pushed.rejects]))
        self._report.pace = pushed.pace

    # -- accounting

    def _reject(self, reject: Reject) -> None:
        self._on_reject(reject)
        self._report.note_reject(reject)
        self._report.count(Outcome.REJECTED)

    def _account(self) -> None:
        report = self._report
        report.total = report.read + report.removed
        report.unresolved = report.total - report.settled
        report.seconds = time.monotonic() - self._began

    def _end_early(self) -> None:
        """Keep what was confirmed, and pass the report on; there may be little time."""
        with contextlib.suppress(Exception):  # what ended the sync tells more
            self._sync.check()  # The journal may be another run's by now.
            self._changes.take_back_unmade()
            self._sync.snapshot.flush()
        with contextlib.suppress(Exception):
            self._on_reject.flush()
        self._account()
        if self._sync.on_interrupt is not None:
            with contextlib.suppress(Exception):
                self._sync.on_interrupt(self._report)

    def _say_plan(self) -> None:
        say = "would be" if self._sync.preview else "are to be"
        for kind in Kind:
            if count := self._plan.count(kind):
                log.info("%s: %s %s sent, such as", kind, f"{count:,}", say)
                for change in self._plan.some(kind, _SAMPLE):
                    what = ", ".join(change.changed or change.fields) or "the email alone"
                    log.info("  %s: %s", mask_email(change.email), what)
        log.info(
            "unchanged: %s; removed and kept: %s; removal postponed: %s",
            *(f"{count:,}" for count in (self._report.unchanged, self._report.kept, self._report.postponed)),
        )


class _Changes:
    """
    The plan's changes, as many as it says, each noted as in doubt before it is sent.

    That is made to outlive the process for some at once, the more the more there are: on an object
    store it takes as long as a request or longer. A run that is killed leaves so many to be sent again.
    """

    def __init__(self, plan: Plan, sync: Sync, route: SyncRoute) -> None:
        self._plan = plan
        self._snapshot = sync.snapshot
        self._suppression = sync.suppression
        self._route = route
        # Keys of new people who are noted, though nothing is confirmed of them.
        self._new: set[str] = set()

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Change]:
        for batch in self._plan.in_batches(max(_IN_DOUBT_AT_ONCE, len(self) // _BATCHES)):
            erased = [change.email for change in batch if change.kind is Kind.DELETE]
            if erased and self._suppression is not None:
                self._suppression.add(erased)  # Before any of them is.
            for change in batch:
                if change.kind is Kind.NEW and not self._snapshot.holds(change.key):
                    self._new.add(change.key)
                self._snapshot.doubt(change.key, change.email, self._route.doubtful(change))
            self._snapshot.flush()
            yield from batch

    def made(self, change: Change) -> None:
        """Note that a change is confirmed."""
        self._new.discard(change.key)
        self._route.may_be_there.discard(change.key)

    def take_back_unmade(self) -> None:
        """
        Forget the new people whom the CRM refused, or was not asked about: they are none of the sync's.

        Else whoever made them there by hand would see them removed, should they leave the source.
        """
        for key in self._new - self._route.may_be_there:
            self._snapshot.forget(key)
        self._new.clear()


def _of_the_source(reject: Reject) -> Reject:
    """Return a push's reject as one of the source: with the record's place there, and what was to be sent."""
    change = reject.record
    return replace(reject, index=change.index, record=change.as_record)


def _removed_fields(sync: Sync) -> dict[str, Any]:
    """Return what is sent of those who are gone."""
    field = sync.removal.field
    if field is None:
        return {}
    try:
        return sync.rules.read({"email": "somebody@example.com", field: True}).fields
    except InvalidProspectError as e:
        raise ClosersConfigError(
            f"removed_field is {field!r}, which can't be set to true; name a status flag, or a name in "
            f"other_attributes. ({e})"
        ) from None
