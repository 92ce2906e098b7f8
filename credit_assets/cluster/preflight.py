"""What a cluster would refuse, asked before anything is installed: `credit-assets doctor --cluster`.

Belongs here: questions to the Kubernetes API with the rights of whoever is going to install, and dry runs of what steps
ask for. Does not belong here: an installation that is there (`health`), and anything that stays on the cluster: every
create is a dry run, and of Secrets only the names of their keys are looked at.

It is asked for the profiles and steps of the settings (CREDIT_PROFILES, ...), by the kubeconfig that kubectl uses.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from credit_assets.cluster.bounds import beyond_quotas, outside_limits
from credit_assets.cluster.health import nodes_of, not_allowed, used_profiles
from credit_assets.cluster.op_tags import op_tags, profile_name
from credit_assets.health import Check, Health
from credit_assets.profiles import Profile
from credit_assets.settings import Settings
from credit_assets.tags import POD_CONFIG_TAG

OLDEST, DRAINS = (1, 25), (1, 29)
"""The oldest version that the chart takes, and the one from which a Job waits for the pod that it replaces."""
SECRETS: Mapping[str, tuple[str, ...]] = {
    "warehouse": ("CREDIT_WAREHOUSE_URL",),
    "objectStore": (),
    "postgresql": ("postgresql-password",),
    "mlflow": ("MLFLOW_BACKEND_STORE_URI",),
    "mlflowLogin": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "alerts": ("CREDIT_ALERT_URLS",),
    "assignment": ("CREDIT_ASSIGNMENT_KEY",),
}
"""By their names in the chart's values (`secrets`), the keys that each must have."""
SECRET_NAMES: Mapping[str, str] = {
    "warehouse": "credit-assets-warehouse",
    "objectStore": "credit-assets-store",
    "postgresql": "credit-assets-postgresql",
    "mlflow": "credit-assets-mlflow",
    "mlflowLogin": "credit-assets-mlflow-login",
    "alerts": "credit-assets-alerts",
    "assignment": "credit-assets-assignment",
}
KINDS: Mapping[str, tuple[str, ...]] = {
    "": ("configmaps", "services", "serviceaccounts", "persistentvolumeclaims", "resourcequotas"),
    "apps": ("deployments", "statefulsets"),
    "batch": ("jobs", "cronjobs"),
    "networking.k8s.io": ("networkpolicies", "ingresses"),
    "policy": ("poddisruptionbudgets",),
    "rbac.authorization.k8s.io": ("roles", "rolebindings"),
}
"""What an install makes in its namespace, by API group."""
OF_THE_CLUSTER: Mapping[tuple[str, str], str] = {
    ("scheduling.k8s.io", "priorityclasses"): "priorityClasses.create=false, and have them made",
    ("rbac.authorization.k8s.io", "clusterroles"): "serviceAccounts.dagster.seesNodes=false",
    ("rbac.authorization.k8s.io", "clusterrolebindings"): "serviceAccounts.dagster.seesNodes=false",
}
"""What it makes outside of one, and the value that does without."""
# As the chart has them: a namespace that enforces `restricted` takes no others.
POD_SECURITY: Mapping[str, Any] = {
    "run_as_non_root": True,
    "run_as_user": 10001,
    "run_as_group": 10001,
    "fs_group": 10001,
    "seccomp_profile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Mapping[str, Any] = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_ENFORCED = "pod-security.kubernetes.io/enforce"


@dataclass(frozen=True)
class Target:
    """Where it is going to be installed: namespace (empty: that of the context), image, and the names of its Secrets by
    their need; an empty one is not used.
    """

    namespace: str = ""
    image: str = "registry.example.org/credit-assets:0.1.0"
    secrets: Mapping[str, str] = field(default_factory=lambda: dict(SECRET_NAMES))


def checks(settings: Settings, target: Target) -> list[Check]:
    """What `doctor --cluster` looks at."""
    looks: dict[str, Callable[[_Cluster], Health]] = {
        "cluster": _version,
        "namespace": _namespace,
        "permissions": _permissions,
        "secrets": _secrets,
        "quota": lambda cluster: _quota(cluster, used_profiles(settings)),
        "limit ranges": lambda cluster: _limit_ranges(cluster, used_profiles(settings)),
        "priority classes": lambda cluster: _classes(cluster, settings, "priority"),
        "runtime classes": lambda cluster: _classes(cluster, settings, "runtime"),
        "nodes": lambda cluster: nodes_of(settings, cluster.api),
        "network policies": _network_policies,
        "dry run": lambda cluster: _dry_run(cluster, settings),
    }
    return [Check(name, "profiles", _on(target, look), 3) for name, look in looks.items()]


def _on(target: Target, look: Callable[[_Cluster], Health]) -> Callable[[], Health]:
    def looked() -> Health:
        from kubernetes.config import ConfigException

        try:
            with _Cluster(target) as cluster:
                return look(cluster)
        except ConfigException as error:
            return Health("no cluster is named", "fail", f"set KUBECONFIG, or run it in a pod: {error}")

    return looked


class _Cluster:
    """A client by the rights of this pod, else by the kubeconfig; and the namespace."""

    def __init__(self, target: Target) -> None:
        self.target, self.namespace = target, target.namespace

    def __enter__(self) -> _Cluster:
        from kubernetes import client, config

        given = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=given)
            context = _NAMESPACE_FILE.read_text() if _NAMESPACE_FILE.is_file() else ""
        except config.ConfigException:
            # Read here: the client has read it when it was imported.
            file = os.environ.get("KUBECONFIG") or None
            config.load_kube_config(config_file=file, client_configuration=given)
            context = (config.list_kube_config_contexts(file)[1].get("context") or {}).get("namespace", "")
        self.namespace = self.namespace or context or "default"
        # What does not answer is asked once: the time is bounded by whoever looks.
        given.retries = False
        self.api = client.ApiClient(given)
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()

    @property
    def core(self) -> Any:
        from kubernetes import client

        return client.CoreV1Api(self.api)


