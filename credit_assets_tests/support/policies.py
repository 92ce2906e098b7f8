"""Policies for tests of the rules: those of the default settings, with what a test changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from credit_assets.assets import policies
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import FirstDaysPolicy, Policy
from credit_assets.ml.evidence.drift import DriftPolicy
from credit_assets.ml.rules.decisions import Decision
from credit_assets.ml.rules.model_rules import MODEL_RULES, decide_registration
from credit_assets.ml.rules.trials import TrialPolicy
from credit_assets.ml.rules.triggers import PerformanceTriggerPolicy, TriggerPolicy, VolumePolicy
from credit_assets.settings import load_settings

COMPARISON: Mapping[str, Any] = {"previous": None, "days": 365, "judged": True, "scorecard": None, "first": None}
CALIBRATED: Mapping[str, Any] = {
    "rows": 900,
    "bads": 45,
    "expected": 45.0,
    "observed_over_expected": {"value": 1.0, "low": 0.75, "high": 1.33},
    "level_p": 1.0,
    "slope": None,
    "why": "it is not asked",
}
"""Of a model whose PDs are right."""


def changed(section: str, **keys: Any) -> Policy:
    """The default policy with other values of keys of one section. Raises ValueError where they make no sense."""
    return Policy.model_validate({section: keys})


def registered(
    rules: Sequence[str],
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    gates: Sequence[GateResult],
    policy: Policy,
    **found: Any,
) -> Decision:
    """The decision on a model, calibrated where its evidence does not say otherwise, by these rules of the table alone.
    `found` is more of the evidence: `mode`, and what the comparison has, where a year has passed since the one before.
    """
    of = {name: found.pop(name, default) for name, default in COMPARISON.items()}
    known = {"calibration": CALIBRATED, "comparison": of}
    evidence = {"evaluation": candidate, "champion": champion, **known, **found}
    return decide_registration(evidence, gates, policy, [rule for rule in MODEL_RULES if rule.name in rules])


def drift(**changes: Any) -> DriftPolicy:
    return replace(policies.drift_policy(load_settings()), **changes)


def trial(promotion: Any = "shadow", min_bads: int = 50, **changes: Any) -> TrialPolicy:
    """Under promotion by shadow: without it there is no trial."""
    return TrialPolicy(promotion, changed("trials", **changes).trials, min_bads)


def drift_trigger(**changes: Any) -> TriggerPolicy:
    return replace(policies.drift_trigger_policy(load_settings()), **changes)


def performance_trigger(limits: Mapping[str, Any] | None = None, **changes: Any) -> PerformanceTriggerPolicy:
    policy = policies.performance_trigger_policy(load_settings())
    return replace(policy, limits=changed("performance", **(limits or {})).performance, **changes)


def volume_trigger(**changes: Any) -> VolumePolicy:
    return replace(policies.volume_trigger_policy(load_settings()), **changes)


def first_days(**changes: Any) -> FirstDaysPolicy:
    return changed("first_days", **changes).first_days
