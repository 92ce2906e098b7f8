"""Features over the splits, the rate of default over months, and feeds that stop: what the measures say of each."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.evidence.world import ALPHA, count_beyond, measure_feed, measure_target, measure_world, size_ratio

START = date(2024, 1, 1)


def frame(rows: int, seed: int, **changed: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {
        "income": rng.lognormal(11, 0.5, rows),
        "arrears": rng.poisson(0.1, rows).astype(float),
        "kind": rng.choice(np.array(["a", "b", "c"], dtype=object), rows),
        **{name: make(rng, rows) for name, make in changed.items()},
    }
    return pd.DataFrame(columns)


def compared(after: pd.DataFrame, before: pd.DataFrame | None = None) -> dict[str, Any]:
    then = frame(2_000, 1) if before is None else before
    found = measure_world(then, after, list(then.columns), ["kind"])
    return {one["name"]: one for one in found["features"]}


def test_samples_of_one_world_differ_as_often_as_alpha_says() -> None:
    differing = [
        measure_world(frame(400, 2 * n), frame(200, 2 * n + 1), ["income", "arrears", "kind"], ["kind"])
        for n in range(150)
    ]
    assert sum(bool(one["features"]) for one in differing) <= 2  # ALPHA of 150: 0.15 expected
    assert ALPHA == 0.001


def test_another_unit_shows_as_a_size() -> None:
    found = compared(frame(500, 2, income=lambda rng, n: rng.lognormal(11, 0.5, n) / 1000))["income"]
    assert found["size"] == pytest.approx(0.001, rel=0.2)
    assert found["distance"] == 1.0
    assert found["psi"] > 5
    assert not found["constant"]


def test_three_deviations_higher_shows_as_a_distance() -> None:
    found = compared(frame(500, 2, arrears=lambda rng, n: rng.poisson(0.1, n) + 3 * 0.32))["arrears"]
    assert found["distance"] > 0.8
    assert not found["list_price"]


def test_missing_values_levels_of_their_own_and_one_value_are_told() -> None:
    found = compared(
        frame(
            500,
            2,
            income=lambda rng, n: np.where(rng.random(n) < 0.6, np.nan, rng.lognormal(11, 0.5, n)),
            arrears=lambda rng, n: np.full(n, 7.0),
            kind=lambda rng, n: rng.choice(np.array(["A", "b"], dtype=object), n),
        )
    )
    assert found["income"]["missing"]["after"] == pytest.approx(0.6, abs=0.1)
    assert found["income"]["missing"]["before"] == 0
    assert found["kind"]["new_levels"] == pytest.approx(0.5, abs=0.1)
    assert found["kind"]["distance"] is None
    assert found["arrears"]["constant"]


def test_a_price_that_is_set_for_all_is_a_list_price_and_a_count_is_none() -> None:
    price = np.repeat([9.9, 10.4, 10.9, 11.2], 500) + np.tile([0.0, 2.0], 1_000)
    found = compared(
        frame(500, 2, price=lambda rng, n: np.tile([12.4, 14.4], n // 2)), frame(2_000, 1, price=lambda rng, n: price)
    )["price"]
    assert found["list_price"]
    assert found["distance"] > 0.4


def test_rows_are_taken_evenly_where_there_are_many() -> None:
    many = pd.DataFrame({"x": np.arange(100_000, dtype=float)})
    found = measure_world(many, many, ["x"], [])
    assert found["rows"] == {"before": 100_000, "after": 100_000}
    assert found["features"] == []


def test_sides_must_have_rows_and_features() -> None:
    with pytest.raises(ValueError, match="lacks the features price"):
        measure_world(frame(50, 1, price=lambda rng, n: np.arange(n)), frame(50, 2), ["price"], [])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [1.0], None),
        ([0.0, 0.0], [1.0], None),
        ([1.0], [], None),
        ([2.0, 0.0], [0.0, 0.0], 0.0),
        ([-2.0], [4.0], 2),
    ],
)
def test_size_ratio_of_what_has_none(before: list[float], after: list[float], expected: float | None) -> None:
    assert size_ratio(np.array(before), np.array(after)) == expected


# The rate of default over months


def book(rates: list[float], a_day: int = 40, seed: int = 0) -> tuple[Any, Any]:
    """Loans of as many months of 30 days as there are rates, and whether each defaulted."""
    rng = np.random.default_rng(seed)
    days = np.repeat(np.datetime64(START) + np.arange(30 * len(rates)), a_day)
    bad = rng.random(len(days)) < np.repeat(rates, 30 * a_day)
    return days, bad


def test_a_steady_rate_has_no_break() -> None:
    nearest = [measure_target(*(found := book([0.08] * 6, seed=n)), found[0])["jump"]["nearest"] for n in range(60)]
    # A wide interval of the largest of five boundaries.
    assert sum(not 1 / 1.1 < one < 1.1 for one in nearest) <= 1


def test_goods_that_were_lost_break_it_on_the_day_from_which_they_were_kept() -> None:
    days, bad = book([0.08] * 6)
    kept = bad | (days >= np.datetime64("2024-04-01")) | (np.random.default_rng(1).random(len(days)) < 0.1)
    found = measure_target(days[kept], bad[kept], days)
    jump = found["jump"]
    assert jump["from"] == "2024-04-01"
    assert jump["nearest"] < 1 / 4
    assert jump["before"]["goods"] < jump["after"]["goods"] / 5
    assert jump["before"]["applications"] == 3_640
    assert [one["month"] for one in found["months"]][:2] == ["2024-01", "2024-02"]


def test_a_boundary_within_a_month_is_seen_where_it_is_that_of_a_split() -> None:
    days, bad = book([0.1] * 2, a_day=60)
    start = date(2024, 2, 12)
    lost = bad & (days >= np.datetime64(start))
    jump = measure_target(days, bad & ~lost, days, [start])["jump"]
    assert (jump["from"], jump["after"]["bads"]) == (start.isoformat(), 0)
    assert jump["nearest"] < 0.2


def test_the_interval_of_the_odds_ratio_holds_its_level_and_finds_what_is_lost() -> None:
    rng = np.random.default_rng(0)
    days = np.repeat(np.array(["2024-01-15", "2024-02-15"], dtype="datetime64[D]"), 300)
    wrong = found = 0
    for _ in range(2_000):
        for after in (0.05, 0.005):
            bad = rng.random(600) < np.repeat([0.05, after], 300)
            jump = measure_target(days, bad, days)["jump"]
            wrong += after == 0.05 and jump["nearest"] != 1
            found += after != 0.05 and jump["nearest"] < 1 / 1.5
    assert wrong <= 8  # 2 expected at 99.9%
    assert found >= 200


def test_one_month_has_no_boundary() -> None:
    days, bad = book([0.1])
    assert measure_target(days, bad, days)["jump"] is None


# Feeds


def known(*spans: tuple[int, int, int]) -> Any:
    """Days on which outcomes became known: from, to (days since START), and how many a day."""
    first = (START - date(1970, 1, 1)).days
    return np.concatenate([np.repeat(np.arange(first + a, first + b), n) for a, b, n in spans])


def test_a_feed_that_stopped_says_since_when_and_what_would_have_come() -> None:
    found = measure_feed(known((0, 200, 2)), START, START + timedelta(259))
    assert found == {"rows": 400, "last": "2024-07-18", "gap": 60, "longest_gap": 0, "expected": 120.0}


def test_a_feed_by_month_has_its_gaps() -> None:
    monthly = np.concatenate([known((day, day + 1, 60)) for day in range(0, 360, 30)])
    found = measure_feed(monthly, START, START + timedelta(355))
    assert (found["gap"], found["longest_gap"]) == (25, 29)


def test_of_a_single_batch_the_time_before_it_is_a_gap() -> None:
    found = measure_feed(known((300, 301, 500)), START, START + timedelta(360))
    assert (found["gap"], found["longest_gap"]) == (60, 300)


def test_nothing_at_all_has_no_last_day() -> None:
    found = measure_feed(known((0, 0, 1)), START, START + timedelta(9))
    assert found == {"rows": 0, "last": None, "gap": 10, "longest_gap": 0, "expected": 0.0}


def test_what_became_known_later_is_not_looked_at() -> None:
    found = measure_feed(known((0, 300, 1)), START, START + timedelta(99))
    assert (found["rows"], found["gap"]) == (100, 0)


# A part of the rows


@pytest.mark.parametrize(
    ("how", "share", "found"),
    [
        (lambda x: x * 100, 0.1, 0.1),
        (lambda x: x / 1000, 0.1, 0.1),
        (lambda x: x / 12, 0.5, 0.2),
        (lambda x: -x * 100, 0.1, 0.1),
        (lambda x: x * 2, 1.0, 0.0),
        (lambda x: x * 0, 0.5, 0.0),
        (lambda x: x * np.nan, 0.5, 0.0),
    ],
)
def test_another_unit_in_a_part_of_the_rows_is_counted(how: Any, share: float, found: float) -> None:
    rng = np.random.default_rng(4)
    before, after = rng.lognormal(11.0, 0.5, 4_000), rng.lognormal(11.0, 0.5, 2_000)
    after = np.where(rng.random(2_000) < share, how(after), after)
    counted = count_beyond(before, after)
    assert counted is not None
    assert counted["rows"] / counted["of"] == pytest.approx(found, abs=0.025 if found < 0.2 else 0.12)


def test_values_of_one_spread_lie_within_their_range() -> None:
    """Whatever the tail: of incomes, counts with zeros, and debts with a heavy one, at small and large sizes."""
    rng = np.random.default_rng(5)
    for draw in (lambda n: rng.lognormal(11, 0.9, n), lambda n: rng.poisson(0.3, n), lambda n: rng.pareto(2.0, n)):
        for rows in (300, 5_000):
            counted = count_beyond(draw(rows), draw(rows // 2))
            assert counted is None or counted["rows"] <= 0.02 * counted["of"]


@pytest.mark.parametrize(("before", "after"), [(49, 900), (900, 49)])
def test_too_few_values_have_no_range(before: int, after: int) -> None:
    assert count_beyond(np.ones(before), np.ones(after) * 100) is None
