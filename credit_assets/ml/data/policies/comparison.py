"""Section `comparison`: how well a model has to order applicants, by itself and beside others."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from credit_assets.ml.data.policies.keys import PolicySection, key


class ComparisonPolicy(PolicySection):
    """Thresholds on the out-of-time test. Those in AUC are points of it.

    A model takes over where its AUC on the same rows is larger by `min_improvement` and, with `rule: interval`, the
    lower end of the one-sided interval of the difference lies above zero, at a level that is saved day by day, and
    spent by how far the model is ahead on the validation rows (`ml.rules.levels`). So all comparisons of a year
    together promote a model by chance, that is no better, at most `alpha` times on average, however often models are
    trained. `rule: point` asks for `min_improvement` alone: where models are of equal worth, it promotes 24 a year on
    daily tests of 110 bads, 12 on 440.

    A refresh by the calendar need not be better: the lower end of the 95% interval of the difference must lie above
    minus `non_inferiority_margin`, from the champion and, with `against_first`, from the first model of the chain of
    refreshes too. The margin is a twentieth of the skill (AUC less a half) of a model of AUC 0.7, and shrinks with the
    skill below that. A small test has a wide interval and so cannot show it.

    While the drift reports say that applicants are others than those that a champion of `moved_after` days or more
    learned from, a model is taken for what is measured: `min_improvement` on its own test, nothing for the worse on all
    tests beside this champion that share no row, and `min_improvement` over the first of its chain on all of those.

    A first champion has to be shown to know more than chance, and must not be shown to be worse than a plain scorecard
    by more than `scorecard_margin`.
    """

    min_improvement: float = key(
        0.005,
        "Out-of-time AUC by which a candidate must beat the champion.",
        unit="AUC",
        setting="min_improvement",
        ge=0,
        lt=1,
    )
    rule: Literal["interval", "point"] = key(
        "interval",
        "Whether the improvement must be shown by its interval, or is taken as measured (point), which promotes 24 "
        "models of equal worth a year on daily tests of 110 bads.",
        setting="promotion_rule",
    )
    alpha: float = key(
        0.05,
        "Promotions by chance that all comparisons of a year may add up to.",
        unit="a year",
        setting="promotion_alpha",
        gt=0,
        le=0.5,
    )
    min_bads: int = key(
        50, "Bads on the rows on which two models are compared.", unit="bads", setting="promotion_min_bads", ge=2
    )
    min_goods: int = key(
        50, "Goods on the rows on which two models are compared.", unit="goods", setting="promotion_min_goods", ge=2
    )
    min_auc: float = key(0.55, "Floor of the out-of-time AUC.", unit="AUC", setting="min_auc", ge=0.5, lt=1)
    max_auc: float = key(
        0.95, "Out-of-time AUC above which leakage is suspected.", unit="AUC", setting="max_auc", gt=0.5, le=1
    )
    non_inferiority_margin: float = key(
        0.01,
        "AUC by which a refreshed model may at most be worse (non-inferiority); less below an AUC of 0.7.",
        unit="AUC",
        setting="refresh_margin",
        gt=0,
        lt=0.5,
    )
    against_first: bool = key(
        True,
        "Whether a refresh is held against the first model of its chain of refreshes too.",
        setting="refresh_against_first",
    )
    moved_after: int | None = key(
        28,
        "Days after which a champion gives way to an improvement as measured while drift says that applicants have "
        "moved; null: to one that is shown alone.",
        unit="days",
        ge=1,
    )
    first_level: float = key(
        0.025,
        "One-sided level at which the AUC of a first champion must be shown to lie above 0.5.",
        setting="promotion_first_level",
        gt=0,
        le=0.5,
    )
    scorecard_margin: float = key(
        0.01, "AUC by which a first champion may be shown to be worse than a plain scorecard.", unit="AUC", ge=0, lt=0.5
    )

    @model_validator(mode="after")
    def _floor_below_ceiling(self) -> ComparisonPolicy:
        if self.min_auc >= self.max_auc:
            raise ValueError(f"min_auc must lie below max_auc; got {self.min_auc:g} and {self.max_auc:g}")
        return self
