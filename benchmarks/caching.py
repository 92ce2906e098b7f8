"""The same day run again with nothing changed, against its first run: what reuse of trained models leaves to do.

The book is that of `benchmarks.daily`. With the rounds that variants are trained for by default, and, for information,
with as few as that benchmark has. No training may be made by the second run.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from benchmarks import daily
from benchmarks.data import Home
from benchmarks.processes import Cost
from benchmarks.report import Row, compared

TARGET = "8 caching"
LIMIT = 0.10
ROUNDS, EARLY_STOPPING = 2_000, 50  # of the settings


def measure(quick: bool) -> list[Row]:
    """Wall time and CPU of the second run, and how many models it trained."""
    few = daily.QUICK if quick else daily.FULL
    plans = {few: LIMIT} if quick else {replace(few, rounds=ROUNDS, early_stopping=EARLY_STOPPING): LIMIT, few: None}
    rows = []
    for plan, limit in plans.items():
        home = daily.shared(plan)
        first, again, trained = [], [], []
        for _ in range(1):
            home.restore()
            first.append(_run(home))
            before = candidates(home)
            again.append(_run(home))
            trained.append(candidates(home) - before)
        what = f"{plan.loans:,} loans, at most {plan.rounds:,} rounds, run again"
        rows += compared(TARGET, what, again, first, peer_is="first run", limit=limit)
        rows.append(Row(TARGET, f"{what}, models trained", max(trained), None, "models", "", 0))
    return rows


def _run(home: Home) -> Cost:
    return home.run("benchmarks.run_job", "credit_assets.definitions", daily.JOB, daily.DAY.isoformat())


def candidates(home: Home) -> int:
    """MLflow runs of candidates that there are."""
    with sqlite3.connect(home.path / "mlflow" / "mlflow.db") as database:
        (found,) = database.execute("SELECT count(*) FROM tags WHERE key = 'role' AND value = 'candidate'").fetchone()
    return int(found)
