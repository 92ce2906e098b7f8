"""Settings of earlier releases: what a run under way needs stays, and the rest goes but for the newest."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import kubernetes
import pytest
from dagster._core.code_pointer import CodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from credit_assets.cluster.kept_settings import KeptConfigMap, clean, dispensable, needed_by_runs, sweep
from credit_assets.instance.dagster_internals import K8sContainerContext
from credit_assets_tests.support.kube_api import Cluster

BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)


def kept(*names: str) -> list[KeptConfigMap]:
    """ConfigMaps, each made a day after the one before."""
    return [KeptConfigMap(name, BEGINNING + timedelta(days=day)) for day, name in enumerate(names)]


@pytest.mark.parametrize(
    ("needed", "keep", "gone"),
    [
        (set(), 1, ["a", "b", "c"]),
        (set(), 4, []),
        (set(), 9, []),
        ({"a"}, 1, ["b", "c"]),
        ({"d"}, 1, ["a", "b"]),
        ({"a", "b", "c", "d", "stranger"}, 0, []),
    ],
)
def test_what_is_needed_stays_and_the_newest_of_the_rest(needed: set[str], keep: int, gone: list[str]) -> None:
    assert dispensable(reversed(kept("a", "b", "c", "d")), needed, keep) == gone


def asked_for_with(instance: dg.DagsterInstance, name: str, status: dg.DagsterRunStatus) -> None:
    """A run as it is stored when somebody asks for it, by a code location with these settings."""
    context = {"k8s": {"env_config_maps": [name], "env_secrets": ["credit-assets-store"]}}
    assert K8sContainerContext.create_from_config(context)
    pointer = CodePointer.from_module("credit_assets.definitions", "defs", None)
    repository = RepositoryPythonOrigin("python", pointer, "image:1", None, context)
    origin = JobPythonOrigin("job", repository)
    instance.add_run(dg.DagsterRun(job_name="job", status=status, job_code_origin=origin))


def test_a_run_that_waits_or_works_keeps_its_settings() -> None:
    deleted = []

    class Api:
        def list_namespaced_config_map(self, namespace: str, label_selector: str) -> Any:
            assert (namespace, label_selector) == ("lending", "mine")
            found = [("now", 5), ("waits", 1), ("ended", 2), ("old", 3), ("newest", 4)]
            return SimpleNamespace(
                items=[
                    SimpleNamespace(
                        metadata=SimpleNamespace(name=name, creation_timestamp=BEGINNING + timedelta(days=day))
                    )
                    for name, day in found
                ]
            )

        def delete_namespaced_config_map(self, name: str, namespace: str) -> None:
            deleted.append((namespace, name))

    with dg.DagsterInstance.ephemeral() as instance:
        asked_for_with(instance, "waits", dg.DagsterRunStatus.NOT_STARTED)
        asked_for_with(instance, "ended", dg.DagsterRunStatus.SUCCESS)
        assert needed_by_runs(instance) == {"waits", "credit-assets-store"}
        for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.FAILURE):
            asked_for_with(instance, status.value, status)
        assert {"STARTED", "CANCELING"} <= needed_by_runs(instance)
        assert "FAILURE" not in needed_by_runs(instance)
        assert "waits" in needed_by_runs(instance)
        assert "ended" not in needed_by_runs(instance)
        where = argparse.Namespace(namespace="lending", selector="mine", keep=1, now=["now"])
        assert clean(instance, Api(), where) == ["ended", "old"]
    assert deleted == [("lending", "ended"), ("lending", "old")]


@pytest.mark.parametrize(
    ("code", "deleted", "said"),
    [
        (404, ["a", "b"], "deleted a, b\n"),
        (503, [], "left for the next upgrade: the Kubernetes API answers 503: shutting down\n"),
    ],
)
def test_what_is_gone_is_gone_and_what_cannot_be_deleted_for_now_fails_no_upgrade(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, deleted: list[str], said: str
) -> None:
    config_maps = [
        {"metadata": {"name": one.name, "creationTimestamp": one.made.isoformat()}} for one in kept("a", "b", "c")
    ]
    path = "/api/v1/namespaces/lending/configmaps"
    where = argparse.Namespace(namespace="lending", selector="mine", keep=1, now=[])
    with Cluster(tmp_path) as cluster, dg.DagsterInstance.ephemeral() as instance:
        cluster.answers[f"GET {path}"] = {"kind": "ConfigMapList", "metadata": {}, "items": config_maps}
        for name in ("a", "b"):
            cluster.denied[f"DELETE {path}/{name}"] = {"code": code, "message": "shutting down"}
        api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(cluster.kubeconfig)))
        sweep(instance, api, where)
        asked = [one for one in cluster.requests if one.startswith("DELETE")]
        assert capsys.readouterr().out == said
        assert len(asked) == max(1, len(deleted)), "an API that is away is asked once"
        cluster.denied.clear()
        cluster.denied[f"GET {path}"] = {"code": 403, "message": "cannot list configmaps"}
        with pytest.raises(kubernetes.client.ApiException, match="403"):
            sweep(instance, api, where)
