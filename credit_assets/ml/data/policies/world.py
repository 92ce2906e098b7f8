"""Section `world`: how far train, validation, test and the newest days may differ, and when outcomes have stopped."""

from __future__ import annotations

from credit_assets.ml.data.keys import Identifier
from credit_assets.ml.data.policies.keys import PolicySection, key


class WorldPolicy(PolicySection):
    """Limits beyond what drift, growth and moves of list prices do, each beyond chance as well.

    On the LendingClub loans of 2007-2011, at lookbacks of 90, 365 and 730 days, no numeric feature of a test lay
    further than .46 from train (`max_distance`) or had values 1.8 times the size (`max_size_ratio`), while PSIs reached
    5; no share of missing values differed by .05, and the odds of default of neighbouring months stayed within 1.2
    times of each other at the near end of the interval (docs/data-problems.md has the error rates).
    """

    max_psi: float = key(
        1.0,
        "PSI, less its average by chance, from which a feature of validation or test is of another world than train's; "
        "of a numeric one max_distance must be reached too.",
        unit="PSI",
        gt=0,
        le=100,
    )
    max_distance: float = key(
        0.7,
        "Kolmogorov-Smirnov distance from train that goes with it.",
        unit="share",
        gt=0,
        le=1,
    )
    max_size_ratio: float = key(
        5.0, "Ratio of typical sizes from which values are in another unit, either way.", unit="ratio", gt=1, le=1000
    )
    max_beyond: float = key(
        0.05,
        "Share of a numeric feature's values that lie beyond twice the range of nearly all before, as where a part of "
        "the rows is in another unit.",
        unit="share",
        gt=0,
        le=1,
    )
    max_missing_rise: float = key(
        0.3, "Rise of the share of missing values, from train or from the cohorts.", unit="share", gt=0, le=1
    )
    max_new_levels: float = key(
        0.3, "Share of values in levels that train, or the cohorts, have not.", unit="share", gt=0, le=1
    )
    max_rate_ratio: float = key(
        1.5,
        "Ratio of the odds of default before and after the start of a month, either way, that the near end of the "
        "99.9% interval may reach.",
        unit="ratio",
        gt=1,
        le=100,
    )
    max_outcome_gap: int = key(
        45,
        "Days up to the as-of date without an outcome, or without a default, after which their feed may have stopped.",
        unit="days",
        ge=1,
        le=1100,
    )
    changed_features: tuple[Identifier, ...] = key(
        (), "Features whose change is known and meant: it is said, and stops nothing."
    )
