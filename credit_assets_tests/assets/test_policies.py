"""Thresholds of what is no part of the policy: the setting has the default, and each field comes from the setting of
its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import pytest

from credit_assets.assets import policies
from credit_assets.settings import Settings, load_settings

# Every threshold with another value than its default.
CHANGED = load_settings(
    drift_watch=0.11,
    drift_shifted=0.3,
    drift_alpha=0.02,
    drift_min_rows=400,
    drift_trigger_days=2,
    drift_trigger_window=6,
    cooldown_days=20,
    repeat_days=80,
    volume_trigger_share=0.5,
    performance_floor=0.6,
    performance_min_bads=40,
    promotion="manual",
    shadow_days=20,
)
AGAIN = {"cooldown_days": "cooldown_days", "repeat_days": "repeat_days"}
DAYS = {"days": "drift_trigger_days", "window": "drift_trigger_window"}
NAMED: list[tuple[Callable[[Settings], Any], dict[str, str]]] = [
    (
        policies.drift_policy,
        {"watch": "drift_watch", "shifted": "drift_shifted", "alpha": "drift_alpha", "min_rows": "drift_min_rows"},
    ),
    (policies.drift_trigger_policy, DAYS | AGAIN),
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


def test_triggers_and_trials_take_their_limits_from_the_policy_in_force() -> None:
    trigger, trial, policy = policies.performance_trigger_policy(CHANGED), policies.trial_policy(CHANGED), CHANGED
    assert (trigger.days, trigger.window, trigger.cooldown_days, trigger.repeat_days) == (2, 6, 20, 80)
    assert trigger.limits == policies.policy_of(policy).performance
    assert (trigger.limits.floor, trigger.limits.min_bads) == (0.6, 40)
    assert (trial.promotion, trial.limits, trial.min_bads) == ("manual", policies.policy_of(policy).trials, 40)
    assert trial.limits.days == 20
