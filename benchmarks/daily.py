"""One daily run against a plain script that does the same work (`benchmarks.plain`), each a whole process.

The book has a performance window of two days, so that one as-of date has a training set of mature loans after a week:
four days of 25,000 loans are trained on, 100,000 loans are ingested and scored. A champion is in force from before, and
everything is on: gates, MLflow, registration, promotion, reports. Each run begins with the same prepared home. What
both leave is compared, and a difference fails the benchmark.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.data import Home, days_from, write_book
from benchmarks.processes import Cost, paired
from benchmarks.report import Row, compared

TARGET = "1 daily run"
LIMIT = 1.15
JOB = "credit_scoring_daily"
START = date(2024, 1, 1)
DAY = date(2024, 1, 10)
_CHAMPION = DAY - timedelta(4)
TABLES = ("raw_loan_data", "loan_outcomes", "processed_features", "training_set", "loan_scores")
# Without shadow_report: there is no trial to report on.
RECORDS = ("trained_model", "registered_model", "deployed_model", "drift_report", "performance_report")
VARIANTS = ("xgboost", "lightgbm", "catboost")
# Made anew by every run, or about how a step was run.
# How the chosen one was made stands in its candidate's record too, and is compared there; evidence is a hash of all.
_OWN = {"run_id", "model_uri", "candidate_runs", "trained_on", "made", "evidence"}


@dataclass(frozen=True)
class Plan:
    """`earlier`: loans of each earlier day, four of which are the training set; `loans`: of the day itself."""

    earlier: int
    loans: int
    rounds: int
    repeats: int
    early_stopping: int | None = None
    """Rounds without improvement before a training stops; None: it never does."""


FULL = Plan(25_000, 100_000, 200, 3)
QUICK = Plan(1_000, 4_000, 20, 1)


def measure(quick: bool) -> list[Row]:
    """Wall time and CPU of the job against the script; beside them the job with a process for each step."""
    plan = QUICK if quick else FULL
    home = shared(plan)
    left: list[Left] = []

    def ours() -> Cost:
        home.restore()
        cost = home.run("benchmarks.run_job", "credit_assets.definitions", JOB, DAY.isoformat())
        left.append(Left.of(home))
        return cost

    def peer() -> Cost:
        home.restore()
        cost = home.run("benchmarks.plain", DAY.isoformat())
        left.append(Left.of(home))
        return cost

    def apart() -> Cost:
        home.restore()
        home.environment["CREDIT_EXECUTOR"] = "multiprocess"
        try:
            return home.run("benchmarks.run_job", "credit_assets.definitions", JOB, DAY.isoformat())
        finally:
            del home.environment["CREDIT_EXECUTOR"]

    costs = paired(ours, peer, plan.repeats)
    same_outputs(left)
    what, note = f"{plan.loans:,} loans, {len(VARIANTS)} variants, {plan.rounds} trees", "outputs are equal"
    rows = compared(TARGET, what, *costs, peer_is="plain script", limit=LIMIT, note=note)
    rows += compared(TARGET, what, *costs, peer_is="plain script", limit=None, figures=("peak",))
    if not quick:
        # Its models may differ in the last digits: a step that runs beside others trains with fewer threads.
        costs = paired(apart, peer, 1)
        rows += compared(TARGET, f"{what}, a process for each step", *costs, peer_is="plain script", limit=None)
    return rows


@cache
def shared(plan: Plan) -> Home:
    """The prepared home of a plan, made once in a process and removed with it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-daily-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return prepare(folder, plan)


def prepare(folder: Path, plan: Plan) -> Home:
    """A home with the book, its earlier days ingested and scored, and a champion that was trained on few rounds."""
    home = Home(
        folder,
        start_date=START,
        performance_window_days=2,
        lookback_days=4,
        max_rounds=plan.rounds,
        early_stopping_rounds=plan.early_stopping or plan.rounds,
        # Four days after the last comparison no improvement could be shown on so few bads, and the day would end there.
        promotion_rule="point",
    )
    days = days_from(START, (DAY - START).days + 1)
    write_book(home.warehouse, {**dict.fromkeys(days, plan.earlier), DAY: plan.loans}, outcome_days=2)
    normal = dict(home.environment)
    # Weak on purpose: what is trained on the day shall be better by enough to be registered and promoted. Weaker than
    # this, a plain scorecard would show it to be worse than a champion may be.
    home.environment.update(CREDIT_VARIANTS="lightgbm", CREDIT_MAX_ROUNDS="10", CREDIT_EARLY_STOPPING_ROUNDS="10")
    home.replay(START, _CHAMPION, "last")
    home.environment.clear()
    home.environment.update(normal)
    home.replay(START, DAY - timedelta(1), "none")
    home.prepared()
    return home


@dataclass(frozen=True)
class Left:
    """What a run leaves: content of each table, records without what is the run's own, hash of each model file."""

    tables: dict[str, str]
    records: dict[str, Any]
    models: dict[str, str]

    @classmethod
    def of(cls, home: Home) -> Left:
        import pyarrow.parquet as pq

        from credit_assets.ml.data.fingerprints import frame_hash, rounded
        from credit_assets.storage.seals import record_of

        store = home.path / "store"

        def table(name: str) -> str:
            return frame_hash(pq.ParquetFile(store / name / f"{DAY}.parquet").read())

        def record(name: str) -> Any:
            return record_of((store / name / f"{DAY}.json").read_bytes())

        candidates = {name: record(f"{name}_candidate") for name in VARIANTS}
        models = {}
        for name, one in candidates.items():
            (file,) = home.path.glob(f"mlflow/artifacts/*/models/{one['model_uri'].split('/')[-1]}/**/scorer.json")
            models[name] = json.loads(file.read_text("utf-8"))["model_sha256"]
        records = {name: record(name) for name in RECORDS} | {f"{n}_candidate": one for n, one in candidates.items()}
        # The script keeps no list of what is a step's own.
        shown = {n: {k: v for k, v in one.items() if k not in _OWN} for n, one in records.items()}
        # To six digits: the last bits of a sum over many rows depend on where in memory they lie.
        return cls({name: table(name) for name in TABLES}, rounded(shown), models)

    def differences(self, other: Left) -> list[str]:
        """Names of what is not the same, with the keys of records."""
        found = [f"table {name}" for name in self.tables if self.tables[name] != other.tables[name]]
        found += [f"model file of {name}" for name in self.models if self.models[name] != other.models[name]]
        for name, record in self.records.items():
            theirs = other.records[name]
            keys = sorted(k for k in {*record, *theirs} if record.get(k) != theirs.get(k))
            if keys:
                found.append(f"record {name} ({', '.join(keys)})")
        return found


def same_outputs(left: list[Left]) -> None:
    """Raises AssertionError naming what differs between runs."""
    for one in left[1:]:
        differ = left[0].differences(one)
        if differ:
            raise AssertionError(f"the outputs of two runs differ: {'; '.join(differ)}")
