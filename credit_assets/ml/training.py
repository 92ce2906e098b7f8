"""One candidate from a training set: fitted, stopped early, calibrated, evaluated.

Belongs here: what is the same for every learner. Does not belong here: the learners (`variants`).

Each split has one use. train: fitting. validation (newer): when to stop, and calibration. test (newest): evaluation,
never touched before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from credit_assets.ml.calibration import fit_platt
from credit_assets.ml.evaluation import Evaluation, evaluate
from credit_assets.ml.portfolio import Portfolio
from credit_assets.ml.scorer import CreditScorer, ScoreScale
from credit_assets.ml.variants import VARIANTS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class TrainingConfig:
    """params: over the variant's defaults. threads: of the fit. Rounds: boosting rounds."""

    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 20071
    threads: int = 1
    max_rounds: int = 2000
    early_stopping_rounds: int = 50
    scale: ScoreScale = field(default_factory=ScoreScale)


@dataclass(frozen=True)
class Candidate:
    """A trained model. `history`: log loss by round and split; `test_target`, `test_pd`: what the plots draw."""

    scorer: CreditScorer
    best_rounds: int
    history: dict[str, list[float]]
    params: dict[str, Any]
    metrics: dict[str, Evaluation]
    test_target: npt.NDArray[np.int8]
    test_pd: npt.NDArray[np.float64]


def resolve_params(variant: str, config: TrainingConfig) -> dict[str, Any]:
    """All parameters of a training: the variant's defaults, overridden by the config, and the stopping rule."""
    return {
        **VARIANTS[variant].resolve(config.params),
        "max_rounds": config.max_rounds,
        "early_stopping_rounds": config.early_stopping_rounds,
    }


def train_candidate(
    training_set: pd.DataFrame, variant: str, portfolio: Portfolio, config: TrainingConfig
) -> Candidate:
    """Train one variant on a frame of `cohorts.assemble_training_set`.

    Raises ValueError where a split is empty or has one class only, or where the learner refuses its parameters.
    """
    import numpy as np

    learner = VARIANTS[variant]
    parts = {split: training_set[training_set["split"] == split] for split in SPLITS}
    targets = {split: part["default"].to_numpy(dtype=np.int8) for split, part in parts.items()}
    for split, target in targets.items():
        if len(set(target.tolist())) < 2:
            raise ValueError(f"split {split!r} of the training set needs goods and bads, has {len(target)} rows")
    features = list(portfolio.feature_names)
    categorical = {
        name: tuple(sorted(parts["train"][name].dropna().astype(str).unique()))
        for name in portfolio.categorical_features
    }
    fitted = learner.fit(
        parts["train"][features],
        targets["train"],
        parts["validation"][features],
        targets["validation"],
        params=config.params,
        monotone={name: sign for name, sign in portfolio.monotone.items() if name not in categorical},
        categorical=categorical,
        seed=config.seed,
        threads=config.threads,
        max_rounds=config.max_rounds,
        early_stopping_rounds=config.early_stopping_rounds,
    )
    scorer = CreditScorer(
        variant=variant,
        model=fitted.model,
        features=tuple(features),
        categorical=categorical,
        derived={d.name: (d.function_name, dict(d.inputs)) for d in portfolio.derived},
        scale=config.scale,
        threads=config.threads,
    )
    margin = scorer.margin(parts["validation"])
    scorer = replace(scorer, calibration=fit_platt(margin, targets["validation"]))
    pds = {split: scorer.pd(part) for split, part in parts.items()}
    return Candidate(
        scorer=scorer,
        best_rounds=fitted.best_rounds,
        history=fitted.history,
        params=resolve_params(variant, config),
        metrics={split: evaluate(targets[split], pds[split]) for split in SPLITS},
        test_target=targets["test"],
        test_pd=pds["test"],
    )
