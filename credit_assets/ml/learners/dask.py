"""Training on the workers of an existing Dask cluster, with the learners' own Dask interfaces.

Belongs here: which rows each worker reads, the call of `xgboost.dask` and `lightgbm.dask`, and how failures of a
cluster are told apart. Does not belong here: what a learner's parameters mean (`variants`), the order of steps that
make a candidate (`training`), and whether a cluster is used (the asset).

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
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from credit_assets.failures import PermanentError, TransientError, is_transient
from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.training import Candidate, Predictions, TrainingConfig

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.evidence.drift import CategoryReference, NumericReference
    from credit_assets.ml.learners import Fitted
    from credit_assets.ml.learners.scorer import CreditScorer

_T = TypeVar("_T")

LEARNERS = ("xgboost", "lightgbm")
"""Variants with a Dask interface. The others train on one node."""
TOLERANCE = {"auc": 0.01, "brier": 0.002, "logloss": 0.005}
"""Largest difference of the out-of-time metrics from training in one process, at 6,000 rows and more.

Most of it is the sampling of other rows: it falls with the square root of the number of bads."""

_LOCK = "credit-assets-training"
# Row groups each worker must get at least, for whole groups to be shared out evenly enough; else rows are.
_GROUPS_EACH = 4
# Seconds that a scheduler may take to answer the simplest question, and that are spent on one that may be gone.
_ANSWER, _BRIEFLY = 20.0, 5.0
# Seconds after which workers without work, whose locks are held, count as left behind.
_LEFT = 3.0
# What the model's text says of the machines that trained it: addresses, of no use to whoever reads the model.
_MACHINES = re.compile(
    r"^\[(machines|machine_list_filename|local_listen_port|num_machines|time_out|num_threads): .*\n", re.M
)
_NETWORK = (
    "socket", "connection", "rabit", "collective", "tracker", "invalid worker address", "missing required workers",
    "network", "broken pipe",
)  # fmt: skip

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """An existing cluster: the scheduler's address, as Dask prints it ("tcp://scheduler:8786").

    `connect_seconds`: how long to wait for the scheduler, and then for a first worker. `watch_seconds`: how often to
    look whether the workers are still there. `turn_seconds`: how long to wait for another training to end; trainings
    on one cluster take turns, since two that wait for each other's workers never end. `silent_seconds`: after how long
    a worker gives up on one that says nothing, and is free again; longer than a worker takes to make bins of its rows.
    """

    scheduler: str
    connect_seconds: float = 10.0
    watch_seconds: float = 1.0
    silent_seconds: int = 300
    turn_seconds: float = 4 * 3600.0


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
    if variant in LEARNERS:
        return None
    return f"{VARIANTS[variant].label} has no Dask interface: it trains on one node, in this step"


def train_on_dask(
    path: Any, variant_name: str, portfolio: Portfolio, config: TrainingConfig, cluster: Cluster
) -> DaskTraining:
    """What `train_candidate` gives, trained on the workers of `cluster`.

    `path` is the Parquet file of the training set: a pathlib.Path, or any object with `open("rb")` that can be sent to
    the workers and opened there (universal_pathlib). Early stopping, seed, levels, calibration and evaluation are
    those of `train_candidate`. `config.threads` is for the client's own work; workers train with their threads.

    Raises TransientError where the cluster cannot be reached, has no worker, or loses one; PermanentError without Dask,
    where workers have other versions or cannot read the file; ValueError as `train_candidate`.
    """
    learner = VARIANTS[variant_name]
    if variant_name not in LEARNERS:
        raise ValueError(f"variant {variant_name} has no Dask interface; those that have: {', '.join(LEARNERS)}")
    params = learner.resolve(config.params)
    notes: list[str] = []
    if variant_name == "lightgbm" and params.get("monotone_constraints_method", "basic") != "basic":
        asked, params = params["monotone_constraints_method"], {**params, "monotone_constraints_method": "basic"}
        notes.append(
            f'LightGBM keeps monotone directions with the method "basic" on a cluster; "{asked}" needs one machine'
        )
    with _connected(cluster) as client:
        workers = _workers(client, cluster)
        _check_versions(client, cluster, workers, variant_name)
        plan = _Plan.of(path, portfolio, len(workers))
        job = _Job(client, cluster, workers, plan, learner.name, params, portfolio, config)
        found = _watched(client, cluster, [worker.address for worker in workers], learner.name, job.run)
    candidate = dataclasses.replace(found, params={**_resolved(variant_name, config), **params})
    return DaskTraining(candidate, len(workers), sum(worker.threads for worker in workers), tuple(notes))


def _resolved(variant_name: str, config: TrainingConfig) -> dict[str, Any]:
    from credit_assets.ml.learners.training import resolve_params

    return resolve_params(variant_name, config)


# The plan: which rows there are, and who reads which.


@dataclass(frozen=True)
class _Share:
    """Rows of one split that one worker reads: of each row group, those whose number within the split is
    `first`, `first + step`, ... `before` is the number of rows of the split before each group."""

    split: str
    groups: tuple[int, ...]
    before: tuple[int, ...]
    first: int
    step: int
    rows: int


@dataclass(frozen=True)
class _Plan:
    """The file, as the client saw it, and its rows by row group."""

    path: Any
    footer: str
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    workers: int

    @classmethod
    def of(cls, path: Any, portfolio: Portfolio, workers: int) -> _Plan:
        """Raises ValueError as `train_candidate` for a set that cannot be trained on, PermanentError without file."""
        import numpy as np

        features = portfolio.feature_names
        counts: dict[str, list[int]] = {split: [] for split in SPLITS}
        bads = dict.fromkeys(SPLITS, 0)
        with _opened(path) as file:
            names = set(file.schema_arrow.names)
            missing = [name for name in (*features, TARGET, SPLIT) if name not in names]
            if missing:
                raise ValueError(f"the training set lacks the columns {', '.join(missing)}")
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=[SPLIT, TARGET])
                split, target = table.column(SPLIT).to_numpy(), table.column(TARGET).to_numpy()
                unknown = sorted(set(np.unique(split.astype(str))) - set(SPLITS))
                if unknown:
                    known = ", ".join(SPLITS)
                    raise ValueError(f"the training set has rows of split {', '.join(unknown)}; known: {known}")
                for name in SPLITS:
                    inside = split == name
                    counts[name].append(int(inside.sum()))
                    bads[name] += int(target[inside].sum())
            footer = _footer(path)
        for name in SPLITS:
            rows = sum(counts[name])
            if not rows:
                raise ValueError(f"the training set has no {name} rows: take a longer lookback")
            if name != "test" and bads[name] in (0, rows):
                kind = "bad" if bads[name] else "good"
                raise ValueError(f"the {rows} {name} rows are all {kind}: take a longer lookback")
        fixed = {name: tuple(numbers) for name, numbers in counts.items()}
        return cls(path, footer, features, portfolio.categorical_features, fixed, workers)

    def rows(self, split: str) -> int:
        return sum(self.counts[split])

    def share(self, split: str, worker: int) -> _Share:
        """The rows of a worker: whole row groups in turn where there are many, else every so-manieth row.

        In turn and not in a block: a block is a stretch of time, whose values a bin would take for all there are.
        """
        import numpy as np

        counts = self.counts[split]
        before = np.concatenate([[0], np.cumsum(counts)])[:-1]
        filled = [group for group, rows in enumerate(counts) if rows]
        whole = len(filled) >= _GROUPS_EACH * self.workers
        groups = filled[worker :: self.workers] if whole else filled
        first, step = (0, 1) if whole else (worker, self.workers)
        rows = sum(counts[group] for group in groups) if whole else len(range(worker, self.rows(split), step))
        return _Share(split, tuple(groups), tuple(int(before[g]) for g in groups), first, step, rows)

    def everything(self, split: str) -> _Share:
        return dataclasses.replace(self, workers=1).share(split, 0)


@contextmanager
def _opened(path: Any) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = path.open("rb")
    except OSError as error:
        raise PermanentError(f"the training set {path} cannot be read ({error}); materialize it") from error
    with file:
        try:
            yield pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise PermanentError(f"{path} is not a Parquet file ({error}); materialize it again") from error


def _footer(path: Any) -> str:
    """SHA-256 of the file's footer, which holds places, sizes and bounds of all its columns."""
    import hashlib

    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(size - 8)
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        return hashlib.sha256(file.read(length)).hexdigest()


