"""The Helm chart: renders, passes the API schemas of three Kubernetes versions, and keeps the rules of a cluster."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config
from kubernetes.utils import parse_quantity

import credit_assets
from credit_assets.cluster.op_tags import profiles
from credit_assets.cluster.run_launcher import PatientK8sRunLauncher
from credit_assets.profiles import PROFILES, Profile
from credit_assets.settings import load_settings
from credit_assets_tests.support.chart import (
    CHART,
    DOORS,
    FOREIGN,
    INGRESS,
    SECOND_PORTFOLIO,
    SIZES,
    needs_official,
    one,
    pod_specs,
    rendered,
    values,
)
from credit_assets_tests.support.kubernetes_objects import schema_errors
from e2e.chart import merge, umbrella

pytest_plugins = ["credit_assets_tests.support.chart"]

LOCK = CHART.parent / "requirements.lock"
SECRET_WORDS = ("password", "secret", "token", "key", "_url", "_uri")
SERVERS = ("Deployment", "StatefulSet", "DaemonSet")


def broken_rules(manifests: list[dict[str, Any]]) -> list[str]:
    """What a platform team would send back: each as "where: what"."""
    found = []
    served = {
        f"{m['kind']} {m['metadata']['name']}"
        for m in manifests
        if m["kind"] in SERVERS
        and any(
            s["spec"]["selector"].items() <= m["spec"]["template"]["metadata"]["labels"].items()
            for s in manifests
            if s["kind"] == "Service"
        )
    }
    for where, spec in pod_specs(manifests):
        pod = spec.get("securityContext") or {}
        if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
            found.append(f"{where}: may run as root")
        if (pod.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
            found.append(f"{where}: no seccomp profile")
        if not spec.get("serviceAccountName") and spec.get("automountServiceAccountToken") is not False:
            found.append(f"{where}: carries a token that it does not need")
        found += [f"{where}: {said}" for said in disk_rules(spec)]
        for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
            place = f"{where}, {container['name']}"
            security = container.get("securityContext") or {}
            if security.get("readOnlyRootFilesystem") is not True:
                found.append(f"{place}: writable root file system")
            if security.get("allowPrivilegeEscalation") is not False:
                found.append(f"{place}: may gain privileges")
            if (security.get("capabilities") or {}).get("drop") != ["ALL"]:
                found.append(f"{place}: keeps capabilities")
            image = container["image"]
            if ":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest"):
                found.append(f"{place}: image {image} without a fixed tag")
            for side in ("requests", "limits"):
                missing = {"cpu", "memory", "ephemeral-storage"} - set(
                    (container.get("resources") or {}).get(side) or {}
                )
                if missing:
                    found.append(f"{place}: no {side} of {', '.join(sorted(missing))}")
            for variable in container.get("env", []):
                named = variable["name"].lower()
                if "value" in variable and any(word in named for word in ("password", "secret", "token")):
                    found.append(f"{place}: {variable['name']} in plain text")
            if where.split()[0] in SERVERS and container in spec["containers"]:
                # The daemon has no Service: nobody asks whether it is ready.
                probes = ["livenessProbe", *(["readinessProbe"] if where in served else [])]
                found += [f"{place}: no {probe}" for probe in probes if not container.get(probe)]
    found += [f"Secret {m['metadata']['name']}: in the chart" for m in manifests if m["kind"] == "Secret"]
    return found


def disk_rules(spec: dict[str, Any]) -> list[str]:
    """A volume in a pod's own disk has a size, and all fit what its containers may use: they count against it."""
    folders = {v["name"]: v["emptyDir"] for v in spec.get("volumes", []) if "emptyDir" in v}
    folders = {name: one for name, one in folders.items() if (one or {}).get("medium") != "Memory"}
    unsized = [f"volume {name} without a size" for name, one in folders.items() if not (one or {}).get("sizeLimit")]
    sizes = sum(parse_quantity(one["sizeLimit"]) for one in folders.values() if (one or {}).get("sizeLimit"))
    limits = [(c.get("resources") or {}).get("limits") or {} for c in spec["containers"]]
    allowed = sum(parse_quantity(one.get("ephemeral-storage", "0")) for one in limits)
    return [*unsized, *([f"volumes of {sizes} in {allowed} of disk"] if sizes > allowed else [])]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("more", [{}, INGRESS], ids=["plain", "ingress"])
