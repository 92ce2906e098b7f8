"""What doctor says on a cluster, asked over HTTPS of an endpoint that allows, denies, or is not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from credit_assets.cli.doctor import diagnose, within
from credit_assets.cluster import health
from credit_assets.cluster.health import RIGHTS, checks, misfit
from credit_assets.health import Check, Health
from credit_assets.profiles import PROFILES, Profile, Toleration
from credit_assets.settings import Settings, load_settings
from credit_assets_tests.support.kube_api import Cluster
from credit_assets_tests.support.kubernetes_objects import objects

GPU_NODE = {
    "metadata": {"name": "gpu-0", "labels": {"gpu-type": "a100"}},
    "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
    "status": {"allocatable": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}},
}
CPU_NODE = {
    "metadata": {"name": "cpu-0", "labels": {}},
    "spec": {},
    "status": {"allocatable": {"cpu": "7900m", "memory": "33000000Ki", "ephemeral-storage": "96636764160"}},
}
REVIEWS = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
NODES = "GET /api/v1/nodes"
CLASSES = "GET /apis/scheduling.k8s.io/v1/priorityclasses"


@dataclass
class Place:
    cluster: Cluster
    settings: Settings
    asked: list[tuple[str, str]] = field(default_factory=list)

    def deny(self, *resources: str) -> None:
        def review(body: dict[str, Any]) -> dict[str, Any]:
            wants = body["spec"]["resourceAttributes"]
            self.asked.append((wants["verb"], wants["resource"]))
            assert wants["namespace"] == "credit"
            return {**body, "status": {"allowed": wants["resource"] not in resources}}

        self.cluster.answers[REVIEWS] = review

    def offer(self, *nodes: dict[str, Any]) -> None:
        self.cluster.answers[NODES] = {"apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": list(nodes)}

    def classes(self, *names: str) -> None:
        items = [{"metadata": {"name": name}, "value": 1} for name in names]
        self.cluster.answers[CLASSES] = {"kind": "PriorityClassList", "metadata": {}, "items": items}

    def found(self, **values: Any) -> dict[str, Health]:
        """What doctor sees of the cluster, without what it asks of the rest of the house."""
        return {check.name: within(600, check.look) for check in self._checks(values)}

    def look(self, name: str, **values: Any) -> Health:
        """One of what `found` sees."""
        return next(within(600, check.look) for check in self._checks(values) if check.name == name)

    def _checks(self, values: dict[str, Any]) -> list[Check]:
        return checks(load_settings(home=self.settings.home, dagster_home=self.settings.dagster_home, **values))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    home = tmp_path / "dagster"
    home.mkdir()
    monkeypatch.setenv("CREDIT_EXECUTOR", "k8s")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with Cluster(tmp_path) as cluster:
        config = {"run_launcher": cluster.instance_config(home), "telemetry": {"enabled": False}}
        (home / "dagster.yaml").write_text(yaml.safe_dump(config))
        found = Place(cluster, load_settings(home=tmp_path / "home", dagster_home=home))
        found.deny()
        found.offer(GPU_NODE, CPU_NODE)
        found.classes()
        yield found


def test_what_is_right_and_what_is_local(place: Place) -> None:
    found = {one.name: one for one in diagnose(place.settings) if one.kind == "check"}
    assert found["cluster rights"].status == "ok"
    assert found["cluster rights"].value == f"all {len(RIGHTS)} in namespace credit"
    assert place.asked == [(verb, resource) for verb, _, resource, _ in RIGHTS]
    assert found["nodes"].value == "small, data, train-cpu, train-gpu each fit one of 2"
    assert found["priority classes"].value == "none are named"
    # The instance of this test is in files, which pods would not share.
    assert found["cluster instance"].status == "fail"
    assert "which pods do not share" in found["cluster instance"].value
    assert found["executor"].status == "fail"


@pytest.mark.parametrize(
    ("part", "theirs", "found"),
    [
        ("", {}, "runs by PatientK8sRunLauncher, storage PostgresEventLogStorage, output by NoOpComputeLogManager"),
        (
            "run_launcher",
            {"module": "dagster_k8s", "class": "K8sRunLauncher"},
            "runs by K8sRunLauncher: an API server that is away for a minute ends them",
        ),
        (
            "run_coordinator",
            {"module": "dagster", "class": "QueuedRunCoordinator"},
            "runs in QueuedRunCoordinator: one whose Job a quota refuses for a moment fails",
        ),
    ],
)
def test_an_instance_that_lets_runs_fail_for_want_of_a_moment_is_named(
    place: Place, part: str, theirs: dict[str, str], found: str
) -> None:
    home = place.settings.dagster_dir
    database = {"hostname": "db.example.org", "db_name": "dagster", "username": "dagster", "password": "of-the-test"}
    written = place.cluster.instance_overrides(home) | {
        "storage": {"postgres": {"postgres_db": database}},
        "compute_logs": {"module": "dagster", "class": "NoOpComputeLogManager"},
    }
    if part:
        written[part] |= theirs
    (home / "dagster.yaml").write_text(yaml.safe_dump(written))
    look = place.look("cluster instance")
    assert (look.value, look.status) == (found, "warn" if part else "ok")
    assert "credit_assets/cluster.dagster.yaml" in look.advice or not part


def test_what_may_not_be_done_is_named_with_what_mends_it(place: Place) -> None:
    place.deny("jobs", "events")
    rights = place.look("cluster rights")
    assert rights.status == "fail"
    assert (
        "may not create jobs, get jobs, get jobs/status, list jobs, patch jobs, delete jobs, list events"
        in rights.value
    )
    assert "helm/templates/serviceaccounts.yaml" in rights.advice


def test_a_cluster_without_gpus_says_which_setting_makes_it_fit(place: Place) -> None:
    place.offer(CPU_NODE)
    nodes = place.look("nodes")
    assert nodes.status == "warn"
    assert "train-gpu fits no node (no label gpu-type=a100)" in nodes.value
    assert '{"train-gpu": {"gpu": 0}}' in nodes.advice
    assert place.look("nodes", profiles={"train-gpu": {"gpu": 0}}).status == "ok"


def test_nodes_that_may_not_be_listed_are_no_failure(place: Place) -> None:
    denied = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}
    place.cluster.denied = {NODES: denied, CLASSES: denied}
    found = place.found(profiles={"small": {"priority_class": "credit-assets-serving"}})
    assert (found["nodes"].status, found["priority classes"].status) == ("warn", "warn")
    assert found["nodes"].value == "this service account may not list nodes"


def test_a_priority_class_that_is_not_there_fails(place: Place) -> None:
    place.classes("other")
    values = {"profiles": {"small": {"priority_class": "credit-assets-serving"}}}
    found = place.look("priority classes", **values)
    assert (found.status, found.value) == ("fail", "not there: credit-assets-serving")
    place.classes("credit-assets-serving")
    assert place.look("priority classes", **values).status == "ok"


def test_pools_without_a_limit_are_told_how_to_get_one(place: Place) -> None:
    pools = place.look("pools")
    assert (pools.status, pools.value) == ("warn", "gpu default, warehouse default")
    assert "dagster instance concurrency set gpu N" in pools.advice
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 2)
        instance.event_log_storage.set_concurrency_slots("warehouse", 4)
    assert place.look("pools").value == "gpu 2, warehouse 4"


def test_a_cluster_that_does_not_answer_fails_in_a_line(place: Place) -> None:
    place.cluster.server.shutdown()
    place.cluster.server.server_close()
    found = place.found()
    for name in ("cluster rights", "nodes"):
        assert found[name].status == "fail"
        assert "\n" not in found[name].value + found[name].advice


def test_an_instance_without_the_launcher_fails(place: Place) -> None:
    (Path(str(place.settings.dagster_dir)) / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    found = place.look("cluster instance")
    assert found.status == "fail"
    assert "DefaultRunLauncher" in found.value
    assert "K8sRunLauncher" in found.advice


@pytest.mark.parametrize(
    ("profile", "node", "why"),
    [
        (PROFILES["train-gpu"], GPU_NODE, ""),
        (PROFILES["small"], GPU_NODE, "taint nvidia.com/gpu is not tolerated"),
        (PROFILES["train-gpu"], CPU_NODE, "no label gpu-type=a100"),
        (Profile(cpu="16", memory="64Gi"), CPU_NODE, "too little cpu, memory"),
        (PROFILES["small"], {**CPU_NODE, "spec": {"unschedulable": True}}, "cordoned"),
        (
            Profile(cpu="1", memory="1Gi", tolerations=(Toleration(key="nvidia.com/gpu", effect="NoExecute"),)),
            GPU_NODE,
            "taint nvidia.com/gpu is not tolerated",
        ),
    ],
)
def test_why_a_profile_does_not_fit_a_node(profile: Profile, node: dict[str, Any], why: str) -> None:
    assert misfit(profile, objects("V1Node", node)) == why


def test_a_pod_without_a_token_asks_nothing_and_fails_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the code server, in which people run `credit-assets doctor`."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(health, "TOKEN", tmp_path / "token")
    looks = {check.name: check.look for check in checks(load_settings(executor="k8s"))}
    for name in ("cluster rights", "nodes", "priority classes"):
        found = looks[name]()
        assert (found.status, "no token" in found.value) == ("ok", True)
