"""What a step asks of a cluster: its resource profile as op tags, and its pool.

Belongs here: how a profile becomes a pod. Does not belong here: which asset has which profile (`credit_assets.stages`),
what a profile is (`credit_assets.profiles`), and what happens to the pod (`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

from typing import Any

from credit_assets.profiles import GPU_POOL, PROFILES, Profile, label_value, merged_profiles
from credit_assets.settings import Settings
from credit_assets.tags import (
    ASSET_LABEL,
    COST_CENTRE_LABEL,
    POD_CONFIG_TAG,
    PORTFOLIO_LABEL,
    PROFILE_LABEL,
    VARIANT_LABEL,
)

# A step that got the signal to stop would end as failed, and Dagster does not try it again. So it gets none: it works
# on while its node drains, has the grace period to finish in, and is killed after that; a killed step is tried again.
_UNSTOPPED = ["sh", "-c", 'trap "" TERM; "$@"; exit $?', "step"]

# Where a step's temporary files lie: a volume of the size that its profile says.
SCRATCH, SCRATCH_PATH = "tmp", "/tmp"
# A step is work that is lost when its pod is moved: neither autoscaler takes a node from under it to save one, as both
# do with pods that a Job would make again. A profile may say otherwise.
_STAYS = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
    "linkerd.io/inject": "disabled",
}
# The pod of a step ends when its one container does: the proxy of a mesh would work on for ever, and the Job with it.
_ALONE = {"sidecar.istio.io/inject": "false"}


def profiles(settings: Settings) -> dict[str, Profile]:
    """The profiles of this deployment: the table with CREDIT_PROFILES over it."""
    return merged_profiles(settings.profiles) if settings.profiles else dict(PROFILES)


def profile_name(settings: Settings, asset: str) -> str:
    """The profile of an asset: the table's, unless CREDIT_STEP_PROFILES names another."""
    return settings.step_profiles.get(asset) or settings.graph.asset(asset).profile


def pool(settings: Settings, asset: str) -> str | None:
    """The pool whose slots this asset's steps share with those of all runs, on a cluster.

    On one machine steps of a run take turns anyway, and claiming slots is not free.
    """
    if settings.executor != "k8s":
        return None
    if profiles(settings)[profile_name(settings, asset)].gpu:
        return settings.naming.pool(GPU_POOL)
    plain = settings.graph.asset(asset).pool
    return settings.naming.pool(plain) if plain else None


def op_tags(settings: Settings, asset: str) -> dict[str, Any]:
    """The tag `dagster-k8s/config` of an asset: what its pod asks for, by its profile.

    Job tags would not do: step pods ignore them, and they are lost on backfills and direct materialization.
    """
    name = profile_name(settings, asset)
    profile = profiles(settings)[name]
    labels = {
        **_ALONE,
        **profile.labels,
        ASSET_LABEL: asset,
        PROFILE_LABEL: name,
        PORTFOLIO_LABEL: label_value(settings.naming.word),
    }
    if variant := settings.graph.asset(asset).variant:
        labels[VARIANT_LABEL] = variant
    if settings.cost_centre:
        labels[COST_CENTRE_LABEL] = settings.cost_centre
    metadata = {"labels": labels, "annotations": {**_STAYS, **profile.annotations}}
    return {
        POD_CONFIG_TAG: {
            "container_config": _container(settings, profile),
            "pod_spec_config": _pod(profile),
            "pod_template_spec_metadata": metadata,
            "job_metadata": metadata,
            "job_spec_config": {
                # A pod that Kubernetes replaces finds its step started and ends at once; retries are Dagster's.
                "backoff_limit": 0,
                "active_deadline_seconds": profile.deadline_seconds,
                "ttl_seconds_after_finished": profile.ttl_seconds,
            },
        }
    }


def scratch_config(quantity: str) -> dict[str, Any]:
    """Disk of a step, as the parts of a pod that say it: the container's request and limit, and its /tmp.

    The kubelet counts a volume of this kind against the limit too, so that one without the other bounds nothing more.
    """
    disk = {"ephemeral-storage": quantity}
    return {
        "container_config": {
            "resources": {"requests": disk, "limits": disk},
            "volume_mounts": [{"name": SCRATCH, "mount_path": SCRATCH_PATH}],
        },
        "pod_spec_config": {"volumes": [{"name": SCRATCH, "empty_dir": {"size_limit": quantity}}]},
    }


def with_last_of_each(config: dict[str, Any]) -> dict[str, Any]:
    """A pod's configuration in which each path is mounted once and each volume's name is there once: the last one.

    dagster-k8s appends lists where it merges, so that /tmp of the launcher, of the profile and of an attempt with more
    disk would all stand in the pod, which Kubernetes refuses.
    """
    container, pod = dict(config["container_config"]), dict(config["pod_spec_config"])
    if mounts := container.get("volume_mounts"):
        container["volume_mounts"] = list({one["mount_path"]: one for one in mounts}.values())
    if volumes := pod.get("volumes"):
        pod["volumes"] = list({one["name"]: one for one in volumes}.values())
    return {**config, "container_config": container, "pod_spec_config": pod}


def _container(settings: Settings, profile: Profile) -> dict[str, Any]:
    container: dict[str, Any] = scratch_config(profile.scratch)["container_config"]
    requests = {"cpu": profile.cpu, "memory": profile.memory, **container["resources"]["requests"]}
    if profile.gpu:
        requests[profile.gpu_resource] = str(profile.gpu)
    container["command"] = _UNSTOPPED
    container["resources"] = {"requests": requests, "limits": dict(requests)}
    container["env"] = [{"name": name, "value": value} for name, value in _environment(settings, profile).items()]
    if profile.image:
        container["image"] = profile.image
    if profile.shm:
        container["volume_mounts"].append({"name": "shm", "mount_path": "/dev/shm"})
    return container


def _pod(profile: Profile) -> dict[str, Any]:
    pod: dict[str, Any] = scratch_config(profile.scratch)["pod_spec_config"]
    pod["termination_grace_period_seconds"] = profile.grace_seconds
    if profile.shm:
        pod["volumes"].append({"name": "shm", "empty_dir": {"medium": "Memory", "size_limit": profile.shm}})
    if profile.all_tolerations:
        pod["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in profile.all_tolerations]
    named = {
        "node_selector": profile.selector,
        "priority_class_name": profile.priority_class,
        "runtime_class_name": profile.runtime_class,
        "service_account_name": profile.service_account,
    }
    return {**pod, **{field: value for field, value in named.items() if value}}


def _environment(settings: Settings, profile: Profile) -> dict[str, str]:
    # A container sees all cores of its node, whatever its limit.
    threads = str(settings.threads or profile.threads)
    variables = {"CREDIT_THREADS": threads, "OMP_NUM_THREADS": threads}
    if profile.gpu and settings.device == "auto":
        # A GPU that was paid for and cannot be used is an error, or a fallback that is noted; never a silent CPU.
        variables["CREDIT_DEVICE"] = "cuda"
    return variables
