"""The model of an as-of date: the best of its candidates, and how it stands against the champion on the same rows.

Belongs here: the choice, the rows on which two models may be compared, comparisons, and what people read of them.
Does not belong here: the measures (`credit_assets.ml.evidence.evaluation`), and finding and loading models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.failures import PermanentError
from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.evidence.baseline import JudgedRows, measure_baseline
from credit_assets.ml.evidence.calibration_error import SURE, CalibrationError
from credit_assets.ml.evidence.calibration_evidence import compare_calibration, measure_calibration
from credit_assets.ml.evidence.evaluation import compare, evaluate
from credit_assets.ml.evidence.scorecard import fit_scorecard

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike

    from credit_assets.ml.data.portfolio import Portfolio

MADE = ("identity", "threads", "trained_on", "search", "rounds", "metrics", "cut_off", "files", "made_with")
"""What of a candidate's record says how it was made and what came out."""


def best_candidate(
    candidates: Sequence[Mapping[str, Any]], data: str, variants: Sequence[str], as_of: date
) -> Mapping[str, Any]:
    """The candidate with the best AUC on the validation rows.

    The test has no part in the choice: the best of three on the rows that it is compared on afterwards looks better
    there than it is. The validation rows have ended the training of each candidate too, so that their AUC on them is
    too high, by much the same for all: early stopping picks one of some hundred rounds of each, and calibration changes
    no order. What remains of it costs a worse choice among models that differ by little, and no unfair test. A learner
    of an extension that fits on its validation rows is chosen too often, and judged by the test as the others are.

    Parameters
    ----------
    candidates
        Records of the candidates of one as-of date, those that failed among them.
    data
        Hash of the training set that is there now.
    variants
        In the order that decides ties, so that a replay chooses the same.
    as_of
        For the messages.

    Returns
    -------
    Mapping
        The record of the best.

    Raises
    ------
    PermanentError
        Where all failed, or one was trained on another training set.
    """
    trained = [record for record in candidates if is_trained(record)]
    if not trained:
        raise PermanentError(f"no candidate was trained for {as_of}: every variant of CREDIT_VARIANTS failed")
    stale = [record["variant"] for record in trained if record["identity"]["data"] != data]
    if stale:
        raise PermanentError(
            f"candidates {', '.join(stale)} of {as_of} were trained on another training set than the one that is "
            "there now; materialize them again"
        )
    return max(trained, key=lambda one: (validation_auc(one), -variants.index(one["variant"])))


def selection_record(
    training_set: pa.Table,
    data: str,
    candidates: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    date_column: str,
) -> dict[str, Any]:
    """The record of the chosen model; `champion` is the comparison with the champion, None where none is in force."""
    import pyarrow.compute as pc

    return {
        "as_of": best["as_of"],
        "variant": best["variant"],
        "fingerprint": best["fingerprint"],
        "run_id": best["run_id"],
        **({"extensions": best["extensions"]} if best.get("extensions") else {}),
        "model_uri": best["model_uri"],
        "data": data,
        "training_rows": best.get("training_rows", training_set.num_rows),
        # What this model has not seen begins here.
        "test_from": best.get("test_from") or pc.min(out_of_time(training_set)[date_column]).as_py().isoformat(),
        # What the choice was by, on the validation rows.
        "candidates": {one["variant"]: validation_auc(one) for one in candidates if is_trained(one)},
        # By which the other models are found when this one is made again.
        "candidate_runs": {one["variant"]: one["run_id"] for one in candidates if is_trained(one)},
        "failed_variants": sorted(one["variant"] for one in candidates if not is_trained(one)),
        "evaluation": best["metrics"]["test"],
        "calibration_choice": best.get("calibration_choice"),
        "champion": champion,
        **({"recalibrates": best["recalibrates"]} if "recalibrates" in best else {}),
        # By which it is made again; the candidate's own record is replaced when its day is trained anew.
        "made": {name: best[name] for name in MADE if name in best},
    }


