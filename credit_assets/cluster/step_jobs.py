"""Steps as Kubernetes Jobs: dagster-k8s's executor with an eye on the pods.

dagster-k8s makes each step a Job and looks at one number of it, whether it failed. So it misses a pod that no node
takes, says nothing of why a pod died, waits for ever for a step whose pod Kubernetes replaced, and tries an OOM-killed
step again with the memory that was too little. Here the pods are looked at as well:

* a pod that waits says why in the run's log, and is given up after CREDIT_PENDING_MINUTES;
* a lost pod is reported by kind (`Loss`), the step is retried by its own retry policy, and the next attempt asks for
  what the loss calls for: more memory after an OOM kill, on-demand nodes after a pre-emption (`Profile`);
* attempt and reason stand on the pod as labels and on the run as a tag.

Belongs here: what is done with a step's pod. Does not belong here: what a step asks for in the first place
(`credit_assets.cluster.op_tags`), and how a loss shows (`credit_assets.cluster.losses`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import kubernetes
from dagster_k8s import K8sRunLauncher

from credit_assets.cluster.losses import Kind, Loss, finished, loss_of, requested, why_it_waits
from credit_assets.cluster.op_tags import profile_name, profiles, with_last_of_each
from credit_assets.cluster.step_rights import account_of_steps, secrets_of_step
from credit_assets.failures import PermanentError
from credit_assets.instance.dagster_internals import (
    CheckStepHealthResult,
    EngineEventData,
    K8sContainerContext,
    K8sStepHandler,
    RetryMode,
    StepDelegatingExecutor,
    StepHandlerContext,
    UserDefinedDagsterK8sConfig,
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

# How often pods are looked at. A loss counts when it is seen twice: between the two looks the executor has read what
# the step wrote last, so that one that ended by itself is never taken for lost.
HEALTH_SECONDS = 10
# Metadata of the event that reports a loss, from which the next attempt reads what became of this one.
_LOSS, _ATTEMPT = "loss", "attempt"


def step_job_executor(settings: Settings) -> dg.ExecutorDefinition:
    """dagster-k8s's executor with `StepJobs` as its step handler."""

    def create(context: dg.InitExecutorContext) -> StepDelegatingExecutor:
        launcher = context.instance.run_launcher
        if not isinstance(launcher, K8sRunLauncher):
            raise PermanentError(
                "CREDIT_EXECUTOR=k8s needs an instance whose run launcher is K8sRunLauncher, which says image, "
                f"namespace and service account of the pods; this one has {type(launcher).__name__} (dagster.yaml)"
            )
        return StepDelegatingExecutor(
            StepJobs(settings, launcher),
            retries=RetryMode.ENABLED,
            check_step_health_interval_seconds=HEALTH_SECONDS,
            max_concurrent=settings.max_concurrent,
            should_verify_step=True,
        )

    return dg.ExecutorDefinition(
        name="k8s",
        requirements=dg.multiple_process_executor_requirements(),
        executor_creation_fn=create,
        description="Each step in a pod of its own, with the resources of its profile.",
    )


