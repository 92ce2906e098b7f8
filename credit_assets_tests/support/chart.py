"""The Helm chart for tests: rendered without a cluster, with the official chart or without it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

CHART = Path(__file__).resolve().parents[2] / "helm"
SIZES = {"production": None, "kind": "values-kind.yaml", "gpu": "values-gpu.yaml"}
INGRESS = {"ingress": {"enabled": True}, "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}
# Kinds of other projects, whose schemas are not Kubernetes' own.
FOREIGN = {"ServiceMonitor"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart without the chart it depends on, which is not in the repository."""
    place = tmp_path_factory.mktemp("chart") / "credit-assets"
    shutil.copytree(CHART, place, ignore=shutil.ignore_patterns("charts"))
    described = yaml.safe_load((place / "Chart.yaml").read_text())
    described.pop("dependencies")
    (place / "Chart.yaml").write_text(yaml.safe_dump(described))
    return place


def values(size: str, **more: Any) -> dict[str, Any]:
    file = SIZES[size]
    return {**(yaml.safe_load((CHART / file).read_text()) if file else {}), **more}


def rendered(chart: Path, given: dict[str, Any]) -> list[dict[str, Any]]:
    with helm.Chart.load(str(chart)) as loaded:
        texts = loaded.render(given, name="credit", namespace="lending")
    return [
        manifest
        for path, text in sorted(texts.items())
        if path.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]


def one(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def pod_specs(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job", "DaemonSet"):
            yield f"{manifest['kind']} {manifest['metadata']['name']}", manifest["spec"]["template"]["spec"]


def official_chart() -> Path | None:
    given = os.environ.get("DAGSTER_HELM_CHART")
    found = [Path(given)] if given else sorted((CHART / "charts").glob("dagster-*.tgz"))
    return found[0] if found else None


def umbrella(folder: Path) -> Path:
    """The chart with the official one in it, whose schema's references to Kubernetes' definitions on the network are
    made local.
    """
    archive, place = official_chart(), folder / "credit-assets"
    assert archive is not None
    shutil.copytree(CHART, place, ignore=shutil.ignore_patterns("charts"))
    charts = place / "charts"
    shutil.unpack_archive(archive, charts)
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    local = min(folder.glob("*-local/_definitions.json"), key=lambda path: path.parent.name)
    for schema in charts.rglob("values.schema.json"):
        text = re.sub(r'https://[^"#]+/_definitions\.json#/definitions', f"{local.as_uri()}#/$defs", schema.read_text())
        schema.write_text(text)
    return place


needs_official = pytest.mark.skipif(
    official_chart() is None,
    reason="the official Dagster chart is not here: run `helm dependency build helm`, or set DAGSTER_HELM_CHART",
)
