"""
Every fault x every operation x every position, over real sockets.

After each push three accounts must agree: the sandbox's prospects, its journal, and our report. The
oracle (`Aftermath`) reads from the journal what happened to each record and says how it must have
ended, by what `docs/retries-and-resume.md` promises; it shares no code with the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_closers.errors import ClosersError
from airflow_provider_closers.push import outage
from airflow_provider_closers.push.journey import Familiarity
from airflow_provider_closers.push.report import PushReport, Reject
from airflow_provider_closers.sandbox.server import SandboxServer

# -- what is pushed


@dataclass(frozen=True)
class Operation:
    """
    An operation, with how a record fares when nothing goes wrong.

    A path is what is sent and what is answered to it. What is in brackets is sent for a record
    that has more than POST takes.
    """

    name: str
    operation: str
    route: dict[str, str]
    #: Path and outcome of a record whose prospect is there already, and of one whose prospect is not.
    present: tuple[str, str]
    missing: tuple[str, str]

    def path(self, person: Person) -> list[str]:
        path, _ = self.present if person.is_present else self.missing
        if "[" in path:
            path = path.replace("[", "").replace("]", "") if person.has_rest else path.partition("[")[0]
        return path.split(", ")

    def outcome(self, person: Person) -> str:
        return self.present[1] if person.is_present else self.missing[1]

    @property
    def ends(self) -> dict[tuple[str, ...], str]:
        """Every whole path, with the outcome that it leads to."""
        return {
            tuple(whole.split(", ")): outcome
            for path, outcome in (self.present, self.missing)
            for whole in (path.partition("[")[0], path.replace("[", "").replace("]", ""))
        }

    @property
    def completes(self) -> bool:
        """Whether a prospect that may be an older one is sent every field after the POST."""
        return self.route.get("if_exists") == "update" or self.name in (
            "upsert-of-new",
            "upsert-of-known",
            "update-or-create",
        )


OPERATIONS = [
    Operation("create", "create", {}, ("POST exists", "existing"), ("POST ok[, PATCH ok]", "created")),
    Operation(
        "create-or-fail",
        "create",
        {"if_exists": "fail"},
        ("POST exists", "rejected"),
        ("POST ok[, PATCH ok]", "created"),
    ),
    Operation(
        "create-or-update",
        "create",
        {"if_exists": "update"},
        ("POST exists, PATCH ok", "updated"),
        ("POST ok[, PATCH ok]", "created"),
    ),
    Operation(
        "upsert-of-new",
        "upsert",
        {},
        ("POST exists, PATCH ok", "updated"),
        ("POST ok[, PATCH ok]", "created"),
    ),
    Operation(
        "upsert-of-known",
        "upsert",
        {},
        ("PATCH ok", "updated"),
        ("PATCH missing, POST ok[, PATCH ok]", "created"),
    ),
    Operation("update", "update", {}, ("PATCH ok", "updated"), ("PATCH missing", "rejected")),
    Operation(
        "update-or-skip",
        "update",
        {"if_missing": "skip"},
        ("PATCH ok", "updated"),
        ("PATCH missing", "missing"),
    ),
    Operation(
        "update-or-create",
        "update",
        {"if_missing": "create"},
        ("PATCH ok", "updated"),
        ("PATCH missing, POST ok[, PATCH ok]", "created"),
    ),
    Operation("delete", "delete", {}, ("DELETE ok", "deleted"), ("DELETE missing", "missing")),
    Operation(
        "delete-or-fail",
        "delete",
        {"if_missing": "fail"},
        ("DELETE ok", "deleted"),
        ("DELETE missing", "rejected"),
    ),
]
#: One that can take each path, for what takes long.
FEW_OPERATIONS = [how for how in OPERATIONS if how.name in ("create-or-update", "update-or-create", "delete")]


@dataclass(frozen=True)
class Person:
    """One record, and what the CRM knows of it before."""

    index: int
    is_present: bool
    #: Whether the record has fields that POST does not take.
    has_rest: bool

    @property
    def email(self) -> str:
        return f"p{self.index}@acme.io"

    @property
    def record(self) -> dict[str, Any]:
        rest = {"title": "CTO", "replied": True, "bounced": False} if self.has_rest else {}
        return {"email": self.email, "first_name": "New", "plan": "pro", **rest}

    #: The same as the API knows it: what POST takes, and what has to follow.
    @property
    def basics(self) -> dict[str, Any]:
        return {"email": self.email, "firstName": "New", "otherAttribute": {"plan": "pro"}}

    @property
    def rest(self) -> dict[str, Any]:
        return {"email": self.email, **({"title": "CTO", "replied": True} if self.has_rest else {})}

    @property
    def before(self) -> dict[str, Any] | None:
        old = {"email": self.email, "firstName": "Old", "lastName": "Hand", "bounced": True}
        return old if self.is_present else None


def crowd(count: int) -> list[Person]:
    """Records of all four kinds, in turn; the last has more than POST takes and is missing."""
    kinds = list(product((True, False), (False, True)))
    return [Person(i, *kinds[i % 4]) for i in range(count)]


# -- what goes wrong

AGAIN = "again"  # It was answered that nothing was done: it is tried again.
LOST = "lost"  # It may have been done or not: it is tried again, and what it then finds is its own doing.
FINE = "fine"  # An odd way to say that it went well.
FINAL = "final"  # The record is rejected.
FOREIGN = "foreign"  # Not the API's: the record is rejected, unless it goes on like that and the push ends.
STOP = "stop"  # The push ends.


ALL_POSITIONS = ("first", "last", "mid", "any")
SLOW = ("last", "mid")


@dataclass(frozen=True)
class Mishap:
    """One way to go wrong, as the sandbox injects it and as the promises have it treated."""

    name: str
    means: str
    kind: str
    details: dict[str, Any] = field(default_factory=dict)
    #: Fewer where it takes its time; then it also meets fewer operations.
    positions: tuple[str, ...] = ALL_POSITIONS

    def strike(self, sandbox: SandboxServer, **where: Any) -> None:
        details = self.details
        if isinstance(ahead := details.get("retry_after"), float):
            # A date has whole seconds: rounded up, so that it lies so far ahead, or up to a second more.
            details = details | {"retry_after": formatdate(int(time.time()) + 1 + ahead, usegmt=True)}
        sandbox.add_fault(self.kind, **details, **where)  # type: ignore[arg-type]


def error(status: int, means: str = AGAIN, *, writes: bool = False) -> Mishap:
    name = f"{status}-done" if writes else str(status)
    return Mishap(name, means, "error", {"status": status, "writes": writes})


def hint(status: int, name: str, value: int | str | float, means: str = AGAIN, **more: Any) -> Mishap:
    """A Retry-After; a float is a date so many seconds ahead."""
    return Mishap(f"{status}-{name}", means, "error", {"status": status, "retry_after": value}, **more)


MISHAPS = [
    # no answer, or not the whole of it
    Mishap("reset", LOST, "reset_before"),
    Mishap("reset-done", LOST, "reset_before", {"writes": True}),
    Mishap("dropped", LOST, "drop", {"writes": False}),
    Mishap("dropped-done", LOST, "drop"),
    Mishap("truncated-done", LOST, "truncate"),
    Mishap("timeout", LOST, "hang", {"writes": False}, ("last",)),
    Mishap("timeout-done", LOST, "hang", {}, SLOW),
    Mishap("dripping", LOST, "drip", {"writes": False}, ("last",)),
    Mishap("dripping-done", LOST, "drip", {}, SLOW),
    # the whole answer, but not as usual
    Mishap("closed-after", FINE, "close"),
    Mishap("empty", FINE, "empty"),
    # overloaded, or out of order
    error(408),
    error(500),
    error(502, LOST),
    error(503),
    error(504, LOST, writes=True),
    Mishap("empty-500", AGAIN, "empty", {"status": 500, "writes": False}),
    Mishap("429", AGAIN, "error", {"status": 429}, ("last",)),
    hint(503, "wait-0", 0),
    hint(503, "wait-till-date", 0.0, positions=("last",)),
    hint(503, "wait-till-past-date", "Wed, 21 Oct 2015 07:28:00 GMT"),
    # a Retry-After that makes no sense, or asks too much
    *(hint(503, f"wait-{value}", value) for value in ("-5", "soon", "1e999")),
    hint(503, "wait-till-no-date", "Sun, 99 Nov 2026 25:61:00 GMT"),
    hint(429, "wait-a-year", 31_536_000, STOP),
    hint(429, "wait-till-9999", "Fri, 31 Dec 9999 23:59:59 GMT", STOP),
    # somebody else's answer
    Mishap("page-429-wait-0", AGAIN, "html", {"status": 429, "retry_after": 0}, ("last",)),
    Mishap("page-502-done", LOST, "html", {"status": 502, "writes": True}),
    Mishap("page-503", AGAIN, "html", {"status": 503}),
    Mishap("page-200", FOREIGN, "html"),
    Mishap("page-200-done", FOREIGN, "html", {"writes": True}),
    Mishap("page-403", STOP, "html", {"status": 403}),
    Mishap("redirect-302", FOREIGN, "redirect", {"status": 302}),
    # a refusal
    error(401, STOP),
    error(422, FINAL),
]

# -- where


def at_the_first_request(
    mishap: Mishap, how: Operation, people: list[Person], sandbox: SandboxServer
) -> None:
    mishap.strike(sandbox)


def at_the_last_request(mishap: Mishap, how: Operation, people: list[Person], sandbox: SandboxServer) -> None:
    mishap.strike(sandbox, after=sum(len(how.path(person)) for person in people) - 1)


def at_each_step(mishap: Mishap, how: Operation, people: list[Person], sandbox: SandboxServer) -> None:
    """In mid-stream: each request that any kind of record takes is struck once, each on its own record."""
    steps = [(kind, step) for kind in people[:4] for step in range(len(how.path(kind)))]
    for number, (kind, step) in enumerate(steps):
        # Every second of a kind, so that other answers come in between: it is no outage.
        person = people[kind.index + 4 * (1 + number % 2 + 2 * step)]
        mishap.strike(sandbox, email=person.email, after=step)


def at_random(mishap: Mishap, how: Operation, people: list[Person], sandbox: SandboxServer) -> None:
    dice = random.Random(f"{mishap.name} {how.name}")
    for person in dice.sample(people, 3):
        step = dice.randrange(len(how.path(person)))
        mishap.strike(sandbox, email=person.email, after=step, times=dice.randint(1, 3))


STRIKE = {
    "first": at_the_first_request,
    "last": at_the_last_request,
    "mid": at_each_step,
    "any": at_random,
}


def cases() -> list[Any]:
    return [
        pytest.param(how, mishap, position, id=f"{how.name}-{position}-{mishap.name}")
        for mishap in MISHAPS
        for how in (OPERATIONS if mishap.positions == ALL_POSITIONS else FEW_OPERATIONS)
        for position in mishap.positions
    ]


# -- what must be the case afterwards


class Aftermath:
    """What the sandbox knows about a push that has ended, against what its report says."""

    def __init__(
        self,
        how: Operation,
        people: list[Person],
        sandbox: SandboxServer,
        report: PushReport,
        rejects: list[Reject],
        means: str = LOST,
        *,
        is_on_the_way: bool = False,
    ) -> None:
        """
        Look at the sandbox once nothing more is sent.

        :param means: What an answer says that was struck by a fault.
        :param is_on_the_way: Whether requests and answers may have been lost between us and the sandbox.
        """
        self.how, self.people, self.report = how, people, report
        self.rejects = {reject.index: reject for reject in rejects}
        assert len(self.rejects) == len(rejects) == report.rejected
        wait_for_the_workers()
        self._means, self._is_on_the_way = means, is_on_the_way
        self.journal = sandbox.journal()
        self.prospects = {prospect["email"]: prospect for prospect in sandbox.prospects()}
        self.entries: dict[str, list[Any]] = {person.email: [] for person in people}
        for entry in self.journal:
            self.entries[entry.email].append(entry)
        #: Requests that never got as far as the sandbox.
        self.unseen = report.requests - len(self.journal)

    def check(self) -> None:
        """Check that nothing was lost, nothing done twice, and nothing called what it was not."""
        self._check_requests()
        expected, could_be_lost = Counter[str](), Counter[str]()
        for person in self.people:
            outcome = self._outcome(person)
            if person.index in self.rejects:
                assert outcome == "rejected", (person, outcome, self.rejects[person.index])
                self._check_reject(person)
            elif outcome == "rejected":
                assert self.unseen, (person, self._path(person))
                outcome = self._end(person, _as_assumed(self._path(person))) or outcome
            expected[outcome] += 1
            could_be_lost[outcome] += outcome in ("existing", "updated", "missing")
            if not self.unseen:
                self._check_prospect(person, outcome)
        reported = Counter({name: n for name, n in self.report.outcomes.items() if n})
        if self._is_on_the_way and self.report.error:
            # Of the last answers nobody here knows whether they came through.
            unresolved = expected - reported
            reported["unresolved"] -= unresolved.total()
            expected -= unresolved
            assert reported["unresolved"] >= 0
        if self.unseen:
            # Who can't know whether a first try came through takes what the next one finds for its own doing.
            taken_for_ours = reported - expected
            assert taken_for_ours.keys() <= {"created", "deleted"}, (reported, expected)
            assert taken_for_ours.total() <= self.unseen
            assert expected - reported <= could_be_lost
        else:
            assert reported == expected

    def _check_requests(self) -> None:
        if self._is_on_the_way:
            assert 0 <= self.unseen <= self.report.retries + self.report.unresolved
        elif self._means == FINE:  # A connection can turn out to be closed when a request is on its way.
            assert 0 <= self.unseen <= self.report.retries
        else:
            assert self.unseen == 0
            assert self.report.retries == sum(
                self._said(entry) in (AGAIN, LOST)
                for entries in self.entries.values()
                for entry in entries[:-1]
            )
        for entry in self.journal:
            assert entry.key == "ok"
            assert not any(value is False for value in entry.body.values()), "a latch was sent as False"
        for entries in self.entries.values():
            done = Counter(entry.method for entry in entries if entry.wrote)
            assert done["POST"] <= 1, "created twice"
            assert done["DELETE"] <= 1, "deleted twice"

    def _said(self, entry: Any) -> str:
        """What an answer said, as its recipient must understand it."""
        if entry.fault is not None and self._means != FINE:
            return self._means
        if entry.status in (404, 409):
            return "missing" if entry.status == 404 else "exists"
        assert 200 <= entry.status < 300, entry
        return "ok"

    def _path(self, person: Person) -> list[tuple[str, bool]]:
        """
        Return the requests of a record, each with its final answer.

        True beside an answer that is assumed: a try before it was lost, and it found that one's effect.
        """
        path: list[tuple[str, bool]] = []
        was_lost = is_over = False
        entries = self.entries[person.email]
        for entry, following in zip(entries, [*entries[1:], None], strict=False):
            assert not is_over, "sent after the record was settled"
            said = self._said(entry)
            if self._is_on_the_way and following is not None and following.method == entry.method:
                said = LOST  # The answer was, on its way.
            if said in (AGAIN, LOST) and following is not None:
                was_lost = was_lost or said == LOST
                assert following.method == entry.method, "not tried again"
                continue
            own = was_lost and (entry.method, said) in (("POST", "exists"), ("DELETE", "missing"))
            path.append((f"{entry.method} {'ok' if own else said}", own))
            was_lost, is_over = False, said in (FINAL, FOREIGN, STOP, AGAIN, LOST)
        return path

    def _outcome(self, person: Person) -> str:
        """Say how a record must have ended."""
        path = self._path(person)
        steps = [step for step, _ in path]
        open_end = "rejected" if self.report.error is None else "unresolved"
        if not steps:
            assert open_end == "unresolved", f"{person} was never sent"
            return "unresolved"
        last = steps[-1].partition(" ")[2]
        if last == FINAL:
            return "rejected"
        if last == FOREIGN:  # Told from an outage by whether another answer was of use since.
            return "rejected" if person.index in self.rejects else open_end
        if last in (STOP, AGAIN, LOST):
            return open_end
        if (end := self._end(person, path)) or (
            self.unseen and (end := self._end(person, _as_assumed(path)))
        ):
            return end
        assert open_end == "unresolved", f"{person} was left after {steps}"
        return "unresolved"

    def _end(self, person: Person, path: list[tuple[str, bool]]) -> str | None:
        """Return the outcome that this path leads to, ``None`` where something has to follow."""
        last, is_assumed = path[-1]
        if last == "POST ok" and (person.has_rest or (is_assumed and self.how.completes)):
            return None
        return self.how.ends.get(tuple(step for step, _ in path))

    def _check_reject(self, person: Person) -> None:
        reject, entries = self.rejects[person.index], self.entries[person.email]
        assert reject.record == person.record
        assert reject.attempts == len(entries) or self.unseen
        answered = None if entries[-1].status == "dropped" else entries[-1].status
        assert reject.status == answered or self.unseen
        if any(entry.wrote for entry in entries):
            assert "created, but not completed" in reject.reason or "may have worked" in reject.reason

    def _check_prospect(self, person: Person, outcome: str) -> None:
        """Check that the CRM holds what the outcome says."""
        entries, path = self.entries[person.email], self._path(person)
        prospect, old = self.prospects.get(person.email), person.before
        wrote = {entry.method for entry in entries if entry.wrote}
        is_assumed = any(assumed for _, assumed in path)
        whole = person.basics | person.rest
        match outcome:
            case "created" if "POST" in wrote:
                assert prospect == whole
            case "created":
                # The answer to the first try was lost, the second found an older prospect.
                assert is_assumed
                assert old
                assert prospect == old | (whole if self.how.completes else person.rest)
            case "updated":
                assert "POST" not in wrote
                assert old
                assert prospect == old | whole
            case "existing" | "missing":
                assert not wrote
                assert prospect == old
            case "deleted":
                assert prospect is None
                assert "DELETE" in wrote or is_assumed
            case "rejected" | "unresolved":
                if not wrote:
                    assert prospect == old


def _as_assumed(path: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Return a path as it was seen by who lost an answer that is not in the journal."""
    ours = {"POST exists": "POST ok", "DELETE missing": "DELETE ok"}
    return [(ours.get(step, step), assumed or step in ours) for step, assumed in path]


