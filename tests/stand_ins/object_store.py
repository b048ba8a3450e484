"""An object store on a disk, so that what is in it outlives a process that is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar


class StoredPath:
    """
    A path in a store as Google's: what is opened to append is written anew.

    (fsspec/gcsfs, pull request 675: "gcsfs ignores mode='a'".) An upload takes the object's place as
    a whole, or not at all.
    """

    protocol = "gs"
    _remembered: ClassVar[dict[str, list[dict[str, Any]]]] = {}

    def __init__(self, path: Path) -> None:
        self._path = path
        self.uploads = self.downloads = 0
        self.is_down = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._path, name)

    def __str__(self) -> str:
        return f"gs:/{self._path}"

    def __truediv__(self, name: str) -> StoredPath:
        return StoredPath(self._path / name)

    @property
    def parent(self) -> StoredPath:
        return StoredPath(self._path.parent)

    def open(self, mode: str = "r", **kwargs: Any) -> Any:
        self.downloads += mode == "rb"
        return self._path.open(mode.replace("a", "w").replace("+", ""), **kwargs)

    # -- of its file system

    @property
    def fs(self) -> StoredPath:
        return self

    @property
    def path(self) -> str:
        return str(self._path)

    def invalidate_cache(self, path: str) -> None:
        self._remembered.pop(path, None)

    def ls(self, path: str, *, detail: bool) -> list[dict[str, Any]]:
        """List a folder; what was in it is remembered, as fsspec's file systems do."""
        assert detail
        if path not in self._remembered:
            self._remembered[path] = [{"name": str(child)} for child in Path(path).iterdir()]
        return self._remembered[path]

    def put_file(self, lpath: str, rpath: str) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def pipe_file(self, path: str, value: bytes) -> None:
        self.uploads += 1
        if self.is_down:
            raise ConnectionError("the store is down")
        part = Path(f"{path}.uploading")
        part.write_bytes(value)
        part.replace(path)
