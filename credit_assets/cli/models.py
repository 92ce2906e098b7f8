"""What is there and which model is in force: records for `--json`, tables for people.

Belongs here: reading and showing. Does not belong here: moving anything (`moves`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from credit_assets.assets.accounts import table_accounts
from credit_assets.assets.conventions import asset_key
from credit_assets.assets.due import outlook
from credit_assets.assets.policies import judge_kept
from credit_assets.assets.recheck import days_in_words, versions_in_words
from credit_assets.assets.stored_days import ScoredDays
from credit_assets.failures import PermanentError, TransientError
from credit_assets.instance.own_runs import own_runs
from credit_assets.instance.ownership import changed_since
from credit_assets.ledger import recorded
from credit_assets.ledger.deployment import ACCEPTABLE, SHADOW
from credit_assets.ledger.kept import Kept
from credit_assets.ledger.recorded import METRICS
from credit_assets.ledger.registry import CHAMPION, RECALIBRATES, Version
from credit_assets.ledger.restated import Restatements
from credit_assets.ml.data.extensions import SCORING, described, why_other
from credit_assets.ml.rules.decisions import summary_of
from credit_assets.ml.rules.due import why_not_due
from credit_assets.ml.rules.periods import holder_now
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tags import DAGSTER_PARTITION_TAG, RANGE_END_TAG
from credit_assets.warehouse import open_warehouse


def status_record(settings: Settings, instance: dg.DagsterInstance) -> dict[str, Any]:
    """Partitions by asset, what of them is scored, when a model can be made, champion, latest runs."""
    store = Store(settings.store)
    assets: dict[str, dict[str, Any]] = {}
    for row in settings.graph.assets:
        days = sorted(instance.get_materialized_partitions(asset_key(settings, row.name)))
        assets[row.name] = {
            "partitions": len(days),
            "first": days[0] if days else None,
            "last": days[-1] if days else None,
        }
        if row.name == "loan_scores":
            assets[row.name] |= scored_record(store, days)
        if row.name == "training_set":
            judged = store.footers("training_set", days).values()
            assets[row.name]["not_due"] = sum(bool(why_not_due(one.gates)) for one in judged)
    champion, shadow = holders(settings, CHAMPION, SHADOW)
    runs = [
        {
            "run": run.run_id,
            "job": run.job_name,
            "partition": run.tags.get(DAGSTER_PARTITION_TAG) or run.tags.get(RANGE_END_TAG),
            "status": run.status.value,
        }
        for run in own_runs(instance, settings.naming, 5)
    ]
    return {
        "home": str(settings.home_dir),
        "assets": assets,
        "accounts": accounts_record(settings),
        "training": outlook(settings, store).to_record(),
        "restated": restated_record(store, {"champion": champion, "shadow": shadow}),
        "warnings": [*changed_since(settings), *extension_warnings(champion, shadow)],
        "champion": champion,
        "shadow": shadow,
        "runs": runs,
    }


def extension_warnings(*models: Mapping[str, Any] | None) -> list[str]:
    """Of the models in force those that cannot score here: an extension of theirs is absent, or another one now."""
    return [
        f"version {model['version']} ({', '.join(model['aliases'])}) cannot score here: {why}"
        for model in models
        if model and (why := why_other(one for one in model["extensions"] if one["kind"] in SCORING))
    ]


def accounts_record(settings: Settings) -> dict[str, Any]:
    """Every row of the warehouse's two tables by what became of it, and the verdict on each; or why it is not known."""
    from credit_assets.ml.rules.account_gates import account_gate

    if not settings.warehouse_exists:
        return {"problem": "no loans yet"}
    limits = settings.portfolio_contract.gates
    try:
        warehouse = open_warehouse(settings.warehouse, settings.timezone)
        accounts = table_accounts(settings, warehouse, Store(settings.store))
    except (PermanentError, TransientError) as error:
        return {"problem": str(error)}
    found: dict[str, Any] = {}
    for asset, account in accounts.items():
        gate = account_gate([account], limits)
        found[asset] = {**account.to_record(), "verdict": gate.verdict, "description": gate.message()}
    return found


