"""
What can go wrong; each leaf is there because a caller does something different about it.

::

    ClosersError
    ├── ClosersConfigError       mend the connection or the call (also a ValueError)
    │   └── FileUnavailableError     or run again: the file may be there by then
    ├── InvalidProspectError     mend the record; nothing was sent (also a ValueError)
    ├── TooManyDeletesError      look at the input, then raise the limit (also a ValueError)
    ├── SourceShrunkError        look at the source, then raise the limit (also a ValueError)
    ├── SnapshotError            find the snapshot, or do without it once (also a ValueError)
    ├── SyncRunningError         wait for the other run
    ├── ClosersAuthError         mend the key; nothing else helps
    ├── ClosersTryLaterError     come back, after ``retry_after`` seconds where that is known
    │   ├── ClosersRateLimitError    with fewer requests
    │   └── ClosersUnavailableError  as before
    ├── ProspectExistsError      update instead
    ├── ProspectNotFoundError    create instead
    ├── ClosersAPIError          any other refusal: read ``text``
    ├── CheckpointDroppedError   run again, to start over
    └── PushFailedError          read ``report``: some records did not make it

    BaseException
    └── PushStoppedError         nothing: somebody wants the process to end

Messages name method, path and status; never a key, an answer's body or an email.
"""

from __future__ import annotations

from typing import Any


class ClosersError(Exception):
    """Root of everything that this provider raises on purpose."""


class ClosersConfigError(ClosersError, ValueError):
    """The connection, or an argument of the call, is unusable; nothing was sent."""


class FileUnavailableError(ClosersConfigError):
    """A file is not there, or its storage lets nobody read or write it; another time it may."""


class InvalidProspectError(ClosersError, ValueError):
    """The record breaks a record rule; nothing was sent."""


class TooManyDeletesError(ClosersError, ValueError):
    """More records to delete than ``max_deletes`` allows; nothing was sent."""


class SourceShrunkError(ClosersError, ValueError):
    """More people are gone from a sync's source than ``max_removed`` allows; nothing was sent."""


class SnapshotError(ClosersError, ValueError):
    """A sync's snapshot is lost, damaged, or another sync's; nothing was sent."""


class SyncRunningError(ClosersError):
    """Another run of the sync holds its lock."""


class ClosersAuthError(ClosersError):
    """The API refused the key (401 or 403)."""


class ClosersTryLaterError(ClosersError):
    """
    Nothing is wrong with the request; the API has no time for it.

    :param message: What was asked and answered.
    :param retry_after: Seconds the API asked to wait, ``None`` where it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message


class ClosersRateLimitError(ClosersTryLaterError):
    """The API asked to slow down (429) more often, or for longer, than a call waits."""


class ClosersUnavailableError(ClosersTryLaterError):
    """No answer that can be used: no connection, a time-out, a 5xx, a proxy's page."""


class ProspectExistsError(ClosersError):
    """A prospect with this email exists."""


class ProspectNotFoundError(ClosersError):
    """No prospect has this email."""


class ClosersAPIError(ClosersError):
    """
    The API refused the request for another reason.

    :param message: What was asked and answered, without the body.
    :param status_code: HTTP status of the answer.
    :param text: The start of the answer's text, the key blotted out.
    """

    def __init__(self, message: str, status_code: int, text: str = "") -> None:
        super().__init__(message, status_code, text)
        self.message = message
        self.status_code = status_code
        self.text = text

    def __str__(self) -> str:
        return self.message


class CheckpointDroppedError(ClosersError):
    """The checkpoint is of another input, and this one may be readable only once; the checkpoint is gone."""


class PushStoppedError(BaseException):
    """The push was told to stop; no record's error, so that nobody who handles those catches it."""


class PushFailedError(ClosersError):
    """
    A push ended with more rejects than allowed, or with records that were never settled.

    :param message: What is wrong and what to do.
    :param report: The push's :class:`~airflow_provider_closers.push.report.PushReport`.
    """

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message, report)
        self.message = message
        self.report = report

    def __str__(self) -> str:
        return self.message


def is_final(error: BaseException) -> bool:
    """
    Tell whether no other try of the same push can fare better: a bad key, a guard, an unusable argument.

    Rejects are final where the API refused them, or they broke a record rule; not where it failed at one.
    Nor is a file that can't be had: it may be late, or its storage out of order.
    """
    if isinstance(error, PushFailedError):
        return not error.report.may_pass
    if isinstance(error, FileUnavailableError):
        return False
    guards = TooManyDeletesError | SourceShrunkError | SnapshotError
    return isinstance(error, ClosersConfigError | ClosersAuthError | guards)
