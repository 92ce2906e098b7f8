"""What the chart lets a namespace ask for, and what runs may ask for at once: the sums of each values file."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from kubernetes.utils import parse_quantity

from credit_assets.profiles import PROFILES, Profile, merged_profiles
from credit_assets.settings import load_settings
from credit_assets.stages import EVERYTHING
from credit_assets_tests.support.chart import CHART, SIZES, one, pod_specs, rendered, values
from e2e.chart import merge

pytest_plugins = ["credit_assets_tests.support.chart"]

STEPS = CHART / "files" / "steps.json"


def described_steps() -> dict[str, Any]:
    """The steps of the largest graph and what they ask for, for the arithmetic of the chart."""
    fields = {"cpu", "memory", "max_memory", "gpu", "gpu_resource", "ttl_seconds"}
    return {
        "profiles": {name: profile.model_dump(include=fields, exclude_none=True) for name, profile in PROFILES.items()},
        "steps": {row.name: row.profile for row in EVERYTHING.assets},
    }


def test_the_chart_reckons_with_the_steps_of_the_code() -> None:
    """Written anew with UPDATE_SNAPSHOTS=1."""
    if os.environ.get("UPDATE_SNAPSHOTS"):
        STEPS.write_text(json.dumps(described_steps(), indent=2) + "\n")
    assert json.loads(STEPS.read_text()) == described_steps()


def merged(size: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = merge(yaml.safe_load((CHART / "values.yaml").read_text()), values(size))
    return merge(found, more)


def amount(profile: Profile, resource: str) -> Decimal:
    return Decimal(parse_quantity(getattr(profile, resource)))


def demand(given: dict[str, Any]) -> dict[str, Decimal]:
    """The most that runs may ask for at once, and the Jobs that are kept, by what Dagster and the code do."""
    runs = given["dagster"]["concurrency"]["runs"]["maxConcurrentRuns"]
    of_a_run: Counter[str] = Counter()
    on_gpus: Counter[str] = Counter()
    for own_values in given.get("portfolios") or [{}]:
        own_parts = {key: own_values[key] for key in own_values if key in given and key != "quota"}
        largest, devices = demand_of(merge(given, own_parts))
        of_a_run |= largest
        on_gpus += devices
    return {name: Decimal(runs * of_a_run[name] + on_gpus[name]) for name in {*of_a_run, *on_gpus}}


def demand_of(given: dict[str, Any]) -> tuple[Counter[str], Counter[str]]:
    """Of one portfolio: what a run of it may ask for at once, and what all its steps on GPUs may."""
    chosen = merged_profiles(given["profiles"])
    asked = [chosen[name] for name in {**described_steps()["steps"], **given["stepProfiles"]}.values()]
    plain, on_gpu = [step for step in asked if not step.gpu], [step for step in asked if step.gpu]
    together, slots = int(given["settings"].get("CREDIT_MAX_CONCURRENT", 3)), given["pools"]["gpu"]
    run, gpus = Counter({"pods": min(together, len(asked))}), Counter[str]()
    # A run, and as many steps as it may have at a time, every ten seconds: no pod is done sooner.
    run["count/jobs.batch"] = (1 + together) * (1 + -(-max(step.ttl_seconds for step in asked) // 10))
    for resource in ("cpu", "memory"):
        amounts = sorted((amount(step, resource) for step in plain), reverse=True)
        run[f"requests.{resource}"] = sum(amounts[:together])  # type: ignore[assignment]
        most = max((amount(step, resource) for step in on_gpu), default=Decimal(0))
        gpus[f"requests.{resource}"] = slots * most  # type: ignore[assignment]
    for name in {step.gpu_resource for step in on_gpu}:
        gpus[f"requests.{name}"] = slots * max(step.gpu for step in on_gpu if step.gpu_resource == name)
    return run, gpus


def reckoned(own: Path, given: dict[str, Any]) -> dict[str, Decimal]:
    """The same by the chart."""
    place = own.parent / "reckoned"
    if not place.exists():
        shutil.copytree(own, place)
        (place / "templates" / "demand.yaml").write_text('{{ include "credit-assets.demand" . }}')
    with helm.Chart.load(str(place)) as loaded:
        texts = loaded.render(given, name="credit", namespace="lending")
    (text,) = [text for path, text in texts.items() if path.endswith("templates/demand.yaml")]
    scale = {"requests.cpu": Decimal("0.001"), "requests.memory": Decimal(1024)}
    asks = json.loads(text).items()
    return {name: Decimal(amount) * scale.get(name, Decimal(1)) for name, amount in asks if "limits" not in name}


def notes(own: Path, given: dict[str, Any]) -> str:
    with helm.Chart.load(str(own)) as loaded:
        (text,) = [
            text
            for path, text in loaded.render(given, name="credit", namespace="lending").items()
            if path.endswith("NOTES.txt")
        ]
    return text


OTHERS: dict[str, dict[str, Any]] = {
    "fractions": {
        "profiles": {"data": {"cpu": "0.75", "memory": "1536Mi"}, "small": {"cpu": 1}, "train-gpu": {"gpu": 0}},
        "settings": {"CREDIT_MAX_CONCURRENT": 40},
    },
    "slices": {
        "profiles": {"train-gpu": {"gpu": 2, "gpu_resource": "nvidia.com/mig-3g.40gb"}, "data": {"ttl_seconds": 3601}},
        "stepProfiles": {"mine_candidate": "train-cpu"},
    },
    "portfolios": {
        "portfolios": [
            {"name": "consumer_loans", "profiles": {"train-cpu": {"memory": "40Gi", "ttl_seconds": 600}}},
            {
                "name": "cards",
                "file": "name: cards",
                "settings": {"CREDIT_MAX_CONCURRENT": 5},
                "profiles": {"data": {"cpu": 7}},
                "pools": {"gpu": 3, "warehouse": 1},
                "quota": {"requests.cpu": "30"},
            },
        ]
    },
}


@pytest.mark.parametrize(("size", "more"), [*((size, {}) for size in SIZES), *(("gpu", m) for m in OTHERS.values())])
def test_the_chart_and_the_code_reckon_alike(own: Path, size: str, more: dict[str, Any]) -> None:
    assert reckoned(own, merge(values(size), more)) == demand(merged(size, **more))


@pytest.mark.parametrize("size", SIZES)
def test_what_runs_may_ask_for_at_once_fits_the_quota(own: Path, size: str) -> None:
    given = merged(size)
    asked, hard = demand(given), given["quota"]["hard"] or {}
    assert {name: (asked[name], hard[name]) for name in hard if asked[name] > parse_quantity(hard[name])} == {}
    assert size == "kind" or set(hard) == set(asked)
    assert "at once" not in notes(own, values(size))
    # A Job that is refused for too many of them waits for the others to go, and not longer than it is waited for.
    longest = max(profile.ttl_seconds for profile in merged_profiles(given["profiles"]).values())
    launcher = given["dagster"]["runLauncher"]["config"]["customRunLauncher"]["config"]
    pending = load_settings().pending_minutes * 60
    assert max(longest, launcher["run_k8s_config"]["job_spec_config"]["ttlSecondsAfterFinished"]) < pending


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"settings": {"CREDIT_MAX_CONCURRENT": "16"}}, "requests.cpu: 192, while up to "),
        ({"dagster": {"concurrency": {"runs": {"maxConcurrentRuns": 20}}}}, "pods: 64, while up to 160 "),
        ({"pools": {"gpu": 6}}, "requests.nvidia.com/gpu: 4, while up to 6 "),
        ({"profiles": {"data": {"ttl_seconds": 86400}}}, "count/jobs.batch: 7000, while up to 622152 "),
        ({"profiles": {"data": {"memory": "8Gi"}}}, "requests.memory: 600Gi, while up to 753664Mi "),
    ],
)
def test_a_quota_that_is_too_small_for_all_runs_is_said_at_install(own: Path, given: dict[str, Any], said: str) -> None:
    assert said in notes(own, given)


def cards(quota: dict[str, str]) -> dict[str, Any]:
    return {"portfolios": [{"name": "consumer_loans"}, {"name": "cards", "file": "name: cards", "quota": quota}]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quota": {"hard": {"requests.cpu": "3"}}}, "asks for 4000m CPU, and the quota has 3 of requests.cpu"),
        ({"quota": {"hard": {"requests.memory": "60Gi"}}}, "may ask for 65536Mi after OOM kills"),
        ({"profiles": {"train-gpu": {"gpu": 8}}}, "asks for 8 nvidia.com/gpu, and the quota has 4"),
        ({"profiles": {"data": {"priority_class": None}}}, "profile data has no priority_class"),
        (cards({"requests.cpu": "3"}), "asks for 4000m CPU, and the quota has 3"),
        (cards({"count/jobs.batch": "3"}), "the quota of cards may limit pods, CPU and memory of its steps, and not"),
        ({"priorityClasses": {"create": False}}, "priority_class .* is made by this chart"),
    ],
)
def test_a_step_that_would_never_start_is_refused_at_install(own: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        rendered(own, given)


def classes_of_steps(manifests: list[dict[str, Any]]) -> list[set[str]]:
    """The priority classes of each code location's profiles."""
    settings = [m["data"]["CREDIT_PROFILES"] for m in manifests if "CREDIT_PROFILES" in (m.get("data") or {})]
    return [{profile["priority_class"] for profile in json.loads(text).values()} for text in settings]