def scored_record(store: Store, days: Sequence[str]) -> dict[str, int]:
    """How many of these partitions hold scores, and how many were passed by since no champion was in force; how many
    applications have a score, have none, and were refused by the model for a value that is missing.
    """
    found = ScoredDays(store).of([date.fromisoformat(day) for day in days]).values()
    passed_by = [day for day in found if day.unscored]
    return {
        "scored": len(found) - len(passed_by),
        "unscored": len(passed_by),
        "scored_applications": sum(day.scored for day in found),
        "unscored_applications": sum(day.unscored for day in found),
        "refused_applications": sum(day.refused for day in found),
    }


def holders(settings: Settings, *aliases: str) -> list[dict[str, Any] | None]:
    """The versions that hold the aliases: by the records of the store, which decide, and by MLflow where those do not
    say. MLflow's client takes longer than everything else that `status` does.
    """
    store, claims = Store(settings.store), Claims(settings.store)
    held = recorded.histories(claims, settings.naming.registered_model)
    holders: list[dict[str, Any] | None] = []
    for alias in aliases:
        now = holder_now(held.get(alias, []))
        record = recorded.version_record(store, now.version, held) if now else None
        if record is None and (now or not held) and not settings.tracking_is_new:
            version = build_resources(settings)["registry"].alias(alias)
            record = version_record(version) if version else None
        holders.append(record)
    return holders


def version_record(version: Any) -> dict[str, Any]:
    return {
        "version": version.version,
        "as_of": version.as_of.isoformat(),
        "variant": version.tags.get("variant"),
        "status": version.status,
        "aliases": list(version.aliases),
        "in_force": [[str(a), str(b) if b else None] for a, b in version.champion_periods],
        "metrics": {name: float(version.tags[name]) for name in METRICS if name in version.tags},
        "fingerprint": version.fingerprint,
        "run_id": version.run_id,
        "extensions": json.loads(version.tags.get("extensions", "[]")),
        "recalibrates": version.tags.get(RECALIBRATES),
    }


def models_record(settings: Settings) -> dict[str, Any]:
    """Registered versions, oldest first, and the as-of dates whose model was rejected, from their records."""
    resources = build_resources(settings)
    registry, store = resources["registry"], resources["store"]
    rejected = []
    for day in store.days("registered_model"):
        record = store.read_record(store.path("registered_model", f"{day}.json"))
        if record["decision"] == "rejected":
            trained = store.read_record(store.path("trained_model", f"{day}.json"))
            rejected.append(
                {
                    "as_of": day,
                    "variant": record["variant"],
                    "metrics": {name: trained["evaluation"][name] for name in METRICS},
                    "reason": summary_of(record["reasons"]),
                }
            )
    versions = sorted(registry.versions(), key=lambda v: int(v.version))
    kept, stale = Kept(store), {one.version: one.to_record() for one in Restatements(store).stale().versions}
    return {
        "model": registry.model_name,
        "versions": [
            version_record(v) | kept_record(settings, kept, v) | {"restated": stale.get(v.version)} for v in versions
        ],
        "rejected": rejected,
    }