# What runs on the workers. Small results only, or what stays there.


def _read(plan: _Plan, share: _Share, columns: Sequence[str]) -> tuple[pa.Table, NDArray[np.int64]]:
    """The rows of a share, and the number of each within its split."""
    import numpy as np
    import pyarrow as pa

    try:
        footer = _footer(plan.path)
    except OSError as error:
        raise PermanentError(
            f"{_here()} cannot read {plan.path} ({type(error).__name__}: {error}): with CREDIT_DASK_SCHEDULER the "
            "store (CREDIT_STORE_URI) must be readable from every worker; use object storage or a folder that all mount"
        ) from error
    if footer != plan.footer:
        raise TransientError(f"{plan.path} was written again while a model was being trained on it")
    tables, positions = [], []
    with _opened(plan.path) as file:
        for group, before in zip(share.groups, share.before, strict=True):
            table = file.read_row_group(group, columns=list(dict.fromkeys([*columns, SPLIT])))
            inside = np.flatnonzero(table.column(SPLIT).to_numpy() == share.split)
            numbers = np.arange(before, before + len(inside))
            mine = numbers % share.step == share.first
            tables.append(table.select(list(columns)).take(pa.array(inside[mine])))
            positions.append(numbers[mine])
    return pa.concat_tables(tables), np.concatenate(positions)


