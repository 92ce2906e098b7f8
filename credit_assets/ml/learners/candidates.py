"""Candidates: a trained model with the evidence for it.

Belongs here: what is measured on a finished model's own training set: metrics, predictions and the drift reference.
Does not belong here: how the model is made (`training`) and what is done with the candidate (`rules.decisions`).

The model's identity does not hash this module: EVIDENCE stands for it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.failures import error_text
from credit_assets.ml.data.cohorts import SPLIT, SPLITS
from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.data.extensions import sources
from credit_assets.ml.data.fingerprints import code_version
from credit_assets.ml.data.html_tables import HtmlTable, ShownAsTable
from credit_assets.ml.data.request_rules import RequestRules
from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.data.values import texts
from credit_assets.ml.evidence.drift_reference import DriftReference
from credit_assets.ml.evidence.evaluation import Evaluation, evaluate
from credit_assets.ml.learners.calibration_choice import AUTO
from credit_assets.ml.learners.learner import Sample
from credit_assets.ml.learners.scorer import CreditScorer, derived_of, extensions_of
from credit_assets.ml.learners.training import Trained, TrainingConfig, resolve_params, splits, train, variant_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio

EVIDENCE = 4
"""Counts the forms of a candidate's evidence. It belongs to a candidate's identity, so that one with evidence of
another form is not used again. Raise it where a measure, a bin or a field of `Evaluation` or `DriftReference` changes.
"""


def candidate_identity(
    variant: str, as_of: str, data: str, config: TrainingConfig, portfolio: Portfolio
) -> dict[str, Any]:
    """Everything that decides what candidate comes out, as JSON types: a candidate of equal identity is used again.

    Threads are left out, so that another machine finds it again.

    Parameters
    ----------
    variant, as_of
        Whose candidate, and of which ISO day.
    data
        Hash of its training set (`fingerprints.frame_hash`).
    config, portfolio
        How it is trained, with which directions of features, and which requests the model refuses.
    """
    scale = config.scale
    theirs = extensions_of(variant, derived_of(portfolio))
    return {
        # Two portfolios may have equal columns and equal rows, and their models are two all the same.
        "portfolio": [portfolio.name, portfolio.contract],
        "variant": variant,
        "as_of": as_of,
        "data": data,
        "code": code_version(),
        "evidence": EVIDENCE,
        "params": resolve_params(variant, config),
        "seed": config.seed,
        "scale": [scale.base, scale.odds, scale.pdo],
        "monotone": portfolio.monotone,
        # They are saved with the model: another range or policy is another model to whoever asks it.
        "requests": RequestRules.of(portfolio).to_record(),
        **({} if config.calibration == AUTO else {"calibration": config.calibration}),
        # Only where there are any: what a portfolio does not use changes no model.
        **({"extensions": sources(theirs)} if theirs else {}),
    }


@dataclass(frozen=True)
class Predictions:
    """What a model said of the rows of one split and what became of them: targets (0 or 1), PDs and points."""

    target: NDArray[np.int8]
    pd: NDArray[np.float64]
    score: NDArray[np.float64]


@dataclass(frozen=True)
class Candidate(ShownAsTable):
    """A trained model and the evidence for it.

    `history` is the log loss after each round ("train-logloss", "validation-logloss"), `params` what `resolve_params`
    gives, `metrics` and `predictions` are by split; those of "test" are out of time and the only ones to judge by.
    `reference` is what later applications are held against to see drift, `calibration_choice` why it has its
    calibration (`calibration_choice.Choice`).
    """

    scorer: CreditScorer
    best_rounds: int
    history: dict[str, list[float]]
    params: dict[str, Any]
    metrics: dict[str, Evaluation]
    predictions: dict[str, Predictions] = field(repr=False)
    reference: DriftReference = field(repr=False)
    calibration_choice: dict[str, Any] | None = None

    @property
    def variant(self) -> str:
        return self.scorer.variant

    def html_tables(self) -> Iterable[HtmlTable]:
        names = [name for name in Evaluation.__dataclass_fields__ if name != "lift"]
        rows = [(name.replace("_", " "), *(getattr(one, name) for one in self.metrics.values())) for name in names]
        yield HtmlTable(f"{self.variant}, {self.best_rounds} rounds", ("", *self.metrics), rows)


def train_candidate(training_set: Data, variant_name: str, portfolio: Portfolio, config: TrainingConfig) -> Candidate:
    """Train a variant in this process, on a training set as `cohorts.assemble_training_set` makes it.

    Deterministic for equal rows, config and library.

    Parameters
    ----------
    training_set
        The portfolio's features (derived ones included), `default` (0 or 1) and `split` ("train", "validation",
        "test"): a frame, an Arrow table, or `Rows.stored` of a Parquet file, which is read as often as it is needed and
        takes the least memory. The same rows give the same model in all three.
    variant_name
        One of VARIANTS.
    portfolio
        Names the features, their levels and directions.
    config
        How it is trained.

    Returns
    -------
    Candidate
        The model with its metrics, predictions and drift reference.

    Raises
    ------
    ValueError
        Naming what is wrong: a missing column, a split without rows or with one outcome only, an unknown variant, a bad
        parameter, what the device cannot do.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from credit_assets.ml.data.portfolio import Column, Portfolio
    >>> from credit_assets.ml.learners.candidates import train_candidate
    >>> from credit_assets.ml.learners.training import TrainingConfig
    >>> key = Column(name="id", type="string", role="id", nullable=False)
    >>> day = Column(name="day", type="date", role="date", nullable=False)
    >>> portfolio = Portfolio(name="small", columns=(key, day, Column(name="income", type="float", monotone=-1)))
    >>> rng = np.random.default_rng(1)
    >>> income = rng.lognormal(10, 1, 900)
    >>> default = (rng.random(900) < 1 / (1 + income / 10_000)).astype("int8")
    >>> split = np.repeat(["train", "validation", "test"], 300)
    >>> rows = pd.DataFrame({"income": income, "default": default, "split": split})
    >>> train_candidate(rows, "lightgbm", portfolio, TrainingConfig(max_rounds=20)).metrics["test"].auc > 0.6
    True
    """
    learner, params = variant_named(variant_name), resolve_params(variant_name, config)
    features, rows = portfolio.feature_names, Rows.of(training_set)
    parts = splits(rows, features)
    trained = train(learner, parts, portfolio, config)
    predictions = {split: predict(trained.scorer, part, config.threads) for split, part in parts.items()}
    reference = DriftReference.of(rows, features, portfolio.categorical_features, unseen_points(predictions))
    return judged(trained, params, predictions, reference, split_groups(rows, portfolio))


def split_groups(rows: Rows, portfolio: Portfolio) -> dict[str, NDArray[np.int64]]:
    """By split, the customers of its rows as groups; nothing where the portfolio names no customer. Raises ValueError
    where the rows lack the column.
    """
    import pyarrow as pa

    if portfolio.customer_column is None:
        return {}
    groups = groups_of(
        pa.table({name: rows.column(name) for name in rows.names if name == portfolio.customer_column}), portfolio
    )
    places, different = texts(rows.column(SPLIT))
    assert groups is not None
    return {split: groups[np.array([text == split for text in different])[places]] for split in SPLITS}


def predict(scorer: CreditScorer, sample: Sample, threads: int = 1) -> Predictions:
    """What the model says of these rows, beside what became of them."""
    scores = scorer.score(sample.rows, threads=threads)
    return Predictions(
        target=np.asarray(sample.target).astype(np.int8), pd=scores["pd"].to_numpy(), score=scores["score"].to_numpy()
    )


def rounds_at_the_cap(rounds: int, params: Mapping[str, Any]) -> str | None:
    """What to say of a model that ended at the cap of rounds, None of one that early stopping ended.

    The validation loss has to stay above its best for `early_stopping_rounds` to end a training. A best round nearer to
    `max_rounds` was not shown to be the best: more rounds may have been better.

    Parameters
    ----------
    rounds, params
        Those of a `Candidate`: its best round, and what `resolve_params` gives.

    Examples
    --------
    >>> rounds_at_the_cap(300, {"max_rounds": 500, "early_stopping_rounds": 50}) is None
    True
    >>> rounds_at_the_cap(480, {"max_rounds": 500, "early_stopping_rounds": 50})[:70]
    'training ended at the cap of 500 rounds (CREDIT_MAX_ROUNDS) with its b'
    """
    most, patience = int(params["max_rounds"]), int(params["early_stopping_rounds"])
    if rounds + patience <= most:
        return None
    return (
        f"training ended at the cap of {most} rounds (CREDIT_MAX_ROUNDS) with its best round at {rounds}: early "
        f"stopping, which waits {patience} rounds (CREDIT_EARLY_STOPPING_ROUNDS), had not ended it, so that more "
        "rounds or a larger learning rate (CREDIT_VARIANT_PARAMS) may give a better model"
    )


def unseen_points(predictions: Mapping[str, Predictions]) -> NDArray[np.float64]:
    """Points of the rows that the trees were not fitted on: those of the train rows lie further apart."""
    return np.concatenate([predictions["validation"].score, predictions["test"].score])


def judged(
    trained: Trained,
    params: dict[str, Any],
    predictions: dict[str, Predictions],
    reference: DriftReference,
    groups: Mapping[str, NDArray[np.int64]],
) -> Candidate:
    """The trained model with its evidence, `groups` as of `split_groups`. Raises ValueError naming a split that has no
    metrics.
    """
    return Candidate(
        scorer=trained.scorer,
        best_rounds=trained.best_rounds,
        history=trained.history,
        params=params,
        metrics={split: _evaluated(split, predictions[split], groups.get(split)) for split in SPLITS},
        predictions=predictions,
        reference=reference,
        calibration_choice=trained.choice.to_record(),
    )


def _evaluated(split: str, predictions: Predictions, groups: NDArray[np.int64] | None) -> Evaluation:
    try:
        return evaluate(predictions.target, predictions.pd, groups)
    except ValueError as error:
        raise ValueError(f"split {split}: {error_text(error)}") from error
