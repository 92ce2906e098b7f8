"""What is there and which model is in force: records for `--json`, tables for people.

Belongs here: reading and showing. Does not belong here: moving anything (`moves`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from credit_assets.assets.policies import judge_kept
from credit_assets.assets.recheck import days_in_words
from credit_assets.ledger.deployment import ACCEPTABLE
from credit_assets.ledger.kept import Kept
from credit_assets.ledger.recorded import METRICS
from credit_assets.ledger.registry import RECALIBRATES, Version
from credit_assets.ledger.restated import Restatements
from credit_assets.ml.rules.decisions import summary_of
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

# Columns from which on the Gini stands beside the AUC, whose double it is.
_WIDE = 100
_TITLES = {"gini": "Gini", "ks": "KS", "brier": "Brier", "ece": "ECE"}


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
                    "interval": _interval(trained),
                    "reason": summary_of(record["reasons"]),
                }
            )
    versions = sorted(registry.versions(), key=lambda v: int(v.version))
    kept, stale = Kept(store), {one.version: one.to_record() for one in Restatements(store).stale().versions}
    return {
        "model": registry.model_name,
        "versions": [
            version_record(v)
            | kept_record(settings, kept, v)
            | {"restated": stale.get(v.version), "interval": interval_of(store, v)}
            for v in versions
        ],
        "rejected": rejected,
    }


def interval_of(store: Store, version: Version) -> list[float] | None:
    """The 95% interval of a version's AUC, from the record of its training; None where that was replaced since."""
    path = store.path("trained_model", f"{version.as_of}.json")
    trained = store.read_record(path) if path.exists() else {}
    return _interval(trained) if trained.get("fingerprint") == version.fingerprint else None


def _interval(trained: Mapping[str, Any]) -> list[float] | None:
    found = [trained["evaluation"].get(name) for name in ("auc_ci_low", "auc_ci_high")]
    return None if None in found else found


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


def print_models(record: dict[str, Any], console: Console) -> None:
    if not record["versions"] and not record["rejected"]:
        console.print("No model yet: `credit-assets replay --start DAY --end DAY` trains one.")
        return
    rows = [(v["as_of"], v) for v in record["versions"]] + [(r["as_of"], r) for r in record["rejected"]]
    rows.sort(key=lambda row: (row[0], int(row[1].get("version") or 0)))
    shown = [name for name in METRICS if name != "auc" and (name != "gini" or console.width >= _WIDE)]
    table = Table(
        "as of",
        "version",
        "variant",
        "AUC (95%)",
        *(_TITLES[name] for name in shown),
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in table.columns:
        column.no_wrap = True
    for as_of, entry in rows:
        metrics = [f"{entry['metrics'][name]:.3f}" if name in entry["metrics"] else "-" for name in shown]
        style = "bold" if "champion" in entry.get("aliases", ()) else "" if "version" in entry else "dim"
        table.add_row(as_of, entry.get("version", "-"), entry["variant"], _auc(entry), *metrics, style=style)
    console.print(table)
    console.print()
    notes = Table.grid(padding=(0, 2))
    for as_of, entry in rows:
        notes.add_row(f"version {entry['version']}" if "version" in entry else as_of, Text(_note(entry)))
    console.print(notes)


def _auc(entry: Mapping[str, Any]) -> str:
    if (auc := entry["metrics"].get("auc")) is None:
        return "-"
    return f"{auc:.3f}" + (" ({:.3f} .. {:.3f})".format(*entry["interval"]) if entry["interval"] else "")


def _note(entry: Mapping[str, Any]) -> str:
    """What is to be known of a version, or why a model was rejected."""
    if "version" not in entry:
        return f"rejected: {entry['reason']}"
    note = [", ".join(entry["aliases"]) or "no alias"]
    note += [f"champion {first} .. {last or 'now'}" for first, last in entry["in_force"]]
    if entry["recalibrates"]:
        note.append(f"version {entry['recalibrates']} with a new calibration")
    if entry["restated"]:
        note.append(f"trained on {days_in_words(entry['restated'])}, restated since")
    for name in ACCEPTABLE:
        if not entry[name]["passed"]:
            note += entry[name]["reasons"]
    return "; ".join(note)
