"""What a sync keeps, whenever its process is killed, and what it refuses to go on from."""

from __future__ import annotations

import gzip
import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_closers.address import normal_form
from airflow_provider_closers.errors import SnapshotError
from airflow_provider_closers.sync.digests import digests_of
from airflow_provider_closers.sync.snapshot import Snapshot

ADA = digests_of({"firstName": "Ada"})
BEA = digests_of({"firstName": "Bea"})
TITLE = digests_of({"title": "CTO"})


@pytest.fixture(params=["file", "object store"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "file":
        return tmp_path / "people.snapshot"
    return ObjectStoragePath(f"{request.getfixturevalue('bucket')}/syncs/people.snapshot")


def opened(path: Any, account: str = "account", run: str | None = None) -> Snapshot:
    return Snapshot(path, account=account, run=run)


def loaded(path: Any, account: str = "account", run: str | None = None) -> Snapshot:
    snapshot = opened(path, account, run)
    snapshot.load()
    return snapshot


def begun(path: Any, people: dict[str, bytes]) -> None:
    """Leave a snapshot."""
    with closing(opened(path)) as snapshot:
        snapshot.start_over()
        for email, digests in people.items():
            snapshot.settle(normal_form(email), email, digests)
        snapshot.save()


def people(snapshot: Snapshot) -> dict[str, bytes]:
    return dict(snapshot.database.execute("SELECT ifnull(email, key), digests FROM people").fetchall())


def beside(path: Any, suffix: str) -> Any:
    return path.with_name(path.name + suffix)


def test_what_was_settled_is_there_the_next_time(path):
    begun(path, {"ada@acme.io": ADA, "Bea@acme.io": BEA})

    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"ada@acme.io": ADA, "Bea@acme.io": BEA}
        snapshot.forget("ada@acme.io")
        snapshot.settle("bea@acme.io", "Bea@acme.io", TITLE)
        snapshot.save()

    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"Bea@acme.io": digests_of({"title": "CTO", "firstName": "Bea"})}
    assert not beside(path, ".journal").exists()


def test_what_was_not_flushed_does_not_get_over_what_another_run_keeps(bucket):
    path = ObjectStoragePath(f"{bucket}/people.snapshot")
    begun(path, {"ada@acme.io": ADA})
    late = loaded(path)
    late.settle("ada@acme.io", "ada@acme.io", BEA)
    with closing(loaded(path)) as other:
        other.settle("eve@acme.io", "eve@acme.io", ADA)
        other.flush()

    late.close()

    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"ada@acme.io": ADA, "eve@acme.io": ADA}


def test_what_was_flushed_is_there_although_nothing_was_saved(path):
    begun(path, {"ada@acme.io": ADA, "bea@acme.io": BEA})
    killed = loaded(path)
    killed.forget("ada@acme.io")
    killed.settle("eve@acme.io", "eve@acme.io", TITLE)

    killed.flush()

    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"bea@acme.io": BEA, "eve@acme.io": TITLE}
        # And so it is after a second one that is killed.
        snapshot.settle("bea@acme.io", "bea@acme.io", TITLE)
        snapshot.flush()
    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {
            "bea@acme.io": digests_of({"firstName": "Bea", "title": "CTO"}),
            "eve@acme.io": TITLE,
        }
    killed.close()


def test_a_first_sync_that_is_killed_leaves_whom_it_settled(path):
    killed = opened(path)
    killed.start_over()
    killed.settle("ada@acme.io", "ada@acme.io", ADA)
    killed.flush()

    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"ada@acme.io": ADA}
    killed.close()


def test_starting_over_leaves_the_old_snapshot_until_something_is_noted(path):
    begun(path, {"ada@acme.io": ADA})

    with closing(opened(path)) as snapshot:
        snapshot.start_over()

    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"ada@acme.io": ADA}


def test_another_try_of_a_run_that_starts_over_goes_on(path):
    begun(path, {"old@acme.io": BEA})
    for email in ("ada@acme.io", "bea@acme.io"):
        with closing(opened(path, run="run 7")) as snapshot:
            snapshot.start_over()
            snapshot.settle(email, email, ADA)
            snapshot.flush()

    with closing(opened(path, run="run 7")) as snapshot:
        snapshot.start_over()
        assert people(snapshot) == {"ada@acme.io": ADA, "bea@acme.io": ADA}
    with closing(opened(path, run="run 8")) as snapshot:
        snapshot.start_over()
        assert people(snapshot) == {}


