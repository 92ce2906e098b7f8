"""A portfolio of six columns with a window of twenty days, and its tables row by row."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from credit_assets.ml.data.cohorts import CohortWindow
from credit_assets.ml.data.portfolio import Portfolio

AS_OF = date(2015, 12, 31)
W, LOOKBACK = 30, 20
WINDOW = CohortWindow(AS_OF, W, LOOKBACK)

TINY = Portfolio.model_validate(
    {
        "name": "tiny",
        "columns": [
            {"name": "id", "type": "string", "role": "id", "nullable": False},
            {"name": "day", "type": "date", "role": "date", "nullable": False},
            {"name": "amount", "type": "float", "max_missing_share": 0.1},
            {"name": "kind", "type": "category"},
            {"name": "gender", "type": "category", "role": "protected"},
            {"name": "branch", "type": "category", "role": "ignored"},
        ],
        "outcomes": {"id": "id", "date": "known", "defaulted": "bad"},
        "gates": {
            "min_goods": 20,
            "min_bads": 10,
            "min_test_bads": 3,
            "target_rate_min": 0.01,
            "target_rate_max": 0.6,
            "leakage_columns": ["recoveries", "total_rec_*"],
        },
    }
)


def features(*rows: tuple[str, date]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [row[0] for row in rows],
            "day": np.array([row[1] for row in rows], dtype="datetime64[ms]"),
            "amount": [float(number) for number in range(len(rows))],
            "kind": ["a"] * len(rows),
        }
    )


def outcomes(*rows: tuple[str, date, int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": pd.Series([row[0] for row in rows], dtype=object),
            "known": np.array([row[1] for row in rows], dtype="datetime64[ms]"),
            "bad": np.array([row[2] for row in rows], dtype=np.int8),
        }
    )


def days(count: int, first: date = WINDOW.first) -> list[date]:
    return [first + timedelta(days=number) for number in range(count)]
