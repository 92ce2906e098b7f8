"""What may be asked of one training, and what it changes."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from credit_assets.assets.policies import policy_of, training_config
from credit_assets.assets.requested import RESOURCE, RetrainingRequest
from credit_assets.build import build_definitions
from credit_assets.failures import PermanentError
from credit_assets.settings import Settings, load_settings
from credit_assets.stages import RETRAIN

WHY = "the board asks"


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(variants="xgboost,lightgbm", variant_params={"xgboost": {"max_depth": 3}})


def test_nothing_asked_is_the_settings_themselves(settings: Settings) -> None:
    request = RetrainingRequest()
    assert request.applied(settings) is settings
    assert (request.changes, request.to_record()) == ({}, {})
    # A reason alone asks for no other model, and is recorded.
    said = RetrainingRequest(reason="  looked\n at ", by="ada")
    assert said.applied(settings) is settings
    assert said.to_record() == {"reason": "looked at", "by": "ada"}


def test_what_is_asked_is_of_this_training_alone(settings: Settings) -> None:
    request = RetrainingRequest(
        lookback_days=180,
        variants=["xgboost"],
        variant_params={"xgboost": {"learning_rate": 0.2}},
        policy={"comparison": {"min_auc": 0.61}, "cutoff": {"approval_rate": 0.7}},
        reason=WHY,
    )
    applied = request.applied(settings)
    assert (applied.lookback_days, applied.variants) == (180, ("xgboost",))
    assert training_config(applied, "xgboost").params == {"max_depth": 3, "learning_rate": 0.2}
    assert policy_of(applied).comparison.min_auc == 0.61
    assert policy_of(applied).cutoff.approval_rate == 0.7
    # All else of the policy, and everything of the settings, is as it was.
    before = policy_of(settings)
    assert policy_of(applied).comparison.max_auc == before.comparison.max_auc
    assert policy_of(applied).world == before.world
    assert (settings.lookback_days, policy_of(settings).comparison.min_auc) == (90, before.comparison.min_auc)
    assert applied.store == settings.store
    assert request.leaves_out("lightgbm")
    assert not request.leaves_out("xgboost")


def test_a_key_of_the_policy_that_a_variable_sets_can_be_asked_otherwise() -> None:
    settings = load_settings(min_auc=0.7, variants="xgboost")
    request = RetrainingRequest(policy={"comparison": {"min_auc": 0.6}}, reason=WHY)
    assert policy_of(request.applied(settings)).comparison.min_auc == 0.6
    other = RetrainingRequest(lookback_days=10, reason=WHY)
    assert policy_of(other.applied(settings)).comparison.min_auc == 0.7


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"lookback_days": 0}, "lookback_days must lie between 1 and 7,300; got 0"),
        ({"variants": ["catboost"]}, "variants must list some of xgboost, lightgbm, each once; got catboost"),
        ({"variants": ["xgboost", "xgboost"]}, "variants must list some of xgboost, lightgbm, each once"),
        ({"variant_params": {"catboost": {"depth": 3}}}, "variant_params names catboost; known: xgboost, lightgbm"),
        ({"variant_params": {"xgboost": {"max_dept": 3}}}, "variant_params xgboost: .*max_dept"),
        ({"policy": {"comparisons": {"min_auc": 0.6}}}, "policy has no section comparisons; known: comparison"),
        ({"policy": {"comparison": {"min_acu": 0.6}}}, "policy comparison: there is no key 'min_acu'"),
        ({"policy": {"comparison": {"min_auc": 2}}}, "policy comparison.min_auc: "),
    ],
)
def test_what_cannot_be_asked_is_one_line_that_names_the_field(
    settings: Settings, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(PermanentError, match=f"^run configuration, resources: {RESOURCE}: {said}") as error:
        RetrainingRequest(**asked, reason=WHY).applied(settings)
    assert "\n" not in str(error.value)


def test_whoever_asks_says_why(settings: Settings) -> None:
    with pytest.raises(PermanentError, match="reason is empty"):
        RetrainingRequest(lookback_days=30, reason=" ").applied(settings)


def test_the_launchpad_shows_every_field_with_what_it_means(settings: Settings) -> None:
    for job in (RETRAIN, "retrain_dry_run"):
        made = build_definitions(settings).resolve_job_def(job)
        fields = made.run_config_schema.run_config_schema_type.fields["resources"].config_type.fields  # type: ignore[attr-defined]
        shown = fields[RESOURCE].config_type.fields["config"].config_type.fields
        assert set(shown) == {"lookback_days", "variants", "variant_params", "policy", "reason", "by"}
        assert all(field.description and not field.is_required for field in shown.values())
        config = RetrainingRequest(lookback_days=30, variants=["xgboost"], reason=WHY).run_config()
        assert dg.validate_run_config(made, config)["resources"][RESOURCE]["config"]["lookback_days"] == 30


@pytest.mark.parametrize("config", [{"lookbackdays": 3}, {"lookback_days": "three"}, {"variants": "xgboost"}])
def test_a_field_that_is_none_is_refused_before_a_run_starts(settings: Settings, config: dict[str, Any]) -> None:
    made = build_definitions(settings).resolve_job_def(RETRAIN)
    with pytest.raises(dg.DagsterInvalidConfigError, match=next(iter(config))):
        dg.validate_run_config(made, {"resources": {RESOURCE: {"config": config}}})
