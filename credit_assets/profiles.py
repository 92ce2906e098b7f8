"""What a step may ask of a machine: resource profiles, validated where they are read.

Belongs here: the table of profiles and their rules. Does not belong here: which asset has which profile (`stages`) and
how a profile becomes a pod (`cluster.op_tags`). Settings read this module, so it knows no settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

GPU = "nvidia.com/gpu"
POOLS = GPU_POOL, WAREHOUSE_POOL = "gpu", "warehouse"


def _as_text(given: Any) -> Any:
    # YAML has `cpu: 4` as a number, and so does Kubernetes.
    return str(given) if isinstance(given, int | float) and not isinstance(given, bool) else given


Cpu = Annotated[
    str,
    BeforeValidator(_as_text),
    StringConstraints(pattern=r"^([1-9][0-9]*m|[1-9][0-9]*|[0-9]+\.[0-9]{1,3})$"),
]
Bytes = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(Ki|Mi|Gi|Ti)$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
QualifiedName = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
    ),
]
ExtendedResource = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9._-]{1,63}$")]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Selector = dict[QualifiedName, LabelValue]
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def size(quantity: str) -> int:
    """Bytes of a quantity such as "16Gi"."""
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]


class _Strict(BaseModel):
    # A misspelt field is refused where it is read, not by a cluster months later.
    model_config = ConfigDict(extra="forbid", frozen=True)


class Toleration(_Strict):
    """A taint that the pod may live with, in the words of the Kubernetes API."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Toleration:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with a value needs operator Equal")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration with operator Equal needs a key")
        return self


