"""Loans of one distribution that can be moved, and the drift reference of some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from credit_assets.ml.evidence.drift_reference import DriftReference

NUMBERS, CATEGORIES = ("income", "rate", "count", "term"), ("purpose",)


def book(rows: int, seed: int, **shift: float) -> pd.DataFrame:
    """Loans of one distribution; `shift` moves it."""
    rng = np.random.default_rng(seed)
    purpose = rng.choice(np.array(["car", "home", "moving", "other"], dtype=object), rows, p=[0.5, 0.3, 0.19, 0.01])
    purpose[rng.random(rows) < shift.get("new", 0)] = "space travel"
    income = rng.lognormal(11 + shift.get("income", 0), 0.5, rows)
    income[rng.random(rows) < 0.05 + shift.get("missing", 0)] = np.nan
    return pd.DataFrame(
        {
            "income": income,
            "rate": rng.normal(12, 3, rows),
            "count": rng.poisson(1 + shift.get("count", 0), rows).astype(float),
            "term": np.where(rng.random(rows) < shift.get("term", 0), 60.0, 36.0),
            "purpose": purpose,
        }
    )


def points(rows: int, seed: int, shift: float = 0) -> Any:
    """Scores of as many loans; `shift` moves them."""
    return np.random.default_rng(seed + 5000).normal(600 + shift, 20, rows)


def reference() -> DriftReference:
    """The reference of 3,000 of these loans."""
    return DriftReference.of(book(3000, 1), (*NUMBERS, *CATEGORIES), CATEGORIES, points(1300, 1))
