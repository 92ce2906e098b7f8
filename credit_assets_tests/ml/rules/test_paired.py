"""Tests that share no row, together: what they come to, and that they say nothing where nothing changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from credit_assets.ml.rules.paired import Paired, paired_of, together


def one_of(newer_by: float, difference: float, error: float = 0.01, bads: int = 50) -> dict[str, Any]:
    found = {"difference": difference, "standard_error": error, "rows": 20 * bads, "bads": bads}
    return {"newer_by": newer_by, **found}


def newest(difference: float, error: float = 0.01, bads: int = 50) -> Paired:
    return paired_of(one_of(0, difference, error, bads), "difference")


def test_one_test_stands_for_itself() -> None:
    own = newest(0.02)
    assert together(own, 300, []) == own
    # Models that order alike leave nothing to chance, and tell nothing of others.
    assert together(newest(0.0, 0.0), 300, [one_of(100, 0.3)]) == newest(0.0, 0.0)
    assert together(own, 300, [one_of(100, 0.3, 0.0)]) == own


def test_a_gain_in_proportion_to_age_is_found_as_it_is() -> None:
    """Whatever the tests weigh: .01 a hundred days, on each of them."""
    found = together(newest(0.03), 300, [one_of(200, 0.02, 0.02), one_of(100, 0.01, 0.004)])
    assert found.difference == pytest.approx(0.03)
    assert found.error == pytest.approx(300 / np.sqrt((300 / 0.01) ** 2 + (200 / 0.02) ** 2 + (100 / 0.004) ** 2))
    assert (found.bads, found.goods) == (150, 2_850)
    assert found.rows == " on the same 1,000 rows (50 bads) and 2 earlier tests (100 bads)"


def test_the_newest_counts_most_of_tests_that_say_as_much() -> None:
    found = together(newest(0.02), 400, [one_of(100, -0.02)])
    assert 0.01 < found.difference < 0.02
    assert together(newest(0.02), 400, [one_of(390, -0.02)]).difference == pytest.approx(0.0005, abs=5e-4)


def test_customers_count_once() -> None:
    earlier = one_of(100, 0.01) | {"independent_bads": 20, "independent_goods": 300}
    assert (together(newest(0.02), 200, [earlier]).bads, together(newest(0.02), 200, [earlier]).goods) == (70, 1_250)


@pytest.mark.parametrize("name", ["difference", "standard_error", "bads"])
def test_what_a_record_lacks_is_named(name: str) -> None:
    earlier = one_of(100, 0.01)
    del earlier[name]
    with pytest.raises(ValueError, match=f"{name}.*earlier test|earlier test.*{name}"):
        together(newest(0.02), 200, [earlier])


def test_intervals_hold_where_nothing_changes() -> None:
    """Of tests of models of equal worth, one in forty lies below its 95% interval, whatever their ages and sizes."""
    rng = np.random.default_rng(3)
    below = 0
    for _ in range(2_000):
        errors, ages = rng.uniform(0.005, 0.03, 4), np.sort(rng.uniform(30, 500, 4))[::-1]
        found = together(
            newest(rng.normal(0, errors[0]), errors[0], 5_000),
            ages[0],
            [one_of(age, rng.normal(0, error), error) for age, error in zip(ages[1:], errors[1:], strict=True)],
        )
        below += found.low(0.025) > 0
    assert 0.017 < below / 2_000 < 0.034
