"""How alike the splits of a training set are: its features, and the points that the model gives.

Belongs here: the measures between the splits. Does not belong here: limits on them as a gate (`world`), and the days of
use (`drift`, whose index and verdict these are).

The index is the population stability index (PSI); of a feature it is also called the characteristic stability index
(CSI). A model ranks the rows that it was fitted on better than any others, so that of the points the comparison of
validation and test says what time has done, and that of train and test says it with what was learned by heart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.rows import Rows
from credit_assets.ml.evidence.drift import DriftPolicy, FeatureDrift, measure_drift
from credit_assets.ml.evidence.drift_reference import DriftReference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from credit_assets.ml.data.rows import Data

# Numbers alone: names of levels are values.
_SHOWN = ("psi", "psi_by_chance", "missing_share", "missing_reference", "new_level_share", "out_of_range_share")


def measure_stability(
    splits: Mapping[str, Data],
    scores: Mapping[str, NDArray[np.float64]],
    features: Sequence[str],
    categorical: Collection[str],
    policy: DriftPolicy,
) -> dict[str, Any]:
    """Each later split beside each earlier one.

    Parameters
    ----------
    splits
        Rows by the name of the split, in the order of time. One without rows is left out.
    scores
        The points of the model for these rows; NaN for a row that it refuses.
    features, categorical
        Of the model.
    policy
        From where on a verdict is given.

    Returns
    -------
    dict
        JSON types: `policy`, and `comparisons`, each with `before`, `after`, their `rows`, `score` and `features`: the
        index, what of it is chance, and the verdict.

    Raises
    ------
    ValueError
        Naming features that a split lacks.
    """
    there = {name: rows for name, data in splits.items() if len(rows := Rows.of(data))}
    limits = {name: getattr(policy, name) for name in ("watch", "shifted", "alpha", "min_rows")}
    found = []
    for before, after in combinations(there, 2):
        if not np.isfinite(scores[before]).any():
            continue
        reference = DriftReference.of(there[before], features, list(categorical), scores[before])
        measured = measure_drift(reference, there[after], scores[after], policy)
        *of_features, of_score = measured.features
        found.append(
            {
                "before": before,
                "after": after,
                "rows": [len(there[before]), len(there[after])],
                "score": _shown(of_score),
                "features": [_shown(one) for one in of_features],
            }
        )
    return {"policy": limits, "comparisons": found}


def _shown(one: FeatureDrift) -> dict[str, Any]:
    record = one.to_record()
    return {"name": one.name, "verdict": one.verdict, **{name: record[name] for name in _SHOWN}}
