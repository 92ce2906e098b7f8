"""Section `cutoff`: whom a model declines, and what approving and declining cost."""

from __future__ import annotations

from credit_assets.ml.data.policies.keys import PolicySection, key


class CutoffPolicy(PolicySection):
    """A model declines above its cut-off. Each version has one of its own, fixed when it is trained.

    `approval_rate`: the cut-off is the PD up to which so many of those who applied on the days of its out-of-time test
    are approved. `max_pd`: the cut-off itself; where both are set, the lower one holds. Where neither is, the pipeline
    declines nobody.

    The money, a unit of the amount lent: an approved loan that is repaid brings `margin`, one that defaults costs
    `loss_given_default`; a declined applicant costs `declined_good` where the loan would have been repaid, and
    `declined_bad` where it would not. `amount_column` names the column of applications with the amounts; without it
    every loan counts as one.

    The keys have no variables: the cut-off is saved with a model, and what it was made by is part of its identity.
    """

    approval_rate: float | None = key(
        None, "Share of the applications of its test's days that a version approves.", unit="share", gt=0, lt=1
    )
    max_pd: float | None = key(None, "PD above which a version declines.", unit="PD", gt=0, lt=1)
    loss_given_default: float = key(
        0.6, "Loss of an approved loan that defaults.", unit="share of the amount", gt=0, le=2
    )
    margin: float = key(0.1, "Gain of an approved loan that is repaid.", unit="share of the amount", gt=0, le=2)
    declined_good: float = key(
        0.0, "Cost of declining a loan that would have been repaid.", unit="share of the amount", ge=0, le=2
    )
    declined_bad: float = key(
        0.0, "Cost of declining a loan that would have defaulted.", unit="share of the amount", ge=0, le=2
    )
    amount_column: str | None = key(None, "Column of applications with the amount lent; without it, 1 a loan.")
    bootstrap: int = key(
        500, "Draws of the bootstrap for the interval of the best cut-off.", unit="draws", ge=100, le=10_000
    )

    @property
    def decides(self) -> bool:
        """Whether a version has a cut-off at all."""
        return self.approval_rate is not None or self.max_pd is not None
