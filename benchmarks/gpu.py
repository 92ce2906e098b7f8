"""XGBoost and CatBoost on a GPU: rows per second against the CPU and against the bare library on the GPU, the device
memory, and whether the metrics agree.

Needs an NVIDIA GPU that CUDA sees, nvidia-ml-py for the device memory (`pip install 'credit-assets[gpu]'`), and for the
largest size 40 GiB of memory and 8 GiB of disk: `python -m benchmarks gpu`. Sizes that do not fit are left out, and
said so. Where no GPU is visible, only the rate on the CPU is measured, at the smallest size, with this command beside
it.

A rate is train rows divided by the seconds from the file to the model, at a fixed number of rounds; the device is
warmed up and the library imported before the clock. CatBoost trains without monotone directions on both devices: it
knows none on a GPU.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.processes import child_environment, run
from benchmarks.report import Row

if TYPE_CHECKING:
    from credit_assets.ml.learners.learner import Device

TARGET = "11 GPU"
LEARNERS = ("xgboost", "catboost")
FULL, QUICK = {1_000_000: 3, 3_000_000: 3, 10_000_000: 1, 50_000_000: 1}, {100_000: 1}
# The CPU is measured up to here: beyond it takes an hour and shows the same rate.
CPU_UP_TO = 10_000_000
ROUNDS, QUICK_ROUNDS, SEED = 100, 20, 20071
# Bytes a row needs: of memory, for the columns of the bare library and the copies it makes; of disk, for the file.
_MEMORY, _DISK = 800, 160
COMMAND = "python -m benchmarks gpu"


def measure(quick: bool) -> list[Row]:
    """Rates by learner and size on the GPU, or on the CPU alone where there is none."""
    from benchmarks.training import write_training_set
    from credit_assets.ml.learners.devices import visible_gpus

    gpus, sizes, rounds = visible_gpus(), QUICK if quick else FULL, QUICK_ROUNDS if quick else ROUNDS
    if not gpus:
        print(f"gpu: no GPU is visible (looked at {gpus.looked}); on a machine with one: {COMMAND}", file=sys.stderr)
        sizes = {min(sizes): 1}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        for size, repeats in sizes.items():
            lacking = _lacking(size, Path(folder))
            if lacking:
                print(f"gpu: {size:,} rows left out, for lack of {lacking}", file=sys.stderr)
                continue
            file = Path(folder) / "training_set.parquet"
            write_training_set(file, size)
            for learner in LEARNERS:
                one = _Learner(learner, file, size, rounds, repeats)
                rows += one.on_gpu(gpus.names[0]) if gpus else one.on_cpu_only()
    return rows


def _lacking(rows: int, folder: Path) -> str:
    import psutil

    if psutil.virtual_memory().available < rows * _MEMORY:
        return f"memory ({rows * _MEMORY / 2**30:.0f} GiB are needed)"
    if shutil.disk_usage(folder).free < rows * _DISK:
        return f"disk ({rows * _DISK / 2**30:.0f} GiB are needed)"
    return ""


class _Learner:
    """One learner at one size. A side is a (who, device): ours or the bare library, on cuda or cpu."""

    def __init__(self, learner: str, file: Path, rows: int, rounds: int, repeats: int) -> None:
        self.learner, self.file, self.rows, self.rounds, self.repeats = learner, file, rows, rounds, repeats
        self.what = f"{learner}, {rows:,} rows, {rounds} rounds"

    def on_gpu(self, name: str) -> list[Row]:
        sides = [("ours", "cuda"), ("bare", "cuda"), *([("ours", "cpu")] if self.rows <= CPU_UP_TO else [])]
        found: dict[tuple[str, str], list[dict[str, Any]]] = {side: [] for side in sides}
        for number in range(self.repeats):
            for side in sides if number % 2 == 0 else sides[::-1]:
                found[side].append(self.run(*side))

        def middle(side: tuple[str, str], figure: str) -> float:
            return float(median(one[figure] for one in found[side]))

        gpu, bare, cpu = ("ours", "cuda"), ("bare", "cuda"), ("ours", "cpu")
        rows = [
            Row(
                TARGET, f"{self.what}, on the GPU", middle(gpu, "rate"), middle(bare, "rate"), "rows/s",
                "the library called directly on the GPU", None, better="more", note=name,
            )
        ]  # fmt: skip
        if cpu in found:
            rows.append(
                Row(
                    TARGET, f"{self.what}, GPU against CPU", middle(gpu, "rate"), middle(cpu, "rate"), "rows/s",
                    "the same on all cores", None, better="more", note=name,
                )
            )  # fmt: skip
            rows += self.agreement(found[gpu][0], found[cpu][0])
        if found[gpu][0]["device_bytes"] is not None:
            scale = 2**20
            rows.append(
                Row(
                    TARGET, f"{self.what}, peak device memory", middle(gpu, "device_bytes") / scale,
                    middle(bare, "device_bytes") / scale, "MiB", "the library called directly on the GPU", None,
                    note=name,
                )
            )  # fmt: skip
        return rows

    def agreement(self, gpu: dict[str, Any], cpu: dict[str, Any]) -> list[Row]:
        from credit_assets.ml.learners.devices import TOLERANCE

        return [
            Row(
                TARGET, f"{self.what}, difference of the out-of-time {name} between GPU and CPU",
                abs(gpu[name] - cpu[name]), None, "", "the CPU", limit, note=f"{cpu[name]:.4f} on the CPU",
            )
            for name, limit in TOLERANCE.items()
        ]  # fmt: skip

    def on_cpu_only(self) -> list[Row]:
        ours, bare = self.run("ours", "cpu"), self.run("bare", "cpu")
        return [
            Row(
                TARGET, f"{self.what}, on the CPU", ours["rate"], bare["rate"], "rows/s",
                "the library called directly on the CPU", None, better="more",
                note=f"no GPU was visible; the figures of one: {COMMAND}",
            )
        ]  # fmt: skip

    def run(self, who: str, device: str) -> dict[str, Any]:
        result = self.file.with_name("result.json")
        asked = {
            "who": who, "device": device, "learner": self.learner, "file": str(self.file), "rounds": self.rounds,
            "result": str(result),
        }  # fmt: skip
        argv = [sys.executable, "-m", "benchmarks.gpu", json.dumps(asked)]
        run(argv, env=child_environment(OMP_WAIT_POLICY="PASSIVE"), cwd=Path(__file__).parents[1])
        found: dict[str, Any] = json.loads(result.read_text("utf-8"))
        return found


# What runs in the measured process


def main(asked: dict[str, Any]) -> None:
    import numpy as np

    from benchmarks.report import cores
    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.evidence.evaluation import evaluate
    from credit_assets.ml.learners.devices import PeakGpuMemory
    from credit_assets.ml.learners.encoding import levels_of
    from credit_assets.ml.learners.training import splits

    portfolio = load_portfolio()
    parts = splits(Rows.stored(asked["file"]), portfolio.feature_names)
    categorical = portfolio.categorical_features
    free = asked["learner"] == "catboost"
    job = {
        **asked,
        "parts": parts,
        "levels": levels_of(Rows.of(parts["train"].rows).batches(categorical), categorical),
        "monotone": {} if free else dict(portfolio.monotone),
        "features": portfolio.feature_names,
        "threads": cores(),
    }
    fit = {"ours": _ours, "bare": _bare}[asked["who"]]
    _warmed(asked["learner"], asked["device"])
    with PeakGpuMemory() as memory:
        begun = time.perf_counter()
        predict = fit(job)
        wall = time.perf_counter() - begun
    test, outcome = parts["test"]
    target = np.asarray(outcome)
    pd = 1 / (1 + np.exp(-predict(test)))
    found = evaluate(target.astype(np.int8), pd)
    loss = float(-np.where(target == 1, np.log(pd), np.log1p(-pd)).mean())
    record = {
        "wall": wall,
        "rate": len(parts["train"][0]) / wall,
        "device_bytes": memory.bytes if asked["device"] == "cuda" else None,
        "auc": found.auc,
        "brier": found.brier,
        "logloss": loss,
    }
    Path(asked["result"]).write_text(json.dumps(record), encoding="utf-8")


def _warmed(learner: str, device: Device) -> None:
    """Import the library and let it make its context on the device."""
    import numpy as np
    import pandas as pd

    from credit_assets.ml.learners import VARIANTS
    from credit_assets.ml.learners.learner import FitConfig, Sample

    x, y = np.random.default_rng(1).random((2000, 2)), np.arange(2000) % 2
    frame = pd.DataFrame(x, columns=["a", "b"])
    config = FitConfig(seed=1, max_rounds=2, early_stopping_rounds=2, device=device)
    VARIANTS[learner].fit(Sample(frame, y), Sample(frame, y), monotone={}, categorical={}, config=config)


def _ours(job: dict[str, Any]) -> Any:
    from credit_assets.ml.learners import VARIANTS
    from credit_assets.ml.learners.encoding import encode
    from credit_assets.ml.learners.learner import FitConfig

    learner, parts = VARIANTS[job["learner"]], job["parts"]
    config = FitConfig(_params(job), SEED, job["threads"], job["rounds"], job["rounds"], job["device"])
    fitted = learner.fit(
        parts["train"], parts["validation"], monotone=job["monotone"], categorical=job["levels"], config=config
    )
    return lambda rows: learner.predict_margin(
        fitted.model, encode(rows, job["features"], job["levels"]), threads=job["threads"]
    )


def _params(job: dict[str, Any]) -> dict[str, Any]:
    # The same on both devices: a GPU samples no features.
    return {"rsm": 1.0} if job["learner"] == "catboost" else {}


def _bare(job: dict[str, Any]) -> Any:
    """The library alone, as its guide to GPUs says: all columns in memory, then one call."""
    import pyarrow.parquet as pq

    from credit_assets.ml.learners import VARIANTS

    names, levels = list(job["features"]), job["levels"]
    table = pq.read_table(job["file"], columns=[*names, "default", "split"], read_dictionary=list(levels))
    params = VARIANTS[job["learner"]].resolve(_params(job))
    directions = [int(job["monotone"].get(name, 0)) for name in names]
    call = _bare_xgboost if job["learner"] == "xgboost" else _bare_catboost
    return call(job, table, names, params, directions)


def _columns(table: Any, split: str, names: list[str], levels: dict[str, tuple[str, ...]]) -> tuple[Any, Any]:
    """A frame of one split (float32, categories with the given levels) and its target."""
    import numpy as np
    import pandas as pd
    import pyarrow.compute as pc

    part = table.filter(pc.equal(table["split"], split))
    columns = {}
    for name in names:
        if name in levels:
            columns[name] = pd.Categorical(part[name].to_pandas().astype(object), categories=list(levels[name]))
        else:
            columns[name] = part[name].to_numpy().astype(np.float32)
    return pd.DataFrame(columns, copy=False), part["default"].to_numpy()


def _bare_xgboost(job: dict[str, Any], table: Any, names: list[str], params: Any, directions: list[int]) -> Any:
    import xgboost as xgb

    def data(split: str, ref: Any = None) -> Any:
        frame, y = _columns(table, split, names, job["levels"])
        more = {"enable_categorical": True, "max_bin": params["max_bin"], "nthread": job["threads"]}
        return xgb.QuantileDMatrix(frame, y, ref=ref, **more)

    train = data("train")
    booster = xgb.train(
        {
            **params, "objective": "binary:logistic", "eval_metric": "logloss", "tree_method": "hist",
            "device": job["device"], "monotone_constraints": f"({','.join(map(str, directions))})", "seed": SEED,
            "nthread": job["threads"],
        },
        train,
        num_boost_round=job["rounds"],
        evals=[(train, "train"), (data("validation", train), "validation")],
        verbose_eval=False,
    )  # fmt: skip
    return lambda rows: booster.predict(data("test", train), output_margin=True)


def _bare_catboost(job: dict[str, Any], table: Any, names: list[str], params: Any, directions: list[int]) -> Any:
    import catboost

    def pool(split: str) -> Any:
        frame, y = _columns(table, split, names, job["levels"])
        for name in job["levels"]:
            column = frame[name].cat.add_categories(["__missing__"])
            frame[name] = column.fillna("__missing__")
        return catboost.Pool(frame, y.astype(int), cat_features=list(job["levels"]), thread_count=job["threads"])

    if job["device"] == "cuda":
        params = {name: value for name, value in params.items() if name != "rsm"}
    model = catboost.CatBoost(
        {
            **params, "loss_function": "Logloss", "eval_metric": "Logloss", "iterations": job["rounds"],
            "bootstrap_type": "MVS", "random_seed": SEED, "thread_count": job["threads"], "logging_level": "Silent",
            "task_type": "GPU" if job["device"] == "cuda" else "CPU", "allow_writing_files": False,
            "use_best_model": False,
        }
    )  # fmt: skip
    model.fit(pool("train"), eval_set=pool("validation"))
    return lambda rows: model.predict(pool("test"), prediction_type="RawFormulaVal")


def command(argv: Sequence[str]) -> None:
    main(json.loads(argv[0]))


if __name__ == "__main__":
    command(sys.argv[1:])
