"""What a step asks of a cluster: its resource profile as op tags, and its pool.

Belongs here: how a profile becomes a pod. Does not belong here: which asset has which profile (`credit_assets.stages`),
what a profile is (`credit_assets.profiles`), and what happens to the pod (`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

from typing import Any

from credit_assets.profiles import GPU, GPU_POOL, PROFILES, Profile, label_value, merged_profiles
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
    labels = {ASSET_LABEL: asset, PROFILE_LABEL: name, PORTFOLIO_LABEL: label_value(settings.naming.word)}
    if variant := settings.graph.asset(asset).variant:
        labels[VARIANT_LABEL] = variant
    if settings.cost_centre:
        labels[COST_CENTRE_LABEL] = settings.cost_centre
    requests = {"cpu": profile.cpu, "memory": profile.memory, "ephemeral-storage": profile.scratch}
    if profile.gpu:
        requests[GPU] = str(profile.gpu)
    container: dict[str, Any] = {
        "command": _UNSTOPPED,
        "resources": {"requests": requests, "limits": dict(requests)},
        "env": [{"name": name, "value": value} for name, value in _environment(settings, profile).items()],
    }
    pod: dict[str, Any] = {"termination_grace_period_seconds": profile.grace_seconds}
    if profile.selector:
        pod["node_selector"] = profile.selector
    if profile.all_tolerations:
        pod["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in profile.all_tolerations]
    if profile.priority_class:
        pod["priority_class_name"] = profile.priority_class
    if profile.shm:
        pod["volumes"] = [{"name": "shm", "empty_dir": {"medium": "Memory", "size_limit": profile.shm}}]
        container["volume_mounts"] = [{"name": "shm", "mount_path": "/dev/shm"}]
    return {
        POD_CONFIG_TAG: {
            "container_config": container,
            "pod_spec_config": pod,
            "pod_template_spec_metadata": {"labels": labels},
            "job_metadata": {"labels": labels},
            "job_spec_config": {
                # A pod that Kubernetes replaces finds its step started and ends at once; retries are Dagster's.
                "backoff_limit": 0,
                "active_deadline_seconds": profile.deadline_seconds,
                "ttl_seconds_after_finished": profile.ttl_seconds,
            },
        }
    }


def _environment(settings: Settings, profile: Profile) -> dict[str, str]:
    # A container sees all cores of its node, whatever its limit.
    threads = str(settings.threads or profile.threads)
    variables = {"CREDIT_THREADS": threads, "OMP_NUM_THREADS": threads}
    if profile.gpu and settings.device == "auto":
        # A GPU that was paid for and cannot be used is an error, or a fallback that is noted; never a silent CPU.
        variables["CREDIT_DEVICE"] = "cuda"
    return variables
