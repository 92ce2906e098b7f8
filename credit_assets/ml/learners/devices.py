"""Which device a learner trains on, what happens when a GPU is not there or fails, and how much of its memory is used.

Belongs here: looking for a GPU, the decision, the policy when it cannot be had, and the sampling of device memory. Does
not belong here: what a learner does with a device (its own module) and where the decision is recorded (the asset).

Nothing of this is part of a model's identity: a GPU adds in another order than a CPU, and the metrics have to agree
within TOLERANCE. The device that was used is recorded beside the model.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from credit_assets.failures import PermanentError, TransientError

if TYPE_CHECKING:
    from credit_assets.ml.learners import Variant
    from credit_assets.ml.learners.learner import Device

_T = TypeVar("_T")

TOLERANCE = {"auc": 0.005, "brier": 0.001, "logloss": 0.003}
"""Largest difference of out-of-time metrics between a GPU and the CPU that `benchmarks.gpu` lets pass: other bins and
draws, another order of sums."""

_SAMPLE_SECONDS = 0.05
_ABOUT_A_GPU = re.compile(r"cuda|gpu|nvml|nccl|cublas|thrust|device memory", re.I)
# What another attempt may not meet again: memory that another process held, a device that was being reset.
_MAY_PASS = re.compile(
    r"out of memory|memory ?allocation|bad_alloc|not enough memory|launch fail|unavailable|busy", re.I
)


@dataclass(frozen=True)
class Gpus:
    """The GPUs that CUDA may use in this process (their names), and in words where was looked for them."""

    names: tuple[str, ...]
    looked: str

    def __bool__(self) -> bool:
        return bool(self.names)


@dataclass(frozen=True)
class Placement:
    """Where a variant trains and why. `warning` is for the log; `fallback` says that a GPU was meant to be used and the
    CPU stands in for it."""

    device: Device
    reason: str
    warning: str | None = None
    fallback: bool = False

    def tags(self) -> dict[str, str]:
        """Tags of the training's record: the device, and what kept it from the GPU."""
        return {"device": self.device, **({"device_fallback": self.reason} if self.fallback else {})}


def visible_gpus(
    environ: Mapping[str, str] = os.environ,
    *,
    nvml: Any = None,
    listing: Callable[[], str | None] | None = None,
    nodes: Path = Path("/dev"),
) -> Gpus:
    """The GPUs that are there, less those that CUDA_VISIBLE_DEVICES hides.

    Asked in turn, until one answers: NVML (`nvml`: the module pynvml, of the package nvidia-ml-py), `nvidia-smi -L`
    (`listing`), the device nodes /dev/nvidia0, ... No CUDA context is made: that takes seconds and device memory, and
    a process that has one cannot fork.
    """
    looked = []
    gpus: list[tuple[str, str]] | None = None
    try:
        gpus = _of_nvml(nvml if nvml is not None else _pynvml())
        looked.append("NVML")
    except ImportError:
        looked.append("NVML (nvidia-ml-py is not installed)")
    except Exception as error:  # NVMLError: no driver, no library, or a version that does not fit
        looked.append(f"NVML ({error})")
    if not gpus:
        text = (listing or _nvidia_smi)()
        looked.append("nvidia-smi" if text is not None else "nvidia-smi (not there or failing)")
        gpus = re.findall(r"^GPU \d+: (.+?) \(UUID: (\S+?)\)", text or "", re.M) or gpus
    if not gpus:
        looked.append(f"{nodes}/nvidia0")
        gpus = [(node.name, "") for node in sorted(nodes.glob("nvidia[0-9]*"))]
    hidden = environ.get("CUDA_VISIBLE_DEVICES")
    names = [gpus[place][0] for place in _visible([uuid for _, uuid in gpus], hidden)]
    if hidden is not None:
        looked.append(f"CUDA_VISIBLE_DEVICES={hidden!r}")
    return Gpus(tuple(names), ", ".join(looked))


@dataclass(frozen=True)
class DevicePolicy:
    """CREDIT_DEVICE (`device`), and CREDIT_GPU_FALLBACK: what happens when a GPU that is wanted cannot be had."""

    device: Literal["auto", "cpu", "cuda"]
    fallback: Literal["fail", "cpu"]


def decide(
    policy: DevicePolicy,
    learner: Variant,
    *,
    monotone: Mapping[str, int],
    params: Mapping[str, Any],
    on_cluster: bool = False,
    gpus: Gpus | None = None,
) -> Placement:
    """Where a variant trains.

    | device | learner cannot use a GPU | GPU there | no GPU |
    |---|---|---|---|
    | cpu | CPU | CPU | CPU |
    | auto | CPU | GPU | CPU |
    | cuda | CPU, with a warning | GPU | fail: PermanentError; cpu: CPU with a warning and a tag |

    What a library cannot do is no failure of a GPU: who asks for one wants it for the learners that can use it.

    Parameters
    ----------
    policy
        What the settings want.
    learner
        The variant.
    monotone
        The portfolio's directions.
    params
        Those that were set, without the defaults.
    on_cluster
        Whether it trains on the workers of a Dask cluster.
    gpus
        Those that are there; looked up where they are not given.

    Returns
    -------
    Placement
        The device with the reason for it.

    Raises
    ------
    PermanentError
        Where a GPU is wanted, none is there, and the policy lets nothing stand in for it.

    Examples
    --------
    >>> from credit_assets.ml.learners import VARIANTS
    >>> from credit_assets.ml.learners.devices import DevicePolicy, decide
    >>> decide(DevicePolicy("cuda", "fail"), VARIANTS["lightgbm"], monotone={}, params={}).device
    'cpu'
    """
    if policy.device == "cpu":
        return Placement("cpu", "CREDIT_DEVICE is cpu")
    obstacle = learner.gpu_obstacle(params, monotone)
    if on_cluster and not obstacle:
        obstacle = "the workers of CREDIT_DASK_SCHEDULER train on the CPU"
    if obstacle:
        warning = f"CREDIT_DEVICE is cuda, but {obstacle}" if policy.device == "cuda" else None
        return Placement("cpu", obstacle, warning)
    gpus = visible_gpus() if gpus is None else gpus
    missing = "" if gpus else f"no GPU is visible; looked at {gpus.looked}"
    if gpus and not learner.built_for_cuda():
        missing = f"the installed {learner.distribution} is built without CUDA"
    if not missing:
        return Placement("cuda", f"{gpus.names[0]}, found by {gpus.looked}")
    if policy.device == "auto":
        return Placement("cpu", missing)
    if policy.fallback == "fail":
        raise PermanentError(
            f"CREDIT_DEVICE is cuda, and {missing}; run {learner.label} where a GPU is, or set CREDIT_DEVICE=auto or "
            "CREDIT_GPU_FALLBACK=cpu"
        )
    return Placement("cpu", missing, f"CREDIT_DEVICE is cuda, and {missing}: {learner.label} trains on the CPU", True)