@pytest.fixture
def upserts_learn_nothing(monkeypatch: pytest.MonkeyPatch, how: Operation) -> None:
    """Let an upsert begin as the case says, whatever became of the records before."""
    monkeypatch.setattr(Familiarity, "expects_known", how.name == "upsert-of-known")


def wait_for_the_workers() -> None:
    """Wait until nobody is left who could send anything."""
    until = time.monotonic() + 5
    while any(thread.name.startswith("closers-push") for thread in threading.enumerate()):
        assert time.monotonic() < until, "the push left threads running"
        time.sleep(0.0005)


# -- the matrix

Pushing = Callable[..., PushReport]


def pushed(
    push: Pushing, how: Operation, people: list[Person], **parts: Any
) -> tuple[PushReport, list[Reject]]:
    rejects: list[Reject] = []
    records = parts.pop("records", None) or [person.record for person in people]
    # A rate that holds up nobody: without one a push starts slowly.
    quick = {"max_concurrency": 4, "timeout": 10.0, "requests_per_second": 10_000.0}
    given_settings = quick | parts.pop("settings", {})
    report = push(
        how.operation, records, **how.route, on_reject=rejects.append, settings=given_settings, **parts
    )
    return report, rejects


@pytest.mark.parametrize(("how", "mishap", "position"), cases())
@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.usefixtures("upserts_learn_nothing")
def test_truth_journal_and_report_agree_after(push, sandbox, how, mishap, position):
    people = crowd(32 if position == "mid" else 8)
    sandbox.add_prospects(person.before for person in people if person.before)
    STRIKE[position](mishap, how, people, sandbox)

    chosen = {"timeout": 0.3} if mishap.kind in ("hang", "drip") else {}
    if mishap.details.get("status") == 429:
        chosen = {"requests_per_second": None}
    report, rejects = pushed(push, how, people, settings=chosen)

    assert any(entry.fault for entry in sandbox.journal())
    Aftermath(how, people, sandbox, report, rejects, mishap.means).check()
    assert (report.error is not None) == (mishap.means == STOP)
    if mishap.means != STOP:
        assert report.unresolved == 0
        withheld = [p for p in people if p.has_rest and p.index not in {reject.index for reject in rejects}]
        assert report.withheld_flags == len(withheld)
    if mishap.means in (AGAIN, FINE) and report.requests == len(sandbox.journal()):
        expected = Counter(how.outcome(person) for person in people)
        assert Counter({name: n for name, n in report.outcomes.items() if n}) == expected


