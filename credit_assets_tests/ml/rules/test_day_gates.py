"""The gates of a day that hold numbers against a limit: volume, and shares beyond chance."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.rules.day_gates import exceeds
from credit_assets.ml.rules.volume_gates import history_days
from credit_assets_tests.support.contract_days import DAY, NEXT, check, gates_of, rows, small
from credit_assets_tests.support.synthetic import canonical_book


@pytest.fixture(scope="module")
def portfolio() -> Portfolio:
    return load_portfolio()


@pytest.fixture
def day() -> pd.DataFrame:
    """A hundred sound applications of DAY."""
    return canonical_book(100, DAY, DAY, seed=5)[0]


# Volume


@pytest.mark.parametrize(
    ("rows_today", "recent", "verdict"),
    [
        (100, [], "passed"),  # nothing to compare with
        (100, [0, 0, 0], "passed"),
        (100, [100] * 28, "passed"),
        (100, [60, 110, 95, 0, 0], "passed"),  # closed days do not drag the median down
        (100, [12], "warn"),  # 8 times 12: few were expected, so no more than a warning
        (100, [25] * 28, "warn"),
        (100, [70] * 28, "passed"),  # more than Poisson noise, but books grow
        (100, [40] * 28, "warn"),
        (100, [210] * 28, "warn"),
        (100, [1_001] * 28, "error"),
        (100, [999] * 28, "warn"),
        (9, [100] * 28, "error"),
        (1, [5] * 28, "passed"),  # a fifth of five happens by chance
    ],
)
def test_volume_against_recent_days(portfolio: Portfolio, day: pd.DataFrame, rows_today, recent, verdict):
    history = {DAY - timedelta(days=back + 1): count for back, count in enumerate(recent)}
    volume = gates_of(check(day.head(rows_today), portfolio, recent=history))["volume"]
    assert volume.verdict == verdict
    assert volume.value == rows_today


def test_volume_looks_at_the_recent_days_only(portfolio: Portfolio, day: pd.DataFrame):
    far = {DAY: 9_999, NEXT: 9_999, DAY - timedelta(days=history_days(portfolio.gates) + 1): 9_999}
    assert gates_of(check(day, portfolio, recent=far))["volume"].passed


def test_an_empty_day_is_valid_and_says_so(portfolio: Portfolio, day: pd.DataFrame):
    result = check(day.head(0), portfolio, recent={DAY - timedelta(days=1): 1_000})
    gates = gates_of(result)
    assert [name for name, gate in gates.items() if not gate.passed] == ["volume"]
    assert gates["volume"].verdict == "warn"
    assert "empty" in gates["volume"].description
    assert result.kept.num_rows == 0


# Shares


def test_missing_share_blocks_beyond_its_limit(portfolio: Portfolio, day: pd.DataFrame):
    day.loc[:29, "interest_rate"] = np.nan
    share = gates_of(check(day, portfolio))["missing_share"]
    assert share.blocks
    assert share.value == pytest.approx(0.30)
    assert share.details == ({"column": "interest_rate", "problem": "missing, at most 0.05 of the rows", "count": 30},)


def test_missing_share_of_a_small_day_is_given_its_chance(portfolio: Portfolio, day: pd.DataFrame):
    few = day.head(25).copy()
    few.loc[:1, "interest_rate"] = np.nan  # 8% of 25 rows, limit 5%
    assert gates_of(check(few, portfolio))["missing_share"].passed
    many = canonical_book(5_000, DAY, DAY, seed=1)[0]
    many.loc[:399, "interest_rate"] = np.nan  # 8% of 5,000 rows
    assert gates_of(check(many, portfolio))["missing_share"].blocks


def test_a_share_of_zero_allows_nothing():
    portfolio = small({"name": "amount", "type": "float", "max_missing_share": 0})
    assert gates_of(check(rows(amount=[1.0] * 30 + [np.nan]), portfolio))["missing_share"].blocks
    assert gates_of(check(rows(amount=[1.0] * 30), portfolio))["missing_share"].passed


def test_quarantined_share_blocks_beyond_its_limit(portfolio: Portfolio, day: pd.DataFrame):
    day.loc[:9, "annual_income"] = -1.0
    share = gates_of(check(day, portfolio))["quarantined_share"]
    assert share.blocks
    assert share.value == pytest.approx(0.10)
    one = canonical_book(10, DAY, DAY, seed=1)[0]
    one.loc[0, "annual_income"] = -1.0
    assert gates_of(check(one, portfolio))["quarantined_share"].passed


def test_exceeds_is_the_binomial_tail():
    from math import comb

    for n, limit in ((25, 0.05), (100, 0.05), (40, 0.5)):
        for k in range(n + 1):
            tail = sum(comb(n, i) * limit**i * (1 - limit) ** (n - i) for i in range(k, n + 1))
            assert bool(exceeds(k, n, limit, 0.01)) == (k > n * limit and tail < 0.01), (n, k)
    assert not exceeds(0, 0, 0.05, 0.01)
    assert not exceeds(7, 7, 1.0, 0.01)