def test_a_portfolio_has_its_share_by_classes_of_its_own(own: Path) -> None:
    manifests = rendered(own, cards({"requests.cpu": "30"}))
    quotas = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "ResourceQuota"}
    scopes = {
        name: set(q["scopeSelector"]["matchExpressions"][0]["values"])
        for name, q in quotas.items()
        if "scopeSelector" in q
    }
    plain, of_cards = (
        {f"credit-assets-lending{suffix}-{name}" for name in ("training", "serving")} for suffix in ("", "-cards")
    )
    assert scopes == {"credit-assets-steps": plain | of_cards, "credit-assets-steps-cards": of_cards}
    assert quotas["credit-assets-steps-cards"]["hard"] == {"requests.cpu": "30"}
    assert sorted(classes_of_steps(manifests), key=len) == [plain, of_cards]
    assert {m["metadata"]["name"] for m in manifests if m["kind"] == "PriorityClass"} == plain | of_cards


def test_a_quota_counts_steps_and_never_refuses_a_server(own: Path) -> None:
    manifests = rendered(own, values("production"))
    steps, objects = (one(manifests, "ResourceQuota", f"credit-assets-{name}")["spec"] for name in ("steps", "objects"))
    (scope,) = steps["scopeSelector"]["matchExpressions"]
    assert (scope["scopeName"], scope["operator"]) == ("PriorityClass", "In")
    assert classes_of_steps(manifests) == [set(scope["values"])]
    # What Kubernetes lets a quota of some classes limit.
    assert set(steps["hard"]) <= {
        "pods",
        *(f"{side}.{what}" for side in ("requests", "limits") for what in ("cpu", "memory")),
    }
    servers = [spec for where, spec in pod_specs(manifests)]
    assert servers
    assert not [spec for spec in servers if spec.get("priorityClassName")]
    # The others limit nothing that a server asks for.
    asked = {name for spec in servers for c in spec["containers"] for name in c["resources"]["requests"]}
    assert not {f"requests.{name}" for name in asked} & set(objects["hard"])
