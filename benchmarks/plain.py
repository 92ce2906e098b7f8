"""The daily run as a plain script in one process, without an orchestrator: what `credit_scoring_daily` is held against.

Run: `python -m benchmarks.plain DAY`, with the settings in the environment. It does what the job does for a day: read,
check, derive, join, train each variant, log each to MLflow, compare, register, promote, score, report, and it leaves
the same files and versions. What it lacks is what an orchestrator gives: steps that are retried, run apart or run
again alone, an event log, checks and metadata in a UI, and reuse of trained models. A test holds its outputs
against the job's.

Belongs here: one script, to be read from top to bottom. Dagster must not be imported; `main` fails if it is.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import pyarrow as pa

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
    days = _days(window.first, window.last)
    cohorts = pa.concat_tables([files.read_table("processed_features", one) for one in days])
    known = pa.concat_tables([files.read_table("loan_outcomes", one) for one in _days(window.first, day)])
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

    _models(settings, day, training_set, gates, files)
    registry = _registry(settings)
    _score(settings, day, features, registry, files)
    _reports(settings, day, features, registry, files)


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


class Files:
    """Parquet and JSON in the folders of the store, written aside and renamed."""

    def __init__(self, settings: Settings) -> None:
        self.root = Path(settings.store)

    def write_table(self, name: str, day: date, table: pa.Table, gates: Any = ()) -> None:
        """The table with the verdicts on it in its footer. Raises ValueError where a verdict blocks."""
        import pyarrow.parquet as pq

        blocking = [gate for gate in gates if gate.blocks]
        verdicts = json.dumps([gate.to_record() for gate in gates], sort_keys=True)
        table = table.replace_schema_metadata({"credit_assets.gates": verdicts} if gates else None)
        self._write(self.root / name / f"{day}.parquet", lambda aside: pq.write_table(table, aside, compression="zstd"))
        if blocking:
            raise ValueError(f"{name} {day}: {'; '.join(gate.line() for gate in blocking)}")

    def rows(self, name: str) -> dict[date, int]:
        """Rows of each day that is there."""
        import pyarrow.parquet as pq

        files = sorted((self.root / name).glob("*.parquet"))
        return {date.fromisoformat(file.stem): pq.read_metadata(file).num_rows for file in files}

    def read_table(self, name: str, day: date) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.root / name / f"{day}.parquet").read().replace_schema_metadata(None)

    def write_record(self, name: str, day: date, record: Any) -> None:
        text = json.dumps(record, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        self._write(self.root / name / f"{day}.json", lambda aside: aside.write_text(text, "utf-8"))

    def read_record(self, name: str, day: date) -> Any:
        path = self.root / name / f"{day}.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    @staticmethod
    def _write(path: Path, write: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            write(aside)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


# Models


def _registry(settings: Settings) -> Any:
    from credit_assets.ledger.registry import Owner, Registry
    from credit_assets.storage.claims import Claims
    from credit_assets.tracking import Tracking

    claims = Claims(settings.store)
    tracking = Tracking(settings.tracking_uri, settings.experiment_name, claims)
    owner = Owner(settings.naming, settings.portfolio_contract.contract)
    return Registry(tracking, settings.naming.registered_model, claims, owner)


def _models(settings: Settings, day: date, training_set: pa.Table, gates: Any, files: Files) -> None:
    """Train every variant, choose the best, compare it with the champion, register and promote it by the rules."""
    from credit_assets.assets.comparison import compare_with_champion
    from credit_assets.assets.described import described_record
    from credit_assets.assets.leaks import importance_record
    from credit_assets.assets.policies import policy_of
    from credit_assets.ledger.aliases import Aliases, Change, MoveKind
    from credit_assets.ledger.kept import Kept
    from credit_assets.ml.data.fingerprints import frame_hash, rounded
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.scorecard import scorecard_record
    from credit_assets.ml.rules.chains import COMPARED_WITH, NONE, SHOWN, how_shown, judged_against
    from credit_assets.ml.rules.decisions import Standing, decide_promotion
    from credit_assets.ml.rules.fairness_rules import judge_takeover
    from credit_assets.ml.rules.first_days import decide_first_days
    from credit_assets.ml.rules.leak_rules import judge_leaks
    from credit_assets.ml.rules.model_rules import decide_registration, judge_model
    from credit_assets.ml.rules.population_gates import classes_record
    from credit_assets.storage.store import Store

    registry = _registry(settings)
    tracking, client = registry.tracking, registry.tracking.server.client
    data = frame_hash(training_set)
    experiment = tracking.server.experiment_id
    parent = client.create_run(experiment, run_name=f"plain {day}", tags={"role": "parent"}).info.run_id
    records = [
        _candidate(settings, day, variant, training_set, data, tracking, parent) for variant in settings.variants
    ]
    client.set_terminated(parent, "FINISHED")
    for record in records:
        files.write_record(f"{record['variant']}_candidate", day, record)
    best = max(records, key=lambda r: (r["metrics"]["validation"]["auc"], -settings.variants.index(r["variant"])))
    tested = _tested(training_set)

    def scorer_of(one: Any) -> CreditScorer:
        return CreditScorer.load(tracking.models.download(one["model_uri"]))

    date_column, baseline = settings.portfolio_contract.date_column, _baseline(settings, training_set, best, registry)
    trained = {
        "as_of": day.isoformat(),
        "variant": best["variant"],
        "fingerprint": best["fingerprint"],
        "run_id": best["run_id"],
        "model_uri": best["model_uri"],
        "data": data,
        "training_rows": training_set.num_rows,
        "test_from": tested[date_column].to_numpy().min().astype("datetime64[D]").item().isoformat(),
        "candidates": {r["variant"]: r["metrics"]["validation"]["auc"] for r in records},
        "failed_variants": [],
        "evaluation": best["metrics"]["test"],
        "champion": compare_with_champion(training_set, settings, best, scorer_of(best), registry),
        "trained_on": classes_record(gates),
        "first_days": _first_days(settings, day, training_set, best, registry),
        "directions": _directions(settings, training_set, best, registry),
        "performance": baseline,
        **_calibration(settings, day, tested, best, registry, baseline),
        "cutoffs": _cutoffs(settings, training_set, best, registry),
        "fairness": _fairness(settings, training_set, records, best, registry),
        "mode": "improvement",
    }
    trained["comparison"] = _comparison(settings, trained, training_set, registry)
    trained["importance"] = importance_record(settings, scorer_of(best), training_set)
    trained |= described_record(settings, scorer_of(best), training_set)
    trained["scorecard"] = scorecard_record(training_set, records, best, scorer_of, settings.portfolio_contract)
    trained["leaks"] = _leaks(settings, trained, training_set, best, registry)
    policy = policy_of(settings)
    judged = [one.to_record() for one in judge_model(trained, policy)]
    files.write_record("trained_model", day, trained | {"policy": policy.to_record(), "judged": judged})

    decision = decide_registration(trained, list(gates), policy)
    registered: dict[str, Any] = {
        "as_of": day.isoformat(),
        "decision": "registered" if decision.accepted else "rejected",
        "variant": trained["variant"],
        "fingerprint": trained["fingerprint"],
        "version": None,
        "triggers": [],
        "mode": trained["mode"],
        "policy": policy.to_record(),
        "reasons": [reason.to_record() for reason in decision.reasons],
    }
    if decision.accepted:
        test, kept = trained["evaluation"], Kept(Store(settings.store)).keep(trained)
        registered["training_set"] = kept.training_set
        registered["version"] = registry.register(
            trained["model_uri"],
            run_id=trained["run_id"],
            fingerprint=trained["fingerprint"],
            as_of=day,
            tags={
                "variant": trained["variant"],
                "test_from": trained["test_from"],
                "data_hash": data,
                "training_rows": str(trained["training_rows"]),
                "performance": json.dumps(rounded(trained["performance"]), sort_keys=True),
                **{name: f"{test[name]:.6f}" for name in ("auc", "gini", "ks", "brier", "ece", "log_loss")},
                SHOWN: how_shown(decision.reasons),
                COMPARED_WITH: (trained["champion"] or {}).get("version", NONE),
            },
            description=decision.summary(),
        ).version
    files.write_record("registered_model", day, registered)

    versions, takes_over = registry.versions(), day + timedelta(1)
    periods = [(v.as_of, start, last) for v in versions for start, last in v.champion_periods]
    standing = Standing(
        max((as_of for as_of, _, _ in periods), default=None),
        max((as_of for as_of, _, last in periods if last is None), default=None),
    )
    found = (
        *decide_first_days(trained["first_days"], policy.first_days),
        *judge_leaks(trained["leaks"], policy.leaks),
        *judge_takeover(trained["fairness"]),
    )
    champion = registry.champion_at(day, versions)
    against = judged_against((trained["champion"] or {}).get("version", NONE), champion.version if champion else None)
    promotion = decide_promotion(
        settings.promotion,
        accepted=decision.accepted,
        as_of=day,
        standing=standing,
        takeover=found if decision.accepted else (),
        compared=[against] if decision.accepted else (),
    )
    if registered["version"] is not None:
        version, by = registered["version"], "plain script"
        changes = {"challenger": Change(takes_over, MoveKind.PASSED, by, "passed its gates")}
        if promotion.accepted:
            changes["champion"] = Change(takes_over, MoveKind.PROMOTE, by, f"promote: {promotion.summary()}")
        for alias, change in changes.items():
            Aliases(registry).move(alias, version, change, forward_only=True)
    before, after = registry.champion_at(day), registry.champion_at(takes_over)
    deployed = {
        "as_of": day.isoformat(),
        "champion_before": before.version if before else None,
        "champion_after": after.version if after else None,
        "shadow_after": None,
        "decision": "promoted" if promotion.accepted else "unchanged",
        "promotion": settings.promotion,
        "policy": policy.to_record(),
        "reasons": [reason.to_record() for reason in promotion.reasons],
    }
    files.write_record("deployed_model", day, deployed)


def _candidate(
    settings: Settings, day: date, variant: str, training_set: pa.Table, data: str, tracking: Any, parent: str
) -> dict[str, Any]:
    """Train one variant and log it as its own run below the parent."""
    from credit_assets.assets.cutoffs import cut_off_identity, with_cut_off
    from credit_assets.assets.made_with import made_with
    from credit_assets.assets.policies import training_config
    from credit_assets.ml.data.fingerprints import MODEL_CODE, fingerprint
    from credit_assets.ml.learners.candidates import candidate_identity, train_candidate
    from credit_assets.storage.store import Store
    from credit_assets.tracking.evidence import log_candidate
    from credit_assets.tracking.run import CandidateRun

    portfolio, store = settings.portfolio_contract, Store(settings.store)
    config = training_config(settings, variant)
    identity = candidate_identity(variant, day.isoformat(), data, config, portfolio)
    identity |= cut_off_identity(settings, store, training_set)
    tags = {"role": "candidate", "variant": variant, "mlflow.parentRunId": parent, "as_of": day.isoformat()}
    with tracking.server.fluent() as mlflow:
        created = tracking.server.client.create_run(
            tracking.server.experiment_id,
            run_name=f"{variant} {day}",
            tags={**tags, "fingerprint": fingerprint(**identity)},
        )
        with mlflow.start_run(run_id=created.info.run_id):
            run = CandidateRun(tracking.server, created.info.run_id)
            trained = train_candidate(training_set, variant, portfolio, config)
            trained, cut_off = with_cut_off(settings, store, trained, training_set)
            record = {
                "status": "trained",
                "variant": variant,
                "as_of": day.isoformat(),
                "fingerprint": fingerprint(**identity),
                "run_id": run.run_id,
                "identity": identity,
                "threads": config.threads,
                "rounds": trained.best_rounds,
                "metrics": {split: evaluation.to_record() for split, evaluation in trained.metrics.items()},
                **cut_off,
                "made_with": made_with(settings, store, variant, identity, MODEL_CODE),
            }
            record["model_uri"], record["files"] = log_candidate(run, trained, record, training_set, portfolio)
            run.log_dict(record, "candidate.json")
    return record


def _comparison(settings: Settings, trained: dict[str, Any], training_set: pa.Table, registry: Any) -> dict[str, Any]:
    """The comparison before, and a plain scorecard beside the first model."""
    from credit_assets.assets.comparison import comparison_record
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.storage.store import Store

    scorer = CreditScorer.load(registry.tracking.models.download(trained["model_uri"]))
    return comparison_record(trained, training_set, settings, scorer, registry, Store(settings.store))


def _calibration(
    settings: Settings, day: date, tested: pa.Table, best: dict[str, Any], registry: Any, baseline: dict[str, Any]
) -> Any:
    """How the PDs of the test stand to what became of it, and how old they will be in use."""
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.selection import age_record, calibration_record, fit_of

    scorer = CreditScorer.load(registry.tracking.models.download(best["model_uri"]))
    return {
        "calibration": calibration_record(
            tested,
            lambda rows: scorer.pd(rows, threads=settings.training_threads),
            settings.portfolio_contract,
            fit_of(baseline),
        ),
        "age": age_record(tested, settings.portfolio_contract.date_column, day),
    }


def _leaks(
    settings: Settings, trained: dict[str, Any], training_set: pa.Table, best: dict[str, Any], registry: Any
) -> Any:
    """Where the model's skill comes from."""
    from credit_assets.assets.leaks import gains_before, leaks_record
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.storage.store import Store

    scorer = CreditScorer.load(registry.tracking.models.download(best["model_uri"]))
    gains = gains_before(Store(settings.store), registry, date.fromisoformat(trained["as_of"]))
    return leaks_record(settings, scorer, training_set, trained, gains)


