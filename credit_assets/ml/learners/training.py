"""Training one candidate: fit, stop early, calibrate, and only then look at the out-of-time test.

Belongs here: the order of these steps and which rows each may see. Does not belong here: what one learner needs
(`variants`), where the training set comes from (`cohorts`), and what is done with the candidate (`decisions`).

Train rows fit the trees and fix the levels of categories. Validation rows, later in time, choose the number of rounds
and fit the two parameters of the calibration. Test rows, the newest, are scored once at the end: changing any of them
changes nothing in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET
from credit_assets.ml.data.rows import Data, Rows, numbers, texts
from credit_assets.ml.evidence.drift import DriftReference
from credit_assets.ml.evidence.evaluation import Evaluation, evaluate
from credit_assets.ml.learners import VARIANTS, Variant
from credit_assets.ml.learners.calibration import fit_platt
from credit_assets.ml.learners.encoding import encode, levels_of
from credit_assets.ml.learners.learner import Device
from credit_assets.ml.learners.scorer import CreditScorer, ScoreScale, derived_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio


@dataclass(frozen=True)
class TrainingConfig:
    """How a candidate is trained.

    `params` go over the variant's defaults. `max_rounds` bounds the boosting rounds and `early_stopping_rounds` is how
    many may pass without a smaller validation loss. `threads` changes speed and not, to the precision of sums, the
    model. `device` is where the trees are grown: it takes what the learner can do there, and adds up otherwise.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 20071
    threads: int = 1
    max_rounds: int = 2000
    early_stopping_rounds: int = 50
    scale: ScoreScale = field(default_factory=ScoreScale)
    device: Device = "cpu"


