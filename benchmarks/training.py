"""Fitting each learner on 1, 3 and 10 million rows, held against the library called directly (`benchmarks.learners`).

Both read the same Parquet file and fit the same number of rounds with the same parameters, each in a process of its
own; ours does what `train_candidate` does up to the model. Time is from the file to the model, the imports apart;
peak memory is of the whole process. The predictions of both must agree, or the benchmark fails.

And the three variants side by side, each with its share of the cores, against one after another with all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import Cost, child_environment, paired, run
from benchmarks.report import Row, compared, cores

TARGET = "6 training"
ROUNDS = 20
SEED = 20071
FULL = {1_000_000: 3, 3_000_000: 1, 10_000_000: 1}
QUICK = {100_000: 1}
LEARNERS = ("xgboost", "lightgbm", "catboost")
TIME_LIMIT, MEMORY_LIMIT = 1.1, 1.2
# From here on the rows are most of the time and memory.
JUDGED_FROM = 1_000_000
SPLITS = {"train": 0.7, "validation": 0.15, "test": 0.15}
_PREDICTED = 20_000
_CHUNK = 262_144
# Log-odds: how far the predictions of equal models may lie apart. They are equal but for sums over threads.
_AGREE = 1e-6


def measure(quick: bool) -> list[Row]:
    """Wall time and peak memory by learner and size, then three variants side by side and in turn."""
    sizes, rows = QUICK if quick else FULL, []
    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder:
        place = Path(folder)
        for size, repeats in sizes.items():
            file = place / f"{size}.parquet"
            write_training_set(file, size)
            for learner in LEARNERS:
                rows += _against_library(learner, file, size, repeats, place)
        smallest = min(sizes)
        rows += _side_by_side(place / f"{smallest}.parquet", smallest, 1 if quick else 3, place)
    return rows


def write_training_set(file: Path, rows: int, seed: int = 1) -> None:
    """A training set of the packaged portfolio, sorted by day: three features have 15% missing, texts 2%."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.data.schemas import training_schema

    portfolio = load_portfolio()
    schema, rng = training_schema(portfolio), np.random.default_rng(seed)
    allowed = {column.name: column.allowed or () for column in portfolio.columns if column.type == "category"}
    sparse = ("employment_years", "credit_limit", "credit_utilization")
    ends = np.cumsum([round(share * rows) for share in SPLITS.values()])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for begin in range(0, rows, _CHUNK):
            n = min(_CHUNK, rows - begin)
            at, log_odds, columns = np.arange(begin, begin + n), np.full(n, -2.6), {}
            for place, name in enumerate(portfolio.feature_names):
                if name in allowed:
                    codes = rng.integers(0, len(allowed[name]), n).astype(np.int32)
                    log_odds += 0.6 * (codes == 3)
                    texts = pa.DictionaryArray.from_arrays(pa.array(codes, mask=rng.random(n) < 0.02), allowed[name])
                    columns[name] = texts.cast(pa.string())
                else:
                    values = rng.gamma(2.0, 1.0, n)
                    log_odds += 0.15 * (portfolio.monotone.get(name) or 0.5) * (values - 2)
                    values = np.round(values * 1000, 2) if place % 2 else np.floor(values * 5)
                    columns[name] = pa.array(values, mask=rng.random(n) < 0.15 if name in sparse else None)
            columns[portfolio.id_column] = pa.array(np.char.mod("L%09d", at))
            columns[portfolio.date_column] = pa.array((15_000 + at * 90 // rows).astype(np.int32)).cast(pa.date32())
            columns["default"] = pa.array((rng.random(n) < 1 / (1 + np.exp(-log_odds))).astype(np.int8))
            split = np.minimum(np.searchsorted(ends, at, side="right"), len(SPLITS) - 1)
            columns["split"] = pa.array(np.array(list(SPLITS))[split])
            writer.write_table(pa.table([columns[name] for name in schema.names], schema=schema), _CHUNK)


def request(learner: str, file: Path, rows: int, threads: int, place: Path, side: str) -> dict[str, Any]:
    """What `benchmarks.learners` is told."""
    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.learners import VARIANTS

    portfolio = load_portfolio()
    ends = [0]
    for share in SPLITS.values():
        ends.append(ends[-1] + round(share * rows))
    ends[-1] = rows
    return {
        "learner": learner,
        "file": str(file),
        "params": dict(VARIANTS[learner].defaults),
        "features": list(portfolio.feature_names),
        "levels": {
            column.name: sorted(column.allowed or ())
            for column in portfolio.columns
            if column.name in portfolio.categorical_features
        },
        "directions": [portfolio.monotone.get(name, 0) for name in portfolio.feature_names],
        "splits": {split: [ends[n], ends[n + 1]] for n, split in enumerate(SPLITS)},
        "seed": SEED,
        "threads": threads,
        "rounds": ROUNDS,
        "predicted": _PREDICTED,
        "figures": str(place / f"{side}-figures.json"),
        "predictions": str(place / f"{side}-predictions.npy"),
    }


def _against_library(learner: str, file: Path, rows: int, repeats: int, place: Path) -> list[Row]:
    import numpy as np

    both = {side: request(learner, file, rows, cores(), place, side) for side in ("ours", "peer")}
    imports: dict[str, list[float]] = {"ours": [], "peer": []}

    def cost(side: str, module: str) -> Cost:
        whole = _process(module, "fit" if side == "ours" else "", both[side])
        figures = json.loads(Path(both[side]["figures"]).read_text("utf-8"))
        imports[side].append(figures["import"])
        return Cost(figures["wall"], figures["cpu"], whole.peak)

    ours, peer = paired(
        lambda: cost("ours", "benchmarks.training"), lambda: cost("peer", "benchmarks.learners"), repeats
    )
    a, b = (np.load(both[side]["predictions"]) for side in ("ours", "peer"))
    apart = float(np.abs(a - b).max())
    if not apart <= _AGREE:
        raise RuntimeError(f"{learner}, {rows:,} rows: the predictions of the two models differ by up to {apart:g}")
    judged = rows >= JUDGED_FROM
    return compared(
        TARGET,
        f"{learner}, {rows:,} rows, {ROUNDS} rounds",
        ours,
        peer,
        peer_is="the library called directly",
        limit=TIME_LIMIT if judged else None,
        limits={"peak": MEMORY_LIMIT if judged else None, "cpu": None},
        figures=("wall", "cpu", "peak"),
        note=f"imports apart: {np.median(imports['ours']):.1f} s against {np.median(imports['peer']):.1f} s; largest "
        f"difference of log-odds {apart:.1g}",
    )


def _side_by_side(file: Path, rows: int, repeats: int, place: Path) -> list[Row]:
    share = max(1, cores() // len(LEARNERS))
    requests = {
        how: [request(learner, file, rows, threads, place, f"{how}-{learner}") for learner in LEARNERS]
        for how, threads in (("together", share), ("turn", cores()))
    }
    ours, peer = paired(
        lambda: _process("benchmarks.training", "together", requests["together"]),
        lambda: _process("benchmarks.training", "turn", requests["turn"]),
        repeats,
    )
    return compared(
        TARGET,
        f"three variants side by side, {share} thread{'s' if share > 1 else ''} each, {rows:,} rows",
        ours,
        peer,
        peer_is=f"one after another in one process, {cores()} threads",
        limit=None,
        figures=("wall", "cpu", "peak"),
        note="whole processes with their imports; peak of the largest process",
    )


def _process(module: str, what: str, asked: Any) -> Cost:
    argv = [sys.executable, "-m", module, *([what] if what else []), json.dumps(asked)]
    # Idle threads that spin would take the cores from those that work.
    return run(argv, env=child_environment(OMP_WAIT_POLICY="PASSIVE"), cwd=Path(__file__).parents[1])


# What runs in the measured process


def fit(asked: dict[str, Any]) -> None:
    """From the file to the fitted model, as `train_candidate` goes about it."""
    begun = time.perf_counter()
    __import__(asked["learner"])
    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.learners import VARIANTS
    from credit_assets.ml.learners.encoding import encode, levels_of
    from credit_assets.ml.learners.learner import FitConfig
    from credit_assets.ml.learners.training import splits

    portfolio, learner = load_portfolio(), VARIANTS[asked["learner"]]
    imported = time.perf_counter() - begun
    begun, cpu = time.perf_counter(), time.process_time()
    parts = splits(Rows.stored(asked["file"]), portfolio.feature_names)
    categorical = portfolio.categorical_features
    levels = levels_of(Rows.of(parts["train"].rows).batches(categorical), categorical)
    config = FitConfig({}, asked["seed"], asked["threads"], asked["rounds"], asked["rounds"])
    fitted = learner.fit(
        parts["train"], parts["validation"], monotone=portfolio.monotone, categorical=levels, config=config
    )
    figures = {"import": imported, "wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
    Path(asked["figures"]).write_text(json.dumps(figures), encoding="utf-8")
    if fitted.best_rounds != asked["rounds"]:
        raise RuntimeError(f"the best model has {fitted.best_rounds} rounds, not all {asked['rounds']}")

    import numpy as np

    rows = Rows.of(parts["test"].rows)
    rows = rows.part(np.arange(len(rows)) < asked["predicted"])
    encoded = encode(rows, portfolio.feature_names, levels)
    np.save(asked["predictions"], learner.predict_margin(fitted.model, encoded, threads=asked["threads"]))


def together(requests: Sequence[dict[str, Any]]) -> None:
    """Each in a process of its own, all at once."""
    started = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.training", "fit", json.dumps(one)]) for one in requests
    ]
    if any(process.wait() for process in started):
        raise RuntimeError("a variant failed")


def turn(requests: Sequence[dict[str, Any]]) -> None:
    """One after another in this process."""
    for one in requests:
        fit(one)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parts: dict[str, Callable[[Any], None]] = {"fit": fit, "together": together, "turn": turn}
    parts[sys.argv[1]](json.loads(sys.argv[2]))