def _first_days(settings: Settings, day: date, training_set: pa.Table, best: dict[str, Any], registry: Any) -> Any:
    """The newest days beside those of the test."""
    from credit_assets.assets.first_days import first_days_record
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.storage.store import Store

    scorer = CreditScorer.load(registry.tracking.models.download(best["model_uri"]))
    return first_days_record(settings, Store(settings.store), scorer, training_set, day)


def _directions(settings: Settings, training_set: pa.Table, best: dict[str, Any], registry: Any) -> Any:
    """Whether applicants as a whole are scored in the directions of the portfolio."""
    from functools import partial

    from credit_assets.assets.policies import policy_of
    from credit_assets.ml.evidence.directions import measure_directions
    from credit_assets.ml.learners.scorer import CreditScorer

    scorer = CreditScorer.load(registry.tracking.models.download(best["model_uri"]))
    pd, tolerance = partial(scorer.pd, threads=settings.training_threads), policy_of(settings).directions.tolerance
    return measure_directions(pd, training_set, settings.portfolio_contract, tolerance)


def _baseline(settings: Settings, training_set: pa.Table, best: dict[str, Any], registry: Any) -> Any:
    """What the model's use is held against."""
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.selection import baseline_record

    scorer = CreditScorer.load(registry.tracking.models.download(best["model_uri"]))
    return baseline_record(training_set, scorer.pd, settings.portfolio_contract)


