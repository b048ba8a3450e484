"""What has to be done: the source beside the snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_provider_closers.address import normal_form
from airflow_provider_closers.prospect import Prospect
from airflow_provider_closers.sync.changes import Change, Kind
from airflow_provider_closers.sync.digests import changed_fields, digests_of
from airflow_provider_closers.sync.snapshot import Snapshot

# In a file of its own that has no name, and is gone with the process.
_SCHEMA = """
ATTACH '' AS plan;
PRAGMA plan.journal_mode = OFF;
PRAGMA plan.cache_size = -65536;
-- Who is in the source. The place is that of the record that counts, NULL where none can be used.
CREATE TABLE plan.source (key TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID;
CREATE TABLE plan.changes (
    number INTEGER PRIMARY KEY,
    kind TEXT, place INTEGER, key TEXT, email TEXT, fields TEXT, digests BLOB, changed TEXT
);
BEGIN;
"""

#: Those whom the sync knows, and who are not in the source.
GONE = "SELECT key FROM people WHERE key NOT IN (SELECT key FROM plan.source)"

_PEOPLE_AT_ONCE = 1_000


class Plan:
    """
    What has to be done so that the CRM follows the source.

    First the source is noted: each record with one of :meth:`add`, :meth:`see` and :meth:`see_somebody`.
    Then :meth:`remove` adds what is to be done about those who are gone. It is kept in a temporary
    file.

    :param snapshot: What is certain of the people in the CRM.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._database = snapshot.database
        self._database.executescript(_SCHEMA)
        self._counts = dict.fromkeys(Kind, 0)
        #: Records of which nobody can tell whose they are.
        self.strangers = 0

    def __len__(self) -> int:
        return sum(self._counts.values())

    def in_batches(self, size: int) -> Iterator[list[Change]]:
        """Yield the changes in the order in which they are to be made."""
        last = -1
        while rows := self._rows("number > ? ORDER BY number LIMIT ?", [last, size]):
            yield [change for _, change in rows]
            last = rows[-1][0]

    def count(self, kind: Kind) -> int:
        """Tell how many changes are of a kind."""
        return self._counts[kind]

    def some(self, kind: Kind, at_most: int) -> list[Change]:
        """Return the first few changes of a kind."""
        return [change for _, change in self._rows("kind = ? ORDER BY number LIMIT ?", [kind, at_most])]

    # -- the source

    def add(self, place: int, prospect: Prospect) -> Kind | int | None:
        """
        Note a record, and what has to be done about it.

        :return: The kind of change, ``None`` where there is none to make, or the place of an earlier
            record of the same email: there can be but one.
        """
        key = normal_form(prospect.email)
        if not self._takes(key, place):
            return self._place_of(key)
        digests = digests_of(prospect.fields)
        known = self._database.execute("SELECT email, digests FROM people WHERE key = ?", [key]).fetchone()
        # In the spelling that the CRM knows: to some APIs another one is another person.
        email, before = known or (prospect.email, None)
        if before is None:
            return self._plan(Kind.NEW, place, key, email or key, prospect.fields, digests)
        if before == digests or not (changed := changed_fields(before, digests)):
            return None
        return self._plan(Kind.CHANGED, place, key, email or key, prospect.fields, digests, changed)

    def see(self, email: str) -> None:
        """Note that somebody is in the source though no record of theirs can be used, or may be sent."""
        self._database.execute("INSERT OR IGNORE INTO plan.source VALUES (?, NULL)", [normal_form(email)])

    def see_somebody(self) -> None:
        """Note a record of which nobody can tell whose it is."""
        self.strangers += 1

    def _takes(self, key: str, place: int) -> bool:
        return bool(
            self._database.execute(
                "INSERT INTO plan.source VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET place = excluded.place WHERE place IS NULL",
                [key, place],
            ).rowcount
        )

    def _place_of(self, key: str) -> int:
        [place] = self._database.execute("SELECT place FROM plan.source WHERE key = ?", [key]).fetchone()
        return int(place)

    # -- those who are gone from it

    def known(self) -> int:
        """Tell how many people the sync knows."""
        return self._number_of("SELECT key FROM people")

    def gone(self) -> int:
        """Tell how many of them are not in the source."""
        return self._number_of(GONE)

    def emails_of_the_gone(self) -> Iterator[tuple[str, str]]:
        """Yield key and email of each of them."""
        last = ""
        while found := self._database.execute(
            "SELECT key, ifnull(email, key) FROM people WHERE key > ? "
            "AND key NOT IN (SELECT key FROM plan.source) ORDER BY key LIMIT ?",
            [last, _PEOPLE_AT_ONCE],
        ).fetchall():
            yield from found
            last = found[-1][0]

    def removed_before(self) -> dict[str, int]:
        """Count what earlier tries of the run came to of those who are gone, and whom it knows no more."""
        return dict(
            self._database.execute(
                "SELECT outcome, count(*) FROM tries.outcomes WHERE key NOT IN (SELECT key FROM people) "
                "AND key NOT IN (SELECT key FROM plan.source) GROUP BY outcome"
            )
        )

    def remove(self, kind: Kind, place: int, key: str, email: str, fields: dict[str, Any]) -> None:
        """Add what is to be done about somebody who is gone."""
        self._plan(kind, place, key, email, fields, b"")

    def _number_of(self, sql: str) -> int:
        return int(self._database.execute(f"SELECT count(*) FROM ({sql})").fetchone()[0])  # noqa: S608 - ours

    # -- the changes

    def finish(self) -> None:
        """Note that the plan is whole."""
        self._database.execute("COMMIT")

    def _plan(
        self,
        kind: Kind,
        place: int,
        key: str,
        email: str,
        fields: dict[str, Any],
        digests: bytes,
        changed: Sequence[str] = (),
    ) -> Kind:
        self._database.execute(
            "INSERT INTO plan.changes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            [kind, place, key, email, json.dumps(fields), digests, json.dumps(changed)],
        )
        self._counts[kind] += 1
        return kind

    def _rows(self, which: str, values: list[Any]) -> list[tuple[int, Change]]:
        rows = self._database.execute(f"SELECT * FROM plan.changes WHERE {which}", values)  # noqa: S608 - ours
        return [
            (
                number,
                Change(
                    kind=Kind(kind),
                    index=place,
                    key=key,
                    email=email,
                    fields=json.loads(fields),
                    digests=digests,
                    changed=tuple(json.loads(changed)),
                ),
            )
            for number, kind, place, key, email, fields, digests, changed in rows
        ]
