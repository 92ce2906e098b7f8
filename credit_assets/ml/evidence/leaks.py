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
from credit_assets.ml.rules.single_feature import near_end, single_feature_auc

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike, NDArray

MOST = 30
"""Features that are shuffled, those that rank the test best by themselves: a portfolio may have three hundred."""
_LOOKED_AT = 10
_SEED = 20071


def measure_concentration(
    pd: Callable[[Data], NDArray[np.float64]],
    test: Data,
    features: Sequence[str],
    groups: ArrayLike | None = None,
    most: int = _LOOKED_AT,
) -> list[dict[str, Any]]:
    """What the AUC of a test loses where one feature is shuffled, of the features that rank it best by themselves.

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
    most
        How many features are looked at.

    Returns
    -------
    list of dict
        JSON types, the largest loss first: `name`, `gain` (AUC lost), `gain_low` and `gain_high` (its 95% interval),
        `share` of the AUC above 0.5, `alone`, the AUC of the feature by itself, and `alone_low`, that less a standard
        error.

    Raises
    ------
    ValueError
        Where the test has no rows, or one outcome alone.
    """
    rows = Rows.of(test)
    target = np.asarray(rows.column("default")).astype(np.int8)
    kept: dict[str, pa.ChunkedArray] = {name: rows.column(name) for name in features}
    alone = {name: auc for name in features if (auc := single_feature_auc(kept[name], target == 1)) is not None}
    before, bads = pd(Rows.of_columns(kept)), int(target.sum())
    places = np.random.default_rng(_SEED).permutation(len(target))
    skill = compare(target, before, np.full(len(target), 0.5)).difference if alone else 0.0
    found = []
    for name in sorted(alone, key=lambda one: (-alone[one], one))[:most]:
        loss = compare(target, before, pd(Rows.of_columns({**kept, name: kept[name].take(places)})), groups=groups)
        found.append(
            {
                "name": name,
                "gain": round(loss.difference, 6),
                "gain_low": round(loss.ci_low, 6),
                "gain_high": round(loss.ci_high, 6),
                "share": round(loss.difference / skill, 6) if skill > 0 else None,
                "alone": round(alone[name], 6),
                "alone_low": round(near_end(alone[name], bads, len(target) - bads), 6),
            }
        )
    return sorted(found, key=_by_gain)


def foremost(found: Sequence[dict[str, Any]], most: int = _LOOKED_AT) -> list[dict[str, Any]]:
    """Of what `measure_concentration` found, what it finds of so many features."""
    return sorted(sorted(found, key=lambda one: (-one["alone"], one["name"]))[:most], key=_by_gain)


def _by_gain(one: dict[str, Any]) -> tuple[float, str]:
    return -one["gain"], one["name"]
