"""What is known of a model when it is registered, for its use to be held against: values without a choice in them, each
with its error.

Belongs here: the measures on the model's own validation and test rows. Does not belong here: the same of its use
(`performance`), and when the two differ too much (`credit_assets.ml.rules.performance_rules`).

The test of a small book has 45 bads, and its AUC a standard error of 0.04. A champion of whom one remembers the AUC
alone has lost 0.05 of it as often as not, without anything having changed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.evidence.evaluation import auc_error, evaluate
from credit_assets.ml.evidence.performance import CalibrationError, estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Judged:
    """Rows of one split: outcomes, the model's PDs, and the group of each row, None where every row is its own."""

    y: ArrayLike
    pd: ArrayLike
    groups: ArrayLike | None = None


@dataclass(frozen=True)
class Baseline:
    """Of the out-of-time test: rows, bads, AUC with its standard error, and what its PDs alone make one expect
    (`estimated_auc`, with the error of having drawn these rows, `estimated_auc_drawn`), which shares the calibration,
    right or wrong, with every later estimate. Of the rows that the calibration was fitted on: how uncertain it leaves
    the PDs (`calibration`, see `performance.CalibrationError`), how uncertain their level is (`level_error`: of the log
    of observed over expected), and by how many bads.
    """

    rows: int
    bads: int
    auc: float
    auc_error: float
    estimated_auc: float | None
    estimated_auc_drawn: float | None
    level_error: float
    calibration_bads: int
    calibration: CalibrationError

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def measure_baseline(calibration: Judged, test: Judged) -> Baseline:
    """What is recorded of a model under `performance`.

    Parameters
    ----------
    calibration
        The rows that its calibration was fitted on; of a training the validation rows.
    test
        The rows of its out-of-time test.

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
    >>> fitted = Judged([0, 1, 0, 1], [0.3, 0.6, 0.2, 0.5])
    >>> found = measure_baseline(fitted, Judged([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    >>> found.auc, found.bads, round(found.level_error, 2)
    (0.75, 2, 0.46)
    """
    tested, expected = evaluate(test.y, test.pd, test.groups), estimate(test.pd, test.groups)
    target, p = np.asarray(calibration.y, dtype=np.float64), np.asarray(calibration.pd, dtype=np.float64)
    uncertain = CalibrationError.of(target, p, calibration.groups)
    apart = target - p
    return Baseline(
        rows=tested.rows,
        bads=tested.bads,
        auc=tested.auc,
        auc_error=auc_error(test.y, test.pd, test.groups),
        estimated_auc=expected.auc,
        estimated_auc_drawn=expected.auc_drawn,
        level_error=float(np.sqrt(uncertain.effect * (apart @ apart)) / p.sum()),
        calibration_bads=int(target.sum()),
        calibration=uncertain,
    )
