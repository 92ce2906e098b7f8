"""The three libraries called directly, each in the fastest and leanest way we know: the peer of training and scoring.

Run as a process of its own (`python -m benchmarks.learners JSON`) on one JSON text, and writes figures and predictions
to the files it names. Imports nothing of credit_assets: what stands here is written after the libraries' own guides.

XGBoost: QuantileDMatrix from a DataIter over the row groups of the file, float32. LightGBM: Dataset from an Arrow
table, one number for each level of a category. CatBoost: Pool from a frame of float32 columns and categoricals.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MISSING = "__missing__"


def main(asked: dict[str, Any]) -> None:
    begun = time.perf_counter()
    _import(asked["learner"])
    imported = time.perf_counter() - begun
    begun, cpu = time.perf_counter(), time.process_time()
    model = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}[asked["learner"]](asked)
    figures = {"import": imported, "wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
    Path(asked["figures"]).write_text(json.dumps(figures), encoding="utf-8")
    test = _of_split(asked, "test").slice(0, asked["predicted"])
    np.save(asked["predictions"], raw_margins(asked["learner"], model, inputs(asked, test), asked["threads"]))


def _import(learner: str) -> None:
    if learner == "xgboost":
        import xgboost  # noqa: F401
    elif learner == "lightgbm":
        import lightgbm  # noqa: F401
    else:
        import catboost  # noqa: F401
        import pandas  # noqa: F401


# Reading


def _file(asked: dict[str, Any]) -> Any:
    return pq.ParquetFile(asked["file"], read_dictionary=list(asked["levels"]))


def _of_split(asked: dict[str, Any], split: str) -> pa.Table:
    """The rows of one split: those of the file lie together."""
    names = [*asked["features"], "default"]
    tables = list(_groups(asked, split, names))
    return pa.concat_tables(tables)


def _groups(asked: dict[str, Any], split: str, names: list[str]) -> Any:
    first, last = asked["splits"][split]
    with _file(asked) as file:
        begin = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            a, b = max(first, begin), min(last, begin + rows)
            if a < b:
                yield file.read_row_group(group, columns=names).slice(a - begin, b - a)
            begin += rows


def _codes(column: pa.ChunkedArray, levels: list[str]) -> np.ndarray[Any, Any]:
    """Places of levels, -1 for missing."""
    found = []
    for chunk in column.chunks:
        known = {level: place for place, level in enumerate(levels)}
        table = np.array([*(known.get(text, -1) for text in chunk.dictionary.to_pylist()), -1], dtype=np.int32)
        found.append(table[chunk.indices.fill_null(len(table) - 1).to_numpy()])
    return np.concatenate(found)


def _matrix(asked: dict[str, Any], table: pa.Table, dtype: Any) -> np.ndarray[Any, Any]:
    result = np.empty((table.num_rows, len(asked["features"])), dtype=dtype)
    for place, name in enumerate(asked["features"]):
        if name in asked["levels"]:
            codes = _codes(table[name], asked["levels"][name])
            result[:, place] = codes
            result[codes < 0, place] = np.nan
        else:
            result[:, place] = table[name].to_numpy()
    return result


def _frame(asked: dict[str, Any], table: pa.Table) -> Any:
    """Of `asked["gaps"]`, the numbers that train rows lacked, a median stands in each gap and a column says where."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in asked["features"]:
        if name in asked["levels"]:
            levels = [*asked["levels"][name], MISSING]
            codes = _codes(table[name], asked["levels"][name])
            columns[name] = pd.Categorical.from_codes(np.where(codes < 0, len(levels) - 1, codes), pd.Index(levels))
        else:
            columns[name] = table[name].to_numpy().astype(np.float32)
    for name, median in asked["gaps"].items():
        gone = np.isnan(columns[name])
        columns[name][gone] = np.float32(median)
        columns[f"{name} is missing"] = gone.astype(np.float32)
    return pd.DataFrame(columns, copy=False)


def _gaps(asked: dict[str, Any], train: pa.Table) -> dict[str, float]:
    """The median of each number that train rows lack."""
    numbers = (name for name in asked["features"] if name not in asked["levels"] and train[name].null_count)
    return {name: float(np.nanmedian(train[name].to_numpy().astype(np.float32))) for name in numbers}


