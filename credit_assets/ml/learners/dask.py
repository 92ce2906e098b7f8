"""Training on the workers of an existing Dask cluster, with the learners' own Dask interfaces.

Belongs here: a candidate that is trained there, from the connection to its evidence. Does not belong here: the cluster
(`dask_cluster`), the rows of each worker (`dask_shares`), the fit of each learner (`dask_fits`), what is the same as in
one process (`training`, `candidates`), and whether a cluster is used (the asset).

What goes where. Each worker opens the one Parquet file of the training set and keeps its share of the rows, so that the
store must be readable from the workers. The client reads the columns `split` and `default` of all rows (to plan the
shares), and the rows of validation and test (to calibrate and to judge). Of the train rows it gets, from the workers,
the levels of categories, counts and quantiles (the drift reference), and target, PD and points of each row; never
their features.

What differs from training in one process, for which the metrics agree within TOLERANCE and not to the last digit:

- Rows are sampled (`subsample`, `bagging_fraction`) by each worker from its own share, so that other rows are drawn.
- Bins are found from the shares: XGBoost merges sketches, LightGBM divides the features among the workers.
- LightGBM knows only the "basic" method of monotone constraints when it trains on several machines.

Is "on Dask" part of a model's identity (its fingerprint)? No, for the reason that the number of threads and the device
are not: an identity holds what was asked for (data, code, parameters, seed), and a cluster that gained a worker, or was
away for a day, must not train everything again. What was used is recorded beside it (`DaskTraining.engine`), since
whoever performs the training again needs it. With the same number of workers, the same model comes out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from credit_assets.ml.learners import VARIANTS, Variant
from credit_assets.ml.learners.candidates import Candidate, Predictions, judged, predict, split_groups, unseen_points
from credit_assets.ml.learners.dask_cluster import Cluster, Workers, check_versions, connected, watched, workers_of
from credit_assets.ml.learners.dask_fits import FITS, fit_on_workers
from credit_assets.ml.learners.dask_shares import Plan, Share, load, read, target
from credit_assets.ml.learners.learner import Sample
from credit_assets.ml.learners.training import TrainingConfig, calibrated, resolve_params

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.evidence.drift_reference import FeatureReference
    from credit_assets.ml.learners.scorer import CreditScorer

LEARNERS = tuple(FITS)
"""Variants with a Dask interface. The others train on one node."""
TOLERANCE = {"auc": 0.01, "brier": 0.002, "logloss": 0.005}
"""Largest difference of the out-of-time metrics from training in one process, at 6,000 rows and more.

