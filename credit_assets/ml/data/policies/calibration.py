"""Section `calibration`: how far PDs may be off, and when a new calibration is enough."""

from __future__ import annotations

from typing import Literal

from credit_assets.ml.data.policies.keys import PolicySection, key


class CalibrationPolicy(PolicySection):
    """A level or a slope stands against a model where both is true: a test at `alpha` rejects it, and it lies beyond
    its limit. A small test rejects a sound model in `alpha` of all cases and a large one never, however small the
    misfit is that it can show.

    `max_level_ratio`: observed over expected defaults, either way: 1.25 allows 0.80 .. 1.25. `max_slope_ratio`: the
    slope of the logistic recalibration, either way: 1.67 allows 0.60 .. 1.67. `max_ece`: how far PDs may truly be off
    on average; what a test of its size shows by chance is added. `max_loss_to_champion`: by what factor the level may
    be shown to lie farther from 1 than the champion's on the same rows.

    A model that is trained gets its calibration by `method`. A new calibration of the champion is fitted on the newest
    days before the test that it has not used, as many as have `recalibration_bads` bads and goods, and refused below
    `recalibration_min_bads`.
    """

    method: Literal["auto", "none", "platt", "beta", "isotonic"] = key(
        "auto",
        "Shape of a model's calibration: none, platt, beta, isotonic, or the simplest within one standard error of the "
        "best in folds of the validation rows (auto).",
        setting="calibration",
    )
    alpha: float = key(
        0.01, "Level of the tests of level and slope: how often each refuses a calibrated model.", ge=1e-6, le=0.2
    )
    max_level_ratio: float = key(
        1.25, "Ratio of observed and expected defaults, either way, up to which no test refuses.", unit="ratio", gt=1,
        le=100,
    )  # fmt: skip
    max_slope_ratio: float = key(
        1.67,
        "Slope of the logistic recalibration, either way, up to which no test refuses.",
        unit="ratio",
        gt=1,
        le=100,
    )
    max_ece: float = key(
        0.05, "Largest expected calibration error (deciles).", unit="share", setting="max_ece", gt=0, le=1
    )
    max_loss_to_champion: float = key(
        1.1,
        "Factor by which the level may be shown to lie farther from 1 than the champion's on the same rows.",
        unit="ratio",
        ge=1,
        le=100,
    )
    recalibration_bads: int = key(
        200, "Bads, and goods, on which a new calibration of the champion is fitted.", unit="bads", ge=10
    )
    recalibration_min_bads: int = key(
        30, "Bads, and goods, below which no new calibration is fitted.", unit="bads", ge=5
    )
