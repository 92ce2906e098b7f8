"""Section `comparison`: how well a model has to order applicants, by itself and beside the champion."""

from __future__ import annotations

from pydantic import model_validator

from credit_assets.ml.data.policies.keys import Section, key


class ComparisonPolicy(Section):
    """Thresholds on the out-of-time test. All are AUC points.

    Gradient boosting libraries differ by 0.0006 to 0.006 on public credit data, so a `min_improvement` of 0.005 asks
    for about as much as a change of learner gives. `require_significance` asks in addition that the 95% interval of
    the difference lies above zero. A refresh by the calendar need not be better: in place of the improvement the lower
    end of the interval must lie above minus `non_inferiority_margin`. A small test has a wide interval and so cannot
    show it, which is what separates this from "not shown to be worse".
    """

    min_improvement: float = key(
        0.005,
        "Out-of-time AUC by which a candidate must beat the champion.",
        unit="AUC",
        setting="min_improvement",
        ge=0,
        lt=1,
    )
    min_auc: float = key(0.55, "Floor of the out-of-time AUC.", unit="AUC", setting="min_auc", ge=0.5, lt=1)
    max_auc: float = key(
        0.95, "Out-of-time AUC above which leakage is suspected.", unit="AUC", setting="max_auc", gt=0.5, le=1
    )
    require_significance: bool = key(
        False,
        "Whether the 95% interval of the improvement over the champion must lie above zero too.",
        setting="require_significance",
    )
    non_inferiority_margin: float = key(
        0.03,
        "AUC by which a refreshed model may at most be worse (non-inferiority).",
        unit="AUC",
        setting="refresh_margin",
        gt=0,
        lt=0.5,
    )

    @model_validator(mode="after")
    def _floor_below_ceiling(self) -> ComparisonPolicy:
        if self.min_auc >= self.max_auc:
            raise ValueError(f"min_auc must lie below max_auc; got {self.min_auc:g} and {self.max_auc:g}")
        return self
