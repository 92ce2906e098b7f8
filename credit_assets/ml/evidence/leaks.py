"""How much of a model's skill hangs on one feature, measured alike for every learner.

Belongs here: the measure. Does not belong here: features by themselves (`ml.rules.single_feature`), the comparison with
the champion (`evaluation`), and what follows (`ml.rules.leak_rules`).

Gain and weights of trees are in units of each learner. What the test's AUC loses where one feature's values are dealt
out anew among its rows is in the same unit for all: that feature's part, and of columns that stand in for one another
what the others do not make up for (L. Breiman, Machine Learning 45, 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.evidence.evaluation import compare
from credit_assets.ml.rules.single_feature import single_feature_auc

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike, NDArray

_LOOKED_AT = 10
_SEED = 20071


def measure_concentration(
    pd: Callable[[Data], NDArray[np.float64]], test: Data, features: Sequence[str], groups: ArrayLike | None = None
) -> list[dict[str, Any]]:
    """What the AUC of a test loses where one feature is shuffled, of the ten features that rank it best by themselves.

    Parameters
    ----------
    pd
        The model.
    test
        Out-of-time rows with `default`.
    features
        Of the model.
    groups
        Of whom each row is, an integer a row, where rows come in groups.

    Returns
    -------
    list of dict
        JSON types, the largest loss first: `name`, `gain` (AUC lost), `gain_low` (lower end of its 95% interval),
        `share` of the AUC above 0.5, and `alone`, the AUC of the feature by itself.

    Raises
    ------
    ValueError
        Where the test has no rows, or one outcome alone.
    """
    rows = Rows.of(test)
    target = np.asarray(rows.column("default")).astype(np.int8)
    kept: dict[str, pa.ChunkedArray] = {name: rows.column(name) for name in features}
    alone = {name: auc for name in features if (auc := single_feature_auc(kept[name], target == 1)) is not None}
    before = pd(Rows.of_columns(kept))
    places = np.random.default_rng(_SEED).permutation(len(target))
    found = []
    for name in sorted(alone, key=lambda one: (-alone[one], one))[:_LOOKED_AT]:
        loss = compare(target, before, pd(Rows.of_columns({**kept, name: kept[name].take(places)})), groups=groups)
        skill = compare(target, before, np.full(len(target), 0.5)).difference
        found.append(
            {
                "name": name,
                "gain": round(loss.difference, 6),
                "gain_low": round(loss.ci_low, 6),
                "share": round(loss.difference / skill, 6) if skill > 0 else None,
                "alone": round(alone[name], 6),
            }
        )
    return sorted(found, key=lambda one: (-one["gain"], one["name"]))
