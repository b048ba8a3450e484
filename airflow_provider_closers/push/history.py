"""How a push went over time: its pace, in few enough moments to keep in its report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Moments that are kept, at most: enough for a picture, and little for an XCom.
MOST_MOMENTS = 60

_FIRST_INTERVAL = 1.0

#: Seconds since the push began, and what it came to until then: records settled, requests, retries, and
#: requests answered 429.
Moment = tuple[float, int, int, int, int]


class History:
    """
    Moments of a push, evenly spaced whatever its length: each time there are too many, every other goes.

    :param earlier: The moments of the tries before, as :attr:`moments` gave them.
    """

    def __init__(self, earlier: Iterable[Sequence[float]] = ()) -> None:
        self._moments: list[Moment] = [_moment(values) for values in earlier]
        self._interval = _FIRST_INTERVAL
        if self._moments:
            self._space()

    @property
    def moments(self) -> list[Moment]:
        """The moments so far, the oldest first."""
        return self._moments

    def is_due(self, seconds: float) -> bool:
        """Tell whether a moment so many seconds after the push's beginning is to be noted."""
        return seconds >= (self._moments[-1][0] if self._moments else 0.0) + self._interval

    def note(self, moment: Moment) -> None:
        """Note how the push stands."""
        self._moments.append(_moment(moment))
        if len(self._moments) > MOST_MOMENTS:
            self._moments = self._moments[::2]  # the first and the last stay: they are one more than even
            self._space()

    def _space(self) -> None:
        """Let the moments to come lie as far apart as those so far, were they half of what is kept."""
        self._interval = max(self._interval, 2 * self._moments[-1][0] / MOST_MOMENTS)


def _moment(values: Sequence[float]) -> Moment:
    seconds, settled, requests, retries, throttled = values
    return round(seconds, 2), int(settled), int(requests), int(retries), int(throttled)
