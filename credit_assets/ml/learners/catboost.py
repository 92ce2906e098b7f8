"""CatBoost, symmetric trees.

Belongs here: what this library needs and nothing else does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.aside import temporary_folder
from credit_assets.ml.learners.learner import Contributions, Device, FitInputs, Fitted, Parameter, Variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from credit_assets.ml.learners.encoding import Encoded

# The library has no missing value for categories.
MISSING = "__missing__"
_GPU_BORDERS = 255
# Among the notes of a model: what stands in a gap of each feature that had some among the train rows.
_GAPS = "gaps"
_IS_MISSING = " is missing"


class CatBoostVariant(Variant):
    """Categories are passed as text; missing is a text of its own. A missing number is the median of the train rows,
    with a column beside it that says so. The library itself would sort it below all others: with a direction, the
    safest or the riskiest of all values whatever the rows say, and without one near to them where few rows have a gap.

    Only symmetric trees can be monotone in this library, and only in numbers; its own tree growth is not settable
    here for that reason.

    On a GPU the library ignores monotone directions without a word, so a portfolio that has some is refused there. Nor
    does it sample features (`rsm`) or make more than 255 borders: the default of rsm becomes 1 there, which is what the
    record says, and values that were set are refused. Sums on a GPU come in no fixed order: equal inputs give nearly,
    not exactly, equal models.
    """

    name = "catboost"
    label = "CatBoost"
    filename = "model.cbm"
    distribution = "catboost"
    explains = True
    grows_on_gpu = True
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

    def _on(self, resolved: dict[str, Any], params: Mapping[str, Any], device: Device, /) -> dict[str, Any]:
        if device == "cpu":
            return resolved
        if params.get("rsm", 1) != 1:
            raise ValueError(
                f"variant {self.name}: parameter 'rsm' must be 1 on a GPU, where the library samples no features; "
                f"got {params['rsm']!r}: leave it out, or train on the CPU"
            )
        if resolved["border_count"] > _GPU_BORDERS:
            raise ValueError(
                f"variant {self.name}: parameter 'border_count' must be at most {_GPU_BORDERS} on a GPU; got "
                f"{resolved['border_count']}"
            )
        return {**resolved, "rsm": 1.0}

    def gpu_obstacle(self, params: Mapping[str, Any], monotone: Mapping[str, int], /) -> str:
        if any(monotone.values()):
            return "CatBoost knows no monotone directions on a GPU, and the portfolio has some"
        if params.get("rsm", 1) != 1:
            return "CatBoost samples no features (rsm) on a GPU, and CREDIT_VARIANT_PARAMS sets it"
        if params.get("border_count", 0) > _GPU_BORDERS:
            return "CatBoost makes at most 255 borders on a GPU, and CREDIT_VARIANT_PARAMS sets more (border_count)"
        return ""

    def _fit(self, inputs: FitInputs) -> Fitted:
        import catboost

        config, train, validation = inputs.config, inputs.train, inputs.validation
        if config.device == "cuda":
            directed = [name for name, direction in zip(train.names, inputs.directions, strict=True) if direction]
            if directed:
                raise ValueError(
                    f"variant {self.name}: the library keeps no monotone directions on a GPU, and there are some for "
                    f"{', '.join(directed)}: train it on the CPU, or take the directions out of the portfolio file"
                )
        columns = _columns(train.batches(), train, len(train))
        gaps = _gaps(columns, train)
        model = catboost.CatBoost(
            {
                **inputs.params,
                "loss_function": "Logloss",
                "eval_metric": "Logloss",
                "iterations": config.max_rounds,
                "od_type": "Iter",
                "od_wait": config.early_stopping_rounds,
                "use_best_model": True,
                "bootstrap_type": "MVS",
                **(
                    {"monotone_constraints": [*inputs.directions, *(0 for _ in gaps)], "task_type": "CPU"}
                    if config.device == "cpu"
                    else {"task_type": "GPU", "devices": "0"}
                ),
                "random_seed": config.seed,
                "thread_count": config.threads,
                "logging_level": "Silent",
                # Otherwise it leaves a folder catboost_info wherever the process was started.
                "allow_writing_files": False,
            }
        )
        try:
            model.fit(
                _pool(columns, train, gaps, config.threads, inputs.y),
                eval_set=_pool(
                    _columns(validation.batches(), validation, len(validation)),
                    validation,
                    gaps,
                    config.threads,
                    inputs.y_val,
                ),
            )
        except catboost.CatBoostError as error:
            raise self.refused(error) from error
        results = model.get_evals_result()
        # Time of day and a random id of the training, which would make equal models differ in their bytes.
        notes = model.get_metadata()
        for key in ("train_finish_time", "model_guid"):
            notes[key] = ""
        notes[_GAPS] = json.dumps(gaps)
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
        with temporary_folder("model") as folder:
            written = folder / self.filename
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

    def _margins(self, model: Any, rows: Encoded, threads: int) -> Iterator[NDArray[Any]]:
        # Models of before have none.
        gaps = json.loads(model.get_metadata().get(_GAPS, "{}"))
        for batch in rows.batches():
            pool = _pool(_columns([batch], rows, len(batch[0])), rows, gaps, threads)
            yield model.predict(pool, prediction_type="RawFormulaVal", thread_count=threads)

    def _contributions(self, model: Any, rows: Encoded, threads: int, /) -> Contributions:
        import numpy as np

        from credit_assets.ml.learners.catboost_trees import forest_of

        forest = forest_of(model)
        # The column that says that a number is missing is one with the number.
        place = {name: at for at, name in enumerate(rows.names)}
        into = [place[name.removesuffix(_IS_MISSING)] for name in model.feature_names_]
        gaps = json.loads(model.get_metadata().get(_GAPS, "{}"))
        found = [np.empty((0, len(rows.names)))]
        for batch in rows.batches():
            pool = _pool(_columns([batch], rows, len(batch[0])), rows, gaps, threads)
            leaves = model.calc_leaf_indexes(pool, thread_count=threads)
            of_features = np.zeros((len(batch[0]), len(rows.names)))
            for column, added in zip(into, forest.contributions(leaves, len(into), threads).T, strict=True):
                of_features[:, column] += added
            found.append(of_features)
        return Contributions(forest.base, np.concatenate(found))


def _columns(batches: Iterable[list[NDArray[Any]]], rows: Encoded, count: int) -> dict[str, NDArray[Any]]:
    """Batches of `rows`, `count` in all, as columns: float32, with which the library computes, and places of levels."""
    import numpy as np

    columns = {name: np.empty(count, np.int32 if name in rows.levels else np.float32) for name in rows.names}
    begin = 0
    for batch in batches:
        end = begin + len(batch[0])
        with np.errstate(over="ignore"):
            for column, values in zip(columns.values(), batch, strict=True):
                column[begin:end] = values
        begin = end
    return columns


def _gaps(columns: Mapping[str, NDArray[Any]], rows: Encoded) -> dict[str, float]:
    """A number near the median of each that is missing in some rows, and not in all: it stands in the model's file."""
    import numpy as np

    from credit_assets.ml.data.shown_values import shown_at

    found = {}
    for name, column in columns.items():
        if name not in rows.levels:
            gone = np.isnan(column)
            if gone.any() and not gone.all():
                known = np.sort(column[~gone].astype(np.float64))
                found[name] = shown_at(known, len(known) // 2)
    return found


def _pool(
    columns: Mapping[str, NDArray[Any]],
    rows: Encoded,
    gaps: Mapping[str, float],
    threads: int,
    label: NDArray[np.float32] | None = None,
) -> Any:
    """Columns of `rows`, and one beside each of `gaps`, in the form that the library reads fastest."""
    import catboost
    import numpy as np
    import pandas as pd

    known = {name: fixed if MISSING in fixed else (*fixed, MISSING) for name, fixed in rows.levels.items()}
    made: dict[str, Any] = {}
    for name, column in columns.items():
        if name in known:
            places = np.where(column < 0, known[name].index(MISSING), column)
            made[name] = pd.Categorical.from_codes(places, categories=pd.Index(known[name], dtype=object))
        else:
            made[name] = column
    for name, median in gaps.items():
        gone = np.isnan(columns[name])
        made[name] = np.where(gone, np.float32(median), columns[name])
        # No column of a portfolio has a blank in its name.
        made[f"{name}{_IS_MISSING}"] = gone.astype(np.float32)
    return catboost.Pool(
        pd.DataFrame(made, copy=False),
        label=None if label is None else label.astype(np.int32),
        cat_features=list(known),
        thread_count=threads,
    )