def _version(cluster: _Cluster) -> Health:
    from kubernetes import client

    found = client.VersionApi(cluster.api).get_code()
    version = int(found.major), int("".join(filter(str.isdigit, found.minor)))
    shown = f"Kubernetes {found.git_version}, namespace {cluster.namespace}"
    if version < OLDEST:
        return Health(shown, "fail", "the chart needs Kubernetes 1.25 or later")
    if version < DRAINS:
        return Health(shown, "warn", "before 1.29 a drained step may be begun a second time while the first one ends")
    return Health(shown)


def _namespace(cluster: _Cluster) -> Health:
    """Whether it is there, and what PodSecurity it enforces."""
    from kubernetes import client

    try:
        labels = cluster.core.read_namespace(cluster.namespace).metadata.labels or {}
    except client.ApiException as error:
        if error.status == 404:
            return Health(f"{cluster.namespace} is not there", "fail", f"kubectl create namespace {cluster.namespace}")
        return not_allowed(error, "namespaces", f"namespace {cluster.namespace} --show-labels")
    return Health(f"{cluster.namespace}, PodSecurity {labels.get(_ENFORCED, 'not enforced')}: pods keep restricted")


def _permissions(cluster: _Cluster) -> Health:
    """Asks for each kind that an install makes, whether whoever asks may create it."""
    missing = [one for group, kinds in KINDS.items() for one in kinds if not _may(cluster, group, one)]
    instead = {
        value: resource
        for (group, resource), value in OF_THE_CLUSTER.items()
        if not _may(cluster, group, resource, namespaced=False)
    }
    advice = [f"without {resource}: {value}" for value, resource in instead.items()]
    if missing:
        who = f"have whoever may create {', '.join(missing)} in {cluster.namespace} install it"
        return Health(f"you may not create {', '.join(missing)}", "fail", "; ".join([who, *advice]))
    if advice:
        return Health(f"you may not create {', '.join(instead.values())}", "warn", "; ".join(advice))
    return Health(f"you may create all that an install makes in {cluster.namespace}")


def _may(cluster: _Cluster, group: str, resource: str, *, namespaced: bool = True) -> bool:
    from kubernetes import client

    attributes = client.V1ResourceAttributes(
        namespace=cluster.namespace if namespaced else None, verb="create", group=group, resource=resource
    )
    spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    review = client.V1SelfSubjectAccessReview(spec=spec)
    return bool(client.AuthorizationV1Api(cluster.api).create_self_subject_access_review(review).status.allowed)