def baseline_record(
    training_set: pa.Table,
    score: Callable[[pa.Table], ArrayLike],
    portfolio: Portfolio,
    made: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the use of a model that was trained on this set is held against (`ml.evidence.baseline`), by its PDs.

    The rows that its calibration was fitted on are those of validation; of a new calibration of the champion (`made`,
    the record of it) those of its days, which are other rows. Where they moved the level alone, the slope is as
    uncertain as the baseline of the champion has it (`before`; taken for exact where an older release registered it).
    """
    import pyarrow.compute as pc

    def judged(rows: pa.Table) -> JudgedRows:
        return JudgedRows(rows["default"].to_numpy(), score(rows), groups_of(rows, portfolio))

    test, theirs = judged(out_of_time(training_set)), fit_of(before) or SURE
    if made is None or made["why"]:
        validation = judged(training_set.filter(pc.equal(training_set["split"], "validation")))
        # Where nothing was fitted, the calibration is the champion's, of rows that are in another set.
        return measure_baseline(validation, test, theirs if made else None).to_record()
    fitted = judged(_fitted_on(training_set, portfolio.date_column, made["days"]))
    of_level = CalibrationError.of_level(fitted.y, fitted.pd, theirs, fitted.groups)
    return measure_baseline(fitted, test, of_level if made["moved"] == "level" else None).to_record()


def _fitted_on(training_set: pa.Table, date_column: str, days: Sequence[str]) -> pa.Table:
    """The rows of a new calibration: of these days, and none of the test."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first, last = (pa.scalar(date.fromisoformat(day)) for day in days)
    rows = training_set.filter(pc.not_equal(training_set["split"], "test"))
    dates = rows[date_column]
    return rows.filter(pc.and_(pc.greater_equal(dates, first), pc.less_equal(dates, last)))


def unseen_rows(training_set: pa.Table, date_column: str, test_from: date, split: str = "test") -> pa.Table:
    """The rows that neither model has used: of the out-of-time test, from the day on which the champion's own test
    began. Everything later the champion cannot have seen. Those of the `validation` the candidate has.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = training_set.filter(pc.equal(training_set["split"], split))
    return rows.filter(pc.greater_equal(rows[date_column], pa.scalar(test_from)))


def comparable(rows: pa.Table) -> bool:
    """Whether two models can be compared on these rows: both outcomes are among them."""
    return len(set(rows["default"].to_numpy())) == 2


def comparison(rows: pa.Table, ours: ArrayLike, theirs: ArrayLike, groups: ArrayLike | None = None) -> dict[str, Any]:
    """The candidate's and the champion's PDs on the same rows: each evaluated, and the difference with its interval.
    `groups` are the customers of the rows; None where every row is its own. Rows that one of the models refuses for a
    value that is missing are counted, and left out.
    """
    target, ours, theirs, groups = _both_score(rows, ours, theirs, groups)
    refused = rows.num_rows - len(target)
    if len(set(target)) < 2:
        why = f"{refused} of {rows.num_rows} rows are refused by one of the models, and the rest has one outcome only"
        return {"comparable": False, "why": why}
    return {
        "comparable": True,
        **({"refused": refused} if refused else {}),
        "evaluation": evaluate(target, theirs, groups).to_record(),
        "candidate_evaluation": evaluate(target, ours, groups).to_record(),
        "difference": compare(target, ours, theirs, groups).to_record(),
        "calibration": compare_calibration(target, ours, theirs, groups),
    }


def difference(
    rows: pa.Table, ours: ArrayLike, theirs: ArrayLike, groups: ArrayLike | None = None
) -> dict[str, Any] | None:
    """The difference alone, as of `comparison`; None where the rows that both score have one outcome only."""
    target, ours, theirs, groups = _both_score(rows, ours, theirs, groups)
    return compare(target, ours, theirs, groups).to_record() if len(set(target)) == 2 else None


def _both_score(rows: pa.Table, ours: ArrayLike, theirs: ArrayLike, groups: ArrayLike | None) -> tuple[Any, ...]:
    """Target, both models' PDs and the groups, of the rows that neither refuses."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    both = ~np.isnan(ours + theirs)
    target = rows["default"].to_numpy()[both]
    return target, ours[both], theirs[both], None if groups is None else np.asarray(groups)[both]


def calibration_record(
    rows: pa.Table, pd_of: Callable[[pa.Table], ArrayLike], portfolio: Portfolio, fit: CalibrationError | None
) -> dict[str, Any]:
    """The calibration of a model on the rows of its out-of-time test, given what it says of rows, and how uncertain it
    is by those that it was fitted on.
    """
    return measure_calibration(rows["default"].to_numpy(), pd_of(rows), groups_of(rows, portfolio), fit).to_record()


def fit_of(baseline: Mapping[str, Any] | None) -> CalibrationError | None:
    """How uncertain a calibration is by the baseline of its model; None where an older release registered it."""
    return CalibrationError(**baseline["calibration"]) if baseline else None


def age_record(rows: pa.Table, date_column: str, as_of: date) -> dict[str, Any]:
    """How much newer than its test the applications are that a model of this as-of date scores: as many days at the
    least as lie between the end of the test and the first day in use. A performance window is among them.
    """
    import pyarrow.compute as pc

    ends = pc.min_max(rows[date_column]).as_py()
    first = as_of + timedelta(1)
    return {
        "test": [ends["min"].isoformat(), ends["max"].isoformat()],
        "in_use_from": first.isoformat(),
        "days": (first - ends["max"]).days,
    }


def beside_scorecard(
    training_set: pa.Table, portfolio: Portfolio, ours: Callable[[pa.Table], ArrayLike]
) -> dict[str, Any]:
    """A plain scorecard of the train rows, and the model's difference from it on the out-of-time test."""
    import pyarrow.compute as pc

    train, test = training_set.filter(pc.equal(training_set["split"], "train")), out_of_time(training_set)
    scorecard = fit_scorecard(
        train, train["default"].to_numpy(), portfolio.feature_names, portfolio.categorical_features
    )
    compared = comparison(test, ours(test), scorecard.pd(test), groups_of(test, portfolio))
    return {"auc": compared["evaluation"]["auc"], "difference": compared["difference"]}


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a person reads of it."""
    test = record["evaluation"]
    metadata: dict[str, Any] = {
        "variant": record["variant"],
        **{name: test[name] for name in ("auc", "auc_ci_low", "auc_ci_high", "gini", "ks", "brier", "log_loss", "ece")},
        "bad_rate": test["observed_rate"],
        "test_rows": test["rows"],
        "test_bads": test["bads"],
        **{f"validation_auc_{name}": auc for name, auc in record["candidates"].items()},
        # Four of its columns: with all seven it is wider than its place on Dagster's page, and every value is cut off.
        "lift_by_decile": [
            {name: row[name] for name in ("decile", "mean_pd", "bad_rate", "lift")} for row in test["lift"]
        ],
    }
    if choice := record.get("calibration_choice"):
        fitted = f"fitted on {choice['rows']:,} rows with {choice['bads']:,} bads: {choice['why']}"
        metadata["calibration"] = f"{choice['method']}, {fitted}"
    if calibration := record.get("calibration"):
        for name, found in (
            ("observed_over_expected", calibration["observed_over_expected"]),
            ("calibration_slope", calibration["slope"]),
        ):
            if found:
                metadata |= {name: found["value"], f"{name}_interval": f"{found['low']:.3g} .. {found['high']:.3g}"}
    champion = record["champion"]
    if champion is None:
        metadata["champion"] = "none in force"
    elif not champion["comparable"]:
        metadata["champion"] = f"version {champion['version']}: {champion['why']}"
    else:
        difference = champion["difference"]
        metadata["champion"] = f"version {champion['version']} (as of {champion['as_of']})"
        metadata["auc_difference"] = difference["difference"]
        metadata["smallest_detectable_difference"] = difference["smallest_detectable_difference"]
        interval = f"{difference['ci_low']:+.4f} .. {difference['ci_high']:+.4f}"
        metadata["auc_difference_interval"] = f"{interval} (95%, paired DeLong)"
    metadata |= _scorecard(record.get("scorecard") or {})
    if made := record.get("recalibrates"):
        metadata["recalibrates"] = f"version {made['version']}, on {made['rows']:,} rows with {made['bads']:,} bads"
    metadata |= _first_days(record.get("first_days") or {}) | _cutoffs(record.get("cutoffs") or {})
    if record["failed_variants"]:
        metadata["failed_variants"] = ", ".join(record["failed_variants"])
    return metadata


def _scorecard(found: Mapping[str, Any]) -> dict[str, Any]:
    if "auc" not in found:
        return {"scorecard": found["why"]} if found else {}
    text = f"AUC {_with_interval(found['auc'])}"
    if difference := (found["beside"] or {}).get("difference"):
        interval = f"{difference['ci_low']:+.4f} .. {difference['ci_high']:+.4f}"
        text += f"; {found['beside']['variant']} {difference['difference']:+.4f} ({interval})"
    return {"scorecard": text}


def _with_interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3g} ({found['low']:.3g} .. {found['high']:.3g})"


def _first_days(found: Mapping[str, Any]) -> dict[str, Any]:
    if "together" not in found:
        return {"first_days": found["why"]} if found else {}
    means, days = found["mean_pd"], found["days"]["now"]
    return {
        "first_days": f"{days[0]} .. {days[1]}, {found['rows']['now']:,} applications",
        "first_days_mean_pd": means["now"],
        "test_mean_pd": means["then"],
        "first_days_score_psi": found["score"]["psi"],
        "auc_as_first_days": found["together"]["auc_as_now"],
    }


def _cutoffs(found: Mapping[str, Any]) -> dict[str, Any]:
    if "best" not in found:
        return {}
    best, own = found["best"], found["own"]
    cut_off = {} if own is None else {"cut_off_pd": own["pd"], "approval_rate": own["approval_rate"]}
    return {
        **cut_off,
        "largest_profit_pd": best["pd"],
        "largest_profit_pd_interval": f"{best['low']:.4f} .. {best['high']:.4f}",
        "largest_profit_approval_rate": best["approval_rate"],
    }


def validation_auc(candidate: Mapping[str, Any]) -> float:
    """What candidates are chosen by."""
    return float(candidate["metrics"]["validation"]["auc"])


def is_trained(candidate: Mapping[str, Any]) -> bool:
    """Whether there is a model of this record."""
    return bool(candidate["status"] == "trained")


def out_of_time(training_set: pa.Table) -> pa.Table:
    """The rows of the test."""
    import pyarrow.compute as pc

    return training_set.filter(pc.equal(training_set["split"], "test"))
