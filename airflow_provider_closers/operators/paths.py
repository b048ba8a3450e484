"""The paths that users give: URIs of any storage that Airflow knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow_provider_closers.errors import ClosersConfigError


def storage_path(path: str) -> Path:
    """
    Return where a URI leads, on this machine or in any storage that Airflow knows.

    :raises ClosersConfigError: It is no such path.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    if not isinstance(path, str | os.PathLike | ObjectStoragePath) or not str(path).strip():
        raise ClosersConfigError(f"{path!r} is no path; it must be one URI, such as 's3://bucket/leads.csv'.")
    try:
        whole = ObjectStoragePath(path)
        _ = whole.fs  # Airflow 2 finds out only here that it knows no such storage.
    except (ValueError, TypeError, ImportError) as e:
        raise ClosersConfigError(f"{path!r} is no path that Airflow's ObjectStoragePath takes ({e}).") from e
    return whole  # type: ignore[return-value] # It has pathlib's interface, though not its class.


def path_of_instance(path: str, context: Any) -> Path:
    """Return a task's path, or for a mapped one each instance's: they share the parameter, not the file."""
    whole = storage_path(path)
    map_index = getattr(context.get("ti"), "map_index", -1)
    if not isinstance(map_index, int) or map_index < 0:
        return whole
    return whole.with_name(f"{whole.stem}-{map_index}{whole.suffix}")
