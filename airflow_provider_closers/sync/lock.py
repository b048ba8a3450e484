"""
Keeps a second run of a sync out: a small file beside the snapshot.

It names who holds it and is renewed while they do, so that one whose process was killed runs out.
On this machine's file systems no two can take it at once. Object stores promise less: who takes the
lock there looks again a moment later whether it is still theirs; two that begin within that moment
on stores that are slow to show what was written may both go on.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from airflow_provider_closers.errors import SyncRunningError
from airflow_provider_closers.storage import local_path, whole_file

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_RENEWALS = 30.0
#: Without a renewal for so long, whoever held the lock is taken for dead.
SECONDS_TO_LIVE = 300.0
#: After which the lock is looked at again, where it can't be taken in one step.
_SECONDS_TO_SETTLE = 1.0


@contextmanager
def locked(snapshot_path: Path, run: str | None, *, is_needed: bool = True) -> Iterator[Lock | NoLock]:
    """
    Hold the lock of a snapshot until the end of the block.

    :param snapshot_path: The snapshot, beside which the lock is.
    :param run: The name of the run that takes it; without one, no other try is the same run.
    :param is_needed: Whether to take it: what writes nothing does without.
    """
    if not is_needed:
        yield NoLock()
        return
    lock_path = snapshot_path.with_name(f"{snapshot_path.name}.lock")
    with Lock(lock_path, run or secrets.token_hex(8)) as lock:
        yield lock


class NoLock:
    """What stands in for a lock where none is needed."""

    def check(self) -> None:
        """Find nothing amiss."""

    def confirm(self) -> None:
        """Find nothing amiss."""


class Lock:
    """
    A lock that one run holds, for the length of a ``with`` block.

    :param path: The file.
    :param owner: Who takes it. The same owner may take it again at once: it is another try of the
        same task, whose process was killed.
    :param now: Tells the time, in seconds since 1970: what is compared was written on other machines.
    :param sleep: Waits.
    :raises SyncRunningError: When it is entered: somebody else holds it.
    """

    def __init__(
        self,
        path: Path,
        owner: str,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._local = local_path(path)
        self._file = whole_file(path)
        self._owner = owner
        self._token = secrets.token_hex(8)
        self._now = now
        self._sleep = sleep
        self._one_at_a_time = threading.Lock()
        self._is_released = threading.Event()
        self._is_lost = False
        self._renewing = threading.Thread(target=self._renew_on_and_on, name="closers-sync-lock", daemon=True)

    def __enter__(self) -> Lock:
        held = self._read()
        if held is not None and not self._is_mine_to_take(held):
            raise self._refusal(held)
        self._take(is_there=held is not None)
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_released.set()
        self._renewing.join(10)
        with suppress(Exception):  # It runs out by itself.
            if self._is_held():
                self._file.remove()

    def check(self) -> None:
        """
        Check that nobody took the lock away: they thought this process dead, or are about to.

        :raises SyncRunningError: Somebody did.
        """
        if self._is_lost:
            raise SyncRunningError(
                f"Another run took the sync's lock {str(self._path)!r}, since this one did not renew it in "
                "time, or as a later try of the same task. This one stops."
            )

    def confirm(self) -> None:
        """
        Look whether the lock is still held, and check that: before what nobody else may have changed.

        :raises SyncRunningError: It is not.
        """
        self.renew()
        self.check()

    def renew(self) -> None:
        """Write anew that the lock is held, if it is."""
        with self._one_at_a_time:  # the thread that renews it, and who wants to be sure of it
            if self._is_held():
                self._file.write(self._content())
            else:
                self._is_lost = True

    def _is_mine_to_take(self, held: dict[str, Any]) -> bool:
        return held.get("owner") == self._owner or self._now() >= _renewed_at(held) + SECONDS_TO_LIVE

    def _take(self, *, is_there: bool) -> None:
        if self._local is not None and not is_there:
            self._local.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._local.open("xb") as file:
                    file.write(self._content())
            except FileExistsError:
                raise self._refusal(self._read() or {}) from None
            return
        self._file.write(self._content())
        self._sleep(_SECONDS_TO_SETTLE)
        if not self._is_held():
            raise self._refusal(self._read() or {})

    def _is_held(self) -> bool:
        return (self._read() or {}).get("token") == self._token

    def _read(self) -> dict[str, Any] | None:
        """Return what is in the file; ``None`` where there is none."""
        try:
            held = json.loads(self._path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:  # Somebody is about to write it, or was killed meanwhile.
            return {"renewed": self._path.stat().st_mtime}
        return held if isinstance(held, dict) else {}

    def _content(self) -> bytes:
        held = {"owner": self._owner, "token": self._token, "renewed": self._now()}
        return json.dumps(held).encode()

    def _refusal(self, held: dict[str, Any]) -> SyncRunningError:
        seconds = max(_renewed_at(held) + SECONDS_TO_LIVE - self._now(), 0)
        return SyncRunningError(
            f"Another run holds the sync's lock {str(self._path)!r}: {held.get('owner') or 'not known which'}"
            f". Should its process be dead, the lock runs out in {seconds:.0f} seconds."
        )

    def _renew_on_and_on(self) -> None:
        while not self._is_released.wait(_SECONDS_BETWEEN_RENEWALS):
            try:
                self.renew()
            except Exception:
                log.warning("The sync's lock can't be renewed; tried again soon.", exc_info=True)


def _renewed_at(held: dict[str, Any]) -> float:
    renewed = held.get("renewed")
    return float(renewed) if isinstance(renewed, int | float) else 0.0