def _here() -> str:
    from distributed import get_worker

    return f"Dask worker {get_worker().address}"


def _imported(module: str) -> None:
    """A second or more on a fresh worker, before the workers begin to wait for each other."""
    import importlib

    importlib.import_module(module)


def _load(plan: _Plan, share: _Share) -> pa.Table:
    return _read(plan, share, [*plan.features, TARGET])[0]


def _levels(table: pa.Table, categorical: Sequence[str]) -> dict[str, tuple[str, ...]]:
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.learners.encoding import levels_of

    return levels_of(Rows.of(table).batches(categorical), categorical)


def _inputs(
    table: pa.Table, features: Sequence[str], levels: Mapping[str, tuple[str, ...]], dtype: str
) -> NDArray[Any]:
    from credit_assets.ml.learners.encoding import encode, matrix

    return matrix(encode(table, features, levels), dtype)


def _target(table: pa.Table) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(table.column(TARGET).to_numpy(), dtype=np.float64)


def _reference(plan: _Plan, name: str) -> NumericReference | CategoryReference:
    """The drift reference of one feature, from all rows of the training set."""
    from credit_assets.ml.data.rows import Rows, numbers
    from credit_assets.ml.evidence.drift import CategoryReference, NumericReference

    values = Rows.stored(plan.path).column(name)
    return (
        CategoryReference.of(name, values) if name in plan.categorical else NumericReference.of(name, numbers(values))
    )


def _scored(plan: _Plan, share: _Share, scorer: CreditScorer) -> tuple[NDArray[np.int64], Predictions]:
    from credit_assets.ml.learners.training import _predict

    table, positions = _read(plan, share, [*plan.features, TARGET])
    return positions, _predict(scorer, table, 1)


_HISTORY: dict[str, dict[str, Any]] = {}
"""On a worker: the losses that `_Stopping` saw, by training, until the client asks for them."""


@dataclass(frozen=True)
class _Validation:
    """LightGBM callback before the first round: the validation rows, all of them, on each worker.

    `lightgbm.dask` has no early stopping: given `eval_set`, each worker would look at its part of the validation rows,
    stop in another round than the others, and the rest would wait for it; and the client would fetch every part to see
    whether it has one. With all rows each worker sees the same loss of the same model, and all stop in the same round.
    (Processors of different makes could differ in the 16th digit, and once in a very long while in the round: training
    then ends with an error of the network, not with a model.)
    """

    token: str
    plan: _Plan
    levels: Mapping[str, tuple[str, ...]]
    order: int = 10
    before_iteration: bool = True

    def __hash__(self) -> int:
        return hash(self.token)

    def __call__(self, env: Any) -> None:
        import lightgbm as lgb

        if env.iteration != env.begin_iteration:
            return
        table, train = _load(self.plan, self.plan.everything("validation")), env.model.train_set
        inputs = _inputs(table, self.plan.features, self.levels, "float64")
        data = lgb.Dataset(inputs, label=_target(table), reference=train, params=env.model.params)
        env.model.add_valid(data, "validation")
        _HISTORY[self.token] = {"rows": train.num_data(), "train": [], "validation": []}


