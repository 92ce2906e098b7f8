"""What a person asks of one training beside its as-of date: the run configuration of the training assets.

Belongs here: its fields, as the launchpad, GraphQL and the command show them, what may be asked, and the settings of
that one training. Does not belong here: what the steps do with them.

It is a resource, so that one configuration reaches every step of a run, on whichever machine, and whichever of the
assets are materialized. The as-of date is the run's partition. What changes the model (rows, parameters, cut-off) is
part of its identity by what identity is made of; variants and the rest of a policy choose among models and judge them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field, ValidationError

from credit_assets.failures import PermanentError
from credit_assets.ml.data.documents import problems
from credit_assets.ml.data.policies import Policy
from credit_assets.settings import Settings, variable
from credit_assets.settings.policies import policy_of
from credit_assets.settings.recorded import as_recorded

REQUESTED = "requested"
"""The key of the records, and the tag of the version, that hold a request; absent where nothing was asked."""
RESOURCE = "retraining"
NOT_REQUESTED = "not asked for"
"""The status of a candidate of which a request asks for no model."""
_MOST_DAYS = 7300


class RetrainingRequest(dg.ConfigurableResource[Any]):
    """One ad-hoc training: other rows, variants, parameters or limits than the settings say, for this run alone. Empty,
    as in every scheduled run, it changes nothing. The as-of date is the run's partition.
    """

    lookback_days: int | None = Field(
        default=None, description="Days of mature cohorts that the training set spans; empty: CREDIT_LOOKBACK_DAYS."
    )
    variants: list[str] = Field(
        default=[], description="Which of CREDIT_VARIANTS to train, for instance [xgboost]; empty: all of them."
    )
    variant_params: dict[str, dict[str, Any]] = Field(
        default={},
        description="Parameters over CREDIT_VARIANT_PARAMS, by variant: {xgboost: {max_depth: 4}}.",
    )
    policy: dict[str, dict[str, Any]] = Field(
        default={},
        description="Keys of the policy, by section, by which this model is judged: {comparison: {min_auc: 0.6}}; "
        "docs/policy.md has all of them. What decides about a takeover stays as it is.",
    )
    reason: str = Field(default="", description="Why; needed where anything is asked for, and kept with the model.")
    by: str = Field(default="", description="Who asks; kept with the model.")

    @property
    def changes(self) -> dict[str, Any]:
        """What is asked for, as JSON types; empty where nothing is."""
        given = {
            "lookback_days": self.lookback_days,
            "variants": list(self.variants),
            "variant_params": dict(self.variant_params),
            "policy": dict(self.policy),
        }
        return {name: value for name, value in given.items() if value not in (None, [], {})}

    def to_record(self) -> dict[str, Any]:
        """What is asked for, by whom and why, as `requested` of a record; empty where nothing is recorded."""
        why = {"reason": " ".join(self.reason.split()), "by": self.by.strip()}
        return {**self.changes, **{name: text for name, text in why.items() if text}}

    def applied(self, settings: Settings) -> Settings:
        """The settings of this training: those in force where nothing is asked.

        Raises PermanentError naming the field that cannot be used.
        """
        if not self.changes:
            return settings
        if not self.reason.strip():
            raise _refused("reason", "is empty: say why this training is another one; it is kept with the model")
        changes: dict[str, Any] = {}
        if self.lookback_days is not None:
            changes["lookback_days"] = _days(self.lookback_days)
        if self.variants:
            changes["variants"] = _variants(self.variants, settings)
        if self.variant_params:
            changes["variant_params"] = _params(self.variant_params, settings)
        policy = _policy(self.policy, policy_of(settings)) if self.policy else None
        return as_recorded(settings, settings.portfolio_contract, policy, **changes)

    def leaves_out(self, variant: str) -> bool:
        """Whether no model of this variant is asked for."""
        return bool(self.variants) and variant not in self.variants

    def run_config(self) -> dict[str, Any]:
        """The part of a run's configuration that asks for this."""
        return {"resources": {RESOURCE: {"config": self.to_record()}}}


def requested(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that says what was asked for; empty where nothing was."""
    return {REQUESTED: record} if record else {}


def _days(days: int) -> int:
    if not 1 <= days <= _MOST_DAYS:
        raise _refused("lookback_days", f"must lie between 1 and {_MOST_DAYS:,}; got {days}")
    return days


def _variants(names: list[str], settings: Settings) -> tuple[str, ...]:
    unknown = [name for name in names if name not in settings.variants]
    if unknown or len(set(names)) != len(names):
        raise _refused(
            "variants",
            f"must list some of {', '.join(settings.variants)}, each once; got {', '.join(names)} (others are "
            f"assets only once {variable('variants')} names them)",
        )
    return tuple(name for name in settings.variants if name in names)


def _params(given: Mapping[str, Mapping[str, Any]], settings: Settings) -> dict[str, dict[str, Any]]:
    from credit_assets.ml.learners import VARIANTS

    if unknown := sorted(set(given) - set(settings.variants)):
        raise _refused("variant_params", f"names {', '.join(unknown)}; known: {', '.join(settings.variants)}")
    merged = {**settings.variant_params}
    for variant, params in given.items():
        merged[variant] = {**merged.get(variant, {}), **params}
        try:
            VARIANTS[variant].resolve(merged[variant])
        except ValueError as error:
            raise _refused("variant_params", f"{variant}: {error}") from error
    return merged


def _policy(given: Mapping[str, Mapping[str, Any]], in_force: Policy) -> Policy:
    sections: dict[str, Any] = {name: dict(getattr(in_force, name)) for name in Policy.model_fields}
    if unknown := sorted(set(given) - set(sections)):
        raise _refused("policy", f"has no section {', '.join(unknown)}; known: {', '.join(sections)}")
    for name, keys in given.items():
        sections[name] |= keys
    try:
        return Policy.model_validate(sections)
    except ValidationError as error:
        raise _refused("policy", problems(error)) from error


def _refused(field: str, why: str) -> PermanentError:
    return PermanentError(f"run configuration, resources: {RESOURCE}: {field} {why}")