@pytest.mark.parametrize("is_saved", [True, False], ids=["saved", "flushed"])
def test_what_the_tries_of_a_run_came_to_is_known_to_the_next_of_them_alone(path, is_saved):
    begun(path, {"old@acme.io": BEA})
    for email in ("ada@acme.io", "bea@acme.io"):
        with closing(loaded(path, run="run 7")) as snapshot:
            snapshot.settle(email, email, ADA, "created")
            snapshot.forget("old@acme.io", "deleted")
            snapshot.save() if is_saved else snapshot.flush()

    with closing(loaded(path, run="run 7")) as snapshot:
        known = [snapshot.outcome_of(f"{name}@acme.io") for name in ("Ada", "bea", "old", "eve")]
    assert known == ["created", "created", "deleted", None]
    for run in ("run 8", None):
        with closing(loaded(path, run=run)) as snapshot:
            assert snapshot.outcome_of("ada@acme.io") is None


def test_what_the_last_try_of_a_run_came_to_is_not_kept(path):
    begun(path, {"ada@acme.io": ADA})
    with closing(loaded(path, run="run 7")) as snapshot:
        snapshot.forget("ada@acme.io", "deleted")
        snapshot.save()
    assert b"ada@acme.io" in gzip.decompress(path.read_bytes())

    with closing(loaded(path, run="run 7")) as snapshot:
        snapshot.settle("bea@acme.io", "bea@acme.io", BEA)
        snapshot.save(is_last_try=True)

    assert b"ada@acme.io" not in gzip.decompress(path.read_bytes())


def test_what_another_run_came_to_is_dropped_with_the_next_save(path):
    begun(path, {"ada@acme.io": ADA})
    with closing(loaded(path, run="run 7")) as snapshot:
        snapshot.forget("ada@acme.io", "deleted")
        snapshot.save()

    with closing(loaded(path, run="run 8")) as snapshot:
        snapshot.save()

    assert b"ada@acme.io" not in gzip.decompress(path.read_bytes())


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path):
    path = tmp_path / "people.snapshot"
    begun(path, {})
    with closing(loaded(path)) as killed:
        killed.settle("ada@acme.io", "ada@acme.io", ADA)
        killed.settle("bea@acme.io", "bea@acme.io", BEA)
    journal = beside(path, ".journal")
    journal.write_bytes(journal.read_bytes()[:-5])

    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"ada@acme.io": ADA}
        snapshot.settle("eve@acme.io", "eve@acme.io", ADA)
    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"ada@acme.io": ADA, "eve@acme.io": ADA}


def test_the_journal_of_an_earlier_snapshot_does_not_count(path):
    begun(path, {"ada@acme.io": ADA})
    with closing(loaded(path)) as killed:
        killed.settle("ada@acme.io", "ada@acme.io", BEA)
        killed.flush()
        stale = beside(path, ".journal").read_bytes()
        killed.settle("ada@acme.io", "ada@acme.io", ADA)
        killed.save()
    beside(path, ".journal").write_bytes(stale)

    with closing(loaded(path)) as snapshot:
        assert people(snapshot) == {"ada@acme.io": ADA}


def test_people_are_known_in_whatever_spelling(path):
    begun(path, {"Ada@acme.io": ADA})

    with closing(loaded(path)) as snapshot:
        assert "aDa@ACME.io" in snapshot
        assert "bea@acme.io" not in snapshot


def test_a_lost_snapshot_is_an_error_that_names_the_way_out(path):
    with pytest.raises(SnapshotError, match=r"first run, run it once with full_resync=True; if not, .* lost"):
        loaded(path)


