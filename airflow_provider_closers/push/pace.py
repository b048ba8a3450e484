"""
How fast a push may send, all its threads together.

Nobody says what the API allows, so the pacer finds out. A push starts with a handful at once and
doubles its rate every tenth of a second until the first 429. What was accepted in the second before
a refused request *is* the limit, if it is counted over about a second as most are; so the rate falls
to a little less than that, rather than to some fixed part of what it was, and everybody pauses until
a second no longer holds more than the new rate.

From there the rate climbs. Slowly up to the ceiling, the limit as last seen, for each visit above it
costs a 429; the faster the farther it gets above, for then the ceiling is disproved. A ceiling that
is found again where it was is visited half as often, until the visits cost next to nothing. Only
requests that had to wait for their moment make the rate climb: a rate that nobody uses says nothing.

A 429 below the ceiling comes as a surprise: the limit fell, or somebody else uses it too. The cut is
deeper then (which is also what lets several pushes come to equal shares), and a single request
probes before the others follow, after a pause that doubles while the probe is refused.
"""

from __future__ import annotations

from collections import deque

from airflow_provider_closers.answer import Answer, Verdict

# At once, so that a few records don't wait for anything; from there on a ramp that an unlimited
# push is through within half a second. Each request raises the rate by a constant, so that it
# grows by that part per second: 7 doubles it in a tenth of a second.
_HANDFUL = 20
_FIRST_PACE = 100.0
# A first 429 that comes before anything could be accepted says little.
_LOWEST_FIRST_LIMIT = 10.0
_RAMP = 7.0

# On a 429 the rate falls to this part of what was accepted; the limit is taken for less by this
# factor where the 429 came as a surprise, which is below this part of the ceiling.
_KEPT = 0.97
_KEPT_BY_SURPRISE = 0.93
_SURE = 0.99
_LOWEST_PACE = 0.1

# From what is kept to the ceiling takes so many seconds at first, and so many times the silence that
# the 429 cost. A ceiling found again, within this part, doubles that: until of so many requests no
# more than one is refused, of so many seconds one is silence; a minute at most.
_SECONDS_TO_CEILING = 2.0
_SILENCES_TO_CEILING = 5.0
_SAME_CEILING = 0.15
_REQUESTS_PER_REFUSAL = 80.0
_SECONDS_PER_SILENCE = 20.0
_LONGEST_TO_CEILING = 60.0
# Above it, what the rate grows by per second for each time that it is the ceiling, and at most.
_STEEPNESS = 4.0
_FASTEST_CLIMB = 0.5
# What one request raises the rate by, at most: a second holds few where the rate is low.
_LARGEST_STEP = 0.2

# Seconds: the pause after a 429 without Retry-After, the longest it doubles to, and how long the
# answer to a probe is waited for (it may be lost).
_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_PATIENCE = 1.0

# How late a thread may wake up and have the schedule make up for it, in seconds.
_CATCH_UP = 0.05
# A set rate is kept to in spans this much longer, since requests don't arrive as evenly as they leave.
_SLACK = 1.02
# Requests remembered: those of the last second, and of the time until an answer speaks of them.
_REMEMBERED = 4096


