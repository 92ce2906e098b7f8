"""Section `directions`: how far a model may go against the directions of columns, and outcomes against them."""

from __future__ import annotations

from credit_assets.ml.data.policies.keys import PolicySection, key


class DirectionsPolicy(PolicySection):
    """Limits on what a model does to whole applicants, and on what outcomes say against a direction.

    What rounding leaves of a direction that is kept lies far below `tolerance`, a hundredth of the odds or a third of a
    point; what it counts is what a derived feature lets through, or a learner that keeps no directions.
    """

    tolerance: float = key(
        0.01, "Log-odds by which moving a column may go the wrong way without counting.", unit="log-odds", gt=0, le=1
    )
    max_share: float = key(
        0.01, "Share of applicants, of any one column, whose PD may go the wrong way.", unit="share", ge=0, le=1
    )
    max_effect: float = key(
        0.2,
        "Effect that outcomes may show against a direction, a standard deviation of the feature's ranks.",
        unit="log-odds",
        gt=0,
    )
    alpha: float = key(
        0.001,
        "How often a training may fail by chance though outcomes speak against no direction.",
        unit="share",
        gt=0,
        lt=0.5,
    )