def test_every_manifest_is_valid_and_keeps_the_rules(own: Path, size: str, more: dict[str, Any]) -> None:
    judge(rendered(own, values(size, **more)))


def test_with_all_that_may_be_switched_on_the_rules_are_kept(own: Path) -> None:
    second = {"name": "give_me_some_credit", "file": SECOND_PORTFOLIO, "quota": {"requests.cpu": "64"}}
    judge(rendered(own, values("production", **{**INGRESS, **DOORS}, portfolios=[{"name": "consumer_loans"}, second])))


def judge(manifests: list[dict[str, Any]]) -> None:
    errors = {f"{m['kind']} {m['metadata']['name']}": schema_errors(m) for m in manifests if m["kind"] not in FOREIGN}
    assert {where: said for where, said in errors.items() if said} == {}
    assert broken_rules(manifests) == []
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(names) == len(set(names))
    assert all(m["metadata"]["labels"]["app.kubernetes.io/part-of"] == "credit-assets" for m in manifests)


def test_the_rules_can_be_broken(own: Path) -> None:
    manifests = rendered(own, values("production"))
    bad = copy.deepcopy(one(manifests, "Deployment", "credit-assets-mlflow"))
    spec = bad["spec"]["template"]["spec"]
    spec["securityContext"] = {}
    (container,) = spec["containers"]
    container["image"] = "registry.example.org/credit-assets:latest"
    container["securityContext"] = {}
    container["resources"] = {"requests": {"cpu": "1"}}
    spec["volumes"].append({"name": "cache", "emptyDir": {}})
    container["env"].append({"name": "DB_PASSWORD", "value": "hunter2"})
    del container["livenessProbe"]
    secret = {"kind": "Secret", "metadata": {"name": "s"}}
    assert [rule.split(": ", 1)[1] for rule in broken_rules([bad, secret])] == [
        "may run as root",
        "no seccomp profile",
        "volume cache without a size",
        "volumes of 2147483648 in 0 of disk",
        "writable root file system",
        "may gain privileges",
        "keeps capabilities",
        "image registry.example.org/credit-assets:latest without a fixed tag",
        "no requests of ephemeral-storage, memory",
        "no limits of cpu, ephemeral-storage, memory",
        "DB_PASSWORD in plain text",
        "no livenessProbe",
        "in the chart",
    ]


def test_lint_finds_nothing(own: Path) -> None:
    for size in SIZES:
        report = helm.lint(str(own), values(size), strict=True)
        assert [m for m in report["messages"] if m["severity"] > 1] == []
        assert report["errors"] == []


@pytest.mark.parametrize("size", SIZES)
def test_the_settings_of_the_chart_load(own: Path, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (data,) = (
        m["data"] for m in rendered(own, values(size)) if m["metadata"]["name"].startswith("credit-assets-settings-")
    )
    for name, value in data.items():
        if name.startswith(("CREDIT_", "MLFLOW_TRACKING")):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.executor == "k8s"
    assert settings.tracking_uri == "http://credit-assets-mlflow:5000"
    found = profiles(settings)
    if size == "kind":
        assert found["train-gpu"].gpu == 0
        assert found["train-gpu"].selector == {}
    if size == "gpu":
        assert found["train-gpu"].on_demand == {"credit-assets/capacity": "on-demand"}
        assert settings.step_profiles == {"catboost_candidate": "train-cpu"}
    made = {m["metadata"]["name"] for m in rendered(own, values(size)) if m["kind"] == "PriorityClass"}
    # Of the whole cluster: a second release in another namespace makes others.
    assert all("lending" in name for name in made)
    assert {profile.priority_class for profile in found.values()} - {None} <= made


def test_the_fields_of_a_profile_are_those_of_the_code() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    listed = schema["properties"]["profiles"]["properties"]
    assert set(listed) == set(PROFILES)
    assert {one["$ref"] for one in listed.values()} == {"#/definitions/profile"}
    assert set(schema["definitions"]["profile"]["properties"]) == set(Profile.model_fields)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mlfow": {"enabled": False}}, "mlfow"),
        ({"profiles": {"train-gpu": {"memroy": "8Gi"}}}, "memroy"),
        ({"image": {"repository": "r", "tag": "latest", "pullPolicy": "Always"}}, "tag"),
        ({"settings": {"CREDIT_WAREHOUSE_URL": "postgresql://u:p@h/db"}}, "CREDIT_WAREHOUSE_URL"),
        ({"settings": {"credit_seed": "1"}}, "credit_seed"),
        ({"pools": {"gpus": 2}}, "gpus"),
        ({"database": {"sslmode": "maybe"}}, "sslmode"),
        ({"ingress": {"authProxy": {"issuerUrl": "http://login"}}}, "issuerUrl"),
    ],
)
def test_a_mistake_in_the_values_is_refused_by_name(own: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=said):
        rendered(own, given)


