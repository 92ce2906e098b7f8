"""A training that is made and judged, and leaves nothing behind: no partition, no run in MLflow, no version, no alias.

Belongs here: making the training set, the candidates, the evidence and the decision of an as-of date in memory. Does
not belong here: what is asked for (`requested`), and how the result is shown.

It takes the same functions as the assets, on the same days of the store, so that the retraining it stands for comes to
the same model and the same verdict, as long as nothing has come in between.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.aside import temporary_folder
from credit_assets.assets.due import training_set_of
from credit_assets.assets.made_with import here
from credit_assets.assets.policies import policy_of
from credit_assets.assets.recalibration import mode_of
from credit_assets.assets.requested import RetrainingRequest, requested
from credit_assets.assets.searching import Trials
from credit_assets.assets.selecting import Selecting
from credit_assets.assets.training import identity_of, train_now
from credit_assets.checks import gates_of
from credit_assets.failures import PermanentError, error_text, is_transient
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import triggers_of
from credit_assets.ml.rules.due import NOT_DUE, why_not_due
from credit_assets.settings import Settings
from credit_assets.storage.store import Store
from credit_assets.tracking.evidence import save_model
from credit_assets.tracking.models import LoggedModels
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.learners.search import SearchTrial

BLOCKED = "blocked"
"""The decision where a gate of the training set stops the training."""
_METRICS = ("auc", "gini", "ks", "brier", "ece", "rows", "bads")


@dataclass(frozen=True)
class DryRun:
    """The training of one as-of date, as it would be with these settings and this request."""

    settings: Settings
    request: RetrainingRequest
    warehouse: Warehouse
    store: Store
    registry: Registry
    log: Any
    """Hears what is being done: `info` and `warning`."""

    def record(self, as_of: date) -> dict[str, Any]:
        """What the training comes to, as JSON types: the `decision` (registered, rejected, blocked, not due) with its
        reasons, the model chosen with its metrics, and the candidates.

        Raises PermanentError as the assets do, TransientError where a service does not answer.
        """
        settings = self.request.applied(self.settings)
        # One step, in this process: workers of a cluster read the partition of the day, which may be another one.
        settings = settings.model_copy(update={"dask_scheduler": ""})
        gates = tuple(gates_of("training_set", settings.portfolio_contract))
        made = training_set_of(settings, self.warehouse, self.store, as_of, gates)
        outcome: dict[str, Any] = {
            "as_of": as_of.isoformat(),
            "dry_run": True,
            **requested(self.request.to_record()),
            "training_rows": made.table.num_rows,
        }
        if why := why_not_due(made.gates):
            return {**outcome, "decision": NOT_DUE, "reasons": [_reason("due", why)]}
        if stopped := [gate for gate in made.gates if gate.blocks]:
            return {**outcome, "decision": BLOCKED, "reasons": [_reason(one.name, one.message()) for one in stopped]}
        with temporary_folder("dry") as folder:
            return {**outcome, **self._judged(settings, as_of, made.table, made.gates, folder)}

    def _judged(
        self, settings: Settings, as_of: date, table: pa.Table, gates: Sequence[Any], folder: Path
    ) -> dict[str, Any]:
        from credit_assets.ml.data.fingerprints import frame_hash
        from credit_assets.ml.learners.scorer import CreditScorer
        from credit_assets.ml.reports.selection import best_candidate, validation_auc
        from credit_assets.ml.rules.model_rules import decide_registration, judge_model

        candidates = [self._candidate(settings, variant, as_of, table, folder) for variant in settings.variants]
        trained = [one for one in candidates if one["status"] == "trained"]
        best = best_candidate(candidates, frame_hash(table), settings.variants, as_of)
        registry = _with_models(self.registry, {one["model_uri"]: Path(one["model_uri"]) for one in trained})
        selecting = Selecting(settings, self.store, registry, table, gates)
        record = selecting.record(candidates, best, CreditScorer.load(Path(best["model_uri"])))
        policy = policy_of(settings)
        record["mode"] = mode_of(best, triggers_of(registry.claims, as_of), record["champion"])
        judged = judge_model(record, policy)
        record |= {"policy": policy.to_record(), "judged": [one.to_record() for one in judged]}
        decision = decide_registration(record, gates, policy)
        return {
            "decision": "registered" if decision.accepted else "rejected",
            "variant": best["variant"],
            "fingerprint": best["fingerprint"],
            "mode": record["mode"],
            "metrics": {name: best["metrics"]["test"][name] for name in _METRICS},
            "candidates": {one["variant"]: {"validation_auc": validation_auc(one)} for one in trained},
            "failed": {one["variant"]: one["error"] for one in candidates if one["status"] == "failed"},
            "champion": record["champion"],
            "policy": policy.to_record(),
            "reasons": [reason.to_record() for reason in decision.reasons],
        }

    def _candidate(
        self, settings: Settings, variant: str, as_of: date, table: pa.Table, folder: Path
    ) -> dict[str, Any]:
        self.log.info(f"dry run: training {variant} as of {as_of}")
        day = as_of.isoformat()
        try:
            identity = identity_of(settings, self.store, variant, day, table)
            trials = _ForgottenTrials(self.store, variant, self.log)
            trained, record = train_now(settings, self.store, _Nowhere(), identity, table, trials)
        except Exception as error:
            if is_transient(error):
                raise
            if settings.on_variant_failure == "fail":
                raise PermanentError(f"variant {variant} failed: {error_text(error)}") from error
            return {"status": "failed", "variant": variant, "as_of": day, "error": error_text(error)}
        files = save_model(trained, settings.portfolio_contract, folder / variant)
        return {
            **record,
            "files": files,
            "model_uri": str(folder / variant),
            "made_with": here(settings, variant),
        }


def summary(record: Mapping[str, Any]) -> str:
    """What it came to, in a line."""
    as_of, decision = record["as_of"], record["decision"]
    if "variant" not in record:
        return f"as of {as_of} no model would be made ({decision}): " + "; ".join(
            one["text"] for one in record["reasons"]
        )
    against = [reason["text"] for reason in record["reasons"] if not reason["passed"]]
    why = "; ".join(against) or f"{len(record['reasons'])} rules passed"
    test = record["metrics"]
    return (
        f"the {record['variant']} model as of {as_of} would be {decision} (test AUC {test['auc']:.4f}, Gini "
        f"{test['gini']:.4f}, {test['bads']} bads): {why}"
    )


class _Nowhere:
    """Stands for the MLflow run of a candidate."""

    run_id = ""

    def set_tags(self, tags: Mapping[str, Any]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float]) -> None: ...


class _ForgottenTrials(Trials):
    """The trials of a search that nobody goes on with."""

    def load(self) -> Sequence[SearchTrial]:
        return ()

    def save(self, trials: Sequence[SearchTrial]) -> None: ...


class _ModelsHere(LoggedModels):
    """Models in folders of this machine, beside those of the server."""

    def __init__(self, models: LoggedModels, folders: Mapping[str, Path]) -> None:
        self._models, self._folders = models, folders

    def download(self, model_uri: str, differs: Callable[[Path], str] = lambda _: "") -> Path:
        return self._folders.get(model_uri) or self._models.download(model_uri, differs)


def _with_models(registry: Registry, folders: Mapping[str, Path]) -> Registry:
    """The registry, which finds these models too."""
    found = copy.copy(registry)
    found.tracking = copy.copy(registry.tracking)
    found.tracking.models = _ModelsHere(registry.tracking.models, folders)
    return found


def _reason(rule: str, text: str) -> dict[str, Any]:
    return {"rule": rule, "passed": False, "text": text}
