"""Training on a Dask cluster of two workers of one thread, held against one process with two threads on the same file.

Both give a whole candidate (fit, calibration, evaluation, drift reference). The cluster is started before the clock and
its workers have imported the library: a cluster is there when a lender trains on it. On one machine this shows what
the distribution costs, not what it wins; two machines have twice the memory and cores. The out-of-time metrics of the
two must agree within `credit_assets.ml.learners.dask.TOLERANCE`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import Cost, child_environment, paired, run
from benchmarks.report import Row, compared

TARGET = "10 distributed"
WORKERS = 2
FULL, QUICK = (1_000_000, 100, 1), (50_000, 30, 1)


def measure(quick: bool) -> list[Row]:
    """Wall and CPU time, peak memory of the largest process, and the difference of each metric."""
    from benchmarks.training import write_training_set
    from credit_assets.ml.learners.dask import LEARNERS

    rows, rounds, repeats = QUICK if quick else FULL
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-distributed-") as folder:
        file = Path(folder) / "training_set.parquet"
        write_training_set(file, rows)
        for learner in LEARNERS:
            found += _learner(learner, file, rows, rounds, repeats)
    return found


def _learner(learner: str, file: Path, rows: int, rounds: int, repeats: int) -> list[Row]:
    from credit_assets.ml.learners.dask import TOLERANCE

    metrics: dict[str, list[dict[str, float]]] = {"dask": [], "alone": []}

    def side(how: str) -> Cost:
        result = file.with_name(f"{how}.json")
        asked = {"learner": learner, "file": str(file), "rounds": rounds, "result": str(result)}
        argv = [sys.executable, "-m", "benchmarks.distributed", how, json.dumps(asked)]
        environment = child_environment(OMP_WAIT_POLICY="PASSIVE")
        whole = run(argv, env=environment, cwd=Path(__file__).parents[1])
        figures = json.loads(result.read_text("utf-8"))
        metrics[how].append(figures["metrics"])
        return Cost(figures["wall"], whole.cpu, whole.peak)

    ours, peer = paired(lambda: side("dask"), lambda: side("alone"), repeats)
    what = f"{learner}, {rows:,} rows, {rounds} rounds"
    shown = compared(
        TARGET,
        f"{what}, {WORKERS} Dask workers of one thread",
        ours,
        peer,
        peer_is=f"one process, {WORKERS} threads",
        limit=None,
        figures=("wall", "cpu", "peak"),
        note="wall without the cluster's start; CPU and peak of whole processes, with scheduler and imports",
    )
    for name, limit in TOLERANCE.items():
        apart = median(abs(a[name] - b[name]) for a, b in zip(metrics["dask"], metrics["alone"], strict=True))
        shown.append(
            Row(
                TARGET, f"{what}, difference of the out-of-time {name}", apart, None, "", "one process", limit,
                note=f"{metrics['alone'][0][name]:.4f} in one process",
            )
        )  # fmt: skip
    return shown


# What runs in the measured process


def _config(asked: dict[str, Any]) -> Any:
    from credit_assets.ml.learners.training import TrainingConfig

    return TrainingConfig(threads=WORKERS, max_rounds=asked["rounds"], early_stopping_rounds=asked["rounds"])


def alone(asked: dict[str, Any]) -> None:
    __import__(asked["learner"])
    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.learners.candidates import train_candidate

    portfolio = load_portfolio()
    begun = time.perf_counter()
    candidate = train_candidate(Rows.stored(asked["file"]), asked["learner"], portfolio, _config(asked))
    _write(asked, candidate, time.perf_counter() - begun)


def dask(asked: dict[str, Any]) -> None:
    from distributed import Client, LocalCluster

    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.learners.dask import train_on_dask
    from credit_assets.ml.learners.dask_cluster import Cluster

    portfolio = load_portfolio()
    options = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as running:
        with Client(running) as client:
            client.run(__import__, f"{asked['learner']}.dask")
            client.run(__import__, "credit_assets.ml.learners.training")
        begun = time.perf_counter()
        found = train_on_dask(
            Path(asked["file"]), asked["learner"], portfolio, _config(asked), Cluster(running.scheduler_address)
        )
        wall = time.perf_counter() - begun
        if found.workers != WORKERS:
            raise RuntimeError(f"trained on {found.workers} workers, not {WORKERS}")
    _write(asked, found.candidate, wall)


def _write(asked: dict[str, Any], candidate: Any, wall: float) -> None:
    import numpy as np

    test, evaluation = candidate.predictions["test"], candidate.metrics["test"]
    loss = float(-np.where(test.target == 1, np.log(test.pd), np.log1p(-test.pd)).mean())
    metrics = {"auc": evaluation.auc, "brier": evaluation.brier, "logloss": loss}
    Path(asked["result"]).write_text(json.dumps({"wall": wall, "metrics": metrics}), encoding="utf-8")


def main(argv: Sequence[str]) -> None:
    {"alone": alone, "dask": dask}[argv[0]](json.loads(argv[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
