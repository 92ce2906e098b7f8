"""Where a candidate is trained: in the step or on a Dask cluster, on the CPU or a GPU; and the record of it.

Belongs here: putting the settings, the decision and the training together, with its log lines, tags and metadata. Does
not belong here: the decision and the policy (`credit_assets.ml.learners.devices`), the training itself (`ml.training`,
`ml.distributed`), and when a finished model is used again (`assets.training`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.learners.learner import Device
    from credit_assets.ml.learners.training import Candidate, TrainingConfig
    from credit_assets.settings import Settings
    from credit_assets.tracking.run import CandidateRun


def train(
    log: Any,
    run: CandidateRun,
    settings: Settings,
    variant: str,
    as_of: str,
    config: TrainingConfig,
    table: pa.Table,
) -> tuple[Candidate, dict[str, Any]]:
    """The candidate, and for its record where it was trained.

    Raises TransientError and PermanentError as `ml.devices` and `ml.distributed`, ValueError as `train_candidate`.
    """
    from credit_assets.ml.learners import VARIANTS
    from credit_assets.ml.learners.dask import LEARNERS, Cluster, one_node_note, train_on_dask
    from credit_assets.ml.learners.devices import PeakGpuMemory, decide, run_on
    from credit_assets.ml.learners.training import train_candidate
    from credit_assets.storage.store import Store

    portfolio = settings.portfolio_contract
    on_cluster = bool(settings.dask_scheduler) and variant in LEARNERS
    decision = decide(
        settings.device,
        settings.gpu_fallback,
        VARIANTS[variant],
        monotone=portfolio.monotone,
        params=config.params,
        on_cluster=on_cluster,
    )
    memory, notes, engine = PeakGpuMemory(), [], "one node"

    def on(device: Device) -> Candidate:
        nonlocal engine
        if on_cluster:
            path = Store(settings.store).path("training_set", f"{as_of}.parquet")
            found = train_on_dask(path, variant, portfolio, config, Cluster(settings.dask_scheduler))
            engine = found.engine
            notes.extend(found.notes)
            return found.candidate
        if device == "cpu":
            return train_candidate(table, variant, portfolio, config)
        with memory:
            return train_candidate(table, variant, portfolio, replace(config, device=device))

    note = one_node_note(variant) if settings.dask_scheduler else None
    if note:
        notes.append(note)
    candidate, decision = run_on(decision, settings.gpu_fallback, on, log.warning)
    for text in notes:
        log.info(f"{variant}_candidate: {text}")
    log.info(f"{variant}_candidate: trained on {engine}, device {decision.device} ({decision.reason})")
    where = {"engine": engine, **decision.tags()}
    run.set_tags(where)
    if memory.bytes is not None:
        where["gpu_peak_memory_bytes"] = memory.bytes
        run.log_metrics({"gpu_peak_memory_bytes": memory.bytes})
    if notes:
        where["notes"] = notes
    return candidate, where


def metadata(record: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of a materialization from the record of its candidate: engine, device, and what stood in the way."""
    where = dict(record.get("trained_on") or {})
    notes = where.pop("notes", [])
    return {**where, **({"notes": dg.MetadataValue.md("\n".join(f"- {text}" for text in notes))} if notes else {})}
