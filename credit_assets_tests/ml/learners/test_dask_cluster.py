"""Clusters that are not what they should be, and real ones that lose a worker, a client or the scheduler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from credit_assets.failures import PermanentError, TransientError, is_transient
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.dask import LEARNERS, train_on_dask
from credit_assets.ml.learners.dask_cluster import Cluster, Worker, Workers, check_versions
from credit_assets_tests.support.dask import impatient, local_cluster, train_without_end, when_training, written
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(training_set(6000), tmp_path_factory.mktemp("store") / "2020-12-31.parquet")


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
    with (
        local_cluster(n_workers=0, processes=False) as empty,
        pytest.raises(TransientError, match="has no workers"),
    ):
        train_on_dask(
            path, "xgboost", PORTFOLIO, quick_config("xgboost"), Cluster(empty.scheduler_address, connect_seconds=0.5)
        )


@dataclass
class Versions:
    """A client of two workers that have these versions, and this code, where they differ from ours."""

    differ: dict[str, str | None] = field(default_factory=dict)
    code: str | None = None

    def get_versions(self, packages: list[str]) -> dict[str, Any]:
        ours = {"python": "3.12.1.final.0", **dict.fromkeys(packages, "1.0")}
        workers = {"tcp://a": {"packages": {**ours, **self.differ}}, "tcp://b": {"packages": ours}}
        return {"client": {"packages": ours}, "workers": workers}

    def run(self, function: Callable[[], str]) -> dict[str, str]:
        return {"tcp://a": self.code or function(), "tcp://b": function()}


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (Versions({"xgboost": "1.7.6"}), r"xgboost 1\.7\.6 on worker 0, 1\.0 here"),
        (Versions({"pyarrow": None}), "pyarrow not installed on worker 0, 1.0 here"),
        (Versions({"python": "3.11.9.final.0"}), "Python 3.11.9.final.0 on worker 0, 3.12.1.final.0 here"),
        (Versions(code="other"), "other code of credit_assets on worker 0"),
    ],
)
def test_workers_that_would_train_another_model_are_named(client: Versions, words: str) -> None:
    workers = Workers(client, (Worker("0", "tcp://a", 1), Worker("1", "tcp://b", 1)))
    with pytest.raises(PermanentError, match=rf"the workers differ from this step \({words}\); run scheduler, workers"):
        check_versions(workers, Cluster("tcp://scheduler:8786"), VARIANTS["xgboost"])


def test_workers_like_this_process_may_train() -> None:
    workers = Workers(Versions({"python": "3.12.7.final.0"}), (Worker("0", "tcp://a", 1), Worker("1", "tcp://b", 1)))
    check_versions(workers, Cluster("tcp://scheduler:8786"), VARIANTS["xgboost"])
    lost = Workers(Versions(), (Worker("2", "tcp://c", 1),))
    with pytest.raises(TransientError, match="Dask worker tcp://c was lost before training began"):
        check_versions(lost, Cluster("tcp://scheduler:8786"), VARIANTS["xgboost"])


# Real losses, on worker processes


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Two worker processes, which their nannies start again."""
    with local_cluster() as running:
        yield running.scheduler_address


@pytest.fixture
def client(scheduler: str) -> Iterator[Any]:
    from distributed import Client

    with Client(scheduler, set_as_default=False, timeout=600) as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_worker_lost_in_training_is_transient_and_the_next_attempt_trains(
    path: Path, scheduler: str, client: Any, tmp_path: Path, name: str
) -> None:
    killer = when_training(client, tmp_path, lambda pids: os.kill(pids[0], signal.SIGKILL))
    with pytest.raises(TransientError, match=r"CREDIT_DASK_SCHEDULER .* while .* trained") as raised:
        train_without_end(path, name, scheduler)
    assert is_transient(raised.value)
    killer.join()
    trained = train_on_dask(path, name, PORTFOLIO, quick_config(name), impatient(scheduler))
    assert trained.workers in (1, 2)
    assert trained.candidate.metrics["test"].auc > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_after_a_killed_step_the_next_training_has_the_workers(
    path: Path, scheduler: str, client: Any, tmp_path: Path, name: str
) -> None:
    command = [sys.executable, "-m", "credit_assets_tests.support.dask", str(path), name, scheduler]
    started: list[subprocess.Popen[bytes]] = []
    killer = when_training(client, tmp_path, lambda _: started[0].kill())
    started.append(subprocess.Popen(command))
    killer.join()
    assert started[0].wait() == -signal.SIGKILL
    trained = train_on_dask(path, name, PORTFOLIO, quick_config(name), impatient(scheduler))
    assert trained.workers == 2
    assert trained.candidate.metrics["test"].auc > 0.7


@pytest.mark.slow
def test_a_scheduler_lost_in_training_is_transient(path: Path, tmp_path: Path) -> None:
    Client = pytest.importorskip("distributed", reason="the dask extra is not installed").Client
    file, rounds = tmp_path / "scheduler.json", tmp_path / "rounds"
    rounds.mkdir()
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    workers: list[subprocess.Popen[bytes]] = []
    training: list[int] = []

    def lose_the_scheduler(pids: list[int]) -> None:
        scheduler.kill()
        # They would train on, at the cost of the tests beside this one.
        training.extend(pids)
        for pid in training:
            os.kill(pid, signal.SIGSTOP)

    try:
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nworkers", "2", "--nthreads", "1"]
        workers.append(subprocess.Popen([*worker, "--no-dashboard"], stderr=subprocess.DEVNULL))
        with Client(address, set_as_default=False, timeout=600) as client:
            when_training(client, rounds, lose_the_scheduler)
        with pytest.raises(TransientError, match="CREDIT_DASK_SCHEDULER"):
            train_without_end(path, "xgboost", address)
    finally:
        for pid in training:
            os.kill(pid, signal.SIGKILL)
        for process in (scheduler, *workers):
            process.kill()
            process.wait()
