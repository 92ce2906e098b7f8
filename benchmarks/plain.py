"""The daily run as a plain script in one process, without an orchestrator: what `credit_scoring_daily` is held against.

Run: `python -m benchmarks.plain DAY`, with the settings in the environment. It does what the job does for a day: read,
check, derive, join, train each variant, log each to MLflow, compare, register, promote, score, report, and it leaves
the same files and versions. What it lacks is what an orchestrator gives: steps that are retried, run apart or run
again alone, an event log, checks and metadata in a UI, and reuse of trained models. A test holds its outputs
against the job's.

Belongs here: one script, to be read from top to bottom, with its models and its reports in `plain_models` and
`plain_reports`. Dagster must not be imported; `main` fails if it is.
"""

from __future__ import annotations

import os
import sys
from datetime import date, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from benchmarks.plain_files import Files, days_of
from benchmarks.plain_models import make_models, opened_registry
from benchmarks.plain_reports import score, write_reports

if TYPE_CHECKING:
    from credit_assets.ml.data.cohorts import CohortWindow
    from credit_assets.ml.data.gate_results import GateResult
    from credit_assets.settings import Settings
    from credit_assets.warehouse import Warehouse

# As the pipeline does: spinning threads cost more than they gain.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(day: date) -> None:
    from credit_assets.settings import load_settings

    run_day(load_settings(), day)
    if "dagster" in sys.modules:
        raise AssertionError("the plain script has imported dagster, and is plain no more")


def run_day(settings: Settings, day: date) -> None:
    import pyarrow as pa

    from credit_assets.assets.evidence import matured_without_outcome
    from credit_assets.assets.policies import policy_of
    from credit_assets.assets.stored_days import StoredDays
    from credit_assets.assets.world import feeds, world_record
    from credit_assets.ml.data.cohorts import Cohort, CohortWindow
    from credit_assets.ml.data.features import feature_table
    from credit_assets.ml.data.orphans import find_orphans
    from credit_assets.ml.rules.day_gates import check_applications, check_outcomes
    from credit_assets.ml.rules.due import due_gate
    from credit_assets.ml.rules.population_gates import classes_gate, evidence_gate, population_gate
    from credit_assets.ml.rules.training_gates import orphan_gate, training_gates, with_orphans
    from credit_assets.ml.rules.volume_gates import history_days
    from credit_assets.ml.rules.world_gates import outcomes_arrive, world_gates
    from credit_assets.storage.store import Store
    from credit_assets.warehouse import open_warehouse

    portfolio, files = settings.portfolio_contract, Files(settings)
    warehouse = open_warehouse(settings.warehouse)

    # Applications, features and outcomes of the day
    history = timedelta(history_days(portfolio.gates))
    recent = warehouse.daily_counts(portfolio, day - history, day)
    checked = check_applications(warehouse.read_applications(portfolio, day, day).read_all(), portfolio, [day], recent)
    files.write_table("raw_loan_data", day, checked.kept, checked.gates[day])
    features = feature_table(checked.kept, portfolio)
    recent = warehouse.daily_outcomes(portfolio, day - history, day)
    checked = check_outcomes(warehouse.read_outcomes(portfolio, day, day).read_all(), portfolio, [day], recent)
    files.write_table("loan_outcomes", day, checked.kept, checked.gates[day])
    files.write_table("processed_features", day, features)

    # Training set
    window = CohortWindow(day, settings.window_days, settings.lookback_days)
    days = days_of(window.first, window.last)
    cohorts = pa.concat_tables([files.read_table("processed_features", one) for one in days])
    known = pa.concat_tables([files.read_table("loan_outcomes", one) for one in days_of(window.first, day)])
    cohort = Cohort(cohorts, known, window, portfolio)
    training_set, counts = cohort.training_set(settings.test_share, settings.validation_share), cohort.counts()
    ids = chain([cohorts[portfolio.id_column]], warehouse.application_ids(portfolio))
    orphans = find_orphans(known[portfolio.outcomes.id], ids)
    store, limits = StoredDays(Store(settings.store)), policy_of(settings).world
    world = world_record(settings, store, cohort, training_set, day)
    gates = (
        due_gate(),
        population_gate(portfolio, counts),
        classes_gate(portfolio, counts, settings.window_days),
        evidence_gate(matured_without_outcome(settings, warehouse, day), portfolio),
        *with_orphans(training_gates(training_set, portfolio, window, window.first), orphan_gate(orphans, portfolio)),
        *world_gates(world, limits, portfolio),
        outcomes_arrive(feeds(cohort, window.first, day), day.isoformat(), limits, portfolio),
        _accounted(settings, warehouse, files, window),
    )
    files.write_table("training_set", day, training_set, gates)

    registry = opened_registry(settings)
    make_models(settings, day, training_set, gates, registry, files)
    score(settings, day, features, registry, files)
    write_reports(settings, day, features, registry, files)


def _accounted(settings: Settings, warehouse: Warehouse, files: Files, window: CohortWindow) -> GateResult:
    """The gate on rows that no day's query found, and on days that have changed since they were ingested."""
    from credit_assets.ml.data.accounts import account, plausible_days
    from credit_assets.ml.rules.account_gates import account_of_training

    portfolio, start = settings.portfolio_contract, settings.start_date
    today = datetime.now(ZoneInfo(settings.timezone)).date()
    bounds = plausible_days(start, today)
    applications = portfolio.applications_table, portfolio.date_column
    outcomes = portfolio.outcomes.table, portfolio.outcomes.date
    accounts = {}
    for name, columns, counted in (
        ("raw_loan_data", applications, warehouse.count_applications(portfolio, *bounds)),
        ("loan_outcomes", outcomes, warehouse.count_outcomes(portfolio, *bounds)),
    ):
        aside = files.rows(f"quarantine/{name}")
        stored = {day: (rows, aside.get(day, 0)) for day, rows in files.rows(name).items()}
        accounts[name] = account(*columns, counted, stored, start=start, today=today)
    windows = {"raw_loan_data": (window.first, window.last), "loan_outcomes": (window.first, window.as_of)}
    return account_of_training(accounts, windows, portfolio.gates)


if __name__ == "__main__":
    main(date.fromisoformat(sys.argv[1]))
