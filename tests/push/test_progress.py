"""What a push says of itself while it runs, and at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_closers.push import progress as module
from airflow_provider_closers.push.progress import Progress, duration, table
from airflow_provider_closers.push.report import PushReport, Reject


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """Time, which passes when a test says so."""
    clock = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def report(**counts: Any) -> PushReport:
    counts = {"operation": "upsert", **counts}
    made = PushReport(**counts)
    settled = sum(made.outcomes.values())
    return PushReport(**{"total": settled, **counts})


def window(**state: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"was_cut_short": False, "rate": None, "in_flight": 0, "dark_for": 0.0, **state})


# -- the line


def test_a_line_says_how_far_how_fast_and_how_long_still(clock):
    progress = Progress(1_000)

    clock.now += 10
    line = progress.line(report(total=300, created=200, unresolved=100), window(in_flight=16))

    assert line == "upsert: 200 of 1,000 (20%), 20.0/s, 40.0 s left; pace: no limit, 16 in flight"


def test_the_speed_is_that_since_the_last_line(clock):
    progress = Progress(10_000)
    clock.now += 10
    progress.line(report(created=1_000), window())

    clock.now += 20
    line = progress.line(report(created=1_100, updated=900), window())

    assert line.startswith("upsert: 2,000 of 10,000 (20%), 50.0/s, 2 min 40 s left;")


@pytest.mark.parametrize("total", [None, 0], ids=["unknown", "none"])
def test_without_a_total_a_line_says_neither_a_share_nor_an_end(clock, total):
    progress = Progress(total)

    clock.now += 4
    line = progress.line(report(created=2_000), window())

    assert line == "upsert: 2,000, 500.0/s; pace: no limit, 0 in flight"


def test_a_push_that_stands_still_has_no_end_in_sight(clock):
    progress = Progress(1_000)
    clock.now += 10
    progress.line(report(created=500), window())

    clock.now += 10
    line = progress.line(report(created=500), window())

    assert line == "upsert: 500 of 1,000 (50%), 0.0/s; pace: no limit, 0 in flight"


def test_two_lines_at_one_moment_do_not_divide_by_zero(clock):
    progress = Progress(1_000)

    assert progress.line(report(created=500), window()).startswith("upsert: 500 of 1,000 (50%), 0.0/s;")


def test_rejects_and_what_was_skipped_are_done_too(clock):
    progress = Progress(100)

    clock.now += 10
    line = progress.line(report(created=10, rejected=20, suppressed=30, existing=40), window())

    assert line.startswith("upsert: 100 of 100 (100%), 10.0/s, 0.0 s left; 20 rejected;")


@pytest.mark.parametrize(
    ("counts", "state", "said"),
    [
        pytest.param({"rejected": 1_234}, {}, "1,234 rejected", id="rejects"),
        pytest.param({"retries": 1_234}, {}, "1,234 retries", id="retries"),
        pytest.param({"throttled": 1_234}, {}, "1,234 answered 429", id="429s"),
        pytest.param(
            {},
            {"dark_for": 40.0},
            "no useful answer for 40.0 s, asking one request at a time",
            id="an API that is dark",
        ),
        pytest.param({}, {"rate": 12.34}, "pace: at most 12.3 requests/s, 0 in flight", id="a pace"),
        pytest.param({}, {"in_flight": 7}, "pace: no limit, 7 in flight", id="in flight"),
    ],
)
def test_what_did_not_go_smoothly_is_said(clock, counts, state, said):
    line = Progress(None).line(report(**counts), window(**state))

    assert said in line.split("; ")


def test_what_went_smoothly_is_not_said(clock):
    line = Progress(None).line(report(created=5), window())

    assert [word for word in ("rejected", "retries", "429", "left") if word in line] == []


# -- the table


def test_a_table_gives_each_count_its_line():
    counted = report(
        created=97_000,
        existing=2_000,
        rejected=1_000,
        withheld_flags=300,
        requests=101_500,
        retries=1_500,
        throttled=42,
        seconds=200.0,
    )

    assert table(counted, window()).splitlines() == [
        "upsert: 100,000 records in 3 min 20 s, 500.0/s",
        "  created             97,000   97.00%",
        "  existing             2,000    2.00%",
        "  rejected             1,000    1.00%",
        "  withheld flags         300",
        "  requests           101,500  (1,500 retries, 42 answered 429)",
    ]


def test_that_nothing_was_rejected_is_worth_a_line():
    lines = table(report(created=3, requests=3), window()).splitlines()

    assert lines[1:] == [
        "  created                  3  100.00%",
        "  rejected                 0    0.00%",
        "  requests                 3",
    ]


def test_what_was_not_settled_is_in_the_table():
    assert (
        "  unresolved               5   50.00%"
        in table(report(created=5, unresolved=5), window()).splitlines()
    )


def test_the_table_of_no_records_is_short():
    assert table(report(), window()).splitlines() == [
        "upsert: 0 records in 0.0 s",
        "  requests                 0",
    ]


def test_a_preview_is_called_so():
    assert table(report(preview=True, unresolved=2), window()).startswith(
        "preview of upsert: 2 records in 0.0 s\n"
    )


def test_the_speed_of_an_instant_is_not_said():
    assert table(report(created=3, seconds=0.5), window()).startswith("upsert: 3 records in 0.5 s\n")


def test_no_email_is_said(clock):
    told = report(rejected=1, rejects=[Reject(0, {"email": "jane@acme.io"}, "no", email="j***@acme.io")])

    said = Progress(10).line(told, window()) + table(told, window())

    assert "@" not in said


# -- time spans


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (1.26, "1.3 s"),
        (99.9, "99.9 s"),
        (100, "1 min 40 s"),
        (119.6, "2 min 0 s"),
        (3_600, "60 min 0 s"),
        (5_999, "99 min 59 s"),
        (6_000, "1 h 40 min"),
        (86_400, "24 h 0 min"),
        (3_600_000 * 2, "2,000 h 0 min"),
    ],
)
def test_a_time_span_is_said_as_a_person_would(seconds, said):
    assert duration(seconds) == said


def test_what_an_earlier_try_did_is_not_this_one_s_speed(clock):
    progress = Progress(3_000, done_before=2_000)

    clock.now += 10
    line = progress.line(report(created=2_100), window())

    assert line.startswith("upsert: 2,100 of 3,000 (70%), 10.0/s, 90.0 s left;")


def test_a_low_rate_is_not_said_as_none(clock):
    assert "at most 0.01 requests/s" in Progress(None).line(report(), window(rate=0.01))


def test_a_preview_is_done_with_what_it_read(clock):
    told = report(preview=True, total=50, unresolved=50)

    assert Progress(100).line(told, window()).startswith("upsert: 50 of 100 (50%)")


def test_a_push_that_stopped_early_says_so(clock):
    told = report(total=10, created=4, unresolved=6, seconds=2.0)

    assert table(told, window(was_cut_short=True)).startswith(
        "upsert, stopped before its end: 10 records in 2.0 s, 2.0/s\n"
    )
