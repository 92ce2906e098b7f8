"""The Helm chart for tests: rendered without a cluster, with the official chart or without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from e2e.chart import CHART, alone, official_chart, pod_template

BACKUP = CHART / "files" / "backup.py"
SIZES = {"production": None, "kind": "values-kind.yaml", "gpu": "values-gpu.yaml"}
# Everything that is off unless it is asked for.
INGRESS = {
    "ingress": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "dask": {"enabled": True},
    "backup": {"enabled": True, "destination": "s3://example-backups/credit-assets"},
}
SECOND_PORTFOLIO = (CHART.parent / "credit_assets_tests" / "data" / "give_me_some_credit.yaml").read_text()
DOORS: dict[str, Any] = {
    "ingress": {"enabled": True, "hosts": {"dagsterReadOnly": "look.example.org"}},
    "trigger": {"enabled": True},
    "dagster": {"dagsterWebserver": {"enableReadOnly": True}},
}
"""Everything by which somebody comes in."""
# Kinds of other projects, whose schemas are not Kubernetes' own.
FOREIGN = {"ServiceMonitor"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart without the chart it depends on, which is not in the repository."""
    return alone(tmp_path_factory.mktemp("chart"))


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
        if template := pod_template(manifest):
            yield f"{manifest['kind']} {manifest['metadata']['name']}", template["spec"]


needs_official = pytest.mark.skipif(
    official_chart() is None,
    reason="the official Dagster chart is not here: run `helm dependency build helm`, or set DAGSTER_HELM_CHART",
)
