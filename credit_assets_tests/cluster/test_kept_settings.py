"""Settings of earlier releases: what a run under way needs stays, and the rest goes but for the newest."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import CodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from credit_assets.cluster.kept_settings import Kept, clean, dispensable, needed_by_runs
from credit_assets.instance.dagster_internals import K8sContainerContext

BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)


def kept(*names: str) -> list[Kept]:
    """ConfigMaps, each made a day after the one before."""
    return [Kept(name, BEGINNING + timedelta(days=day)) for day, name in enumerate(names)]


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