def mutilations() -> dict[str, Any]:
    def emptied(content: bytes) -> bytes:
        return b""

    def cut(content: bytes) -> bytes:
        return content[: len(content) // 2]

    def flipped(content: bytes) -> bytes:
        # Some bytes: with one bit of them the same may be unpacked.
        middle = len(content) // 2
        changed = bytes(byte ^ 0xFF for byte in content[middle : middle + 16])
        return content[:middle] + changed + content[middle + 16 :]

    def text(content: bytes) -> bytes:
        return b"<html>Sign in</html>"

    def packed_text(content: bytes) -> bytes:
        return gzip.compress(b"<html>Sign in</html>")

    def other_database(content: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            with closing(sqlite3.connect(Path(folder, "x"))) as database:
                database.execute("CREATE TABLE people (key)")
            return gzip.compress(Path(folder, "x").read_bytes())

    return {f.__name__: f for f in (emptied, cut, flipped, text, packed_text, other_database)}


@pytest.mark.parametrize("mutilate", mutilations().values(), ids=mutilations())
def test_a_damaged_snapshot_is_an_error(path, mutilate):
    begun(path, {f"p{i}@acme.io": digests_of({"title": str(i)}) for i in range(1000)})
    path.write_bytes(mutilate(path.read_bytes()))

    with pytest.raises(SnapshotError, match=r"is damaged .* full_resync=True"):
        loaded(path)


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", '{"key": "x", "digests": "zz", "email": ""}'])
def test_a_damaged_journal_is_an_error(path, line):
    begun(path, {})
    with closing(loaded(path)) as killed:
        killed.settle("ada@acme.io", "ada@acme.io", ADA)
        killed.flush()
    journal = beside(path, ".journal")
    journal.write_bytes(journal.read_bytes() + line.encode() + b"\n")

    with pytest.raises(SnapshotError, match="is damaged"):
        loaded(path)


def test_another_accounts_snapshot_is_an_error(path):
    begun(path, {})

    with pytest.raises(SnapshotError, match="is that of account, and this sync is of another"):
        loaded(path, "another")


def test_a_later_versions_snapshot_is_an_error(path):
    with closing(opened(path)) as snapshot:
        snapshot.start_over()
        snapshot.database.execute("PRAGMA user_version = 99")
        snapshot.save()

    with pytest.raises(SnapshotError, match="of version 99"):
        loaded(path)


def test_no_field_is_kept_in_clear_and_nobody_who_was_forgotten(path):
    begun(path, {f"person{i}@acme.io": digests_of({"firstName": "Adalbert"}) for i in range(50)})
    with closing(loaded(path)) as snapshot:
        for i in range(1, 50):
            snapshot.forget(f"person{i}@acme.io")
        snapshot.save()

    image = gzip.decompress(path.read_bytes())

    assert b"Adalbert" not in image
    assert image.count(b"person") == 1


def test_an_open_snapshot_leaves_no_file_for_others_to_find(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    with closing(opened(tmp_path / "people.snapshot")) as snapshot:
        snapshot.start_over()
        snapshot.settle("ada@acme.io", "ada@acme.io", ADA)

        assert list((tmp_path / "temporary").iterdir()) == []


def test_a_flush_that_fails_is_tried_again(path, monkeypatch, caplog):
    begun(path, {})
    with closing(loaded(path)) as snapshot:
        snapshot.settle("ada@acme.io", "ada@acme.io", ADA)
        flush = snapshot.flush
        monkeypatch.setattr(snapshot, "flush", lambda: 1 / 0)
        snapshot.keep_up()
        monkeypatch.setattr(snapshot, "flush", flush)
        monkeypatch.setattr("airflow_provider_closers.sync.snapshot.time.monotonic", lambda: 1e9)
        snapshot.keep_up()

        with closing(loaded(path)) as other:
            assert people(other) == {"ada@acme.io": ADA}
    assert "can't be saved" in caplog.text


def test_the_journal_holds_one_json_object_a_line(path):
    begun(path, {})
    with closing(loaded(path)) as snapshot:
        snapshot.settle("ada@acme.io", "Ada@acme.io", ADA)
        snapshot.forget("bea@acme.io")
        snapshot.flush()

    head, *lines = [json.loads(line) for line in beside(path, ".journal").read_text().splitlines()]
    assert list(head) == ["snapshot", "run"]
    assert lines == [
        {"key": "ada@acme.io", "email": "Ada@acme.io", "digests": ADA.hex()},
        {"key": "bea@acme.io", "email": None, "digests": None},
    ]
