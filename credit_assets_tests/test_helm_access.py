"""The chart's Secrets, accounts and doors: who is given what, who may do what, and who comes in where."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import helm_python as helm
import pytest
import yaml
from kubernetes.client import V1PodSpec

from credit_assets.build import build_definitions
from credit_assets.cluster.run_launcher import PENDING_MINUTES
from credit_assets.cluster.step_rights import account_of_steps, needs
from credit_assets.instance.dagster_internals import K8sContainerContext
from credit_assets.settings import load_settings
from credit_assets_tests.support.chart import CHART, DOORS, INGRESS, needs_official, one, pod_specs, rendered, values
from e2e.chart import umbrella

pytest_plugins = ["credit_assets_tests.support.chart"]

PAGE = CHART.parent / "docs" / "kubernetes.md"
NEEDS = {
    "postgresql": "Dagster's database",
    "mlflow": "MLflow's database",
    "objectStore": "object store",
    "warehouse": "warehouse",
    "mlflowLogin": "MLflow's login",
    "alerts": "alerts",
    "assignment": "assignment key",
}
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SECRETS = {name: need for need, name in DEFAULTS["secrets"].items()}


@pytest.fixture(scope="module")
def manifests(own: Path) -> list[dict[str, Any]]:
    return rendered(own, values("production", **{**INGRESS, **DOORS}))


@pytest.fixture(scope="module")
def run_context(manifests: list[dict[str, Any]]) -> K8sContainerContext:
    """What the code location says of the pods of its runs."""
    return K8sContainerContext.create_from_config(yaml.safe_load(variable(manifests, "DAGSTER_CONTAINER_CONTEXT")))


def variable(manifests: list[dict[str, Any]], name: str) -> str:
    (container,) = one(manifests, "Deployment", "credit-assets-code")["spec"]["template"]["spec"]["containers"]
    return str(next(given["value"] for given in container["env"] if given["name"] == name))


def settings_of(manifests: list[dict[str, Any]]) -> dict[str, str]:
    (found,) = (m["data"] for m in manifests if m["metadata"]["name"].startswith("credit-assets-settings-"))
    return dict(found)


def held(spec: dict[str, Any]) -> set[str]:
    """The Secrets of a pod, by need where it is one of `secrets`, else by name."""
    found = set()
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        for source in container.get("envFrom", []):
            found |= {source["secretRef"]["name"]} if "secretRef" in source else set()
        for given in container.get("env", []):
            if reference := given.get("valueFrom", {}).get("secretKeyRef"):
                found.add(reference["name"])
    found |= {one["secret"]["secretName"] for one in spec.get("volumes") or [] if "secret" in one}
    return {SECRETS.get(name, name) for name in found}


def steps(run_context: K8sContainerContext, data: dict[str, str]) -> Iterator[tuple[str, str, set[str]]]:
    """Each step with its account and what its pod holds, by the settings of the chart."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in data.items():
            patch.setenv(name, value)
        settings = load_settings()
    of_run = {one["secret_ref"]["name"] for one in run_context.run_k8s_config.container_config["env_from"][1:]}
    account = run_context.merge(account_of_steps(settings)).run_k8s_config.pod_spec_config
    assert account["automount_service_account_token"] is False
    for asset in build_definitions(settings).assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            given = {settings.step_grants[need] for need in needs(asset.op.required_resource_keys, asset.op.name)}
            found = {SECRETS[name] for name in of_run | given} | {"postgresql"}
            yield asset.op.name, account["service_account_name"], found


def who_has_what(manifests: list[dict[str, Any]], run_context: K8sContainerContext) -> dict[str, tuple[str, set[str]]]:
    """By pod its account and its Secrets. Of the official chart's pods what the values give them."""
    specs = {where.split()[1].removeprefix("credit-assets-"): spec for where, spec in pod_specs(manifests)}
    found = {name: (spec.get("serviceAccountName", ""), held(spec)) for name, spec in specs.items()}
    official = DEFAULTS["dagster"]
    for name, part in {"webserver": "dagsterWebserver", "daemon": "dagsterDaemon"}.items():
        given = {SECRETS[one["name"]] for one in official[part].get("envSecrets", [])}
        found[name] = (official["global"]["serviceAccountName"], {"postgresql", *given})
    launcher = official["runLauncher"]["config"]["customRunLauncher"]["config"]
    assert not launcher.get("env_secrets")
    assert not launcher.get("env_config_maps")
    pod = run_context.run_k8s_config
    of_run = {SECRETS[one["secret_ref"]["name"]] for one in pod.container_config["env_from"] if "secret_ref" in one}
    found["run"] = (pod.pod_spec_config["service_account_name"], {"postgresql", *of_run})
    for name, account, given in steps(run_context, settings_of(manifests)):
        found[name] = (account, given)
    return found


