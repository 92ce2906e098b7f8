"""Numbers that may leave the store: shared by many rows, or round; none is one applicant's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credit_assets.ml.data.shown_values import SHARED, roundest, shown_at, shown_ends, shown_outwards
from credit_assets_tests.support.fuzz import fuzz

AMOUNTS = st.floats(-1e12, 1e12, allow_nan=False)


@fuzz(100)
@given(st.lists(AMOUNTS, min_size=1, max_size=60), st.data())
@example([7543.21], None)
@example([2.4], None)
def test_what_stands_for_a_value_lies_among_its_neighbours(values: list[float], data: st.DataObject | None) -> None:
    ordered = np.sort(np.array(values))
    place = data.draw(st.integers(0, len(values) - 1)) if data else 0
    shown, half = shown_at(ordered, place), SHARED // 2
    near = ordered[max(0, place - half) : place + half + 1]
    if near[0] < near[-1]:
        assert near[0] <= shown <= near[-1]
    low, high = shown_ends(ordered)
    assert ordered[0] - abs(ordered[0]) / 4 <= low <= ordered[0]
    assert ordered[-1] <= high <= ordered[-1] + abs(ordered[-1]) / 4
    low, high = shown_outwards(float(ordered[0]), float(ordered[-1]))
    assert low <= ordered[0]
    assert high >= ordered[-1]


def test_a_value_that_many_rows_have_stays_and_one_fewer_is_not_enough() -> None:
    below, above = np.linspace(1, 30, 40), np.linspace(50, 90, 40)
    for rows, stays in ((SHARED, True), (SHARED - 1, False)):
        ordered = np.sort(np.r_[below, np.full(rows, 36.17), above])
        assert (shown_at(ordered, 40 + rows // 2) == 36.17) is stays
    ends = shown_ends(np.r_[np.full(SHARED, 36.17), above, np.full(SHARED, 99.91)])
    assert ends == (36.17, 99.91)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.lognormal(11, 0.7, 2_000),
        lambda rng: np.round(rng.lognormal(11, 0.7, 2_000), 2),
        lambda rng: rng.normal(0, 1e-9, 2_000),
        lambda rng: 2_000 + rng.random(2_000),
        lambda rng: rng.lognormal(11, 0.7, 7),
        lambda rng: np.full(3, 45_678.91),
    ],
)
def test_no_number_that_is_shown_is_one_of_the_values(draw: object) -> None:
    rng = np.random.default_rng(4)
    ordered = np.sort(draw(rng))  # type: ignore[operator]
    shown = {*shown_ends(ordered), *(shown_at(ordered, place) for place in range(len(ordered)))}
    # Of 2,000 amounts in cents some are round by themselves.
    assert len(shown & set(ordered.tolist())) <= len(ordered) / 200


@pytest.mark.parametrize(
    ("low", "high", "near", "found"),
    [
        (45_501.0, 45_840.0, 45_678.0, 45_700.0),
        (0.0041, 0.0049, 0.0043, 0.0043),
        (0.0041, 0.0052, 0.0043, 0.005),
        (-3.0, 2.0, 1.9, 0.0),
        (-4_840.0, -4_501.0, -4_678.0, -4_700.0),
        (1e300, 1.2e300, 1.1e300, 1e300),
        (5.0, 5.0, 5.0, 5.0),
        (1.0, float("inf"), 3.3, 3.3),
    ],
)
def test_the_roundest_number(low: float, high: float, near: float, found: float) -> None:
    assert roundest(low, high, near) == found
