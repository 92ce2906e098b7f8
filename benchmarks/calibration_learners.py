"""Boosters trained as a training does it, whose calibration is then judged as a training judges it.

Belongs here: the books, and the training. Does not belong here: the rule, and the other tables (`calibration_errors`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from credit_assets.ml.data.policies import CalibrationPolicy
from credit_assets.ml.data.portfolio import Column, Portfolio
from credit_assets.ml.evidence.calibration_error import CalibrationError
from credit_assets.ml.evidence.calibration_evidence import measure_calibration
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.ml.rules.calibration_rules import judge_calibration

_RATE, _MIDDLE = 0.12, -2.4
_FEATURES = 6


def portfolio() -> Portfolio:
    return Portfolio(
        name="fitted",
        columns=(
            Column(name="id", type="string", role="id", nullable=False),
            Column(name="day", type="date", role="date", nullable=False),
            *(Column(name=f"x{n}", type="float") for n in range(_FEATURES)),
        ),
    )


def training_set(rng: np.random.Generator, bads: int) -> Any:
    """About so many bads in the validation and in the test each, four times as many to train on."""
    import pandas as pd

    rows = round(bads / _RATE)
    x = rng.standard_normal((6 * rows, _FEATURES))
    odds = _MIDDLE + 0.5 * x[:, 0] + 0.5 * x[:, 1] + 0.4 * np.abs(x[:, 2]) + 0.3 * x[:, 3] * x[:, 4]
    found = pd.DataFrame(x, columns=[f"x{n}" for n in range(_FEATURES)])
    found["default"] = (rng.random(len(x)) < 1 / (1 + np.exp(-odds))).astype("int8")
    found["split"] = np.repeat(["train", "validation", "test"], [4 * rows, rows, rows])
    return found


def refused_of(variant: str, bads: int, books: int) -> list[str]:
    """The shares refused by level and slope: with PDs taken for exact, and with the error of the fit."""
    found = []
    for number in range(books):
        rows = training_set(np.random.default_rng([bads, number]), bads)
        made = train_candidate(rows, variant, portfolio(), TrainingConfig(max_rounds=200)).predictions
        fit = CalibrationError.of(made["validation"].target, made["validation"].pd)
        found.append([_against(made["test"], one) for one in (None, fit)])
    return [f"{share:.1%}" for share in np.mean(found, axis=0)]


def _against(test: Any, fit: CalibrationError | None) -> bool:
    measured = measure_calibration(test.target, test.pd, None, fit).to_record()
    evidence = {"calibration": measured, "champion": None, "evaluation": {"ece": 0.0, "lift": []}}
    return any(not one.passed for one in judge_calibration(evidence, CalibrationPolicy()))
