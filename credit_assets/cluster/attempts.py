"""The attempts of a step: which one it is, what became of those before it, and what it asks for because of that.

Belongs here: what stands in the event log about attempts, written and read. Does not belong here: what a step asks for
in the first place (`credit_assets.cluster.op_tags`), and how a loss shows (`credit_assets.cluster.losses`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from credit_assets.cluster.losses import Loss, LossKind
from credit_assets.cluster.op_tags import profile_name, scratch_config
from credit_assets.instance.dagster_internals import (
    EngineEventData,
    StepHandlerContext,
    get_user_defined_k8s_config,
)
from credit_assets.profiles import Profile, label_value
from credit_assets.settings import Settings
from credit_assets.tags import (
    ATTEMPT_LABEL,
    PARTITION_LABEL,
    PROFILE_LABEL,
    RETRY_REASON_LABEL,
    partition_of,
    retry_tag,
)

# Metadata of the events that report a loss, or that a pod is to go, from which the next attempt reads what became of
# this one.
_LOSS, _ATTEMPT, _DISRUPTION = "loss", "attempt", "disruption"
# Where a pod that was taken away may be taken away again.
_GONE_WITH_ITS_NODE = {LossKind.TAKEN_AWAY, LossKind.NODE_LOST}
# A Job whose pod is deleted counts it as failed when it has ended, not when it is told to (Kubernetes 1.28, before that
# always when told to), and notes in its own condition that it was taken away: the pod's is gone with the pod. An API
# server that does not know these leaves them out.
_ENDS = {
    "pod_replacement_policy": "Failed",
    "pod_failure_policy": {
        "rules": [{"action": "FailJob", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    },
}


class Attempt:
    """An attempt of a step, as the executor asks about it."""

    def __init__(self, context: StepHandlerContext) -> None:
        self.context = context
        (self.step_key,) = context.execute_step_args.step_keys_to_execute or ()
        known = context.execute_step_args.known_state
        self.number = 1 + (known.get_retry_state().get_attempt_count(self.step_key) if known else 0)

    # What stands in the log

    def report(self, message: str, metadata: Mapping[str, dg.MetadataValue[Any]] | None = None) -> None:
        """An event of the step in the run's log."""
        step_context = self.context.get_step_context(self.step_key)
        dg.DagsterEvent.engine_event(step_context, message, EngineEventData(metadata=metadata or {}))

    def report_loss(self, loss: Loss) -> None:
        self.report(f"Attempt {self.number} is lost: {loss.words.rstrip('.')}.", self._noted(_LOSS, loss.kind.value))

    def report_disruption(self, pod: str, words: str) -> None:
        message = f"The pod of step {self.step_key} is to go ({pod}): {words.rstrip('.')}. It may end its step yet."
        self.report(message, self._noted(_DISRUPTION, words))

    def _noted(self, what: str, words: str) -> dict[str, dg.MetadataValue[Any]]:
        return {what: dg.MetadataValue.text(words), _ATTEMPT: dg.MetadataValue.int(self.number)}

    def _notes(self, what: str) -> Iterator[tuple[int, str]]:
        """From the event log: a run pod that took over from another knows it as well."""
        run_id = self.context.dagster_run.run_id
        for entry in self.context.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            if entry.step_key == self.step_key and entry.dagster_event is not None:
                metadata = entry.dagster_event.engine_event_data.metadata
                if what in metadata:
                    yield int(str(metadata[_ATTEMPT].value)), str(metadata[what].value)

    def losses(self) -> dict[int, LossKind]:
        """What became of the earlier attempts that were lost, by their number."""
        return {number: LossKind(words) for number, words in self._notes(_LOSS)}

    def disruption(self) -> str:
        """Why the pod of this attempt was to go, as an earlier look reported it."""
        return dict(self._notes(_DISRUPTION)).get(self.number, "")

    # What it asks for

    def config(self, profile: Profile | None) -> dict[str, Any]:
        """What this attempt asks for beyond the op tags: labels always, and what earlier losses call for."""
        losses = self.losses() if self.number > 1 else {}
        partition = label_value(partition_of(self.context.dagster_run.tags, between="_"))
        labels = {ATTEMPT_LABEL: str(self.number), PARTITION_LABEL: partition}
        if self.number > 1:
            labels[RETRY_REASON_LABEL] = losses.get(self.number - 1, "failed")
        labels = {name: str(value) for name, value in labels.items() if value}
        container, pod = _called_for(profile, list(losses.values())) if profile else ({}, {})
        return {
            "container_config": container,
            "pod_spec_config": pod,
            "pod_template_spec_metadata": {"labels": labels},
            "job_metadata": {"labels": labels},
            "job_spec_config": _ENDS,
        }

    def note_retry(self, config: dict[str, Any]) -> None:
        """On the run: why there is another attempt, and with what."""
        reason = config["job_metadata"]["labels"][RETRY_REASON_LABEL]
        more = config["container_config"].get("resources", {}).get("requests", {})
        words = [f"attempt {self.number}", reason, *(f"{name} {value}" for name, value in more.items())]
        tags = {retry_tag(self.step_key): ", ".join(words)}
        self.context.instance.add_run_tags(self.context.dagster_run.run_id, tags)


def _called_for(profile: Profile, losses: list[LossKind]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What container and pod of another attempt need after these losses."""
    more: dict[str, str] = {}
    if kills := losses.count(LossKind.OUT_OF_MEMORY):
        more["memory"] = profile.memory_of_attempt(kills)
    container: dict[str, Any] = {}
    pod: dict[str, Any] = {}
    if evictions := losses.count(LossKind.OUT_OF_DISK):
        disk = scratch_config(profile.scratch_of_attempt(evictions))
        container, pod = disk["container_config"], disk["pod_spec_config"]
        more |= container["resources"]["requests"]
    if more:
        container["resources"] = {"requests": more, "limits": dict(more)}
    if profile.on_demand and _GONE_WITH_ITS_NODE & set(losses):
        pod["node_selector"] = profile.on_demand
    return container, pod


def profile_of(context: StepHandlerContext, settings: Settings, known: Mapping[str, Profile]) -> Profile | None:
    """The profile of the step that is asked about, by its op tags or else by the settings."""
    (step_key,) = context.execute_step_args.step_keys_to_execute or ()
    config = get_user_defined_k8s_config(context.step_tags[step_key])
    label = config.pod_template_spec_metadata.get("labels", {}).get(PROFILE_LABEL)
    return known.get(label or profile_name(settings, settings.naming.asset_of_step(step_key)))
