"""What was asked and answered, and how much of it."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

KeyCheck = Literal["ok", "missing", "wrong"]

# As long as the strip on the page.
_SECONDS_KEPT = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """
    One request to the API and what became of it.

    The key itself is never kept, only whether it was the right one.
    """

    #: Counts from 1 in the order in which the requests took effect or were refused.
    seq: int
    #: Arrival, in seconds since the epoch.
    time: float
    #: Arrival on the monotonic clock of the sandbox's process.
    monotonic: float
    method: str
    email: str | None
    query: str
    #: The decoded body, or its text where it is no JSON; ``None`` where there is none.
    body: Any
    key: KeyCheck
    #: ``"dropped"`` where no answer was sent at all.
    status: int | Literal["dropped"]
    #: Whether a prospect was created, changed or removed.
    wrote: bool
    #: The kind of the fault that struck; ``rate_limit``, ``error_rate`` and ``drop_rate`` for the settings.
    fault: str | None
    #: Seconds from arrival to the answer.
    latency: float

    def as_json(self) -> dict[str, Any]:
        """Return the entry as ``/sandbox/journal`` shows it, with the time as ISO 8601 text."""
        return {**asdict(self), "time": iso_time(self.time)}


def iso_time(seconds: float) -> str:
    """Return a time since the epoch as text, in UTC and to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class Journal:
    """
    The last requests in full, and counts of all of them.

    :param size: How many requests are kept.
    """

    def __init__(self, size: int) -> None:
        self._entries: deque[JournalEntry] = deque(maxlen=size)
        self.clear()

    def clear(self) -> None:
        """Forget all requests and counts; the numbering starts anew."""
        self._entries.clear()
        self.total = 0
        self._by_method_and_status: Counter[tuple[str, int | str]] = Counter()
        self._by_fault: Counter[str] = Counter()
        self._wrote = 0
        self._last_second: deque[float] = deque()
        self._peak_per_second = 0
        self._per_second: deque[tuple[int, int]] = deque(maxlen=_SECONDS_KEPT)
        self._in_flight_peak = 0

    def arrived(self, now: float, in_flight: int) -> None:
        """Count a request that came in at this time of the monotonic clock."""
        last_second = self._last_second
        last_second.append(now)
        while last_second[0] <= now - 1:
            last_second.popleft()
        self._peak_per_second = max(self._peak_per_second, len(last_second))
        self._in_flight_peak = max(self._in_flight_peak, in_flight)
        second = int(now)
        if self._per_second and self._per_second[-1][0] == second:
            self._per_second[-1] = (second, self._per_second[-1][1] + 1)
        else:
            self._per_second.append((second, 1))

    def add(
        self,
        *,
        wall: float,
        monotonic: float,
        method: str,
        email: str | None,
        query: str,
        body: Any,
        key: KeyCheck,
        status: int | Literal["dropped"],
        wrote: bool,
        fault: str | None,
    ) -> None:
        """Note a request whose answer is settled."""
        self.total += 1
        self._by_method_and_status[method, status] += 1
        if fault is not None:
            self._by_fault[fault] += 1
        self._wrote += wrote
        self._entries.append(
            JournalEntry(
                seq=self.total,
                time=wall,
                monotonic=monotonic,
                method=method,
                email=email,
                query=query,
                body=body,
                key=key,
                status=status,
                wrote=wrote,
                fault=fault,
                latency=time.monotonic() - monotonic,
            )
        )

    def entries(
        self, *, since: int = 0, email: str | None = None, method: str | None = None
    ) -> list[JournalEntry]:
        """
        Return the kept requests that are later than number ``since``, in order.

        :param since: The number of the last request that is already known.
        :param email: Only the requests for this email.
        :param method: Only the requests with this method.
        """
        known = max(0, since - (self.total - len(self._entries)))
        later: Iterable[JournalEntry] = islice(self._entries, known, None)
        return [
            entry
            for entry in later
            if (email is None or entry.email == email) and (method is None or entry.method == method)
        ]

    def counts(self) -> dict[str, Any]:
        """Return how many requests there were, of which kind, and how fast they came."""
        by_method: Counter[str] = Counter()
        by_status: Counter[str] = Counter()
        methods: dict[str, dict[str, int]] = {}
        for (method, status), count in self._by_method_and_status.items():
            by_method[method] += count
            by_status[str(status)] += count
            methods.setdefault(method, {})[str(status)] = count
        now = int(time.monotonic())
        seen = dict(self._per_second)
        return {
            "total": self.total,
            "wrote": self._wrote,
            "by_method": dict(by_method),
            "by_status": dict(by_status),
            "by_method_and_status": methods,
            "by_fault": dict(self._by_fault),
            "in_flight_peak": self._in_flight_peak,
            "peak_per_second": self._peak_per_second,
            "per_second": [seen.get(second, 0) for second in range(now - _SECONDS_KEPT + 1, now + 1)],
        }