def run_on(
    decision: Placement,
    fallback: Literal["fail", "cpu"],
    train: Callable[[Device], _T],
    warn: Callable[[str], object],
) -> tuple[_T, Placement]:
    """`train` on the device that was decided on, and what was used in the end.

    A GPU that fails in the middle (memory, driver, an option that the library has for the CPU only) follows the same
    policy. "cpu": one attempt on the CPU at once, with a warning. "fail": TransientError where another attempt may find
    the memory free or the device back, so that the retry policy has its say; else PermanentError. Every other
    exception passes as it is.
    """
    if decision.warning:
        warn(decision.warning)
    try:
        return train(decision.device), decision
    except Exception as error:
        failure = _gpu_failure(error) if decision.device == "cuda" else None
        if failure is None:
            raise
        reason = f"the GPU failed in training: {' '.join(str(error).split())[:300]}"
        if fallback == "fail":
            raise failure(f"{reason}; set CREDIT_GPU_FALLBACK=cpu to train on the CPU when that happens") from error
    warn(f"{reason}: trained on the CPU instead")
    return train("cpu"), replace(decision, device="cpu", reason=reason, fallback=True)


def _gpu_failure(error: Exception) -> type[TransientError | PermanentError] | None:
    """The kind of failure that an error of a library is, where the GPU is at fault.

    XGBoost and CatBoost raise one class for everything and give no code: their words decide, and only here.
    """
    if _MAY_PASS.search(str(error)):
        return TransientError
    return PermanentError if _ABOUT_A_GPU.search(str(error)) else None


def _pynvml() -> Any:
    import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return pynvml


def _of_nvml(nvml: Any) -> list[tuple[str, str]]:
    """Name and UUID of each GPU."""
    nvml.nvmlInit()
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(place) for place in range(nvml.nvmlDeviceGetCount())]
        return [(_text(nvml.nvmlDeviceGetName(one)), _text(nvml.nvmlDeviceGetUUID(one))) for one in handles]
    finally:
        nvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    # Bytes in releases of pynvml before 11.5.
    return value.decode() if isinstance(value, bytes) else value


def _nvidia_smi() -> str | None:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _visible(uuids: Sequence[str], setting: str | None) -> list[int]:
    """Places of the GPUs that CUDA_VISIBLE_DEVICES leaves: numbers or (beginnings of) UUIDs, up to the first that names
    none, as CUDA reads it. An empty text hides all."""
    if setting is None:
        return list(range(len(uuids)))
    places = []
    for entry in setting.split(","):
        one = entry.strip()
        if one.isdigit():
            named = [int(one)] if int(one) < len(uuids) else []
        else:
            named = [place for place, uuid in enumerate(uuids) if one and uuid.startswith(one)]
        if len(named) != 1:
            break
        places += named
    return places


class PeakGpuMemory:
    """Samples the device memory of this process while it is open; `bytes` is the largest sum over all GPUs seen.

    `bytes` stays None where NVML is not there. In a container the driver may not know the process by its number; then
    what all processes use beyond what they used at the start counts. Sampled every 50 ms: a shorter peak can be
    missed. `nvml` is the module pynvml, looked up where it is not given.
    """

    def __init__(self, *, nvml: Any = None, pid: int | None = None, every: float = _SAMPLE_SECONDS) -> None:
        self.bytes: int | None = None
        self._nvml, self._pid, self._every = nvml, os.getpid() if pid is None else pid, every
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._handles: list[Any] = []
        self._before = 0

    def __enter__(self) -> PeakGpuMemory:
        try:
            nvml = self._nvml = self._nvml if self._nvml is not None else _pynvml()
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(place) for place in range(nvml.nvmlDeviceGetCount())]
            self._before = self._used_by_all()
        except Exception:  # no NVML, or one that does not answer: nothing is known, and training goes on
            return self
        if self._handles:
            self._thread = threading.Thread(target=self._watch, name="gpu-memory", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._nvml.nvmlShutdown()

    def _watch(self) -> None:
        while True:
            try:
                used = self._used()
            except Exception:  # a device that was lost shows in training
                return
            self.bytes = max(self.bytes or 0, used)
            if self._stop.wait(self._every):
                return

    def _used(self) -> int:
        mine = [
            process.usedGpuMemory
            for handle in self._handles
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            if process.pid == self._pid and process.usedGpuMemory is not None
        ]
        return int(sum(mine)) if mine else max(0, self._used_by_all() - self._before)

    def _used_by_all(self) -> int:
        return sum(int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in self._handles)
