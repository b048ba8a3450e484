"""Where a task keeps how far its push got, so that its next try goes on from there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_closers.push.checkpoint import Checkpoint

log = logging.getLogger(__name__)

_KEY = "closers_push"


def checkpoint_of(context: Any, path: Path | None, retries: int) -> Checkpoint | None:
    """
    Return a task's checkpoint: the file that the user named, else Airflow's own store (3.3 and newer).

    A retry finds what an earlier try saved. A task that a person cleared does not: it starts afresh.

    :param context: What Airflow gives the task.
    :param path: The user's file, ``None`` if none is named.
    :param retries: Of the task.
    :return: ``None`` where there is neither.
    """
    ti = context.get("ti")
    # When a task is cleared Airflow adds its retries to the tries so far: this goes up then, and only then.
    first_try = max(getattr(ti, "max_tries", None) or 0, retries) - retries + 1
    if path is not None:
        from airflow_provider_closers.push.checkpoint import FileCheckpoint

        return _SinceFirstTry(FileCheckpoint(path), first_try)
    if (store := context.get("task_state_store")) is not None:
        return _SinceFirstTry(_TaskStateCheckpoint(store), first_try)
    if (getattr(ti, "try_number", None) or 1) > first_try:
        log.info(
            "This try starts over: this Airflow keeps nothing between the tries of a task, and "
            "checkpoint_path names no file."
        )
    return None


class _TaskStateCheckpoint:
    """
    A checkpoint in Airflow's task state store.

    :param store: ``context["task_state_store"]``.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def load(self) -> dict[str, Any] | None:
        state = self._store.get(_KEY)
        return state if isinstance(state, dict) else None

    def save(self, state: dict[str, Any]) -> None:
        if state:
            self._store.set(_KEY, state)
        else:
            self._store.delete(_KEY)


class _SinceFirstTry:
    """
    A checkpoint whose state holds for the tries since the task was first started, or last cleared.

    Neither Airflow's store nor a file is emptied when a task is cleared.

    :param checkpoint: Where the state is.
    :param first_try: The number of the first of these tries.
    """

    def __init__(self, checkpoint: Checkpoint, first_try: int) -> None:
        self._checkpoint = checkpoint
        self._first_try = first_try

    def load(self) -> dict[str, Any] | None:
        state = self._checkpoint.load()
        if state and state.get("first_try") != self._first_try:
            log.info("The checkpoint is from before the task was cleared: starting afresh.")
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        self._checkpoint.save({**state, "first_try": self._first_try} if state else {})
