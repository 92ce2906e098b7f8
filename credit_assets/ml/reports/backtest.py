"""A backtest with the gap of real use: models of past as-of dates, each on the applications that came after it.

Belongs here: what a model of D says of the applications of D+1 on, what became of them, and both beside what its test
had promised. Does not belong here: where models come from (`credit_assets.cli.backtest`), the measures
(`credit_assets.ml.evidence`), and drawing (`figures`).

A test ends a performance window before D, and a model is used from D+1 on: its applicants are a window younger than
those it was tested on. Only a walk forward over dates that lie far enough back shows what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.cohorts import Loans
from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.evidence.drift import DriftPolicy, measure_drift
from credit_assets.ml.evidence.intervals import Z
from credit_assets.ml.evidence.performance import Realised, realised
from credit_assets.ml.evidence.vintages import vintage_curves
from credit_assets.ml.reports.daily import DAY, DailyTables, days_between

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.cohorts import Known
    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.evidence.drift_reference import DriftReference

HORIZON_DAYS = 90
FEATURES = "processed_features"


@dataclass(frozen=True)
class Promise:
    """What the out-of-time test of a model showed: AUC with its interval and standard error, and observed over
    expected; None where it was not recorded.
    """

    auc: float
    auc_low: float
    auc_high: float
    auc_error: float | None
    observed_over_expected: Mapping[str, float] | None
    bads: int

    @classmethod
    def of(cls, found: Realised) -> Promise:
        """From the test itself. Raises ValueError where it could not be measured."""
        if found.evaluation is None:
            raise ValueError(f"{found.why}")
        ratio, of_test = found.observed_over_expected, found.evaluation
        return cls(
            of_test.auc,
            of_test.auc_ci_low,
            of_test.auc_ci_high,
            found.auc_error,
            ratio.to_record() if ratio else None,
            found.bads,
        )

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Promise:
        """From a record of `trained_model`."""
        of_test = record["evaluation"]
        return cls(
            of_test["auc"],
            of_test["auc_ci_low"],
            of_test["auc_ci_high"],
            record.get("performance", {}).get("auc_error"),
            record.get("calibration", {}).get("observed_over_expected"),
            of_test["bads"],
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "auc": {"value": self.auc, "low": self.auc_low, "high": self.auc_high},
            "observed_over_expected": dict(self.observed_over_expected) if self.observed_over_expected else None,
            "bads": self.bads,
        }


@dataclass(frozen=True)
class PastModel:
    """A model as of a past date. `score` gives PDs (NaN where it refuses) and points of a table of features."""

    as_of: date
    variant: str
    promise: Promise
    score: Callable[[pa.Table], tuple[NDArray[np.float64], NDArray[np.float64]]]
    reference: DriftReference | None


@dataclass(frozen=True)
class BacktestBook:
    """What a backtest reads: the stored days from the first to the last, all that became known by the last, and whose
    columns they have.
    """

    tables: DailyTables
    first: date
    last: date
    known: Known
    window_days: int
    portfolio: Portfolio


def judge_past_model(model: PastModel, book: BacktestBook, horizon_days: int, policy: DriftPolicy) -> dict[str, Any]:
    """A model on the applications of the `horizon_days` after its as-of date.

    Parameters
    ----------
    model
        The model.
    book
        The stored days and what became known.
    horizon_days
        Days of use that count.
    policy
        From where on a feature or the score has shifted.

    Returns
    -------
    dict
        `as_of`, `variant`, `promised`; `applications` with first and last day, and how many the model `refused`;
        `drift` against its training data (None without a reference); `realised` (as of `performance.realised`) on those
        of them whose window has closed, and `change` of the AUC against the promise with its interval. `why` says what
        could not be measured.

    Raises
    ------
    PermanentError
        Naming days that are not there.
    """
    first, last = model.as_of + DAY, min(model.as_of + timedelta(horizon_days), book.last)
    found: dict[str, Any] = {
        "as_of": model.as_of.isoformat(),
        "variant": model.variant,
        "promised": model.promise.to_record(),
        "applications": None,
        "drift": None,
        "realised": None,
        "change": None,
    }
    if last < first:
        return found | {"why": "no application has come since"}
    rows = book.tables.table(FEATURES, days_between(first, last))
    if not rows.num_rows:
        return found | {"why": f"no application came on {first} .. {last}"}
    pds, points = model.score(rows)
    scored = ~np.isnan(pds)
    found["applications"] = {
        "from": first.isoformat(),
        "to": last.isoformat(),
        "rows": rows.num_rows,
        "refused": int((~scored).sum()),
    }
    if model.reference is not None:
        found["drift"] = _drift(model.reference, rows, points[scored], policy)
    loans = Loans(rows, book.known, book.window_days, book.portfolio).on(book.last)
    counted = scored & ~np.isnan(loans.targets) & _first_of_each(rows[book.portfolio.id_column])
    if not counted.any():
        closes = first + timedelta(book.window_days)
        return found | {"why": f"no loan's window has closed by {book.last}: the first closes on {closes}"}
    groups = groups_of(rows, book.portfolio)
    measured = realised(loans.targets[counted], pds[counted], None if groups is None else groups[counted])
    starts = loans.starts[counted].astype("datetime64[D]")
    span = {"from": str(starts.min()), "to": str(starts.max())}
    return found | {
        "realised": {**span, **measured.to_record()},
        "change": _change(model.promise, measured),
        "why": measured.why,
    }


def _drift(
    reference: DriftReference, rows: pa.Table, points: NDArray[np.float64], policy: DriftPolicy
) -> dict[str, Any]:
    """The score's PSI and the features by verdict."""
    there = set(rows.column_names)
    known = replace(reference, features=tuple(one for one in reference.features if one.name in there))
    found = measure_drift(known, rows, points, policy)
    score = found.features[-1]
    return {
        "verdict": found.verdict,
        "score_psi": score.psi,
        "score_verdict": score.verdict,
        "shifted": [one.name for one in found.features[:-1] if one.verdict == "shifted"],
        "watch": [one.name for one in found.features[:-1] if one.verdict == "watch"],
    }


