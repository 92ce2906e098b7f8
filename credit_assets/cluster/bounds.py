"""What bounds a pod of a step: quotas and limit ranges of its namespace, by arithmetic.

Belongs here: comparing what profiles ask for with what is allowed, in the words of a finding. Does not belong here:
asking the cluster (`preflight`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from credit_assets.profiles import Profile


def needs_of(profile: Profile) -> dict[str, str]:
    """What the pod of a step asks for, by the names that a quota may have for it."""
    requested = {"cpu": profile.cpu, "memory": profile.memory, "ephemeral-storage": profile.scratch}
    found = {
        f"{side}.{name}": amount for side in ("requests", "limits") for name, amount in requested.items()
    } | requested
    if profile.gpu:
        found[f"requests.{profile.gpu_resource}"] = str(profile.gpu)
    return {**found, "pods": "1", "count/pods": "1", "count/jobs.batch": "1"}


def applies(quota: Any, profile: Profile) -> bool:
    """Whether a ResourceQuota (V1ResourceQuota) counts the pods of a profile, by its scopes."""
    if {"BestEffort", "Terminating"} & set(quota.spec.scopes or ()):
        # Requests and limits are alike, and a step's deadline is its Job's.
        return False
    selector = quota.spec.scope_selector
    named = profile.priority_class
    for one in (selector.match_expressions or ()) if selector else ():
        if one.scope_name != "PriorityClass":
            continue
        listed = set(one.values or ())
        kept = {
            "In": named in listed,
            "NotIn": named not in listed,
            "Exists": named is not None,
            "DoesNotExist": named is None,
        }
        if not kept.get(one.operator, True):
            return False
    return True


def beyond_quotas(quotas: Sequence[Any], used: Mapping[str, Profile]) -> tuple[list[str], list[str]]:
    """What of one step of each profile the quotas never allow, and what they do not allow now."""
    never: list[str] = []
    later: list[str] = []
    for quota in quotas:
        for name, profile in used.items():
            if applies(quota, profile):
                refused, waits = _beyond(quota, name, profile)
                never += refused
                later += waits
    return never, later


def _beyond(quota: Any, name: str, profile: Profile) -> tuple[list[str], list[str]]:
    from kubernetes.utils import parse_quantity

    hard, taken = quota.spec.hard or {}, (quota.status.used if quota.status else None) or {}
    never, later = [], []
    for resource, need in needs_of(profile).items():
        if resource not in hard:
            continue
        held, most, requested = taken.get(resource, "0"), parse_quantity(hard[resource]), parse_quantity(need)
        wants = f"{name} asks for {need} {resource}, {quota.metadata.name}"
        if requested > most:
            never.append(f"{wants} allows {hard[resource]}")
        elif requested > most - parse_quantity(held):
            later.append(f"{wants} has {held} of {hard[resource]} taken")
    return never, later


def outside_limits(ranges: Sequence[Any], used: Mapping[str, Profile]) -> list[str]:
    """What of the profiles is more or less than LimitRanges (V1LimitRange) allow."""
    return [
        problem
        for one in ranges
        for item in one.spec.limits or ()
        # A pod of one container: what bounds the one bounds the other.
        if item.type in ("Container", "Pod")
        for name, profile in used.items()
        for problem in _outside(one.metadata.name, item, name, profile)
    ]


def _outside(where: str, item: Any, name: str, profile: Profile) -> Iterator[str]:
    from kubernetes.utils import parse_quantity

    needs = needs_of(profile)
    for resource in ("cpu", "memory", "ephemeral-storage"):
        requested = parse_quantity(needs[resource])
        if (most := (item.max or {}).get(resource)) is not None and requested > parse_quantity(most):
            yield f"{name} asks for {needs[resource]} {resource}, {where} allows at most {most}"
        if (least := (item.min or {}).get(resource)) is not None and requested < parse_quantity(least):
            yield f"{name} asks for {needs[resource]} {resource}, {where} wants at least {least}"
