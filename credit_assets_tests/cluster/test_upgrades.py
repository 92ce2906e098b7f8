"""An upgrade of the chart while a run is under way: the run ends with the settings and the image that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from credit_assets.cluster import step_jobs
from credit_assets_tests.support import two_steps
from credit_assets_tests.support.chart import one, rendered, values
from credit_assets_tests.support.kube_api import Cluster, Pod, run

pytest_plugins = ["credit_assets_tests.support.chart"]


@dataclass(frozen=True)
class Release:
    """What an install brings, as far as runs see it."""

    manifests: list[dict[str, Any]]

    @property
    def config_maps(self) -> dict[str, dict[str, Any]]:
        return {m["metadata"]["name"]: m for m in self.manifests if m["kind"] == "ConfigMap"}

    @property
    def settings(self) -> str:
        (name,) = (name for name in self.config_maps if name.startswith("credit-assets-settings-"))
        return name

    @property
    def code_server(self) -> dict[str, Any]:
        return dict(one(self.manifests, "Deployment", "credit-assets-code")["spec"]["template"])

    def job(self) -> Any:
        """The job as the code server gives it, with what its environment says of the pods of runs."""
        (container,) = self.code_server["spec"]["containers"]
        env = {given["name"]: given.get("value") for given in container["env"]}
        found: Any = dg.reconstructable(two_steps.make_job)
        repository = found.repository._replace(
            container_image=env["DAGSTER_CURRENT_IMAGE"],
            container_context=yaml.safe_load(env["DAGSTER_CONTAINER_CONTEXT"]),
        )
        return found._replace(repository=repository)


def upgraded(installed: Mapping[str, dict[str, Any]], new: Release) -> dict[str, dict[str, Any]]:
    """The ConfigMaps after `helm upgrade`: what is no more in the chart goes, unless it says that it is kept."""
    policy = "helm.sh/resource-policy"
    kept = {name: m for name, m in installed.items() if m["metadata"].get("annotations", {}).get(policy) == "keep"}
    for name, manifest in new.config_maps.items():
        was = installed.get(name)
        assert was is None or not was.get("immutable") or was["data"] == manifest["data"], f"{name} cannot be changed"
    return {**kept, **new.config_maps}


@pytest.fixture(scope="module")
def before(own: Path) -> Release:
    return Release(rendered(own, values("production", settings={"CREDIT_RETRIES": "1"})))


@pytest.fixture(scope="module")
def after(own: Path) -> Release:
    image = {"repository": "registry.example.org/credit-assets", "tag": "0.2.0", "pullPolicy": "IfNotPresent"}
    given = {"CREDIT_RETRIES": "1", "CREDIT_SEED": "12"}
    return Release(rendered(own, values("production", settings=given, image=image)))


def test_one_setting_more_starts_the_code_server_anew_and_keeps_what_was(before: Release, after: Release) -> None:
    assert before.settings != after.settings
    assert before.code_server != after.code_server
    first = before.config_maps[before.settings]
    assert first["immutable"] is True
    assert upgraded(before.config_maps, after)[before.settings] == first
    # The same settings again are the same ConfigMap.
    assert upgraded(upgraded(before.config_maps, after), before)[before.settings] == first


@pytest.mark.slow
def test_a_run_under_way_ends_with_what_it_began_with(
    before: Release, after: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_jobs, "HEALTH_SECONDS", 0)
    monkeypatch.setenv("TWO_STEPS", str(tmp_path))
    # The pod of the run has these from its ConfigMap, too.
    data = before.config_maps[before.settings]["data"]
    grants = {"step_grants": yaml.safe_load(data["CREDIT_STEP_GRANTS"])}
    grants["step_service_account"] = data["CREDIT_STEP_SERVICE_ACCOUNT"]
    monkeypatch.setattr(two_steps, "SETTINGS", two_steps.SETTINGS.model_copy(update=grants))
    installed = before.config_maps
    seen: dict[str, dict[str, str]] = {}

    def given(pod: Pod) -> None:
        """What the kubelet does: the container has what the ConfigMaps named hold, and is not made without them."""
        names = [one["configMapRef"]["name"] for one in pod.container["envFrom"] if "configMapRef" in one]
        if not set(names) <= set(installed):
            pod.end(1, "CreateContainerConfigError")
            return
        data = {key: value for name in names for key, value in installed[name]["data"].items()}
        seen[pod.job["metadata"]["labels"]["dagster/op"]] = data
        run(pod)

    def upgrade_meanwhile(pod: Pod) -> None:
        nonlocal installed
        installed = upgraded(installed, after)
        given(pod)

    with Cluster(tmp_path, {"TWO_STEPS": str(tmp_path)}) as cluster:
        (home := tmp_path / "dagster").mkdir()
        launcher = cluster.instance_config(home)
        for of_location in ("job_image", "env_secrets", "env_config_maps"):
            launcher["config"].pop(of_location)
        cluster.rules = {"source": [upgrade_meanwhile], "model": [given]}
        with dg.instance_for_test(temp_dir=str(home), overrides={"run_launcher": launcher}) as instance:
            tags = {"dagster/partition": "2024-03-31"}
            with dg.execute_job(before.job(), instance, tags=tags, raise_on_error=False) as result:
                assert result.success
        assert (tmp_path / "done").read_text() == "0\n"
        for step in ("source", "model"):
            (job,) = cluster.of_step(step)
            pod = job["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert container["image"] == "registry.example.org/credit-assets:0.1.0"
            assert [one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one] == [
                before.settings
            ]
            # The second asks for no warehouse, and so is not given its password; neither may make Jobs.
            secrets = [one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one]
            assert secrets == ["credit-assets-store", *(["credit-assets-warehouse"] if step == "source" else [])]
            assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("credit-assets-step", False)
            assert seen[step] == before.config_maps[before.settings]["data"]
            assert "CREDIT_SEED" not in seen[step]
    # Meanwhile whoever asks for a run gets what is installed now.
    assert after.settings in installed
    context = after.job().repository.container_context["k8s"]
    assert context["env_config_maps"] == [after.settings]
    assert after.job().repository.container_image == "registry.example.org/credit-assets:0.2.0"