def _still_wanted() -> bool:
    """Whether anybody waits for the task that calls this: not after the client has gone, or given up."""
    from distributed import get_worker
    from distributed.worker import thread_state

    task = get_worker().state.tasks.get(thread_state.key)
    return task is not None and task.state not in ("cancelled", "resumed")


def _stop_unwanted() -> Any:
    """XGBoost callback: a training that nobody waits for frees its worker."""
    import xgboost as xgb

    class StopUnwanted(xgb.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return not _still_wanted()

    return StopUnwanted()


class _Stopping:
    """LightGBM callback after each round: its losses on this worker's train rows and on the validation rows, and the
    library's own early stopping on the latter."""

    order = 30
    before_iteration = False

    def __init__(self, token: str, rounds: int) -> None:
        self.token, self.rounds = token, rounds
        self.inner: Any = None

    def __call__(self, env: Any) -> None:
        import lightgbm as lgb

        if self.inner is None:
            self.inner = lgb.early_stopping(self.rounds, verbose=False)
        held_out = env.evaluation_result_list or env.model.eval_valid()
        if not _still_wanted():
            raise TransientError("nobody waits for this training any more")
        history = _HISTORY[self.token]
        history["train"].append(float(env.model.eval_train()[0].metric_value))
        history["validation"].append(float(held_out[0].metric_value))
        self.inner(dataclasses.replace(env, evaluation_result_list=held_out))


def _with_fresh_network(train: Callable[..., Any], **arguments: Any) -> Any:
    import lightgbm as lgb

    def free() -> None:
        # A method of a model, though what it frees belongs to the thread; a failed training has no model.
        lgb.Booster.free_network(SimpleNamespace())

    free()
    try:
        return train(**arguments)
    finally:
        free()


def _history(token: str) -> dict[str, Any] | None:
    return _HISTORY.pop(token, None)


# What runs on the client.


@dataclass(frozen=True)
class _Worker:
    name: str
    address: str
    threads: int


@dataclass(frozen=True)
class _Job:
    """One training on the given workers; each has the same place in `workers` and in the plan."""

    client: Any
    cluster: Cluster
    workers: Sequence[_Worker]
    plan: _Plan
    variant: str
    params: Mapping[str, Any]
    portfolio: Portfolio
    config: TrainingConfig

    def run(self) -> Candidate:
        import numpy as np

        from credit_assets.ml.evidence.drift import SCORE, DriftReference, NumericReference
        from credit_assets.ml.learners.calibration import fit_platt
        from credit_assets.ml.learners.scorer import CreditScorer, derived_of
        from credit_assets.ml.learners.training import _evaluate, _margin, _predict

        plan, learner = self.plan, VARIANTS[self.variant]
        self.client.gather(self._each(_imported, lambda i: (f"{self.variant}.dask",)))
        tables = self._each(_load, lambda i: (plan, plan.share("train", i)))
        found = self.client.gather([self._on(i, _levels, table, plan.categorical) for i, table in enumerate(tables)])
        levels = {name: tuple(sorted(set().union(*(one[name] for one in found)))) for name in plan.categorical}
        fitted = (_fit_xgboost if self.variant == "xgboost" else _fit_lightgbm)(self, tables, levels)
        del tables
        # Started first: the workers are idle from here on, while the client calibrates and judges.
        references = [self._on(i % len(self.workers), _reference, plan, name) for i, name in enumerate(plan.features)]
        validation, test = (
            _read(plan, plan.everything(split), [*plan.features, TARGET])[0] for split in ("validation", "test")
        )
        scorer = CreditScorer(
            variant=self.variant,
            model=fitted.model,
            features=plan.features,
            categories=levels,
            derived=derived_of(self.portfolio),
            monotone=self.portfolio.monotone,
            calibration=fit_platt(
                _margin(learner, fitted.model, validation, plan.features, levels, self.config), _target(validation)
            ),
            scale=self.config.scale,
            library=learner.library(),
        )
        scored = self._each(_scored, lambda i: (plan, plan.share("train", i), scorer))
        predictions = {
            "train": _in_order(self.client.gather(scored)),
            "validation": _predict(scorer, validation, self.config.threads),
            "test": _predict(scorer, test, self.config.threads),
        }
        points = np.concatenate([predictions["validation"].score, predictions["test"].score])
        return Candidate(
            scorer=scorer,
            best_rounds=fitted.best_rounds,
            history=fitted.history,
            params={},
            metrics={split: _evaluate(split, predictions[split]) for split in SPLITS},
            predictions=predictions,
            reference=DriftReference(tuple(self.client.gather(references)), NumericReference.of(SCORE, points)),
        )

    def _on(self, worker: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """A future of `function` on one worker and no other."""
        address = self.workers[worker].address
        return self.client.submit(function, *arguments, workers=[address], allow_other_workers=False, pure=False)

    def _each(self, function: Callable[..., Any], arguments: Callable[[int], tuple[Any, ...]]) -> list[Any]:
        return [self._on(i, function, *arguments(i)) for i in range(len(self.workers))]

    def arrays(
        self, split: str, tables: list[Any], levels: Mapping[str, tuple[str, ...]], dtype: str
    ) -> tuple[Any, Any]:
        """Inputs and target of a split as Dask arrays, one chunk on each worker, made from its table."""
        import dask
        import dask.array as da
        import numpy as np
        from distributed import wait

        width = len(self.plan.features)
        inputs = [self._on(i, _inputs, table, self.plan.features, levels, dtype) for i, table in enumerate(tables)]
        targets = [self._on(i, _target, table) for i, table in enumerate(tables)]
        # An error of reading shows here, with its own words, and not as an assertion within the learner.
        for future in wait([*inputs, *targets]).done:
            if future.status != "finished":
                future.result()
        rows = [self.plan.share(split, i).rows for i in range(len(tables))]
        x = [
            da.from_delayed(dask.delayed(future), shape=(n, width), dtype=dtype)
            for future, n in zip(inputs, rows, strict=True)
        ]
        y = [
            da.from_delayed(dask.delayed(future), shape=(n,), dtype=np.float64)
            for future, n in zip(targets, rows, strict=True)
        ]
        return da.concatenate(x), da.concatenate(y)

    def directions(self) -> list[int]:
        return [int(self.portfolio.monotone.get(name, 0)) for name in self.plan.features]


def _in_order(parts: Sequence[tuple[NDArray[np.int64], Predictions]]) -> Predictions:
    """The workers' predictions in the order of the file."""
    import numpy as np

    order = np.argsort(np.concatenate([positions for positions, _ in parts]), kind="stable")

    def joined(name: str) -> Any:
        return np.concatenate([getattr(found, name) for _, found in parts])[order]

    return Predictions(target=joined("target"), pd=joined("pd"), score=joined("score"))


def _fit_xgboost(job: _Job, tables: list[Any], levels: Mapping[str, tuple[str, ...]]) -> Fitted:
    import numpy as np
    import xgboost as xgb
    from xgboost import dask as dxgb
    from xgboost.collective import Config

    from credit_assets.ml.learners import Fitted

    plan = job.plan
    _free_left_locks(job.client, [worker.address for worker in job.workers])
    described = {
        "missing": np.nan,
        "feature_names": list(plan.features),
        "feature_types": ["c" if name in levels else "q" for name in plan.features],
        "enable_categorical": True,
        "max_bin": job.params["max_bin"],
    }
    held_out = job._each(_load, lambda i: (plan, plan.share("validation", i)))
    # As in one process: the library computes in float32.
    x, y = job.arrays("train", tables, levels, "float32")
    x_val, y_val = job.arrays("validation", held_out, levels, "float32")
    train = dxgb.DaskQuantileDMatrix(job.client, x, y, **described)
    validation = dxgb.DaskQuantileDMatrix(job.client, x_val, y_val, ref=train, **described)
    with xgb.config_context(verbosity=0):
        output = dxgb.train(
            job.client,
            {
                **job.params,
                "objective": "binary:logistic",
                "eval_metric": "logloss",
                "tree_method": "hist",
                "device": "cpu",
                "monotone_constraints": f"({','.join(map(str, job.directions()))})",
                "seed": job.config.seed,
            },
            train,
            num_boost_round=job.config.max_rounds,
            evals=[(train, "train"), (validation, "validation")],
            early_stopping_rounds=job.config.early_stopping_rounds,
            callbacks=[_stop_unwanted()],
            verbose_eval=False,
            coll_cfg=Config(timeout=job.cluster.silent_seconds, tracker_timeout=job.cluster.silent_seconds),
        )
    booster, history = output["booster"], output["history"]
    rounds = int(booster.best_iteration) + 1
    best = booster[:rounds]
    best.set_attr(best_iteration=None, best_score=None)
    return Fitted(
        model=best,
        best_rounds=rounds,
        history={f"{split}-logloss": [float(v) for v in values["logloss"]] for split, values in history.items()},
    )


# Names of the parameters in LightGBM's scikit-learn interface, which its Dask interface is built on: under their own
# names they would stand beside that interface's defaults for the same thing.
_SKLEARN_NAMES = {
    "min_data_in_leaf": "min_child_samples",
    "min_sum_hessian_in_leaf": "min_child_weight",
    "min_gain_to_split": "min_split_gain",
    "bagging_fraction": "subsample",
    "bagging_freq": "subsample_freq",
    "feature_fraction": "colsample_bytree",
    "lambda_l1": "reg_alpha",
    "lambda_l2": "reg_lambda",
}


class _ForLightGBM:
    """The Dask client with two repairs that `lightgbm.dask` needs.

    It ranks machines as `who_has` names them, which is by chance, and the rank decides which machine finds the bins of
    which features: the same training would give another model each time. And where training fails on a worker, the
    library keeps its connections in that thread, and every later training there meets a broken pipe.
    """

    def __init__(self, client: Any, workers: Sequence[_Worker]) -> None:
        self._client = client
        self._place = {worker.address: place for place, worker in enumerate(workers)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def submit(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if getattr(function, "__name__", "") == "_train_part":
            return self._client.submit(_with_fresh_network, function, *arguments, **more)
        return self._client.submit(function, *arguments, **more)

    def who_has(self, futures: Any) -> dict[Any, Any]:
        found = self._client.who_has(futures)
        return dict(sorted(found.items(), key=lambda held: min(self._place.get(one, 1 << 30) for one in held[1])))


def _fit_lightgbm(job: _Job, tables: list[Any], levels: Mapping[str, tuple[str, ...]]) -> Fitted:
    import lightgbm as lgb
    from lightgbm.dask import DaskLGBMRegressor

    from credit_assets.ml.learners import Fitted

    plan, token = job.plan, uuid.uuid4().hex
    x, y = job.arrays("train", tables, levels, "float64")
    # The regressor with a binary objective: the classifier would count the classes of each worker's share.
    model = DaskLGBMRegressor(
        client=_ForLightGBM(job.client, job.workers),
        objective="binary",
        n_estimators=job.config.max_rounds,
        random_state=job.config.seed,
        metric="binary_logloss",
        monotone_constraints=job.directions(),
        deterministic=True,
        force_row_wise=True,
        verbosity=-1,
        time_out=max(1, job.cluster.silent_seconds // 60),  # minutes
        **{_SKLEARN_NAMES.get(name, name): value for name, value in job.params.items()},
    )
    model.fit(
        x,
        y,
        feature_name=list(plan.features),
        categorical_feature=[i for i, name in enumerate(plan.features) if name in levels],
        callbacks=[_Validation(token, plan, levels), _Stopping(token, job.config.early_stopping_rounds)],
    )
    found = [one for one in job.client.run(_history, token).values() if one]
    booster = model.booster_
    rounds = int(booster.best_iteration) or int(booster.current_iteration())
    rows = sum(one["rows"] for one in found)
    text = _MACHINES.sub("", booster.model_to_string(num_iteration=rounds))
    return Fitted(
        model=lgb.Booster(model_str=text),
        best_rounds=rounds,
        history={
            # Each worker knows the loss of its own train rows, and all that of the validation rows.
            "train-logloss": [
                sum(one["train"][i] * one["rows"] for one in found) / rows for i in range(len(found[0]["train"]))
            ],
            "validation-logloss": found[0]["validation"],
        },
    )


# The cluster.


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise PermanentError(
            "CREDIT_DASK_SCHEDULER is set, but Dask is not installed: pip install 'credit-assets[dask]'"
        ) from error
    try:
        client = Client(cluster.scheduler, timeout=cluster.connect_seconds, set_as_default=True)
    except (OSError, ValueError) as error:
        raise TransientError(
            f"CREDIT_DASK_SCHEDULER {cluster.scheduler}: no Dask scheduler answers within {cluster.connect_seconds:g} "
            f"s ({type(error).__name__}: {error}); see that it runs and that this step can reach the address, "
            "or unset it to train in the step itself"
        ) from error
    try:
        yield client
    finally:
        _briefly(client.close)


def _workers(client: Any, cluster: Cluster) -> list[_Worker]:
    """The workers that are there, in an order that does not depend on their ports."""
    until = time.monotonic() + cluster.connect_seconds
    while True:
        known = client.scheduler_info(n_workers=-1)["workers"]
        if known:
            workers = [_Worker(str(one["name"]), address, int(one["nthreads"])) for address, one in known.items()]
            return sorted(workers, key=lambda worker: (worker.name, worker.address))
        if time.monotonic() > until:
            raise TransientError(
                f"CREDIT_DASK_SCHEDULER {cluster.scheduler}: the cluster has no workers; start some, or unset it"
            )
        time.sleep(0.2)


def _check_versions(client: Any, cluster: Cluster, workers: Sequence[_Worker], variant: str) -> None:
    """Raises PermanentError where a worker would train another model, or none: other libraries or other code."""
    from credit_assets.ml.data.fingerprints import code_version

    packages = ["credit-assets", VARIANTS[variant].distribution, "pyarrow", "numpy", "pandas", "dask", "distributed"]
    found = client.get_versions(packages=packages)
    ours, differences = found["client"]["packages"], []
    for worker in workers:
        theirs = (found["workers"].get(worker.address) or {}).get("packages")
        if theirs is None:
            raise TransientError(f"Dask worker {worker.address} was lost before training began")
        for package in packages:
            if theirs.get(package) != ours.get(package):
                there = theirs.get(package) or "not installed"
                differences.append(f"{package} {there} on worker {worker.name}, {ours.get(package)} here")
        # Tasks travel as byte code, which another minor version of Python cannot run.
        if theirs["python"].split(".")[:2] != ours["python"].split(".")[:2]:
            differences.append(f"Python {theirs['python']} on worker {worker.name}, {ours['python']} here")
    if not differences:
        code = client.run(code_version)
        differences = [
            f"other code of credit_assets on worker {worker.name}"
            for worker in workers
            if code.get(worker.address) not in (None, code_version())
        ]
    if differences:
        shown = "; ".join(differences[:6]) + (f"; and {len(differences) - 6} more" if len(differences) > 6 else "")
        raise PermanentError(
            f"CREDIT_DASK_SCHEDULER {cluster.scheduler}: the workers differ from this step ({shown}); run scheduler, "
            "workers and steps from one image"
        )


def _watched(client: Any, cluster: Cluster, addresses: Sequence[str], variant: str, work: Callable[[], _T]) -> _T:
    """The result of `work`, which runs on these workers in turn with other trainings; they are watched meanwhile.

    Neither library notices in every case that a worker is gone: a task that is bound to a lost worker waits for ever.
    So somebody looks, and gives up for all.
    """
    from distributed import Lock

    outcome: dict[str, Any] = {}
    lock = Lock(_LOCK)

    def target() -> None:
        try:
            with _turn(lock, cluster):
                outcome["result"] = work()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=target, name="dask-training", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(cluster.watch_seconds)
        gone = _gone(client, addresses) if thread.is_alive() else ""
        if gone:
            # Left held by a client that is gone, it would keep the next attempt waiting.
            if client.status == "running":
                _briefly(lock.release)
            # Ends the thread, whatever it waits for, while the client is still there: on its way out XGBoost gives back
            # the locks of the workers, which nobody else can.
            _briefly(lambda: _cancel(client))
            thread.join(_BRIEFLY)
            _briefly(client.close)
            raise TransientError(f"CREDIT_DASK_SCHEDULER {cluster.scheduler}: {gone} while {variant} was trained")
    error = outcome.get("error")
    if error is None:
        result: _T = outcome["result"]
        return result
    if isinstance(error, PermanentError | TransientError):
        raise error
    gone = _gone(client, addresses)
    words = f"{type(error).__name__}: {error}"
    if gone or _is_network(error):
        raise TransientError(
            f"CREDIT_DASK_SCHEDULER {cluster.scheduler}: {gone or 'the workers lost each other'} while {variant} was "
            f"trained ({words[:300]})"
        ) from error
    if type(error).__name__ in ("XGBoostError", "LightGBMError"):
        raise VARIANTS[variant].refused(error) from error
    raise error


def _cancel(client: Any) -> None:
    from distributed import Future

    client.cancel([Future(key, client=client) for key in list(client.futures)], force=True)


def _free_left_locks(client: Any, addresses: Sequence[str]) -> None:
    """Give back the workers' locks that a training left behind whose process was killed: XGBoost waits for them for
    ever. A lock counts as left when its workers have nothing to do, and still have not after some seconds.
    """
    left = client.run_on_scheduler(_idle_locks, list(addresses))
    if left:
        time.sleep(_LEFT)
        left = sorted(set(left) & set(client.run_on_scheduler(_idle_locks, list(addresses))))
        client.run_on_scheduler(_give_back, left)


def _idle_locks(addresses: list[str], dask_scheduler: Any) -> list[str]:
    locks = dask_scheduler.extensions["multi_locks"]
    return sorted(
        holder
        for holder in {users[0] for name, users in locks.locks.items() if name in addresses and users}
        if not any(
            dask_scheduler.workers[name].processing for name in locks.requests[holder] if name in dask_scheduler.workers
        )
    )


def _give_back(holders: list[str], dask_scheduler: Any) -> None:
    for holder in holders:
        dask_scheduler.extensions["multi_locks"].release(id=holder)


@contextmanager
def _turn(lock: Any, cluster: Cluster) -> Iterator[None]:
    if not lock.acquire(timeout=cluster.turn_seconds):
        raise TransientError(
            f"CREDIT_DASK_SCHEDULER {cluster.scheduler}: another training has had the cluster for "
            f"{cluster.turn_seconds / 3600:g} hours"
        )
    try:
        yield
    finally:
        lock.release()


def _gone(client: Any, addresses: Sequence[str]) -> str:
    """Who is no longer there, in words; empty while all are."""
    if client.status != "running":
        return "the scheduler was lost"
    try:
        there = set(client.sync(client.scheduler.ncores, callback_timeout=_ANSWER))
    except Exception as error:
        return f"the scheduler was lost ({type(error).__name__})"
    lost = sorted(set(addresses) - there)
    return f"lost Dask worker {', '.join(lost)}" if lost else ""


def _briefly(act: Callable[[], object]) -> None:
    """Do something with a cluster that may be gone: errors do not count, and after some seconds nor does it."""

    def target() -> None:
        with suppress(Exception):
            act()

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(_BRIEFLY)


def _is_network(error: BaseException) -> bool:
    if is_transient(error) or type(error).__name__ in ("KilledWorker", "CancelledError", "FutureCancelledError"):
        return True
    text = str(error).lower()
    return type(error).__name__ in ("XGBoostError", "LightGBMError", "ValueError", "RuntimeError") and any(
        word in text for word in _NETWORK
    )
