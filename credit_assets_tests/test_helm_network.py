"""Who may talk to whom, by the chart's network policies, read as Kubernetes reads them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest

from credit_assets_tests.support.chart import INGRESS, rendered, values

pytest_plugins = ["credit_assets_tests.support.chart"]

PRIVATE, PUBLIC = "10.20.30.40", "52.218.1.1"
METADATA, POD_IDENTITY, GKE_METADATA, GKE_SERVICES, AKS_LOGIN = (
    "169.254.169.254", "169.254.170.23", "169.254.169.252", "199.36.153.9", "20.190.150.1"
)  # fmt: skip
STEP = {"app.kubernetes.io/component": "step_worker"}


@cache
def policies(chart: Path, text: str) -> list[dict[str, Any]]:
    given = values("production", **INGRESS)
    given["networkPolicies"] = helm.values_from_yaml(text) if text else {}
    return [m["spec"] for m in rendered(chart, given) if m["kind"] == "NetworkPolicy"]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    assert {one["operator"] for one in selector.get("matchExpressions", [])} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", [])
    )


def rules(found: list[dict[str, Any]], way: str, labels: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The rules of one direction for a pod; that it has any is what makes the rest forbidden."""
    chosen = [one for one in found if way.capitalize() in one["policyTypes"] and selects(one["podSelector"], labels)]
    assert chosen
    for policy in chosen:
        yield from policy.get(way, [])


def has_port(rule: dict[str, Any], port: int | str) -> bool:
    return "ports" not in rule or port in [one["port"] for one in rule["ports"]]


def goes_out(found: list[dict[str, Any]], address: str, port: int) -> bool:
    """Whether a step reaches an address outside the cluster."""
    return any(
        has_port(rule, port)
        and (
            "to" not in rule
            or any(ip_address(address) in ip_network(one["ipBlock"]["cidr"]) for one in rule["to"] if "ipBlock" in one)
        )
        for rule in rules(found, "egress", STEP)
    )


def meets(
    found: list[dict[str, Any]], way: str, side: str, pod: dict[str, str], other: dict[str, str], port: int | str
) -> bool:
    """Whether a pod may talk to pods of another namespace (egress, to), or be talked to by them (ingress, from)."""
    peers = [peer for rule in rules(found, way, pod) if has_port(rule, port) for peer in rule.get(side, [])]
    return any(
        selects(peer["namespaceSelector"], other) and selects(peer.get("podSelector", {}), other)
        for peer in peers
        if "namespaceSelector" in peer
    )


def test_no_address_of_the_internet_is_reached_unless_it_is_named(own: Path) -> None:
    found = policies(own, "")
    assert [goes_out(found, PRIVATE, port) for port in (443, 5432, 587, 6443)] == [True] * 4
    assert not goes_out(found, PRIVATE, 22)
    assert not any(goes_out(found, PUBLIC, port) for port in (80, 443, 5432, 6443))
    assert goes_out(found, PUBLIC, 53)
    named = policies(own, "egress: [{to: [52.218.0.0/16], ports: [443]}]")
    assert goes_out(named, PUBLIC, 443)
    assert not goes_out(named, "52.219.0.1", 443)
    with pytest.raises(helm.HelmValuesError, match="to"):
        policies(own, "egress: [{to: [], ports: [443]}]")


@pytest.mark.parametrize(
    ("cloud", "reached"),
    [
        ("", set()),
        ("eks", {(METADATA, 80), (POD_IDENTITY, 80)}),
        ("gke", {(METADATA, 80), (METADATA, 8080), (GKE_METADATA, 987), (GKE_METADATA, 988), (GKE_SERVICES, 443)}),
        ("aks", {(METADATA, 80), (AKS_LOGIN, 443)}),
    ],
)
def test_each_cloud_hands_out_its_identities_and_no_other(own: Path, cloud: str, reached: set[tuple[str, int]]) -> None:
    found = policies(own, f"cloud: '{cloud}'")
    every = [
        (address, port)
        for address in (METADATA, POD_IDENTITY, GKE_METADATA, GKE_SERVICES, AKS_LOGIN, PUBLIC)
        for port in (80, 443, 987, 988, 8080)
    ]
    assert {place for place in every if goes_out(found, *place)} == reached


def test_dask_and_a_store_of_another_namespace_are_reached_by_name(own: Path) -> None:
    dask = {"kubernetes.io/metadata.name": "dask", "dask.org/component": "scheduler"}
    worker = {**dask, "dask.org/component": "worker"}
    text = """
      namespaces:
        - {namespace: {kubernetes.io/metadata.name: dask}, pods: {dask.org/component: scheduler}, ports: [8786]}
        - {namespace: {kubernetes.io/metadata.name: minio}, ports: [9000]}
    """
    found, without = policies(own, text), policies(own, "")
    assert meets(found, "egress", "to", STEP, dask, 8786)
    assert meets(found, "egress", "to", STEP, {"kubernetes.io/metadata.name": "minio"}, 9000)
    assert not meets(found, "egress", "to", STEP, dask, 22)
    assert not meets(found, "egress", "to", STEP, worker, 8786)
    assert not meets(without, "egress", "to", STEP, dask, 8786)


def test_people_come_by_the_proxy_and_prometheus_to_its_figures(own: Path) -> None:
    found = policies(own, "")
    proxy, server = ({"app.kubernetes.io/component": name} for name in ("proxy-dagster", "mlflow"))
    people, prometheus = ({"kubernetes.io/metadata.name": name} for name in ("ingress-nginx", "monitoring"))
    came = {
        (pod["app.kubernetes.io/component"], who["kubernetes.io/metadata.name"], port)
        for pod in (proxy, server)
        for who in (people, prometheus)
        for port in ("http", "metrics")
        if meets(found, "ingress", "from", pod, who, port)
    }
    assert came == {("proxy-dagster", "ingress-nginx", "http"), ("proxy-dagster", "monitoring", "metrics")}
