"""Section `leaks`: how much skill is to be looked at by a person before a model takes over."""

from __future__ import annotations

from pydantic import model_validator

from credit_assets.ml.data.policies.keys import PolicySection, key


class LeaksPolicy(PolicySection):
    """Limits on skill that may come from a column that knows the outcome. Each is held against the near end of a 95%
    interval, so that no small test reaches it by chance.

    A gain over the champion of more than `max_gain` is none of an ordinary training: gradient boosting libraries differ
    by 0.006 at most, and a year of new loans gave .03 on the LendingClub loans. Once `history` versions have been in
    force, the largest gain among them takes its place where it is smaller, but no less than `min_gain`. A first model
    has no champion, and its AUC itself is held against `max_first_auc`. A feature that brings more than
    `max_feature_gain` is looked at where it is stronger alone than `max_feature_alone`, or where it brings by so much
    more than it knows alone: a book of few columns has its skill from two of them, and a price or a score of AUC .65
    then brings .15.
    """

    max_gain: float = key(
        0.05, "AUC gained over the champion from which a person has to approve.", unit="AUC", gt=0, lt=0.5
    )
    min_gain: float = key(
        0.02, "Gain that is never suspicious, however little former versions gained.", unit="AUC", gt=0, lt=0.5
    )
    history: int = key(5, "Versions that have taken over before their gains are the limit.", unit="versions", ge=1)
    max_first_auc: float = key(
        0.8, "AUC of a model without a champion from which a person has to approve.", unit="AUC", gt=0.5, le=1
    )
    max_feature_gain: float = key(
        0.08,
        "AUC that one feature may bring where it is strong alone, or more than it knows alone; strong_features apart.",
        unit="AUC",
        gt=0,
        lt=0.5,
    )
    max_feature_alone: float = key(
        0.7, "AUC of a feature alone up to which it may bring what it knows alone.", unit="AUC", ge=0.5, le=1
    )

    @model_validator(mode="after")
    def _ordered(self) -> LeaksPolicy:
        if self.min_gain > self.max_gain:
            raise ValueError(f"min_gain must not lie above max_gain; got {self.min_gain:g} and {self.max_gain:g}")
        return self