class StepJobs(K8sStepHandler):
    """dagster-k8s's step handler that knows pods, losses and what the next attempt needs."""

    def __init__(self, settings: Settings, launcher: K8sRunLauncher) -> None:
        super().__init__(
            image=None,
            container_context=account_of_steps(settings),
            load_incluster_config=launcher.load_incluster_config,
            kubeconfig_file=launcher.kubeconfig_file,
            enable_owner_references=True,
        )
        self.settings, self.profiles = settings, profiles(settings)
        # By Job: the loss seen at the last look, and the reason reported for its waiting.
        self._suspected: dict[str, Kind] = {}
        self._reported: dict[str, str] = {}

    # What an attempt asks for

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        base = super()._get_container_context(step_handler_context)
        base = base.merge(secrets_of_step(self.settings, step_handler_context))
        config = UserDefinedDagsterK8sConfig.from_dict(  # type: ignore[no-untyped-call]
            self._config_of_attempt(step_handler_context)
        )
        merged = base.merge(K8sContainerContext(run_k8s_config=config))
        once = with_last_of_each(merged.run_k8s_config.to_dict())  # type: ignore[no-untyped-call]
        return merged._replace(
            run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(once)  # type: ignore[no-untyped-call]
        )

    def _config_of_attempt(self, context: StepHandlerContext) -> dict[str, Any]:
        """What this attempt asks for beyond the op tags: labels always, and what earlier losses call for."""
        attempt = self._attempt(context)
        losses = self._losses(context) if attempt > 1 else {}
        partition = label_value(partition_of(context.dagster_run.tags, between="_"))
        labels = {ATTEMPT_LABEL: str(attempt), PARTITION_LABEL: partition}
        if attempt > 1:
            labels[RETRY_REASON_LABEL] = losses.get(attempt - 1, "failed")
        pod: dict[str, Any] = {}
        container: dict[str, Any] = {}
        profile = self._profile(context)
        kills = list(losses.values()).count(Kind.OUT_OF_MEMORY)
        if profile and kills:
            memory = {"memory": profile.memory_of_attempt(kills)}
            container["resources"] = {"requests": memory, "limits": memory}
        if profile and profile.on_demand and {Kind.TAKEN_AWAY, Kind.NODE_LOST} & set(losses.values()):
            pod["node_selector"] = profile.on_demand
        labels = {name: str(value) for name, value in labels.items() if value}
        return {
            "container_config": container,
            "pod_spec_config": pod,
            "pod_template_spec_metadata": {"labels": labels},
            "job_metadata": {"labels": labels},
        }

    def _profile(self, context: StepHandlerContext) -> Profile | None:
        step_key = self._get_step_key(context)
        config = get_user_defined_k8s_config(context.step_tags[step_key])
        label = config.pod_template_spec_metadata.get("labels", {}).get(PROFILE_LABEL)
        return self.profiles.get(label or profile_name(self.settings, self.settings.naming.asset_of_step(step_key)))

    def _attempt(self, context: StepHandlerContext) -> int:
        known = context.execute_step_args.known_state
        return 1 + (known.get_retry_state().get_attempt_count(self._get_step_key(context)) if known else 0)

    def _losses(self, context: StepHandlerContext) -> dict[int, Kind]:
        """What became of the earlier attempts that were lost, by their number.

        From the event log: a run pod that took over from another knows it as well.
        """
        step_key = self._get_step_key(context)
        entries = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        losses = {}
        for entry in entries:
            if entry.step_key == step_key and entry.dagster_event is not None:
                metadata = entry.dagster_event.engine_event_data.metadata
                if _LOSS in metadata:
                    losses[int(str(metadata[_ATTEMPT].value))] = Kind(str(metadata[_LOSS].value))
        return losses

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        attempt = self._attempt(step_handler_context)
        if attempt > 1:
            self._note_retry(step_handler_context, attempt)
            self._end_attempt_before(step_handler_context, attempt)
        yield from super().launch_step(step_handler_context)

    def _note_retry(self, context: StepHandlerContext, attempt: int) -> None:
        """On the run: why there is another attempt, and with what."""
        config = self._config_of_attempt(context)
        reason = config["job_metadata"]["labels"][RETRY_REASON_LABEL]
        more = config["container_config"].get("resources", {}).get("requests", {})
        words = [f"attempt {attempt}", reason, *(f"{name} {value}" for name, value in more.items())]
        tags = {retry_tag(self._get_step_key(context)): ", ".join(words)}
        context.instance.add_run_tags(context.dagster_run.run_id, tags)

    def _end_attempt_before(self, context: StepHandlerContext, attempt: int) -> None:
        """See that the pod of the last attempt does not work on while this one does."""
        first = re.sub(r"-\d+$", "", self._get_k8s_step_job_name(context))
        name = first if attempt == 2 else f"{first}-{attempt - 2}"
        namespace = self._namespace(context)
        if not all(finished(pod) for pod in self._pods(name, namespace)):
            self._delete(name, namespace)

    # What becomes of it

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        name, namespace = self._get_k8s_step_job_name(step_handler_context), self._namespace(step_handler_context)
        try:
            job = self._api_client.batch_api.read_namespaced_job_status(name, namespace)
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
            job = None
        pods = self._pods(name, namespace)
        loss = loss_of(job, pods, datetime.now(UTC), timedelta(minutes=self.settings.pending_minutes))
        if loss is None:
            self._suspected.pop(name, None)
            self._report_waiting(step_handler_context, name, pods)
            return CheckStepHealthResult.healthy()
        if self._suspected.get(name) != loss.kind:
            self._suspected[name] = loss.kind
            return CheckStepHealthResult.healthy()
        if loss.kind in (Kind.PENDING, Kind.NODE_LOST):
            # So that its pod does not start, or come back, when nobody waits for it any more.
            self._delete(name, namespace)
        self._report_loss(step_handler_context, loss)
        return CheckStepHealthResult.unhealthy(reason=f"Job {name}: {loss.words} [{loss.kind}]")

    def _report_loss(self, context: StepHandlerContext, loss: Loss) -> None:
        attempt = self._attempt(context)
        metadata = {_LOSS: dg.MetadataValue.text(loss.kind.value), _ATTEMPT: dg.MetadataValue.int(attempt)}
        self._report(context, f"Attempt {attempt} is lost: {loss.words}.", metadata)

    def _report_waiting(self, context: StepHandlerContext, name: str, pods: Sequence[Any]) -> None:
        reason = why_it_waits(pods[-1]) if pods else ""
        # The scheduler counts nodes in its message, which changes with every node that comes or goes.
        without_counts = re.sub(r"\d+", "", reason)
        if not reason or self._reported.get(name) == without_counts:
            return
        self._reported[name] = without_counts
        pod = pods[-1]
        self._report(
            context,
            f"The pod of step {self._get_step_key(context)} waits: {reason.rstrip('.')}. It is given up after "
            f"{self.settings.pending_minutes} minutes (CREDIT_PENDING_MINUTES).",
            {"pod": dg.MetadataValue.text(pod.metadata.name), "asks for": dg.MetadataValue.text(requested(pod))},
        )

    def _report(self, context: StepHandlerContext, message: str, metadata: dict[str, dg.MetadataValue[Any]]) -> None:
        step_context = context.get_step_context(self._get_step_key(context))
        dg.DagsterEvent.engine_event(step_context, message, EngineEventData(metadata=metadata))

    # The API

    def _namespace(self, context: StepHandlerContext) -> str:
        return str(super()._get_container_context(context).namespace)

    def _pods(self, name: str, namespace: str) -> list[Any]:
        """The pods of a Job, oldest first."""
        pods = self._api_client.core_api.list_namespaced_pod(namespace, label_selector=f"job-name={name}").items
        return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)

    def _delete(self, name: str, namespace: str) -> None:
        try:
            self._api_client.batch_api.delete_namespaced_job(name, namespace, propagation_policy="Background")
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