def _secrets(cluster: _Cluster) -> Health:
    """Whether each Secret is there with its keys. Values are not looked at."""
    from kubernetes import client

    missing, found = [], []
    for need, name in cluster.target.secrets.items():
        if not name:
            continue
        try:
            keys = set(cluster.core.read_namespaced_secret(name, cluster.namespace).data or {})
        except client.ApiException as error:
            if error.status != 404:
                return not_allowed(error, "secrets", "secrets")
            missing.append(f"{name} ({', '.join(SECRETS[need]) or 'credentials of object storage'})")
            continue
        if lacking := [key for key in SECRETS[need] if key not in keys]:
            missing.append(f"{', '.join(lacking)} in {name}")
        found.append(name)
    if missing:
        advice = (
            "make them as docs/kubernetes.md shows; where one has another name, --secret NEED=NAME, and without NAME"
        )
        return Health(
            f"not there: {'; '.join(missing)}", "fail", f"{advice} where there is none (secrets in the values)"
        )
    return Health(", ".join(found))


def _quota(cluster: _Cluster, used: Mapping[str, Profile]) -> Health:
    """Whether one step of each profile fits: into the quota at all, and into what is left of it."""
    from kubernetes import client

    try:
        quotas = cluster.core.list_namespaced_resource_quota(cluster.namespace).items
    except client.ApiException as error:
        return not_allowed(error, "resource quotas", "resourcequotas")
    never, later = beyond_quotas(quotas, used)
    if never:
        advice = "raise the quota, or make the profile smaller (CREDIT_PROFILES): until then its pods are refused"
        return Health("; ".join(never), "fail", advice)
    if later:
        return Health("; ".join(later), "warn", "steps wait for what others of the namespace hold")
    names = ", ".join(one.metadata.name for one in quotas)
    return Health(f"one step of each profile fits {names}" if quotas else "none")


def _limit_ranges(cluster: _Cluster, used: Mapping[str, Profile]) -> Health:
    from kubernetes import client

    try:
        ranges = cluster.core.list_namespaced_limit_range(cluster.namespace).items
    except client.ApiException as error:
        return not_allowed(error, "limit ranges", "limitranges")
    if outside := outside_limits(ranges, used):
        return Health("; ".join(outside), "fail", "change the LimitRange, or the profile (CREDIT_PROFILES)")
    return Health(f"every profile is within {', '.join(one.metadata.name for one in ranges)}" if ranges else "none")


def _classes(cluster: _Cluster, settings: Settings, kind: str) -> Health:
    """The priority or runtime classes that profiles name."""
    from kubernetes import client

    wanted = {name for one in used_profiles(settings).values() if (name := getattr(one, f"{kind}_class"))}
    if not wanted:
        return Health("none are named")
    try:
        if kind == "priority":
            there = client.SchedulingV1Api(cluster.api).list_priority_class().items
        else:
            there = client.NodeV1Api(cluster.api).list_runtime_class().items
    except client.ApiException as error:
        return not_allowed(error, f"{kind} classes", f"{kind}classes")
    missing = sorted(wanted - {one.metadata.name for one in there})
    if not missing:
        return Health(", ".join(sorted(wanted)))
    if kind == "priority":
        # Those of the chart come with it.
        return Health(
            f"not there: {', '.join(missing)}",
            "warn",
            "the chart makes its own with priorityClasses.create; a pod that names one which is not there is refused",
        )
    return Health(f"not there: {', '.join(missing)}", "fail", "make them, or take them out of CREDIT_PROFILES")


