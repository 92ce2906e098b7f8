"""Resource profiles, and the op tags they become, read as dagster-k8s reads them."""

from __future__ import annotations

import json
import re
from typing import Any

import dagster as dg
import pytest
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_user_defined_k8s_config
from kubernetes.utils import parse_quantity
from pydantic import ValidationError

from credit_assets.build import build_definitions
from credit_assets.cluster.op_tags import op_tags, profiles, scratch_config, with_last_of_each
from credit_assets.profiles import PROFILES, Profile, Toleration, label_value, merged_profiles, size
from credit_assets.settings import Settings, SettingsError, load_settings

STEPS = {
    "restated_days": "data",
    "raw_loan_data": "data",
    "loan_outcomes": "data",
    "processed_features": "data",
    "training_set": "data",
    "xgboost_candidate": "train-gpu",
    "catboost_candidate": "train-gpu",
    "lightgbm_candidate": "train-cpu",
    "scorecard_candidate": "train-cpu",
    "trained_model": "data",
    "registered_model": "small",
    "deployed_model": "small",
    "model_dossier": "small",
    "loan_scores": "data",
    "drift_report": "data",
    "performance_report": "data",
    "shadow_report": "data",
}


def nodes(settings: Settings) -> dict[str, dg.AssetsDefinition]:
    assets = build_definitions(settings).assets or ()
    return {
        asset.key.to_user_string(): asset
        for asset in assets
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable
    }


def read(asset: dg.AssetsDefinition) -> UserDefinedDagsterK8sConfig:
    return get_user_defined_k8s_config(asset.op.tags)


