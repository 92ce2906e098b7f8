"""Section `performance`: when what became of applications retrains the champion."""

from __future__ import annotations

from credit_assets.ml.data.policies.keys import PolicySection, key


class PerformancePolicy(PolicySection):
    """`floor`: AUC below which a champion is retrained whatever it had. `margin`: loss of AUC against its test that
    retrains it. `max_level_ratio`: observed over expected defaults, either way, from which its PDs are calibrated anew.
    All three beyond chance, so that `false_alarms` of the champions are named a year, where nothing has changed.
    `min_bads`: defaults, seen or expected, below which nothing is said; of a trial too.
    """

    min_bads: int = key(
        50, "Defaults that a verdict on performance needs.", unit="bads", setting="performance_min_bads", ge=2
    )
    floor: float = key(
        0.55, "AUC below which the champion is retrained.", unit="AUC", setting="performance_floor", ge=0.5, lt=1
    )
    margin: float = key(
        0.05,
        "Loss of AUC against the test of the champion that retrains it.",
        unit="AUC",
        setting="performance_margin",
        gt=0,
        lt=0.5,
    )
    max_level_ratio: float = key(
        1.2,
        "Observed over expected defaults, or its inverse, from which the champion is calibrated anew.",
        unit="ratio",
        setting="performance_max_level_ratio",
        gt=1,
        le=100,
    )
    false_alarms: float = key(
        0.01,
        "Share of unchanged champions a year that the triggers on performance may name, each of them.",
        unit="share",
        setting="performance_false_alarms",
        gt=0,
        lt=0.5,
    )
