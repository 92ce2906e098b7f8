"""Where the candidate assets train: the policy for GPUs and the Dask cluster, through Dagster, MLflow and the store."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from benchmarks.training import write_training_set
from credit_assets.assets.training import candidate_asset
from credit_assets.ml.learners import devices
from credit_assets.ml.learners.devices import Gpus
from credit_assets.partitions import daily_partitions
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings
from credit_assets_tests.support.dask import local_cluster

DAY = "2024-06-30"
SMALL: dict[str, Any] = {
    "max_rounds": 15,
    "early_stopping_rounds": 15,
    "retries": 0,
    "variant_params": {"xgboost": {"learning_rate": 0.3, "max_depth": 3}, "catboost": {"depth": 3, "rsm": 1.0}},
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that reports a GPU; the libraries are the real ones, and find none."""
    if devices.visible_gpus():
        pytest.skip("there is a GPU here")
    monkeypatch.setattr(devices, "visible_gpus", lambda: Gpus(("NVIDIA H200",), "NVML"))


def without_directions(folder: Path) -> Path:
    """CatBoost knows no monotone directions on a GPU, so that with some it would never be asked to train there."""
    text = (resources.files("credit_assets.portfolios") / "consumer_loans.yaml").read_text("utf-8")
    file = folder / "free.yaml"
    file.write_text(re.sub(r",? ?monotone: ?[-+]?1", "", text), "utf-8")
    return file


def house(tmp_path: Path, **more: Any) -> Settings:
    settings = load_settings(home=tmp_path, **{**SMALL, **more})
    file = Path(settings.store) / "training_set" / f"{DAY}.parquet"
    file.parent.mkdir(parents=True)
    write_training_set(file, 3000)
    return settings


def materialized(settings: Settings, variant: str) -> dg.ExecuteInProcessResult:
    partitions = daily_partitions(settings)
    upstream = dg.AssetSpec("training_set", partitions_def=partitions).with_io_manager_key("parquet")
    return dg.materialize(
        [upstream, candidate_asset(settings, partitions, variant)],
        partition_key=DAY,
        resources=build_resources(settings),
        raise_on_error=False,
    )


def metadata_of(result: dg.ExecuteInProcessResult, variant: str) -> dict[str, Any]:
    assert result.success, failure(result)
    (event,) = result.asset_materializations_for_node(f"{variant}_candidate")
    return {name: value.value for name, value in event.metadata.items()}


def tags_of(settings: Settings, variant: str) -> dict[str, str]:
    tracking = build_resources(settings)["tracking"]
    (run,) = tracking.server.client.search_runs([tracking.server.experiment_id], f"tags.asset = '{variant}_candidate'")
    return dict(run.data.tags)


def failure(result: dg.ExecuteInProcessResult) -> str:
    return "; ".join(
        str(event.step_failure_data.error_display_string) for event in result.all_events if event.is_step_failure
    )


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("variant", ["xgboost", "catboost"])
def test_a_gpu_that_fails_is_replaced_by_the_cpu_where_the_policy_says_so(tmp_path: Path, variant: str) -> None:
    settings = house(tmp_path, device="cuda", gpu_fallback="cpu", portfolio=without_directions(tmp_path))
    result = materialized(settings, variant)
    metadata, tags = metadata_of(result, variant), tags_of(settings, variant)
    assert (metadata["engine"], metadata["device"]) == ("one node", "cpu")
    assert "the GPU failed in training" in metadata["device_fallback"]
    assert tags["device"] == "cpu"
    assert tags["device_fallback"] == metadata["device_fallback"]
    assert "gpu_peak_memory_bytes" not in metadata


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("variant", ["xgboost", "catboost"])
def test_a_gpu_that_fails_fails_the_step_by_default(tmp_path: Path, variant: str) -> None:
    settings = house(tmp_path, device="cuda", portfolio=without_directions(tmp_path))
    result = materialized(settings, variant)
    assert not result.success
    assert "the GPU failed in training" in failure(result)
    assert "CREDIT_GPU_FALLBACK=cpu" in failure(result)


@pytest.mark.slow
def test_without_a_gpu_auto_trains_on_the_cpu_and_cuda_says_what_it_looked_for(tmp_path: Path) -> None:
    if devices.visible_gpus():
        pytest.skip("there is a GPU here")
    result = materialized(house(tmp_path / "auto"), "xgboost")
    assert metadata_of(result, "xgboost")["device"] == "cpu"
    refused = materialized(house(tmp_path / "cuda", device="cuda"), "xgboost")
    assert "CREDIT_DEVICE is cuda, and no GPU is visible; looked at NVML" in failure(refused)


@pytest.mark.slow
def test_lightgbm_keeps_to_the_cpu_when_a_gpu_is_asked_for(tmp_path: Path) -> None:
    settings = house(tmp_path, device="cuda")
    metadata = metadata_of(materialized(settings, "lightgbm"), "lightgbm")
    assert metadata["device"] == "cpu"
    assert "device_fallback" not in metadata


@pytest.mark.slow
def test_on_a_cluster_two_variants_train_there_and_catboost_says_that_it_does_not(tmp_path: Path) -> None:
    with local_cluster(processes=False) as cluster:
        settings = house(tmp_path, dask_scheduler=cluster.scheduler_address)
        found = {variant: metadata_of(materialized(settings, variant), variant) for variant in settings.variants}
    assert {variant: metadata["engine"] for variant, metadata in found.items()} == {
        "xgboost": "dask (2 workers)",
        "lightgbm": "dask (2 workers)",
        "catboost": "one node",
        "scorecard": "one node",
    }
    assert "trains on one node" in found["catboost"]["notes"]
    assert '"basic"' in found["lightgbm"]["notes"]
    assert tags_of(settings, "lightgbm")["engine"] == "dask (2 workers)"
    # The cluster is gone; the model of the same data, code and parameters is found again without it.
    again = metadata_of(materialized(settings, "lightgbm"), "lightgbm")
    assert again["fingerprint"] == found["lightgbm"]["fingerprint"]
    assert again["engine"] == "dask (2 workers)"
