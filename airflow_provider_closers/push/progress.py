"""How a push goes, in words for the task's log."""

from __future__ import annotations

import time

from airflow_provider_closers.push.report import Outcome, PushReport
from airflow_provider_closers.push.window import Window


class Progress:
    """
    Says how far a push is, how fast, and when it will be done.

    :param total: Records to come in all, ``None`` where the input does not say.
    :param done_before: Records that earlier tries of the push settled: no achievement of this one's.
    """

    def __init__(self, total: int | None, done_before: int = 0) -> None:
        self._total = total
        self._done_before = done_before
        self._said_at = time.monotonic()

    def line(self, report: PushReport, window: Window) -> str:
        """Return one line: done, speed since the last line, time left, and what did not go smoothly."""
        done = _done(report)
        per_second = self._per_second(done)
        of_total = f" of {self._total:,} ({done / self._total:.0%})" if self._total else ""
        head = f"{report.operation}: {done:,}{of_total}, {per_second:,.1f}/s"
        if self._total and per_second:
            head += f", {duration((self._total - done) / per_second)} left"
        parts = [head]
        if report.rejected:
            parts.append(f"{report.rejected:,} rejected")
        if report.retries:
            parts.append(f"{report.retries:,} retries")
        if report.throttled:
            parts.append(f"{report.throttled:,} answered 429")
        if seconds := window.dark_for:
            parts.append(f"no useful answer for {duration(seconds)}, asking one request at a time")
        pace = f"at most {_rate(window.rate)} requests/s" if window.rate else "no limit"
        parts.append(f"pace: {pace}, {window.in_flight} in flight")
        return "; ".join(parts)

    def _per_second(self, done: int) -> float:
        now = time.monotonic()
        since, seconds = done - self._done_before, now - self._said_at
        self._done_before, self._said_at = done, now
        return since / seconds if seconds > 0 else 0.0


def table(report: PushReport, window: Window) -> str:
    """Return the account of a whole push, a count a line."""
    operation = f"preview of {report.operation}" if report.preview else report.operation
    early = ", stopped before its end" if window.was_cut_short else ""
    speed = f", {_done(report) / report.seconds:,.1f}/s" if _done(report) and report.seconds > 1 else ""
    rows = [
        (name, f"{n:>11,}  {n / report.total:>7.2%}")
        for name, n in report.outcomes.items()
        if n or (name == Outcome.REJECTED and report.total)
    ]
    if report.withheld_flags:
        rows.append(("withheld flags", f"{report.withheld_flags:>11,}"))
    asides = [f"{report.retries:,} retries"] if report.retries else []
    asides += [f"{report.throttled:,} answered 429"] if report.throttled else []
    rows.append(("requests", f"{report.requests:>11,}" + (f"  ({', '.join(asides)})" if asides else "")))
    head = f"{operation}{early}: {report.total:,} records in {duration(report.seconds)}{speed}"
    return "\n".join([head, *(f"  {name:<14} {figures}" for name, figures in rows)])


def _done(report: PushReport) -> int:
    # A preview is done with a record that it has read, though it leaves it unresolved.
    return report.total if report.preview else report.total - report.unresolved


def _rate(per_second: float) -> str:
    return f"{per_second:,.1f}" if per_second >= 1 else f"{per_second:.2g}"


def duration(seconds: float) -> str:
    """Return a time span as a person would say it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"
