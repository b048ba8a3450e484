"""Files that change as a whole and files of lines that grow, on a disk and on object storage."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path

import fsspec
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from object_store import StoredPath

from airflow_provider_closers.storage import growing_file, local_path, open_to_append, whole_file

PATHS = [
    pytest.param(lambda folder: folder / "new" / "list.txt", id="a local path"),
    pytest.param(lambda folder: ObjectStoragePath(str(folder / "new" / "list.txt")), id="a bare path"),
    pytest.param(lambda folder: ObjectStoragePath(f"file://{folder}/new/list.txt"), id="file://"),
    pytest.param(lambda folder: StoredPath(folder / "new" / "list.txt"), id="a store that can't append"),
]
EARLIER_AND_LATER = pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(None, b"b\n", id="no file, no folder"),
        pytest.param(b"", b"b\n", id="an empty file"),
        pytest.param(b"a\n", b"a\nb\n", id="complete lines"),
        pytest.param(b"a", b"a\nb\n", id="a last line without its end"),
        pytest.param("ä\r\né".encode(), "ä\r\né\nb\n".encode(), id="neither ASCII nor Unix"),
    ],
)


def folder_with(tmp_path: Path, content: bytes | None) -> Path:
    """Return where PATHS lead, after writing the content there."""
    path = tmp_path / "new" / "list.txt"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        pytest.param(Path("a/b"), Path("a/b"), id="pathlib's"),
        pytest.param(ObjectStoragePath("/a/b"), Path("/a/b"), id="a bare path"),
        pytest.param(ObjectStoragePath("file:///a/b%20c d"), Path("/a/b%20c d"), id="file://"),
        pytest.param(ObjectStoragePath("memory://a/b"), None, id="memory://"),
        pytest.param(StoredPath(Path("/a/b")), None, id="gs://"),
    ],
)
def test_a_path_on_this_machine_is_told_from_one_into_a_store(path, leads_to):
    assert local_path(path) == leads_to


# -- opened to append


@pytest.mark.parametrize("path_in", PATHS)
@EARLIER_AND_LATER
def test_lines_are_added_after_those_that_are_there(tmp_path, path_in, earlier, later):
    written = folder_with(tmp_path, earlier)

    with open_to_append(path_in(tmp_path)) as file:
        file.write(b"b\n")

    assert written.read_bytes() == later


def test_an_object_store_keeps_what_was_there(bucket):
    path = ObjectStoragePath(f"{bucket}/list.txt")

    for line in (b"a\n", b"b\n"):
        with open_to_append(path) as file:
            file.write(line)

    assert fsspec.filesystem("memory").cat("/bucket/list.txt") == b"a\nb\n"


# -- changed as a whole


@pytest.mark.parametrize("path_in", PATHS)
def test_a_file_is_written_as_a_whole(tmp_path, path_in):
    (tmp_path / "new").mkdir()  # Stores have no folders.
    file = whole_file(path_in(tmp_path))

    for content in (b"a" * 10_000, b"b"):
        file.write(content)
        assert (tmp_path / "new" / "list.txt").read_bytes() == content

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["list.txt"]


@pytest.mark.parametrize("path_in", PATHS)
def test_a_file_that_is_written_as_a_whole_can_be_removed(tmp_path, path_in):
    written = folder_with(tmp_path, b"a")

    for _ in range(2):
        whole_file(path_in(tmp_path)).remove()

    assert not written.exists()


def test_an_object_is_written_as_a_whole_and_removed(bucket):
    file = whole_file(ObjectStoragePath(f"{bucket}/new/state"))

    file.write(b"a")
    file.write(b"b")
    assert fsspec.filesystem("memory").cat("/bucket/new/state") == b"b"
    for _ in range(2):
        file.remove()

    assert not fsspec.filesystem("memory").exists("/bucket/new/state")


def test_a_storage_with_folders_gets_the_folder(tmp_path):
    file = whole_file(StoredPath(tmp_path / "new" / "state"))

    file.write(b"a")

    assert (tmp_path / "new" / "state").read_bytes() == b"a"


@pytest.mark.parametrize("kind", ["local", "object", "a storage with folders"])
def test_a_file_is_written_from_another_whole(kind, tmp_path, bucket):
    path = {
        "local": tmp_path / "new" / "state",
        "object": ObjectStoragePath(f"{bucket}/new/state"),
        "a storage with folders": StoredPath(tmp_path / "new" / "state"),
    }[kind]
    content = bytes(range(256)) * 10_000

    with tempfile.TemporaryFile() as file:
        file.write(content)
        whole_file(path).write_from(file)
        whole_file(path).write_from(file)

    with path.open("rb") as written:
        assert written.read() == content


@pytest.mark.parametrize("change", ["write", "remove"])
def test_what_a_killed_process_left_beside_the_file_is_removed(tmp_path, change):
    killed, other = tmp_path / ".state[1].0a1b2c3d.part", tmp_path / ".state[1].x.0a1b2c3d.part"
    for path in (killed, other):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 60, time.time() - 60))
    live = tmp_path / ".state[1].0a1b2c3e.part"  # of somebody who writes the file at the same time
    live.write_bytes(b"half")
    file = whole_file(tmp_path / "state[1]")

    if change == "write":
        file.write(b"a")
    else:
        file.remove()

    assert not killed.exists()
    assert other.exists()
    assert live.exists()


def test_a_write_that_fails_leaves_nothing_and_the_next_one_works(tmp_path):
    path = tmp_path / "new" / "state"
    file = whole_file(path)
    file.write(b"a")
    path.unlink()
    path.mkdir()

    with pytest.raises(IsADirectoryError, match="state"):
        file.write(b"b")
    assert list(path.parent.iterdir()) == [path]
    path.rmdir()
    file.write(b"c")

    assert path.read_bytes() == b"c"


def test_a_folder_that_was_removed_is_created_again(tmp_path):
    path = tmp_path / "new" / "state"
    file = whole_file(path)
    file.write(b"a")
    shutil.rmtree(path.parent)

    with pytest.raises(FileNotFoundError, match="state"):
        file.write(b"b")
    file.write(b"c")

    assert path.read_bytes() == b"c"


def test_what_nobody_else_may_read_stays_so(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"a")
    path.chmod(0o600)

    whole_file(path).write(b"b")

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new" / "state")

    whole_file(tmp_path / "link").write(b"a")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new" / "state").read_bytes() == b"a"


# -- growing


@pytest.mark.parametrize("path_in", PATHS)
@EARLIER_AND_LATER
def test_a_file_grows_after_the_lines_that_are_there(tmp_path, path_in, earlier, later):
    written = folder_with(tmp_path, earlier)
    written.parent.mkdir(exist_ok=True)

    with closing(growing_file(path_in(tmp_path))) as file:
        file.append(b"b\n")
        file.flush()
        assert written.read_bytes() == later
        file.append(b"c\n")
        assert file.holds_lines()

    assert written.read_bytes() == later + b"c\n"


@pytest.mark.parametrize("path_in", PATHS)
@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(None, None, id="no file"),
        pytest.param(b"", b"", id="an empty file"),
        pytest.param(b"a\nb\n", b"a\nb\n", id="all stay"),
        pytest.param(b"a\nb", b"a\nb\n", id="all stay, and the last gets its end"),
        pytest.param(b"a\n-\nb\n-", b"a\nb\n", id="some stay"),
        pytest.param(b"-\n-\n", None, id="none stays"),
    ],
)
def test_lines_that_don_t_stay_are_dropped(tmp_path, path_in, earlier, later):
    written = folder_with(tmp_path, earlier)

    with closing(growing_file(path_in(tmp_path))) as file:
        file.keep(lambda line: not line.startswith(b"-"))
        assert file.holds_lines() is bool(later)

    assert (written.read_bytes() if written.exists() else None) == later
    assert {path.name for path in tmp_path.rglob("*")} <= {"new", "list.txt"}


def test_a_file_of_which_all_lines_stay_is_left_alone(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"a\n")
    before = path.stat()

    growing_file(path).keep(lambda _: True)

    assert os.path.samestat(path.stat(), before)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_an_object_is_uploaded_where_there_is_something_new_alone(tmp_path):
    path = StoredPath(tmp_path / "list.txt")
    path.write_bytes(b"a\n")

    with closing(growing_file(path)) as file:
        file.keep(lambda _: True)
        file.flush()
        assert path.uploads == 0
        file.append(b"b\n")
        file.append(b"c\n")
        for _ in range(3):
            file.flush()

    assert path.uploads == 1
    assert path.read_bytes() == b"a\nb\nc\n"


def test_an_object_is_fetched_where_it_is_gone_on_with_alone(tmp_path):
    path = StoredPath(tmp_path / "list.txt")

    with closing(growing_file(path)) as file:
        file.remove()
        file.append(b"a\n")
    assert path.downloads == 0
    with closing(growing_file(path)) as file:
        file.keep(lambda _: True)
        file.append(b"b\n")

    assert path.downloads == 1
    assert path.read_bytes() == b"a\nb\n"


def test_lines_are_kept_until_they_are_uploaded(tmp_path):
    path = StoredPath(tmp_path / "list.txt")
    path.is_down = True

    with closing(growing_file(path)) as file:
        for line in (b"a\n", b"b\n"):
            file.append(line)
            with pytest.raises(ConnectionError, match="down"):
                file.flush()
        path.is_down = False
        file.flush()
        assert path.read_bytes() == b"a\nb\n"

    assert path.uploads == 3


@pytest.mark.parametrize("path_in", PATHS)
def test_a_file_that_was_removed_begins_anew(tmp_path, path_in):
    written = folder_with(tmp_path, b"a\n")
    file = growing_file(path_in(tmp_path))

    with closing(file):
        file.append(b"b\n")
        file.remove()
        assert not file.holds_lines()
        file.flush()
        assert not written.exists()
        file.append(b"c\n")

    assert written.read_bytes() == b"c\n"
    assert file.holds_lines()


def test_lines_on_their_way_to_a_store_leave_no_trace_on_the_machine(tmp_path, monkeypatch):
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))

    with closing(growing_file(StoredPath(tmp_path / "list.txt"))) as file:
        file.append(b"a" * 100_000 + b"\n")
        file.flush()

        assert list(spool.iterdir()) == []
