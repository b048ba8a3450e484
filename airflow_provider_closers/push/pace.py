"""How fast a push may send, all its threads together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# On a 429 the rate falls to this part of what got through.
_FALL = 0.7
# Each answer raises the rate by a constant, so it climbs by that part per second, whatever it is:
# steeply after the first 429, which may come before anything got through, gently once known.
_STEEP_CLIMB = 0.5
_GENTLE_CLIMB = 0.05
_FIRST_RATE = 10.0
_LOWEST_RATE = 0.2
# A rate that is not used up says nothing: it climbs no higher than this times what gets through.
_HEADROOM = 2.0
# Limits are counted over a second or so: what is refused within it was used up before the cut.
_SECONDS_FOR_A_CUT_TO_SHOW = 1.0


class Pacer:
    """
    Gives out the moments at which requests may leave; safe to share between threads.

    With a fixed rate it spaces them evenly. Without one it lets them pass until the API answers
    429, and from then on follows the rate that the API takes: down at once, up slowly.

    :param requests_per_second: The fixed rate, ``None`` to find it.
    :param clock: Monotonic seconds; tests put in their own.
    """

    def __init__(
        self, requests_per_second: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fixed = requests_per_second is not None
        self._rate = requests_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0
        self._held_until = 0.0
        self._cut_at = float("-inf")
        self._climb = _STEEP_CLIMB
        self._answers = 0
        self._counted_from = clock()
        self._got_through = 0.0

    @property
    def rate(self) -> float | None:
        """Requests per second at present, ``None`` for no limit."""
        return self._rate

    def reserve(self) -> float:
        """Take the next moment to send; return it on the clock."""
        with self._lock:
            moment = max(self._next, self._held_until, self._clock())
            self._next = moment + (1 / self._rate if self._rate else 0.0)
            return moment

    def still_good(self, moment: float) -> bool:
        """Tell whether a reserved moment still stands: a hold may have come in between."""
        return moment >= self._held_until

    def hold_back(self, seconds: float) -> None:
        """Let nothing leave for so long, as ``Retry-After`` asks."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)

    def answered(self) -> None:
        """Note an answer other than 429."""
        with self._lock:
            self._answers += 1
            self._measure()
            if self._rate is None or self._fixed:
                return
            if self._rate < max(_HEADROOM * self._got_through, _FIRST_RATE):
                self._rate += self._climb

    def throttled(self, sent_at: float) -> None:
        """
        Note a 429.

        :param sent_at: When its request left. Those that left before the last cut of the rate, or
            just after, say nothing about the new rate.
        """
        with self._lock:
            if self._fixed or sent_at < self._cut_at + _SECONDS_FOR_A_CUT_TO_SHOW:
                return
            self._measure()
            if self._rate is None:
                self._rate = max(self._got_through, self._answers, _FIRST_RATE) * _FALL
            else:
                self._climb = _GENTLE_CLIMB
                self._rate = max(self._rate * _FALL, _LOWEST_RATE)
            self._cut_at = self._clock()

    def _measure(self) -> None:
        """Take what got through per second, once a second."""
        seconds = self._clock() - self._counted_from
        if seconds >= 1.0:
            self._got_through = self._answers / seconds
            self._answers, self._counted_from = 0, self._clock()
