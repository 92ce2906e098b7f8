"""Reliability of the chosen model on its out-of-time test, by what a table of applications can be cut by.

Belongs here: which columns. Does not belong here: the measures (`credit_assets.ml.evidence.reliability`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.data.values import numbers, texts
from credit_assets.ml.evidence.reliability import measure_reliability

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.learners.scorer import CreditScorer

RELIABILITY = "reliability"
FEW = 12
"""Values up to which a number is a group: a term is, an income is not."""
VINTAGE = "vintage"
MISSING = "missing"


def reliability_record(rows: pa.Table, scorer: CreditScorer, portfolio: Portfolio, threads: int = 1) -> dict[str, Any]:
    """PDs beside outcomes of rows that the model has not used, by decile, score band, month of application (`vintage`),
    category, and number of few values.
    """
    scores = scorer.score(rows, threads=threads)
    by: dict[str, NDArray[Any]] = {VINTAGE: rows[portfolio.date_column].to_numpy().astype("datetime64[M]").astype(str)}
    for name in portfolio.feature_names:
        if name in portfolio.categorical_features:
            places, different = texts(rows[name])
            by[name] = np.array([MISSING if text is None else text for text in different], dtype=str)[places]
        elif (column := _few(numbers(rows[name]))) is not None:
            by[name] = column
    return measure_reliability(
        rows["default"].to_numpy(), scores["pd"].to_numpy(), scores["score"].to_numpy(), by, groups_of(rows, portfolio)
    )


def _few(column: NDArray[np.float64]) -> NDArray[Any] | None:
    """The parts of a number, None where it has too many values or a single one."""
    known = np.unique(column[~np.isnan(column)])
    if not 2 <= len(known) <= FEW:
        return None
    if not np.isnan(column).any():
        return column
    return np.array([MISSING if np.isnan(value) else f"{value:g}" for value in column.tolist()])