@pytest.mark.parametrize("position", ["first", "last"])
@pytest.mark.parametrize("wait", [1, 0.0], ids=["seconds", "date"])
def test_nothing_leaves_while_a_retry_after_holds(push, sandbox, wait, position):
    how, people = OPERATIONS[0], crowd(12)
    hint(503, "wait", wait).strike(sandbox, after=2 if position == "first" else 14)

    report, _ = pushed(push, how, people)

    (struck,) = [entry for entry in sandbox.journal() if entry.fault]
    told_at, told_at_wall = struck.monotonic + struck.latency, struck.time + struck.latency
    until = told_at + 1 if wait else told_at + (int(told_at_wall) + 1 - told_at_wall)
    *_, again = sandbox.journal(email=struck.email, method=struck.method)
    assert again.monotonic > until - 0.01
    # Others may leave before the answer is read: a few, not the rest of the push.
    early = [entry for entry in sandbox.journal() if told_at < entry.monotonic < until - 0.01]
    assert len(early) <= 6
    assert report.created == 12


# -- the way to the API


class Network:
    """A way to the sandbox that can be lost: a proxy for TCP, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._far_port = int(url.rpartition(":")[2])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._callers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._full: list[socket.socket] = []
        self._trouble = ""

    def __enter__(self) -> Network:
        self._thread.start()
        self.port = 0
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_lost(self, trouble: str) -> None:
        """Lose the way, in one of the ways of `TROUBLES`."""
        self._do(self._lose(trouble))

    def is_back(self) -> None:
        self._do(self._restore())

    def hang_up(self) -> None:
        """Close every connection, politely."""

        async def close() -> None:
            for caller in self._callers:
                caller.close()

        self._do(close())

    def _do(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(5)

    async def _listen(self) -> None:
        # No asyncio.Server: on Python 3.11, one that closes may leave whom it just let in hanging.
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._let_in)

    def _let_in(self) -> None:
        with contextlib.suppress(BlockingIOError):
            caller, _ = self._listener.accept()
            self._tasks.add(self._loop.create_task(self._serve(caller)))

    def _close_the_door(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _lose(self, trouble: str) -> None:
        self._trouble = trouble
        if trouble in ("refused", "no room"):
            self._close_the_door()
        if trouble in ("refused", "no room", "reset"):
            for caller in self._callers:
                _reset(caller)
        if trouble == "no room":
            self._fill()

    def _fill(self) -> None:
        """Take all places in the queue of a server that accepts nobody: who comes now waits in vain."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=0)
        self._full.append(listener)
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", self.port))
            self._full.append(waiting)

    async def _restore(self) -> None:
        self._trouble = ""
        for held in self._full:
            held.close()
        self._full.clear()
        if self._listener is None:
            await self._listen()

    async def _serve(self, connection: socket.socket) -> None:
        caller_in, caller = await asyncio.open_connection(sock=connection)
        if self._trouble in ("refused", "no room", "reset"):  # it may have been let in just before
            _reset(caller)
            return
        self._callers.add(caller)
        far = None
        try:
            far_in, far = await asyncio.open_connection("127.0.0.1", self._far_port)
            there = self._pump(caller_in, far, "requests lost")
            back = self._pump(far_in, caller, "answers lost")
            await asyncio.gather(there, back, return_exceptions=True)
        finally:
            self._callers.discard(caller)
            for end in (caller, far):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, deaf: str) -> None:
        is_deaf = False
        try:
            while data := await source.read(65_536):
                # For good: what was lost on a connection does not come later.
                is_deaf = is_deaf or self._trouble == deaf
                if is_deaf:
                    continue
                for piece in _pieces(data, drips=deaf == "answers lost" and self._trouble == "dripping"):
                    sink.write(piece)
                    await sink.drain()
                    if len(data) > 1 == len(piece):
                        await asyncio.sleep(0.02)
        finally:
            sink.close()

    async def _end(self) -> None:
        await self._restore()
        self._close_the_door()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # for what asyncio does after a connection was closed


