"""Section `trials`: what a model on trial beside the champion must have seen, and the limits that it must keep."""

from __future__ import annotations

from credit_assets.ml.data.policies.keys import PolicySection, key


class TrialsPolicy(PolicySection):
    """`days` since a trial began and `min_loans` applications that both models scored: before, nothing is decided.

    `min_correlation`: least rank correlation of the two models' points. `max_psi`: largest PSI between distributions
    of their points. It counts spread as well as level: models that early stopping left with more or fewer trees rank
    alike and spread differently. On the LendingClub loans of 2010-2011, with two years of lookback, models trained a
    quarter apart and learners of one day had rank correlations of 0.86 to 0.94 and PSIs of 0.16 to 1.23, so 0.25 ends
    sound trials; at 90 days of lookback it was 0.42 to 0.88 and 0.14 to 4, and one model that said the same of all.
    `max_pd_ratio`: mean PD of one model over that of the other, either way; 2 is a change of the expected loss for
    which somebody has to plan. From `min_bads` matured defaults of section `performance` on the two are compared by
    what became of the applications.
    """

    days: int = key(
        30, "Days that a model scores beside the champion on trial.", unit="days", setting="shadow_days", ge=1, le=366
    )
    min_loans: int = key(
        500, "Applications that a trial must have seen.", unit="rows", setting="shadow_min_loans", ge=1
    )
    min_correlation: float = key(
        0.6,
        "Least rank correlation of the two models' scores.",
        unit="correlation",
        setting="shadow_min_correlation",
        ge=-1,
        le=1,
    )
    max_psi: float = key(
        2.0, "Largest PSI between the two models' scores.", unit="PSI", setting="shadow_max_psi", gt=0, le=100
    )
    max_pd_ratio: float = key(
        2.0,
        "Largest ratio between the two models' mean PDs, either way.",
        unit="ratio",
        setting="shadow_max_pd_ratio",
        gt=1,
        le=100,
    )
