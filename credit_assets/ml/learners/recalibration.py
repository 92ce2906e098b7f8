"""A new calibration for a model that is there: the same order of applicants, other PDs.

Belongs here: which rows it may be fitted on, fitting it, and what identifies it. Does not belong here: whether it is
better than the old one (`rules.calibration_rules`), and where the model comes from.

Rows come in three parts. What the model was made of (before the day on which its own test began) is of no use: it ranks
those rows better than others. The newest rows, the out-of-time test of the as-of date, are for judging. Between them
lie the rows that the new calibration is fitted on, the newest of them first.

The level alone is moved unless these rows show that the slope is wrong too (a closed test, Y. Vergouwe and others,
Statistics in Medicine 36, 2017): a slope fitted on a hundred bads would add more chance than it removes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from credit_assets.ml.data.cohorts import SPLIT, TARGET
from credit_assets.ml.data.fingerprints import MODEL_CODE, code_version
from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.request_rules import RequestRules
from credit_assets.ml.data.rows import Rows
from credit_assets.ml.evidence.calibration_evidence import CalibrationFigures, measure_calibration
from credit_assets.ml.evidence.drift_reference import DriftReference
from credit_assets.ml.evidence.evaluation import evaluate
from credit_assets.ml.learners.calibration import fit_platt
from credit_assets.ml.learners.candidates import EVIDENCE, Candidate, Predictions
from credit_assets.ml.learners.scorer import CreditScorer

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.policies import CalibrationPolicy
    from credit_assets.ml.data.portfolio import Portfolio

Moved = Literal["nothing", "level", "level and slope"]
SLOPE_LEVEL = 0.05
"""At what level the rows must show that the slope is wrong before it is moved as well."""
CODE = tuple(
    sorted(
        {
            *MODEL_CODE,
            "evidence.calibration_error",
            "evidence.calibration_evidence",
            "evidence.clusters",
            "evidence.intervals",
            "evidence.logistic",
            "learners.recalibration",
        }
    )
)
"""The modules of `credit_assets.ml` whose code makes a recalibrated model."""


@dataclass(frozen=True)
class Parts:
    """The rows of a training set that a new calibration is fitted on, and those that it is judged on."""

    fit: pa.Table
    test: pa.Table

    @property
    def bads(self) -> int:
        return int(np.count_nonzero(self.fit[TARGET].to_numpy() == 1))

    def why_not(self, least: int) -> str:
        """Why nothing can be fitted, with at least so many bads and goods; nothing where it can."""
        bads, rows = self.bads, self.fit.num_rows
        if min(bads, rows - bads) >= least:
            return ""
        return (
            f"{rows:,} rows with {bads:,} bads lie between what the champion was made of and the test, and {least} "
            "bads and goods are needed (policy calibration.recalibration_min_bads)"
        )


def parts_of(training_set: pa.Table, date_column: str, test_from: date, most: int) -> Parts:
    """The rows for a new calibration of a model whose own out-of-time test began on `test_from`.

    Parameters
    ----------
    training_set
        That of the as-of date, with `split` and `default`.
    date_column
        Its column of days.
    test_from
        From here on the model has used nothing.
    most
        Whole days are taken from the newest on, until they have so many bads and goods.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    unseen = training_set.filter(pc.greater_equal(training_set[date_column], pa.scalar(test_from)))
    test = unseen.filter(pc.equal(unseen[SPLIT], "test"))
    before = unseen.filter(pc.not_equal(unseen[SPLIT], "test"))
    days = before[date_column].to_numpy().astype("datetime64[D]")
    bad = before[TARGET].to_numpy() == 1
    first = None
    for day in np.unique(days)[::-1]:
        first, taken = day, days >= day
        if min(np.count_nonzero(bad[taken]), np.count_nonzero(~bad[taken])) >= most:
            break
    return Parts(before if first is None else before.filter(pa.array(days >= first)), test)


