"""Scoring: applications a second through `CreditScorer`, held against the library's own prediction on the same rows.

Both have the rows in memory and the model loaded. Ours starts from an Arrow table of `processed_features` and ends with
PDs and points; the library starts from the form that it predicts fastest from (a matrix, for CatBoost a frame) and ends
with log-odds, so what ours does beside predicting is all in the ratio. Sides take turns, each in a process of its own.

Also the contributions of the features (TreeSHAP), of which reason codes are made: ours beside the library's own, on
some of the rows. Scoring computes none, so this is what they add for whoever is told reasons.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import child_environment, run
from benchmarks.report import Row, cores
from benchmarks.training import LEARNERS, request, write_training_set

TARGET = "7 scoring"
LIMIT = 0.8
ROUNDS = 200
TRAINED_ON = 100_000
FULL, QUICK = 1_000_000, 50_000
JUDGED_FROM = 1_000_000
_EXPLAINED = 2_000
_TIMES = 3
# Log-odds: ours are the library's, calibrated, and must be the same numbers.
_AGREE = 1e-9


def measure(quick: bool) -> list[Row]:
    """Rows a second of each learner, then of its contributions."""
    size, repeats = (QUICK, 1) if quick else (FULL, 3)
    rows, explained = [], []
    with tempfile.TemporaryDirectory(prefix="bench-scoring-") as folder:
        place = Path(folder)
        training, scored = place / "training.parquet", place / "scored.parquet"
        write_training_set(training, TRAINED_ON)
        write_training_set(scored, size, seed=2)
        for learner in LEARNERS:
            asked = _asked(learner, scored, size, place)
            _run("train", {**asked, "file": str(training), "rounds": 20 if quick else ROUNDS})
            found: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
            for n in range(repeats):
                for side in ("ours", "peer") if n % 2 == 0 else ("peer", "ours"):
                    found[side].append(_run(side, asked))
            rows.append(_row(learner, size, found))
            contributions = {side: _run(f"{side}_contributions", asked) for side in ("ours", "peer")}
            explained.append(_explained(learner, contributions, found["ours"]))
    return rows + explained


def _asked(learner: str, scored: Path, size: int, place: Path) -> dict[str, Any]:
    asked = request(learner, scored, size, cores(), place, learner)
    return {**asked, "scorer": str(place / learner), "splits": {"all": [0, size]}, "size": size}


def _run(what: str, asked: dict[str, Any]) -> dict[str, float]:
    argv = [sys.executable, "-m", "benchmarks.scoring", what, json.dumps(asked)]
    run(argv, env=child_environment(OMP_WAIT_POLICY="PASSIVE"), cwd=Path(__file__).parents[1])
    found: dict[str, float] = json.loads(Path(asked["figures"]).read_text("utf-8"))
    return found


def _row(learner: str, size: int, found: dict[str, list[dict[str, float]]]) -> Row:
    checks = {side: [one["sum"] for one in found[side]] for side in found}
    apart = abs(median(checks["ours"]) - median(checks["peer"])) / size
    if not apart <= _AGREE:
        raise RuntimeError(f"{learner}: the margins of scorer and library differ by {apart:g} on average")
    rates = {side: [size / one["seconds"] for one in found[side]] for side in found}
    return Row(
        TARGET,
        f"{learner}, {size:,} applications, {cores()} threads",
        median(rates["ours"]),
        median(rates["peer"]),
        "rows/s",
        "the library's own prediction",
        LIMIT if size >= JUDGED_FROM else None,
        "more",
        note="reason codes off",
        pairs=tuple(a / b for a, b in zip(rates["ours"], rates["peer"], strict=True)),
    )


def _explained(learner: str, found: dict[str, dict[str, float]], scored: list[dict[str, float]]) -> Row:
    rate, peer = (found[side]["rows"] / found[side]["seconds"] for side in ("ours", "peer"))
    scoring = median(one["size"] / one["seconds"] for one in scored)
    return Row(
        TARGET,
        f"{learner}, contributions of each feature of {found['ours']['rows']:,.0f} applications",
        rate,
        peer,
        "rows/s",
        "the library's own contributions",
        None,
        "more",
        note=f"reasons of an application cost what scoring {scoring / rate:,.0f} does",
    )


# What runs in the measured process


def train(asked: dict[str, Any]) -> None:
    """A scorer with all its rounds."""
    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.learners.candidates import train_candidate
    from credit_assets.ml.learners.training import TrainingConfig

    rounds = asked["rounds"]
    config = TrainingConfig(threads=asked["threads"], max_rounds=rounds, early_stopping_rounds=rounds)
    found = train_candidate(Rows.stored(asked["file"]), asked["learner"], load_portfolio(), config)
    found.scorer.save(asked["scorer"])
    _keep(asked, rounds=found.best_rounds)


def ours(asked: dict[str, Any]) -> None:
    from credit_assets.ml.learners.scorer import CreditScorer

    # Texts as texts, which is how the pipeline has them.
    scorer, table = CreditScorer.load(asked["scorer"]), _features(asked, [])
    seconds = _timed(lambda: scorer.score(table, threads=asked["threads"]))
    margin = scorer.margin(table, threads=asked["threads"])
    _keep(asked, seconds=seconds, sum=float(margin.sum()), size=len(margin))


def peer(asked: dict[str, Any]) -> None:
    from benchmarks.learners import inputs, raw_margins

    model, table = _model(asked), _features(asked, asked["levels"])
    given = inputs(asked, table)
    seconds = _timed(lambda: raw_margins(asked["learner"], model, given, asked["threads"]))
    margin = raw_margins(asked["learner"], model, given, asked["threads"])
    _keep(asked, seconds=seconds, sum=float(margin.sum(dtype=float)), size=len(margin))


def ours_contributions(asked: dict[str, Any]) -> None:
    from credit_assets.ml.learners.scorer import CreditScorer

    scorer, table = CreditScorer.load(asked["scorer"]), _features(asked, []).slice(0, _EXPLAINED)
    seconds = _timed(lambda: list(scorer.contributions(table, threads=asked["threads"])), 1)
    _keep(asked, seconds=seconds, rows=table.num_rows)


def peer_contributions(asked: dict[str, Any]) -> None:
    from benchmarks import learners

    model, table = _model(asked), _features(asked, asked["levels"]).slice(0, _EXPLAINED)
    given = learners.inputs(asked, table)
    seconds = _timed(lambda: learners.contributions(asked, model, given, asked["threads"]), 1)
    _keep(asked, seconds=seconds, rows=table.num_rows)


def _features(asked: dict[str, Any], as_numbers: Collection[str]) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(asked["file"], columns=asked["features"], read_dictionary=list(as_numbers))


def _model(asked: dict[str, Any]) -> Any:
    from benchmarks.learners import load

    record = json.loads((Path(asked["scorer"]) / "scorer.json").read_text("utf-8"))
    # Levels as the model was trained on them.
    asked["levels"] = record["categories"]
    model = load(asked["learner"], str(Path(asked["scorer"]) / record["model_file"]))
    # What stands in a gap of each number, and which gaps have a column.
    asked["gaps"] = json.loads(model.get_metadata().get("gaps", "{}")) if asked["learner"] == "catboost" else {}
    return model


def _timed(work: Callable[[], Any], times: int = _TIMES) -> float:
    """Median seconds, after a first call that does not count."""
    work()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def _keep(asked: dict[str, Any], **figures: float) -> None:
    Path(asked["figures"]).write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sides = {"train": train, "ours": ours, "peer": peer}
    sides |= {"ours_contributions": ours_contributions, "peer_contributions": peer_contributions}
    sides[sys.argv[1]](json.loads(sys.argv[2]))
