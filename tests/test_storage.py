"""Appending to files of lines, on a disk and on object storage."""

from __future__ import annotations

import fsspec
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_closers.storage import open_to_append


class Store:
    """
    An object store as Google's: what is opened to append is written anew.

    (fsspec/gcsfs, pull request 675: "gcsfs ignores mode='a'".)
    """

    protocol = "gs"

    def __init__(self, path):
        self._path = path

    def __getattr__(self, name):
        return getattr(self._path, name)

    def open(self, mode="r", **kwargs):
        return self._path.open(mode.replace("a", "w").replace("+", ""), **kwargs)


PATHS = [
    pytest.param(lambda folder: folder / "new" / "list.txt", id="a local path"),
    pytest.param(lambda folder: ObjectStoragePath(str(folder / "new" / "list.txt")), id="a bare path"),
    pytest.param(lambda folder: ObjectStoragePath(f"file://{folder}/new/list.txt"), id="file://"),
    pytest.param(lambda folder: Store(folder / "new" / "list.txt"), id="a store that can't append"),
]


@pytest.mark.parametrize("path_in", PATHS)
@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(None, b"b\n", id="no file, no folder"),
        pytest.param(b"", b"b\n", id="an empty file"),
        pytest.param(b"a\n", b"a\nb\n", id="complete lines"),
        pytest.param(b"a", b"a\nb\n", id="a last line without its end"),
        pytest.param("ä\r\né".encode(), "ä\r\né\nb\n".encode(), id="neither ASCII nor Unix"),
    ],
)
def test_lines_are_added_after_those_that_are_there(tmp_path, path_in, earlier, later):
    path = path_in(tmp_path)
    if earlier is not None:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "list.txt").write_bytes(earlier)

    with open_to_append(path) as file:
        file.write(b"b\n")

    assert (tmp_path / "new" / "list.txt").read_bytes() == later


def test_an_object_store_keeps_what_was_there(bucket):
    path = ObjectStoragePath(f"{bucket}/list.txt")

    for line in (b"a\n", b"b\n"):
        with open_to_append(path) as file:
            file.write(line)

    assert fsspec.filesystem("memory").cat("/bucket/list.txt") == b"a\nb\n"
