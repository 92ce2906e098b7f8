"""From the best model to the registry, and from the registry to the alias: decisions and their records.

Both records are written on every run, whatever the decision, and are the same however often the day is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg

from credit_assets import pages
from credit_assets.assets.conventions import daily_asset, inputs
from credit_assets.assets.policies import policy_of
from credit_assets.assets.recalibration import mode_of
from credit_assets.assets.requested import REQUESTED, RetrainingRequest, requested
from credit_assets.instance.dagster_internals import PartitionCheckResult
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import SHADOW, Deployment, promoted_by_training, standing
from credit_assets.ledger.integrity import HEADS, Integrity
from credit_assets.ledger.kept import Kept, KeptVersion, evidence_hash
from credit_assets.ledger.registry import BASELINE, RECALIBRATES, TRAINED_AS_OF, Registry, Version
from credit_assets.ledger.retraining import triggers_of
from credit_assets.ml.data.manifest import MANIFEST, Manifest
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.rules.chains import COMPARED_WITH, NONE, SHOWN, how_shown
from credit_assets.ml.rules.decisions import Decision, Reason
from credit_assets.ml.rules.due import DUE, NOT_DUE
from credit_assets.ml.rules.fairness_rules import FAIRNESS
from credit_assets.ml.rules.first_days import FIRST_DAYS
from credit_assets.ml.rules.leak_rules import LEAKS
from credit_assets.ml.rules.periods import champion_history
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store

# Characters of a tag that an MLflow server keeps.
_TAG = 5_000
TAKEOVER_CHECKS = {
    FIRST_DAYS: "The newest days look to the version of the day like those of its out-of-time test; else it takes over "
    "in no promotion mode.",
    LEAKS: "The version's skill is no jump beyond what others gained, and hangs on no single feature; else a person "
    "has to approve it, in any promotion mode.",
    FAIRNESS: "The version treats no group in a way, and reads no feature that stands in for a protected column, for "
    "which the portfolio wants a person to approve it.",
}


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @daily_asset(
        "registered_model",
        settings,
        partitions,
        "mlflow",
        ins=inputs("registered_model", settings),
        description="The registration decision of the as-of date: registered or rejected, with every reason. The gates "
        "are judged again here from recorded evidence, whoever started the run.",
    )
    def registered_model(
        context: dg.AssetExecutionContext,
        trained_model: dict[str, Any],
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        claims: dg.ResourceParam[Claims],
        retraining: RetrainingRequest,
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.reports.pictures import of_model
        from credit_assets.ml.rules.model_rules import decide_registration

        triggers = triggers_of(claims, date.fromisoformat(context.partition_key))
        if trained_model.get("status") == NOT_DUE:
            return not_due_decision(context.partition_key, triggers, trained_model["why"])
        # What it is trained for may have been asked for since the model was made.
        mode = mode_of(trained_model, triggers, trained_model["champion"])
        policy, evidence = policy_of(retraining.applied(settings)), trained_model | {"mode": mode}
        gates = store.gates("training_set", context.partition_key)
        decision = decide_registration(evidence, gates, policy)
        record: dict[str, Any] = {
            "as_of": context.partition_key,
            "decision": "registered" if decision.accepted else "rejected",
            "variant": trained_model["variant"],
            "fingerprint": trained_model["fingerprint"],
            "version": None,
            "triggers": list(triggers),
            "mode": evidence["mode"],
            "policy": policy.to_record(),
            "reasons": [reason.to_record() for reason in decision.reasons],
            # Of what it was decided by: edited since, it is another one.
            "evidence": evidence_hash(trained_model),
            **requested(retraining.to_record() or trained_model.get(REQUESTED, {})),
        }
        if decision.accepted:
            Integrity(registry).refuse_broken(f"the model as of {context.partition_key} is not registered")
            judged = {name: record[name] for name in ("mode", "policy", "reasons")}
            kept = Kept(store).keep(trained_model, judged | {"gates": [gate.to_record() for gate in gates]})
            evidence = trained_model | requested(record.get(REQUESTED, {}))
            version = register(registry, evidence, kept, policy, decision)
            Kept(store).numbered(kept, version.version)
            record["version"] = version.version
            record["training_set"] = version.tags.get("training_set")
        return dg.MaterializeResult(
            value=record,
            data_version=dg.DataVersion(f"{record['decision']}:{record['fingerprint']}"),
            metadata={
                "decision": record["decision"],
                "version": record["version"] or "none",
                "variant": record["variant"],
                **requested(record.get(REQUESTED, {})),
                **{name: trained_model["evaluation"][name] for name in ("auc", "ks", "ece")},
                "reasons_against": sum(not reason["passed"] for reason in record["reasons"]),
                "mlflow_run": registry.tracking.server.run_link(trained_model["run_id"]),
                **pages.pictures(of_model(trained_model), store, "registered_model", context.partition_key),
                "reasons": pages.reasons(record["reasons"]),
                **({"mlflow_version": registry.version_link(record["version"])} if record["version"] else {}),
            },
        )

    @daily_asset(
        "deployed_model",
        settings,
        partitions,
        "mlflow",
        ins=inputs("deployed_model", settings),
        check_specs=[
            dg.AssetCheckSpec(name, asset="deployed_model", partitions_def=partitions, description=description)
            for name, description in TAKEOVER_CHECKS.items()
        ],
        description="Which version is champion after the as-of date, which is on trial beside it, and why. Never moves "
        "back in as-of time.",
    )
    def deployed_model(
        context: dg.AssetExecutionContext,
        registered_model: dict[str, Any],
        registry: dg.ResourceParam[Registry],
        store: dg.ResourceParam[Store],
        deployment: dg.ResourceParam[Deployment],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.reports.pictures import of_champions
        from credit_assets.ml.rules.decisions import decide_promotion

        as_of, page = date.fromisoformat(context.partition_key), ("deployed_model", context.partition_key)
        takes_over = as_of + timedelta(days=1)
        deployment.recover()
        version = registered_model["version"]
        versions = registry.versions()
        # A second run of the day finds its promotion made, and does not make it again after a rollback by hand.
        found = None if version is None else registry.version(version)
        takeover = deployment.takeover(found) if found else ()
        compared = [deployment.judged_against(found, as_of)] if found else ()
        made = found is not None and promoted_by_training(deployment.aliases, found, takes_over)
        decision = decide_promotion(
            settings.promotion,
            accepted=registered_model["decision"] == "registered",
            as_of=as_of,
            standing=standing(versions, until=as_of if made else None),
            takeover=takeover,
            compared=compared,
        )
        integrity = Integrity(registry)
        if found is not None:
            integrity.refuse_broken(f"version {version} takes no alias")
            deployment.after_training(found, takes_over, decision, made=made)
        before, after = registry.champion_at(as_of), registry.champion_at(takes_over)
        trial = Aliases(registry).period_of(SHADOW, takes_over)
        integrity.note()
        record: dict[str, Any] = {
            "as_of": as_of.isoformat(),
            "champion_before": before.version if before else None,
            "champion_after": after.version if after else None,
            "shadow_after": trial.version if trial else None,
            "decision": "promoted" if decision.accepted else "unchanged",
            "promotion": settings.promotion,
            "policy": policy_of(settings).to_record(),
            "reasons": registered_model["reasons"]
            if registered_model["decision"] == NOT_DUE
            else [reason.to_record() for reason in decision.reasons],
        }
        return dg.MaterializeResult(
            value=record,
            metadata={
                "decision": record["decision"],
                "champion_before": record["champion_before"] or "none",
                "champion_after": record["champion_after"] or "none",
                "shadow_after": record["shadow_after"] or "none",
                "reasons_against": sum(not reason["passed"] for reason in record["reasons"]),
                # In a third database than the store's and MLflow's.
                HEADS: integrity.to_note(),
                **({"mlflow_version": registry.version_link(after.version)} if after else {}),
                **pages.pictures(of_champions(champion_history(registry.versions()), takes_over), store, *page),
                "reasons": pages.reasons(record["reasons"]),
            },
            check_results=[takeover_check(name, takeover, version, as_of) for name in TAKEOVER_CHECKS],
        )

    return [registered_model, deployed_model]


def takeover_check(name: str, found: Sequence[Reason], version: str | None, as_of: date) -> dg.AssetCheckResult:
    """The verdict of the rules of a name as a check, a warning: the run goes on, and people are told as they are of
    every failed check.
    """
    reasons = [reason for reason in found if reason.rule.partition(" ")[0] == name]
    against = [reason for reason in reasons if not reason.passed]
    check = PartitionCheckResult(
        check_name=name,
        passed=not against,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Version {version} does not take over: {'; '.join(reason.text for reason in against)}."
        if against
        else "; ".join(reason.text for reason in reasons) or "No version was registered.",
        metadata=pages.judged(len(against), 0),
    )
    check.partition = as_of.isoformat()
    return check


def not_due_decision(as_of: str, triggers: Sequence[str], why: str) -> dg.MaterializeResult[Any]:
    """The decision on a day of which no model can be made yet: none, and why."""
    record: dict[str, Any] = {
        "as_of": as_of,
        "decision": NOT_DUE,
        "variant": None,
        "fingerprint": None,
        "version": None,
        "triggers": list(triggers),
        "mode": None,
        "policy": None,
        "reasons": [{"rule": DUE, "passed": False, "value": NOT_DUE, "threshold": DUE, "text": why}],
    }
    return dg.MaterializeResult(
        value=record,
        data_version=dg.DataVersion(NOT_DUE),
        metadata={
            "decision": NOT_DUE,
            "version": "none",
            "reasons": pages.reasons(record["reasons"]),
        },
    )


def register(
    registry: Registry, trained: dict[str, Any], kept: KeptVersion, policy: Policy, decision: Decision
) -> Version:
    """The version of this fingerprint: found, or created with everything that a validator needs to re-perform it, the
    policy that it was registered by among it. `kept`: what was kept of it, before.
    """
    from credit_assets.ml.data.fingerprints import rounded

    test = trained["evaluation"]
    return registry.register(
        trained["model_uri"],
        run_id=trained["run_id"],
        fingerprint=trained["fingerprint"],
        as_of=date.fromisoformat(trained["as_of"]),
        tags={
            "variant": trained["variant"],
            "test_from": trained["test_from"],
            "data_hash": trained["data"],
            "training_set": str(kept.training_set),
            "training_rows": str(trained["training_rows"]),
            **({"extensions": json.dumps(theirs)} if (theirs := trained.get("extensions")) else {}),
            **({REQUESTED: json.dumps(of, sort_keys=True)[:_TAG]} if (of := trained.get(REQUESTED)) else {}),
            **(
                {RECALIBRATES: of["version"], TRAINED_AS_OF: of["trained_as_of"]}
                if (of := trained.get("recalibrates"))
                else {}
            ),
            # Whom it was trained on and what is bad, each defined and counted.
            **{key: json.dumps(of, sort_keys=True)[:_TAG] for key, of in trained.get("trained_on", {}).items()},
            "policy_version": policy.version,
            # Whole or not at all: half a policy says nothing, and the record of the decision has it.
            **({"policy": text} if len(text := policy.model_dump_json()) <= _TAG else {}),
            **({BASELINE: json.dumps(rounded(of), sort_keys=True)} if (of := trained.get(BASELINE)) else {}),
            **{name: f"{test[name]:.6f}" for name in ("auc", "gini", "ks", "brier", "ece", "log_loss")},
            SHOWN: how_shown(decision.reasons),
            MANIFEST: manifest_of(registry, trained).to_text(),
            COMPARED_WITH: (trained["champion"] or {}).get("version", NONE),
        },
        description=described(trained, decision, registry),
    )


def manifest_of(registry: Registry, trained: Mapping[str, Any]) -> Manifest:
    """The files of a model that is to be registered. Raises PermanentError where others were judged."""
    record = {"model_uri": trained["model_uri"], "files": (trained.get("made") or {}).get("files")}
    return Manifest.of(registry.tracking.models.of_record(record))


def described(trained: Mapping[str, Any], decision: Decision, registry: Registry) -> str:
    """What MLflow shows of a version, in markdown: what it is, why it was registered, how good it is, and where Dagster
    has the rest.
    """
    test = trained["evaluation"]
    names = {"auc": "AUC", "gini": "Gini", "ks": "KS", "brier": "Brier", "ece": "ECE"}
    # A sentence: MLflow shows the columns of a table without anything between them.
    measures = ", ".join(f"{shown} {test[name]:.4f}" for name, shown in names.items())
    parts = [
        f"**{trained['variant']}, as of {trained['as_of']}**",
        decision.summary(),
        f"Out-of-time test: {measures}, on {test['rows']:,} loans with {test['bads']:,} bads.",
        registry.tracking.server.made_in(
            asset="/".join(registry.owner.naming.asset("registered_model")), partition=trained["as_of"]
        ),
    ]
    return "\n\n".join(part for part in parts if part)
