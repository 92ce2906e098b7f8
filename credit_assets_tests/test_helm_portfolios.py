"""The chart with several portfolios: a code location each, with what is its own and nothing of the others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from credit_assets.profiles import POOLS
from credit_assets.settings import load_settings
from credit_assets_tests.support.chart import SECOND_PORTFOLIO, one, rendered, values

pytest_plugins = ["credit_assets_tests.support.chart"]

NAME = yaml.safe_load(SECOND_PORTFOLIO)["name"]
SECOND: dict[str, Any] = {
    "name": NAME,
    "file": SECOND_PORTFOLIO,
    # What Helm's `merge` would take for nothing.
    "settings": {"CREDIT_SEED": 0, "CREDIT_START_DATE": "2025-01-01", "CREDIT_RETRIES": 10},
    "secrets": {"warehouse": "second-warehouse", "alerts": ""},
    "profiles": {"train-gpu": {"gpu": 0}},
    "stepProfiles": {"catboost_candidate": "train-cpu"},
    "pools": {"warehouse": 1},
    "costCentre": "second",
}
PORTFOLIOS = {"portfolios": [{"name": "consumer_loans"}, SECOND]}


@pytest.fixture(scope="module")
def manifests(own: Path) -> list[dict[str, Any]]:
    return rendered(own, values("production", **PORTFOLIOS))


def suffix(name: str) -> str:
    return "-" + name.replace("_", "-")


def code_server(manifests: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = one(manifests, "Deployment", f"credit-assets-code{suffix(name)}")["spec"]["template"]["spec"]
    return dict(found)


def settings_of(manifests: list[dict[str, Any]], name: str) -> dict[str, str]:
    (container,) = code_server(manifests, name)["containers"]
    (config,) = [given["configMapRef"]["name"] for given in container["envFrom"] if "configMapRef" in given]
    return dict(one(manifests, "ConfigMap", config)["data"])


@pytest.mark.parametrize("name", ["consumer_loans", NAME])
def test_each_location_loads_under_names_of_its_own(
    manifests: list[dict[str, Any]], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data, spec = settings_of(manifests, name), code_server(manifests, name)
    for key, value in data.items():
        monkeypatch.setenv(key, value)
    for volume in spec["volumes"]:
        if volume["name"] == "portfolio":
            # As the pod has it, in the folder in which it is mounted.
            ((file, text),) = one(manifests, "ConfigMap", volume["configMap"]["name"])["data"].items()
            (container,) = spec["containers"]
            (mount,) = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "portfolio"]
            assert data["CREDIT_PORTFOLIO"] == f"{mount}/{file}"
            (tmp_path / file).write_text(text)
            monkeypatch.setenv("CREDIT_PORTFOLIO", str(tmp_path / file))
    settings = load_settings()
    assert settings.naming.portfolio == name
    assert settings.naming.prefix == ("" if name == "consumer_loans" else name)
    (container,) = one(manifests, "Job", "credit-assets-migrations")["spec"]["template"]["spec"]["containers"]
    limits = dict(re.findall(r"concurrency set (\S+) (\d+)", container["args"][0]))
    own = {settings.naming.pool(pool): limits.get(settings.naming.pool(pool)) for pool in POOLS}
    if name == NAME:
        assert (settings.seed, settings.retries, settings.cost_centre) == (0, 10, "second")
        assert settings.start_date.isoformat() == "2025-01-01"
        assert settings.profiles["train-gpu"]["gpu"] == 0
        assert settings.step_profiles == {"catboost_candidate": "train-cpu"}
        assert settings.step_grants["warehouse"] == "second-warehouse"
        assert own == {f"{NAME}_gpu": None, f"{NAME}_warehouse": "1"}
    else:
        assert settings.seed != 0
        assert "gpu" not in settings.profiles["train-gpu"]
        assert own == {"gpu": "2", "warehouse": "4"}


def test_nothing_of_one_is_given_to_another(manifests: list[dict[str, Any]]) -> None:
    held = {}
    for name in ("consumer_loans", NAME):
        (container,) = code_server(manifests, name)["containers"]
        context = next(one["value"] for one in container["env"] if one["name"] == "DAGSTER_CONTAINER_CONTEXT")
        secrets = {one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one}
        held[name] = (secrets, yaml.safe_load(context)["k8s"])
    first, second = held["consumer_loans"], held[NAME]
    assert first[0] - second[0] == {"credit-assets-warehouse", "credit-assets-alerts"}
    assert second[0] - first[0] == {"second-warehouse"}
    assert set(first[1]["env_config_maps"]).isdisjoint(second[1]["env_config_maps"])
    assert "volumes" not in first[1]
    (volume,) = second[1]["volumes"]
    assert volume["configMap"]["name"].startswith(f"credit-assets-portfolio{suffix(NAME)}-")
    assert [mount["mountPath"] for mount in second[1]["volume_mounts"]] == ["/opt/credit-assets/portfolio"]


def test_one_webserver_daemon_and_mlflow_know_them_all(manifests: list[dict[str, Any]]) -> None:
    workspace = yaml.safe_load(one(manifests, "ConfigMap", "credit-assets-workspace")["data"]["workspace.yaml"])
    servers = [entry["grpc_server"] for entry in workspace["load_from"]]
    assert [server["location_name"] for server in servers] == ["consumer_loans", NAME]
    pods = {
        m["metadata"]["name"]: m["spec"]["template"]["metadata"]["labels"]
        for m in manifests
        if m["kind"] == "Deployment"
    }
    for server in servers:
        service = one(manifests, "Service", server["host"])
        selector = service["spec"]["selector"].items()
        assert [name for name, labels in pods.items() if selector <= labels.items()] == [server["host"]]
        assert service["spec"]["ports"][0]["port"] == server["port"]
    assert [name for name in pods if name == "credit-assets-mlflow"] == ["credit-assets-mlflow"]


def test_without_the_list_there_is_one_as_the_values_say(own: Path) -> None:
    manifests = rendered(own, values("production"))
    deployments = [m["metadata"]["name"] for m in manifests if m["kind"] == "Deployment"]
    assert [name for name in deployments if name.startswith("credit-assets-code")] == ["credit-assets-code"]
    workspace = yaml.safe_load(one(manifests, "ConfigMap", "credit-assets-workspace")["data"]["workspace.yaml"])
    assert [entry["grpc_server"]["location_name"] for entry in workspace["load_from"]] == ["credit-assets"]


@pytest.mark.parametrize(
    ("portfolios", "said"),
    [
        ([{"name": "cards"}], "cards needs its portfolio file"),
        ([{"name": "cards", "file": "name: loans\n"}], "the file of cards has the name loans"),
        ([{"name": "consumer_loans"}, {"name": "consumer_loans"}], "consumer_loans stands there twice"),
        ([{"name": "Cards"}], "Cards"),
        ([{"settings": {}}], "name"),
        ([{"name": "consumer_loans", "poolz": {}}], "poolz"),
        ([{"name": "consumer_loans", "settings": {"CREDIT_WAREHOUSE_URL": "x://y"}}], "CREDIT_WAREHOUSE_URL"),
    ],
)
def test_a_portfolio_that_cannot_be_made_is_refused(own: Path, portfolios: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        rendered(own, values("production", portfolios=portfolios))
