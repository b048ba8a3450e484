"""What Airflow's reports and the sandbox's journal have to agree on after the run, in print."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from demo.account import Check, Limit, print_table

from airflow_provider_closers.sandbox.journal import JournalEntry
from airflow_provider_closers.sandbox.server import SandboxServer
from tests.cluster.chunked_run import ChunkPush

#: What the example makes of the warehouse's columns.
FIELDS = {"first_name": "firstName", "last_name": "lastName", "job_title": "title"}
ATTRIBUTES = ("company", "city", "plan")


@dataclass(frozen=True)
class Allowed:
    """What must not be exceeded."""

    requests_per_second: int
    pushes_at_once: int
    #: Records of one push under way at once: see Window.capacity.
    window: int


@dataclass(frozen=True)
class Observed:
    """What was seen while the run went on."""

    #: On the sandbox's monotonic clock.
    killed_at: float
    #: Map indexes of the pushes that were killed.
    killed: frozenset[int]
    most_pushes_at_once: int
    #: By map index, the workers that a push was seen on.
    workers: dict[int, list[str]]


@dataclass(frozen=True)
class Chunk:
    """A push, and what the sandbox saw of it."""

    push: ChunkPush
    was_killed: bool
    requests: int
    prospects_added: int
    #: Of the requests after the kill, those that repeat one from before it; and of how many leads.
    requests_twice: int
    leads_twice: int
    #: Leads that the killed try was done with, and the next one left alone.
    leads_spared: int

    @property
    def unreported(self) -> int:
        """How many of the requests the report does not count: nobody lived to save that they were sent."""
        return self.requests - self.push.report["requests"]


def chunk_of(push: ChunkPush, journal: list[JournalEntry], observed: Observed) -> Chunk:
    """
    Return a push beside what the journal has of it. No two pushes have an email in common.

    Who is twice in one chunk counts as repeated where the kill came between the two.
    """
    entries = requests_for(push.leads, journal)
    before, after = (
        {(entry.email, entry.method) for entry in entries if (entry.monotonic > observed.killed_at) is later}
        for later in (False, True)
    )
    return Chunk(
        push=push,
        was_killed=push.map_index in observed.killed,
        requests=len(entries),
        prospects_added=sum(entry.wrote and entry.method == "POST" for entry in entries),
        requests_twice=len(before & after),
        leads_twice=len({email for email, _ in before & after}),
        leads_spared=len({email for email, _ in before} - {email for email, _ in after}),
    )


def requests_for(leads: list[dict[str, Any]], journal: list[JournalEntry]) -> list[JournalEntry]:
    """Return what the journal has of these leads."""
    emails = {email_of(lead) for lead in leads}
    return [entry for entry in journal if entry.email in emails]


def agreements(chunks: list[Chunk], held: list[dict[str, Any]], sandbox: SandboxServer) -> list[Check]:
    """
    Set what the pushes report beside what the sandbox saw.

    A killed push may count a prospect as created that was there before, where it lost the answer; so
    what was created is compared for the others only.

    :param chunks: All pushes of the run.
    :param held: What the sandbox held before.
    :param sandbox: The sandbox.
    """
    leads = [lead for chunk in chunks for lead in chunk.push.leads]
    expected, found = prospects_after(held, leads), {p["email"]: p for p in sandbox.prospects()}
    right = sum(found.get(email_of(lead)) == expected[email_of(lead)] for lead in leads)
    killed = [chunk for chunk in chunks if chunk.was_killed]
    spared = [chunk for chunk in chunks if not chunk.was_killed]

    def reported(chunks: list[Chunk], *counts: str) -> int:
        return sum(chunk.push.report[count] for chunk in chunks for count in counts)

    return [
        Check("leads in Closers, every field right", reported(chunks, "created", "updated"), right),
        Check("leads rejected", reported(chunks, "rejected"), len(leads) - right),
        Check("prospects now", len(expected) - reported(chunks, "rejected"), len(found)),
        Check(
            "prospects added, not killed", reported(spared, "created"), sum(c.prospects_added for c in spared)
        ),
        Check("requests, not killed", reported(spared, "requests"), sum(c.requests for c in spared)),
        Check(
            "killed pushes that went on",
            sum(chunk.push.resumed is not None for chunk in killed),
            sum(chunk.leads_spared > 0 for chunk in killed),
        ),
    ]


def limits(chunks: list[Chunk], allowed: Allowed, observed: Observed, sandbox: SandboxServer) -> list[Limit]:
    """Set what was allowed beside what was seen."""
    requests = sandbox.stats()["requests"]
    added = Counter(entry.email for entry in sandbox.journal(method="POST") if entry.wrote)
    killed = [chunk for chunk in chunks if chunk.was_killed]
    return [
        Limit("pushes at once (the pool's slots)", allowed.pushes_at_once, observed.most_pushes_at_once),
        Limit("requests in any one second", allowed.requests_per_second, requests["peak_per_second"]),
        Limit("requests answered 429", 0, requests["by_status"].get("429", 0)),
        Limit("times that one prospect was added", 1, max(added.values())),
        Limit(
            "leads sent twice by one push (two windows)",
            2 * allowed.window,
            max(chunk.leads_twice for chunk in killed),
        ),
        # What no report counts was sent after the killed try had last saved how far it was.
        Limit(
            "requests that no report counts (those sent twice)",
            sum(chunk.requests_twice for chunk in killed),
            sum(chunk.unreported for chunk in killed),
        ),
    ]


def prospects_after(held: list[dict[str, Any]], leads: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return by email what Closers has to hold: the later of two leads with one email wins."""
    prospects = {prospect["email"]: dict(prospect) for prospect in held}
    for lead in leads:
        prospect = prospects.setdefault(email_of(lead), {"email": email_of(lead)})
        prospect |= {field: lead[column] for column, field in FIELDS.items() if lead[column] is not None}
        if attributes := {name: lead[name] for name in ATTRIBUTES if lead[name] is not None}:
            prospect["otherAttribute"] = prospect.get("otherAttribute", {}) | attributes
    return prospects


def email_of(lead: dict[str, Any]) -> str:
    """Return a lead's email as it is sent: its domain in small letters, as all else is in the warehouse."""
    return lead["email"].lower()


def print_pushes(chunks: list[Chunk], workers: dict[int, list[str]]) -> None:
    """Print what the mapped tasks report, and where they ran."""
    columns = ("total", "created", "updated", "rejected", "requests")
    print_table(
        ["", "read", *columns[1:], "tries", "on"],
        (
            [
                f"push_chunk[{chunk.push.map_index}]",
                *(str(chunk.push.report[column] or "") for column in columns),
                str(chunk.push.tries),
                ", then ".join(workers[chunk.push.map_index]),
            ]
            for chunk in chunks
        ),
    )
    for chunk in chunks:
        if chunk.push.resumed:
            print(f"\npush_chunk[{chunk.push.map_index}], try {chunk.push.tries}: {chunk.push.resumed}")
            print(f"  Requests sent twice: {chunk.requests_twice}, of {chunk.leads_twice} leads.")
