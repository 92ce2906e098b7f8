"""CatBoost, symmetric trees on the CPU.

Belongs here: what this library needs and nothing else does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.ml.variants.encoding import categories
from credit_assets.ml.variants.learner import Fitted, Parameter, Variant

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

# The library has no missing value for categories.
MISSING = "__missing__"


class CatBoostVariant(Variant):
    """Categories are passed as text; missing is a text of its own. Missing numbers sort below all others.

    Only symmetric trees can be monotone in this library, and only in numbers; its own tree growth is not settable
    here for that reason.
    """

    name = "catboost"
    label = "CatBoost"
    filename = "model.cbm"
    distribution = "catboost"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "depth": Parameter("integer", minimum=1, maximum=16),
        "learning_rate": Parameter("number", above=0, maximum=1),
        "l2_leaf_reg": Parameter("number", minimum=0),
        "random_strength": Parameter("number", minimum=0),
        "subsample": Parameter("number", above=0, maximum=1),
        "rsm": Parameter("number", above=0, maximum=1),
        "border_count": Parameter("integer", minimum=1, maximum=65_535),
        "one_hot_max_size": Parameter("integer", minimum=2, maximum=255),
        "max_ctr_complexity": Parameter("integer", minimum=1, maximum=8),
        "boosting_type": Parameter("choice", choices=("Plain", "Ordered")),
        "leaf_estimation_iterations": Parameter("integer", minimum=1, maximum=100),
        "model_size_reg": Parameter("number", minimum=0),
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "depth": 8,
        "learning_rate": 0.03,
        "l2_leaf_reg": 3.0,
        "random_strength": 1.0,
        "subsample": 0.8,
        "rsm": 0.8,
        "border_count": 128,
        # A category of few levels is split by level. Statistics of the target by level, which the library computes for
        # larger ones, take most of the time of a fit and win nothing on a dozen levels.
        "one_hot_max_size": 16,
        "max_ctr_complexity": 1,
        "boosting_type": "Plain",
        # One Newton step a leaf, with the constraints on, needs more than twice the rounds and time of ten.
        "leaf_estimation_iterations": 10,
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
        import catboost

        model = catboost.CatBoost(
            {
                **params,
                "loss_function": "Logloss",
                "eval_metric": "Logloss",
                "iterations": max_rounds,
                "od_type": "Iter",
                "od_wait": early_stopping_rounds,
                "use_best_model": True,
                "bootstrap_type": "MVS",
                "monotone_constraints": list(directions),
                "random_seed": seed,
                "thread_count": threads,
                "task_type": "CPU",
                "logging_level": "Silent",
                # Otherwise it leaves a folder catboost_info wherever the process was started.
                "allow_writing_files": False,
            }
        )
        try:
            model.fit(_pool(train, y.astype(int)), eval_set=_pool(validation, y_val.astype(int)))
        except catboost.CatBoostError as error:
            raise self.refused(error) from error
        results = model.get_evals_result()
        # Time of day and a random id of the training, which would make equal models differ in their bytes.
        notes = model.get_metadata()
        for key in ("train_finish_time", "model_guid"):
            notes[key] = ""
        return Fitted(
            model=model,
            best_rounds=int(model.tree_count_),
            history={
                "train-logloss": [float(v) for v in results["learn"]["Logloss"]],
                "validation-logloss": [float(v) for v in results["validation"]["Logloss"]],
            },
        )

    def save(self, model: Any, path: Path) -> None:
        # By way of a folder of its own: the library writes next to nothing else, whatever the path's ending.
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / self.filename
            model.save_model(str(written), format="cbm")
            path.write_bytes(written.read_bytes())

    def load(self, path: Path) -> Any:
        import catboost

        model = catboost.CatBoost()
        try:
            # From the file: given half a model as bytes, the library ends the process.
            model.load_model(str(path), format="cbm")
        except catboost.CatBoostError as error:
            raise self.refused(error) from error
        return model

    def predict_margin(self, model: Any, frame: pd.DataFrame, *, threads: int = 1) -> NDArray[np.float64]:
        import numpy as np

        if frame.empty:
            return np.empty(0, dtype=np.float64)
        margin = model.predict(_pool(frame, threads=threads), prediction_type="RawFormulaVal", thread_count=threads)
        return np.asarray(margin, dtype=np.float64)


def _pool(encoded: pd.DataFrame, label: NDArray[np.int_] | None = None, threads: int = 1) -> Any:
    import catboost

    names = categories(encoded)
    texts = {}
    for name in names:
        column = encoded[name].cat
        known = column.categories
        texts[name] = (
            encoded[name].fillna(MISSING) if MISSING in known else column.add_categories([MISSING]).fillna(MISSING)
        )
    return catboost.Pool(encoded.assign(**texts), label=label, cat_features=names, thread_count=threads)
