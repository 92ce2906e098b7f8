"""The launcher of runs as Kubernetes Jobs: dagster-k8s's, to which an API server that is away says nothing of a run.

Dagster's daemon looks at runs under way, and fails one whose worker it cannot find. dagster-k8s says "unknown" of a Job
that is gone and of an API that does not answer alike, so that an API server that was restarted ended every run that the
daemon looked at just then, while their pods worked on.

Belongs here: what becomes of a run's Job. Does not belong here: Jobs of steps (`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster_k8s import K8sRunLauncher

from credit_assets.cluster.refusals import TIMEOUT, is_missing, refusal_of
from credit_assets.instance.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    WorkerStatus,
    get_job_name_from_run_id,
)

_LOG = logging.getLogger(__name__)
# Where a pod finds the namespace that it is in.
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class PatientK8sRunLauncher(K8sRunLauncher):
    """`K8sRunLauncher` for which a run is lost when the API says so, and not when it says nothing.

    Its `job_namespace`, where none is given, is that of the pod that launches.
    """

    @classmethod
    def config_type(cls) -> Any:
        """As K8sRunLauncher's, without a namespace that holds for everybody who gives none."""
        theirs = super().config_type()  # type: ignore[no-untyped-call]
        return {**theirs, "job_namespace": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        own = NAMESPACE.read_text("utf-8").strip() if NAMESPACE.exists() else "default"
        return cls(inst_data=inst_data, **{"job_namespace": own, **config_value})

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """As K8sRunLauncher's; RUNNING where the API does not say what became of the Job: the next look will tell."""
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        if found.status != WorkerStatus.UNKNOWN:
            return found
        # Of what the API said only words are left: asked again, to know whether it said anything.
        namespace = self.get_container_context_for_run(run).namespace
        resumed = self._get_resume_attempt_number(run)
        name = get_job_name_from_run_id(run.run_id, resumed)  # type: ignore[no-untyped-call]
        try:
            self._api_client.batch_api.read_namespaced_job_status(name, namespace, _request_timeout=TIMEOUT)
        except Exception as error:
            refusal = None if is_missing(error) else refusal_of(error)
            if refusal is None:
                return found
            words = (
                f"run {run.run_id[:8]} is taken to be under way: its Job {name} cannot be looked at, {refusal.words}"
            )
            _LOG.warning(words)
            return CheckRunHealthResult(WorkerStatus.RUNNING, words)
        answered: CheckRunHealthResult = super().check_run_worker_health(run)
        return answered
