"""LightGBM, leaf-wise trees on the CPU.

Belongs here: what this library needs and nothing else does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.ml.data.shown_values import shown_outwards
from credit_assets.ml.learners.learner import Contributions, FitInputs, Fitted, Parameter, Variant

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.learners.encoding import Encoded

# The line of the model's text that has the range of each column.
_RANGE = re.compile(r"^feature_infos=.*$", re.MULTILINE)
REPEATABLE: Mapping[str, Any] = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
"""Without the first two the library times both layouts on the machine and takes the faster, and sums differ."""


class LightGBMVariant(Variant):
    """Categories are passed as positions of fixed levels and declared categorical; missing is NaN everywhere.

    The library reads columns of Arrow, which for numbers are the caller's own, and keeps one byte a value. Its packages
    are built without CUDA: it trains on the CPU whatever the device."""

    name = "lightgbm"
    label = "LightGBM"
    filename = "model.txt"
    distribution = "lightgbm"
    explains = True
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "num_leaves": Parameter("integer", minimum=2, maximum=131_072),
        "learning_rate": Parameter("number", above=0, maximum=1),
        "max_depth": Parameter("integer", minimum=-1, maximum=64),
        "min_data_in_leaf": Parameter("integer", minimum=1),
        "min_sum_hessian_in_leaf": Parameter("number", minimum=0),
        "min_gain_to_split": Parameter("number", minimum=0),
        "bagging_fraction": Parameter("number", above=0, maximum=1),
        "bagging_freq": Parameter("integer", minimum=0),
        "feature_fraction": Parameter("number", above=0, maximum=1),
        "feature_fraction_bynode": Parameter("number", above=0, maximum=1),
        "lambda_l1": Parameter("number", minimum=0),
        "lambda_l2": Parameter("number", minimum=0),
        "path_smooth": Parameter("number", minimum=0),
        "extra_trees": Parameter("boolean"),
        "max_bin": Parameter("integer", minimum=2, maximum=65_535),
        "min_data_in_bin": Parameter("integer", minimum=1),
        "cat_l2": Parameter("number", minimum=0),
        "cat_smooth": Parameter("number", minimum=0),
        "max_cat_to_onehot": Parameter("integer", minimum=1),
        "max_cat_threshold": Parameter("integer", minimum=1),
        "min_data_per_group": Parameter("integer", minimum=1),
        "monotone_constraints_method": Parameter("choice", choices=("basic", "intermediate", "advanced")),
        "monotone_penalty": Parameter("number", minimum=0),
    }
    # "basic" bounds both sides of a split by their middle, which costs fit; "intermediate" costs little time.
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_leaves": 31,
        "learning_rate": 0.05,
        "min_data_in_leaf": 50,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 0.8,
        "lambda_l2": 1.0,
        "max_bin": 255,
        "monotone_constraints_method": "intermediate",
    }

    def gpu_obstacle(self, _given: Mapping[str, Any], _monotone: Mapping[str, int], /) -> str:
        return "LightGBM trains on the CPU (its packages are built without CUDA)"

    def _fit(self, inputs: FitInputs) -> Fitted:
        import lightgbm as lgb

        config, train = inputs.config, inputs.train
        settings = {
            **inputs.params,
            "objective": "binary",
            "metric": "binary_logloss",
            "monotone_constraints": list(inputs.directions),
            "seed": config.seed,
            "num_threads": config.threads,
            **REPEATABLE,
        }
        history: dict[str, dict[str, list[float]]] = {}
        try:
            described = {
                "feature_name": list(train.names),
                "categorical_feature": [place for place, name in enumerate(train.names) if name in train.levels],
                "params": settings,
            }
            # One after the other: each frees its columns once it has made bytes of them.
            data = lgb.Dataset(_columns(train), label=inputs.y, **described).construct()
            held_out = lgb.Dataset(
                _columns(inputs.validation), label=inputs.y_val, reference=data, **described
            ).construct()
            booster = lgb.train(
                settings,
                data,
                num_boost_round=config.max_rounds,
                valid_sets=[data, held_out],
                valid_names=["train", "validation"],
                callbacks=[
                    lgb.early_stopping(config.early_stopping_rounds, verbose=False),
                    lgb.record_evaluation(history),
                ],
            )
        except lgb.basic.LightGBMError as error:
            raise self.refused(error) from error
        rounds, text = text_of_best(booster)
        return Fitted(
            # Read back from its text: the model in memory is then the one that is saved, cut to the best rounds.
            model=lgb.Booster(model_str=text),
            best_rounds=rounds,
            history={
                f"{split}-logloss": [float(v) for v in values["binary_logloss"]] for split, values in history.items()
            },
        )

    def save(self, model: Any, path: Path) -> None:
        path.write_text(model.model_to_string(), encoding="utf-8", newline="\n")

    def load(self, path: Path) -> Any:
        import lightgbm as lgb

        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise self.refused(error) from error
        # Given other text, the library reads a model of no trees; given half a model, it ends the process.
        if not text.startswith("tree\n") or "\nend of trees\n" not in text or "\nend of parameters\n" not in text:
            raise ValueError(f"variant {self.name}: {path.name} holds no whole LightGBM model")
        try:
            return lgb.Booster(model_str=text)
        except lgb.basic.LightGBMError as error:
            raise self.refused(error) from error

    def _margins(self, model: Any, rows: Encoded, threads: int) -> Iterator[NDArray[Any]]:
        import numpy as np

        # A matrix and not Arrow: the library predicts row by row.
        for batch in rows.matrices(np.float64):
            yield model.predict(batch, raw_score=True, num_threads=threads)

    def _contributions(self, model: Any, rows: Encoded, threads: int, /) -> Contributions:
        import numpy as np

        found = [
            model.predict(batch, pred_contrib=True, num_threads=threads)
            for batch in rows.matrices(np.float64)
            if len(batch)
        ]
        if not found:
            return Contributions(0.0, np.empty((0, len(rows.names))))
        every = np.concatenate(found)
        return Contributions(float(every[0, -1]), every[:, :-1])


def text_of_best(booster: Any) -> tuple[int, str]:
    """The best round, or the last where none was the best, and the model's text up to it.

    The library writes the smallest and the largest value of each column into it, and reads them nowhere.
    """
    rounds = int(booster.best_iteration) or int(booster.current_iteration())
    return rounds, _RANGE.sub(_in_round_numbers, booster.model_to_string(num_iteration=rounds), count=1)


def _in_round_numbers(infos: re.Match[str]) -> str:
    def outwards(ends: re.Match[str]) -> str:
        low, high = shown_outwards(float(ends[1]), float(ends[2]))
        return f"[{low!r}:{high!r}]"

    return re.sub(r"\[([^:\]\s]+):([^:\]\s]+)\]", outwards, infos[0])


def _columns(rows: Encoded) -> pa.Table:
    """The encoded columns as Arrow: numbers with NaN for missing, places of levels with null."""
    import pyarrow as pa

    chunks: list[list[pa.Array]] = [[] for _ in rows.names]
    for batch in rows.batches():
        for into, name, column in zip(chunks, rows.names, batch, strict=True):
            into.append(pa.array(column, mask=column < 0 if name in rows.levels else None))
    types = [pa.int32() if name in rows.levels else pa.float64() for name in rows.names]
    columns = [pa.chunked_array(parts, kind) for parts, kind in zip(chunks, types, strict=True)]
    return pa.table(columns, names=list(rows.names))
