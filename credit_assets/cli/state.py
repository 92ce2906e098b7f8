"""What is there and which model is in force, as a record: for `status`, and what `doctor` takes from it.

Belongs here: reading. Does not belong here: showing it to people (`status`), and moving anything (`moves`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from credit_assets.assets.accounts import table_accounts
from credit_assets.assets.conventions import asset_key
from credit_assets.assets.due import outlook
from credit_assets.assets.recheck import versions_in_words
from credit_assets.assets.stored_days import ScoredDays
from credit_assets.automation.jobs import DAILY_SCHEDULE, DAILY_TIME
from credit_assets.build import declared
from credit_assets.cli.models import version_record
from credit_assets.failures import PermanentError, TransientError
from credit_assets.instance.embedded_reads import Readable
from credit_assets.instance.own_runs import own_runs
from credit_assets.instance.ownership import changed_since
from credit_assets.instance.statuses import ended_ticks, is_on
from credit_assets.ledger import recorded
from credit_assets.ledger.deployment import SHADOW
from credit_assets.ledger.registry import CHAMPION
from credit_assets.ledger.restated import Restatements
from credit_assets.ml.data.extensions import SCORING, why_other
from credit_assets.ml.rules.decisions import summary_of
from credit_assets.ml.rules.due import why_not_due
from credit_assets.ml.rules.periods import holder_now
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.counted import CountedStore
from credit_assets.storage.store import Store
from credit_assets.tags import DAGSTER_PARTITION_TAG, RANGE_END_TAG
from credit_assets.warehouse import open_warehouse

_GATED = ("raw_loan_data", "loan_outcomes", "training_set")
# Daemons are heard of every half a minute; Dagster itself waits for half an hour before it says that one is gone.
_SILENT_SECONDS = 300.0


def status_record(settings: Settings, instance: Readable) -> dict[str, Any]:
    """Partitions by asset, what of them is scored, when a model can be made, champion, monitoring, what ticks, latest
    runs, and what of all this somebody has to look at.
    """
    store = CountedStore(settings.store)
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
        if row.name in gated_of(settings):
            assets[row.name] |= rejected_record(store, row.name)
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
    record = {
        "home": str(settings.home_dir),
        "portfolio": settings.portfolio_contract.name,
        "assets": assets,
        "accounts": accounts_record(settings, store),
        "training": outlook(settings, store).to_record(),
        "restated": restated_record(store, {"champion": champion, "shadow": shadow}),
        "warnings": [*changed_since(settings), *extension_warnings(champion, shadow)],
        "champion": champion,
        "shadow": shadow,
        "last_decision": _last_decision(store),
        "gates": [_gates_of(store, asset, day) for asset in _GATED if (day := _newest(store, asset))],
        "drift": _report(store, "drift_report"),
        "performance": _report(store, "performance_report"),
        "trial": _report(store, "shadow_report") if shadow else None,
        "runs": runs,
        "alerts_to": len(settings.alert_targets),
        **ticking(settings, instance),
    }
    return record | {"alarms": list(_alarms(record))}


def _newest(store: Store, asset: str) -> str | None:
    days = store.days(asset)
    return days[-1] if days else None


def _report(store: Store, asset: str) -> dict[str, Any] | None:
    day = _newest(store, asset)
    return store.read_record(store.path(asset, f"{day}.json")) if day else None


def _last_decision(store: Store) -> dict[str, Any] | None:
    """What became of the newest as-of date for which a model was made."""
    for day in reversed(store.days("registered_model")):
        found = store.read_record(store.path("registered_model", f"{day}.json"))
        if found["decision"] in ("registered", "rejected"):
            reason = summary_of(found["reasons"])
            return {name: found.get(name) for name in ("as_of", "decision", "version")} | {"reason": reason}
    return None


def _gates_of(store: Store, asset: str, day: str) -> dict[str, Any]:
    found = store.footers(asset, [day], damaged_too=False).get(day)
    gates = found.gates if found else ()
    return {
        "asset": asset,
        "day": day,
        "gates": len(gates),
        "failed": [gate.message() for gate in gates if not gate.passed],
        "rejected": bool(found and found.rejected) and not why_not_due(gates),
    }


def ticking(settings: Settings, instance: Readable) -> dict[str, Any]:
    """The daemon, the daily schedule, and sensors that failed at their last tick."""
    beats = [one.timestamp for one in instance.get_daemon_heartbeats().values()]
    zone, now = ZoneInfo(settings.timezone), datetime.now(ZoneInfo(settings.timezone))
    silent = now.timestamp() - max(beats) if beats else None
    states = {state.instigator_name: state for state in instance.all_instigator_state()}
    defined = declared(settings)
    daily = settings.naming.dagster(DAILY_SCHEDULE)
    day = now.date() if now.time() < DAILY_TIME else now.date() + timedelta(1)
    # States outlive the code that made them, and those of other portfolios stand beside them.
    on = [state for name, state in states.items() if name in defined and is_on(state, defined[name])]
    failing = []
    for state in on:
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=ended_ticks())
        failing += [state.instigator_name for tick in ticks if tick.status.value == "FAILURE"]
    return {
        "daemon": {
            "running": silent is not None and silent < _SILENT_SECONDS,
            "last_heard": datetime.fromtimestamp(max(beats), zone).isoformat("T", "seconds") if beats else None,
        },
        "schedule": {
            "name": daily,
            "on": is_on(states.get(daily), defined[daily]),
            "next": datetime.combine(day, DAILY_TIME, zone).isoformat("T", "minutes"),
        },
        "sensors": {"on": len(on), "failing": sorted(failing)},
    }


def _alarms(record: Mapping[str, Any]) -> Iterator[str]:
    """What somebody has to look at, worst first."""
    for one in record["gates"]:
        if one["rejected"]:
            yield f"{one['asset']} {one['day']} is rejected: {'; '.join(one['failed'])}"
    yield from record["warnings"]
    yield from (
        account["description"]
        for account in record["accounts"].values()
        if isinstance(account, dict) and account["verdict"] != "passed"
    )
    yield from stale_lines(record["restated"])
    drift = record["drift"]
    if drift and drift["verdict"] == "shifted":
        yield f"drift on {drift['day']}: {', '.join(drift['shifted'])} shifted"
    newest: dict[str, Mapping[str, Any]] = {}
    for run in record["runs"]:
        newest.setdefault(run["job"], run)
    for run in newest.values():
        if run["status"] == "FAILURE":
            yield f"the last run of {run['job']} failed ({run['partition'] or run['run'][:8]}): the Dagster UI says why"
    if failing := record["sensors"]["failing"]:
        yield f"failed at their last tick: {', '.join(failing)}"
    if not record["daemon"]["running"] and (record["schedule"]["on"] or record["sensors"]["on"]):
        yield "schedules or sensors are on and no daemon ticks them: start `credit-assets dev`, or look at yours"


def extension_warnings(*models: Mapping[str, Any] | None) -> list[str]:
    """Of the models in force those that cannot score here: an extension of theirs is absent, or another one now."""
    return [
        f"version {model['version']} ({', '.join(model['aliases'])}) cannot score here: {why}"
        for model in models
        if model and (why := why_other(one for one in model["extensions"] if one["kind"] in SCORING))
    ]


def accounts_record(settings: Settings, store: Store) -> dict[str, Any]:
    """Every row of the warehouse's two tables by what became of it, and the verdict on each; or why it is not known."""
    from credit_assets.ml.rules.account_gates import account_gate

    if not settings.warehouse_exists:
        return {"problem": "no loans yet"}
    limits = settings.portfolio_contract.gates
    try:
        warehouse = open_warehouse(settings.warehouse, settings.timezone)
        accounts = table_accounts(settings, warehouse, store)
    except (PermanentError, TransientError) as error:
        return {"problem": str(error)}
    found: dict[str, Any] = {}
    for asset, account in accounts.items():
        gate = account_gate([account], limits)
        found[asset] = {**account.to_record(), "verdict": gate.verdict, "description": gate.message()}
    return found


def gated_of(settings: Settings) -> tuple[str, ...]:
    """The assets whose days gates judge, the training set among them."""
    return (*settings.graph.gated, "training_set")


def rejected_record(store: Store, asset: str) -> dict[str, Any]:
    """How many days of an asset are there with the verdict of a gate that rejects them, and the last of them. Dagster
    counts none of them as made.
    """
    days = [day for day, found in store.row_counts(asset, store.days(asset)).items() if found.rejected]
    return {"rejected": len(days), "last_rejected": max(days, default=None)}


def rejected_line(asset: str, record: Mapping[str, Any]) -> str:
    """The sentence of it; "" where none is rejected."""
    if not (count := record.get("rejected")):
        return ""
    return f"{asset}: {count:,} day{'s' * (count > 1)} rejected by gates, the last {record['last_rejected']}"


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


def restated_record(store: Store, holders: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Restated days that are only reported, what is stale of them, and the versions that saw them, holders of aliases
    first.
    """
    record = Restatements(store).stale().to_record()
    for one in record["versions"]:
        one["aliases"] = [alias for alias, held in holders.items() if held and held["version"] == one["version"]]
    record["versions"].sort(key=lambda one: (not one["aliases"], -int(one["version"])))
    return record


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