def _cutoffs(settings: Settings, training_set: pa.Table, best: dict[str, Any], registry: Any) -> Any:
    """What each cut-off would bring on the loans of the test."""
    from credit_assets.assets.cutoffs import cutoffs_record
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.storage.store import Store

    scorer = CreditScorer.load(registry.tracking.models.download(best["model_uri"]))
    return cutoffs_record(settings, Store(settings.store), registry, best, scorer, training_set)


def _fairness(
    settings: Settings, training_set: pa.Table, records: list[dict[str, Any]], best: dict[str, Any], registry: Any
) -> Any:
    """How the model treats protected groups."""
    from credit_assets.assets.fairness import fairness_record
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.storage.store import Store

    models = registry.tracking.models
    scorer = CreditScorer.load(models.download(best["model_uri"]))
    return fairness_record(settings, Store(settings.store), models, records, scorer, training_set)


def _tested(training_set: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    return training_set.filter(pc.equal(training_set["split"], "test"))


# Scores and reports


def _score(settings: Settings, day: date, features: pa.Table, registry: Any, files: Files) -> None:
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


def _reports(settings: Settings, day: date, features: pa.Table, registry: Any, files: Files) -> None:
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
    span = {"from": day.isoformat(), "to": day.isoformat(), "days": 1}
    files.write_record("drift_report", day, {**head, **span, **found, "left": []})

    wait, cohort = timedelta(settings.window_days), timedelta(settings.performance_cohort_days - 1)
    mature, start = day - wait, settings.start_date
    scored = _days(max(start, begin, mature - cohort), day)
    table = pa.concat_tables([files.read_table("loan_scores", one) for one in scored])
    columns = [portfolio.id_column, portfolio.date_column, "pd", "model_version"]
    frame = table.select(columns).to_pandas(date_as_object=False)
    dates = frame[portfolio.date_column].to_numpy().astype("datetime64[D]")
    closed = int(np.searchsorted(dates, np.datetime64(mature), "right"))
    known = pa.concat_tables([files.read_table("loan_outcomes", one) for one in _days(scored[0], day)])
    window = CohortWindow(day, settings.window_days, (mature - scored[0]).days + 1)
    cohort_rows = frame.iloc[:closed].copy()
    cohort_rows["default"] = targets(cohort_rows, known.to_pandas(date_as_object=False), window, portfolio)

    def measure(y: Any, pd: Any) -> Any:
        return realised(y, pd, min_bads=policy_of(settings).performance.min_bads)

    def span(first: date, last: date) -> dict[str, str]:
        return {"from": first.isoformat(), "to": last.isoformat()}

    def applied(first: date, last: date) -> int:
        return sum(files.read_table("processed_features", one).num_rows for one in _days(max(start, first), last))

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
        tables = [files.read_table("processed_features", one) for one in _days(begin, mature)]
        taken = [np.linspace(0, one.num_rows - 1, min(one.num_rows, most)).astype(np.int64) for one in tables]
        table = pa.concat_tables([one.take(rows) for one, rows in zip(tables, taken, strict=True)])
        known = pa.concat_tables([files.read_table("loan_outcomes", one) for one in _days(begin, day)])
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


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


if __name__ == "__main__":
    main(date.fromisoformat(sys.argv[1]))
