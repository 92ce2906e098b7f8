"""Models of a day in the plain script (`benchmarks.plain`): trained, logged, compared, registered and promoted.

Belongs here: what the script does from the training set to the aliases. Does not belong here: scores and reports
(`benchmarks.plain_reports`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks.plain_files import Files

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ledger.registry import Registry
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.rules.decisions import Decision
    from credit_assets.settings import Settings


def opened_registry(settings: Settings) -> Registry:
    from credit_assets.ledger.registry import Owner, Registry
    from credit_assets.storage.claims import Claims
    from credit_assets.tracking import Tracking

    claims = Claims(settings.store)
    tracking = Tracking(settings.tracking_uri, settings.experiment_name, claims)
    owner = Owner(settings.naming, settings.portfolio_contract.contract)
    return Registry(tracking, settings.naming.registered_model, claims, owner)


def make_models(
    settings: Settings, day: date, training_set: pa.Table, gates: Any, registry: Registry, files: Files
) -> None:
    """Train every variant, choose the best, compare it with the champion, register and promote it by the rules."""
    from credit_assets.assets.policies import policy_of
    from credit_assets.ml.data.fingerprints import frame_hash
    from credit_assets.ml.rules.model_rules import decide_registration

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

    trained = _chosen(settings, training_set, gates, records, registry)
    files.write_record("trained_model", day, trained)
    decision = decide_registration(trained, list(gates), policy_of(settings))
    registered = _registered(settings, day, trained, decision, registry)
    files.write_record("registered_model", day, registered)
    deployed = _deployed(settings, day, trained, decision, registered["version"], registry)
    files.write_record("deployed_model", day, deployed)


def _chosen(
    settings: Settings, training_set: pa.Table, gates: Any, records: list[dict[str, Any]], registry: Registry
) -> dict[str, Any]:
    """The best candidate with all the evidence on it. A model is loaded once."""
    from credit_assets.assets.policies import policy_of
    from credit_assets.assets.selecting import Selecting
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.scorecard import SCORECARD, scorecard_record
    from credit_assets.ml.rules.model_rules import judge_model
    from credit_assets.storage.store import Store

    @cache
    def scorer_at(uri: str) -> CreditScorer:
        return CreditScorer.load(registry.tracking.models.download(uri))

    def scorer_of(one: Mapping[str, Any]) -> CreditScorer:
        return scorer_at(one["model_uri"])

    best = max(records, key=lambda r: (r["metrics"]["validation"]["auc"], -settings.variants.index(r["variant"])))
    selecting = Selecting(settings, Store(settings.store), registry, training_set, gates)
    trained = selecting.record(records, best, scorer_of(best))
    trained[SCORECARD] = scorecard_record(training_set, records, best, scorer_of, settings.portfolio_contract)
    trained["mode"], policy = "improvement", policy_of(settings)
    judged = [one.to_record() for one in judge_model(trained, policy)]
    return trained | {"policy": policy.to_record(), "judged": judged}


def _registered(
    settings: Settings, day: date, trained: dict[str, Any], decision: Decision, registry: Registry
) -> dict[str, Any]:
    """The record of the decision; the version, where it is to be one."""
    from credit_assets.ledger.kept import Kept
    from credit_assets.ml.data.fingerprints import rounded
    from credit_assets.ml.rules.chains import COMPARED_WITH, NONE, SHOWN, how_shown
    from credit_assets.storage.store import Store

    registered: dict[str, Any] = {
        "as_of": day.isoformat(),
        "decision": "registered" if decision.accepted else "rejected",
        "variant": trained["variant"],
        "fingerprint": trained["fingerprint"],
        "version": None,
        "triggers": [],
        "mode": trained["mode"],
        "policy": trained["policy"],
        "reasons": [reason.to_record() for reason in decision.reasons],
    }
    if not decision.accepted:
        return registered
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
            "data_hash": trained["data"],
            "training_rows": str(trained["training_rows"]),
            "performance": json.dumps(rounded(trained["performance"]), sort_keys=True),
            **{name: f"{test[name]:.6f}" for name in ("auc", "gini", "ks", "brier", "ece", "log_loss")},
            SHOWN: how_shown(decision.reasons),
            COMPARED_WITH: (trained["champion"] or {}).get("version", NONE),
        },
        description=decision.summary(),
    ).version
    return registered


def _deployed(
    settings: Settings, day: date, trained: dict[str, Any], decision: Decision, version: str | None, registry: Registry
) -> dict[str, Any]:
    """Whether the version takes over, and the record of it."""
    from credit_assets.assets.policies import policy_of
    from credit_assets.ledger.alias_log import MoveDetails, MoveKind
    from credit_assets.ledger.aliases import Aliases
    from credit_assets.ml.rules.chains import NONE, judged_against
    from credit_assets.ml.rules.decisions import ChampionDates, decide_promotion
    from credit_assets.ml.rules.fairness_rules import judge_takeover
    from credit_assets.ml.rules.first_days import decide_first_days
    from credit_assets.ml.rules.leak_rules import judge_leaks

    policy = policy_of(settings)
    versions, takes_over = registry.versions(), day + timedelta(1)
    periods = [(v.as_of, start, last) for v in versions for start, last in v.champion_periods]
    standing = ChampionDates(
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
    if version is not None:
        by = "plain script"
        changes = {"challenger": MoveDetails(takes_over, MoveKind.PASSED, by, "passed its gates")}
        if promotion.accepted:
            changes["champion"] = MoveDetails(takes_over, MoveKind.PROMOTE, by, f"promote: {promotion.summary()}")
        for alias, change in changes.items():
            Aliases(registry).move(alias, version, change, forward_only=True)
    before, after = registry.champion_at(day), registry.champion_at(takes_over)
    return {
        "as_of": day.isoformat(),
        "champion_before": before.version if before else None,
        "champion_after": after.version if after else None,
        "shadow_after": None,
        "decision": "promoted" if promotion.accepted else "unchanged",
        "promotion": settings.promotion,
        "policy": trained["policy"],
        "reasons": [reason.to_record() for reason in promotion.reasons],
    }


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
                "calibration_choice": trained.calibration_choice,
                **cut_off,
                "made_with": made_with(settings, store, variant, identity, MODEL_CODE),
            }
            record["model_uri"], record["files"] = log_candidate(run, trained, record, training_set, portfolio)
            run.log_dict(record, "candidate.json")
    return record
