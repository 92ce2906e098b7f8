"""Policies: thresholds and the way of training, from the settings and the portfolio's policy.

Belongs here: what each rule is handed. Does not belong here: where portfolio and variables meet (`policy_of`, of
`credit_assets.settings.policies`), and what a threshold means (`credit_assets.ml.data.policies`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from credit_assets.settings.policies import policy_of as policy_of

if TYPE_CHECKING:
    from credit_assets.ledger.kept import KeptVersion
    from credit_assets.ledger.registry import Version
    from credit_assets.ml.data.extension_use import TriggerUse
    from credit_assets.ml.evidence.drift import DriftPolicy
    from credit_assets.ml.learners.training import TrainingConfig
    from credit_assets.ml.rules.decisions import Reason
    from credit_assets.ml.rules.trials import TrialPolicy
    from credit_assets.ml.rules.triggers import PerformanceTriggerPolicy, TriggerPolicy, VolumePolicy
    from credit_assets.settings import Settings
    from credit_assets.storage.store import Store


def training_config(settings: Settings, variant: str) -> TrainingConfig:
    """How a variant is trained, whatever the data are."""
    from credit_assets.ml.learners.ensemble import with_members
    from credit_assets.ml.learners.scorer import ScoreScale
    from credit_assets.ml.learners.training import TrainingConfig

    return TrainingConfig(
        params=with_members(variant, settings.variant_params),
        seed=settings.seed,
        threads=settings.training_threads,
        max_rounds=settings.max_rounds,
        early_stopping_rounds=settings.early_stopping_rounds,
        scale=ScoreScale(base=settings.score_base, odds=settings.score_odds, pdo=settings.score_pdo),
        calibration=policy_of(settings).calibration.method,
    )


def drift_policy(settings: Settings) -> DriftPolicy:
    from credit_assets.ml.evidence.drift import DriftPolicy

    return DriftPolicy(
        watch=settings.drift_watch,
        shifted=settings.drift_shifted,
        alpha=settings.drift_alpha,
        min_rows=settings.drift_min_rows,
    )


def takeover_judge(settings: Settings, store: Store) -> Callable[[Version], Sequence[Reason]]:
    """The verdict on a version from what is kept of it, by the policy as it is now."""

    def judge(version: Version) -> Sequence[Reason]:
        from credit_assets.ledger.kept import Kept

        return judge_kept(settings, Kept(store).of(version))

    return judge


def judge_kept(settings: Settings, kept: KeptVersion | None) -> tuple[Reason, ...]:
    """What stands against the taking over of a version, and what does not; None where nothing is kept of it."""
    from credit_assets.ml.rules.fairness_rules import judge_takeover
    from credit_assets.ml.rules.first_days import decide_first_days
    from credit_assets.ml.rules.leak_rules import judge_leaks

    policy, strong = policy_of(settings), settings.portfolio_contract.gates.strong_features
    return (
        *decide_first_days(kept.first_days if kept else None, policy.first_days),
        *judge_leaks(kept.leaks if kept else None, policy.leaks, strong),
        *judge_takeover(kept.fairness if kept else None, settings.portfolio_contract.fairness),
    )


def trial_policy(settings: Settings) -> TrialPolicy:
    from credit_assets.ml.rules.trials import TrialPolicy

    return TrialPolicy(
        promotion=settings.promotion,
        limits=policy_of(settings).trials,
        min_bads=policy_of(settings).performance.min_bads,
    )


def drift_trigger_policy(settings: Settings) -> TriggerPolicy:
    from credit_assets.ml.rules.triggers import TriggerPolicy

    return TriggerPolicy(
        days=settings.drift_trigger_days,
        window=settings.drift_trigger_window,
        cooldown_days=settings.cooldown_days,
        repeat_days=settings.repeat_days,
    )


def performance_trigger_policy(settings: Settings) -> PerformanceTriggerPolicy:
    from credit_assets.ml.rules.triggers import PerformanceTriggerPolicy

    return PerformanceTriggerPolicy(
        days=settings.drift_trigger_days,
        window=settings.drift_trigger_window,
        cooldown_days=settings.cooldown_days,
        repeat_days=settings.repeat_days,
        limits=policy_of(settings).performance,
        cohort_days=settings.performance_cohort_days,
    )


def own_trigger_policy(settings: Settings, used: TriggerUse) -> TriggerPolicy:
    """Of a trigger of an extension: days and window stand in the portfolio file, beside its use."""
    from credit_assets.ml.rules.triggers import TriggerPolicy

    return TriggerPolicy(
        days=used.days,
        window=used.window,
        cooldown_days=settings.cooldown_days,
        repeat_days=settings.repeat_days,
    )


def volume_trigger_policy(settings: Settings) -> VolumePolicy:
    from credit_assets.ml.rules.triggers import VolumePolicy

    return VolumePolicy(
        cooldown_days=settings.cooldown_days, repeat_days=settings.repeat_days, share=settings.volume_trigger_share
    )
