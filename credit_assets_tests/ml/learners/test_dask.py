"""Training on a real Dask cluster of two worker processes, and what happens when the cluster fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.failures import PermanentError, TransientError, is_transient
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.candidates import Candidate, train_candidate
from credit_assets.ml.learners.dask import (
    LEARNERS,
    TOLERANCE,
    DaskTraining,
    one_node_note,
    train_on_dask,
)
from credit_assets.ml.learners.dask_cluster import Cluster
from credit_assets.ml.learners.dask_shares import Plan, footer, read
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets_tests.support.modelling import FEATURES, PORTFOLIO, quick_config, training_set

ROWS = 6000
# Nothing is drawn and one method of constraints: what is left is how bins are found and in which order sums are made.
SAME = {
    "xgboost": {"learning_rate": 0.1, "max_depth": 3, "subsample": 1.0, "colsample_bytree": 1.0},
    "lightgbm": {
        "num_leaves": 7, "bagging_freq": 0, "bagging_fraction": 1.0, "feature_fraction": 1.0,
        "monotone_constraints_method": "basic",
    },
}  # fmt: skip


def written(frame: pd.DataFrame, path: Path, group: int = 1000) -> Path:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=group)
    return path


def dask_cluster(**options: Any) -> Any:
    distributed = pytest.importorskip("distributed", reason="the dask extra is not installed")
    return distributed.LocalCluster(
        **{"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": "ERROR", **options}
    )


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return training_set(ROWS)


@pytest.fixture(scope="module")
def path(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(frame, tmp_path_factory.mktemp("store") / "2020-12-31.parquet")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with dask_cluster() as running:
        yield Cluster(running.scheduler_address, connect_seconds=5, watch_seconds=0.2, silent_seconds=20)


@dataclass(frozen=True)
class Pair:
    alone: Candidate
    on_dask: DaskTraining


@pytest.fixture(scope="module")
def pairs(frame: pd.DataFrame, path: Path, cluster: Cluster) -> dict[str, Pair]:
    """Each learner trained with its own sampling, in one process and on the cluster."""
    return {
        name: Pair(
            train_candidate(frame, name, PORTFOLIO, quick_config(name, max_rounds=150)),
            train_on_dask(path, name, PORTFOLIO, quick_config(name, max_rounds=150), cluster),
        )
        for name in LEARNERS
    }


def logloss(candidate: Candidate) -> float:
    found = candidate.predictions["test"]
    return float(-np.where(found.target == 1, np.log(found.pd), np.log1p(-found.pd)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_metrics_equal_training_in_one_process(pairs: dict[str, Pair], name: str) -> None:
    alone, found = pairs[name].alone, pairs[name].on_dask
    assert (found.engine, found.workers, found.threads) == ("dask (2 workers)", 2, 2)
    here, there = alone.metrics["test"], found.candidate.metrics["test"]
    assert there.auc == pytest.approx(here.auc, abs=TOLERANCE["auc"])
    assert there.brier == pytest.approx(here.brier, abs=TOLERANCE["brier"])
    assert logloss(found.candidate) == pytest.approx(logloss(alone), abs=TOLERANCE["logloss"])


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_all_else_of_the_candidate_is_the_same(pairs: dict[str, Pair], name: str) -> None:
    alone, found = pairs[name].alone, pairs[name].on_dask.candidate
    for split, predictions in alone.predictions.items():
        np.testing.assert_array_equal(found.predictions[split].target, predictions.target)
        correlation = np.corrcoef(found.predictions[split].pd, predictions.pd)[0, 1]
        assert correlation > 0.95, split
    assert found.scorer.categories == alone.scorer.categories
    assert found.scorer.features == alone.scorer.features
    assert found.reference.features == alone.reference.features
    assert set(found.history) == set(alone.history)
    lengths = {len(curve) for curve in found.history.values()}
    assert lengths == {min(150, found.best_rounds + 10)}
    assert found.history["validation-logloss"][found.best_rounds - 1] == min(found.history["validation-logloss"])
    changed = {"monotone_constraints_method": "basic"} if name == "lightgbm" else {}
    assert found.params == {**alone.params, **changed}
    assert bool(pairs[name].on_dask.notes) == (name == "lightgbm")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_without_sampling_the_first_rounds_are_the_same_and_training_is_repeatable(
    frame: pd.DataFrame, path: Path, cluster: Cluster, tmp_path: Path, name: str
) -> None:
    config = quick_config(name, params=SAME[name], max_rounds=20)
    alone = train_candidate(frame, name, PORTFOLIO, config)
    first, again = (train_on_dask(path, name, PORTFOLIO, config, cluster).candidate for _ in range(2))
    for curve, values in alone.history.items():
        # Bins come from sketches of half the rows each: that is the whole difference.
        np.testing.assert_allclose(first.history[curve][:5], values[:5], atol=2e-4)
    for number, one in enumerate((first, again)):
        one.scorer.save(tmp_path / str(number))
    files = [sorted((tmp_path / number).iterdir()) for number in ("0", "1")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    assert b"127.0.0.1" not in b"".join(file.read_bytes() for file in files[0])


@pytest.mark.slow
def test_directions_hold_in_a_model_of_the_cluster(pairs: dict[str, Pair]) -> None:
    for name in LEARNERS:
        scorer = pairs[name].on_dask.candidate.scorer
        base = training_set(300, seed=5).drop(columns=["burden"])
        low, high = (scorer.margin(base.assign(inquiries=value)) for value in (0.0, 6.0))
        assert (high >= low - 1e-9).all(), name
        assert (high > low).any(), name


# The plan, without a cluster.


@pytest.mark.parametrize("group", [200, 1500, ROWS])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_row_is_read_by_one_worker(frame: pd.DataFrame, tmp_path: Path, group: int, workers: int) -> None:
    plan = Plan.of(written(frame, tmp_path / "set.parquet", group), PORTFOLIO, workers)
    for split in ("train", "validation", "test"):
        wanted = frame[frame["split"] == split].reset_index(drop=True)
        shares = [plan.share(split, worker) for worker in range(workers)]
        parts = [read(plan, share) for share in shares]
        assert [share.rows for share in shares] == [len(positions) for _, positions in parts]
        assert max(share.rows for share in shares) - min(share.rows for share in shares) <= max(
            group if group < 1000 else 1, 1
        )
        positions = np.concatenate([positions for _, positions in parts])
        np.testing.assert_array_equal(np.sort(positions), np.arange(len(wanted)))
        together = pa.concat_tables([table.select(FEATURES) for table, _ in parts]).to_pandas()
        together.index = pd.Index(positions)
        pd.testing.assert_frame_equal(together.sort_index(), wanted[list(FEATURES)], check_dtype=False)


def test_a_worker_skips_the_row_groups_of_others_where_there_are_many(frame: pd.DataFrame, tmp_path: Path) -> None:
    plan = Plan.of(written(frame, tmp_path / "set.parquet", 200), PORTFOLIO, 2)
    first, second = (set(plan.share("train", worker).groups) for worker in (0, 1))
    assert not first & second
    # In turn: each worker sees early and late loans.
    assert min(first) == 0 and min(second) == 1  # noqa: PT018


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["debt"]), "lacks the columns debt"),
        (lambda f: f[f["split"] != "validation"], "has no validation rows"),
        (lambda f: f.assign(default=np.int8(0)), "train rows are all good"),
        (lambda f: f.assign(split=f["split"].replace("test", "later")), "rows of split later"),
    ],
)
def test_a_set_that_cannot_be_trained_on_is_refused_as_in_one_process(
    frame: pd.DataFrame, tmp_path: Path, change: Any, message: str
) -> None:
    changed = change(frame)
    with pytest.raises(ValueError, match=message):
        Plan.of(written(changed, tmp_path / "set.parquet"), PORTFOLIO, 2)
    with pytest.raises(ValueError, match=message):
        train_candidate(changed, "xgboost", PORTFOLIO, quick_config("xgboost"))


def test_a_file_that_is_written_again_meanwhile_is_noticed(frame: pd.DataFrame, tmp_path: Path) -> None:
    plan = Plan.of(written(frame, tmp_path / "set.parquet"), PORTFOLIO, 1)
    written(frame.assign(debt=frame["debt"] + 1), tmp_path / "set.parquet")
    with pytest.raises(TransientError, match="written again"):
        read(plan, plan.share("train", 0))
    assert footer(tmp_path / "set.parquet") != plan.footer


def test_catboost_says_that_it_trains_on_one_node(path: Path) -> None:
    assert "trains on one node" in (one_node_note("catboost") or "")
    assert [one_node_note(name) for name in LEARNERS] == [None, None]
    assert set(LEARNERS) < set(VARIANTS)
    with pytest.raises(ValueError, match="no Dask interface"):
        train_on_dask(path, "catboost", PORTFOLIO, TrainingConfig(), Cluster("tcp://127.0.0.1:1"))


# Clusters that are not what they should be.


def test_without_dask_the_message_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PermanentError, match=r"CREDIT_DASK_SCHEDULER.*pip install 'credit-assets\[dask\]'"):
        train_on_dask(path, "xgboost", PORTFOLIO, quick_config("xgboost"), Cluster("tcp://127.0.0.1:1"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://no-such-host.invalid:8786"])
def test_a_bad_address_fails_soon_and_names_the_setting(path: Path, address: str) -> None:
    pytest.importorskip("distributed", reason="the dask extra is not installed")
    with pytest.raises(TransientError, match=rf"CREDIT_DASK_SCHEDULER {address}: no Dask scheduler answers within 1 s"):
        train_on_dask(path, "xgboost", PORTFOLIO, quick_config("xgboost"), Cluster(address, connect_seconds=1))


def test_a_cluster_without_workers_is_said(path: Path) -> None:
    with dask_cluster(n_workers=0) as empty, pytest.raises(TransientError, match="has no workers"):
        train_on_dask(
            path, "xgboost", PORTFOLIO, quick_config("xgboost"), Cluster(empty.scheduler_address, connect_seconds=0.5)
        )


@pytest.mark.slow
def test_other_versions_on_a_worker_are_named(path: Path, cluster: Cluster) -> None:
    from distributed import Client

    def pretend(version: str | None, dask_worker: Any) -> Any:
        import distributed.versions as versions

        if dask_worker.name in (0, "0"):
            real = versions.version
            versions._version_cached.cache_clear()
            versions.version = lambda name: version if name == "xgboost" and version else real(name)

    def back() -> None:
        import importlib.metadata

        import distributed.versions as versions

        versions.version = importlib.metadata.version
        versions._version_cached.cache_clear()

    with Client(cluster.scheduler, set_as_default=False) as client:
        client.run(pretend, "1.7.6")
        try:
            with pytest.raises(PermanentError, match=r"xgboost 1\.7\.6 on worker 0, .* here\); run scheduler, workers"):
                train_on_dask(path, "xgboost", PORTFOLIO, quick_config("xgboost"), cluster)
        finally:
            client.run(back)


class OnlyHere:
    """A file that one process can open: a folder that the workers do not mount."""

    def __init__(self, path: Path) -> None:
        self.path, self.pid = path, os.getpid()

    def open(self, mode: str) -> Any:
        if os.getpid() != self.pid:
            raise FileNotFoundError(self.path)
        return self.path.open(mode)

    def __str__(self) -> str:
        return str(self.path)


@pytest.mark.slow
def test_a_store_that_the_workers_cannot_read_is_said(path: Path, cluster: Cluster) -> None:
    with pytest.raises(PermanentError, match=r"Dask worker tcp://.* cannot read .*CREDIT_STORE_URI"):
        train_on_dask(OnlyHere(path), "lightgbm", PORTFOLIO, quick_config("lightgbm"), cluster)


@pytest.mark.slow
def test_parameters_that_the_library_refuses_are_no_failure_of_the_cluster(path: Path, cluster: Cluster) -> None:
    config = quick_config("lightgbm", params={"max_bin": 2, "min_data_in_bin": 1, "num_leaves": 131_072})
    changed = replace(config, params={**config.params, "bagging_fraction": 1.5})
    with pytest.raises(ValueError, match="bagging_fraction"):
        train_on_dask(path, "lightgbm", PORTFOLIO, changed, cluster)


ENDLESS = {"max_rounds": 1_000_000, "early_stopping_rounds": 1_000_000}


def _when_training(address: str, act: Any) -> threading.Thread:
    """Calls `act` with the workers' process ids as soon as a learner's training task has run for a moment."""
    from distributed import Client

    def target() -> None:
        with Client(address, set_as_default=False, timeout=120) as client:
            pids = client.run(os.getpid)
            while True:
                keys = [str(key) for held in client.processing().values() for key in held]
                # What the libraries call their training tasks: XGBoost's wrapper and LightGBM's function.
                if sum(key.startswith(("fn-", "_train_part-", "_with_fresh_network-")) for key in keys) >= 2:
                    break
                time.sleep(0.1)
            time.sleep(1.0)
            act(sorted(pids.values()))

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_worker_lost_in_training_is_transient_and_the_next_attempt_trains(path: Path, name: str) -> None:
    with dask_cluster() as running:
        cluster = Cluster(running.scheduler_address, connect_seconds=60, watch_seconds=0.2, silent_seconds=20)
        killer = _when_training(running.scheduler_address, lambda pids: os.kill(pids[0], signal.SIGKILL))
        with pytest.raises(TransientError, match=r"CREDIT_DASK_SCHEDULER .* while .* trained") as raised:
            train_on_dask(path, name, PORTFOLIO, quick_config(name, **ENDLESS), cluster)
        assert is_transient(raised.value)
        killer.join()
        found = train_on_dask(path, name, PORTFOLIO, quick_config(name), cluster)
        assert found.workers in (1, 2)
        assert found.candidate.metrics["test"].auc > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_after_a_killed_step_the_next_training_has_the_workers(path: Path, name: str) -> None:
    with dask_cluster() as running:
        address = running.scheduler_address
        code = (
            "import sys; from pathlib import Path; import credit_assets_tests.ml.learners.test_dask as t; "
            "t.train_on_dask(Path(sys.argv[1]), sys.argv[2], t.PORTFOLIO, t.quick_config(sys.argv[2], **t.ENDLESS), "
            "t.Cluster(sys.argv[3], connect_seconds=60))"
        )
        step = subprocess.Popen([sys.executable, "-c", code, str(path), name, address])
        _when_training(address, lambda _: step.kill()).join()
        assert step.wait() == -signal.SIGKILL
        cluster = Cluster(address, connect_seconds=60, watch_seconds=0.2, silent_seconds=20)
        found = train_on_dask(path, name, PORTFOLIO, quick_config(name), cluster)
        assert found.workers == 2
        assert found.candidate.metrics["test"].auc > 0.7


@pytest.mark.slow
def test_a_scheduler_lost_in_training_is_transient(path: Path, tmp_path: Path) -> None:
    Client = pytest.importorskip("distributed", reason="the dask extra is not installed").Client
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nworkers", "2", "--nthreads", "1"]
        workers.append(subprocess.Popen([*worker, "--no-dashboard"], stderr=subprocess.DEVNULL))
        with Client(address, set_as_default=False, timeout=120) as client:
            client.wait_for_workers(2)
        _when_training(address, lambda pids: scheduler.kill())
        with pytest.raises(TransientError, match="CREDIT_DASK_SCHEDULER"):
            train_on_dask(
                path, "xgboost", PORTFOLIO, quick_config("xgboost", **ENDLESS),
                Cluster(address, connect_seconds=60, watch_seconds=0.2, silent_seconds=20),
            )  # fmt: skip
    finally:
        for process in (scheduler, *workers):
            process.kill()
            process.wait()
