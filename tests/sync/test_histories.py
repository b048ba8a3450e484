"""
Random histories of a source, with faults and kills: after each quiet run the CRM is as the source says.

A kill is played by the files: those that lay there at a moment in the middle of a run are put back
after it, so that the run is forgotten from then on, though not by the CRM.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_closers.client import ClosersClient
from airflow_provider_closers.errors import SnapshotError, SourceShrunkError, TooManyDeletesError
from airflow_provider_closers.prospect import RecordRules
from airflow_provider_closers.sandbox.server import SandboxServer
from airflow_provider_closers.settings import ClosersSettings
from airflow_provider_closers.suppression import SuppressionList
from airflow_provider_closers.sync.limits import Limits, Removal
from airflow_provider_closers.sync.report import SyncReport
from airflow_provider_closers.sync.run import Sync
from airflow_provider_closers.sync.snapshot import Snapshot

EMAILS = [f"{name}@acme.io" for name in ("ada", "bea", "cyd", "dee", "eve", "fay", "Gus", "Hal")]
MAX_DELETES = 3
MAX_REMOVED = 0.75

emails = st.sampled_from(EMAILS)
words = st.sampled_from(["a", "b", "c"])
people = st.fixed_dictionaries(
    {"first_name": words},
    optional={
        "title": st.none() | words,
        "replied": st.none() | st.booleans(),
        "plan": words,
        "city": st.none() | words,
    },
)
#: What can go wrong with a request; some of these refuse a record for good, one stops the run.
faults = st.sampled_from(
    [
        {"kind": "error"},
        {"kind": "error", "status": 422},
        {"kind": "error", "status": 422, "writes": True},
        {"kind": "error", "status": 401},
        {"kind": "error", "times": 3, "writes": True},
        {"kind": "drop"},
        {"kind": "drop", "times": 4},
        {"kind": "reset_before"},
        {"kind": "truncate"},
        {"kind": "empty"},
        {"kind": "html"},
    ]
)
changes = st.lists(
    st.tuples(st.just("write"), st.tuples(emails, people))
    | st.tuples(st.just("leave"), emails)
    | st.tuples(st.just("take back"), st.none())
    | st.tuples(st.just("shrink"), st.integers(0, 5)),
    min_size=1,
    max_size=3,
)
#: Records that break the rules: of a person, or of nobody knows whom.
BROKEN = {"first_name": 7}
STRANGER = {"first_name": "nobody"}


class KilledError(BaseException):
    """Ends a run where a process would be killed."""


class Histories(RuleBasedStateMachine):
    """A source, the CRM, and what people do to either between two runs."""

    def __init__(self, sandbox: SandboxServer, folder: Path) -> None:
        super().__init__()
        self.sandbox = sandbox
        sandbox.reset()
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.snapshot = folder / "people.snapshot"
        self.list = folder / "list"
        self.source: dict[str, dict[str, Any]] = {}
        self.broken: set[str] = set()
        self.has_stranger = False
        self.listed: set[str] = set()
        #: Whom a person removed from the CRM: a sync does not bring them back.
        self.removed_by_hand: set[str] = set()
        #: Of whom the sync knows nothing any more, though they may be in the CRM.
        self.forgotten: set[str] = set()

    @initialize(
        on_removed=st.sampled_from(["keep", "flag", "delete", "delete"]),
        if_missing=st.sampled_from(["skip", "create"]),
        other_attribute=st.sampled_from(["merge", "replace"]),
        exists_dialect=st.sampled_from(["409", "400", "422", "422_errors", "200"]),
        missing_dialect=st.sampled_from(["404", "400", "422", "422_errors", "200"]),
        first=st.dictionaries(emails, people, min_size=3),
    )
    def begin(self, on_removed: str, if_missing: str, first: dict[str, Any], **misbehaviour: str) -> None:
        self.sandbox.configure(**misbehaviour)
        self.on_removed, self.if_missing = on_removed, if_missing
        self.source = self.source_then = dict(first)
        self.quiet_run(full_resync=True)

    # -- what changes in the source

    def _change(self, changes: list[tuple[str, Any]]) -> None:
        for what, whom in changes:
            match what:
                case "write":
                    email, person = whom
                    self.source[email] = person
                case "leave":
                    self.source.pop(whom, None)
                case "shrink":
                    self.source = dict(list(self.source.items())[:whom])
                case "take back":
                    # As it was when the CRM was last as it says: what was under way since is undone.
                    self.source = dict(self.source_then)

    @rule(email=emails)
    def break_a_record(self, email: str) -> None:
        self.broken ^= {email}

    @rule()
    def add_or_remove_a_stranger(self) -> None:
        self.has_stranger = not self.has_stranger

    # -- what else happens

    @rule(email=emails)
    def list_somebody(self, email: str) -> None:
        self.listed.add(email)
        with self.list.open("a") as file:
            file.write(f"{email.upper()}\n")

    @rule(email=emails)
    def remove_by_hand(self, email: str) -> None:
        others = [prospect for prospect in self.sandbox.prospects() if prospect["email"] != email]
        self.sandbox.reset(keep=["journal", "faults", "settings"])
        self.sandbox.add_prospects(others)
        self.removed_by_hand.add(email)

    @rule()
    def lose_the_snapshot(self) -> None:
        self.snapshot.unlink()
        since = self._last_request()
        with pytest.raises(SnapshotError):
            self._run()
        assert self.sandbox.journal(since=since) == []
        self.quiet_run(full_resync=True)

    # -- runs

    @rule(changes=changes, faults=st.lists(st.tuples(faults, st.integers(0, 4)), min_size=1, max_size=3))
    def noisy_run(self, changes: list[Any], faults: list[tuple[dict[str, Any], int]]) -> None:
        self._change(changes)
        for fault, after in faults:
            self.sandbox.add_fault(**fault, after=after)
        self._watched_run()
        self.sandbox.reset(keep=["prospects", "journal", "settings"])

    @rule(changes=changes, at=st.integers(1, 3), goes_on=st.booleans())
    def killed_run(self, changes: list[Any], at: int, goes_on: bool) -> None:
        self._change(changes)
        seen, copy = [], self.folder / "copy"

        def kill() -> None:
            seen.append(1)
            if len(seen) == at:
                shutil.copytree(self.folder, copy)
                if not goes_on:
                    raise KilledError

        self._watched_run(check=kill)
        if copy.exists():
            # The list stays: the file itself grows before a request leaves.
            for name in ("people.snapshot", "people.snapshot.journal"):
                (self.folder / name).unlink(missing_ok=True)
                if (copy / name).exists():
                    shutil.move(copy / name, self.folder / name)
            shutil.rmtree(copy)

    @rule(changes=changes)
    def preview(self, changes: list[Any]) -> None:
        self._change(changes)
        before, since = self._files(), self._last_request()
        self._watched_run(preview=True)
        assert self._files() == before
        assert self.sandbox.journal(since=since) == []

    @rule(changes=changes)
    def quiet_run(self, changes: list[Any] = (), full_resync: bool = False) -> None:
        self._change(changes)
        if full_resync:
            pushed = set(self.source) - self.broken - self.listed
            self.forgotten |= {prospect["email"] for prospect in self.sandbox.prospects()} - pushed
        report = self._watched_run(full_resync=full_resync)
        if report is not None:
            assert report.error is None
            self.source_then = dict(self.source)
            self._check_crm(is_removal_due=not report.postponed)
            again = self._watched_run()
            # Whom somebody removed by hand is asked for each time.
            assert again is None or again.requests == again.missing

    def _watched_run(self, **parts: Any) -> SyncReport | None:
        """Run, and see that nobody was written to who must not be; ``None`` where the run did not end."""
        since, listed = self._last_request(), {email.casefold() for email in self.listed}
        there = {key.casefold() for key in self.source}
        try:
            return self._run(**parts)
        except (SourceShrunkError, TooManyDeletesError):
            assert self.sandbox.journal(since=since) == []
            return None
        except KilledError:
            return None
        finally:
            sent = self.sandbox.journal(since=since)
            written_to = {entry.email.casefold() for entry in sent if entry.method != "DELETE"}
            deleted = {entry.email.casefold() for entry in sent if entry.method == "DELETE"}
            # A refusal is taken at its word; who was created all the same is none of the sync's.
            self.forgotten |= {entry.email for entry in sent if entry.wrote and entry.status == 422}
            assert not written_to & listed
            assert not deleted & there
            assert len(deleted) <= (MAX_DELETES if self.on_removed == "delete" else 0)
            if self.on_removed == "delete":
                self.listed |= {email for email in EMAILS if email.casefold() in deleted}

    def _run(
        self, *, full_resync: bool = False, check: Callable[[], None] = lambda: None, preview: bool = False
    ) -> SyncReport:
        account = ClosersSettings(
            api_key=self.sandbox.api_key, base_url=self.sandbox.url, max_concurrency=3, max_attempts=3
        )
        removed_field = "former" if self.on_removed == "flag" else None
        with (
            closing(ClosersClient(account)) as client,
            closing(Snapshot(self.snapshot, account="sandbox")) as snapshot,
        ):
            if full_resync:
                snapshot.start_over()
            else:
                snapshot.load()
            report = Sync(
                client=client,
                settings=account,
                snapshot=snapshot,
                rules=RecordRules(other_attributes="*"),
                removal=Removal(on_removed=self.on_removed, field=removed_field),
                limits=Limits(max_removed=MAX_REMOVED, max_deletes=MAX_DELETES),
                if_missing=self.if_missing,
                suppression=SuppressionList.from_file(self.list, secret="key", create=True),
                preview=preview,
                check=check,
            ).run(self._records())
        assert report.total == report.read + report.removed == sum(report.outcomes.values())
        assert report.read == len(self._records())
        return report

    def _records(self) -> list[dict[str, Any]]:
        records = [
            {"email": email, **(BROKEN if email in self.broken else person)}
            for email, person in self.source.items()
        ]
        return [*records, STRANGER] if self.has_stranger else records

    def _last_request(self) -> int:
        return max((entry.seq for entry in self.sandbox.journal()), default=0)

    def _files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    # -- how the CRM must be

    def _check_crm(self, *, is_removal_due: bool) -> None:
        sent = set(self.source) - self.broken - self.listed
        self.forgotten -= sent
        for email in sent:
            there = self.sandbox.prospect(email)
            if there is None:
                assert email in self.removed_by_hand
            else:
                self.removed_by_hand.discard(email)
                self._check_person(there, self.source[email])
        if self.on_removed == "delete" and is_removal_due:
            others = {prospect["email"] for prospect in self.sandbox.prospects()} - set(self.source)
            assert others <= self.forgotten

    def _check_person(self, there: dict[str, Any], person: dict[str, Any]) -> None:
        attributes = {name: person[name] for name in ("plan", "city") if person.get(name) is not None}
        assert there["firstName"] == person["first_name"]
        if person.get("title") is not None:
            assert there["title"] == person["title"]
        if person.get("replied"):
            assert there["replied"] is True
        assert attributes.items() <= there.get("otherAttribute", {}).items()


@pytest.mark.usefixtures("quick_backoff")
def test_after_each_quiet_run_the_crm_is_as_the_source_says(sandbox, tmp_path):
    run_state_machine_as_test(
        lambda: Histories(sandbox, tmp_path / "history"),
        settings=settings(
            max_examples=120,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
