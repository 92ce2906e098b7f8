"""Reasons: what those of the declined add to a day, in seconds of CPU: 100,000 applications of which 20% are declined.

The model is trained with the default parameters and early stopping, so that it has the trees that a lender's has.
Beside it what the library's own contributions take for the same applicants, without grouping and ranking; of XGBoost,
whose take minutes, scaled from some. Each side runs in a process of its own. Both must say the same, where the
library's own do not depend on who else is asked about.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.processes import child_environment, run
from benchmarks.report import Row, cores
from benchmarks.training import LEARNERS, write_training_set

TARGET = "reasons"
LIMIT = 60.0
TRAINED_ON, DECLINED = 100_000, 0.2
FULL, QUICK = 100_000, 5_000
_LIBRARY_ROWS = {"xgboost": 1_000}
_AGREE = 1e-5


def measure(quick: bool) -> list[Row]:
    """CPU of the reasons of a day's declined, by learner, and of the library's own contributions."""
    size, rows = QUICK if quick else FULL, []
    with tempfile.TemporaryDirectory(prefix="bench-reasons-") as folder:
        place = Path(folder)
        write_training_set(place / "training.parquet", QUICK if quick else TRAINED_ON)
        write_training_set(place / "day.parquet", size, seed=2)
        for learner in LEARNERS:
            asked = {"learner": learner, "place": folder, "threads": cores(), "quick": quick}
            trained = _run("train", asked)
            ours, one, library = (_run(what, asked) for what in ("ours", "one", "library"))
            what = f"{learner}, {trained['rounds']:.0f} rounds, {ours['rows']:,.0f} of {size:,} declined"
            limit = None if quick else LIMIT
            fewer = f"{ours['fewer']:.0%} have fewer than four"
            own = f"{what}, CPU of the library's own contributions"
            rows += [
                Row(TARGET, f"{what}, CPU", ours["cpu"], None, "s", "", limit, note=fewer),
                Row(TARGET, f"{learner}, one applicant, CPU", one["cpu"], None, "s", "", None),
                Row(TARGET, own, library["cpu"], None, "s", "", None, note=library["note"]),
            ]
    return rows


def _run(what: str, asked: dict[str, Any]) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.reasons", what, json.dumps(asked)]
    run(argv, env=child_environment(OMP_WAIT_POLICY="PASSIVE"), cwd=Path(__file__).parents[1])
    found: dict[str, Any] = json.loads((Path(asked["place"]) / "figures.json").read_text("utf-8"))
    return found


# What runs in the measured process


def train(asked: dict[str, Any]) -> dict[str, Any]:
    """A scorer with a cut-off by which DECLINED of the day are declined."""
    from dataclasses import replace

    import numpy as np
    import pyarrow.parquet as pq

    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.learners.candidates import train_candidate
    from credit_assets.ml.learners.training import TrainingConfig

    place = Path(asked["place"])
    config = TrainingConfig(threads=asked["threads"])
    if asked["quick"]:
        config = replace(config, max_rounds=20)
    found = train_candidate(Rows.stored(place / "training.parquet"), asked["learner"], load_portfolio(), config)
    pds = found.scorer.pd(pq.read_table(place / "day.parquet"))
    replace(found.scorer, cut_off=float(np.quantile(pds, 1 - DECLINED))).save(place / asked["learner"])
    return {"rounds": found.best_rounds}


def ours(asked: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    """The reasons of the declined, from their features to codes."""
    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.data.reasons import ReasonContract
    from credit_assets.ml.learners.reason_codes import reason_codes

    scorer, declined = _declined(asked)
    contract = ReasonContract.of(load_portfolio())
    rows = declined.slice(0, most)
    if most is not None:
        # The second of two: the first one reads the trees.
        reason_codes(scorer, contract, rows)
    begun = time.process_time()
    codes = reason_codes(scorer, contract, rows, threads=asked["threads"])
    cpu = time.process_time() - begun
    fewer = sum(one is None or len(one) < contract.most for one in codes) / len(codes)
    return {"cpu": cpu, "rows": len(codes), "fewer": fewer}


def one(asked: dict[str, Any]) -> dict[str, Any]:
    """Of one applicant, as a request asks."""
    return ours(asked, 1)


def library(asked: dict[str, Any]) -> dict[str, Any]:
    """What the library's own contributions take for them."""
    import numpy as np

    from credit_assets.ml.learners import VARIANTS
    from credit_assets.ml.learners.encoding import encode

    scorer, declined = _declined(asked)
    rows = declined.slice(0, _LIBRARY_ROWS.get(asked["learner"]))
    encoded, threads = encode(rows, scorer.features, scorer.categories), asked["threads"]
    begun = time.process_time()
    found = _of_library(asked["learner"], scorer.model, encoded, threads)
    cpu = time.process_time() - begun
    same = VARIANTS[asked["learner"]].contributions(scorer.model, encoded, threads=threads).values
    apart = float(np.abs(found - same).max())
    if asked["learner"] != "catboost" and not apart <= _AGREE:
        raise RuntimeError(f"{asked['learner']}: our contributions and the library's differ by {apart:g}")
    scaled = declined.num_rows / rows.num_rows
    note = f"ours differ by up to {apart:.0e} log-odds"
    return {"cpu": cpu * scaled, "note": note if scaled == 1 else f"{note}; scaled from {rows.num_rows:,} of them"}


def _of_library(learner: str, model: Any, rows: Any, threads: int) -> Any:
    import numpy as np

    if learner == "lightgbm":
        matrix = np.concatenate(list(rows.matrices(np.float64)))
        return model.predict(matrix, pred_contrib=True, num_threads=threads)[:, :-1]
    if learner == "xgboost":
        import xgboost as xgb

        matrix = np.concatenate(list(rows.matrices(np.float32)))
        model.set_param({"nthread": threads})
        kinds = ["c" if name in rows.levels else "q" for name in rows.names]
        data = xgb.DMatrix(matrix, feature_names=list(rows.names), feature_types=kinds, enable_categorical=True)
        return model.predict(data, pred_contribs=True)[:, :-1]
    from credit_assets.ml.learners import catboost as ours

    gaps = json.loads(model.get_metadata().get("gaps", "{}"))
    columns = ours._columns(rows.batches(), rows, len(rows))
    pool = ours._pool(columns, rows, gaps, threads)
    whole = model.get_feature_importance(pool, type="ShapValues", thread_count=threads)
    found = np.zeros((len(rows), len(rows.names)))
    for name, added in zip(model.feature_names_, whole.T, strict=False):
        found[:, rows.names.index(name.removesuffix(" is missing"))] += added
    return found


def _declined(asked: dict[str, Any]) -> tuple[Any, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from credit_assets.ml.learners.scorer import CreditScorer

    place = Path(asked["place"])
    scorer, day = CreditScorer.load(place / asked["learner"]), pq.read_table(place / "day.parquet")
    return scorer, day.filter(pa.array(scorer.declined(scorer.pd(day, threads=asked["threads"]))))


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = json.loads(sys.argv[2])
    figures = {"train": train, "ours": ours, "one": one, "library": library}[sys.argv[1]](given)
    (Path(given["place"]) / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