class Pacer:
    """
    Tells when the next request may leave. Times are seconds on one monotonic clock.

    Not safe to share between threads without a lock.

    :param requests_per_second: A rate never to be exceeded, in any second; ``None`` for no other
        limit than the API's.
    """

    def __init__(self, requests_per_second: float | None = None) -> None:
        self._highest = requests_per_second or float("inf")
        # So many requests in such a span. A rate that is no whole number has a span of its own.
        self._most = max(1, round(requests_per_second or 0))
        self._span = _SLACK * self._most / self._highest

        self._is_limited = requests_per_second is not None
        self._pace = requests_per_second or _FIRST_PACE
        self._next = float("-inf")
        self._left: deque[float] = deque(maxlen=max(_REMEMBERED, self._most))
        self._refused: deque[float] = deque(maxlen=_REMEMBERED)

        self._ceiling = self._pace
        self._times_confirmed = 0
        self._seconds_to_ceiling = _SECONDS_TO_CEILING

        self._cut_at = self._cut_for = float("-inf")
        self._refused_since_cut = 0
        self._is_cut_enough = True
        self._pause = _PAUSE
        self._is_next_a_probe = False
        self._probed_at: float | None = None

    @property
    def rate(self) -> float | None:
        """Requests per second at present, ``None`` while nothing limits it."""
        return self._pace if self._is_limited else None

    def next_moment(self) -> float:
        """Return when the next request may leave; a moment that has passed means at once."""
        moment = self._next
        if self._span and len(self._left) >= self._most:
            moment = max(moment, self._left[-self._most] + self._span)
        if self._probed_at is not None:
            moment = max(moment, self._probed_at + _PATIENCE)
        return moment

    def leave(self, now: float) -> None:
        """Note that a request leaves now."""
        self._left.append(now)
        if self._is_next_a_probe:
            self._is_next_a_probe = False
            self._probed_at = now
        if not self._is_limited and len(self._left) < _HANDFUL:
            self._next = max(self._next, now)
            return
        # Farther behind the schedule than a thread is late, the pacer isn't what holds the push up.
        is_used = self._next >= now - _CATCH_UP
        self._next = max(self._next, now - _CATCH_UP) + 1 / self._pace
        if not self._is_limited:
            self._pace += _RAMP
        elif is_used:
            self._climb()

    def note(self, answer: Answer, sent_at: float, now: float) -> None:
        """
        Take from an answer what it says of the pace.

        :param sent_at: When its request left.
        :param now: When it came.
        """
        if answer.verdict is Verdict.RATE_LIMITED:
            self.throttled(sent_at, now, answer.retry_after)
            return
        if answer.status is not None:
            self.answered(sent_at)
        if answer.retry_after is not None:
            self.hold_back(now + answer.retry_after)

    def answered(self, sent_at: float) -> None:
        """
        Note an answer other than 429.

        :param sent_at: When its request left.
        """
        if sent_at > self._cut_at:
            self._is_cut_enough = True
            self._probed_at = None

    def throttled(self, sent_at: float, now: float, retry_after: float | None) -> None:
        """
        Note a 429.

        :param sent_at: When its request left.
        :param now: When it came.
        :param retry_after: For how many seconds it asks for silence, if it does.
        """
        self._refused.append(sent_at)
        self._refused_since_cut += 1
        if retry_after is not None:
            self.hold_back(now + retry_after)
        # What left before the last cut says nothing about the rate since, but it corrects the
        # count that the cut was based on, which took what was not answered yet for accepted.
        if sent_at > self._cut_at:
            self._cut(sent_at, now, retry_after or 0.0)
        elif sent_at <= self._cut_for:
            self._limit_to(min(self._ceiling, max(self._ceiling - 1, 1.0)))

    def hold_back(self, until: float) -> None:
        """Let nothing leave before."""
        self._next = max(self._next, until)

    def _climb(self) -> None:
        """Raise the rate by one request's part."""
        growth = (1 - _KEPT) / self._seconds_to_ceiling
        above = self._pace / self._ceiling - 1
        if above > 0:
            growth = min(growth + _STEEPNESS * above, _FASTEST_CLIMB, _LARGEST_STEP * self._pace)
        self._pace = min(self._pace + growth, self._highest)

    def _cut(self, sent_at: float, now: float, retry_after: float) -> None:
        is_surprise = self._is_limited and self._pace <= _SURE * self._ceiling
        limit = self._limit_seen(sent_at) * (_KEPT_BY_SURPRISE if is_surprise else 1)
        self._pause = _PAUSE if self._is_cut_enough else min(2 * self._pause, _LONGEST_PAUSE)
        self._is_next_a_probe = is_surprise or not self._is_cut_enough
        self._probed_at = None

        self._remember_ceiling(limit, retry_after, is_surprise=is_surprise)
        self._is_limited = True
        self._limit_to(limit)
        self._cut_at, self._cut_for = now, sent_at
        self._refused_since_cut = 0
        self._is_cut_enough = False

        # Those refused are among them: some servers count them too.
        fitting = min(max(1, int(self._pace)), len(self._left))
        self.hold_back(max(now + self._pause, self._left[-fitting] + 1))

    def _limit_seen(self, sent_at: float) -> float:
        """Return how many requests per second were accepted before one that was refused."""
        # Below one per second: the time since the request before.
        seconds = max(1.0, 1.1 / self._pace)
        accepted = sum(sent_at - seconds < at <= sent_at for at in self._left)
        accepted -= sum(sent_at - seconds < at <= sent_at for at in self._refused)
        if not self._is_limited:
            return max(accepted, _LOWEST_FIRST_LIMIT)
        # Next to none is rather a server that is in trouble.
        return min(max(accepted / seconds, self._pace / 2), self._pace)

    def _remember_ceiling(self, limit: float, retry_after: float, *, is_surprise: bool) -> None:
        """Decide how soon to visit the ceiling again."""
        if abs(limit / self._ceiling - 1) > _SAME_CEILING:
            self._times_confirmed = 0
        elif not is_surprise:
            self._times_confirmed += 1
        at_first = max(_SECONDS_TO_CEILING, _SILENCES_TO_CEILING * retry_after)
        cheap = max(
            _REQUESTS_PER_REFUSAL * self._refused_since_cut / limit, _SECONDS_PER_SILENCE * retry_after
        )
        seconds = min(at_first * 2.0**self._times_confirmed, max(at_first, cheap))
        self._seconds_to_ceiling = min(seconds, _LONGEST_TO_CEILING)

    def _limit_to(self, limit: float) -> None:
        self._ceiling = max(limit, _LOWEST_PACE)
        self._pace = min(_KEPT * self._ceiling, self._highest)
