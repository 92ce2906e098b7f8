"""The comparison of two models on the rows that both score."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from credit_assets.ml.reports.selection import comparison

ROWS = pa.table({"default": pa.array([0, 1] * 60, pa.int8())})
PD = np.linspace(0.05, 0.5, 120)


def test_rows_that_one_of_the_models_refuses_are_left_out_and_counted() -> None:
    refused = np.arange(120) % 6 == 0
    kept = ROWS.filter(pa.array(~refused))
    of_all = comparison(kept, PD[~refused], PD[::-1][~refused])
    assert "refused" not in of_all
    for ours, theirs in (
        (np.where(refused, np.nan, PD), PD[::-1]),
        (PD, np.where(refused, np.nan, PD[::-1])),
    ):
        assert comparison(ROWS, ours, theirs) == {**of_all, "refused": 20}


def test_nothing_is_compared_where_the_rest_has_one_outcome() -> None:
    goods = ROWS["default"].to_numpy() == 0
    found = comparison(ROWS, np.where(goods, PD, np.nan), PD)
    assert found == {
        "comparable": False,
        "why": "60 of 120 rows are refused by one of the models, and the rest has one outcome only",
    }