def test_migrations_come_before_the_upgrade_and_after_their_instance(own: Path) -> None:
    for size, hooks in {"production": "pre-install,pre-upgrade", "kind": "post-install,pre-upgrade"}.items():
        manifests = rendered(own, values(size))
        instance = one(manifests, "ConfigMap", "credit-assets-migrations")["metadata"]["annotations"]
        job = one(manifests, "Job", "credit-assets-migrations")
        annotations = job["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == instance["helm.sh/hook"] == hooks
        assert int(instance["helm.sh/hook-weight"]) < int(annotations["helm.sh/hook-weight"])
        (container,) = job["spec"]["template"]["spec"]["containers"]
        commands = container["args"][0].splitlines()
        assert commands[0] == "dagster instance migrate"
        assert "dagster instance concurrency set gpu" in container["args"][0]
        assert commands[-1] == 'mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"'


def test_services_and_budgets_select_the_pods_that_they_mean(own: Path) -> None:
    manifests = rendered(own, values("kind", **INGRESS))
    pods = {
        m["metadata"]["name"]: m["spec"]["template"]["metadata"]["labels"]
        for m in manifests
        if m["kind"] in ("Deployment", "StatefulSet")
    }
    for manifest in manifests:
        if manifest["kind"] == "Service":
            selector = manifest["spec"]["selector"].items()
            assert [name for name, labels in pods.items() if selector <= labels.items()] == [
                manifest["metadata"]["name"]
            ]
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            selector = manifest["spec"]["selector"]["matchLabels"].items()
            assert selector <= manifest["spec"]["template"]["metadata"]["labels"].items()


def test_runs_have_the_rights_that_the_launcher_needs_and_no_more(own: Path) -> None:
    manifests = rendered(own, values("production"))
    rules = one(manifests, "Role", "credit-assets-dagster")["rules"]
    assert [subject["name"] for subject in one(manifests, "RoleBinding", "credit-assets-dagster")["subjects"]] == [
        "credit-assets-dagster",
        "credit-assets-run",
    ]
    granted = {(r, verb) for rule in rules for r in rule["resources"] for verb in rule["verbs"]}
    # What dagster-k8s's client and credit_assets.cluster.step_jobs call.
    needed = {
        ("jobs", "create"), ("jobs", "get"), ("jobs", "list"), ("jobs", "delete"), ("jobs/status", "get"),
        ("pods", "get"), ("pods", "list"), ("pods", "delete"), ("pods/log", "get"), ("events", "list"),
    }  # fmt: skip
    assert needed <= granted
    assert {resource for resource, _ in granted} == {"jobs", "jobs/status", "pods", "pods/log", "pods/status", "events"}
    (cluster,) = [m for m in manifests if m["kind"] == "ClusterRole"]
    assert {(r, verb) for rule in cluster["rules"] for r in rule["resources"] for verb in rule["verbs"]} == {
        ("nodes", "list"),
        ("priorityclasses", "list"),
    }
    (binding,) = [m for m in manifests if m["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == cluster["metadata"]["name"] == "credit-assets-lending"
    without = rendered(own, values("production", serviceAccounts={"dagster": {"seesNodes": False}}))
    assert not [m for m in without if m["kind"].startswith("Cluster")]


PLACED: dict[str, Any] = {
    **INGRESS,
    "image": {"repository": "registry.example.org/credit-assets@sha256", "tag": "0123456789abcdef" * 4},
    "imagePullSecrets": [{"name": "registry"}],
    "scheduling": {"nodeSelector": {"pool": "servers"}, "tolerations": [{"key": "servers", "operator": "Exists"}]},
    "ca": {"enabled": True},
    **{part: {"enabled": True} for part in ("dask", "trigger")},
    "backup": {"enabled": True, "destination": "s3://elsewhere/backups"},
}
BUNDLE = {"name": "ca", "mountPath": "/etc/credit-assets/ca", "readOnly": True}


def test_every_pod_stands_where_it_may_and_trusts_whom_it_should(own: Path) -> None:
    """Hooks and tests as well; what a lender says once holds for all of them."""
    manifests = rendered(own, merge(values("kind"), PLACED))
    settings = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    assert broken_rules(manifests) == []
    assert {said for m in manifests if m["kind"] not in FOREIGN for said in schema_errors(m)} == set()
    places = dict(pod_specs(manifests))
    assert {where.split()[0] for where in places} == {"Deployment", "StatefulSet", "Job", "CronJob"}
    assert len(places) >= 13
    for where, spec in places.items():
        assert spec["imagePullSecrets"] == [{"name": "registry"}], where
        assert spec["nodeSelector"] == {"pool": "servers"}, where
        assert spec["tolerations"] == [{"key": "servers", "operator": "Exists"}], where
        # PostgreSQL and the object store of the trial, and what dumps a database, ask nobody by TLS of these.
        asking = [c for c in spec["containers"] if "credit-assets" in c["image"] or "oauth2" in c["image"]]
        for container in asking:
            image, own_image = container["image"], f"registry.example.org/credit-assets@sha256:{PLACED['image']['tag']}"
            assert "credit-assets" not in image or image == own_image
            variables = {one["name"]: one.get("value") for one in container.get("env", [])}
            for source in container.get("envFrom", []):
                variables.update(settings.get(source.get("configMapRef", {}).get("name"), {}))
            assert variables["SSL_CERT_FILE"] == variables["REQUESTS_CA_BUNDLE"] == "/etc/credit-assets/ca/ca.crt", (
                where
            )
            assert BUNDLE in container["volumeMounts"], where
            assert {"name": "ca", "configMap": {"name": "credit-assets-ca"}} in spec["volumes"], where
    code = places["Deployment credit-assets-code"]["containers"][0]
    context = json.loads(next(v["value"] for v in code["env"] if v["name"] == "DAGSTER_CONTAINER_CONTEXT"))
    assert context["k8s"]["image_pull_secrets"] == [{"name": "registry"}]
    # Steps and the pods of runs have their settings and, by the launcher, its volume.
    (run,) = [data for name, data in settings.items() if "CREDIT_EXECUTOR" in data]
    assert run["AWS_CA_BUNDLE"] == "/etc/credit-assets/ca/ca.crt"
    launcher = yaml.safe_load((CHART / "values.yaml").read_text())["dagster"]["runLauncher"]["config"][
        "customRunLauncher"
    ]["config"]
    assert BUNDLE in launcher["volume_mounts"]
    assert {"name": "ca", "configMap": {"name": "credit-assets-ca", "optional": True}} in launcher["volumes"]
    with pytest.raises(helm.HelmValuesError, match="tag"):
        rendered(own, {"image": {"repository": "registry.example.org/credit-assets@sha256", "tag": "0.1.0"}})


def test_replicas_are_apart_and_none_that_is_broken_holds_up_a_drain(own: Path) -> None:
    manifests = rendered(own, values("production", **INGRESS))
    several = {m["metadata"]["name"]: m["spec"] for m in manifests if (m.get("spec") or {}).get("replicas", 1) > 1}
    served = {f"credit-assets-{name}" for name in ("mlflow", "proxy-dagster", "proxy-mlflow")}
    assert set(several) == {*served, "credit-assets-dask-worker"}
    for spec in several.values():
        spread = spec["template"]["spec"]["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert all(one["whenUnsatisfiable"] == "ScheduleAnyway" for one in spread)
        assert all(one["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"] for one in spread)
    budgets = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "PodDisruptionBudget"}
    # A training that loses a worker of Dask begins again, as it would by a loss of its own pod.
    assert set(budgets) == {*served, "credit-assets-webserver"}
    for name in served:
        assert budgets[name]["selector"]["matchLabels"] == several[name]["selector"]["matchLabels"]
    # Only where the API server knows it: an older one refuses the budget.
    for version, policy in {"": "AlwaysAllow", "v1.27.3-gke.100": "AlwaysAllow", "1.26.9": None}.items():
        made = rendered(own, values("production", kubeVersion=version))
        policies = {m["spec"].get("unhealthyPodEvictionPolicy") for m in made if m["kind"] == "PodDisruptionBudget"}
        assert policies == {policy}
    assert not [m for m in rendered(own, values("kind")) if m["kind"] == "PodDisruptionBudget"]


def test_no_step_evicts_a_server_or_the_pod_of_its_own_run(own: Path) -> None:
    """Those have no class, since the official chart gives them none, and so priority 0."""
    classes = [m for m in rendered(own, values("production")) if m["kind"] == "PriorityClass"]
    assert {m["metadata"]["name"]: m["preemptionPolicy"] for m in classes} == {
        "credit-assets-lending-training": "Never",
        "credit-assets-lending-serving": "Never",
    }


def test_nothing_is_reached_from_outside_but_the_proxy(own: Path) -> None:
    manifests = rendered(own, values("production", **INGRESS))
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
    assert policies["credit-assets-default-deny"]["podSelector"] == {}
    assert set(policies["credit-assets-default-deny"]["policyTypes"]) == {"Ingress", "Egress"}
    outside = [name for name, spec in policies.items() if "namespaceSelector" in json.dumps(spec)]
    # Prometheus reaches the figures, and nothing else of them (test_observability.py).
    assert outside == ["credit-assets-exporter", "credit-assets-ingress"]
    backends = {
        path["backend"]["service"]["name"]
        for rule in one(manifests, "Ingress", "credit-assets")["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    assert backends == {"credit-assets-proxy-dagster", "credit-assets-proxy-mlflow"}


def test_the_dagster_chart_is_of_the_dagster_that_is_locked() -> None:
    (dependency,) = yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"]
    assert f"dagster=={dependency['version']} " in LOCK.read_text()


def test_image_and_database_stand_alike_in_both_places() -> None:
    """A chart cannot hand its values on to one it depends on, so they stand twice."""
    for size in ("production", "kind"):
        file = SIZES[size]
        merged = yaml.safe_load((CHART / "values.yaml").read_text())
        if file:
            merged = merge(merged, yaml.safe_load((CHART / file).read_text()))
        dagster = merged["dagster"]
        for image in (dagster["dagsterWebserver"]["image"], dagster["dagsterDaemon"]["image"]):
            assert image == merged["image"]
        database, theirs = merged["database"], dagster["postgresql"]
        assert (database["host"], database["name"], database["user"], database["port"]) == (
            theirs["postgresqlHost"],
            theirs["postgresqlDatabase"],
            theirs["postgresqlUsername"],
            theirs["service"]["port"],
        )
        assert theirs["postgresqlParams"]["sslmode"] == database["sslmode"]
        assert dagster["global"]["postgresqlSecretName"] == merged["secrets"]["postgresql"]
        assert dagster["dagsterWebserver"]["envSecrets"] == [{"name": merged["secrets"]["objectStore"]}]
        assert dagster["imagePullSecrets"] == merged["imagePullSecrets"]
        for server in (dagster["dagsterWebserver"], dagster["dagsterDaemon"]):
            assert {key: server[key] for key in ("nodeSelector", "tolerations")} == merged["scheduling"]
            assert server["envConfigMaps"] == [{"name": "credit-assets-ca-env"}]
            assert BUNDLE in server["volumeMounts"]


@needs_official
@pytest.mark.parametrize("size", SIZES)
def test_the_whole_umbrella_renders_and_keeps_the_rules(tmp_path: Path, size: str) -> None:
    manifests = rendered(umbrella(tmp_path), values(size, **INGRESS))
    errors = {f"{m['kind']} {m['metadata']['name']}": schema_errors(m) for m in manifests if m["kind"] not in FOREIGN}
    assert {where: said for where, said in errors.items() if said} == {}
    assert broken_rules(manifests) == []
    assert {m["metadata"]["name"] for m in manifests if m["kind"] == "Deployment"} == {
        "credit-assets-mlflow",
        "credit-assets-proxy-dagster",
        "credit-assets-proxy-mlflow",
        "credit-assets-code",
        "credit-assets-exporter",
        "credit-assets-dagster-daemon",
        "credit-assets-dask",
        "credit-assets-dask-worker",
        "credit-dagster-webserver",
    }
    # Rights of this chart alone, and no secret that it makes up.
    assert {m["metadata"]["name"] for m in manifests if m["kind"] == "Role"} == {
        "credit-assets-dagster",
        "credit-assets-kept-settings",
    }
    assert not [m for m in manifests if m["kind"] == "Secret"]
    services = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Service"}
    proxy = one(manifests, "Deployment", "credit-assets-proxy-dagster")["spec"]["template"]["spec"]["containers"][0]
    (port,) = services["credit-dagster-webserver"]["spec"]["ports"]
    assert f"--upstream=http://credit-dagster-webserver:{port['port']}" in proxy["args"]
    volumes = [v for _, spec in pod_specs(manifests) for v in spec.get("volumes", [])]
    mounted = {v["configMap"]["name"] for v in volumes if "configMap" in v and not v["configMap"].get("optional")}
    assert mounted <= {m["metadata"]["name"] for m in manifests if m["kind"] == "ConfigMap"}


@needs_official
def test_the_instance_of_the_umbrella_is_the_one_of_the_package(tmp_path: Path) -> None:
    """What the Dagster chart makes of the values is what cluster.dagster.yaml says, and Dagster takes it."""
    place = umbrella(tmp_path)
    (text,) = one(rendered(place, values("production")), "ConfigMap", "credit-assets-dagster-instance")["data"].values()
    (tmp_path / "dagster.yaml").write_text(text)
    theirs, _ = dagster_instance_config(str(tmp_path))
    ours = yaml.safe_load((Path(credit_assets.__file__).parent / "cluster.dagster.yaml").read_text())
    for part in ("concurrency", "run_monitoring", "sensors", "schedules"):
        assert ours[part].items() <= theirs[part].items(), part
    assert theirs["retention"]["sensor"] == ours["retention"]["sensor"]
    assert theirs["retention"]["schedule"] == ours["retention"]["schedule"]
    assert theirs["run_retries"]["max_retries"] == ours["run_retries"]["max_retries"]
    assert (
        theirs["compute_logs"]["config"].items()
        >= {key: value for key, value in ours["compute_logs"]["config"].items() if key != "bucket"}.items()
    )
    launcher, written = theirs["run_launcher"]["config"], ours["run_launcher"]["config"]
    same = ("dagster_home", "resources", "security_context", "volumes", "volume_mounts")
    assert {key: launcher[key] for key in same} == {key: written[key] for key in same}
    assert launcher["service_account_name"] == "credit-assets-dagster"
    assert {name: theirs["run_launcher"][name] for name in ("module", "class")} == {
        name: ours["run_launcher"][name] for name in ("module", "class")
    }
    assert {name: theirs["run_coordinator"][name] for name in ("module", "class")} == ours["run_coordinator"]
    taken = process_config(resolve_to_config_type(PatientK8sRunLauncher.config_type()), launcher)
    assert taken.success, taken.errors
    assert launcher["instance_config_map"] == "credit-assets-dagster-instance"