@dataclass(frozen=True)
class Predictions:
    """What a model said of the rows of one split and what became of them: targets (0 or 1), PDs and points."""

    target: NDArray[np.int8]
    pd: NDArray[np.float64]
    score: NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A trained model and the evidence for it.

    `history` is the log loss after each round ("train-logloss", "validation-logloss"), `params` what `resolve_params`
    gives, `metrics` and `predictions` are by split; those of "test" are out of time and the only ones to judge by.
    `reference` is what later applications are held against to see drift.
    """

    scorer: CreditScorer
    best_rounds: int
    history: dict[str, list[float]]
    params: dict[str, Any]
    metrics: dict[str, Evaluation]
    predictions: dict[str, Predictions] = field(repr=False)
    reference: DriftReference = field(repr=False)

    @property
    def variant(self) -> str:
        return self.scorer.variant


def resolve_params(variant_name: str, config: TrainingConfig) -> dict[str, Any]:
    """All that decides, beside data, code, seed and scale, what model comes out: for records and fingerprints.

    The variant's parameters with defaults filled in, the two bounds on rounds, and the library with its version (an
    upgrade is another learner). Threads are left out: the same book on a machine with more cores is the same model.
    The device stands there where it is not the CPU. Raises ValueError for an unknown variant or a bad parameter.
    """
    learner = _variant(variant_name)
    return {
        **learner.resolve(config.params, config.device),
        "max_rounds": config.max_rounds,
        "early_stopping_rounds": config.early_stopping_rounds,
        "library": learner.library(),
        **({} if config.device == "cpu" else {"device": config.device}),
    }


def train_candidate(training_set: Data, variant_name: str, portfolio: Portfolio, config: TrainingConfig) -> Candidate:
    """Train a variant on a training set as `cohorts.assemble_training_set` makes it.

    It has the portfolio's features (derived ones included), `default` (0 or 1) and `split` ("train", "validation",
    "test"), and is a frame, an Arrow table, or `Rows.stored` of a Parquet file, which is read as often as it is needed
    and takes the least memory. The same rows give the same model in all three. Deterministic for equal rows, config and
    library. Raises ValueError naming what is wrong: a missing column, a split without rows or with one outcome only, an
    unknown variant, a bad parameter, what the device cannot do.
    """
    learner = _variant(variant_name)
    params = resolve_params(variant_name, config)
    features, categorical = portfolio.feature_names, portfolio.categorical_features
    rows = Rows.of(training_set)
    parts = splits(rows, features)
    (train, y), (validation, y_val) = parts["train"], parts["validation"]
    levels = levels_of(train.batches(categorical), categorical)
    fitted = learner.fit(
        train,
        y,
        validation,
        y_val,
        params=config.params,
        monotone=portfolio.monotone,
        categorical=levels,
        seed=config.seed,
        threads=config.threads,
        max_rounds=config.max_rounds,
        early_stopping_rounds=config.early_stopping_rounds,
        device=config.device,
    )
    scorer = CreditScorer(
        variant=variant_name,
        model=fitted.model,
        features=features,
        categories=levels,
        derived=derived_of(portfolio),
        monotone=portfolio.monotone,
        calibration=fit_platt(_margin(learner, fitted.model, validation, features, levels, config), y_val),
        scale=config.scale,
        library=learner.library(),
    )
    predictions = {split: _predict(scorer, part, config.threads, target) for split, (part, target) in parts.items()}
    return Candidate(
        scorer=scorer,
        best_rounds=fitted.best_rounds,
        history=fitted.history,
        params=params,
        metrics={split: _evaluate(split, found) for split, found in predictions.items()},
        predictions=predictions,
        reference=DriftReference.of(
            rows,
            features,
            categorical,
            # Points of the rows that the trees were not fitted on: those of the train rows lie further apart.
            np.concatenate([predictions["validation"].score, predictions["test"].score]),
        ),
    )


def _variant(name: str) -> Variant:
    if name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}")
    return VARIANTS[name]


def splits(rows: Rows, features: tuple[str, ...]) -> dict[str, tuple[Rows, NDArray[np.float64]]]:
    """The features of each split and its target."""
    missing = [name for name in (*features, TARGET, SPLIT) if name not in rows.names]
    if missing:
        raise ValueError(f"the training set lacks the columns {', '.join(missing)}")
    places, different = texts(rows.column(SPLIT))
    unknown = sorted({str(different[place]) for place in np.unique(places)} - set(SPLITS))
    if unknown:
        raise ValueError(f"the training set has rows of split {', '.join(unknown)}; known: {', '.join(SPLITS)}")
    target = numbers(rows.column(TARGET))
    parts = {}
    for split in SPLITS:
        inside = np.array([text == split for text in different])[places]
        found = target[inside]
        if not len(found):
            raise ValueError(f"the training set has no {split} rows: take a longer lookback")
        # The test is only counted here; what is in it shows when it is evaluated, after everything is decided.
        if split != "test" and found.min() == found.max():
            kind = "bad" if found[0] else "good"
            raise ValueError(f"the {len(found)} {split} rows are all {kind}: take a longer lookback")
        parts[split] = (rows.select(features).part(inside), found)
    return parts


def _margin(
    learner: Variant,
    model: Any,
    data: Data,
    features: tuple[str, ...],
    levels: Mapping[str, tuple[str, ...]],
    config: TrainingConfig,
) -> NDArray[np.float64]:
    return learner.predict_margin(model, encode(data, features, levels), threads=config.threads)


def _predict(scorer: CreditScorer, data: Data, threads: int, target: NDArray[np.float64] | None = None) -> Predictions:
    """Predictions for the rows of `data`, with their target, by default that of `data`."""
    if target is None:
        target = numbers(Rows.of(data).column(TARGET))
    scores = scorer.score(data, threads=threads)
    return Predictions(target=target.astype(np.int8), pd=scores["pd"].to_numpy(), score=scores["score"].to_numpy())


def _evaluate(split: str, predictions: Predictions) -> Evaluation:
    try:
        return evaluate(predictions.target, predictions.pd)
    except ValueError as error:
        raise ValueError(f"split {split}: {error}") from error
