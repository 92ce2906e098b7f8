"""What a step is allowed and given: its account, and the secrets that its own function asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.dependency import NodeHandle

from credit_assets.automation.dry_run import DRY_RUN
from credit_assets.build import build_definitions
from credit_assets.cluster.step_rights import account_of_steps, needs, secrets_of_step
from credit_assets.failures import PermanentError
from credit_assets.settings import SettingsError, load_settings
from credit_assets.stages import EVERYTHING
from credit_assets.warehouse import WITHHELD, open_warehouse

SECRETS = {"warehouse": "of-the-warehouse", "mlflow": "of-mlflow", "assignment": "of-assignment"}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(load_settings(executor="k8s"))


def steps(definitions: dg.Definitions) -> Iterator[tuple[str, frozenset[str]]]:
    """Each step of the code location and what it needs, with the dry run, which is no asset."""
    for asset in definitions.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            yield asset.op.name, needs(asset.op.required_resource_keys, asset.op.name)
    (dry,) = definitions.resolve_job_def(DRY_RUN).nodes
    definition: Any = dry.definition
    yield DRY_RUN, needs(definition.required_resource_keys, dry.name)


def test_a_step_needs_what_its_function_asks_for(definitions: dg.Definitions) -> None:
    found = dict(steps(definitions))
    reads_warehouse = {name for name, needed in found.items() if "warehouse" in needed}
    assert reads_warehouse == {"restated_days", "raw_loan_data", "loan_outcomes", "training_set", DRY_RUN}
    assert found["processed_features"] == frozenset()
    assert found["raw_loan_data"] == {"warehouse"}
    for name, needed in found.items():
        assert ("assignment" in needed) == (name == "loan_scores")
    # No training, which runs what packages bring, holds the lender's password.
    assert {found[f"{variant}_candidate"] for variant in EVERYTHING.variants if f"{variant}_candidate" in found} == {
        frozenset({"mlflow"})
    }


@pytest.mark.parametrize("step", ["loan_scores", "raw_loan_data", "xgboost_candidate", "processed_features"])
def test_its_pod_is_given_these_secrets_and_no_token(definitions: dg.Definitions, step: str) -> None:
    settings = load_settings(executor="k8s", step_service_account="credit-assets-step", step_grants=SECRETS)
    job = definitions.resolve_implicit_global_asset_job_def()
    launched: Any = Launched(job, step)
    secrets = secrets_of_step(settings, launched).run_k8s_config.container_config.get("env_from", [])
    assert [one["secret_ref"]["name"] for one in secrets] == [
        SECRETS[need] for need in SECRETS if need in dict(steps(definitions))[step]
    ]
    pod = account_of_steps(settings).run_k8s_config.pod_spec_config
    assert pod == {"service_account_name": "credit-assets-step", "automount_service_account_token": False}


class Launched:
    """As much of a step handler's context as says which step is launched."""

    def __init__(self, job: dg.JobDefinition, step: str) -> None:
        self.execute_step_args = self
        self.step_keys_to_execute = [step]
        self.job, self.step = self, self
        self.node_handle = NodeHandle(step, None)
        self._job = job

    def get_step_context(self, _step: str) -> Launched:
        return self

    def get_definition(self) -> dg.JobDefinition:
        return self._job


def test_without_the_settings_steps_are_as_their_run() -> None:
    settings = load_settings(executor="k8s")
    assert account_of_steps(settings).run_k8s_config.pod_spec_config == {}
    with pytest.raises(SettingsError, match="unknown needs warehuose"):
        load_settings(step_grants={"warehuose": "x"})


def test_a_warehouse_that_is_withheld_is_refused_and_never_an_empty_one() -> None:
    warehouse = open_warehouse(WITHHELD)
    with pytest.raises(PermanentError, match="this pod is not given the warehouse"):
        warehouse.column_names("loan_applications")
    assert load_settings(warehouse_url=WITHHELD).warehouse == WITHHELD
