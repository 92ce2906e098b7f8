"""Training a model: fit, stop early, calibrate.

Belongs here: the order of these steps, which rows each may see, and all that decides what comes out. Does not belong
here: what one learner needs (its own module), where the training set comes from (`cohorts`), and the evidence for the
finished model (`candidates`).

Train rows fit the trees and fix the levels of categories. Validation rows, later in time, choose the number of rounds,
and choose and fit the calibration. Test rows, the newest, are only counted here: changing any of them
changes nothing in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET
from credit_assets.ml.data.extensions import advice
from credit_assets.ml.data.missing import missing_policies
from credit_assets.ml.data.rows import Rows
from credit_assets.ml.data.values import numbers, texts
from credit_assets.ml.learners import VARIANTS, Fitted, Variant
from credit_assets.ml.learners.calibration_choice import AUTO, Choice, choose
from credit_assets.ml.learners.encoding import Encoded, encode
from credit_assets.ml.learners.learner import FitConfig, Sample
from credit_assets.ml.learners.missing import FeatureProfile, margins, meanings, profile_of
from credit_assets.ml.learners.scorer import CreditScorer, ScoreScale, derived_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio


@dataclass(frozen=True)
class TrainingConfig(FitConfig):
    """How a candidate is trained: how its learner is fitted, the scale of its points, and the shape of its calibration,
    "auto" to choose (`calibration_choice`).
    """

    scale: ScoreScale = field(default_factory=ScoreScale)
    calibration: str = AUTO


@dataclass(frozen=True)
class Trained:
    """A model that is ready to score, the round that it stopped at, the log loss after each round (`Fitted`), and why
    it has this calibration.
    """

    scorer: CreditScorer
    best_rounds: int
    history: dict[str, list[float]]
    choice: Choice


def resolve_params(variant_name: str, config: FitConfig) -> dict[str, Any]:
    """All that decides, beside data, code, seed and scale, what model comes out: for records and fingerprints.

    The variant's parameters with defaults filled in, the two bounds on rounds, and the library with its version (an
    upgrade is another learner). Threads are left out: the same book on a machine with more cores is the same model.
    The device stands there where it is not the CPU.

    Raises
    ------
    ValueError
        For an unknown variant or a bad parameter.

    Examples
    --------
    >>> from credit_assets.ml.learners.training import TrainingConfig, resolve_params
    >>> resolve_params("xgboost", TrainingConfig(params={"max_depth": 4}))["max_depth"]
    4
    """
    learner = variant_named(variant_name)
    return {
        **learner.resolve(config.params, config.device),
        "max_rounds": config.max_rounds,
        "early_stopping_rounds": config.early_stopping_rounds,
        "library": learner.library(),
        **({} if config.device == "cpu" else {"device": config.device}),
    }


def variant_named(name: str) -> Variant:
    """Raises ValueError for an unknown variant."""
    if name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}{advice()}")
    return VARIANTS[name]


def train(learner: Variant, parts: Mapping[str, Sample], portfolio: Portfolio, config: TrainingConfig) -> Trained:
    """A model of the samples that `splits` gives. Raises ValueError as `Variant.fit`."""
    rows = Rows.of(parts["train"].rows)
    profile = profile_of(rows, portfolio.feature_names, portfolio.categorical_features)
    fitted = learner.fit(
        parts["train"], parts["validation"], monotone=portfolio.monotone, categorical=profile.levels, config=config
    )
    return calibrated(learner, fitted, profile, parts["validation"], portfolio, config)


def calibrated(
    learner: Variant,
    fitted: Fitted,
    profile: FeatureProfile,
    validation: Sample,
    portfolio: Portfolio,
    config: TrainingConfig,
) -> Trained:
    """The fitted model with what missing values count as, its calibration on the validation rows and all else that
    scoring needs.
    """

    def predict(rows: Encoded) -> NDArray[np.float64]:
        return learner.predict_margin(fitted.model, rows, threads=config.threads)

    encoded = encode(validation.rows, portfolio.feature_names, profile.levels)
    missing = meanings(predict, encoded, profile.seen, missing_policies(portfolio), portfolio.monotone)
    margin = np.concatenate([batch.values for batch in margins(predict, encoded, missing)])
    # In the order of the training set, which is that of time.
    choice = choose(margin, validation.target, config.calibration)
    scorer = CreditScorer(
        variant=learner.name,
        model=fitted.model,
        features=portfolio.feature_names,
        categories=profile.levels,
        derived=derived_of(portfolio),
        monotone=portfolio.monotone,
        calibration=choice.calibration,
        scale=config.scale,
        library=learner.library(),
        portfolio=portfolio.name,
        contract=portfolio.contract,
        missing=missing,
    )
    return Trained(scorer, fitted.best_rounds, fitted.history, choice)


def splits(rows: Rows, features: tuple[str, ...]) -> dict[str, Sample]:
    """The features of each split with its target. Raises ValueError for a set that cannot be trained on."""
    require_columns(rows.names, features)
    places, different = texts(rows.column(SPLIT))
    require_known_splits({str(different[place]) for place in np.unique(places)})
    target = numbers(rows.column(TARGET))
    parts = {}
    for split in SPLITS:
        inside = np.array([text == split for text in different])[places]
        outcomes = target[inside]
        require_outcomes(split, len(outcomes), int(np.count_nonzero(outcomes == 1)))
        parts[split] = Sample(rows.select(features).part(inside), outcomes)
    return parts


def require_columns(given: tuple[str, ...], features: tuple[str, ...]) -> None:
    """Raises ValueError naming the columns that a training set lacks."""
    missing = [name for name in (*features, TARGET, SPLIT) if name not in given]
    if missing:
        raise ValueError(f"the training set lacks the columns {', '.join(missing)}")


def require_known_splits(given: set[str]) -> None:
    """Raises ValueError naming the splits that are none."""
    unknown = sorted(given - set(SPLITS))
    if unknown:
        raise ValueError(f"the training set has rows of split {', '.join(unknown)}; known: {', '.join(SPLITS)}")


def require_outcomes(split: str, rows: int, bads: int) -> None:
    """Raises ValueError for a split without rows, or with one outcome only.

    The test is only counted here; what is in it shows when it is evaluated, after everything is decided.
    """
    if not rows:
        raise ValueError(f"the training set has no {split} rows: give it applications of more days")
    if split != "test" and bads in (0, rows):
        raise ValueError(
            f"the {rows} {split} rows are all {'bad' if bads else 'good'}: nothing can be learned from one "
            "outcome; see that outcomes meet their applications, or give rows of more days"
        )
