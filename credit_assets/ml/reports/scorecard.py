"""The scorecard of a day as people read it: its points table, and how it stands beside the best of the other models.

Belongs here: the record of it. Does not belong here: fitting it (`credit_assets.ml.learners.scorecard`), choosing
among candidates (`selection`).

An applicant's score is the base points and the points of one bin of each feature: offset + factor * ln(odds of good),
where factor = pdo / ln 2 and offset = base - factor * ln(odds). With 600 points at 50:1 and 20 points to double the
odds, factor is 28.8539 and offset 487.1229. Source: N. Siddiqi, Credit Risk Scorecards, 2006, chapter 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.reports.selection import comparison, is_trained, out_of_time, validation_auc

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.learners.scorecard import Card, CardFeature
    from credit_assets.ml.learners.scorer import CreditScorer

SCORECARD = "scorecard"
"""The variant, and the key of the record."""
DIGITS = 4
"""Of points: the sum of a table's lies within half of the last digit a feature of the score."""
MOST_LEVELS = 100
"""Levels that are named of one bin; the model's file has all of them."""


def points_table(scorer: CreditScorer) -> dict[str, Any]:
    """The points of a scorecard with its bins, as JSON types.

    Where the calibration is a line through the log-odds, it is in the points, and they add up to the score. Where it
    is another shape, `calibrated` is false: they add up to a score of the log-odds before calibration.
    """
    card: Card = scorer.model
    scale, line = scorer.scale, scorer.calibration.line
    slope, shift = line or (1.0, 0.0)
    base = scale.offset + scale.factor * (slope * card.intercept - shift)
    return {
        "scale": {
            "base": scale.base,
            "odds": scale.odds,
            "pdo": scale.pdo,
            "factor": round(scale.factor, DIGITS),
            "offset": round(scale.offset, DIGITS),
            "rounded_to": 10.0**-DIGITS,
        },
        "calibrated": line is not None,
        "base_points": round(base, DIGITS),
        "features": [_feature(one, scale.factor * slope) for one in card.features],
        "left_out": [{"feature": one.feature, "why": one.why} for one in card.left_out],
    }


def _feature(feature: CardFeature, factor: float) -> dict[str, Any]:
    points = (-factor * feature.log_odds()).round(DIGITS).tolist()
    counted = zip(_names(feature), feature.goods, feature.bads, feature.weights, points, strict=True)
    return {
        "feature": feature.name,
        "information_value": round(feature.information_value, 6),
        "coefficient": round(feature.coefficient, 6),
        "standard_error": round(feature.standard_error, 6),
        "bins": [
            {
                **name,
                "goods": goods,
                "bads": bads,
                "bad_rate": round(bads / (goods + bads), 6) if goods + bads else None,
                "weight": round(weight, 6),
                "points": point,
            }
            for name, goods, bads, weight, point in counted
        ],
    }


def _names(feature: CardFeature) -> list[dict[str, Any]]:
    """What each bin holds: `from` <= value < `to`, `levels`, or what is `missing`."""
    if feature.edges is not None:
        ends = [None, *feature.edges, None]
        inside: list[dict[str, Any]] = [{"from": begin, "to": end} for begin, end in pairwise(ends)]
    else:
        inside = [
            {
                "levels": list(group[:MOST_LEVELS]),
                **({"more_levels": len(group) - MOST_LEVELS} if len(group) > MOST_LEVELS else {}),
            }
            for group in feature.groups or ()
        ]
    return [*inside, {"missing": True}]


def scorecard_record(
    training_set: pa.Table,
    candidates: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    scorer_of: Callable[[Mapping[str, Any]], CreditScorer],
    portfolio: Portfolio,
) -> dict[str, Any]:
    """The day's scorecard: its points table, its AUC on the out-of-time test, and the difference of the chosen model
    from it there; where it was chosen itself, that of the best of the others by the validation rows.

    Parameters
    ----------
    training_set
        That of the as-of date.
    candidates, best
        Records of the candidates of the day, and of the chosen one.
    scorer_of
        The model of such a record.
    portfolio
        Which rows are of one customer.

    Returns
    -------
    dict
        `why` alone where no scorecard was trained.
    """
    trained = {one["variant"]: one for one in candidates if is_trained(one)}
    if SCORECARD not in trained:
        if any(one.get("variant") == SCORECARD for one in candidates):
            return {"why": f"the {SCORECARD} of this day was not trained"}
        # The same on every machine, whatever is installed there.
        return {
            "why": f"{SCORECARD} is none of the variants (CREDIT_VARIANTS; by default where its extra is installed)"
        }
    card = trained.pop(SCORECARD)
    test, scorer = card["metrics"]["test"], scorer_of(card)
    record = {
        "auc": {"value": test["auc"], "low": test["auc_ci_low"], "high": test["auc_ci_high"]},
        "validation_auc": validation_auc(card),
        "rows": test["rows"],
        "bads": test["bads"],
        "chosen": best["variant"] == SCORECARD,
        "beside": None,
        **points_table(scorer),
    }
    rival = best if best["variant"] != SCORECARD else max(trained.values(), key=validation_auc, default=None)
    if rival is not None:
        rows = out_of_time(training_set)
        found = comparison(rows, scorer_of(rival).pd(rows), scorer.pd(rows), groups_of(rows, portfolio))
        record["beside"] = {"variant": rival["variant"], "auc": rival["metrics"]["test"]["auc"]}
        record["beside"] |= {name: found[name] for name in ("difference", "why") if name in found}
    return record
