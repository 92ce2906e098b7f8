"""One applicant's features from rows in memory: in every form that rows come in, whatever their order."""

from __future__ import annotations

import math
import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.histories import HistoryFeature
from credit_assets.ml.data.history_features import LIMB, finish, history_features
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.histories import DAY, days_only, made_up, portfolio_of, reference

PORTFOLIO = portfolio_of()
SUM = HistoryFeature(name="s", history="months", aggregate="sum", column="paid")
MEAN = SUM.model_copy(update={"aggregate": "mean"})
CHANGE = SUM.model_copy(update={"aggregate": "change", "window_days": 30})


@fuzz(100)
@given(seed=st.integers(0, 10_000), shuffled=st.integers(0, 10))
def test_it_is_the_plain_reference_in_any_order(seed: int, shuffled: int) -> None:
    applications, rows = made_up(seed, days_only)
    application = applications[seed % 40]
    own = [row for row in rows if row["holder"] == application["customer"]]
    expected = reference(PORTFOLIO, application, rows, "UTC")
    random.Random(shuffled).shuffle(own)
    assert history_features(PORTFOLIO, application["day"], {"months": own}) == expected


def test_a_table_a_frame_and_records_give_the_same() -> None:
    _, rows = made_up(3, days_only)
    frame = pd.DataFrame(rows)
    given_as: list[Any] = [rows, frame, pa.Table.from_pandas(frame), tuple(rows)]
    first, *others = (history_features(PORTFOLIO, DAY, {"months": one}) for one in given_as)
    assert first["rows_all"]
    assert all(one == first for one in others)


def test_decimals_texts_and_moments_are_read_as_the_rows_of_a_day() -> None:
    def of(paid: Any, on: Any) -> dict[str, float | None]:
        row = {"month_end": on, "loaded_at": on, "dpd": "30", "paid": paid, "status": "open", "closed": "true"}
        return history_features(PORTFOLIO, date(2024, 3, 31), {"months": [row]}, timezone="Asia/Tokyo")

    assert of(Decimal("0.10"), "2024-03-30")["paid_sum"] == of("0.1", datetime(2024, 3, 30, 23))["paid_sum"] == 0.1
    assert of(1.0, "2024-03-30T14:59:59Z")["rows_all"] == 1
    assert of(1.0, "2024-03-30T15:00:00Z")["rows_all"] == 0
    assert of("nothing", "2024-03-30")["paid_mean_other"] is None


@pytest.mark.parametrize(("rows", "says"), [
    ({}, "no rows are given for history months: give an empty list"),
    ({"months": [], "weeks": []}, "the portfolio has no history weeks"),
    ({"months": [{"month_end": "2024-01-01"}]}, "the rows of history 'months' lack the columns closed, dpd, loaded_at"),
    ({"months": pd.DataFrame({"month_end": ["2024-01-01"]})}, "lack the columns loaded_at, dpd, paid, status, closed"),
])  # fmt: skip
def test_what_is_not_given_is_named(rows: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        history_features(PORTFOLIO, DAY, rows)


def test_a_moment_is_no_day() -> None:
    with pytest.raises(ValueError, match="application_date is a day"):
        history_features(PORTFOLIO, datetime(2024, 3, 31, 12), {"months": []})


@fuzz(100)
@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(-LIMB, LIMB), st.integers(1, 2**30)), min_size=1))
def test_division_is_correctly_rounded_however_large_the_parts(given_parts: list[tuple[int, int, int]]) -> None:
    high, low, rows = (np.array(part, dtype=np.int64) for part in zip(*given_parts, strict=True))
    exact = [Fraction(h * LIMB + l, 1_000_000) for h, l, _ in given_parts]  # noqa: E741
    assert finish(SUM, rows, [rows, high, low]).tolist() == [float(one) for one in exact]
    assert finish(MEAN, rows, [rows, high, low]).tolist() == [
        float(one / n) for one, (_, _, n) in zip(exact, given_parts, strict=True)
    ]
    changed = finish(CHANGE, rows, [rows, high, low, rows[::-1], high[::-1], low[::-1]]).tolist()
    means = [one / n for one, (_, _, n) in zip(exact, given_parts, strict=True)]
    assert changed == [float(one - other) for one, other in zip(means, means[::-1], strict=True)]


def test_zeros_have_one_sign() -> None:
    row = {"month_end": DAY - timedelta(days=1), "loaded_at": DAY - timedelta(days=1), "dpd": 0, "paid": -0.0}
    found = history_features(PORTFOLIO, DAY, {"months": [{**row, "status": "open", "closed": False}]})
    assert all(math.copysign(1, found[name] or 0.0) == 1 for name in ("paid_min", "paid_last", "paid_sum"))
