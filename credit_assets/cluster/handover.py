"""What a run's pod takes over: steps of the pod before it, and of the run before this one.

The Jobs of steps belong to the run's Job. When the run's pod is moved to another node, Dagster resumes the run in
another Job, and trainings under way go on: they are made that Job's, since the first goes when its time is over. A run
that is started again in the place of a lost one begins anew, so that what the lost one left at work is ended first.

Belongs here: whose Jobs they are. Does not belong here: what is done with a Job of this run
(`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg
import kubernetes

from credit_assets.cluster.job_remover import JobRemover
from credit_assets.cluster.losses import at_work, job_finished
from credit_assets.cluster.pods_of_run import PodsOfRun, PodsSeen
from credit_assets.cluster.refusals import refusal_of
from credit_assets.tags import LOST_RUN_TAG, PARENT_RUN_TAG


class Handover:
    """Of one run. Each method raises what the API client raises, and is asked again."""

    def __init__(self, batch_api: Any, core_api: Any, remover: JobRemover) -> None:
        self._batch, self._remover = batch_api, remover
        # The run before has other Jobs and pods than this one.
        self._pods_before = PodsOfRun(batch_api, core_api)
        self._owners: list[Any] | None = None
        self._alone = False
        self._adopted = False

    def own(self, job: Any, run_id: str, namespace: str) -> None:
        """Make a Job that is to be sent the run's Job's."""
        if owners := self._run_jobs(run_id, namespace):
            job.metadata.owner_references = owners

    def _run_jobs(self, run_id: str, namespace: str) -> list[Any]:
        if self._owners is None:
            selector = f"dagster/run-id={run_id},app.kubernetes.io/component=run_worker"
            found = self._batch.list_namespaced_job(namespace, label_selector=selector).items
            # Of a run that was resumed there are several, of which the newest works.
            newest = sorted(found, key=lambda one: one.metadata.creation_timestamp)[-1:]
            self._owners = [
                kubernetes.client.V1OwnerReference(
                    api_version="batch/v1", kind="Job", name=one.metadata.name, uid=one.metadata.uid
                )
                for one in newest
            ]
        return self._owners

    def adopt(self, look: PodsSeen, run_id: str, namespace: str) -> None:
        """Make the Jobs that an earlier pod of this run has left at work those of this pod's Job, once."""
        if self._adopted:
            return
        owners = self._run_jobs(run_id, namespace)
        change = {"metadata": {"ownerReferences": [_as_json(one) for one in owners]}}
        for name, job in look.jobs.items():
            owned = {one.uid for one in job.metadata.owner_references or []}
            if owners and owners[0].uid not in owned and not job_finished(job):
                try:
                    self._batch.patch_namespaced_job(name, namespace, change)
                except kubernetes.client.ApiException as error:
                    # Without the right to, the step works on for as long as the first Job of the run is kept.
                    refusal = refusal_of(error)
                    if refusal is None or not refusal.permanent:
                        raise
        self._adopted = True

    def run_before(self, instance: dg.DagsterInstance, run: dg.DagsterRun, namespace: str, now: datetime) -> str:
        """What the run that this one is in the place of has at work yet, in words, told to go; empty where nothing.

        A run that has not ended keeps its steps: somebody made another one beside it.
        """
        before = run.tags.get(PARENT_RUN_TAG) or run.tags.get(LOST_RUN_TAG)
        if self._alone or not before:
            return ""
        record = instance.get_run_by_id(before)
        if record is not None and not record.is_finished:
            return ""
        look = self._pods_before.look("", before, namespace)
        left = [pod for pods in look.pods.values() for pod in pods if at_work(pod, now)]
        for name, job in look.jobs.items():
            if not job_finished(job):
                self._remover.delete(name, namespace)
        self._alone = not left
        return f"pod {left[0].metadata.name} of run {before} has to end first" if left else ""


def _as_json(owner: Any) -> dict[str, str]:
    return {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
