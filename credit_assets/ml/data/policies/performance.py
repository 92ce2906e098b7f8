"""Section `performance`: when what became of applications retrains the champion."""

from __future__ import annotations

from credit_assets.ml.data.policies.keys import Section, key


class PerformancePolicy(Section):
    """`floor`: AUC below which a champion is retrained whatever it had. `margin`: loss of AUC against its registered
    value that retrains it. `min_bads`: defaults, seen or expected, below which an AUC says nothing; of a trial too.
    """

    min_bads: int = key(
        50, "Defaults that a verdict on performance needs.", unit="bads", setting="performance_min_bads", ge=2
    )
    floor: float = key(
        0.55, "AUC below which the champion is retrained.", unit="AUC", setting="performance_floor", ge=0.5, lt=1
    )
    margin: float = key(
        0.05,
        "Loss of AUC against the champion's registered value that retrains it.",
        unit="AUC",
        setting="performance_margin",
        gt=0,
        lt=0.5,
    )