def documented() -> dict[str, tuple[str, set[str]]]:
    """The table of the page: a row names one pod or several, and `proxy-*` all that begin so."""
    text = PAGE.read_text().split("## Who has what", 1)[1].split("\n## ", 1)[0]
    head, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    columns = [cell.strip() for cell in head.strip("|").split("|")][2:]
    found = {}
    for row in rows:
        pods, account, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        needed = {need for need, title in NEEDS.items() if cells[columns.index(title)]}
        other = set(re.findall(r"`([^`]+)`", cells[columns.index("other")]))
        for pod in re.findall(r"`([^`]+)`", pods):
            found[pod] = (account.strip("`"), needed | other)
    return found


def test_a_run_takes_the_patience_of_its_location_to_its_launcher(own: Path, run_context: K8sContainerContext) -> None:
    """The daemon, which launches the runs of all portfolios, has settings of none."""
    assert run_context.run_k8s_config.job_metadata == {}, "the default"
    given = rendered(own, values("production", settings={"CREDIT_PENDING_MINUTES": 20}))
    context = yaml.safe_load(variable(given, "DAGSTER_CONTAINER_CONTEXT"))
    metadata = K8sContainerContext.create_from_config(context).run_k8s_config.job_metadata
    assert metadata == {"annotations": {PENDING_MINUTES: "20"}}


def test_who_has_what_is_what_the_page_says(manifests: list[dict[str, Any]], run_context: K8sContainerContext) -> None:
    assert who_has_what(manifests, run_context) == documented()


def test_nobody_holds_the_passwords_of_others(
    manifests: list[dict[str, Any]], run_context: K8sContainerContext
) -> None:
    holders = defaultdict(set)
    found = who_has_what(manifests, run_context)
    for pod, (_, secrets) in found.items():
        for need in secrets:
            holders[need].add(pod)
    assert holders["mlflow"] == {"mlflow", "migrations", "backup"}
    assert holders["alerts"] == {"code", "doctor"}
    assert holders["warehouse"] == {
        "code", "doctor", "restated_days", "raw_loan_data", "loan_outcomes", "training_set",
    }  # fmt: skip
    for pod in ("webserver", "daemon", "mlflow", "run", "trigger"):
        assert "warehouse" not in found[pod][1]
    # Whoever has none of it in its environment is refused, and does not read an empty embedded warehouse.
    assert settings_of(manifests)["CREDIT_WAREHOUSE_URL"] == "withheld://"


def test_jobs_are_made_by_daemon_and_run_alone(manifests: list[dict[str, Any]], own: Path) -> None:
    makers = set()
    for binding in (m for m in manifests if m["kind"] == "RoleBinding"):
        rules = one(manifests, "Role", binding["roleRef"]["name"])["rules"]
        if any("jobs" in rule["resources"] and "create" in rule["verbs"] for rule in rules):
            makers |= {subject["name"] for subject in binding["subjects"]}
    assert makers == {"credit-assets-dagster", "credit-assets-run"}
    tokens = {m["metadata"]["name"] for m in manifests
              if m["kind"] == "ServiceAccount" and m.get("automountServiceAccountToken") is not False}  # fmt: skip
    assert tokens == {"credit-assets-dagster", "credit-assets-run", "credit-assets-kept-settings"}
    assert "automount_service_account_token" in V1PodSpec.attribute_map
    for where, spec in pod_specs(manifests):
        bound = spec.get("serviceAccountName") in tokens
        assert bound or spec.get("automountServiceAccountToken") is False, where


def test_what_a_server_reads_is_named_by_what_it_holds_or_starts_it_anew(own: Path) -> None:
    """A ConfigMap that changes under a fixed name changes nothing in a pod that has read it."""
    found = rendered(own, values("kind", **{**INGRESS, **DOORS}))
    seen = set()
    for manifest in (m for m in found if m["kind"] in ("Deployment", "StatefulSet")):
        template = manifest["spec"]["template"]
        spec = template["spec"]
        names = {one["configMap"]["name"] for one in spec.get("volumes", []) if "configMap" in one}
        for container in spec["containers"]:
            names |= {one["configMapRef"]["name"] for one in container.get("envFrom", []) if "configMapRef" in one}
        checksums = {key for key in template["metadata"].get("annotations", {}) if key.startswith("checksum/")}
        for name in names:
            by_content = re.fullmatch(r"credit-assets-(settings|portfolio).*-[0-9a-f]{10}", name)
            assert by_content or checksums, f"{manifest['metadata']['name']} reads {name}"
            seen.add(name)
    assert {"credit-assets-dagster-instance", "credit-assets-databases"} <= seen