#: How the way is lost. A drip begins with the status line, unlike the sandbox's.
TROUBLES = ["refused", "no room", "reset", "requests lost", "answers lost", "dripping"]


def _pieces(data: bytes, *, drips: bool) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))] if drips else [data]


def _reset(caller: asyncio.StreamWriter) -> None:
    connection = caller.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it is closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.transport.abort()


@pytest.fixture
def network(sandbox: SandboxServer) -> Iterator[Network]:
    with Network(sandbox.url) as network:
        yield network


@pytest.fixture
def patient_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tries of a request together take about a second."""
    monkeypatch.setattr("airflow_provider_closers.push.window.backoff", lambda tries: 0.03 * 2**tries)
    monkeypatch.setattr(outage, "_FIRST_PAUSE", 0.02)


def interrupted(people: list[Person], at: int, network: Network, trouble: str) -> Iterator[dict[str, Any]]:
    """The records; at one of them the way to the API is lost for a while."""
    for person in people:
        if person.index == at:
            network.is_lost(trouble)
            threading.Timer(0.15, network.is_back).start()
        yield person.record


@pytest.mark.parametrize(
    ("how", "at"),
    [
        pytest.param(FEW_OPERATIONS[0], 20, id="create-or-update-mid"),
        pytest.param(FEW_OPERATIONS[0], 31, id="create-or-update-last"),
        pytest.param(FEW_OPERATIONS[-1], 20, id="delete-mid"),
    ],
)
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.usefixtures("patient_backoff")
def test_a_network_that_comes_back_changes_nothing(push, sandbox, network, trouble, at, how):
    people = crowd(32)
    sandbox.add_prospects(person.before for person in people if person.before)

    records = interrupted(people, at, network, trouble)
    report, rejects = pushed(
        push, how, people, records=records, base_url=network.url, settings={"timeout": 0.3}
    )

    Aftermath(how, people, sandbox, report, rejects, is_on_the_way=True).check()
    assert (report.total, report.unresolved, report.error) == (32, 0, None)
    assert sandbox.count() == (0 if how.operation == "delete" else 32)


@pytest.mark.usefixtures("upserts_learn_nothing")
@pytest.mark.parametrize("how", OPERATIONS, ids=lambda how: how.name)
def test_connections_that_were_closed_while_idle_are_not_noticed(push, sandbox, network, how):
    people = crowd(12)
    sandbox.add_prospects(person.before for person in people if person.before)

    def records() -> Iterator[dict[str, Any]]:
        for person in people:
            if person.index % 4 == 0:
                while len(sandbox.journal()) < sum(
                    len(how.path(before)) for before in people[: person.index]
                ):
                    time.sleep(0.002)
                time.sleep(0.03)
                network.hang_up()
                time.sleep(0.03)
            yield person.record

    report, rejects = pushed(push, how, people, records=records(), base_url=network.url)

    Aftermath(how, people, sandbox, report, rejects).check()
    assert report.retries == 0


#: What may last, and what does not get through then.
LASTING = [
    mishap
    for mishap in MISHAPS
    if mishap.name in ("500", "503-wait-0", "dropped", "reset", "page-200", "redirect-302")
]


@pytest.mark.parametrize("how", [FEW_OPERATIONS[0], FEW_OPERATIONS[-1]], ids=lambda how: how.name)
@pytest.mark.parametrize("since", [0, 13], ids=["from-the-start", "from-mid-stream"])
@pytest.mark.parametrize("mishap", LASTING, ids=lambda mishap: mishap.name)
@pytest.mark.usefixtures("quick_backoff")
def test_what_lasts_stops_the_push_and_rejects_nobody(push, sandbox, monkeypatch, mishap, since, how):
    monkeypatch.setattr(outage, "_FIRST_PAUSE", 0.02)
    people = crowd(48)
    sandbox.add_prospects(person.before for person in people if person.before)
    mishap.strike(sandbox, after=since, times=1_000)

    report, rejects = pushed(push, how, people, settings={"outage_seconds": 0.05})

    Aftermath(how, people, sandbox, report, rejects, mishap.means).check()
    assert isinstance(report.error, ClosersError)
    assert report.total == 48
    # But for those that were given up while a useful answer was still on its way: fewer than make an outage.
    assert report.rejected <= (9 if mishap.means == FOREIGN and since else 0)
    assert report.unresolved >= 48 - since - 9


@pytest.mark.parametrize("trouble", ["refused", "reset", "requests lost", "answers lost"])
@pytest.mark.parametrize("at", [0, 24], ids=["first", "mid"])
@pytest.mark.usefixtures("quick_backoff")
def test_a_network_that_stays_away_stops_the_push_and_rejects_nobody(
    push, sandbox, network, monkeypatch, trouble, at
):
    monkeypatch.setattr(outage, "_FIRST_PAUSE", 0.02)
    how, people = FEW_OPERATIONS[0], crowd(64)
    sandbox.add_prospects(person.before for person in people if person.before)

    def records() -> Iterator[dict[str, Any]]:
        for person in people:
            if person.index == at:
                network.is_lost(trouble)
            yield person.record

    report, rejects = pushed(
        push,
        how,
        people,
        records=records(),
        base_url=network.url,
        settings={"outage_seconds": 0.05, "timeout": 0.3},
    )

    Aftermath(how, people, sandbox, report, rejects, is_on_the_way=True).check()
    assert isinstance(report.error, ClosersError)
    assert (report.total, report.rejected) == (64, 0)


# -- anything at random, stopped again and again

NUMBERS = st.integers(0, 5)
RECORDS = st.lists(st.tuples(NUMBERS, st.booleans()) | st.just("bad"), min_size=8, max_size=30)
FAULTS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                mishap
                for mishap in MISHAPS
                if mishap.means in (AGAIN, LOST) and mishap.positions == ALL_POSITIONS
            ]
        ),
        NUMBERS,
        st.integers(0, 4),
        st.integers(1, 2),
    ),
    max_size=4,
)
STOPS = st.lists(st.tuples(st.sampled_from(["source", "key", "network"]), st.integers(0, 25)), max_size=3)


class Killed(BaseException):
    """What Airflow raises in a task for a time-out or SIGTERM."""


class KeptInMemory:
    def __init__(self) -> None:
        self.text = "{}"

    def load(self) -> Any:
        return json.loads(self.text)

    def save(self, state: dict[str, Any]) -> None:
        self.text = json.dumps(state)


class StoppedWhere:
    """Records, and what ends the push at one of them."""

    def __init__(
        self, records: list[Any], sandbox: SandboxServer, network: Network, how: str, where: int
    ) -> None:
        self._records, self._sandbox, self._network = records, sandbox, network
        self._how, self._where = how, where

    def __iter__(self) -> Iterator[Any]:
        for index, record in enumerate(self._records):
            if index == self._where and self._how == "source":
                raise Killed
            if index == self._where and self._how == "key":
                self._sandbox.add_fault("error", status=401, times=1_000)
            if index == self._where and self._how == "network":
                self._network.is_lost("refused")
            yield record


def numbered(records: list[Any]) -> list[Any]:
    """Records whose every request says which of them it is for."""
    return [
        record
        if record == "bad"
        else {
            "email": f"p{record[0]}@acme.io",
            "n": n,
            **({"title": str(n), "replied": False} if record[1] else {}),
        }
        for n, record in enumerate(records)
    ]


def number_of(entry: Any) -> int:
    attributes = entry.body.get("otherAttribute")
    return attributes["n"] if attributes else int(entry.body["title"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operation=st.sampled_from(["create", "update", "upsert", "delete"]),
    records=RECORDS,
    faults=FAULTS,
    stops=STOPS,
    concurrency=st.integers(1, 4),
)
@pytest.mark.usefixtures("quick_backoff")
def test_any_push_under_any_faults_ends_as_it_should_however_often_it_is_stopped(
    push, sandbox, network, monkeypatch, operation, records, faults, stops, concurrency
):
    monkeypatch.setattr(outage, "_FIRST_PAUSE", 0.02)
    sandbox.reset()
    sandbox.add_prospects([{"email": f"p{n}@acme.io"} for n in range(0, 6, 2)])
    for mishap, who, after, times in faults:
        mishap.strike(sandbox, email=f"p{who}@acme.io", after=after, times=times)
    # An outage is told before a record has used up its tries.
    patience = {"outage_seconds": 0.1, "timeout": 0.5}
    given_records, kept, rejects = numbered(records), KeptInMemory(), []

    for how, where in [*stops, ("not", 0)]:
        sandbox.configure(latency_jitter=0.004)
        with contextlib.suppress(Killed):
            report = push(
                operation,
                StoppedWhere(given_records, sandbox, network, how, where),
                if_missing="skip",
                base_url=network.url,
                checkpoint=kept,
                on_reject=lambda reject: rejects.append(reject.index),
                settings={"max_concurrency": concurrency, "max_attempts": 100, **patience},
            )
        wait_for_the_workers()
        network.is_back()
        sandbox.reset(keep=["prospects", "journal"])
        if not kept.load():
            break

    # Every record has ended, once.
    bad = [n for n, record in enumerate(given_records) if record == "bad"]
    assert report.total == sum(report.outcomes.values()) == len(records)
    assert (report.unresolved, report.rejected, sorted(rejects)) == (0, len(bad), bad)
    # Nothing was done twice, or counted without having been done, but for what nobody can know.
    journal = sandbox.journal()
    wrote = [entry for entry in journal if entry.wrote]
    done = Counter(entry.method for entry in wrote)
    lost = sum(entry.fault is not None for entry in journal) + report.requests - len(journal)
    in_doubt = lost + len(stops) * concurrency
    assert done["POST"] <= report.created <= done["POST"] + in_doubt
    assert done["DELETE"] <= report.deleted <= done["DELETE"] + in_doubt
    assert not any(entry.body.get("replied") is False for entry in journal)
    if operation == "delete":
        assert not {prospect["email"] for prospect in sandbox.prospects()} & {
            r["email"] for r in given_records if r != "bad"
        }
        return
    # In the order of the input, whoever was there last has the last word.
    for email in {entry.email for entry in wrote}:
        numbers = [number_of(entry) for entry in wrote if entry.email == email]
        assert numbers == sorted(numbers)
    for prospect in sandbox.prospects() if operation != "create" else []:
        mine = [r for r in given_records if r != "bad" and r["email"] == prospect["email"]]
        if mine:
            assert prospect["otherAttribute"] == {"n": mine[-1]["n"]}
            assert prospect.get("title") == next((r["title"] for r in reversed(mine) if "title" in r), None)
