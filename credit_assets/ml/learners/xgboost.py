"""XGBoost, with histograms.

Belongs here: what this library needs and nothing else does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.ml.learners.learner import Contributions, FitConfig, FitInputs, Fitted, Parameter, Variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from credit_assets.ml.learners.encoding import Encoded

# How a model in universal binary JSON begins: an object whose first key, of 7 letters, is "learner".
_UBJ = b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"


class XGBoostVariant(Variant):
    """Categories are passed as positions of fixed levels with the feature type "c", so that the saved model holds
    no mapping of its own beside the scorer's. Missing values go to the side that each split learned.

    The library reads batches of float32, which it would make of float64 anyway, and keeps one number of a bin a value:
    a third of the memory of a plain matrix, for the same model."""

    name = "xgboost"
    label = "XGBoost"
    filename = "model.ubj"
    distribution = "xgboost"
    explains = True
    grows_on_gpu = True
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "max_depth": Parameter("integer", minimum=1, maximum=16),
        "learning_rate": Parameter("number", above=0, maximum=1),
        "min_child_weight": Parameter("number", minimum=0),
        "gamma": Parameter("number", minimum=0),
        "subsample": Parameter("number", above=0, maximum=1),
        "colsample_bytree": Parameter("number", above=0, maximum=1),
        "colsample_bylevel": Parameter("number", above=0, maximum=1),
        "colsample_bynode": Parameter("number", above=0, maximum=1),
        "reg_lambda": Parameter("number", minimum=0),
        "reg_alpha": Parameter("number", minimum=0),
        "max_delta_step": Parameter("number", minimum=0),
        "max_leaves": Parameter("integer", minimum=0),
        "max_bin": Parameter("integer", minimum=2, maximum=65_535),
        "grow_policy": Parameter("choice", choices=("depthwise", "lossguide")),
        "max_cat_to_onehot": Parameter("integer", minimum=1),
        "max_cat_threshold": Parameter("integer", minimum=1),
    }
    # A leaf of 10 units of hessian is some 200 loans at a default rate of 5%.
    defaults: ClassVar[Mapping[str, Any]] = {
        "max_depth": 6,
        "learning_rate": 0.01,
        "min_child_weight": 10.0,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "reg_lambda": 1.0,
        "max_bin": 256,
    }

    def built_for_cuda(self) -> bool:
        import xgboost

        return bool(xgboost.build_info().get("USE_CUDA"))

    def _fit(self, inputs: FitInputs) -> Fitted:
        import xgboost as xgb

        config, max_bin = inputs.config, inputs.params["max_bin"]
        history: dict[str, dict[str, list[float]]] = {}
        try:
            with xgb.config_context(verbosity=0):
                data = _quantiles(inputs.train, inputs.y, max_bin, config.threads)
                held_out = _quantiles(inputs.validation, inputs.y_val, max_bin, config.threads, data)
                booster = xgb.train(
                    {**booster_params(inputs.params, inputs.directions, config), "nthread": config.threads},
                    data,
                    num_boost_round=config.max_rounds,
                    evals=[(data, "train"), (held_out, "validation")],
                    evals_result=history,
                    early_stopping_rounds=config.early_stopping_rounds,
                    verbose_eval=False,
                    callbacks=[] if config.device == "cpu" else [_refuse_other_device()],
                )
                return cut_to_best(booster, history)
        except xgb.core.XGBoostError as error:
            raise self.refused(error) from error

    def save(self, model: Any, path: Path) -> None:
        # From memory, since the library chooses the format by the file's ending.
        path.write_bytes(bytes(model.save_raw("ubj")))

    def load(self, path: Path) -> Any:
        import xgboost as xgb

        content = path.read_bytes()
        # An empty buffer ends the process inside the library, without an exception.
        if not content.startswith(_UBJ):
            raise ValueError(f"variant {self.name}: {path.name} holds no XGBoost model")
        booster = xgb.Booster()
        try:
            booster.load_model(bytearray(content))
        except xgb.core.XGBoostError as error:
            raise self.refused(error) from error
        return booster

    def _margins(self, model: Any, rows: Encoded, threads: int) -> Iterator[NDArray[Any]]:
        import numpy as np

        model.set_param({"nthread": threads})
        for batch in rows.matrices(np.float32):
            yield model.inplace_predict(batch, predict_type="margin")

    def _contributions(self, model: Any, rows: Encoded, threads: int, /) -> Contributions:
        import numpy as np

        from credit_assets.ml.learners.xgboost_trees import forest_of

        forest = forest_of(model)
        found = [forest.contributions(batch, threads) for batch in rows.matrices(np.float32)]
        return Contributions(forest.base, np.concatenate([np.empty((0, len(rows.names))), *found]))


def booster_params(params: Mapping[str, Any], directions: Sequence[int], config: FitConfig) -> dict[str, Any]:
    """What the library is given besides the rows, wherever it trains: in this process or on a cluster."""
    return {
        **params,
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "device": config.device,
        "monotone_constraints": f"({','.join(map(str, directions))})",
        "seed": config.seed,
    }


def cut_to_best(booster: Any, history: Mapping[str, Mapping[str, Sequence[float]]]) -> Fitted:
    """The trained model up to its best round."""
    rounds = int(booster.best_iteration) + 1
    best = booster[:rounds]
    # Whoever loads it scores on the CPU, wherever it was trained.
    best.set_param({"device": "cpu"})
    # Notes of the training, of no use to the scorer, and the same are in `Fitted`.
    best.set_attr(best_iteration=None, best_score=None)
    return Fitted(
        model=best,
        best_rounds=rounds,
        history={f"{split}-logloss": [float(v) for v in values["logloss"]] for split, values in history.items()},
    )


def _quantiles(rows: Encoded, label: NDArray[np.float32], max_bin: int, threads: int, reference: Any = None) -> Any:
    """The rows as bins; those of `reference` where there is one. The library reads all rows several times."""
    import numpy as np
    import xgboost as xgb

    described = {
        "feature_names": list(rows.names),
        "feature_types": ["c" if name in rows.levels else "q" for name in rows.names],
    }

    class Batches(xgb.DataIter):  # type: ignore[misc]
        def reset(self) -> None:
            self.batches, self.begin = rows.matrices(np.float32), 0

        def next(self, input_data: Any) -> bool:
            batch = next(self.batches, None)
            if batch is None:
                return False
            end = self.begin + len(batch)
            input_data(data=batch, label=label[self.begin : end], **described)
            self.begin = end
            return True

    return xgb.QuantileDMatrix(
        Batches(), max_bin=max_bin, missing=np.nan, enable_categorical=True, nthread=threads, ref=reference
    )


def _refuse_other_device() -> Any:
    """A callback that ends a training which the library has moved to the CPU in silence, before its first round."""
    import xgboost as xgb

    class Refuse(xgb.callback.TrainingCallback):  # type: ignore[misc]
        def before_training(self, model: Any) -> Any:
            used = json.loads(model.save_config())["learner"]["generic_param"]["device"]
            if not used.startswith("cuda"):
                raise ValueError(
                    f"variant xgboost: device cuda was asked for and the library uses {used}: no GPU is visible to it, "
                    "or it is built without CUDA; train where a GPU is, or on the CPU"
                )
            return model

    return Refuse()