def _network_policies(cluster: _Cluster) -> Health:
    """Policies add up: one that lets nothing out is no matter where the chart's own let out what is needed."""
    from kubernetes import client

    try:
        found = client.NetworkingV1Api(cluster.api).list_namespaced_network_policy(cluster.namespace).items
    except client.ApiException as error:
        return not_allowed(error, "network policies", "networkpolicies")
    closed = [
        one.metadata.name
        for one in found
        if "Egress" in (one.spec.policy_types or ())
        and not one.spec.egress
        and not _selects(one.spec.pod_selector)
        # The chart's own, which has others beside it.
        and (one.metadata.labels or {}).get("app.kubernetes.io/part-of") != "credit-assets"
    ]
    if closed:
        return Health(
            f"{', '.join(closed)} let nothing out of any pod",
            "warn",
            "leave networkPolicies.enabled on, with database, warehouse, object storage and API server in its egress",
        )
    return Health(f"{len(found)} in the namespace, none of which closes it" if found else "none")


def _selects(selector: Any) -> bool:
    """Whether a selector picks some pods, and not all."""
    return bool(selector and (selector.match_labels or selector.match_expressions))


# What the cluster itself says of a step


def step_jobs(settings: Settings, target: Target, account: str = "default") -> dict[str, Any]:
    """The Job of one step of each profile that is used, as the run's pod would ask for it, by profile."""
    from credit_assets.instance.dagster_internals import (
        DagsterK8sJobConfig,
        construct_dagster_k8s_job,
        get_user_defined_k8s_config,
    )

    config = DagsterK8sJobConfig(
        job_image=target.image,
        dagster_home="/opt/dagster/dagster_home",
        image_pull_policy="IfNotPresent",
        service_account_name=account,
        security_context=dict(CONTAINER_SECURITY),
    )
    found: dict[str, Any] = {}
    for row in settings.graph.assets:
        if (name := profile_name(settings, row.name)) in found:
            continue
        tag = op_tags(settings, row.name)[POD_CONFIG_TAG]
        tag["pod_spec_config"]["security_context"] = dict(POD_SECURITY)
        # Accounts of the chart are not there before it.
        tag["pod_spec_config"].pop("service_account_name", None)
        defined = get_user_defined_k8s_config({POD_CONFIG_TAG: json.dumps(tag)})
        found[name] = construct_dagster_k8s_job(
            config, ["dagster", "api", "execute_step"], f"credit-assets-dry-run-{name}", defined
        )
    return found


def _dry_run(cluster: _Cluster, settings: Settings) -> Health:
    """Asks for a Job and its pod of each profile, without making either: whatever admits pods has a word on it, quota,
    PodSecurity, policies and webhooks.
    """
    from kubernetes import client

    refused: list[str] = []
    unknown: list[str] = []
    jobs = step_jobs(settings, cluster.target)
    for name, job in jobs.items():
        pod = client.V1Pod(
            metadata=client.V1ObjectMeta(
                name=f"credit-assets-dry-run-{name}",
                labels=job.spec.template.metadata.labels,
                annotations=job.spec.template.metadata.annotations,
            ),
            spec=job.spec.template.spec,
        )
        batch = client.BatchV1Api(cluster.api)
        for kind, create, body in (
            ("Job", batch.create_namespaced_job, job),
            ("pod", cluster.core.create_namespaced_pod, pod),
        ):
            try:
                create(cluster.namespace, body, dry_run="All")
            except client.ApiException as error:
                (unknown if _says_nothing(error) else refused).append(f"{kind} of {name}: {_why(error)}")
    if refused:
        advice = "the cluster's own words: change the profile (CREDIT_PROFILES), or have the rule changed"
        return Health(f"refused: {'; '.join(dict.fromkeys(refused))}", "fail", advice)
    if unknown:
        return Health(
            f"not tried: {'; '.join(dict.fromkeys(unknown))}", "warn", "ask again, or somebody who may create them"
        )
    return Health(f"a Job and a pod of {', '.join(jobs)} would be taken; that image {cluster.target.image} can be "
                  "pulled nobody knows before a pod is there")  # fmt: skip


def _says_nothing(error: Any) -> bool:
    """Whether it is not the step that is refused: whoever asks may not, or the API or a webhook cannot say for now."""
    not_now = error.status == 429 or error.status >= 500
    return not_now or (error.status == 403 and "cannot create resource" in _why(error))


def _why(error: Any) -> str:
    """What the API says of a refusal, on one line."""
    try:
        message = str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        message = f"{error.status} {error.reason}"
    return " ".join(message.split())[:400]
