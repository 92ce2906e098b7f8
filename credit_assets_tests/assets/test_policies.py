"""Thresholds: the setting has the default, the policy has none, and each field comes from the setting of its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

import pytest

from credit_assets.assets import policies
from credit_assets.settings import Settings, load_settings

# Every threshold with another value than its default.
CHANGED = load_settings(
    min_improvement=0.01,
    min_auc=0.6,
    max_auc=0.9,
    max_ece=0.04,
    require_significance=True,
    refresh_margin=0.02,
    drift_watch=0.11,
    drift_shifted=0.3,
    drift_alpha=0.02,
    drift_min_rows=400,
    promotion="manual",
    shadow_days=20,
    shadow_min_loans=300,
    shadow_min_correlation=0.5,
    shadow_max_psi=1.5,
    shadow_max_pd_ratio=1.8,
    first_days_max_pd_ratio=1.4,
    first_days_max_psi=0.4,
    first_days_max_auc_loss=0.02,
    performance_min_bads=40,
    drift_trigger_days=2,
    drift_trigger_window=6,
    cooldown_days=20,
    repeat_days=80,
    performance_floor=0.6,
    performance_margin=0.04,
    volume_trigger_share=0.5,
)
AGAIN = {"cooldown_days": "cooldown_days", "repeat_days": "repeat_days"}
DAYS = {"days": "drift_trigger_days", "window": "drift_trigger_window"}
NAMED: list[tuple[Callable[[Settings], Any], dict[str, str]]] = [
    (
        partial(policies.registration_policy, refresh=True),
        {
            "min_improvement": "min_improvement",
            "min_auc": "min_auc",
            "max_auc": "max_auc",
            "max_ece": "max_ece",
            "require_significance": "require_significance",
            "non_inferiority_margin": "refresh_margin",
        },
    ),
    (
        policies.drift_policy,
        {"watch": "drift_watch", "shifted": "drift_shifted", "alpha": "drift_alpha", "min_rows": "drift_min_rows"},
    ),
    (
        policies.trial_policy,
        {
            "promotion": "promotion",
            "days": "shadow_days",
            "min_loans": "shadow_min_loans",
            "min_correlation": "shadow_min_correlation",
            "max_psi": "shadow_max_psi",
            "max_pd_ratio": "shadow_max_pd_ratio",
            "min_bads": "performance_min_bads",
        },
    ),
    (
        policies.first_days_policy,
        {
            "max_pd_ratio": "first_days_max_pd_ratio",
            "max_psi": "first_days_max_psi",
            "max_auc_loss": "first_days_max_auc_loss",
        },
    ),
    (policies.drift_trigger_policy, DAYS | AGAIN),
    (
        policies.performance_trigger_policy,
        {"floor": "performance_floor", "margin": "performance_margin", "min_bads": "performance_min_bads"}
        | DAYS
        | AGAIN,
    ),
    (policies.volume_trigger_policy, {"share": "volume_trigger_share"} | AGAIN),
]


@pytest.mark.parametrize(("policy_of", "named"), NAMED)
def test_each_threshold_comes_from_its_setting(policy_of: Callable[[Settings], Any], named: dict[str, str]) -> None:
    default = load_settings()
    policy = policy_of(CHANGED)
    given = [field for field in fields(policy) if field.init]
    assert {field.name for field in given} == set(named)
    assert [field.name for field in given if (field.default, field.default_factory) != (MISSING, MISSING)] == []
    for field, setting in named.items():
        assert getattr(policy, field) == getattr(CHANGED, setting) != getattr(default, setting), field


def test_a_model_that_is_no_refresh_has_to_be_better() -> None:
    assert policies.registration_policy(CHANGED, refresh=False).non_inferiority_margin is None
