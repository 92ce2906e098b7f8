"""Steps as Kubernetes Jobs: dagster-k8s's step handler with an eye on the pods.

dagster-k8s makes each step a Job and looks at one number of it, whether it failed. So it misses a pod that no node
takes or that nobody may make, says nothing of why a pod died, waits for ever for a step whose pod Kubernetes replaced,
tries an OOM-killed step again with the memory that was too little, and ends the run when one request to the API fails.
Here the pods are looked at as well:

* a Job that is not taken for now is sent again, and a pod that waits, or that is refused, says why in the run's log;
  both are given up after CREDIT_PENDING_MINUTES;
* a lost pod is reported by kind (`Loss`), the step is retried by its own retry policy, and the next attempt asks for
  what the loss calls for: more memory after an OOM kill, on-demand nodes after a pre-emption (`Attempt.config`);
* a pod that is to go is waited for, and the next one is not started before it has ended;
* attempt and reason stand on the pod as labels and on the run as a tag.

Belongs here: what is done with a step's Job and pod. Does not belong here: what an attempt asks for
(`credit_assets.cluster.attempts`), how a loss shows (`credit_assets.cluster.losses`), and what the executor makes of it
(`credit_assets.cluster.step_executor`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
from dagster_k8s import K8sRunLauncher

from credit_assets.cluster.attempts import Attempt, profile_of
from credit_assets.cluster.handover import Handover
from credit_assets.cluster.job_remover import JobRemover
from credit_assets.cluster.job_sender import JobSender
from credit_assets.cluster.losses import (
    Loss,
    LossKind,
    Sight,
    at_work,
    disruption_of,
    loss_of,
    requested,
    step_container,
    unstartable,
    waits_for_pod_since,
    why_it_waits,
)
from credit_assets.cluster.op_tags import profiles, with_last_of_each
from credit_assets.cluster.pods_of_run import PodsOfRun, PodsSeen
from credit_assets.cluster.refusals import ask_bounded, refusal_of
from credit_assets.cluster.step_rights import account_of_steps, secrets_of_step
from credit_assets.instance.dagster_internals import (
    CheckStepHealthResult,
    K8sContainerContext,
    K8sStepHandler,
    StepHandlerContext,
    UserDefinedDagsterK8sConfig,
)
from credit_assets.settings import Settings

# How often pods are looked at. A loss counts when it is seen twice: between the two looks the executor has read what
# the step wrote last, so that one that ended by itself is never taken for lost.
HEALTH_SECONDS = 10
# Looks at a pod that says nothing of why it has not started, until the kubelet is asked.
_SILENT_LOOKS = 6
_HEALTHY = CheckStepHealthResult.healthy()


@dataclass
class _Seen:
    """What earlier looks at a Job found."""

    suspected: LossKind | None = None
    disruption: str = ""
    unstartable_since: datetime | None = None
    without_pod: int = 0
    silent: int = 0
    trouble: str = ""


class StepJobs(K8sStepHandler):
    """dagster-k8s's step handler that knows pods, losses and what the next attempt needs."""

    def __init__(self, settings: Settings, launcher: K8sRunLauncher) -> None:
        super().__init__(
            image=None,
            container_context=account_of_steps(settings),
            load_incluster_config=launcher.load_incluster_config,
            kubeconfig_file=launcher.kubeconfig_file,
        )
        self.settings, self.profiles = settings, profiles(settings)
        # What the executor shares: steps that must not be tried again, successes of attempts that were given up, and
        # steps that have ended.
        self.permanent: set[str] = set()
        self.late: dict[str, dg.DagsterEvent] = {}
        self.ended: set[str] = set()
        batch, core = self._api_client.batch_api, self._api_client.core_api
        ask_bounded(batch)
        ask_bounded(core)
        self._patience = timedelta(minutes=settings.pending_minutes)
        self._remover = JobRemover(batch)
        self._handover = Handover(batch, core, self._remover)
        pause = timedelta(seconds=HEALTH_SECONDS)
        self._sender = JobSender(batch, lambda job: self._handover.own(job, *self._place), pause)
        self._pods = PodsOfRun(batch, core)
        self._seen: dict[str, _Seen] = {}
        # What was said last, by what it was said of.
        self._logged: dict[str, str] = {}
        self._step_of: dict[str, str] = {}
        self._cleaned: PodsSeen | None = None
        self._place: tuple[str, str] = "", ""

    # How an attempt starts

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        base = super()._get_container_context(step_handler_context)
        base = base.merge(secrets_of_step(self.settings, step_handler_context))
        config = UserDefinedDagsterK8sConfig.from_dict(  # type: ignore[no-untyped-call]
            self._config(step_handler_context)
        )
        merged = base.merge(K8sContainerContext(run_k8s_config=config))
        once = with_last_of_each(merged.run_k8s_config.to_dict())  # type: ignore[no-untyped-call]
        return merged._replace(
            run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(once)  # type: ignore[no-untyped-call]
        )

    def _config(self, context: StepHandlerContext) -> dict[str, Any]:
        return Attempt(context).config(profile_of(context, self.settings, self.profiles))

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        attempt = Attempt(step_handler_context)
        if attempt.step_key in self.late:
            message = f"Step {attempt.step_key} needs no further pod: an earlier one, given up, has ended it after all."
            yield dg.DagsterEvent.step_worker_starting(
                step_handler_context.get_step_context(attempt.step_key), message, metadata={}
            )
            return
        if attempt.number > 1:
            attempt.note_retry(self._config(step_handler_context))
        # dagster-k8s makes the Job and hands it to its client, which would sleep, and end the run where it fails.
        self._api_client.create_namespaced_job_with_retries = partial(self._send, attempt)
        yield from super().launch_step(step_handler_context)

    def _send(self, attempt: Attempt, body: Any, namespace: str) -> None:
        self._place = attempt.context.dagster_run.run_id, namespace
        name = body.metadata.name
        self._step_of[name] = attempt.step_key
        before = _job_before(name, attempt.number)
        self._sender.send(body, namespace, datetime.now(UTC), partial(self._held_by, attempt, before))
        self._pods.outdated()
        self._say_unsent(attempt, name)

    def _held_by(self, attempt: Attempt, before: str, now: datetime) -> str:
        """Why an attempt has to wait for the pod of the one before, which is told to go; empty where it is gone."""
        if not before:
            return self._handover.run_before(attempt.context.instance, attempt.context.dagster_run, self._place[1], now)
        self._pods.outdated()
        left = [pod for pod in self._pods.look(before, *self._place).pods_of(before) if at_work(pod, now)]
        if not left:
            return ""
        if any(pod.metadata.deletion_timestamp is None for pod in left):
            self._remover.delete(before, self._place[1])
        return f"pod {left[-1].metadata.name} of the attempt before has to end first"

    # What becomes of it

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        attempt, now = Attempt(step_handler_context), datetime.now(UTC)
        name = self._get_k8s_step_job_name(step_handler_context)
        self._find_place(step_handler_context)
        if self._sender.waits(name) is not None:
            return self._health_of_unsent(attempt, name, now)
        if attempt.step_key in self.late:
            return _HEALTHY
        try:
            look = self._pods.look(name, *self._place)
            self._handover.adopt(look, *self._place)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            self._say("look", attempt, f"Steps of this run cannot be looked at: {refusal.words}. They work on.")
            return _HEALTHY
        self._clean_up(look, now)
        if name not in self._step_of and name not in self._seen and not (name in look.jobs or look.pods_of(name)):
            # The pod of the run that this one took over from was to make it: it is made now, as the same attempt.
            return CheckStepHealthResult.unhealthy(reason=f"Job {name} was never made")
        seen = self._seen.setdefault(name, _Seen())
        sight = self._sight(attempt, name, look, seen, now)
        loss = loss_of(sight, self._patience)
        if loss is None:
            seen.suspected = None
            self._say_waiting(attempt, name, sight)
            return _HEALTHY
        if seen.suspected != loss.kind:
            seen.suspected = loss.kind
            return _HEALTHY
        if not sight.pods or any(at_work(pod, now) or pod.status.phase == "Running" for pod in sight.pods):
            # So that its pod does not start, work on, or come back, when nobody waits for it any more.
            self._remover.delete(name, self._place[1])
        return self._lost(attempt, name, loss)

    def _health_of_unsent(self, attempt: Attempt, name: str, now: datetime) -> CheckStepHealthResult:
        self._sender.again(name, now)
        if self._sender.waits(name) is None:
            self._pods.outdated()
            return _HEALTHY
        loss = self._sender.loss_of(name, now, self._patience)
        if loss is None:
            self._say_unsent(attempt, name)
            return _HEALTHY
        self._sender.forget(name)
        return self._lost(attempt, name, loss)

    def _lost(self, attempt: Attempt, name: str, loss: Loss) -> CheckStepHealthResult:
        self._seen.pop(name, None)
        if loss.permanent:
            self.permanent.add(attempt.step_key)
        attempt.report_loss(loss)
        return CheckStepHealthResult.unhealthy(reason=f"Job {name}: {loss.words} [{loss.kind}]")

    def _sight(self, attempt: Attempt, name: str, look: PodsSeen, seen: _Seen, now: datetime) -> Sight:
        """What this look shows of a Job, with what has to be remembered of those before."""
        job, pods = look.jobs.get(name), look.pods_of(name)
        for pod in pods:
            words = disruption_of(pod)
            if words and words != seen.disruption:
                seen.disruption = words
                attempt.report_disruption(pod.metadata.name, words)
        if not any(unstartable(pod) for pod in pods):
            seen.unstartable_since = None
        elif seen.unstartable_since is None:
            seen.unstartable_since = now
        seen.without_pod = 0 if pods else seen.without_pod + 1
        refusal = ""
        if seen.without_pod > 1 and waits_for_pod_since(job) is not None:
            refusal = self._answer(self._pods.refusal, name, self._place[1])
        if not pods and not seen.disruption and seen.suspected is LossKind.DELETED:
            seen.disruption = attempt.disruption()
        return Sight(job, pods, now, seen.disruption, seen.unstartable_since, refusal)

    def _answer(self, ask: Any, *about: Any) -> str:
        """What events say, or why they cannot be read: they explain, and decide nothing."""
        try:
            return str(ask(*about))
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            return f"its events cannot be read ({refusal.words})"

    # What is said of it in the run's log, once

    def _say(self, about: str, attempt: Attempt, message: str, **metadata: str) -> None:
        # Nodes, quotas and suffixes of names are counted in these messages, and change from one to the next.
        unchanging = re.sub(r"\d+|pods? \S+", "", message)
        if self._logged.get(about) != unchanging:
            self._logged[about] = unchanging
            attempt.report(message, {name: dg.MetadataValue.text(value) for name, value in metadata.items()})

    def _say_unsent(self, attempt: Attempt, name: str) -> None:
        words = self._sender.waits(name)
        if words is not None and words:
            self._say(name, attempt, f"Step {attempt.step_key} waits: {words.rstrip('.')}. {self._bound}")

    def _say_waiting(self, attempt: Attempt, name: str, sight: Sight) -> None:
        job, seen = sight.job, self._seen[name]
        if not sight.pods:
            if sight.refusal:
                words = f"Step {attempt.step_key} has no pod: {sight.refusal.rstrip('.')}. {self._bound}"
                self._say(name, attempt, words)
            elif job is not None and job.spec.suspend:
                self._say(
                    name, attempt, f"Step {attempt.step_key} waits: its Job is held back (suspended), by a queue."
                )
            return
        pod = sight.pods[-1]
        reason = why_it_waits(pod) or self._trouble(pod, seen)
        if reason:
            message = f"The pod of step {attempt.step_key} waits: {reason.rstrip('.')}. {self._bound}"
            asks = requested(pod, step_container(job))
            self._say(name, attempt, message, **{"pod": pod.metadata.name, "asks for": asks})

    def _trouble(self, pod: Any, seen: _Seen) -> str:
        if pod.status.phase != "Pending":
            return ""
        seen.silent += 1
        if seen.silent == _SILENT_LOOKS:
            seen.trouble = self._answer(self._pods.troubles, pod)
        return seen.trouble

    @property
    def _bound(self) -> str:
        return f"It is given up after {self.settings.pending_minutes} minutes (CREDIT_PENDING_MINUTES)."

    # The API

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        name = self._get_k8s_step_job_name(step_handler_context)
        attempt = Attempt(step_handler_context)
        attempt.report(f"Deleting Kubernetes job {name} for step")
        self._sender.forget(name)
        self._find_place(step_handler_context)
        if not self._remover.delete(name, self._place[1]):
            attempt.report(f"Kubernetes job {name} could not be deleted now. It goes with the run's Job.")
        yield from ()

    def _find_place(self, context: StepHandlerContext) -> None:
        """Run and namespace, which are the same for all steps; a run pod that took over has sent no Job yet."""
        if not self._place[0]:
            self._place = context.dagster_run.run_id, str(super()._get_container_context(context).namespace)

    def _clean_up(self, look: PodsSeen, now: datetime) -> None:
        """Once a look: what could not be deleted before, and pods of steps that have ended without them."""
        if look is self._cleaned:
            return
        self._cleaned = look
        self._remover.again()
        for name, step in self._step_of.items():
            if step in self.ended:
                self._remover.end_of(name, self._place[1], look, now)


def _job_before(name: str, attempt: int) -> str:
    """The Job of the attempt before this one's; empty for the first."""
    if attempt == 1:
        return ""
    first = name.removesuffix(f"-{attempt - 1}")
    return first if attempt == 2 else f"{first}-{attempt - 2}"
