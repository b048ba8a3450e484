"""The files that a path stands for."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_closers.errors import ClosersConfigError, FileUnavailableError
from airflow_provider_closers.storage import local_path


class _Entry(NamedTuple):
    """What is in a folder, or matches a pattern."""

    name: str  # relative to the folder
    is_folder: bool


def files_at(path: Path) -> list[Path]:
    """
    Return the files that a path stands for, in the order of their names.

    It is a file, a folder (the files directly in it) or a pattern (``*``, ``?``, ``[``, ``**``) for
    files; what exists literally is no pattern. In a folder, and among what matches, names that begin
    with ``_`` or ``.`` are left out: ``_SUCCESS`` and checksums are not data. (A pattern of which a
    part begins so asks for them.)

    :param path: A ``pathlib.Path``, or an ``ObjectStoragePath``.
    :raises FileUnavailableError: There is no file.
    :raises ClosersConfigError: There is a folder in the folder.
    """
    local = local_path(path)
    here = path if local is None else local
    if here.exists():
        return _files_in(here) if here.is_dir() else [here]
    base, pattern = _split(here)
    if pattern:
        found = [entry for entry in _matches(base, pattern) if _is_data(entry.name, pattern)]
        files = [base / entry.name for entry in sorted(found) if not entry.is_folder]
        if not files:
            raise _nothing(path, "No file matches")
        return files
    raise _nothing(path, "There is no file, nor a folder,")


def _files_in(folder: Path) -> list[Path]:
    entries = sorted(entry for entry in _children(folder) if _is_data(entry.name))
    for entry in entries:
        if entry.is_folder:
            raise ClosersConfigError(
                f"There is a folder, {entry.name!r}, in the folder {str(folder)!r}; to read what is in it "
                f"too, give a pattern such as {str(folder / '**' / '*.parquet')!r}. Nothing was sent."
            )
    if not entries:
        raise _nothing(folder, "There is no file in the folder")
    return [folder / entry.name for entry in entries]


def _nothing(path: Path, what: str) -> FileUnavailableError:
    return FileUnavailableError(
        f"{what} {str(path)!r}. A missing input is not an empty one: see whether the path is right, and "
        "whether what writes it has run. Nothing was sent."
    )


def _is_data(name: str, pattern: str = "") -> bool:
    asked_for = {part[:1] for part in pattern.split("/")}
    return not any(part[:1] in ("_", ".") and part[:1] not in asked_for for part in name.split("/"))


# -- patterns


def _split(path: Path) -> tuple[Path, str]:
    """Split a path into the folder that it begins with, and the pattern below it, ``""`` if none."""
    base, pattern = path, list[str]()
    while glob.has_magic(_text(base)) and base != base.parent and not base.exists():
        pattern.insert(0, base.name)
        base = base.parent
    if pattern and pattern[-1] == "**":
        pattern.append("*")  # Without it some take folders alone for meant.
    return base, "/".join(pattern)


def _text(path: Any) -> str:
    """Return a path without the storage that it is on."""
    return str(getattr(path, "path", path)).rstrip("/")


# -- a machine's own files, and those of a store: what each says of a file without being asked again


def _children(folder: Any) -> Iterable[_Entry]:
    if isinstance(folder, Path) and local_path(folder):
        return [_Entry(child.name, child.is_dir()) for child in folder.iterdir()]
    return _stored(folder, folder.fs.ls(folder.path, detail=True))


def _matches(base: Any, pattern: str) -> Iterable[_Entry]:
    if isinstance(base, Path) and local_path(base):
        names = glob.glob(pattern, root_dir=base, recursive=True, include_hidden=True)  # noqa: PTH207 - follows links, whatever Python
        return [_Entry(name, (base / name).is_dir()) for name in names]
    found = base.fs.glob(f"{glob.escape(_text(base))}/{pattern}", detail=True)
    return _stored(base, found.values())


def _stored(base: Any, infos: Iterable[dict[str, Any]]) -> Iterator[_Entry]:
    start = len(_text(base)) + 1
    for info in infos:
        is_folder = info["type"] == "directory"
        name = info["name"].rstrip("/") if is_folder else info["name"]
        # Stores have no folders, so some who write there put an empty object in a folder's place.
        if not (name[start:] == "" or name.endswith(("/", "_$folder$"))):
            yield _Entry(name[start:], is_folder)
