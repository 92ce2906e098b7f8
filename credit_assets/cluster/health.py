"""Whether a cluster does what runs and steps ask of it: rights, nodes, priority classes, pools, and the instance.

Belongs here: questions to the Kubernetes API with the rights of whoever asks, and one line of advice each. Does not
belong here: what is the same on one machine (`health` of the other wings). Nothing is changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from credit_assets.cluster.op_tags import profile_name, profiles
from credit_assets.health import Check, Health
from credit_assets.profiles import POOLS, Profile, Toleration, size
from credit_assets.settings import Settings

# What run launcher and executor do in their namespace: (verb, API group, resource, subresource).
RIGHTS = (
    ("create", "batch", "jobs", ""),
    ("get", "batch", "jobs", ""),
    ("get", "batch", "jobs", "status"),
    ("list", "batch", "jobs", ""),
    ("patch", "batch", "jobs", ""),
    ("delete", "batch", "jobs", ""),
    ("get", "", "pods", ""),
    ("list", "", "pods", ""),
    ("delete", "", "pods", ""),
    ("get", "", "pods", "log"),
    ("list", "", "events", ""),
)
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_MAY_NOT_LOOK = "allow the service account to list them, or look yourself: kubectl get"


def checks(settings: Settings) -> list[Check]:
    """What `diagnose` looks at on a cluster, beside what it looks at anywhere."""
    return [
        Check("cluster instance", "dagster_home", lambda: check_instance(settings), 3),
        Check("cluster rights", "executor", lambda: _guarded(check_rights), 3),
        Check("nodes", "profiles", lambda: _guarded(lambda: check_nodes(settings)), 3),
        Check("priority classes", "profiles", lambda: _guarded(lambda: check_priority_classes(settings)), 3),
        Check("pools", "dagster_home", lambda: check_pools(settings), 3),
    ]


def _guarded(look: Callable[[], Health]) -> Health:
    """What a look at the API finds, where this process may ask it: code server and steps are given no token."""
    if os.environ.get("KUBERNETES_SERVICE_HOST") and not TOKEN.exists():
        return Health("not asked: this pod has no token of the cluster, and needs none; `helm test` asks")
    return look()


def check_instance(settings: Settings) -> Health:
    """Whether runs become pods, and whether these share storage and keep their output."""
    from credit_assets.instance.dagster_internals import InstanceRef

    reference = InstanceRef.from_dir(str(settings.dagster_dir))
    launcher = reference.run_launcher_data
    launched = launcher.class_name if launcher else "DefaultRunLauncher"
    as_ours = "set run_launcher in dagster.yaml to PatientK8sRunLauncher, as credit_assets/cluster.dagster.yaml does"
    if launched not in ("K8sRunLauncher", "PatientK8sRunLauncher"):
        return Health(f"runs are launched by {launched}", "fail", as_ours)
    events = reference.event_storage_data
    storage = events.class_name if events else "no storage"
    if "Postgres" not in storage:
        return Health(
            f"events in {storage}, which pods do not share",
            "fail",
            "set storage: postgres in dagster.yaml (credit_assets/cluster.dagster.yaml shows how)",
        )
    logs = reference.compute_logs_data.class_name
    if "Local" in logs:
        return Health(
            f"output of steps by {logs}, lost with their pods",
            "warn",
            "set compute_logs in dagster.yaml to S3ComputeLogManager, or to NoOpComputeLogManager where the cluster "
            "collects the logs of pods",
        )
    if launched == "K8sRunLauncher":
        return Health("runs by K8sRunLauncher: an API server that is away for a minute ends them", "warn", as_ours)
    queue = reference.run_coordinator_data
    if queue is None or queue.class_name != "PatientRunCoordinator":
        return Health(
            f"runs in {queue.class_name if queue else 'no queue'}: one whose Job a quota refuses for a moment fails",
            "warn",
            "set run_coordinator in dagster.yaml to PatientRunCoordinator, as credit_assets/cluster.dagster.yaml does",
        )
    return Health(f"runs by {launched}, storage {storage}, output by {logs}")


def check_rights() -> Health:
    """Asks the API for each thing that launcher and executor do, with the rights of this process."""
    from kubernetes import client

    with _Launcher() as (api, namespace):
        reviews = client.AuthorizationV1Api(api)
        missing = []
        for verb, group, resource, subresource in RIGHTS:
            attributes = client.V1ResourceAttributes(
                namespace=namespace, verb=verb, group=group, resource=resource, subresource=subresource or None
            )
            spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
            answer = reviews.create_self_subject_access_review(client.V1SelfSubjectAccessReview(spec=spec))
            if not answer.status.allowed:
                missing.append(f"{verb} {resource}{'/' if subresource else ''}{subresource}")
    if missing:
        return Health(
            f"in namespace {namespace} this service account may not {', '.join(missing)}",
            "fail",
            "bind it to a Role that allows this: the chart's is helm/templates/serviceaccounts.yaml",
        )
    return Health(f"all {len(RIGHTS)} in namespace {namespace}")


def check_nodes(settings: Settings) -> Health:
    """Whether each profile that is used fits a node: labels, taints, and what the node has in all."""
    with _Launcher() as (api, _):
        return nodes_of(settings, api)


def nodes_of(settings: Settings, api: Any) -> Health:
    """The same of the cluster that a client talks to."""
    from kubernetes import client

    try:
        nodes = client.CoreV1Api(api).list_node().items
    except client.ApiException as error:
        return not_allowed(error, "nodes", "nodes --show-labels")
    used = used_profiles(settings)
    unfit = {}
    for name, profile in used.items():
        why = [misfit(profile, node) for node in nodes]
        if all(why):
            unfit[name] = "; ".join(sorted({reason for reason in why if reason})) or "there are no nodes"
    if unfit:
        return Health(
            ", ".join(f"{name} fits no node ({why})" for name, why in unfit.items()),
            "warn",
            "add such nodes (an autoscaler may do so when a pod waits), or change CREDIT_PROFILES; on a cluster "
            'without GPUs: {"train-gpu": {"gpu": 0}}',
        )
    return Health(f"{', '.join(used)} each fit one of {len(nodes)}")


def misfit(profile: Profile, node: Any) -> str:
    """Why a pod of the profile cannot run on a node (V1Node), however empty; empty where it can."""
    labels = node.metadata.labels or {}
    lacks = [f"{key}={value}" for key, value in profile.selector.items() if labels.get(key) != value]
    if lacks:
        return f"no label {', '.join(lacks)}"
    if node.spec.unschedulable:
        return "cordoned"
    for taint in node.spec.taints or []:
        if taint.effect in ("NoSchedule", "NoExecute") and not any(
            _tolerates(toleration, taint) for toleration in profile.all_tolerations
        ):
            return f"taint {taint.key} is not tolerated"
    from kubernetes.utils import parse_quantity

    has: Mapping[str, str] = node.status.allocatable or {}
    wants = {"cpu": profile.cpu, "memory": str(size(profile.memory))}
    if "ephemeral-storage" in has:
        wants["ephemeral-storage"] = profile.scratch
    if profile.gpu:
        wants[profile.gpu_resource] = str(profile.gpu)
    short = [name for name, amount in wants.items() if parse_quantity(has.get(name, "0")) < parse_quantity(amount)]
    return f"too little {', '.join(short)}" if short else ""


def _tolerates(toleration: Toleration, taint: Any) -> bool:
    if toleration.effect is not None and toleration.effect != taint.effect:
        return False
    if toleration.key is None:
        return toleration.operator == "Exists"
    return toleration.key == taint.key and (toleration.operator == "Exists" or toleration.value == taint.value)


def check_priority_classes(settings: Settings) -> Health:
    """A pod that names one which does not exist is refused by the API."""
    from kubernetes import client

    wanted = {profile.priority_class for profile in used_profiles(settings).values() if profile.priority_class}
    if not wanted:
        return Health("none are named")
    with _Launcher() as (api, _):
        try:
            there = {one.metadata.name for one in client.SchedulingV1Api(api).list_priority_class().items}
        except client.ApiException as error:
            return not_allowed(error, "priority classes", "priorityclasses")
    if missing := sorted(wanted - there):
        return Health(
            f"not there: {', '.join(missing)}",
            "fail",
            "make them (the chart does with priorityClasses.create), or take them out of CREDIT_PROFILES",
        )
    return Health(", ".join(sorted(wanted)))


def check_pools(settings: Settings) -> Health:
    """Pools without a limit of their own take the default, which is rarely the number of GPUs."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        pools = [settings.naming.pool(name) for name in POOLS]
        limits = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
    shown = ", ".join(f"{name} {limits.get(name, 'default')}" for name in pools)
    if missing := [name for name in pools if name not in limits]:
        commands = "; ".join(f"dagster instance concurrency set {name} N" for name in missing)
        return Health(shown, "warn", f"say how many steps of all runs may hold one: {commands}")
    return Health(shown)


def used_profiles(settings: Settings) -> dict[str, Profile]:
    """The profiles that a step has, by name."""
    names = {profile_name(settings, row.name) for row in settings.graph.assets}
    return {name: profile for name, profile in profiles(settings).items() if name in names}


def not_allowed(error: Any, what: str, command: str) -> Health:
    if error.status != 403:
        raise error
    return Health(f"this service account may not list {what}", "warn", f"{_MAY_NOT_LOOK} {command}")


class _Launcher:
    """A client of the cluster that the instance's run launcher talks to, and the namespace of its Jobs."""

    def __enter__(self) -> tuple[Any, str]:
        import dagster as dg
        import kubernetes
        from dagster_k8s import K8sRunLauncher

        self._instance = dg.DagsterInstance.get()
        launcher = self._instance.run_launcher
        if not isinstance(launcher, K8sRunLauncher):
            raise RuntimeError("the instance has no K8sRunLauncher, which says how the cluster is reached")
        self._client = kubernetes.client.ApiClient()
        return self._client, str(launcher.job_namespace)

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._instance.dispose()
