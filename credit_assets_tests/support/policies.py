"""Policies for tests of the rules: those of the default settings, with what a test changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from credit_assets.assets import policies
from credit_assets.ml.evidence.drift import DriftPolicy
from credit_assets.ml.rules.decisions import RegistrationPolicy
from credit_assets.ml.rules.first_days import FirstDaysPolicy
from credit_assets.ml.rules.trials import TrialPolicy
from credit_assets.ml.rules.triggers import PerformancePolicy, TriggerPolicy, VolumePolicy
from credit_assets.settings import load_settings


def registration(**changes: Any) -> RegistrationPolicy:
    return replace(policies.registration_policy(load_settings(), refresh=False), **changes)


def drift(**changes: Any) -> DriftPolicy:
    return replace(policies.drift_policy(load_settings()), **changes)


def trial(**changes: Any) -> TrialPolicy:
    """Under promotion by shadow: without it there is no trial."""
    return replace(policies.trial_policy(load_settings(promotion="shadow")), **changes)


def drift_trigger(**changes: Any) -> TriggerPolicy:
    return replace(policies.drift_trigger_policy(load_settings()), **changes)


def performance_trigger(**changes: Any) -> PerformancePolicy:
    return replace(policies.performance_trigger_policy(load_settings()), **changes)


def volume_trigger(**changes: Any) -> VolumePolicy:
    return replace(policies.volume_trigger_policy(load_settings()), **changes)


def first_days(**changes: Any) -> FirstDaysPolicy:
    return replace(policies.first_days_policy(load_settings()), **changes)
