"""Books in which not everyone was lent to: portfolios that say so, and statuses that move on from day to day.

Belongs here: the portfolios and the rows. Does not belong here: houses (`houses`).
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from credit_assets.ml.data.portfolio import Portfolio, load_portfolio

LISTS = {"booked": ["booked"], "declined": ["declined"], "withdrawn": ["lapsed"], "undecided": ["open", "approved"]}


def by_column(**more: Any) -> Portfolio:
    """The packaged portfolio with a status column."""
    return restated(population={"column": "status", **LISTS, **more})


def by_table(**more: Any) -> Portfolio:
    """The packaged portfolio with a table of decisions."""
    named = {"table": "decisions", "id": "loan_no", "date": "decided_on", "status": "status"}
    return restated(population={**named, **LISTS, **more})


def restated(**more: Any) -> Portfolio:
    """The packaged portfolio with other keys."""
    given = load_portfolio().model_dump(mode="json", exclude_unset=True)
    return Portfolio.model_validate({**given, **more})


def lives(applications: pd.DataFrame, seed: int = 3, *, booked: float = 0.4) -> pd.DataFrame:
    """The decisions about applications, one row each change: id, day, status. All begin open; the final decision comes
    within a week of the application, and the booking up to three weeks after it.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[Any, date, str]] = []
    for key, applied in zip(applications["application_id"], applications["application_date"], strict=True):
        day = pd.Timestamp(applied).date()
        rows.append((key, day, "open"))
        decided = day + timedelta(int(rng.integers(0, 8)))
        fate = rng.random()
        if fate < booked:
            rows.append((key, decided, "approved"))
            rows.append((key, decided + timedelta(int(rng.integers(0, 22))), "booked"))
        elif fate < booked + 0.1:
            rows.append((key, decided, "approved"))
            rows.append((key, decided + timedelta(int(rng.integers(1, 22))), "lapsed"))
        else:
            rows.append((key, decided, "declined"))
    return pd.DataFrame(rows, columns=["loan_no", "decided_on", "status"])


def standing(decisions: pd.DataFrame, day: date) -> dict[Any, str]:
    """What each application's status is at the end of a day: a reference, row by row."""
    found: dict[Any, str] = {}
    for key, decided_on, status in decisions.itertuples(index=False):
        if decided_on <= day:
            found[key] = status
    return found
