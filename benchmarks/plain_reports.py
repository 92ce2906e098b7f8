"""Scores and reports of a day in the plain script (`benchmarks.plain`).

Belongs here: what the script does with a day once its models are decided. Does not belong here: the models
(`benchmarks.plain_models`).
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.plain_files import Files, days_of

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.settings import Settings


def score(settings: Settings, day: date, features: pa.Table, registry: Any, files: Files) -> None:
    import pyarrow as pa

    from credit_assets.ml.data.schemas import scores_schema
    from credit_assets.ml.learners.scorer import CreditScorer

    champion, rows = registry.champion_at(day), features.num_rows
    scorer = CreditScorer.load(registry.download(champion))
    scores = scorer.score(features, threads=settings.training_threads)
    schema = scores_schema(settings.portfolio_contract)
    columns = [
        *features.select([0, 1]).columns,
        pa.array(scores["pd"]),
        pa.array(scores["score"]),
        pa.repeat(pa.scalar(champion.version), rows),
        pa.repeat(pa.scalar("champion"), rows),
        # No model beside it, and no cut-off.
        *(pa.nulls(rows, field.type) for field in list(schema)[-5:]),
    ]
    files.write_table("loan_scores", day, pa.table(columns, schema=schema))


def write_reports(settings: Settings, day: date, features: pa.Table, registry: Any, files: Files) -> None:
    """Drift of the day against the champion's training data, and performance of the days that were scored.

    For a day that has rows enough to stand alone, and a champion from before it; there is no trial of another model.
    """
    import numpy as np
    import pyarrow as pa

    from credit_assets.assets.policies import drift_policy, policy_of
    from credit_assets.ml.data.cohorts import CohortWindow, targets
    from credit_assets.ml.data.fingerprints import rounded
    from credit_assets.ml.evidence.calibration_error import CalibrationError
    from credit_assets.ml.evidence.drift import measure_drift
    from credit_assets.ml.evidence.drift_reference import DriftReference
    from credit_assets.ml.evidence.performance import by_version, estimate, realised, reconcile
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.since_training import MOST_ROWS
    from credit_assets.ml.rules.periods import first_day_in_force

    portfolio, champion = settings.portfolio_contract, registry.champion_at(day)
    begin = first_day_in_force(registry.versions())
    policy = drift_policy(settings)
    points = files.read_table("loan_scores", day)["score"].to_pandas()
    reference = DriftReference.load(registry.download(champion))
    found = measure_drift(reference, features.to_pandas(date_as_object=False), points, policy).to_record()
    head = {"day": day.isoformat(), "champion": champion.version}
    one_day = {"from": day.isoformat(), "to": day.isoformat(), "days": 1}
    files.write_record("drift_report", day, {**head, **one_day, **found, "left": []})

    wait, cohort = timedelta(settings.window_days), timedelta(settings.performance_cohort_days - 1)
    mature, start = day - wait, settings.start_date
    scored = days_of(max(start, begin or day, mature - cohort), day)
    table = pa.concat_tables([files.read_table("loan_scores", one) for one in scored])
    columns = [portfolio.id_column, portfolio.date_column, "pd", "model_version"]
    frame = table.select(columns).to_pandas(date_as_object=False)
    dates = frame[portfolio.date_column].to_numpy().astype("datetime64[D]")
    closed = int(np.searchsorted(dates, np.datetime64(mature), "right"))
    known = pa.concat_tables([files.read_table("loan_outcomes", one) for one in days_of(scored[0], day)])
    window = CohortWindow(day, settings.window_days, (mature - scored[0]).days + 1)
    cohort_rows = frame.iloc[:closed].copy()
    cohort_rows["default"] = targets(cohort_rows, known.to_pandas(date_as_object=False), window, portfolio)

    def measure(y: Any, pd: Any) -> Any:
        return realised(y, pd, min_bads=policy_of(settings).performance.min_bads)

    def span(first: date, last: date) -> dict[str, str]:
        return {"from": first.isoformat(), "to": last.isoformat()}

    def applied(first: date, last: date) -> int:
        return sum(files.read_table("processed_features", one).num_rows for one in days_of(max(start, first), last))

    once = cohort_rows.drop_duplicates(portfolio.id_column)
    matured = {
        **span(max(start, mature - cohort), mature),
        "unscored": applied(mature - cohort, mature) - len(cohort_rows),
        "of": "applications",
        "applied": len(cohort_rows),
        **by_version(measure, once["model_version"], once["default"], once["pd"]),
    }
    baselines = {version.version: json.loads(version.tags["performance"]) for version in registry.versions()}
    errors = {name: {"calibration": CalibrationError(**one["calibration"])} for name, one in baselines.items()}
    newest = frame.iloc[int(np.searchsorted(dates, np.datetime64(day - cohort))) :]
    once = newest.drop_duplicates(portfolio.id_column)
    expected = {
        **span(max(start, day - cohort), day),
        "of": "applications",
        "applied": len(newest),
        **by_version(estimate, once["model_version"], once["pd"], given=errors),
    }
    since = {"from": None, "to": None, **realised([], []).to_record()}
    since["why"] = "no loan has matured since the champion was trained"
    begin = max(start, mature - cohort, champion.as_of - wait + timedelta(1))
    if begin <= mature:
        most = -(-MOST_ROWS // settings.performance_cohort_days)
        tables = [files.read_table("processed_features", one) for one in days_of(begin, mature)]
        taken = [np.linspace(0, one.num_rows - 1, min(one.num_rows, most)).astype(np.int64) for one in tables]
        table = pa.concat_tables([one.take(rows) for one, rows in zip(tables, taken, strict=True)])
        known = pa.concat_tables([files.read_table("loan_outcomes", one) for one in days_of(begin, day)])
        window = CohortWindow(day, settings.window_days, (mature - begin).days + 1)
        pd = CreditScorer.load(registry.download(champion)).pd(table, threads=settings.training_threads)
        since = {**span(begin, mature), **measure(targets(table, known, window, portfolio), pd).to_record()}
    before = files.read_record("performance_report", mature)
    measures = ("auc", "gini", "ks", "brier", "ece")
    record = {
        **head,
        "registered": {
            **{name: float(champion.tags[name]) for name in measures},
            "baseline": baselines[champion.version],
        },
        "realised": matured,
        "since_training": since,
        "estimated": expected,
        "reconciled": reconcile(before["estimated"], matured) if before else None,
        "newly_matured": applied(champion.as_of - wait + timedelta(1), mature),
        "training_rows": int(champion.tags["training_rows"]),
    }
    files.write_record("performance_report", day, rounded(record))