Most of it is the sampling of other rows: it falls with the square root of the number of bads."""


@dataclass(frozen=True)
class DaskTraining:
    """A candidate that was trained on a cluster, and how."""

    candidate: Candidate
    workers: int
    threads: int
    notes: tuple[str, ...] = ()

    @property
    def engine(self) -> str:
        """For records, for instance "dask (2 workers)"."""
        return f"dask ({self.workers} worker{'' if self.workers == 1 else 's'})"


def one_node_note(variant: str) -> str | None:
    """Why a variant does not train on the cluster, for log and metadata; None for one that does."""
    if variant in FITS:
        return None
    return f"{VARIANTS[variant].label} has no Dask interface: it trains on one node, in this step"


def train_on_dask(
    path: Any, variant_name: str, portfolio: Portfolio, config: TrainingConfig, cluster: Cluster
) -> DaskTraining:
    """What `train_candidate` gives, trained on the workers of `cluster`.

    Early stopping, seed, levels, calibration and evaluation are those of `train_candidate`.

    Parameters
    ----------
    path
        The Parquet file of the training set: a pathlib.Path, or any object with `open("rb")` that can be sent to the
        workers and opened there (universal_pathlib).
    variant_name
        One of LEARNERS.
    portfolio
        Names the features, their levels and directions.
    config
        How it is trained. `threads` is for the client's own work; workers train with their threads, on the CPU.
    cluster
        Where, and how long to wait for it.

    Returns
    -------
    DaskTraining
        The candidate, how many workers and threads trained it, and what they could not do.

    Raises
    ------
    TransientError
        Where the cluster cannot be reached, has no worker, or loses one.
    PermanentError
        Without Dask, or where workers have other versions or cannot read the file.
    ValueError
        As `train_candidate`.

    Examples
    --------
    >>> from credit_assets.ml.learners.dask import Cluster, LEARNERS
    >>> LEARNERS
    ('xgboost', 'lightgbm')
    >>> Cluster("tcp://scheduler:8786").connect_seconds
    10.0
    """
    if variant_name not in FITS:
        raise ValueError(f"variant {variant_name} has no Dask interface; those that have: {', '.join(LEARNERS)}")
    learner = VARIANTS[variant_name]
    config, notes = _for_a_cluster(learner, config)
    with connected(cluster) as client:
        workers = workers_of(client, cluster)
        check_versions(workers, cluster, learner)
        training = _Training(workers, Plan.of(path, portfolio, len(workers)), learner, portfolio, config)
        candidate = watched(workers, cluster, learner, lambda: training.candidate(cluster))
    return DaskTraining(candidate, len(workers), sum(worker.threads for worker in workers.members), notes)


def _for_a_cluster(learner: Variant, config: TrainingConfig) -> tuple[TrainingConfig, tuple[str, ...]]:
    """What of a config holds on a cluster, and a note on what does not."""
    config = dataclasses.replace(config, device="cpu")
    method = learner.resolve(config.params).get("monotone_constraints_method", "basic")
    if method == "basic":
        return config, ()
    params = {**config.params, "monotone_constraints_method": "basic"}
    return dataclasses.replace(config, params=params), (
        f'LightGBM keeps monotone directions with the method "basic" on a cluster; "{method}" needs one machine',
    )


@dataclass(frozen=True)
class _Training:
    """One training on the given workers; each has the same place there and in the plan."""

    workers: Workers
    plan: Plan
    learner: Variant
    portfolio: Portfolio
    config: TrainingConfig

    def candidate(self, cluster: Cluster) -> Candidate:
        from credit_assets.ml.data.rows import Rows
        from credit_assets.ml.evidence.drift_reference import SCORE, DriftReference, NumericReference

        plan, workers, config = self.plan, self.workers, self.config
        fitted, profile = fit_on_workers(workers, plan, self.learner, self.portfolio.monotone, config, cluster)
        # Started first: the workers are idle from here on, while the client calibrates and judges.
        references = [workers.on(i % len(workers), _reference, plan, name) for i, name in enumerate(plan.features)]
        validation, test = (_sample(load(plan, plan.everything(split))) for split in ("validation", "test"))
        trained = calibrated(self.learner, fitted, profile, validation, self.portfolio, config)
        scored = workers.each(_scored, lambda place: (plan, plan.share("train", place), trained.scorer))
        predictions = {
            "train": _in_order(workers.client.gather(scored)),
            "validation": predict(trained.scorer, validation, config.threads),
            "test": predict(trained.scorer, test, config.threads),
        }
        points = NumericReference.of(SCORE, unseen_points(predictions))
        reference = DriftReference(tuple(workers.client.gather(references)), points)
        groups = split_groups(Rows.stored(plan.path), self.portfolio)
        return judged(trained, resolve_params(self.learner.name, config), predictions, reference, groups)


def _sample(table: pa.Table) -> Sample:
    return Sample(table, target(table))


# What runs on the workers.


def _reference(plan: Plan, name: str) -> FeatureReference:
    """The drift reference of one feature, from all rows of the training set."""
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.evidence.drift_reference import feature_reference

    return feature_reference(Rows.stored(plan.path), name, plan.categorical)


def _scored(plan: Plan, share: Share, scorer: CreditScorer) -> tuple[NDArray[np.int64], Predictions]:
    table, positions = read(plan, share)
    return positions, predict(scorer, _sample(table))


def _in_order(parts: Sequence[tuple[NDArray[np.int64], Predictions]]) -> Predictions:
    """The workers' predictions in the order of the file."""
    import numpy as np

    order = np.argsort(np.concatenate([positions for positions, _ in parts]), kind="stable")

    def joined(name: str) -> Any:
        return np.concatenate([getattr(predictions, name) for _, predictions in parts])[order]

    return Predictions(target=joined("target"), pd=joined("pd"), score=joined("score"))
