"""How each learner is fitted on the workers of a cluster, with the library's own Dask interface.

Belongs here: the calls of `xgboost.dask` and `lightgbm.dask`. Does not belong here: what a learner's parameters mean
(its own module), which rows a worker reads (`dask_shares`), and undocumented names (`dask_internals`).

A learner with a Dask interface has an entry in FITS.
"""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from credit_assets.failures import TransientError
from credit_assets.ml.learners.dask_internals import LightGBMClient, free_left_locks, still_wanted
from credit_assets.ml.learners.dask_shares import Plan, inputs, levels_of_share, load, seen_of_share, target
from credit_assets.ml.learners.learner import FitConfig, Fitted, Variant
from credit_assets.ml.learners.missing import FeatureProfile, together

if TYPE_CHECKING:
    from credit_assets.ml.learners.dask_cluster import Cluster, Workers

# What the model's text says of the machines that trained it: addresses, of no use to whoever reads the model.
_MACHINES = re.compile(
    r"^\[(machines|machine_list_filename|local_listen_port|num_machines|time_out|num_threads): .*\n", re.M
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


@dataclass(frozen=True)
class ClusterFit:
    """One fit on workers that hold their shares of the train rows: as `FitInputs` in one process."""

    workers: Workers
    plan: Plan
    tables: list[Any]
    levels: Mapping[str, tuple[str, ...]]
    params: Mapping[str, Any]
    directions: tuple[int, ...]
    config: FitConfig
    silent_seconds: int

    def arrays(self, split: str, tables: list[Any], dtype: str) -> tuple[Any, Any]:
        """Inputs and target of a split as Dask arrays, one chunk on each worker, made from its table."""
        import dask
        import dask.array as da
        import numpy as np
        from distributed import wait

        features = self.plan.features
        columns = self.workers.each(inputs, lambda place: (tables[place], features, self.levels, dtype))
        targets = self.workers.each(target, lambda place: (tables[place],))
        # An error of reading shows here, with its own words, and not as an assertion within the learner.
        for future in wait([*columns, *targets]).done:
            if future.status != "finished":
                future.result()
        rows = [self.plan.share(split, place).rows for place in range(len(tables))]
        x = [
            da.from_delayed(dask.delayed(future), shape=(n, len(features)), dtype=dtype)
            for future, n in zip(columns, rows, strict=True)
        ]
        y = [
            da.from_delayed(dask.delayed(future), shape=(n,), dtype=np.float64)
            for future, n in zip(targets, rows, strict=True)
        ]
        return da.concatenate(x), da.concatenate(y)


def fit_on_workers(
    workers: Workers,
    plan: Plan,
    learner: Variant,
    monotone: Mapping[str, int],
    config: FitConfig,
    cluster: Cluster,
) -> tuple[Fitted, FeatureProfile]:
    """A model of the file that `plan` is of, and what its train rows fix. `learner` is one of FITS."""
    from distributed import wait

    gather = workers.client.gather
    imported = workers.each(_imported, lambda _: (f"{learner.name}.dask",))
    try:
        wait(imported, timeout=cluster.turn_seconds)
    except TimeoutError as error:
        hours = f"{cluster.turn_seconds / 3600:g} hours"
        raise cluster.lost(f"a worker has been busy with something else for {hours}; restart it") from error
    gather(imported)
    tables = workers.each(load, lambda place: (plan, plan.share("train", place)))
    of_shares = gather(workers.each(levels_of_share, lambda place: (tables[place], plan.categorical)))
    levels = {name: tuple(sorted(set().union(*(one[name] for one in of_shares)))) for name in plan.categorical}
    fit = ClusterFit(
        workers=workers,
        plan=plan,
        tables=tables,
        levels=levels,
        params=learner.resolve(config.params),
        directions=tuple(int(monotone.get(name, 0)) for name in plan.features),
        config=config,
        silent_seconds=cluster.silent_seconds,
    )
    seen = workers.each(seen_of_share, lambda place: (tables[place], plan.features, levels))
    profile = FeatureProfile(levels, together(gather(seen)))
    return FITS[learner.name](fit), profile


def _imported(module: str) -> None:
    """A second or more on a fresh worker, before the workers begin to wait for each other."""
    import importlib

    importlib.import_module(module)


def _fit_xgboost(fit: ClusterFit) -> Fitted:
    import numpy as np
    import xgboost as xgb
    from xgboost import dask as dxgb
    from xgboost.collective import Config

    from credit_assets.ml.learners.xgboost import booster_params, cut_to_best

    plan, workers, config = fit.plan, fit.workers, fit.config
    free_left_locks(workers.client, workers.addresses)
    described = {
        "missing": np.nan,
        "feature_names": list(plan.features),
        "feature_types": ["c" if name in fit.levels else "q" for name in plan.features],
        "enable_categorical": True,
        "max_bin": fit.params["max_bin"],
    }
    held_out = workers.each(load, lambda place: (plan, plan.share("validation", place)))
    # As in one process: the library computes in float32.
    x, y = fit.arrays("train", fit.tables, "float32")
    x_val, y_val = fit.arrays("validation", held_out, "float32")
    train = dxgb.DaskQuantileDMatrix(workers.client, x, y, **described)
    validation = dxgb.DaskQuantileDMatrix(workers.client, x_val, y_val, ref=train, **described)
    with xgb.config_context(verbosity=0):
        output = dxgb.train(
            workers.client,
            booster_params(fit.params, fit.directions, config),
            train,
            num_boost_round=config.max_rounds,
            evals=[(train, "train"), (validation, "validation")],
            early_stopping_rounds=config.early_stopping_rounds,
            callbacks=[_stop_unwanted()],
            verbose_eval=False,
            coll_cfg=Config(timeout=fit.silent_seconds, tracker_timeout=fit.silent_seconds),
        )
    return cut_to_best(output["booster"], output["history"])


def _stop_unwanted() -> Any:
    """XGBoost callback: a training that nobody waits for frees its worker."""
    import xgboost as xgb

    class StopUnwanted(xgb.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, *_: Any) -> bool:
            return not still_wanted()

    return StopUnwanted()


def _fit_lightgbm(fit: ClusterFit) -> Fitted:
    import lightgbm as lgb
    from lightgbm.dask import DaskLGBMRegressor

    from credit_assets.ml.learners.lightgbm import REPEATABLE, text_of_best

    plan, workers, config, token = fit.plan, fit.workers, fit.config, uuid.uuid4().hex
    x, y = fit.arrays("train", fit.tables, "float64")
    # The regressor with a binary objective: the classifier would count the classes of each worker's share.
    model = DaskLGBMRegressor(
        client=LightGBMClient(workers.client, workers.addresses),
        objective="binary",
        n_estimators=config.max_rounds,
        random_state=config.seed,
        metric="binary_logloss",
        monotone_constraints=list(fit.directions),
        **REPEATABLE,
        time_out=max(1, fit.silent_seconds // 60),  # minutes
        **{_SKLEARN_NAMES.get(name, name): value for name, value in fit.params.items()},
    )
    model.fit(
        x,
        y,
        feature_name=list(plan.features),
        categorical_feature=[place for place, name in enumerate(plan.features) if name in fit.levels],
        callbacks=[_Validation(token, plan, fit.levels), _Stopping(token, config.early_stopping_rounds)],
    )
    losses = [one for one in workers.client.run(_losses_of, token).values() if one]
    rounds, text = text_of_best(model.booster_)
    rows = sum(one.rows for one in losses)
    return Fitted(
        model=lgb.Booster(model_str=_MACHINES.sub("", text)),
        best_rounds=rounds,
        history={
            # Each worker knows the loss of its own train rows, and all that of the validation rows.
            "train-logloss": [
                sum(one.train[i] * one.rows for one in losses) / rows for i in range(len(losses[0].train))
            ],
            "validation-logloss": losses[0].validation,
        },
    )


@dataclass
class _Losses:
    """Of one worker: its train rows, and the log loss after each round."""

    rows: int
    train: list[float] = dataclasses.field(default_factory=list)
    validation: list[float] = dataclasses.field(default_factory=list)


_LOSSES: dict[tuple[str, str], _Losses] = {}
"""On a worker: the losses that `_Stopping` saw, by training and worker, until the client asks for them."""


def _losses_of(token: str, dask_worker: Any) -> _Losses | None:
    return _LOSSES.pop((token, dask_worker.address), None)


def _on_this_worker(token: str) -> tuple[str, str]:
    from distributed import get_worker

    return token, get_worker().address


@dataclass(frozen=True)
class _Validation:
    """LightGBM callback before the first round: the validation rows, all of them, on each worker.

    `lightgbm.dask` has no early stopping (LightGBM issue 3712): given `eval_set`, each worker would look at its part of
    the validation rows, stop in another round than the others, and the rest would wait for it; and the client would
    fetch every part to see whether it has one. With all rows each worker sees the same loss of the same model, and all
    stop in the same round. (Processors of different makes could differ in the 16th digit, and once in a very long while
    in the round: training then ends with an error of the network, not with a model.)
    """

    token: str
    plan: Plan
    levels: Mapping[str, tuple[str, ...]]
    order: int = 10
    before_iteration: bool = True

    def __hash__(self) -> int:
        return hash(self.token)

    def __call__(self, env: Any) -> None:
        import lightgbm as lgb

        if env.iteration != env.begin_iteration:
            return
        table, train = load(self.plan, self.plan.everything("validation")), env.model.train_set
        columns = inputs(table, self.plan.features, self.levels, "float64")
        data = lgb.Dataset(columns, label=target(table), reference=train, params=env.model.params)
        env.model.add_valid(data, "validation")
        _LOSSES[_on_this_worker(self.token)] = _Losses(train.num_data())


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
        if not still_wanted():
            raise TransientError("nobody waits for this training any more")
        losses = _LOSSES[_on_this_worker(self.token)]
        losses.train.append(float(env.model.eval_train()[0].metric_value))
        losses.validation.append(float(held_out[0].metric_value))
        self.inner(dataclasses.replace(env, evaluation_result_list=held_out))


FITS: Mapping[str, Callable[[ClusterFit], Fitted]] = {"xgboost": _fit_xgboost, "lightgbm": _fit_lightgbm}
"""How a variant is fitted on a cluster; those that have no entry train on one node."""
