"""Where a task keeps how far its push got, so that it goes on there in its next try, or after a deferral."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow_provider_closers.push.checkpoint import Checkpoint

log = logging.getLogger(__name__)

_KEY = "closers_push"


class TaskCheckpoint(Protocol):
    """A push's checkpoint that belongs to a task."""

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last; ``None`` or empty where there is nothing to go on from."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep this in place of what was saved before; empty: the push came to its end."""

    def defer(self) -> None:
        """Make what was saved last through a deferral."""


def checkpoint_of(context: Any, path: Path | None, *, retries: int, was_deferred: bool) -> TaskCheckpoint:
    """
    Return a task's checkpoint: the file that the user named, else Airflow's own store (3.3 and newer).

    A retry finds there what an earlier try saved. A task that a person cleared does not: it starts
    afresh. Where there is neither, what was saved lasts through a deferral only, in the task's XComs.

    :param context: What Airflow gives the task.
    :param path: The user's file, ``None`` if none is named.
    :param retries: Of the task.
    :param was_deferred: Whether the task goes on after a deferral.
    """
    ti = context.get("ti")
    # When a task is cleared Airflow adds its retries to the tries so far: this goes up then, and only then.
    first_try = max(_count(ti, "max_tries"), retries) - retries + 1
    if path is not None:
        from airflow_provider_closers.push.checkpoint import FileCheckpoint

        return _SinceFirstTry(FileCheckpoint(path), first_try)
    if (store := context.get("task_state_store")) is not None:
        return _SinceFirstTry(_TaskStateCheckpoint(store), first_try)
    if _count(ti, "try_number") > first_try and not was_deferred:
        log.info(
            "This try starts over: this Airflow keeps nothing between the tries of a task, and "
            "checkpoint_path names no file."
        )
    return _DeferralCheckpoint(ti, was_deferred=was_deferred)


def _count(ti: Any, name: str) -> int:
    count = getattr(ti, name, None)
    return count if isinstance(count, int) else 0


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

    def defer(self) -> None:
        """Do nothing: where it is saved, it lasts."""


class _DeferralCheckpoint:
    """
    A checkpoint in memory that lasts through a deferral: Airflow keeps XComs then, and drops them at a retry.

    :param ti: The task instance, ``None`` outside of Airflow.
    :param was_deferred: Whether there is something to go on from.
    """

    def __init__(self, ti: Any, *, was_deferred: bool) -> None:
        self._ti = ti
        self._was_deferred = was_deferred
        self._state: dict[str, Any] = {}

    def load(self) -> dict[str, Any] | None:
        if not self._was_deferred:
            return None
        state = self._ti.xcom_pull(task_ids=self._ti.task_id, key=_KEY, map_indexes=self._ti.map_index)
        return state if isinstance(state, dict) else None

    def save(self, state: dict[str, Any]) -> None:
        self._state = state

    def defer(self) -> None:
        if self._ti is not None:
            self._ti.xcom_push(key=_KEY, value=self._state)
