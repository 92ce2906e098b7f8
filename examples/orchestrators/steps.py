"""A training and a day's scores by `credit_assets.ml` alone: the work of the tasks in `airflow_dag` and `prefect_flow`.

Each step takes and returns names of files and small records, so that an orchestrator may run it anywhere that sees the
same folder, and again. Nothing here knows an orchestrator; `credit_assets.ml` needs neither Dagster nor MLflow.

A plan is one JSON record:

    applications, outcomes   folders with a Parquet file a day, YYYY-MM-DD.parquet, in the columns of the portfolio
    work                     folder for what is made
    as_of                    the day that the training stands on
    score_day                the day whose applications are scored
    window_days, lookback_days, test_share, validation_share     the training set
    training                 parameters of `TrainingConfig`: seed, threads, max_rounds, ...
    variant_params           by variant, parameters of the learner over its defaults
    portfolio                a portfolio file; left out: the packaged one
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

# Before a learner loads OpenMP: threads that spin cost a fit up to eight times its CPU where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

Plan = Mapping[str, Any]


class BadDataError(ValueError):
    """A gate does not let the data pass: another try comes to the same."""


def make_features(plan: Plan) -> str:
    """Model inputs of every application whose outcome can be known by the as-of date, held against the contract."""
    window = _window(plan)
    return _write(plan, "features.parquet", _features(plan, window.first, window.last))


def make_training_set(plan: Plan, features: str) -> str:
    """Mature cohorts with their target, split by time. Raises BadDataError where no model can be made of them."""
    import pyarrow.parquet as pq

    from credit_assets import assemble_training_set, training_gates

    portfolio, window = _portfolio(plan), _window(plan)
    table = assemble_training_set(
        pq.read_table(features),
        _days_of(plan["outcomes"], window.first, window.as_of),
        window,
        portfolio,
        test_share=plan["test_share"],
        validation_share=plan["validation_share"],
    )
    _refuse(training_gates(table, portfolio, window, window.first))
    return _write(plan, "training_set.parquet", table)


def train(plan: Plan, variant: str, training_set: str) -> dict[str, Any]:
    """One calibrated model, saved in its library's own format; returns where, and how good it is."""
    import pyarrow.parquet as pq

    from credit_assets import TrainingConfig, train_candidate

    config = TrainingConfig(params=plan["variant_params"].get(variant, {}), **plan["training"])
    candidate = train_candidate(pq.read_table(training_set), variant, _portfolio(plan), config)
    folder = Path(plan["work"]) / variant
    candidate.scorer.save(folder)
    aucs = {split: candidate.metrics[split].auc for split in ("validation", "test")}
    return {"variant": variant, "model": str(folder), "auc": aucs}


def choose(candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The best on the validation rows, the first of equals: the test has no part in the choice."""
    return dict(max(candidates, key=lambda one: one["auc"]["validation"]))


def score(plan: Plan, chosen: Mapping[str, Any]) -> str:
    """PD and points of the applications of a day."""
    from credit_assets import CreditScorer

    day = date.fromisoformat(plan["score_day"])
    features, key = _features(plan, day, day), _portfolio(plan).id_column
    scores = CreditScorer.load(chosen["model"]).score(features, threads=plan["training"]["threads"])
    table = features.select([key]).append_column("pd", [scores["pd"]]).append_column("score", [scores["score"]])
    return _write(plan, "scores.parquet", table)


def _features(plan: Plan, first: date, last: date) -> Any:
    from credit_assets import check_applications, feature_table

    portfolio = _portfolio(plan)
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    checked = check_applications(_days_of(plan["applications"], first, last), portfolio, days, {})
    _refuse(gate for gates in checked.gates.values() for gate in gates)
    return feature_table(checked.kept, portfolio)


def _refuse(gates: Any) -> None:
    blocking = [gate.line() for gate in gates if gate.blocks]
    if blocking:
        raise BadDataError("; ".join(blocking))


def _portfolio(plan: Plan) -> Any:
    from credit_assets import load_portfolio

    return load_portfolio(plan.get("portfolio"))


def _window(plan: Plan) -> Any:
    from credit_assets import CohortWindow

    return CohortWindow(date.fromisoformat(plan["as_of"]), plan["window_days"], plan["lookback_days"])


def _days_of(folder: str, first: date, last: date) -> Any:
    """The files of these days as one table. Raises BadDataError naming the first day that has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for n in range((last - first).days + 1):
        file = Path(folder) / f"{first + timedelta(n)}.parquet"
        if not file.is_file():
            raise BadDataError(f"{file} is not there: extract the day, or take a later as-of date")
        # One file: `read_table` would look for partitions in the names of folders.
        tables.append(pq.ParquetFile(file).read().replace_schema_metadata(None))
    return pa.concat_tables(tables)


def _write(plan: Plan, name: str, table: Any) -> str:
    """Written aside and renamed: whoever reads it, or is tried again, never meets half a file."""
    import pyarrow.parquet as pq

    target = Path(plan["work"]) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{name}.{os.getpid()}.part")
    pq.write_table(table, aside)
    os.replace(aside, target)
    return str(target)


def read_plan(file: str) -> dict[str, Any]:
    """The plan in a JSON file."""
    plan: dict[str, Any] = json.loads(Path(file).read_text("utf-8"))
    return plan