class Profile(_Strict):
    """What the pod of a step asks for. Memory, CPU and disk are requests and limits alike: a step that was placed has
    what it asked for, and none takes what it did not ask for.

    Of a profile without GPU (`gpu` 0) the GPU's selector and tolerations are left out, so that it fits a cluster that
    has none.
    """

    cpu: Cpu = Field(description='Cores: "4", "0.5" or "500m".')
    memory: Bytes = Field(description='Memory: "16Gi", "512Mi".')
    max_memory: Bytes | None = Field(
        default=None, description="Most memory that a retry asks for; empty: four times `memory`."
    )
    memory_growth: float = Field(
        default=1.5, ge=1, le=4, description="By what a retry after an OOM kill multiplies `memory`."
    )
    gpu: int = Field(default=0, ge=0, le=16, description="Devices of `gpu_resource`.")
    gpu_resource: ExtendedResource = Field(
        default=GPU, description="What the cluster calls a device: amd.com/gpu, nvidia.com/mig-3g.40gb."
    )
    shm: Bytes | None = Field(
        default=None, description="Size of /dev/shm, counted as memory; empty: the runtime's 64Mi."
    )
    scratch: Bytes = Field(default="2Gi", description="Disk for temporary files: the size of /tmp.")
    max_scratch: Bytes | None = Field(
        default=None, description="Most disk that a retry asks for; empty: four times `scratch`."
    )
    scratch_growth: float = Field(
        default=2.0, ge=1, le=4, description="By what a retry multiplies `scratch` after its disk was too little."
    )
    node_selector: Selector = Field(default_factory=dict, description="Labels that the node must have.")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints of nodes that the pod may run on.")
    gpu_node_selector: Selector = Field(default_factory=dict, description="The same, only where `gpu` is not 0.")
    gpu_tolerations: tuple[Toleration, ...] = Field(default=(), description="The same, only where `gpu` is not 0.")
    on_demand: Selector = Field(
        default_factory=dict,
        description="Labels that the node must have as well once a pod was pre-empted or evicted.",
    )
    priority_class: str | None = Field(default=None, description="PriorityClass; it must exist on the cluster.")
    runtime_class: ObjectName | None = Field(
        default=None, description="RuntimeClass, such as nvidia; it must exist on the cluster."
    )
    service_account: ObjectName | None = Field(
        default=None, description="Service account of the pod; empty: the one of the launcher."
    )
    image: str | None = Field(
        default=None, min_length=1, description="Image of the pod, such as the one with NCCL; empty: the run's."
    )
    labels: Selector = Field(
        default_factory=dict, description="Labels of Job and pod, such as kueue.x-k8s.io/queue-name."
    )
    annotations: dict[QualifiedName, str] = Field(
        default_factory=dict, description="Annotations of Job and pod, over those that keep autoscalers away."
    )
    deadline_seconds: int = Field(default=3600, ge=60, description="Longest time from the pod's creation to its end.")
    ttl_seconds: int = Field(
        default=900, ge=0, description="How long a finished Job stays, and counts against a quota of Jobs."
    )
    grace_seconds: int = Field(
        default=30, ge=0, le=3600, description="How long a step may work on once its pod is to go."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        if self.max_memory and size(self.max_memory) < size(self.memory):
            raise ValueError(f"max_memory {self.max_memory} is less than memory {self.memory}")
        if self.shm and size(self.shm) >= size(self.memory):
            raise ValueError(f"shm {self.shm} is part of memory {self.memory} and must be less")
        if self.max_scratch and size(self.max_scratch) < size(self.scratch):
            raise ValueError(f"max_scratch {self.max_scratch} is less than scratch {self.scratch}")
        return self

    @property
    def selector(self) -> dict[str, str]:
        """Labels of the nodes that its pods may run on."""
        return {**self.node_selector, **(self.gpu_node_selector if self.gpu else {})}

    @property
    def all_tolerations(self) -> tuple[Toleration, ...]:
        return (*self.tolerations, *(self.gpu_tolerations if self.gpu else ()))

    @property
    def threads(self) -> int:
        """Whole cores, at least one."""
        return max(1, int(float(self.cpu[:-1]) / 1000 if self.cpu.endswith("m") else float(self.cpu)))

    def memory_of_attempt(self, kills: int) -> str:
        """Memory to ask for after this many OOM kills, in whole Mi."""
        return _grown(self.memory, self.max_memory, self.memory_growth, kills)

    def scratch_of_attempt(self, evictions: int) -> str:
        """Disk to ask for after this many evictions for more than it had, in whole Mi."""
        return _grown(self.scratch, self.max_scratch, self.scratch_growth, evictions)


def _grown(first: str, most: str | None, factor: float, losses: int) -> str:
    if losses == 0:
        return first
    limit = size(most) if most else 4 * size(first)
    return f"{int(min(limit, size(first) * factor**losses)) // 2**20}Mi"


PROFILES: Mapping[str, Profile] = {
    # Checks, registration, aliases.
    "small": Profile(cpu="500m", memory="1Gi"),
    # Ingest, features, training set, scores, reports: bounded by the pieces they work in, not by the day.
    "data": Profile(cpu="2", memory="4Gi", scratch="10Gi", deadline_seconds=3 * 3600),
    "train-cpu": Profile(cpu="4", memory="16Gi", scratch="10Gi", deadline_seconds=12 * 3600, grace_seconds=120),
    "train-gpu": Profile(
        cpu="4",
        memory="16Gi",
        gpu=1,
        shm="2Gi",
        scratch="10Gi",
        gpu_node_selector={"gpu-type": "a100"},
        gpu_tolerations=(Toleration(key=GPU, operator="Exists", effect="NoSchedule"),),
        deadline_seconds=12 * 3600,
        grace_seconds=120,
    ),
}


def merged_profiles(overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Profile]:
    """The table with some fields replaced. Raises ValueError naming profile, field and what is right."""
    unknown = sorted(set(overrides) - set(PROFILES))
    if unknown:
        raise ValueError(f"names unknown profiles {', '.join(unknown)}; known: {', '.join(PROFILES)}")
    found = {}
    for name, profile in PROFILES.items():
        try:
            found[name] = Profile.model_validate({**profile.model_dump(), **overrides.get(name, {})})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            known = f"; fields: {', '.join(Profile.model_fields)}" if first["type"] == "extra_forbidden" else ""
            where = f"{name}: {place}" if place else name
            raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}{known}") from error
    return found


def label_value(text: str) -> str:
    """Text as a Kubernetes label value: at most 63 characters, letters and digits at both ends."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:63].strip("._-")
