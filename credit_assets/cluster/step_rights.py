"""What a step is allowed and given: the account of its pod, and the secrets that it uses.

Belongs here: which step needs which secret, and how that becomes part of its pod. Does not belong here: the names of
account and secrets (settings), and what the pod asks of a machine (`credit_assets.cluster.op_tags`).

A step is given what its own function asks for: Dagster knows by name the resources of each op, assets' and others'
alike. So a training never holds the warehouse's password, and a new asset needs no line here. What a run's pod has, and
with it each of its steps, comes from the code location.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from credit_assets.instance.dagster_internals import (
    K8sContainerContext,
    StepHandlerContext,
    UserDefinedDagsterK8sConfig,
)
from credit_assets.settings import Settings
from credit_assets.settings.step_pods import ASSIGNMENT, MLFLOW, WAREHOUSE

# Resources (`credit_assets.resources`) that open something with a password of its own.
_NEED_OF: Mapping[str, str] = {
    "warehouse": WAREHOUSE,
    "tracking": MLFLOW,
    "registry": MLFLOW,
    "deployment": MLFLOW,
}
# Assigns applications to arms by a key, which is a setting and no resource.
_ASSIGNS = ("loan_scores",)


def needs(resources: Collection[str], asset: str) -> frozenset[str]:
    """What a step needs whose function asks for these resources and makes this asset, by its plain name."""
    found = {_NEED_OF[name] for name in resources if name in _NEED_OF}
    return frozenset(found | ({ASSIGNMENT} if asset in _ASSIGNS else set()))


def account_of_steps(settings: Settings) -> K8sContainerContext:
    """The account of all steps. Without one of their own they have that of their run, and its token."""
    if not settings.step_service_account:
        return K8sContainerContext()
    pod: dict[str, Any] = {"automount_service_account_token": False}
    return K8sContainerContext(
        service_account_name=settings.step_service_account,
        run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(  # type: ignore[no-untyped-call]
            {"pod_spec_config": pod}
        ),
    )


def secrets_of_step(settings: Settings, context: StepHandlerContext) -> K8sContainerContext:
    """The secrets of one step beyond those of its run."""
    if not settings.step_grants:
        return K8sContainerContext()
    (step_key,) = context.execute_step_args.step_keys_to_execute or ()
    step = context.get_step_context(step_key)
    op: Any = step.job.get_definition().get_node(step.step.node_handle).definition
    needed = needs(op.required_resource_keys, settings.naming.asset_of_step(step_key))
    return K8sContainerContext(
        env_secrets=[name for need, name in settings.step_grants.items() if need in needed],
    )