def _target(table: pa.Table, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.asarray(table["default"].to_numpy(), dtype=dtype)


# Training


def _xgboost(asked: dict[str, Any]) -> Any:
    import xgboost as xgb

    names = asked["features"]
    kinds = ["c" if name in asked["levels"] else "q" for name in names]

    class Groups(xgb.DataIter):  # type: ignore[misc]
        def __init__(self, split: str) -> None:
            super().__init__()
            self.split = split

        def reset(self) -> None:
            self.tables = _groups(asked, self.split, [*names, "default"])

        def next(self, input_data: Any) -> bool:
            table = next(self.tables, None)
            if table is None:
                return False
            x, y = _matrix(asked, table, np.float32), _target(table)
            input_data(data=x, label=y, feature_names=names, feature_types=kinds)
            return True

    options = {"max_bin": asked["params"]["max_bin"], "enable_categorical": True, "nthread": asked["threads"]}
    train = xgb.QuantileDMatrix(Groups("train"), **options)
    validation = xgb.QuantileDMatrix(Groups("validation"), ref=train, **options)
    return xgb.train(
        {
            **asked["params"], "objective": "binary:logistic", "eval_metric": "logloss", "tree_method": "hist",
            "monotone_constraints": f"({','.join(map(str, asked['directions']))})", "seed": asked["seed"],
            "nthread": asked["threads"],
        },
        train,
        num_boost_round=asked["rounds"],
        evals=[(train, "train"), (validation, "validation")],
        verbose_eval=False,
    )  # fmt: skip


def _lightgbm(asked: dict[str, Any]) -> Any:
    import lightgbm as lgb

    settings = {
        **asked["params"], "objective": "binary", "metric": "binary_logloss", "seed": asked["seed"],
        "monotone_constraints": asked["directions"], "num_threads": asked["threads"], "verbosity": -1,
        "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    described = {
        "feature_name": asked["features"],
        "categorical_feature": [i for i, name in enumerate(asked["features"]) if name in asked["levels"]],
        "params": settings,
    }

    def data(split: str, **more: Any) -> Any:
        table = _of_split(asked, split)
        y = _target(table)
        for name, levels in asked["levels"].items():
            codes = _codes(table[name], levels)
            table = table.set_column(table.column_names.index(name), name, pa.array(codes, mask=codes < 0))
        return lgb.Dataset(table.select(asked["features"]), label=y, **described, **more).construct()

    train = data("train")
    validation = data("validation", reference=train)
    return lgb.train(settings, train, asked["rounds"], [train, validation], ["train", "validation"])


def _catboost(asked: dict[str, Any]) -> Any:
    import catboost

    def pool(split: str) -> Any:
        table = _of_split(asked, split)
        if split == "train":
            asked["gaps"] = _gaps(asked, table)
        frame, y = _frame(asked, table), _target(table, np.int32)
        del table
        return catboost.Pool(frame, label=y, cat_features=list(asked["levels"]), thread_count=asked["threads"])

    train = pool("train")
    model = catboost.CatBoost(
        {
            **asked["params"], "loss_function": "Logloss", "eval_metric": "Logloss", "iterations": asked["rounds"],
            "use_best_model": False, "bootstrap_type": "MVS",
            "monotone_constraints": [*asked["directions"], *(0 for _ in asked["gaps"])],
            "random_seed": asked["seed"], "thread_count": asked["threads"], "logging_level": "Silent",
            "allow_writing_files": False,
        }
    )  # fmt: skip
    model.fit(train, eval_set=pool("validation"))
    return model


# Scoring


def inputs(asked: dict[str, Any], table: pa.Table) -> Any:
    """The rows in the form that each library predicts fastest from."""
    learner = asked["learner"]
    if learner == "catboost":
        return _frame(asked, table)
    return _matrix(asked, table, np.float32 if learner == "xgboost" else np.float64)


def load(learner: str, file: str) -> Any:
    if learner == "xgboost":
        import xgboost

        return xgboost.Booster(model_file=file)
    if learner == "lightgbm":
        import lightgbm

        return lightgbm.Booster(model_file=file)
    import catboost

    return catboost.CatBoost().load_model(file)


def raw_margins(learner: str, model: Any, given: Any, threads: int) -> Any:
    """The library's own prediction, log-odds before calibration."""
    if learner == "xgboost":
        model.set_param({"nthread": threads})
        return model.inplace_predict(given, predict_type="margin")
    if learner == "lightgbm":
        return model.predict(given, raw_score=True, num_threads=threads)
    return model.predict(given, prediction_type="RawFormulaVal", thread_count=threads)


def contributions(asked: dict[str, Any], model: Any, given: Any, threads: int) -> Any:
    """What each feature adds to the log-odds of each row (TreeSHAP), by the library: what reason codes are made of."""
    learner = asked["learner"]
    if learner == "xgboost":
        import xgboost

        kinds = ["c" if name in asked["levels"] else "q" for name in asked["features"]]
        data = xgboost.DMatrix(
            given, feature_names=asked["features"], feature_types=kinds, enable_categorical=True, nthread=threads
        )
        return model.predict(data, pred_contribs=True)
    if learner == "lightgbm":
        return model.predict(given, pred_contrib=True, num_threads=threads)
    import catboost

    pool = catboost.Pool(given, cat_features=list(asked["levels"]), thread_count=threads)
    return model.get_feature_importance(pool, type="ShapValues", thread_count=threads)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
