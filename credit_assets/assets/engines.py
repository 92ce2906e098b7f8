"""Where a candidate is trained: in the step or on a Dask cluster, on the CPU or a GPU; and the record of it.

Belongs here: putting the settings, the decision and the training together, with its log lines, tags and metadata. Does
not belong here: the decision and the policy (`ml.learners.devices`), the training itself (`ml.learners.candidates`,
`ml.learners.dask`), and when a finished model is used again (`assets.training`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.learners.candidates import Candidate
    from credit_assets.ml.learners.learner import Device
    from credit_assets.ml.learners.training import TrainingConfig
    from credit_assets.settings import Settings


class TrainingLog(Protocol):
    """What is told where a model is trained: the MLflow run of a candidate, or what stands for one."""

    @property
    def run_id(self) -> str: ...

    def set_tags(self, tags: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float]) -> None: ...


@dataclass(frozen=True)
class Training:
    """What is to be trained: a variant on the training set of an as-of date."""

    variant: str
    as_of: str
    config: TrainingConfig
    table: pa.Table


def train(log: Any, run: TrainingLog, settings: Settings, training: Training) -> tuple[Candidate, dict[str, Any]]:
    """The candidate, and for its record where it was trained.

    Raises TransientError and PermanentError as `devices` and `train_on_dask`, ValueError as `train_candidate`.
    """
    from credit_assets.ml.learners import VARIANTS
    from credit_assets.ml.learners.candidates import train_candidate
    from credit_assets.ml.learners.dask import LEARNERS, one_node_note, train_on_dask
    from credit_assets.ml.learners.dask_cluster import Cluster
    from credit_assets.ml.learners.devices import DevicePolicy, PeakGpuMemory, decide, run_on
    from credit_assets.storage.store import Store

    portfolio, variant, config = settings.portfolio_contract, training.variant, training.config
    on_cluster = bool(settings.dask_scheduler) and variant in LEARNERS
    policy = DevicePolicy(settings.device, settings.gpu_fallback)
    decision = decide(
        policy, VARIANTS[variant], monotone=portfolio.monotone, params=config.params, on_cluster=on_cluster
    )
    memory, notes = PeakGpuMemory(), []
    if settings.dask_scheduler and not on_cluster:
        notes.append(one_node_note(variant))

    def on(device: Device) -> tuple[Candidate, str]:
        if on_cluster:
            path = Store(settings.store).path("training_set", f"{training.as_of}.parquet")
            trained = train_on_dask(path, variant, portfolio, config, Cluster(settings.dask_scheduler))
            notes.extend(trained.notes)
            return trained.candidate, trained.engine
        with nullcontext() if device == "cpu" else memory:
            return train_candidate(training.table, variant, portfolio, replace(config, device=device)), "one node"

    (candidate, engine), decision = run_on(decision, policy.fallback, on, log.warning)
    for text in notes:
        log.info(f"{variant}_candidate: {text}")
    log.info(f"{variant}_candidate: trained on {engine}, device {decision.device} ({decision.reason})")
    where: dict[str, Any] = {"engine": engine, **decision.tags()}
    run.set_tags(where)
    if memory.bytes is not None:
        where["gpu_peak_memory_bytes"] = memory.bytes
        run.log_metrics({"gpu_peak_memory_bytes": memory.bytes})
    return candidate, {**where, **({"notes": notes} if notes else {})}


def metadata(record: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of a materialization from the record of its candidate: engine, device, and what stood in the way."""
    where = dict(record.get("trained_on") or {})
    notes = where.pop("notes", [])
    return {**where, **({"notes": dg.MetadataValue.md("\n".join(f"- {text}" for text in notes))} if notes else {})}
