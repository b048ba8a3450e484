"""Whether the API is out of order, and how it is then treated."""

from __future__ import annotations

from airflow_provider_closers.answer import Answer, Verdict
from airflow_provider_closers.push.retry import LONGEST_BACKOFF, LONGEST_WAIT

#: Verdicts that say nothing about the record: the API did not get to it.
NO_USE = frozenset({Verdict.UNAVAILABLE, Verdict.RATE_LIMITED, Verdict.NOT_THE_API})

# A few failures are everyday life, however long they took.
_FEWEST_ANSWERS = 5
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
# A longer wait that the API asks for starts an outage anew: it must cost a try, or that might never end.
_LONGEST_FREE_WAIT = LONGEST_BACKOFF / 2


class OutageWatch:
    """
    Watches for a stretch in which no answer was of any use.

    Once a whole window of requests went without a useful answer, the API is *dark*: it is then asked
    by one request at a time, ever more rarely, until an answer is of use again. That spares the API, and the
    records' tries: a short outage makes no rejects.

    All that is no sign of an outage where only one email's records were asked (see
    :attr:`may_be_one_email`): the API may fail at these alone.

    :param outage_seconds: After so long without a useful answer it is an outage.
    :param window: Requests in flight at once, at most.
    :param longest_wait: Seconds of a wait that the API asked for which are no part of an outage, at most.
    """

    def __init__(self, outage_seconds: float, window: int, longest_wait: float = LONGEST_WAIT) -> None:
        self._outage_seconds = outage_seconds
        self._longest_wait = longest_wait
        self._answers_until_dark = max(window, _FEWEST_ANSWERS)
        self._useless_in_a_row = 0
        self._since = self._noted_at = 0.0
        self._email = ""
        self._may_be_one_email = False
        self._excused = self._excused_until = 0.0
        self._pause = _FIRST_PAUSE
        self._next_probe = 0.0

    def note(self, answer: Answer, email: str, sent_at: float, now: float) -> None:
        """
        Note an answer.

        :param email: Whom its request was about.
        :param sent_at: When its request left.
        :param now: When it came.
        """
        if answer.verdict not in NO_USE:
            self._useless_in_a_row = 0
            return
        if self._useless_in_a_row == 0 or sent_at - self._noted_at > LONGEST_BACKOFF:
            # Not since the last useful answer: a source may have had nothing to send for long.
            self._since, self._excused = now, 0.0
            self._next_probe, self._pause = 0.0, _FIRST_PAUSE
            self._email, self._may_be_one_email = email, True
        self._may_be_one_email &= email == self._email and _may_be_the_record_s_fault(answer)
        self._useless_in_a_row += 1
        self._noted_at = now
        if answer.retry_after is not None:
            self._excuse(now, now + answer.retry_after)
        if self.is_dark and now >= self._next_probe:  # not for each that was in flight when it got dark
            self._next_probe = now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    @property
    def is_dark(self) -> bool:
        """Whether nothing across the window was of use lately."""
        return self._useless_in_a_row >= self._answers_until_dark

    def dark_for(self, now: float) -> float:
        """Return for how many seconds the API has been dark; zero where it is not."""
        return now - self._since if self.is_dark else 0.0

    @property
    def may_be_one_email(self) -> bool:
        """Whether the useless answers in a row all are to one email's records, and may be due to them."""
        return self._may_be_one_email

    def costs_no_try(self, answer: Answer) -> bool:
        """Tell whether an answer speaks of an API that is dark, and not of the record that asked it."""
        is_wait_short = (answer.retry_after or 0.0) <= _LONGEST_FREE_WAIT
        return answer.verdict.is_transient and is_wait_short and self.is_dark and not self._may_be_one_email

    def next_probe(self, in_flight: int) -> float:
        """Return when a dark API may be asked again: never while an answer is awaited."""
        return float("inf") if in_flight else self._next_probe

    def is_outage(self, now: float) -> bool:
        """Tell whether nothing was of use for too long."""
        seconds = now - self._since - min(self._excused, self._longest_wait)
        return self._useless_in_a_row >= _FEWEST_ANSWERS and seconds > self._outage_seconds

    def _excuse(self, now: float, until: float) -> None:
        """Note a wait that the API asked for: it is no sign of an outage, unless it asks for ever."""
        self._excused += max(until - max(now, self._excused_until), 0.0)
        self._excused_until = max(until, self._excused_until)


def _may_be_the_record_s_fault(answer: Answer) -> bool:
    """Tell whether the API may fail at this record alone: it got there, and was not held off."""
    return answer.verdict is Verdict.UNAVAILABLE and (answer.status is not None or answer.may_have_worked)
