"""Where a list is kept: on a disk and in a store, with several processes at it at once."""

from __future__ import annotations

import errno
import multiprocessing
import random
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from list_processes import (
    SECRET,
    append_batches,
    batch,
    confirmed,
    list_path,
    merge_until,
    read_list,
    read_until,
)

from airflow_provider_closers.errors import ClosersConfigError
from airflow_provider_closers.suppression import SuppressionList
from airflow_provider_closers.suppression import files as files_module
from airflow_provider_closers.suppression.files import list_file

# Airflow 2.11's paths warn when they are joined.
pytestmark = pytest.mark.filterwarnings("ignore:in a future version of UPath:PendingDeprecationWarning")

STORAGES = pytest.mark.parametrize("storage", ["disk", "store"])


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that start in milliseconds: forked from one that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["list_processes"])
    return context


@contextmanager
def running(processes: Any, target: Any, *arguments: Any) -> Any:
    """A process that is to end by itself when the block does."""
    process = processes.Process(target=target, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.join(60)
        process.kill()
    assert process.exitcode == 0


# -- several processes at once


@STORAGES
def test_no_process_undoes_what_another_appends(processes, tmp_path, storage):
    folder = str(tmp_path)
    with (
        running(processes, append_batches, folder, storage, "a", 30),
        running(processes, append_batches, folder, storage, "b", 30),
        running(processes, append_batches, folder, storage, "c", 30),
    ):
        pass

    listed = read_list(folder, storage)
    assert all(address in listed for name in "abc" for number in range(30) for address in batch(name, number))
    assert listed.count() == 90 * len(batch("a", 0))


@STORAGES
def test_a_reader_meanwhile_finds_all_that_was_there_when_it_began(processes, tmp_path, storage):
    folder, end, missed = str(tmp_path), processes.Event(), processes.Value("i", 0)
    with running(processes, read_until, folder, storage, end, missed):
        with (
            running(processes, append_batches, folder, storage, "a", 40),
            running(processes, append_batches, folder, storage, "b", 40),
        ):
            pass
        end.set()

    assert missed.value == 0


def test_merging_parts_takes_nothing_from_readers_nor_from_who_appends(processes, tmp_path):
    folder, end, missed = str(tmp_path), processes.Event(), processes.Value("i", 0)
    with (
        running(processes, read_until, folder, "store", end, missed),
        running(processes, merge_until, folder, "store", end),
        running(processes, merge_until, folder, "store", end),
    ):
        with running(processes, append_batches, folder, "store", "a", 60):
            pass
        end.set()

    assert missed.value == 0
    listed = read_list(folder, "store")
    assert all(address in listed for number in range(60) for address in batch("a", number))
    list_file(list_path(folder, "store")).merge_parts()
    assert len(list((tmp_path / "list.txt.d").glob("*.txt"))) == 1
    assert read_list(folder, "store").count() == listed.count()


@STORAGES
@pytest.mark.parametrize("trial", range(6))
def test_what_was_appended_outlives_a_process_that_is_killed(processes, tmp_path, storage, trial):
    folder, dice = str(tmp_path), random.Random(f"{storage} {trial}")
    for name in "abc":
        child = processes.Process(target=append_batches, args=(folder, storage, name, 10_000))
        child.start()
        while child.is_alive() and not (tmp_path / f"{name}.done").exists():
            time.sleep(0.001)
        time.sleep(dice.random() * 0.05)
        child.kill()
        child.join(30)
        assert child.exitcode == -9
        listed = read_or_mend(folder, storage)  # where an entry was cut, the next one would not begin

    there = confirmed(folder)
    assert there
    assert all(address in listed for address in there)


def read_or_mend(folder: str, storage: str) -> SuppressionList:
    """Read the list; where a kill cut an entry, do what the error says."""
    try:
        return read_list(folder, storage)
    except ClosersConfigError as e:
        if "remove this line" not in str(e):
            raise
        file = Path(folder, "list.txt")
        file.write_bytes(file.read_bytes().rpartition(b"\n")[0] + b"\n")
        return read_list(folder, storage)


# -- one process


def append(path: Any, *addresses: str) -> None:
    SuppressionList.from_file(path, secret=SECRET, create=True).add(addresses)


def test_half_of_what_a_full_disk_took_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    path.write_bytes(b"jim@acme.io")

    def full(file: Any, content: bytes) -> None:
        file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files_module, "_write", full)

    with pytest.raises(OSError, match="No space"):
        append(path, "jane@acme.io", "joe@acme.io")
    assert path.read_bytes() == b"jim@acme.io"


def test_a_file_that_an_editor_puts_in_place_meanwhile_gets_the_entry(tmp_path, monkeypatch):
    path, edited = tmp_path / "list.txt", tmp_path / "edited.txt"
    path.write_bytes(b"jim@acme.io\n")
    edited.write_bytes(b"joe@acme.io\n")
    lock = files_module.fcntl.flock

    def slowly(file: Any, how: int) -> None:
        if how == files_module.fcntl.LOCK_EX and edited.exists():
            edited.replace(path)
        lock(file, how)

    monkeypatch.setattr(files_module.fcntl, "flock", slowly)

    append(path, "jane@acme.io")

    assert not edited.exists()
    assert len(path.read_bytes().splitlines()) == 3
    assert path.read_bytes().startswith(b"joe@acme.io\n# key hmac-sha256:")