def restated_record(store: Store, holders: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Restated days that are only reported, what is stale of them, and the versions that saw them, holders of aliases
    first.
    """
    record = Restatements(store).stale().to_record()
    for one in record["versions"]:
        one["aliases"] = [alias for alias, held in holders.items() if held and held["version"] == one["version"]]
    record["versions"].sort(key=lambda one: (not one["aliases"], -int(one["version"])))
    return record


def kept_record(settings: Settings, kept: Kept, version: Version) -> dict[str, Any]:
    """Where the rows are that a version was trained on, how the newest days looked to it, and where its skill comes
    from.
    """
    found = kept.of(version)
    record: dict[str, Any] = {"training_set": found.training_set if found else None}
    judged = judge_kept(settings, found)
    for name in ACCEPTABLE:
        reasons = [reason for reason in judged if reason.rule.partition(" ")[0] == name]
        passed = all(reason.passed for reason in reasons)
        texts = [reason.text for reason in reasons if passed or not reason.passed]
        record[name] = {"passed": passed, "reasons": texts}
    return record


# Tables


def print_status(record: dict[str, Any], console: Console) -> None:
    for line in record["warnings"]:
        console.print(f"warning: {line}", style="yellow", markup=False)
    table = Table("asset", "partitions", "first", "last", title=f"Home: {record['home']}", title_justify="left")
    for name, entry in record["assets"].items():
        table.add_row(name, f"{entry['partitions']:,}", entry["first"] or "-", entry["last"] or "-")
    console.print(table)
    for account in record["accounts"].values():
        text = account if isinstance(account, str) else f"rows {account['verdict']}: {account['description']}"
        console.print(text, style=None if " passed:" in text else "yellow")
    for line in stale_lines(record["restated"]):
        console.print(line, style="yellow", markup=False)
    if skipped := record["assets"]["training_set"]["not_due"]:
        console.print(f"training_set: {skipped:,} of its days are not due: no model can be made as of them")
    scores = record["assets"]["loan_scores"]
    if scores["unscored"]:
        console.print(
            f"loan_scores: {scores['scored']:,} days scored ({scores['scored_applications']:,} applications), "
            f"{scores['unscored']:,} unscored ({scores['unscored_applications']:,}): no champion was in force"
        )
    if refused := scores["refused_applications"]:
        console.print(f"loan_scores: {refused:,} applications refused for a value that is missing (missing: reject)")
    _print_models_in_force(record, console)
    for run in record["runs"]:
        console.print(f"run {run['run'][:8]}  {run['status']:<9} {run['job']}  {run['partition'] or ''}")


def _print_models_in_force(record: dict[str, Any], console: Console) -> None:
    champion, training = record["champion"], record["training"]
    console.print(
        f"champion: {_described(champion)}" if champion else "champion: none yet; `credit-assets replay` trains one"
    )
    if not champion:
        console.print(f"first model: possible as of {training['first_possible']} ({training['why']})", markup=False)
    for model in (champion, record["shadow"]):
        if model and model["extensions"]:
            made_by = "; ".join(map(described, model["extensions"]))
            console.print(f"version {model['version']} was made with {made_by}", markup=False)
    if shadow := record["shadow"]:
        console.print(f"on trial: {_described(shadow)}")


def _described(model: Mapping[str, Any]) -> str:
    of = f", version {model['recalibrates']} with a new calibration" if model.get("recalibrates") else ""
    return f"version {model['version']}, {model['variant']}, as of {model['as_of']}{of}"


def stale_lines(record: Mapping[str, Any]) -> list[str]:
    """What restated days were in, for people."""
    lines = []
    if record["reported"]:
        days = ", ".join(f"{len(of)} days of {asset} ({of[0]} .. {of[-1]})" for asset, of in record["reported"].items())
        first = min(of[0] for of in record["reported"].values())
        lines.append(
            f"changed in the warehouse and not ingested again: {days}; `CREDIT_RESTATED=ingest credit-assets recheck "
            f"--since {first}` ingests them"
        )
    if record["stale"]:
        stale = ", ".join(
            f"{len(one['days'])} of {asset} ({one['rows']:,} rows)" for asset, one in record["stale"].items()
        )
        lines.append(f"made of restated days as they were: {stale}")
    if record["versions"]:
        lines.append(f"trained on restated days as they were: {versions_in_words(record['versions'])}")
    return lines


def print_models(record: dict[str, Any], console: Console) -> None:
    if not record["versions"] and not record["rejected"]:
        console.print("No model yet: `credit-assets replay --start DAY --end DAY` trains one.")
        return
    table = Table("as of", "version", "variant", "AUC", "Gini", "KS", "Brier", "ECE", "champion", "note")
    rows = [(v["as_of"], v) for v in record["versions"]] + [(r["as_of"], r) for r in record["rejected"]]
    for as_of, entry in sorted(rows, key=lambda row: (row[0], int(row[1].get("version") or 0))):
        metrics = [f"{entry['metrics'][name]:.4f}" if name in entry["metrics"] else "-" for name in METRICS]
        if "version" in entry:
            periods = ", ".join(f"{a} .. {b or 'now'}" for a, b in entry["in_force"]) or "-"
            note = ", ".join(entry["aliases"])
            if entry["recalibrates"]:
                note = "; ".join(filter(None, (note, f"version {entry['recalibrates']} with a new calibration")))
            if entry["restated"]:
                note = "; ".join(filter(None, (note, f"trained on {days_in_words(entry['restated'])}, restated since")))
            for name in ACCEPTABLE:
                if not entry[name]["passed"]:
                    note = "; ".join(filter(None, (note, *entry[name]["reasons"])))
            table.add_row(as_of, entry["version"], entry["variant"], *metrics, periods, note)
        else:
            table.add_row(as_of, "rejected", entry["variant"], *metrics, "-", entry["reason"], style="dim")
    console.print(table)
