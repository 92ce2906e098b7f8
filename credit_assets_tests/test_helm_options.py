"""What the chart makes when it is asked for: a Dask cluster, and backups. That they are valid is in `test_helm`."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import helm_python as helm
import pytest
from dask.distributed.cli import dask_scheduler, dask_worker

from credit_assets.settings import load_settings
from credit_assets_tests.support.chart import BACKUP, INGRESS, one, rendered, values

pytest_plugins = ["credit_assets_tests.support.chart"]


def test_training_goes_to_a_dask_cluster_of_the_steps_image(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = rendered(own, values("production", **INGRESS))
    (settings,) = [m for m in manifests if m["kind"] == "ConfigMap" and "CREDIT_DASK_SCHEDULER" in m.get("data", {})]
    monkeypatch.setenv("CREDIT_DASK_SCHEDULER", settings["data"]["CREDIT_DASK_SCHEDULER"])
    address = load_settings(executor="in_process").dask_scheduler
    service = one(manifests, "Service", "credit-assets-dask")
    (port,) = service["spec"]["ports"]
    assert address == f"tcp://credit-assets-dask:{port['port']}"
    # XGBoost's workers find each other at the host of this name: the pod, and no address in front of it.
    assert service["spec"]["clusterIP"] == "None"
    scheduler = one(manifests, "Deployment", "credit-assets-dask")["spec"]["template"]
    assert service["spec"]["selector"].items() <= scheduler["metadata"]["labels"].items()
    worker = one(manifests, "Deployment", "credit-assets-dask-worker")["spec"]["template"]
    for template, command in ((scheduler, dask_scheduler), (worker, dask_worker)):
        (container,) = template["spec"]["containers"]
        assert container["image"] == "registry.example.org/credit-assets:0.1.0"
        # Dask's own parser takes the arguments; it would refuse one that it does not know.
        command.main.make_context("dask", list(container["args"][2:]))
        assert template["spec"]["automountServiceAccountToken"] is False
    assert worker["spec"]["containers"][0]["args"][2] == address
    # Workers read training sets; whoever reaches them runs code there.
    assert [list(source) for source in worker["spec"]["containers"][0]["envFrom"]] == [["secretRef"]]
    assert worker["spec"]["containers"][0]["envFrom"][0]["secretRef"]["name"] == "credit-assets-store"
    plain = rendered(own, values("production"))
    assert not [m for m in plain if "dask" in m["metadata"]["name"] or "CREDIT_DASK_SCHEDULER" in m.get("data", {})]


def test_a_backup_lists_before_it_dumps_and_copies_after(own: Path) -> None:
    two = [
        {"name": "consumer_loans"},
        {"name": "cards", "settings": {"CREDIT_PORTFOLIO": "cards", "CREDIT_STORE_URI": "s3://cards/store"}},
    ]
    manifests = rendered(own, values("production", **INGRESS, portfolios=two))
    pod = one(manifests, "CronJob", "credit-assets-backup")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    steps = [*pod["initContainers"], *pod["containers"]]
    assert [step["name"] for step in steps] == ["listing", "dump", "keep"]
    places = [
        "store-consumer-loans=s3://example-credit-assets/store",
        "store-cards=s3://cards/store",
        "artifacts=s3://example-credit-assets/mlflow",
    ]
    assert [word for word in steps[0]["args"] if "=" in word] == places
    assert [word for word in steps[2]["args"] if "=" in word] == places
    script = "/opt/credit-assets/backup/backup.py"
    assert steps[2]["args"][:4] == ["python", script, "keep", "s3://example-backups/credit-assets"]
    # A mount hides what an image has at its path, such as the code of a lender's own in /work.
    mounts = {mount["mountPath"] for step in steps for mount in step["volumeMounts"]}
    assert [one for one in mounts if not one.startswith(("/tmp", "/opt/credit-assets/", "/etc/credit-assets/"))] == []
    script = one(manifests, "ConfigMap", "credit-assets-backup")["data"]["backup.py"]
    assert script == BACKUP.read_text()
    assert ast.parse(script)
    held = {env["name"]: env.get("valueFrom", {}).get("secretKeyRef", {}).get("name") for env in steps[1]["env"]}
    assert {name for name in held.values() if name} == {"credit-assets-postgresql", "credit-assets-mlflow"}
    assert "credit-assets-warehouse" not in json.dumps(pod)


def test_a_backup_without_a_place_to_go_to_is_refused(own: Path) -> None:
    with pytest.raises(helm.HelmError, match=r"backup\.destination must name a place"):
        rendered(own, values("production", backup={"enabled": True}))