def test_a_reader_waits_for_an_append_that_is_half_done(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    is_half_done, may_go_on = threading.Event(), threading.Event()
    write = files_module._write

    def slowly(file: Any, content: bytes) -> None:
        write(file, content[:40])
        is_half_done.set()
        may_go_on.wait(30)
        write(file, content[40:])

    monkeypatch.setattr(files_module, "_write", slowly)
    appending = threading.Thread(target=append, args=(path, "jane@acme.io"))
    appending.start()
    assert is_half_done.wait(30)
    threading.Timer(0.1, may_go_on.set).start()

    listed = SuppressionList.from_file(path, secret=SECRET)

    appending.join()
    assert "jane@acme.io" in listed


def test_what_is_appended_while_a_list_is_read_is_not_half_read(tmp_path):
    path = tmp_path / "list.txt"
    append(path, "jane@acme.io")
    read: list[bytes] = []

    def take(name: str, content: Any) -> None:
        append(path, "joe@acme.io")
        read.append(content.read() + content.read(10))

    list_file(path).read(take, create=False)

    assert path.read_bytes().startswith(read[0])
    assert len(read[0].splitlines()) == 2  # the key's mark, and Jane


def test_where_there_are_no_locks_a_list_can_be_read_and_not_added_to(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    path.write_bytes(b"jim@acme.io\n")

    def unknown(file: Any, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files_module.fcntl, "flock", unknown)

    assert "jim@acme.io" in SuppressionList.from_file(path)
    with pytest.raises(OSError, match="No locks"):
        append(path, "jane@acme.io")
    assert path.read_bytes() == b"jim@acme.io\n"


def test_a_list_that_was_copied_from_a_store_is_whole(tmp_path):
    append(list_path(str(tmp_path), "store"), "jane@acme.io")

    listed = SuppressionList.from_file(tmp_path / "list.txt", secret=SECRET)

    assert "jane@acme.io" in listed


def upload(path: Any, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)


def test_a_list_that_is_begun_in_a_store_needs_no_file(bucket):
    path = ObjectStoragePath(f"{bucket}/new/list.txt")

    append(path, "jane@acme.io")
    append(path, "joe@acme.io")

    assert not path.exists()
    listed = SuppressionList.from_file(path, secret=SECRET)
    assert "jane@acme.io" in listed
    assert "joe@acme.io" in listed
    list_file(path).merge_parts()
    assert SuppressionList.from_file(path, secret=SECRET).count() == 2


def test_an_append_leaves_a_file_as_it_is_that_somebody_uploaded_since_the_list_was_read(bucket):
    path = ObjectStoragePath(f"{bucket}/list.txt")
    listed = SuppressionList.from_file(path, secret=SECRET, create=True)
    upload(path, b"jim@acme.io\njoe@acme.io\n")

    listed.add(["jane@acme.io"])

    with path.open("rb") as file:
        assert file.read() == b"jim@acme.io\njoe@acme.io\n"
    again = SuppressionList.from_file(path, secret=SECRET)
    assert all(f"{name}@acme.io" in again for name in ("jim", "joe", "jane"))


@pytest.mark.parametrize("create", [False, True], ids=["to push by", "to add to"])
def test_parts_of_a_file_that_was_lost_are_no_list(bucket, create):
    path = ObjectStoragePath(f"{bucket}/list.txt")
    upload(path, b"jim@acme.io\n")
    append(path, "jane@acme.io")
    path.unlink()

    with pytest.raises(ClosersConfigError, match=r"list\.txt' can't be read \(FileNotFoundError\)"):
        SuppressionList.from_file(path, secret=SECRET, create=create)


def test_a_part_that_is_listed_and_is_not_there_is_an_error(tmp_path):
    path = list_path(str(tmp_path), "store")
    append(path, "jane@acme.io")
    (tmp_path / "list.txt.d" / "lost.txt").symlink_to(tmp_path / "nowhere")

    with pytest.raises(ClosersConfigError, match=r"can't be read \(FileNotFoundError\)"):
        SuppressionList.from_file(path, secret=SECRET)


def test_a_malformed_part_is_named(tmp_path):
    path = list_path(str(tmp_path), "store")
    append(path, "jane@acme.io")
    (tmp_path / "list.txt.d" / "half.txt").write_bytes(b"hmac-sha256:00")

    with pytest.raises(ClosersConfigError, match=r"list\.txt\.d/half\.txt' is malformed in line 1"):
        SuppressionList.from_file(path, secret=SECRET)


def test_a_store_that_is_down_takes_nothing_and_says_so(tmp_path, monkeypatch):
    listed = SuppressionList.from_file(list_path(str(tmp_path), "store"), secret=SECRET, create=True)

    def down(self: Any, path: str, value: bytes) -> None:
        raise ConnectionError("the store is down")

    monkeypatch.setattr("object_store.StoredPath.pipe_file", down)

    with pytest.raises(ConnectionError, match="the store is down"):
        listed.add(["jane@acme.io"])
    assert "jane@acme.io" not in listed


def test_what_another_process_put_into_a_store_is_found(tmp_path):
    path = list_path(str(tmp_path), "store")
    append(path, "jane@acme.io")
    append(path, "joe@acme.io")
    SuppressionList.from_file(path, secret=SECRET)
    _, second = (tmp_path / "list.txt.d").glob("*.txt")
    second.rename(tmp_path / "list.txt.d" / "of another process.txt")

    listed = SuppressionList.from_file(path, secret=SECRET)

    assert "jane@acme.io" in listed
    assert "joe@acme.io" in listed


def test_large_parts_are_merged_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "_LARGE_PART", 200)
    path = list_path(str(tmp_path), "store")
    for number in range(6):
        append(path, f"p{number}@acme.io")

    for _ in range(3):
        list_file(path).merge_parts()

    sizes = [len(part.read_bytes()) for part in (tmp_path / "list.txt.d").glob("*.txt")]
    assert sum(sizes) == 6 * 77 + 83  # and the first append marked the list with its key
    assert len(sizes) > 1
    assert max(sizes) < 400
    assert SuppressionList.from_file(path, secret=SECRET).count() == 6