def _first_of_each(ids: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Whether a row is the first of its application: a loan counts once."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.zeros(len(codes), dtype=bool)
    first[np.unique(codes, return_index=True)[1]] = True
    return first


def _change(promise: Promise, found: Realised) -> dict[str, float] | None:
    """AUC in use less that of the test, with the 95% interval of two samples that share no loan."""
    if found.evaluation is None or found.auc_error is None or promise.auc_error is None:
        return None
    value, error = found.evaluation.auc - promise.auc, math.hypot(found.auc_error, promise.auc_error)
    return {"value": value, "low": value - Z * error, "high": value + Z * error}


def totals(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the models kept what their tests had promised, of those that could be judged."""
    changes = [one["change"] for one in models if one.get("change")]
    ratios = [one["realised"]["observed_over_expected"] for one in models if one.get("realised")]
    ratios = [one for one in ratios if one]
    return {
        "models": len(models),
        "judged": len([one for one in models if one.get("realised")]),
        "mean_auc_change": float(np.mean([one["value"] for one in changes])) if changes else None,
        "auc_below_promise": sum(one["high"] < 0 for one in changes),
        "auc_above_promise": sum(one["low"] > 0 for one in changes),
        "median_observed_over_expected": float(np.median([one["value"] for one in ratios])) if ratios else None,
        "risk_understated": sum(one["low"] > 1 for one in ratios),
        "risk_overstated": sum(one["high"] < 1 for one in ratios),
    }


def vintages(book: BacktestBook) -> list[dict[str, Any]]:
    """The vintage curves of all stored applications."""
    portfolio = book.portfolio
    keys = [portfolio.id_column, portfolio.date_column]
    rows = book.tables.table(FEATURES, days_between(book.first, book.last), keys)
    return vintage_curves(Loans(rows, book.known, book.window_days, portfolio), book.last, book.window_days)
