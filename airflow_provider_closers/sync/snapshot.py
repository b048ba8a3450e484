"""
What is certain of each person in the CRM, kept between two runs of a sync.

The snapshot is one file: an SQLite database, gzipped, with a row for each person: the email, and
:mod:`digests <airflow_provider_closers.sync.digests>` of the fields that the API has confirmed.
Beside it, while a run sends, grows a journal, of lines for one person each: before a request leaves,
what it may change is in doubt; when it is confirmed, it is certain. The journal names the snapshot
that it belongs to. A run that ends writes a new snapshot, then drops the journal. So whenever the
process is killed, what is there claims nothing that is not so; what is in doubt is sent again. The
journal also says what each change came to, for the report of another try of the same run.
"""

from __future__ import annotations

import gzip
import json
import logging
import secrets
import shutil
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from airflow_provider_closers.address import normal_form
from airflow_provider_closers.errors import FileUnavailableError, SnapshotError
from airflow_provider_closers.storage import growing_file, whole_file
from airflow_provider_closers.sync.digests import digests_without, updated_digests

log = logging.getLogger(__name__)

# Goes up when an older snapshot can't be read any more.
_VERSION = 1
#: SQLite's mark of whose file it is: "Clos".
_APPLICATION_ID = 0x436C6F73

_SECONDS_BETWEEN_FLUSHES = 5.0
#: Writing the journal to an object store takes no more than this part of the time.
_SHARE_FOR_FLUSHING = 0.05

_WAY_OUT = (
    "Nothing was sent. With full_resync=True the sync begins anew: it pushes every record of the source, and "
    "removes nobody."
)

