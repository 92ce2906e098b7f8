"""What features tell of protected columns: each by itself, and all of them together.

Belongs here: the measures. Does not belong here: limits and verdicts (`credit_assets.ml.rules.fairness_rules`), and how
a model treats groups (`fairness`).

A feature that is a protected column under another name, or stands in for one, brings it back into the model. It is told
by how well the feature ranks the members of a group against all others, in whatever form it does so: the AUC of
`single_feature_auc`, which is that of the gate on leakage, with the group in the place of the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.rows import Rows
from credit_assets.ml.evidence.fairness import MISSING, Groups, rank_auc
from credit_assets.ml.evidence.scorecard import fit_scorecard
from credit_assets.ml.rules.single_feature import near_end, single_feature_auc

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_MOST_TARGETS = 10
_SHOWN = 10


def measure_association(
    rows: pa.Table, features: Sequence[str], protected: Mapping[str, Groups], least: int
) -> list[dict[str, Any]]:
    """How well each feature by itself tells each protected column.

    Parameters
    ----------
    rows
        Applications with these features.
    features
        Of the model.
    protected
        By column, its groups of these rows.
    least
        Rows that a group, and all others, must have.

    Returns
    -------
    list of dict
        JSON types, the strongest first: `feature`, `column`, `group` that it tells best, `auc`, and `near`, the end of
        its interval that is nearer to chance. One entry a feature and column.
    """
    found = []
    for column, groups in protected.items():
        targets = list(_targets(groups, least))
        for feature in features:
            separated = [
                (near_end(auc, int(inside.sum()), int((~inside).sum())), auc, name)
                for name, inside in targets
                if (auc := single_feature_auc(rows[feature], inside)) is not None
            ]
            if separated:
                near, auc, name = max(separated)
                found.append({"feature": feature, "column": column, "group": name, "auc": auc, "near": near})
    return sorted(found, key=lambda one: (-one["near"], one["feature"], one["column"]))


def measure_proxy(
    rows: pa.Table, features: Sequence[str], categorical: Sequence[str], groups: Groups, least: int
) -> list[dict[str, Any]]:
    """How well all features together tell the groups of a column: the AUC of a plain scorecard, each half of the rows
    scored by that of the other half.

    Parameters
    ----------
    rows, groups, least
        As of `measure_association`.
    features, categorical
        All features, and those that are categories.

    Returns
    -------
    list of dict
        JSON types: `group` and `auc`; of two groups the first alone.
    """
    found, odd = [], np.arange(rows.num_rows) % 2 == 1
    table, parts = Rows.of(rows), [odd, ~odd]
    for name, inside in _targets(groups, least):
        scores = np.empty(rows.num_rows)
        for fitted, scored in (parts, parts[::-1]):
            if len(set(inside[fitted])) < 2:
                break
            card = fit_scorecard(table.part(fitted), inside[fitted].astype(np.float64), features, categorical)
            scores[scored] = card.pd(table.part(scored))
        else:
            # Two scorecards have two scales: the halves are ranked apart.
            auc = float(np.mean([rank_auc(inside[part], scores[part]) for part in parts]))
            found.append({"group": name, "auc": auc})
    return found


def shown(found: Sequence[Mapping[str, Any]], limit: float) -> list[dict[str, Any]]:
    """Those beyond a limit, and of the others the strongest: what a record holds."""
    return [dict(one) for n, one in enumerate(found) if n < _SHOWN or one["near"] > limit]


def _targets(groups: Groups, least: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What a feature may tell: each group against all others, and of numbers where they are cut anywhere else."""
    counts = np.bincount(groups.place, minlength=len(groups.names))
    largest = [int(n) for n in np.argsort(-counts, kind="stable")]
    able = [n for n in largest if min(counts[n], counts.sum() - counts[n]) >= least]
    # The members of one of two groups are those who are not of the other.
    for n in able[:1] if len(able) == 2 and counts[able].sum() == counts.sum() else able[:_MOST_TARGETS]:
        yield groups.names[n], groups.place == n
    if groups.numbers is not None:
        known = np.isfinite(groups.numbers)
        for share in (1 / 3, 1 / 2, 2 / 3):
            if not known.any():
                return
            cut = float(np.quantile(groups.numbers[known], share))
            above = known & (groups.numbers >= cut)
            if min(above.sum(), (~above).sum()) >= least:
                yield f"{cut:g} and above", above


__all__ = ["MISSING", "measure_association", "measure_proxy", "shown"]
