"""What is known of a model when it is registered, for its use to be held against: values without a choice in them, each
with its error.

Belongs here: the measures on the model's own validation and test rows. Does not belong here: the same of its use
(`performance`), and when the two differ too much (`credit_assets.ml.rules.performance_rules`).

The test of a small book has 45 bads, and its AUC a standard error of 0.04. A champion of whom one remembers the AUC
alone has lost 0.05 of it as often as not, without anything having changed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.evidence.calibration_error import CalibrationError
from credit_assets.ml.evidence.clusters import design_effect
from credit_assets.ml.evidence.evaluation import auc_error, evaluate
from credit_assets.ml.evidence.performance import estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class JudgedRows:
    """Rows of one split: outcomes, the model's PDs, and the group of each row, None where every row is its own."""

    y: ArrayLike
    pd: ArrayLike
    groups: ArrayLike | None = None


@dataclass(frozen=True)
class Baseline:
    """Of the out-of-time test: rows, bads, AUC with its standard error, and what its PDs alone make one expect
    (`estimated_auc`, with the error of having drawn these rows, `estimated_auc_drawn`), which shares the calibration,
    right or wrong, with every later estimate. Of the rows that the calibration was fitted on, how uncertain it leaves
    the PDs (`calibration`, see `calibration_error`). Of both, the level that the model promises: the log of observed
    over expected defaults as the calibration's rows, on which it is 0, and those of the test say together,
    each weighted by its error; `level_error` of it, and `level_bads` in both.
    """

    rows: int
    bads: int
    auc: float
    auc_error: float
    estimated_auc: float | None
    estimated_auc_drawn: float | None
    level: float
    level_error: float
    level_bads: int
    calibration: CalibrationError

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def measure_baseline(calibration: JudgedRows, test: JudgedRows, uncertain: CalibrationError | None = None) -> Baseline:
    """What is recorded of a model under `performance`.

    Parameters
    ----------
    calibration
        The rows that its calibration was fitted on; of a training the validation rows.
    test
        The rows of its out-of-time test.
    uncertain
        How uncertain these rows leave the calibration; None where they fitted both its level and its slope.

    Returns
    -------
    Baseline
        As JSON types by `to_record`.

    Raises
    ------
    ValueError
        As `evaluation.evaluate`, of the test.

    Examples
    --------
    >>> fitted = JudgedRows([0, 1, 0, 1], [0.3, 0.6, 0.2, 0.5])
    >>> found = measure_baseline(fitted, JudgedRows([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    >>> found.auc, found.bads, round(found.level, 2), round(found.level_error, 2)
    (0.75, 2, 0.07, 0.34)
    """
    tested, expected = evaluate(test.y, test.pd, test.groups), estimate(test.pd, test.groups)
    target, p = np.asarray(calibration.y, dtype=np.float64), np.asarray(calibration.pd, dtype=np.float64)
    uncertain = uncertain or CalibrationError.of(target, p, calibration.groups)
    apart, tested_pd = target - p, np.asarray(test.pd, dtype=np.float64)
    # Variances of the log of O / E: of the rows that the calibration was fitted on as they lie, of the test by its PDs.
    fitted = float(uncertain.effect * (apart @ apart) / p.sum() ** 2)
    effect = design_effect(np.asarray(test.y, dtype=np.float64) - tested_pd, test.groups)
    seen = float(effect * (tested_pd @ (1 - tested_pd)) / tested_pd.sum() ** 2)
    both = max(fitted + seen, 1e-12)
    return Baseline(
        rows=tested.rows,
        bads=tested.bads,
        auc=tested.auc,
        auc_error=auc_error(test.y, test.pd, test.groups),
        estimated_auc=expected.auc,
        estimated_auc_drawn=expected.auc_drawn,
        level=log_ratio(tested.bads, float(tested_pd.sum())) * fitted / both,
        level_error=math.sqrt(fitted * seen / both),
        level_bads=int(target.sum()) + tested.bads,
        calibration=uncertain,
    )


def log_ratio(bads: float, expected: float) -> float:
    """The log of observed over expected, with half a bad more on either side: there may be none."""
    return math.log((bads + 0.5) / (expected + 0.5))
