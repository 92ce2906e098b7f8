"""The gate on the number of rows: what it compares, in which words, how often it is wrong, how soon it sees a loss."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.portfolio import Gates
from credit_assets.ml.rules.volume_gates import APPLICATION_SPANS, OUTCOME_SPANS, history_days, volume_gate

MONDAY = date(2024, 9, 2)
SUNDAY = MONDAY - timedelta(days=1)
WEEK = [100, 100, 100, 100, 100, 50, 0]


def history(day: date, days: int = 140, week: list[int] | None = None, **more: int) -> dict[int, int]:
    """Rows of the days before, by the weekday."""
    rows = week or WEEK
    counts = {day.toordinal() - n: rows[(day - timedelta(days=n)).weekday()] for n in range(1, days + 1)}
    return {one: count for one, count in counts.items() if count}


def gate(day: date, rows: int, recent: dict[int, int], spans: Any = (1,), **limits: Any) -> GateResult:
    return volume_gate(day, rows, Gates(**limits), recent, spans, empty_is_news=spans != OUTCOME_SPANS)


@pytest.mark.parametrize(
    ("day", "rows", "compare", "verdict"),
    [
        (MONDAY, 100, "same_weekday", "passed"),
        (MONDAY, 50, "same_weekday", "warn"),  # as on a Saturday
        (MONDAY - timedelta(days=2), 50, "same_weekday", "passed"),
        (MONDAY - timedelta(days=2), 50, "all_days", "warn"),
        (SUNDAY, 0, "same_weekday", "passed"),  # nobody ever applies on a Sunday
        (SUNDAY, 0, "all_days", "warn"),
        (SUNDAY, 100, "same_weekday", "warn"),
        (MONDAY, 0, "same_weekday", "warn"),
        (MONDAY, 9, "same_weekday", "error"),
        (MONDAY, 1001, "same_weekday", "error"),
    ],
)
def test_a_day_is_compared_with_like_days(day: date, rows: int, compare: str, verdict: str) -> None:
    assert gate(day, rows, history(day), volume_compare=compare).verdict == verdict


def test_without_three_like_weekdays_all_days_are_compared() -> None:
    found = gate(MONDAY, 100, history(MONDAY, 14))
    assert found.passed
    assert "the median of 12 days with rows among the last 28" in found.description
    assert gate(MONDAY, 100, {}).description == "No recent day to compare with."
    # A book that began long ago and had nothing lately.
    assert gate(MONDAY, 100, {MONDAY.toordinal() - 29: 500}).passed


def test_the_words_have_the_numbers_and_the_setting() -> None:
    found = gate(MONDAY, 41, history(MONDAY))
    assert found.value == 41
    assert found.description.startswith(
        "41 rows where 100 were expected, the median of the last 4 Mondays: see whether"
    )
    assert "a factor of 10 (gates: volume_max_ratio) of 100, the median of the last 4 Mondays" in found.threshold


def test_a_day_has_one_verdict_whatever_is_ingested_with_it() -> None:
    alone = history(MONDAY, history_days(Gates()))
    long = history(MONDAY, 500, [300] * 7) | alone
    later = {MONDAY.toordinal() + n: 9_999 for n in range(9)}
    for rows in (0, 40, 100, 170):
        expected = gate(MONDAY, rows, alone, OUTCOME_SPANS)
        assert gate(MONDAY, rows, long | later, OUTCOME_SPANS) == expected


def test_a_book_that_is_booked_once_a_month_is_no_surprise() -> None:
    ends = [date(2024, month + 1, 1) - timedelta(days=1) for month in range(1, 9)]
    recent = {day.toordinal(): 500 + day.day for day in ends}
    assert gate(date(2024, 9, 30), 520, recent, OUTCOME_SPANS).passed
    assert gate(date(2024, 9, 12), 0, recent, OUTCOME_SPANS).passed


def test_few_outcomes_are_no_news_and_half_of_them_missing_for_weeks_is() -> None:
    recent = history(MONDAY, 140, [3] * 7)
    for rows in (0, 1, 6):
        assert gate(MONDAY, rows, recent, OUTCOME_SPANS).passed
    halved = {one: (1 if MONDAY.toordinal() - one < 28 else count) for one, count in recent.items()}
    found = gate(MONDAY, 1, halved, OUTCOME_SPANS)
    assert found.verdict == "warn"
    assert "28 rows where 84 were expected" in found.description


# The rates of docs/data-problems.md, on fewer books

LIVED = 28


def rates(mean: float, spans: Any, books: int, *, halved: bool) -> tuple[int, dict[int, int]]:
    """On books of Poisson days with a week and 15% scatter: days that warned, and books that had by some day."""
    start, week = MONDAY - timedelta(days=140), np.array([1.2, 1.2, 1.2, 1.2, 1.2, 0.7, 0.3])
    warned, seen = 0, dict.fromkeys((1, 7, LIVED), 0)
    for seed in range(books):
        rng = np.random.default_rng(seed)
        means = mean * week[np.arange(140 + LIVED) % 7] * rng.gamma(1 / 0.15**2, 0.15**2, 140 + LIVED)
        counts = rng.poisson(means)
        if halved:
            counts[140:] = rng.binomial(counts[140:], 0.5)
        recent = {start.toordinal() + n: int(count) for n, count in enumerate(counts) if count}
        days = [MONDAY + timedelta(days=n) for n in range(LIVED)]
        verdicts = [
            volume_gate(d, recent.get(d.toordinal(), 0), Gates(), recent, spans, empty_is_news=False) for d in days
        ]
        warned += sum(not one.passed for one in verdicts)
        for day in seen:
            seen[day] += any(not one.passed for one in verdicts[:day])
    return warned, seen


@pytest.mark.parametrize(("mean", "spans"), [(1, OUTCOME_SPANS), (10, OUTCOME_SPANS), (100, APPLICATION_SPANS)])
def test_steady_books_hardly_ever_warn(mean: float, spans: Any) -> None:
    warned, _ = rates(mean, spans, 12, halved=False)
    assert warned <= 0.02 * 12 * LIVED


@pytest.mark.parametrize(
    ("mean", "spans", "by", "least"),
    [
        (3, OUTCOME_SPANS, 28, 10),
        (10, OUTCOME_SPANS, 28, 12),
        (30, OUTCOME_SPANS, 7, 10),
        (100, APPLICATION_SPANS, 7, 11),
    ],
)
def test_a_halved_load_is_seen(mean: float, spans: Any, by: int, least: int) -> None:
    assert rates(mean, spans, 12, halved=True)[1][by] >= least