_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
-- The key is the email in its normal form; the email is NULL where it is the same. The digests are
-- NULL of somebody who may be in the CRM or not.
CREATE TABLE people (key TEXT PRIMARY KEY, email TEXT, digests BLOB) WITHOUT ROWID;
-- What the tries of the run that is named above came to, where there may be another one.
CREATE TABLE outcomes (key TEXT PRIMARY KEY, outcome TEXT) WITHOUT ROWID;
"""
# In a file of its own: most runs have but one try, and need not carry it about.
_OUTCOMES = """
ATTACH '' AS tries;
PRAGMA tries.journal_mode = OFF;
CREATE TABLE tries.outcomes (key TEXT PRIMARY KEY, outcome TEXT) WITHOUT ROWID;
"""


class Snapshot:
    """
    People, by their emails, and what is certain of each; in a temporary file meanwhile.

    Begins with :meth:`load` or :meth:`start_over`. What :meth:`doubt`, :meth:`settle` and
    :meth:`forget` note outlives the process with the next :meth:`flush`.

    :param path: Where it is kept: a ``pathlib.Path``, or an ``ObjectStoragePath``.
    :param account: What is synced, in a word: a snapshot of another account is refused.
    :param run: The name of the run, which its tries have in common; ``None``: there is but one.
    """

    def __init__(self, path: Path, *, account: str, run: str | None = None) -> None:
        self._path = path
        self._account = account
        self._run = run
        self._file = whole_file(path)
        self._journal_path = path.with_name(f"{path.name}.journal")
        self._journal = growing_file(self._journal_path)
        self._database: sqlite3.Connection | None = None
        self._image: IO[bytes] | None = None
        # Whether the file holds what the database does, but for what the journal holds.
        self._is_kept = False
        self._is_changed = False
        self._journals = False
        self._has_outcomes = False
        self._flush_at = 0.0

    # -- its beginning and end

    def load(self) -> None:
        """
        Read what an earlier run left.

        :raises SnapshotError: There is none, it is damaged, or another account's.
        :raises FileUnavailableError: It can't be read.
        """
        if not self._path.exists():
            raise SnapshotError(
                f"There is no snapshot {str(self._path)!r}. If this is the sync's first run, run it once "
                "with full_resync=True; if not, the snapshot is lost: without it nobody knows what the CRM "
                f"was told. {_WAY_OUT}"
            )
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        try:
            with self._path.open("rb") as file, gzip.open(file) as image:
                self._open(image)
            self._check()
            if self._run is not None and self._about("run") == self._run:
                self.database.execute("INSERT INTO tries.outcomes SELECT * FROM main.outcomes")
            elif self._has("SELECT 1 FROM main.outcomes"):
                self._is_changed = True  # Nobody needs them any more.
            self._is_kept = not self._journal_path.exists()
            if not self._is_kept:
                self._replay()
            [settled] = self.database.execute("SELECT count(*) FROM tries.outcomes").fetchone()
            self._has_outcomes = settled > 0
            if settled:
                log.info("Resumed: earlier tries of this run settled %d people.", settled)
        except (gzip.BadGzipFile, zlib.error, EOFError, sqlite3.Error, ValueError, KeyError, TypeError) as e:
            if isinstance(e, SnapshotError):
                raise
            raise SnapshotError(
                f"The snapshot {str(self._path)!r} is damaged ({type(e).__name__}). {_WAY_OUT}"
            ) from e
        except OSError as e:
            raise FileUnavailableError(
                f"The snapshot {str(self._path)!r}, or its journal, can't be read ({type(e).__name__}); it "
                "must be a file. Nothing was sent."
            ) from e

    def start_over(self) -> None:
        """
        Begin with nobody; what was kept is replaced before the first request leaves.

        Another try of a run that began so goes on with what was settled since.
        """
        if self._run is not None and self._was_started_over():
            return
        self.close()  # the one that was begun by another
        self._open(None)
        self.database.executescript(_SCHEMA)
        about = {"account": self._account, "started_over_by": self._run}
        self.database.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        self._is_kept, self._is_changed = False, True

    def _was_started_over(self) -> bool:
        try:
            self.load()
        except SnapshotError:
            return False
        return self._about("started_over_by") == self._run

    def close(self) -> None:
        """Let go of the files; what is neither flushed nor saved is lost."""
        self._journal.abandon()
        if self._database is not None:
            self._database.close()
        if self._image is not None:
            self._image.close()

    @property
    def database(self) -> sqlite3.Connection:
        """The database, of this process alone; the table ``people`` is to be read only."""
        assert self._database is not None  # noqa: S101 - it is open after load and start_over
        return self._database

    # -- what is certain

    def __contains__(self, email: object) -> bool:
        """Tell whether somebody is known by this email, in whatever spelling."""
        return self.holds(normal_form(str(email)))

    def holds(self, key: str) -> bool:
        """Tell whether somebody is known by this key."""
        return self._has("SELECT 1 FROM people WHERE key = ?", key)

    def doubt(self, key: str, email: str, fields: Iterable[str] | None) -> None:
        """
        Note what is about to be sent, and may be so or not until it is settled.

        :param fields: Which fields of the person are changed; ``None``: it is not certain either
            whether the CRM has them.
        """
        known = self._digests_of(key)
        self._note(key, email, None if fields is None or known is None else digests_without(known, fields))

    def settle(self, key: str, email: str, digests: bytes, outcome: str | None = None) -> None:
        """
        Note what the API has confirmed of somebody: these fields, and the others as they were.

        :param outcome: What the change came to, for a later try of the same run.
        """
        self._note(key, email, updated_digests(self._digests_of(key) or b"", digests), outcome)

    def distrust(self, email: str) -> None:
        """Note of somebody, where they are known, that nothing is certain of what the CRM has of them."""
        key = normal_form(email)
        if self._digests_of(key) is not None:
            self.doubt(key, self._email_of(key), None)

    def forget(self, key: str, outcome: str | None = None) -> None:
        """
        Note that the sync has nothing to do with somebody any more.

        :param outcome: As :meth:`settle` takes it.
        """
        self._note(key, outcome=outcome)

    def _digests_of(self, key: str) -> bytes | None:
        known = self.database.execute("SELECT digests FROM people WHERE key = ?", [key]).fetchone()
        return known[0] if known else None

    def _email_of(self, key: str) -> str:
        [email] = self.database.execute(
            "SELECT ifnull(email, key) FROM people WHERE key = ?", [key]
        ).fetchone()
        return str(email)

    def forget_all(self, query: str) -> None:
        """Forget the keys that a query finds; it is kept with the next :meth:`save`, and lost without it."""
        forgotten = self.database.execute(f"DELETE FROM people WHERE key IN ({query})").rowcount  # noqa: S608
        self._is_changed |= forgotten > 0

    # -- what earlier tries of the run came to

    def outcome_of(self, email: str) -> str | None:
        """Return what an earlier try of this run did about somebody, if anything."""
        if not self._has_outcomes:
            return None
        key = normal_form(email)
        found = self.database.execute("SELECT outcome FROM tries.outcomes WHERE key = ?", [key]).fetchone()
        return str(found[0]) if found else None

    # -- keeping it

    def keep_up(self) -> None:
        """Flush, where it is time to. A failure is logged; what was noted is kept with the next flush."""
        began = time.monotonic()
        if began < self._flush_at:
            return
        try:
            self.flush()
        except Exception:
            log.warning("What the API confirmed since can't be saved; tried again soon.", exc_info=True)
        took = time.monotonic() - began
        self._flush_at = began + took + max(_SECONDS_BETWEEN_FLUSHES, took / _SHARE_FOR_FLUSHING)

    def flush(self) -> None:
        """Return when what was noted outlives the process."""
        self._journal.flush()

    def save(self, *, is_last_try: bool = False) -> None:
        """
        Write the file anew, and drop the journal; does nothing where nothing changed.

        :param is_last_try: Whether there will be no other try of this run.
        """
        if not self._is_changed:
            return
        self.database.execute("INSERT OR REPLACE INTO about VALUES ('run', ?)", [self._run])
        self.database.execute("DELETE FROM main.outcomes")
        if not is_last_try:
            self.database.execute("INSERT INTO main.outcomes SELECT * FROM tries.outcomes")
        self.database.execute("INSERT OR REPLACE INTO about VALUES ('id', ?)", [secrets.token_hex(8)])
        assert self._image is not None  # noqa: S101 - the database is open
        with tempfile.TemporaryFile() as packed:
            with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as file:
                self._image.seek(0)
                shutil.copyfileobj(self._image, file, 1 << 20)
            self._file.write_from(packed)
        # Killed here, the journal stays: of another id, it is known for a past one's.
        self._journal.remove()
        self._is_kept, self._is_changed, self._journals = True, False, False

    def _note(
        self, key: str, email: str | None = None, digests: bytes | None = None, outcome: str | None = None
    ) -> None:
        """Note what is certain of somebody; without an email, that they are forgotten."""
        if not self._is_kept:
            self._is_changed = True
            self.save()  # A journal belongs to a snapshot that is there.
        if not self._journals:
            self._journal.append(_line({"snapshot": self._about("id"), "run": self._run}))
            self._journals = True
        entry = {"key": key, "email": email, "digests": None if digests is None else digests.hex()}
        if outcome is not None and self._run is not None:
            entry["outcome"] = outcome
            self._note_outcome(key, outcome)
        self._journal.append(_line(entry))
        self._apply(key, email, digests)

    def _note_outcome(self, key: str, outcome: str) -> None:
        self.database.execute("INSERT OR REPLACE INTO tries.outcomes VALUES (?, ?)", [key, outcome])

    def _apply(self, key: str, email: str | None, digests: bytes | None) -> None:
        self._is_changed = True
        if email is None:
            self.database.execute("DELETE FROM people WHERE key = ?", [key])
        else:
            self.database.execute(
                "INSERT OR REPLACE INTO people VALUES (?, ?, ?)",
                [key, None if email == key else email, digests],
            )

    # -- what is in the file

    def _has(self, query: str, *values: str) -> bool:
        return self.database.execute(query, values).fetchone() is not None

    def _about(self, name: str) -> str | None:
        found = self.database.execute("SELECT value FROM about WHERE name = ?", [name]).fetchone()
        return found[0] if found else None

    def _open(self, image: Any) -> None:
        """Open a database on a copy without a name: a killed process leaves nobody's emails behind."""
        with tempfile.TemporaryDirectory(prefix="closers-sync-") as folder:
            copy = Path(folder, "snapshot")
            with copy.open("wb") as file:
                if image is not None:
                    shutil.copyfileobj(image, file, 1 << 20)
            self._image = copy.open("rb")
            self._database = sqlite3.connect(copy, isolation_level=None)
            for pragma in (
                "locking_mode = EXCLUSIVE",
                "journal_mode = MEMORY",
                "synchronous = OFF",
                "secure_delete = ON",  # who is forgotten is in none of the file's corners
                "cache_size = -65536",
            ):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.execute("BEGIN EXCLUSIVE")  # opens the file, by its name
            self._database.execute("COMMIT")
            self._database.executescript(_OUTCOMES)

    def _check(self) -> None:
        database = self.database
        [version] = database.execute("PRAGMA user_version").fetchone()
        [application] = database.execute("PRAGMA application_id").fetchone()
        if application != _APPLICATION_ID:
            raise ValueError("of another application")
        if version != _VERSION:
            raise SnapshotError(
                f"The snapshot {str(self._path)!r} is of version {version}; this release reads {_VERSION}. "
                f"{_WAY_OUT}"
            )
        account = self._about("account")
        if account != self._account:
            raise SnapshotError(
                f"The snapshot {str(self._path)!r} is that of {account}, and this sync is of "
                f"{self._account}. Give each a snapshot_path of its own. {_WAY_OUT}"
            )

    def _replay(self) -> None:
        with self._journal_path.open("rb") as file:
            # Not for each line in the file: Airflow 2.11's files of an object store can't be iterated over.
            lines = iter(file.readline, b"")
            # The last may be cut short.
            entries = (json.loads(line) for line in lines if line.endswith(b"\n"))
            head = next(entries, {"snapshot": None})
            if head["snapshot"] == self._about("id"):
                self._apply_all(entries, is_ours=self._run is not None and head.get("run") == self._run)

    def _apply_all(self, entries: Iterator[dict[str, str]], *, is_ours: bool) -> None:
        self.database.execute("BEGIN")
        for entry in entries:
            digests = entry["digests"]
            self._apply(entry["key"], entry["email"], None if digests is None else bytes.fromhex(digests))
            if is_ours and "outcome" in entry:
                self._note_outcome(entry["key"], entry["outcome"])
        self.database.execute("COMMIT")


def _line(entry: dict[str, str | None]) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
