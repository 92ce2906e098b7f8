"""Which device a learner trains on, without any GPU: NVML, nvidia-smi and device nodes are stood in for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.devices import DevicePolicy, Gpus, PeakGpuMemory, Placement, decide, run_on, visible_gpus

TWO = [("NVIDIA H200", "GPU-aaaa-1"), ("NVIDIA A100", "GPU-bbbb-2")]
GPU, NONE = Gpus(("NVIDIA H200",), "NVML"), Gpus((), "NVML (driver not loaded), nvidia-smi, /dev/nvidia0")
SMI = "GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)\nGPU 1: NVIDIA A100 (UUID: GPU-bbbb-2)\n"


class NvmlError(Exception):
    pass


@dataclass
class FakeNvml:
    """The part of pynvml that is used: names and UUIDs, and what processes hold (`held`: by call, bytes by process)."""

    gpus: list[tuple[str, str]] = field(default_factory=lambda: list(TWO))
    broken: bool = False
    held: Callable[[], dict[int, int | None]] = dict
    total: Callable[[], int] = lambda: 0
    open: int = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if self.broken:
            raise NvmlError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, place: int) -> int:  # noqa: N802
        return place

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return self.gpus[handle][0].encode()

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return self.gpus[handle][1]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.held().items()]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=self.total())


@pytest.mark.parametrize(
    ("hidden", "names"),
    [
        (None, ("NVIDIA H200", "NVIDIA A100")),
        ("0,1", ("NVIDIA H200", "NVIDIA A100")),
        ("1", ("NVIDIA A100",)),
        ("GPU-bbbb", ("NVIDIA A100",)),
        ("", ()),
        ("-1", ()),
        ("none", ()),
        ("0,-1,1", ("NVIDIA H200",)),
        ("7,0", ()),
        ("GPU-", ()),
    ],
)
def test_cuda_visible_devices_hides_as_cuda_reads_it(hidden: str | None, names: tuple[str, ...]) -> None:
    environ = {} if hidden is None else {"CUDA_VISIBLE_DEVICES": hidden}
    nvml = FakeNvml()
    found = visible_gpus(environ, nvml=nvml)
    assert (found.names, bool(found), nvml.open) == (names, bool(names), 0)
    assert hidden is None or f"CUDA_VISIBLE_DEVICES={hidden!r}" in found.looked


def test_nvidia_smi_and_device_nodes_answer_where_nvml_does_not(tmp_path: Path) -> None:
    broken = FakeNvml(broken=True)
    by_smi = visible_gpus({}, nvml=broken, listing=lambda: SMI, nodes=tmp_path)
    assert by_smi.names == ("NVIDIA H200", "NVIDIA A100")
    assert by_smi.looked == "NVML (Driver Not Loaded), nvidia-smi"
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-bbbb-2"}, nvml=broken, listing=lambda: SMI).names == (
        "NVIDIA A100",
    )
    nothing = visible_gpus({}, nvml=broken, listing=lambda: None, nodes=tmp_path)
    assert not nothing
    assert "nvidia-smi (not there or failing)" in nothing.looked
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({}, nvml=broken, listing=lambda: None, nodes=tmp_path).names == ("nvidia0", "nvidia1")


def decided(variant: str, setting: Any, fallback: Any = "fail", *, gpus: Gpus = GPU, cuda: bool = True, **more: Any):  # type: ignore[no-untyped-def]
    class Learner(type(VARIANTS[variant])):  # type: ignore[misc]
        def built_for_cuda(self) -> bool:
            return cuda or variant == "catboost"

    return decide(DevicePolicy(setting, fallback), Learner(), gpus=gpus, **{"monotone": {}, "params": {}, **more})


@pytest.mark.parametrize("variant", ["xgboost", "catboost"])
def test_the_table_of_settings(variant: str) -> None:
    assert decided(variant, "cpu").device == "cpu"
    assert decided(variant, "auto").device == "cuda"
    assert decided(variant, "cuda").device == "cuda"
    assert decided(variant, "auto").tags() == {"device": "cuda"}
    without = decided(variant, "auto", gpus=NONE)
    assert (without.device, without.warning, without.fallback, without.tags()) == (
        "cpu", None, False, {"device": "cpu"},
    )  # fmt: skip
    with pytest.raises(
        PermanentError, match=r"CREDIT_DEVICE is cuda, and no GPU is visible; looked at NVML .*nvidia-smi"
    ):
        decided(variant, "cuda", gpus=NONE)
    stood_in = decided(variant, "cuda", "cpu", gpus=NONE)
    assert (stood_in.device, stood_in.fallback) == ("cpu", True)
    assert "trains on the CPU" in (stood_in.warning or "")
    assert stood_in.tags() == {"device": "cpu", "device_fallback": stood_in.reason}


def test_an_xgboost_without_cuda_counts_as_no_gpu() -> None:
    assert decided("xgboost", "auto", cuda=False).device == "cpu"
    with pytest.raises(PermanentError, match="built without CUDA"):
        decided("xgboost", "cuda", cuda=False)
    assert decided("catboost", "cuda", cuda=False).device == "cuda"


@pytest.mark.parametrize("fallback", ["fail", "cpu"])
@pytest.mark.parametrize(
    ("variant", "more", "word"),
    [
        ("lightgbm", {}, "LightGBM trains on the CPU"),
        ("catboost", {"monotone": {"income": -1}}, "monotone"),
        ("catboost", {"params": {"rsm": 0.5}}, "rsm"),
        ("catboost", {"params": {"border_count": 1024}}, "border_count"),
        ("xgboost", {"on_cluster": True}, "CREDIT_DASK_SCHEDULER"),
    ],
)
def test_what_a_library_cannot_do_is_said_and_fails_nobody(
    variant: str, more: dict[str, Any], word: str, fallback: str
) -> None:
    asked = decided(variant, "cuda", fallback, **more)
    assert (asked.device, asked.fallback) == ("cpu", False)
    assert word in (asked.warning or "")
    quiet = decided(variant, "auto", fallback, **more)
    assert (quiet.device, quiet.warning) == ("cpu", None)


def test_catboost_with_free_directions_may_use_the_gpu() -> None:
    assert decided("catboost", "cuda", monotone={"income": 0}, params={"rsm": 1}).device == "cuda"


CUDA = Placement("cuda", "NVIDIA H200")


def failing(error: Exception) -> Callable[[Any], str]:
    def train(device: str) -> str:
        if device == "cuda":
            raise error
        return f"trained on {device}"

    return train


def test_a_gpu_that_runs_out_of_memory_follows_the_policy() -> None:
    error = ValueError(
        "variant xgboost: xgboost refuses the data or parameters: cudaErrorMemoryAllocation out of memory"
    )
    warnings: list[str] = []
    result, decision = run_on(CUDA, "cpu", failing(error), warnings.append)
    assert (result, decision.device, decision.fallback) == ("trained on cpu", "cpu", True)
    assert "out of memory" in decision.tags()["device_fallback"]
    assert len(warnings) == 1
    with pytest.raises(TransientError, match="CREDIT_GPU_FALLBACK=cpu") as raised:
        run_on(CUDA, "fail", failing(error), warnings.append)
    assert raised.value.__cause__ is error


def test_the_real_error_of_a_catboost_without_gpu_follows_the_policy() -> None:
    catboost = pytest.importorskip("catboost")
    if visible_gpus():
        pytest.skip("there is a GPU here")
    tried: list[str] = []

    def train(device: str) -> str:
        tried.append(device)
        kind = "GPU" if device == "cuda" else "CPU"
        model = catboost.CatBoost({"task_type": kind, "iterations": 2, "allow_writing_files": False, "verbose": 0})
        model.fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
        return kind

    assert run_on(CUDA, "cpu", train, print)[0] == "CPU"
    assert tried == ["cuda", "cpu"]
    with pytest.raises(PermanentError, match="the GPU failed in training"):
        run_on(CUDA, "fail", train, print)


def test_bad_data_is_no_failure_of_the_gpu() -> None:
    error = ValueError("variant xgboost: the train target must hold both goods (0) and bads (1) and nothing else")
    for fallback in ("fail", "cpu"):
        with pytest.raises(ValueError, match="the train target"):
            run_on(CUDA, fallback, failing(error), print)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="CUDA"):
        run_on(Placement("cpu", "set"), "cpu", lambda device: (_ for _ in ()).throw(ValueError("CUDA")), print)


def test_peak_memory_is_that_of_this_process_and_of_all_where_it_is_unknown() -> None:
    held = iter([{1: 5, os.getpid(): 10}, {1: 500, os.getpid(): 40}])
    latest: dict[int, int | None] = {os.getpid(): 20}
    nvml = FakeNvml(gpus=TWO[:1], held=lambda: next(held, latest))
    with PeakGpuMemory(nvml=nvml, every=0.001) as memory:
        time.sleep(0.05)
    assert (memory.bytes, nvml.open) == (40, 0)

    used = iter([100])
    other = FakeNvml(gpus=TWO[:1], held=lambda: {1: 77}, total=lambda: next(used, 160))
    with PeakGpuMemory(nvml=other, every=0.001) as memory:
        time.sleep(0.02)
    assert memory.bytes == 60


def test_no_nvml_means_no_figure_and_no_failure() -> None:
    with PeakGpuMemory(nvml=FakeNvml(broken=True)) as memory:
        pass
    assert memory.bytes is None
