"""Training on two workers of a Dask cluster: as in one process, but for what `dask` says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.learners import VARIANTS, dask_fits
from credit_assets.ml.learners.candidates import Candidate, train_candidate
from credit_assets.ml.learners.dask import LEARNERS, TOLERANCE, DaskTraining, one_node_note, train_on_dask
from credit_assets.ml.learners.dask_cluster import Cluster
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets_tests.support.dask import local_cluster, written
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set

EACH = pytest.mark.parametrize("name", LEARNERS)
# Nothing is drawn and one method of constraints: what is left is how bins are found and in which order sums are made.
SAME = {
    "xgboost": {"learning_rate": 0.1, "max_depth": 3, "subsample": 1.0, "colsample_bytree": 1.0},
    "lightgbm": {
        "num_leaves": 7, "bagging_freq": 0, "bagging_fraction": 1.0, "feature_fraction": 1.0,
        "monotone_constraints_method": "basic",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return training_set(6000)


@pytest.fixture(scope="module")
def path(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(frame, tmp_path_factory.mktemp("store") / "2020-12-31.parquet")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with local_cluster(processes=False) as running:
        yield Cluster(running.scheduler_address, watch_seconds=0.2, silent_seconds=20)


@dataclass(frozen=True)
class Pair:
    alone: Candidate
    on_dask: DaskTraining


@pytest.fixture(scope="module")
def pairs(frame: pd.DataFrame, path: Path, cluster: Cluster) -> dict[str, Pair]:
    """Each learner trained with its own sampling, in one process and on the cluster, with one shape of calibration:
    margins that are nearly alike may lie to either side of a choice.
    """
    configs = {name: quick_config(name, max_rounds=150, calibration="platt") for name in LEARNERS}
    return {
        name: Pair(
            train_candidate(frame, name, PORTFOLIO, config), train_on_dask(path, name, PORTFOLIO, config, cluster)
        )
        for name, config in configs.items()
    }


def logloss(candidate: Candidate) -> float:
    test = candidate.predictions["test"]
    return float(-np.where(test.target == 1, np.log(test.pd), np.log1p(-test.pd)).mean())


@EACH
def test_metrics_equal_training_in_one_process(pairs: dict[str, Pair], name: str) -> None:
    alone, trained = pairs[name].alone, pairs[name].on_dask
    assert (trained.engine, trained.workers, trained.threads) == ("dask (2 workers)", 2, 2)
    here, there = alone.metrics["test"], trained.candidate.metrics["test"]
    assert there.auc == pytest.approx(here.auc, abs=TOLERANCE["auc"])
    assert there.brier == pytest.approx(here.brier, abs=TOLERANCE["brier"])
    assert logloss(trained.candidate) == pytest.approx(logloss(alone), abs=TOLERANCE["logloss"])


@EACH
def test_all_else_of_the_candidate_is_the_same(pairs: dict[str, Pair], name: str) -> None:
    alone, trained = pairs[name].alone, pairs[name].on_dask.candidate
    for split, predictions in alone.predictions.items():
        np.testing.assert_array_equal(trained.predictions[split].target, predictions.target)
        correlation = np.corrcoef(trained.predictions[split].pd, predictions.pd)[0, 1]
        assert correlation > 0.95, split
    assert trained.scorer.categories == alone.scorer.categories
    assert trained.scorer.features == alone.scorer.features
    # What a gap counts as is found from the shares of the workers as from all rows at once.
    assert trained.scorer.missing.keys() == alone.scorer.missing.keys()
    assert trained.scorer.missing["income"] == alone.scorer.missing["income"]
    assert trained.scorer.missing["burden"] == alone.scorer.missing["burden"]
    assert trained.reference.features == alone.reference.features
    assert set(trained.history) == set(alone.history)
    lengths = {len(curve) for curve in trained.history.values()}
    assert lengths == {min(150, trained.best_rounds + 10)}
    assert trained.history["validation-logloss"][trained.best_rounds - 1] == min(trained.history["validation-logloss"])
    changed = {"monotone_constraints_method": "basic"} if name == "lightgbm" else {}
    assert trained.params == {**alone.params, **changed}
    assert bool(pairs[name].on_dask.notes) == (name == "lightgbm")


@EACH
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
    content = b"".join(file.read_bytes() for file in files[0])
    assert b"127.0.0.1" not in content
    assert b"machines: " not in content


def test_directions_hold_in_a_model_of_the_cluster(pairs: dict[str, Pair]) -> None:
    for name in LEARNERS:
        scorer = pairs[name].on_dask.candidate.scorer
        base = training_set(300, seed=5).drop(columns=["burden"])
        low, high = (scorer.margin(base.assign(inquiries=value)) for value in (0.0, 6.0))
        assert (high >= low - 1e-9).all(), name
        assert (high > low).any(), name


def test_catboost_says_that_it_trains_on_one_node(path: Path) -> None:
    assert "trains on one node" in (one_node_note("catboost") or "")
    assert [one_node_note(name) for name in LEARNERS] == [None, None]
    assert set(LEARNERS) < set(VARIANTS)
    with pytest.raises(ValueError, match="no Dask interface"):
        train_on_dask(path, "catboost", PORTFOLIO, TrainingConfig(), Cluster("tcp://127.0.0.1:1"))


class OnlyHere:
    """A file that opens where it was not sent to: in a folder that the workers do not mount."""

    def __init__(self, path: Path, here: bool = True) -> None:
        self.path, self.here = path, here

    def __reduce__(self) -> Any:
        return OnlyHere, (self.path, False)

    def open(self, mode: str) -> Any:
        if not self.here:
            raise FileNotFoundError(self.path)
        return self.path.open(mode)

    def __str__(self) -> str:
        return str(self.path)


def test_a_store_that_the_workers_cannot_read_is_said(path: Path, cluster: Cluster) -> None:
    with pytest.raises(PermanentError, match=r"Dask worker .* cannot read .*CREDIT_STORE_URI"):
        train_on_dask(OnlyHere(path), "lightgbm", PORTFOLIO, quick_config("lightgbm"), cluster)


def test_parameters_that_the_library_refuses_are_no_failure_of_the_cluster(path: Path, cluster: Cluster) -> None:
    config = quick_config("lightgbm", params={"max_bin": 2, "min_data_in_bin": 1, "num_leaves": 131_072})
    changed = replace(config, params={**config.params, "bagging_fraction": 1.5})
    with pytest.raises(ValueError, match="bagging_fraction"):
        train_on_dask(path, "lightgbm", PORTFOLIO, changed, cluster)


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Any]:
    from distributed import Client

    with Client(cluster.scheduler, set_as_default=False, timeout=600) as one:
        yield one


@pytest.mark.parametrize("leaver", [0, 1])
def test_where_one_worker_leaves_a_training_the_others_end_it_too(
    path: Path, cluster: Cluster, client: Any, monkeypatch: pytest.MonkeyPatch, leaver: int
) -> None:
    """LightGBM's others would read from the closed connection for ever, and no later task would begin on them."""
    from distributed import get_worker

    rounds = dict.fromkeys((0, 1), 0)

    def wanted() -> bool:
        name = int(get_worker().name)
        rounds[name] += 1
        return name != leaver or rounds[name] < 3

    monkeypatch.setattr(dask_fits, "still_wanted", wanted)
    with pytest.raises(TransientError, match=r"nobody waits|lost each other"):
        train_on_dask(
            path, "lightgbm", PORTFOLIO, quick_config("lightgbm", max_rounds=100_000, early_stopping_rounds=100_000),
            cluster,
        )  # fmt: skip
    workers = list(client.nthreads())
    free = [client.submit(int, place, workers=[address], pure=False) for place, address in enumerate(workers)]
    assert client.gather(free) == [0, 1]
    assert max(rounds.values()) < 1000


def test_a_worker_that_stays_busy_with_something_else_is_given_up(path: Path, cluster: Cluster, client: Any) -> None:
    release, workers = threading.Event(), sorted(client.nthreads())
    # By a name: the event of this process, which is the workers' too.
    _EVENTS["busy"] = release
    busy = client.submit(_wait_for, "busy", workers=workers[:1], pure=False)
    try:
        with pytest.raises(TransientError, match=r"a worker has been busy with something else for .* restart it"):
            train_on_dask(path, "lightgbm", PORTFOLIO, quick_config("lightgbm"), replace(cluster, turn_seconds=1.0))
    finally:
        release.set()
    assert busy.result() is True


_EVENTS: dict[str, threading.Event] = {}


def _wait_for(name: str) -> bool:
    return _EVENTS[name].wait()
