"""XGBoost, with histograms on the CPU.

Belongs here: what this library needs and nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.ml.variants.encoding import categories, matrix
from credit_assets.ml.variants.learner import Fitted, Parameter, Variant

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

# How a model in universal binary JSON begins: an object whose first key, of 7 letters, is "learner".
_UBJ = b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"


class XGBoostVariant(Variant):
    """Categories are passed as positions of fixed levels with the feature type "c", so that the saved model holds
    no mapping of its own beside the scorer's. Missing values go to the side that each split learned."""

    name = "xgboost"
    label = "XGBoost"
    filename = "model.ubj"
    distribution = "xgboost"
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

    def _fit(
        self,
        train: pd.DataFrame,
        y: NDArray[np.float64],
        validation: pd.DataFrame,
        y_val: NDArray[np.float64],
        *,
        params: dict[str, Any],
        directions: tuple[int, ...],
        seed: int,
        threads: int,
        max_rounds: int,
        early_stopping_rounds: int,
    ) -> Fitted:
        import xgboost as xgb

        history: dict[str, dict[str, list[float]]] = {}
        try:
            with xgb.config_context(verbosity=0):
                data = _data(train, threads, y)
                held_out = _data(validation, threads, y_val)
                booster = xgb.train(
                    {
                        **params,
                        "objective": "binary:logistic",
                        "eval_metric": "logloss",
                        "tree_method": "hist",
                        "device": "cpu",
                        "monotone_constraints": f"({','.join(map(str, directions))})",
                        "seed": seed,
                        "nthread": threads,
                    },
                    data,
                    num_boost_round=max_rounds,
                    evals=[(data, "train"), (held_out, "validation")],
                    evals_result=history,
                    early_stopping_rounds=early_stopping_rounds,
                    verbose_eval=False,
                )
                rounds = int(booster.best_iteration) + 1
                best = booster[:rounds]
        except xgb.core.XGBoostError as error:
            raise self.refused(error) from error
        # Notes of the training, of no use to the scorer, and the same are in `Fitted`.
        best.set_attr(best_iteration=None, best_score=None)
        return Fitted(
            model=best,
            best_rounds=rounds,
            history={f"{split}-logloss": [float(v) for v in values["logloss"]] for split, values in history.items()},
        )

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

    def predict_margin(self, model: Any, frame: pd.DataFrame, *, threads: int = 1) -> NDArray[np.float64]:
        import numpy as np

        if frame.empty:
            return np.empty(0, dtype=np.float64)
        model.set_param({"nthread": threads})
        return np.asarray(model.predict(_data(frame, threads), output_margin=True), dtype=np.float64)


def _data(encoded: pd.DataFrame, threads: int, label: NDArray[np.float64] | None = None) -> Any:
    import numpy as np
    import xgboost as xgb

    categorical = set(categories(encoded))
    return xgb.DMatrix(
        matrix(encoded),
        label=label,
        missing=np.nan,
        feature_names=list(encoded.columns),
        feature_types=["c" if name in categorical else "q" for name in encoded.columns],
        enable_categorical=True,
        nthread=threads,
    )
