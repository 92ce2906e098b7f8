"""The policy: what decides about models, as data. One section a kind of rule, each in a module of its own.

Belongs here: the sections together, and the version of the whole. Does not belong here: what follows from a limit
(`credit_assets.ml.rules`), and the variables that override single keys (`credit_assets.settings.policies`).

A policy is no part of the portfolio's contract or of a model's identity: another one retrains nothing. It is recorded
in full with every decision, so that the decision can be judged again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from credit_assets.ml.data.policies.calibration import CalibrationPolicy
from credit_assets.ml.data.policies.comparison import ComparisonPolicy
from credit_assets.ml.data.policies.cutoff import CutoffPolicy
from credit_assets.ml.data.policies.directions import DirectionsPolicy
from credit_assets.ml.data.policies.first_days import FirstDaysPolicy
from credit_assets.ml.data.policies.keys import PolicySection
from credit_assets.ml.data.policies.leaks import LeaksPolicy
from credit_assets.ml.data.policies.performance import PerformancePolicy
from credit_assets.ml.data.policies.trials import TrialsPolicy
from credit_assets.ml.data.policies.world import WorldPolicy

__all__ = [
    "CalibrationPolicy",
    "ComparisonPolicy",
    "CutoffPolicy",
    "DirectionsPolicy",
    "FirstDaysPolicy",
    "LeaksPolicy",
    "PerformancePolicy",
    "Policy",
    "TrialsPolicy",
    "WorldPolicy",
]


class Policy(PolicySection):
    """Everything that decides whether a model is registered, takes over, stays on trial or is trained again."""

    comparison: ComparisonPolicy = ComparisonPolicy()
    calibration: CalibrationPolicy = CalibrationPolicy()
    directions: DirectionsPolicy = DirectionsPolicy()
    first_days: FirstDaysPolicy = FirstDaysPolicy()
    trials: TrialsPolicy = TrialsPolicy()
    performance: PerformancePolicy = PerformancePolicy()
    leaks: LeaksPolicy = LeaksPolicy()
    world: WorldPolicy = WorldPolicy()
    cutoff: CutoffPolicy = CutoffPolicy()

    @cached_property
    def version(self) -> str:
        """Hash of all keys with their values, defaults among them: another default is another policy."""
        from credit_assets.ml.data.fingerprints import fingerprint

        return fingerprint(**self.model_dump(mode="json"))

    def to_record(self) -> dict[str, Any]:
        """Version and sections as JSON types; `from_record` restores an equal policy."""
        return {"version": self.version, **self.model_dump(mode="json")}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Policy:
        """Restore what `to_record` gave. Raises ValueError for a section or key that is not known here."""
        return cls.model_validate({name: section for name, section in record.items() if name != "version"})