def test_without_a_secret_nobody_asks_for_it(own: Path) -> None:
    """As with workload identity, and where nobody is told."""
    given = values("production", secrets={"objectStore": "", "alerts": "", "assignment": ""})
    manifests = rendered(own, given)
    code = one(manifests, "Deployment", "credit-assets-code")["spec"]["template"]["spec"]
    assert held(code) == {"postgresql", "warehouse", "mlflowLogin"}
    assert held(one(manifests, "Deployment", "credit-assets-mlflow")["spec"]["template"]["spec"]) == {
        "mlflow",
        "mlflowLogin",
    }
    assert "env_secrets" not in yaml.safe_load(variable(manifests, "DAGSTER_CONTAINER_CONTEXT"))["k8s"]
    grants = yaml.safe_load(settings_of(manifests)["CREDIT_STEP_GRANTS"])
    assert grants == {"warehouse": "credit-assets-warehouse", "mlflow": "credit-assets-mlflow-login"}


# Doors


def arguments(manifests: list[dict[str, Any]], proxy: str, name: str) -> list[str]:
    spec = one(manifests, "Deployment", f"credit-assets-proxy-{proxy}")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return [given.split("=", 1)[1] for given in container["args"] if given.startswith(f"--{name}=")]


def test_operators_and_readers_come_in_by_their_own_doors(manifests: list[dict[str, Any]]) -> None:
    doors = {
        "dagster": (["credit-operators"], "http://credit-dagster-webserver:3000"),
        "dagster-read-only": (["credit-operators", "credit-readers"], "http://credit-dagster-webserver-read-only:3000"),
        "mlflow": (["credit-operators", "credit-readers"], "http://credit-assets-mlflow:5000"),
    }
    proxies = {m["metadata"]["name"] for m in manifests
               if m["kind"] == "Deployment" and "proxy" in m["metadata"]["name"]}  # fmt: skip
    assert proxies == {f"credit-assets-proxy-{name}" for name in doors}
    for name, (groups, upstream) in doors.items():
        assert arguments(manifests, name, "allowed-group") == groups
        assert arguments(manifests, name, "upstream") == [upstream]
        assert arguments(manifests, name, "oidc-groups-claim") == ["groups"]
        # A person's own header would be a guess at the pipeline's login.
        assert arguments(manifests, name, "pass-basic-auth") == ["false"]


def test_a_token_opens_the_door_for_triggers_and_no_other(manifests: list[dict[str, Any]]) -> None:
    rules = one(manifests, "Ingress", "credit-assets")["spec"]["rules"]
    routes = {
        (rule["host"], path["path"], path["pathType"]): path["backend"]["service"]["name"]
        for rule in rules
        for path in rule["http"]["paths"]
    }
    beside = {route: service for route, service in routes.items() if "proxy" not in service}
    assert beside == {("dagster.example.org", "/trigger/credit-assets", "Exact"): "credit-assets-trigger"}
    (container,) = one(manifests, "Deployment", "credit-assets-trigger")["spec"]["template"]["spec"]["containers"]
    assert container["args"][:3] == ["python", "-m", "credit_assets.cli.trigger_door"]
    assert {"TRIGGER_TOKENS"} <= {given["name"] for given in container["env"]}


@needs_official
def test_what_is_behind_each_door_is_there(tmp_path: Path) -> None:
    """With the official chart: its webservers, and what its own pods are given."""
    found = rendered(umbrella(tmp_path), values("production", **DOORS))
    services = {m["metadata"]["name"]: m["spec"]["ports"][0]["port"] for m in found if m["kind"] == "Service"}
    for name in ("dagster", "dagster-read-only", "mlflow"):
        (upstream,) = arguments(found, name, "upstream")
        host, _, port = upstream.removeprefix("http://").partition(":")
        assert services[host] == int(port)
    looks = one(found, "Deployment", "credit-dagster-webserver-read-only")["spec"]["template"]["spec"]["containers"][0]
    assert "--read-only" in " ".join(looks["command"])
    specs = {where.split()[1]: spec for where, spec in pod_specs(found)}
    official = {
        "credit-dagster-webserver": {"postgresql", "objectStore"},
        "credit-dagster-webserver-read-only": {"postgresql", "objectStore"},
        "credit-assets-dagster-daemon": {"postgresql"},
    }
    assert {name: held(specs[name]) for name in official} == official
    for name in official:
        assert specs[name]["serviceAccountName"] == "credit-assets-dagster"
        mounted = [one["configMap"]["name"] for one in specs[name]["volumes"] if "configMap" in one]
        assert mounted == ["credit-assets-dagster-instance", "credit-assets-workspace", "credit-assets-ca"]
    launcher = one(found, "ConfigMap", "credit-assets-dagster-instance")["data"]["dagster.yaml"]
    assert not {"env_secrets", "env_config_maps", "job_image"} & set(yaml.safe_load(launcher)["run_launcher"]["config"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ingress": {"authProxy": {"groups": {"operators": []}}}}, "operators"),
        ({"ingress": {"enabled": True, "hosts": {"dagsterReadOnly": "look.example.org"}}}, "enableReadOnly: true"),
        ({"secrets": {"mlflowLogin": ""}}, "mlflowLogin"),
        ({"secrets": {"connections": "x"}}, "connections"),
    ],
)
def test_a_door_without_a_lock_is_not_made(own: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        rendered(own, given)
