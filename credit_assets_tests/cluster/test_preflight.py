"""What a cluster would refuse is said before the install, by an endpoint that allows, refuses, or is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from credit_assets.cli.cluster_doctor import examine, target_of
from credit_assets.cli.doctor import within
from credit_assets.cluster.bounds import applies, needs_of
from credit_assets.cluster.preflight import (
    CONTAINER_SECURITY,
    KINDS,
    OF_THE_CLUSTER,
    POD_SECURITY,
    SECRET_NAMES,
    SECRETS,
    Target,
    checks,
    step_jobs,
)
from credit_assets.failures import PermanentError
from credit_assets.health import Health
from credit_assets.profiles import PROFILES
from credit_assets.settings import load_settings
from credit_assets_tests.support.chart import INGRESS, rendered, values
from credit_assets_tests.support.kube_api import Cluster
from credit_assets_tests.support.kubernetes_objects import objects, schema_errors
from e2e.chart import CHART

pytest_plugins = ("credit_assets_tests.support.chart",)

NS = "/api/v1/namespaces/lending"
JOBS = "POST /apis/batch/v1/namespaces/lending/jobs"
PODS = f"POST {NS}/pods"
NODES = [
    {
        "metadata": {"name": "gpu-0", "labels": {"gpu-type": "a100"}},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}},
    },
    {"metadata": {"name": "cpu-0"}, "spec": {}, "status": {"allocatable": {"cpu": "8", "memory": "33Gi"}}},
]


def listed(kind: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": f"{kind}List", "metadata": {}, "items": list(items)}


def denial(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": message, "code": code}


@dataclass
class Place:
    """A cluster on which all is well; a test makes something of it otherwise."""

    cluster: Cluster
    target: Target

    def well(self) -> None:
        self.may()
        secrets = {SECRET_NAMES[need]: dict.fromkeys(keys, "eA==") for need, keys in SECRETS.items()}
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.cluster.answers |= {
            "GET /version/": {
                **dict.fromkeys(
                    ("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform"), "x"
                ),
                "major": "1", "minor": "31+", "gitVersion": "v1.31.2",
            },
            f"GET {NS}": {"metadata": {"name": "lending", "labels": enforced}},
            f"GET {NS}/resourcequotas": listed("ResourceQuota"),
            f"GET {NS}/limitranges": listed("LimitRange"),
            "GET /api/v1/nodes": listed("Node", *NODES),
            "GET /apis/networking.k8s.io/v1/namespaces/lending/networkpolicies": listed("NetworkPolicy"),
            JOBS: lambda body: body,
            PODS: lambda body: body,
            **{f"GET {NS}/secrets/{name}": {"metadata": {"name": name}, "data": has} for name, has in secrets.items()},
        }  # fmt: skip

    def may(self, *not_these: str) -> None:
        def review(body: dict[str, Any]) -> dict[str, Any]:
            wants = body["spec"]["resourceAttributes"]
            assert wants["verb"] == "create"
            return {**body, "status": {"allowed": wants["resource"] not in not_these}}

        self.cluster.answers["POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"] = review

    def look(self, name: str, **given: Any) -> Health:
        found = {check.name: check.look for check in checks(load_settings(**given), self.target)}
        return within(600, found[name])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with Cluster(tmp_path) as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        found = Place(cluster, Target("lending"))
        found.well()
        yield found


def test_a_cluster_on_which_all_is_well_and_on_which_nothing_is_left(place: Place) -> None:
    out = StringIO()
    assert examine(load_settings(), place.target, Console(file=out, width=200), json=True) == 0, out.getvalue()
    found = {one["name"]: one for one in json.loads(out.getvalue())["findings"]}
    assert {one["status"] for one in found.values()} == {"ok"}
    assert "each fit one of 2" in found["nodes"]["value"]
    created = [asked for asked in place.cluster.requests if asked.startswith("POST") and "accessreview" not in asked]
    assert sorted(set(created)) == sorted((JOBS, PODS))
    # Each of them as a dry run, and nothing was deleted or changed.
    assert all(query == "dryRun=All" for asked, query in place.cluster.queries if asked in (JOBS, PODS))
    assert not [asked for asked in place.cluster.requests if asked.split()[0] not in ("GET", "POST")]
    assert place.cluster.jobs == []


def test_what_a_cluster_refuses_is_said_in_its_own_words(place: Place) -> None:
    place.cluster.denied[PODS] = denial(
        403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    )
    refused = place.look("dry run")
    assert refused.status == "fail"
    assert 'violates PodSecurity "restricted:latest"' in refused.value
    # Who may not create pods oneself has learnt nothing of the pods.
    place.cluster.denied[PODS] = denial(
        403, 'pods is forbidden: User "me" cannot create resource "pods" in API group ""'
    )
    place.cluster.denied[JOBS] = denial(403, 'jobs is forbidden: User "me" cannot create resource "jobs"')
    assert place.look("dry run").status == "warn"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (429, "too many requests"),
        (500, 'Internal error occurred: failed calling webhook "kyverno": context deadline exceeded'),
        (503, "apiserver is shutting down"),
    ],
)
def test_what_is_not_answered_for_now_is_no_refusal(place: Place, code: int, words: str) -> None:
    place.cluster.denied[PODS] = denial(code, words)
    look = place.look("dry run")
    assert (look.status, look.value.startswith("not tried: pod of"), words in look.value) == ("warn", True, True)
    assert "ask again" in look.advice


@pytest.mark.parametrize(
    ("hard", "used", "status", "said"),
    [
        ({"requests.memory": "8Gi"}, {}, "fail", "train-cpu asks for 16Gi requests.memory, q allows 8Gi"),
        ({"limits.cpu": "40"}, {"limits.cpu": "38"}, "warn", "train-cpu asks for 4 limits.cpu, q has 38 of 40 taken"),
        ({"requests.nvidia.com/gpu": "0"}, {}, "fail", "train-gpu asks for 1 requests.nvidia.com/gpu, q allows 0"),
        ({"count/jobs.batch": "500", "requests.memory": "256Gi"}, {}, "ok", "one step of each profile fits q"),
        ({"services": "1"}, {"services": "1"}, "ok", "one step of each profile fits q"),
    ],
)
def test_a_quota_that_a_step_does_not_fit_is_named(
    place: Place, hard: dict[str, str], used: dict[str, str], status: str, said: str
) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}
    place.cluster.answers[f"GET {NS}/resourcequotas"] = listed("ResourceQuota", quota)
    found = place.look("quota")
    assert found.status == status
    assert said in found.value


@pytest.mark.parametrize(
    ("operator", "listed_", "named", "counts"),
    [
        ("In", ["training"], "training", True),
        ("In", ["training"], None, False),
        ("NotIn", ["training"], "serving", True),
        ("Exists", [], None, False),
        ("DoesNotExist", [], None, True),
    ],
)
def test_a_quota_of_priority_classes_counts_those_alone(
    operator: str, listed_: list[str], named: str | None, counts: bool
) -> None:
    scope = {"scopeName": "PriorityClass", "operator": operator, "values": listed_}
    quota = objects("V1ResourceQuota", {"spec": {"scopeSelector": {"matchExpressions": [scope]}}})
    assert applies(quota, PROFILES["small"].model_copy(update={"priority_class": named})) is counts


def test_a_limit_range_that_a_step_is_outside_of_is_named(place: Place) -> None:
    limits = [{"type": "Container", "max": {"memory": "8Gi"}, "min": {"cpu": "1"}}, {"type": "PersistentVolumeClaim"}]
    ranged = {"metadata": {"name": "l"}, "spec": {"limits": limits}}
    place.cluster.answers[f"GET {NS}/limitranges"] = listed("LimitRange", ranged)
    found = place.look("limit ranges")
    assert found.status == "fail"
    assert "train-cpu asks for 16Gi memory, l allows at most 8Gi" in found.value
    assert "small asks for 500m cpu, l wants at least 1" in found.value


def test_secrets_that_are_not_there_and_keys_that_they_lack_are_named(place: Place) -> None:
    del place.cluster.answers[f"GET {NS}/secrets/credit-assets-warehouse"]
    place.cluster.answers[f"GET {NS}/secrets/credit-assets-mlflow-login"]["data"] = {"MLFLOW_TRACKING_USERNAME": "eA=="}
    found = place.look("secrets")
    assert found.status == "fail"
    assert "credit-assets-warehouse (CREDIT_WAREHOUSE_URL)" in found.value
    assert "MLFLOW_TRACKING_PASSWORD in credit-assets-mlflow-login" in found.value
    assert "eA==" not in found.value
    place.target = target_of("lending", "", ["warehouse=", "mlflowLogin=credit-assets-mlflow"])
    assert "CREDIT_WAREHOUSE_URL" not in place.look("secrets").value
    with pytest.raises(PermanentError, match="one of warehouse, objectStore"):
        target_of("", "", ["warehous=x"])


def test_rights_that_an_install_needs_are_asked_for_and_what_does_without(place: Place) -> None:
    place.may("priorityclasses")
    found = place.look("permissions")
    assert (found.status, found.advice) == (
        "warn", "without priorityclasses: priorityClasses.create=false, and have them made",
    )  # fmt: skip
    place.may("deployments", "clusterroles")
    found = place.look("permissions")
    assert found.status == "fail"
    assert "you may not create deployments" in found.value


def test_a_namespace_that_is_not_there_and_a_version_that_is_too_old(place: Place) -> None:
    del place.cluster.answers[f"GET {NS}"]
    assert place.look("namespace").advice == "kubectl create namespace lending"
    for minor, status in (("24", "fail"), ("27", "warn"), ("29", "ok")):
        place.cluster.answers["GET /version/"]["minor"] = minor
        assert place.look("cluster").status == status


def test_classes_and_policies(place: Place) -> None:
    runtimes = "GET /apis/node.k8s.io/v1/runtimeclasses"
    place.cluster.answers[runtimes] = listed("RuntimeClass")
    given = {"profiles": {"train-gpu": {"runtime_class": "nvidia"}}}
    assert place.look("runtime classes", **given).value == "not there: nvidia"
    place.cluster.answers[runtimes] = listed("RuntimeClass", {"metadata": {"name": "nvidia"}, "handler": "nvidia"})
    assert place.look("runtime classes", **given).status == "ok"
    closed: dict[str, Any] = {"metadata": {"name": "closed"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
    path = "GET /apis/networking.k8s.io/v1/namespaces/lending/networkpolicies"
    place.cluster.answers[path] = listed("NetworkPolicy", closed)
    assert "closed let nothing out" in place.look("network policies").value
    closed["metadata"]["labels"] = {"app.kubernetes.io/part-of": "credit-assets"}
    assert place.look("network policies").status == "ok"


def test_a_cluster_that_is_not_there_is_a_line_for_each_question(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.cluster.server.shutdown()
    place.cluster.server.server_close()
    assert place.look("cluster").status == "fail"
    monkeypatch.setenv("KUBECONFIG", "/no/such/file")
    found = place.look("nodes")
    assert (found.status, found.value) == ("fail", "no cluster is named")


def test_each_job_that_is_asked_for_is_one_that_the_api_knows() -> None:
    from kubernetes.client import ApiClient

    jobs = step_jobs(load_settings(), Target("lending"))
    assert set(jobs) == {"small", "data", "train-cpu", "train-gpu"}
    for name, job in jobs.items():
        manifest = ApiClient().sanitize_for_serialization(job)
        assert schema_errors(manifest) == []
        asked = manifest["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
        assert {key: needs_of(PROFILES[name])[f"requests.{key}"] for key in asked} == asked


def test_what_is_asked_is_what_the_chart_has(own: Path) -> None:
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    assert given["secrets"] == dict(SECRET_NAMES)
    launcher = given["dagster"]["runLauncher"]["config"]["customRunLauncher"]["config"]
    for kind, given, ours in (
        ("V1SecurityContext", launcher["security_context"], CONTAINER_SECURITY),
        ("V1PodSecurityContext", launcher["run_k8s_config"]["pod_spec_config"]["securityContext"], POD_SECURITY),
    ):
        theirs = {key: value for key, value in objects(kind, given).to_dict().items() if value is not None}
        for nested in theirs.values():
            if isinstance(nested, dict):
                [nested.pop(key) for key in [key for key, value in nested.items() if value is None]]
        assert theirs == dict(ours)
    kinds = {
        m["kind"].lower() for size in ("production", "kind") for m in rendered(own, values(size, **INGRESS))
    } - {"servicemonitor", "prometheusrule"}  # fmt: skip
    asked = {one for some in KINDS.values() for one in some} | {resource for _, resource in OF_THE_CLUSTER}
    plural = {one[:-1] + "ies" if one.endswith("y") else one + ("es" if one.endswith("ss") else "s") for one in kinds}
    assert plural <= asked