@dataclass(frozen=True)
class Recalibration:
    """A model with its new calibration, and the old one's on the rows that the new one was fitted on.

    `why` says why it is the old one still; empty where it is new. `moved` is what these rows have fitted.
    """

    scorer: CreditScorer
    before: CalibrationFigures | None
    why: str
    moved: Moved = "nothing"

    def to_record(self) -> dict[str, Any]:
        return {
            "calibration": self.scorer.calibration.to_record(),
            "before": self.before.to_record() if self.before else None,
            "why": self.why,
            "moved": self.moved,
        }


def recalibrate(
    scorer: CreditScorer, parts: Parts, policy: CalibrationPolicy, *, groups: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> Recalibration:  # fmt: skip
    """The same model with a calibration of largest likelihood on the rows to fit on.

    Parameters
    ----------
    scorer
        The model as it is.
    parts
        Of `parts_of`.
    policy
        How many bads and goods are needed; with fewer the calibration stays as it is, and `why` says so.
    groups
        The customer of each row to fit on; None where each is one of its own.
    threads
        To score with.

    Raises
    ------
    ValueError
        As `CreditScorer.score`.
    """
    if why := parts.why_not(policy.recalibration_min_bads):
        return Recalibration(scorer, None, why)
    target = parts.fit[TARGET].to_numpy()
    log_odds = scorer.calibration.log_odds(scorer.margin(parts.fit, threads=threads))
    before, old = measure_calibration(target, probability(log_odds), groups), scorer.calibration
    moved: Moved = "level"
    if before.intercept is None or (before.slope_p is not None and before.slope_p < SLOPE_LEVEL):
        moved = "level and slope"
        line = fit_platt(log_odds, target)
        new = old.then(line.slope, line.intercept)
    else:
        new = old.then(1.0, before.intercept.value)
    return Recalibration(replace(scorer, calibration=new), before, "", moved)


def recalibration_identity(
    champion: str, as_of: str, data: str, policy: CalibrationPolicy, portfolio: Portfolio
) -> dict[str, Any]:
    """Everything that decides what comes out, as JSON types: a recalibration of equal identity is used again.

    Parameters
    ----------
    champion
        Fingerprint of the model that gets a new calibration.
    as_of, data
        The ISO day, and the hash of its training set.
    policy, portfolio
        How many rows it is fitted on, and which requests the model refuses.
    """
    return {
        "recalibrates": champion,
        "portfolio": [portfolio.name, portfolio.contract],
        "as_of": as_of,
        "data": data,
        "code": code_version(CODE),
        "evidence": EVIDENCE,
        "rows": [policy.recalibration_bads, policy.recalibration_min_bads],
        "requests": RequestRules.of(portfolio).to_record(),
    }


def with_evidence(
    scorer: CreditScorer, training_set: pa.Table, parts: Parts, made: Mapping[str, Any], threads: int = 1
) -> Candidate:
    """A recalibrated model with the evidence that a candidate has, on the rows that it was fitted on ("calibration")
    and those that it had not seen ("test").

    `made` is the record of the candidate that the champion was: its rounds and parameters.
    """
    samples = {"test": parts.test, **({"calibration": parts.fit} if 0 < parts.bads < parts.fit.num_rows else {})}
    predictions = {name: _predicted(scorer, rows, threads) for name, rows in samples.items()}
    points = np.concatenate([one.score for one in predictions.values()])
    features = scorer.features
    categorical = [name for name in features if name in scorer.categories]
    return Candidate(
        scorer=scorer,
        best_rounds=made["rounds"],
        history={},
        params=dict(made["identity"]["params"]),
        metrics={name: evaluate(one.target, one.pd) for name, one in predictions.items()},
        predictions=predictions,
        reference=DriftReference.of(Rows.of(training_set), features, categorical, points),
    )


def _predicted(scorer: CreditScorer, rows: pa.Table, threads: int) -> Predictions:
    scores = scorer.score(rows, threads=threads)
    target = rows[TARGET].to_numpy().astype(np.int8)
    return Predictions(target, scores["pd"].to_numpy(), scores["score"].to_numpy())
