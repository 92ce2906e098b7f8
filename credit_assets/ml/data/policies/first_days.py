"""Section `first_days`: how far the newest days may differ from the out-of-time test before a model takes over."""

from __future__ import annotations

from credit_assets.ml.data.policies.keys import PolicySection, key


class FirstDaysPolicy(PolicySection):
    """Limits between the newest days and the out-of-time test; wide enough for what a year of drift does.

    `max_pd_ratio`: odds of the mean PD, newest days over the test's, either way; of a single feature's effect too.
    `max_psi`: PSI of the points. `max_auc_loss`: AUC that the test may lose where a feature looks in it as in the
    newest days; twice that where all of them do. A feature also fails where the model uses it and half of the newest
    rows more than of the test's are missing or in levels of their own, or its values are of another size.

    What is of one value or out of the test's range is none of it: so is a list price from the day on which it moves.

    For 38 sound models on the LendingClub loans of 2009-2011 the odds stayed within 0.73 .. 1.24, the PSI below 0.36,
    and a single feature cost at most 0.035 (docs/data-problems.md has the error rates).
    """

    days: int = key(
        7,
        "Newest days, at least, held against the test before a model takes over.",
        unit="days",
        setting="first_days",
        ge=1,
        le=366,
    )
    min_rows: int = key(
        500,
        "Applications for which more of the newest days are taken.",
        unit="rows",
        setting="first_days_min_rows",
        ge=100,
    )
    max_pd_ratio: float = key(
        1.5,
        "Largest ratio between the odds of the newest days' mean PD and the test's.",
        unit="ratio",
        setting="first_days_max_pd_ratio",
        gt=1,
        le=100,
    )
    max_psi: float = key(
        0.5,
        "Largest PSI between the scores of the newest days and the test's.",
        unit="PSI",
        setting="first_days_max_psi",
        gt=0,
        le=100,
    )
    max_auc_loss: float = key(
        0.04,
        "AUC of the test that may be lost where a feature looks as in the newest days.",
        unit="AUC",
        setting="first_days_max_auc_loss",
        gt=0,
        lt=0.5,
    )
