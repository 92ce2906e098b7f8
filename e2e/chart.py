"""The Helm chart as a cluster gets it: rendered with the official Dagster chart inside, with the values of a trial.

Belongs here: rendering, the values that make the chart small enough for a laptop's nodes, and what is changed for
clusters that lack DNS or an API version. Does not belong here: applying the objects (`installation`).

The official chart is not part of this repository: `helm dependency build helm` puts it into helm/charts, or
DAGSTER_HELM_CHART names an archive of it.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[1] / "helm"
RELEASE = "credit"
HOOK, WEIGHT = "helm.sh/hook", "helm.sh/hook-weight"
# Kinds and API versions that came later than a cluster's own; the older one takes the same fields.
_OLDER = {
    ("policy/v1", "PodDisruptionBudget"): ((1, 21), "policy/v1beta1"),
    ("batch/v1", "CronJob"): ((1, 21), "batch/v1beta1"),
}
# Official init containers that wait for a name to resolve.
_WAITS_FOR_DNS = "init-user-deployment"


def official_chart() -> Path | None:
    """The archive of the official Dagster chart; None where there is none."""
    given = os.environ.get("DAGSTER_HELM_CHART")
    found = [Path(given)] if given else sorted((CHART / "charts").glob("dagster-*.tgz"))
    return found[0] if found and found[0].exists() else None


def umbrella(folder: Path) -> Path:
    """The chart with the official one in it, whose schema's references to Kubernetes' definitions on the network are
    made local.
    """
    import kubernetes_validate

    archive, place = official_chart(), folder / "credit-assets"
    assert archive is not None
    shutil.copytree(CHART, place, ignore=shutil.ignore_patterns("charts"))
    charts = place / "charts"
    shutil.unpack_archive(archive, charts)
    schemas = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    local = min(schemas.glob("*-local/_definitions.json"), key=lambda path: path.parent.name)
    for schema in charts.rglob("values.schema.json"):
        text = re.sub(r'https://[^"#]+/_definitions\.json#/definitions', f"{local.as_uri()}#/$defs", schema.read_text())
        schema.write_text(text)
    return place


def alone(folder: Path) -> Path:
    """The chart without the one that it depends on."""
    place = folder / "credit-assets"
    shutil.copytree(CHART, place, ignore=shutil.ignore_patterns("charts"))
    described = yaml.safe_load((place / "Chart.yaml").read_text())
    described.pop("dependencies")
    (place / "Chart.yaml").write_text(yaml.safe_dump(described))
    return place


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm lays them: maps merge, anything else replaces, null takes out."""
    found = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = merge(found[key], value) if both else value
    return found


@cache
def defaults() -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "values.yaml").read_text()))


@dataclass(frozen=True)
class Rendered:
    """The objects of a release by when Helm applies them."""

    before: list[dict[str, Any]]
    release: list[dict[str, Any]]
    upgraded: list[dict[str, Any]]
    tests: list[dict[str, Any]]


def render(values: Mapping[str, Any], namespace: str) -> Rendered:
    """What `helm upgrade --install` would send, hooks by their weight."""
    import helm_python as helm

    with tempfile.TemporaryDirectory() as folder, helm.Chart.load(str(umbrella(Path(folder)))) as chart:
        texts = chart.render(dict(values), name=RELEASE, namespace=namespace)
    objects = [
        manifest
        for path, text in sorted(texts.items())
        if path.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]
    return Rendered(
        _hooked(objects, ("pre-install", "post-install")),
        sorted((m for m in objects if HOOK not in annotated(m)), key=_order),
        _hooked(objects, ("post-upgrade",)),
        _hooked(objects, ("test",)),
    )


def annotated(manifest: Mapping[str, Any]) -> dict[str, str]:
    return dict(manifest["metadata"].get("annotations") or {})


def _hooked(objects: Iterable[dict[str, Any]], when: tuple[str, ...]) -> list[dict[str, Any]]:
    hooked = [m for m in objects if {*annotated(m).get(HOOK, "").replace(" ", "").split(",")} & {*when}]
    return sorted(hooked, key=lambda m: int(annotated(m).get(WEIGHT, 0)))


def _order(manifest: Mapping[str, Any]) -> int:
    """What others name comes before them, as Helm sorts kinds; the rest in any order."""
    first = ["PriorityClass", "NetworkPolicy", "ResourceQuota", "ServiceAccount", "Secret", "ConfigMap"]
    first += ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service"]
    return first.index(manifest["kind"]) if manifest["kind"] in first else len(first)


def pod_template(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The pod that an object makes, to be changed in place; None where it makes none."""
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec.get("template") if isinstance(spec, dict) else None
    return template if isinstance(template, dict) and "spec" in template else None


def adapted(manifest: Mapping[str, Any], version: tuple[int, int], names: Mapping[str, str]) -> dict[str, Any]:
    """An object as this cluster takes it. `names`: addresses of the chart's services, where there is no DNS."""
    changed = copy.deepcopy(dict(manifest))
    since, older = _OLDER.get((changed["apiVersion"], changed["kind"]), ((0, 0), ""))
    if version < since:
        changed["apiVersion"] = older
    template = pod_template(changed)
    if template and names:
        pod = template["spec"]
        pod |= without_dns(names)
        waiting = pod.get("initContainers") or []
        pod["initContainers"] = [one for one in waiting if not one["name"].startswith(_WAITS_FOR_DNS)]
    return changed


def without_dns(names: Mapping[str, str]) -> dict[str, Any]:
    """What a pod has where nobody resolves names: the addresses of these, and a server that refuses questions at once.

    gRPC asks for more than addresses, and takes 10 s a connection where nothing answers.
    """
    addresses = sorted(set(names.values()))
    return {
        "hostAliases": [
            {"ip": one, "hostnames": sorted(n for n, address in names.items() if address == one)} for one in addresses
        ],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": addresses[:3]},
    }


def services(objects: Iterable[Mapping[str, Any]]) -> dict[str, tuple[dict[str, str], list[tuple[int, Any]]]]:
    """Of each service its selector, and its ports with what they lead to: a number, or a port's name in the pod."""
    return {
        m["metadata"]["name"]: (
            m["spec"]["selector"],
            [(port["port"], port.get("targetPort", port["port"])) for port in m["spec"]["ports"]],
        )
        for m in objects
        if m["kind"] == "Service" and m["spec"].get("selector")
    }
