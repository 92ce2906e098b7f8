"""The recalibration of the champion, in place of a training, where nobody asks for more as of the day.

Belongs here: whether a day is recalibrated, and making the model, once. Does not belong here: fitting
(`credit_assets.ml.learners.recalibration`), and the verdict (`credit_assets.ml.rules.calibration_rules`).

A recalibrated champion takes the place of the best candidate in `trained_model`: all that comes after, from the
comparison with the champion to the alias, is as for a model that was trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.conventions import Table
from credit_assets.assets.cutoffs import cut_off_identity, with_cut_off
from credit_assets.assets.made_with import made_with
from credit_assets.assets.policies import policy_of
from credit_assets.assets.references import of_everyone
from credit_assets.failures import PermanentError, error_text
from credit_assets.ledger.registry import RECALIBRATES, Registry, Version
from credit_assets.ledger.retraining import training_mode, triggers_of
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking
from credit_assets.tracking.dagster_mlflow import DagsterStep
from credit_assets.tracking.evidence import log_candidate
from credit_assets.tracking.run import FinishedRun
from credit_assets.tracking.runs import CandidateKey

if TYPE_CHECKING:
    from credit_assets.ml.rules.model_rules import Mode

RECALIBRATED = "recalibrated"
"""The status of a candidate that was not trained, and of the model in its place."""


def to_recalibrate(registry: Registry, claims: Claims, as_of: date) -> Version | None:
    """The champion that gets a new calibration as of this day; None where a model is trained: more was asked for, none
    is in force, or a model of this day was registered before anybody asked, which has a calibration of its own.
    """
    if training_mode(triggers_of(claims, as_of)) != "recalibration":
        return None
    versions = registry.versions()
    if any(one.as_of == as_of and RECALIBRATES not in one.tags for one in versions):
        return None
    return registry.champion_at(as_of, versions)


def mode_of(made: Mapping[str, Any], triggers: Iterable[str], champion: Mapping[str, Any] | None = None) -> Mode:
    """What a model is for, from what it is (the record of the candidate or of `trained_model`), who asked for it, and
    the record of the comparison with the champion.
    """
    if "recalibrates" in made:
        return "recalibration"
    mode = training_mode(triggers, champion)
    # Asked for while no champion was in force, or by another trigger since.
    return "improvement" if mode == "recalibration" else mode


def not_trained(variant: str, as_of: str, champion: Version) -> dg.MaterializeResult[Any]:
    """What a candidate returns on a day on which the champion is recalibrated."""
    why = f"champion version {champion.version} gets a new calibration: nobody asked for more as of {as_of}"
    return dg.MaterializeResult(
        value={"variant": variant, "as_of": as_of, "status": RECALIBRATED, "why": why},
        data_version=dg.DataVersion(f"{RECALIBRATED}:{champion.fingerprint}"),
        metadata={"status": RECALIBRATED, "why": why},
    )


@dataclass(frozen=True)
class Recalibrating:
    """The recalibration of one as-of date, on its training set and the set's hash."""

    context: dg.AssetExecutionContext
    settings: Settings
    training_set: Table
    data: str

    def record(self, registry: Registry, tracking: Tracking, store: Store) -> dict[str, Any]:
        """The record of the recalibrated champion, like a candidate's: of the finished MLflow run with the same
        fingerprint, else made now.

        Raises PermanentError where no champion is in force, or nothing can be measured.
        """
        from credit_assets.ml.data.fingerprints import fingerprint
        from credit_assets.ml.learners.recalibration import recalibration_identity

        as_of, settings = self.context.partition_key, self.settings
        champion = registry.champion_at(date.fromisoformat(as_of))
        if champion is None:
            raise PermanentError(
                f"no champion is in force on {as_of}, so that there is nothing to recalibrate; materialize the "
                "candidates again, which are then trained"
            )
        policy, portfolio = policy_of(settings).calibration, settings.portfolio_contract
        identity = recalibration_identity(champion.fingerprint, as_of, self.data, policy, portfolio)
        identity |= cut_off_identity(settings, store, self.training_set)
        asset, key = "/".join(settings.naming.asset("trained_model")), fingerprint(**identity)
        expired = None if settings.reuse_days is None else datetime.now(UTC) - timedelta(settings.reuse_days)
        candidate = CandidateKey(asset, as_of, champion.variant, key, ended_after=expired)
        finished = tracking.runs.find_finished(candidate)
        if finished is not None:
            self.context.log.info(f"champion and data unchanged; MLflow run {finished.run_id} is reused")
            return dict(finished.load_record("candidate.json"))
        run = self.context.run
        step = DagsterStep(run.run_id, self.context.job_name, self.context.log, self.context.instance)
        tags = {
            "as_of": as_of,
            "code_version": identity["code"],
            "data_hash": self.data,
            "portfolio": portfolio.name,
            "contract": portfolio.contract,
            "recalibrates": champion.version,
        }
        # What it was made of, before its own run is open.
        made = FinishedRun(tracking.server, champion.run_id).load_record("candidate.json")
        with tracking.runs.candidate(candidate, step, tags) as opened:
            return self._made(opened, store, registry, champion, {"fingerprint": key, "identity": identity, "of": made})

    def _made(
        self, run: Any, store: Store, registry: Registry, champion: Version, known: Mapping[str, Any]
    ) -> dict[str, Any]:
        from credit_assets.ml.data.customers import groups_of
        from credit_assets.ml.learners.recalibration import CODE, parts_of, recalibrate, with_evidence
        from credit_assets.ml.learners.scorer import CreditScorer

        settings, table, made = self.settings, self.training_set, known["of"]
        policy, portfolio = policy_of(settings).calibration, settings.portfolio_contract
        test_from = date.fromisoformat(champion.tags["test_from"])
        parts = parts_of(table, portfolio.date_column, test_from, policy.recalibration_bads)
        threads = settings.training_threads
        try:
            scorer = CreditScorer.load(registry.download(champion))
            found = recalibrate(scorer, parts, policy, groups=groups_of(parts.fit, portfolio), threads=threads)
            trained = with_evidence(found.scorer, table, parts, made, threads)
        except ValueError as error:
            raise PermanentError(
                f"champion version {champion.version} cannot be recalibrated as of {self.context.partition_key}: "
                f"{error_text(error)}; ask for a retraining: "
                f"credit-assets trigger other --as-of {self.context.partition_key}"
            ) from error
        trained = of_everyone(settings, store, trained, table)
        trained, cut_off = with_cut_off(settings, store, trained, table)
        days = parts.fit[portfolio.date_column].to_numpy()
        record = {
            "status": RECALIBRATED,
            "variant": champion.variant,
            "as_of": self.context.partition_key,
            "fingerprint": known["fingerprint"],
            "run_id": run.run_id,
            "identity": {**known["identity"], "seed": made["identity"]["seed"], "params": made["identity"]["params"]},
            **({"extensions": made["extensions"]} if made.get("extensions") else {}),
            "threads": threads,
            "rounds": made["rounds"],
            "metrics": {name: evaluation.to_record() for name, evaluation in trained.metrics.items()},
            # Of the shape, which is kept: a new calibration is a line after it.
            "calibration_choice": made.get("calibration_choice"),
            **cut_off,
            "test_from": str(parts.test[portfolio.date_column].to_numpy().min()),
            # Of the training: a new calibration is none.
            "training_rows": int(champion.tags.get("training_rows", table.num_rows)),
            "recalibrates": {
                "version": champion.version,
                "fingerprint": champion.fingerprint,
                "rows": parts.fit.num_rows,
                "bads": parts.bads,
                "trained_as_of": champion.trained_as_of.isoformat(),
                "days": [str(days.min()), str(days.max())] if len(days) else None,
                **found.to_record(),
            },
            "made_with": made_with(settings, store, champion.variant, known["identity"], CODE),
        }
        record["model_uri"], record["files"] = log_candidate(run, trained, record, table, portfolio)
        run.log_dict(record, "candidate.json")
        return record
