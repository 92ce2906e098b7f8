"""The group of settings that says under which account steps run on a cluster, and which secrets they are given.

Belongs here: the fields and what their values may be. Does not belong here: which step needs which secret
(`credit_assets.cluster.step_rights`), and what its pod asks of a machine (`credit_assets.profiles`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, field_validator

from credit_assets.settings.groups import Json

NEEDS = WAREHOUSE, MLFLOW, ASSIGNMENT = "warehouse", "mlflow", "assignment"
"""What a step may need that the pod of its run is not given."""


class StepPods(BaseModel):
    """What step pods are allowed and given on a cluster."""

    step_service_account: str = Field(
        "",
        pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$",
        description="Service account of step pods, which get no token of it; empty: that of the run's pod.",
    )
    step_grants: Annotated[dict[str, str], *Json] = Field(
        default_factory=dict,
        description="Secrets that steps get beyond those of the run's pod, by what they need, JSON: "
        f'{{"{WAREHOUSE}": "name", "{MLFLOW}": "name", "{ASSIGNMENT}": "name"}}.',
    )

    @field_validator("step_grants")
    @classmethod
    def _known_needs(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(set(value) - set(NEEDS)):
            raise ValueError(f"names unknown needs {', '.join(unknown)}; known: {', '.join(NEEDS)}")
        return value