def test_every_step_has_a_profile_that_dagster_k8s_can_read() -> None:
    found = nodes(load_settings(executor="k8s"))
    assert {name: read(asset).pod_template_spec_metadata["labels"]["credit-assets/profile"] for name, asset in
            found.items()} == STEPS  # fmt: skip
    for name, asset in found.items():
        config, profile = read(asset), PROFILES[STEPS[name]]
        resources = config.container_config["resources"]
        assert resources["requests"] == resources["limits"]
        assert parse_quantity(resources["limits"]["memory"]) == size(profile.memory)
        # What a step may write is what its profile says, at the place where it writes.
        assert resources["limits"]["ephemeral-storage"] == profile.scratch
        (mount,) = [one for one in config.container_config["volume_mounts"] if one["mount_path"] == "/tmp"]
        (volume,) = [one for one in config.pod_spec_config["volumes"] if one["name"] == mount["name"]]
        assert volume["empty_dir"] == {"size_limit": profile.scratch}
        for metadata in (config.job_metadata, config.pod_template_spec_metadata):
            assert metadata["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
            assert metadata["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
            assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
        assert config.job_spec_config["backoff_limit"] == 0
        assert config.job_spec_config["active_deadline_seconds"] == profile.deadline_seconds
        assert config.job_metadata["labels"]["credit-assets/asset"] == name
        assert ("nvidia.com/gpu" in resources["limits"]) == (STEPS[name] == "train-gpu")
        # A profile names nothing of its own that a cluster might not have: it would refuse the pod.
        assert not {"priority_class_name", "runtime_class_name", "service_account_name"} & set(config.pod_spec_config)
        assert "image" not in config.container_config


def test_a_misspelt_key_of_a_tag_is_seen_by_dagster_k8s() -> None:
    tag = op_tags(load_settings(), "loan_scores")["dagster-k8s/config"]
    tag["pod_spec_config"]["node_selecter"] = {}
    with pytest.raises(Exception, match=r"V1PodSpec: .'node_selecter'"):
        get_user_defined_k8s_config({"dagster-k8s/config": json.dumps(tag)})


def test_the_gpu_profile_is_what_a_gpu_node_needs() -> None:
    config = read(nodes(load_settings(executor="k8s"))["xgboost_candidate"])
    limits = config.container_config["resources"]["limits"]
    assert limits == {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "10Gi", "nvidia.com/gpu": "1"}
    assert config.pod_spec_config["node_selector"] == {"gpu-type": "a100"}
    assert config.pod_spec_config["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert config.pod_spec_config["volumes"] == [
        {"name": "tmp", "empty_dir": {"size_limit": "10Gi"}},
        {"name": "shm", "empty_dir": {"medium": "Memory", "size_limit": "2Gi"}},
    ]
    assert config.pod_template_spec_metadata["labels"]["credit-assets/variant"] == "xgboost"


def test_a_cluster_without_gpus_gets_no_trace_of_one() -> None:
    settings = load_settings(executor="k8s", profiles={"train-gpu": {"gpu": 0}})
    tags = json.dumps(nodes(settings)["xgboost_candidate"].op.tags)
    assert "nvidia" not in tags
    assert "a100" not in tags
    assert "CREDIT_DEVICE" not in tags
    assert nodes(settings)["xgboost_candidate"].op.pool is None


def test_overrides_reach_the_pods() -> None:
    settings = load_settings(
        executor="k8s",
        cost_centre="retail-credit",
        profiles={
            "small": {"cpu": "250m", "memory": "768Mi", "priority_class": "credit-assets-serving"},
            "train-cpu": {
                "node_selector": {"pool": "spot"},
                "tolerations": [{"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
            },
        },
        step_profiles={"catboost_candidate": "train-cpu", "loan_scores": "small"},
    )
    found = nodes(settings)
    small, catboost = read(found["loan_scores"]), read(found["catboost_candidate"])
    assert small.container_config["resources"]["limits"]["memory"] == "768Mi"
    assert small.pod_spec_config["priority_class_name"] == "credit-assets-serving"
    assert small.job_metadata["labels"]["credit-assets/cost-centre"] == "retail-credit"
    assert catboost.pod_spec_config["node_selector"] == {"pool": "spot"}
    assert catboost.pod_spec_config["tolerations"] == [
        {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    ]


def test_a_profile_names_queue_runtime_account_image_and_device(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = {
        "gpu_resource": "nvidia.com/mig-3g.40gb",
        "runtime_class": "nvidia",
        "service_account": "credit-assets-training",
        "image": "registry.example.org/credit-assets@sha256:" + "0" * 64,
        "labels": {"kueue.x-k8s.io/queue-name": "lending", "credit-assets/profile": "mine"},
        "annotations": {"karpenter.sh/do-not-disrupt": "false", "example.org/owner": "Retail credit, floor 3"},
    }
    monkeypatch.setenv("CREDIT_PROFILES", json.dumps({"train-gpu": profile}))
    config = read(nodes(load_settings(executor="k8s"))["xgboost_candidate"])
    for side in ("requests", "limits"):
        asked = config.container_config["resources"][side]
        assert {name: amount for name, amount in asked.items() if "/" in name} == {"nvidia.com/mig-3g.40gb": "1"}
    assert config.container_config["image"] == profile["image"]
    assert config.pod_spec_config["runtime_class_name"] == "nvidia"
    assert config.pod_spec_config["service_account_name"] == "credit-assets-training"
    for metadata in (config.job_metadata, config.pod_template_spec_metadata):
        assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "lending"
        # By this one the executor finds the profile again.
        assert metadata["labels"]["credit-assets/profile"] == "train-gpu"
        assert metadata["annotations"]["karpenter.sh/do-not-disrupt"] == "false"
        assert metadata["annotations"]["example.org/owner"] == "Retail credit, floor 3"


def test_of_what_is_merged_each_path_is_mounted_once_by_the_last_who_says_so() -> None:
    """The launcher has a /tmp for run pods, the profile one for its steps, an attempt a larger one."""
    launcher = {
        "container_config": {
            "volume_mounts": [{"name": "tmp", "mount_path": "/tmp"}, {"name": "ca", "mount_path": "/etc/ca"}]
        },
        "pod_spec_config": {
            "volumes": [{"name": "tmp", "empty_dir": {"size_limit": "2Gi"}}, {"name": "ca", "config_map": {}}]
        },
    }
    profile = op_tags(load_settings(), "loan_scores")["dagster-k8s/config"]
    attempt = scratch_config(PROFILES["data"].scratch_of_attempt(1))
    merged = K8sContainerContext()
    for part in (launcher, profile, attempt):
        merged = merged.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(part)))
    assert len(merged.run_k8s_config.pod_spec_config["volumes"]) == 4
    found = with_last_of_each(merged.run_k8s_config.to_dict())
    assert found["container_config"]["volume_mounts"] == [
        {"name": "tmp", "mount_path": "/tmp"},
        {"name": "ca", "mount_path": "/etc/ca"},
    ]
    assert [one.get("empty_dir") for one in found["pod_spec_config"]["volumes"]] == [{"size_limit": "20480Mi"}, None]
    assert found["container_config"]["resources"]["limits"]["ephemeral-storage"] == "20480Mi"
    assert found["container_config"]["resources"]["limits"]["memory"] == "4Gi"


def test_threads_are_those_of_the_pod_and_not_of_its_node() -> None:
    def environment(**values: Any) -> dict[str, str]:
        config = read(nodes(load_settings(executor="k8s", **values))["lightgbm_candidate"])
        return {one["name"]: one["value"] for one in config.container_config["env"]}

    assert environment() == {"CREDIT_THREADS": "4", "OMP_NUM_THREADS": "4"}
    assert environment(threads=2)["CREDIT_THREADS"] == "2"
    assert environment(profiles={"train-cpu": {"cpu": 1.5}})["CREDIT_THREADS"] == "1"
    assert environment(profiles={"train-cpu": {"cpu": "0.5"}})["CREDIT_THREADS"] == "1"


def test_a_device_that_was_chosen_stays() -> None:
    def device(**values: Any) -> list[str]:
        config = read(nodes(load_settings(executor="k8s", **values))["xgboost_candidate"])
        return [one["value"] for one in config.container_config["env"] if one["name"] == "CREDIT_DEVICE"]

    assert device() == ["cuda"]
    assert device(device="cpu") == []


def test_pools_are_for_clusters_only() -> None:
    on_cluster, alone = nodes(load_settings(executor="k8s")), nodes(load_settings())
    assert {name: asset.op.pool for name, asset in on_cluster.items() if asset.op.pool} == {
        "raw_loan_data": "warehouse",
        "loan_outcomes": "warehouse",
        "xgboost_candidate": "gpu",
        "catboost_candidate": "gpu",
    }
    assert {asset.op.pool for asset in alone.values()} == {None}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"train_gpu": {}}, "names unknown profiles train_gpu; known: small, data, train-cpu, train-gpu"),
        ({"data": {"memroy": "8Gi"}}, "data: memroy: Extra inputs are not permitted; fields: cpu, memory"),
        ({"data": {"memory": "8GB"}}, "data: memory: String should match pattern"),
        ({"data": {"cpu": "two"}}, "data: cpu: String should match pattern"),
        ({"data": {"gpu": -1}}, "data: gpu: Input should be greater than or equal to 0"),
        ({"data": {"node_selector": {"zone": "a b"}}}, "data: node_selector.zone: String should match pattern"),
        ({"data": {"tolerations": [{"effect": "NoRun"}]}}, "data: tolerations.0.effect: Input should be 'NoSchedule'"),
        ({"data": {"max_memory": "1Gi"}}, "data: max_memory 1Gi is less than memory 4Gi"),
        ({"data": {"max_scratch": "1Gi"}}, "data: max_scratch 1Gi is less than scratch 10Gi"),
        ({"data": {"gpu_resource": "gpu"}}, "data: gpu_resource: String should match pattern"),
        ({"data": {"labels": {"queue name": "x"}}}, "data: labels.queue name.[key]: String should match pattern"),
        ({"train-gpu": {"shm": "16Gi"}}, "train-gpu: shm 16Gi is part of memory 16Gi and must be less"),
    ],
)
def test_a_bad_profile_is_refused_with_its_place(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        merged_profiles(overrides)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CREDIT_PROFILES", '{"data": {"memroy": "8Gi"}}', "CREDIT_PROFILES.*data: memroy"),
        ("CREDIT_PROFILES", "{", "CREDIT_PROFILES.*is not valid JSON"),
        ("CREDIT_STEP_PROFILES", '{"loan_score": "data"}', "CREDIT_STEP_PROFILES.*unknown assets loan_score"),
        ("CREDIT_STEP_PROFILES", '{"loan_scores": "big"}', "CREDIT_STEP_PROFILES.*unknown profiles big"),
        ("CREDIT_COST_CENTRE", "retail credit", "CREDIT_COST_CENTRE"),
    ],
)
def test_a_bad_setting_fails_when_the_code_location_loads(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"(?s){said}"):
        load_settings()


def test_a_toleration_that_the_api_would_refuse() -> None:
    with pytest.raises(ValidationError, match="a value needs operator Equal"):
        Toleration(key="spot", value="yes")
    with pytest.raises(ValidationError, match="operator Equal needs a key"):
        Toleration(operator="Equal", value="yes")


def test_memory_and_disk_grow_with_each_loss_up_to_their_limits() -> None:
    profile = Profile(cpu="1", memory="2Gi", max_memory="5Gi", memory_growth=1.5)
    assert [profile.memory_of_attempt(kills) for kills in range(4)] == ["2Gi", "3072Mi", "4608Mi", "5120Mi"]
    assert Profile(cpu="1", memory="1Gi", memory_growth=4).memory_of_attempt(3) == "4096Mi"
    profile = Profile(cpu="1", memory="2Gi", scratch="10Gi", max_scratch="25Gi")
    assert [profile.scratch_of_attempt(evictions) for evictions in range(3)] == ["10Gi", "20480Mi", "25600Mi"]
    assert Profile(cpu="1", memory="2Gi", scratch="1Gi").scratch_of_attempt(5) == "4096Mi"


def test_profiles_that_nobody_changed_are_the_table() -> None:
    assert profiles(load_settings()) == dict(PROFILES)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2024-01-01_2024-12-31", "2024-01-01_2024-12-31"), ("a b/c", "a_b_c"), ("-x-", "x"), ("y" * 80, "y" * 63)],
)
def test_text_as_a_label_value(text: str, value: str) -> None:
    assert label_value(text) == value
