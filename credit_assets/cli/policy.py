"""The policy in force, and what another one would have decided, from the records in the store.

Belongs here: reading and showing. Does not belong here: any rule, and judging again
(`credit_assets.ml.reports.policy_replay`). Nothing here writes, and nothing asks MLflow.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from credit_assets.failures import PermanentError
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.data.policies.files import load_policy
from credit_assets.ml.reports.policy_replay import RecordedDay, replay_day, replay_trial, totals
from credit_assets.ml.rules.model_rules import MODEL_RULES
from credit_assets.settings import Settings, setting_sources, variable
from credit_assets.settings.policies import OVERRIDES, policy_of, source_of
from credit_assets.storage.store import Store

_SHOWN = 12
"""Characters of a version that people read."""


def policy_record(settings: Settings) -> dict[str, Any]:
    """The policy in force, each key with where its value comes from, and the rules."""
    policy = policy_of(settings)
    return {
        "version": policy.version,
        "policy": policy.model_dump(mode="json"),
        "keys": keys_of(settings, policy),
        "rules": [
            {"rule": rule.name, "severity": rule.severity, "description": rule.description} for rule in MODEL_RULES
        ],
    }


def keys_of(settings: Settings, policy: Policy) -> list[dict[str, Any]]:
    """Every key of every section, in the order of the file."""
    sources, settings_of = setting_sources(settings.portfolio), {place: name for name, place in OVERRIDES.items()}
    of_file = settings.portfolio_contract.policy
    found = []
    for section, block in Policy.model_fields.items():
        for key, field in block.annotation.model_fields.items():  # type: ignore[union-attr]
            setting, more = settings_of.get((section, key)), field.json_schema_extra or {}
            given = "portfolio file" if key in getattr(of_file, section).model_fields_set else "default"
            found.append(
                {
                    "key": f"{section}.{key}",
                    "value": policy.model_dump(mode="json")[section][key],
                    "default": field.get_default(call_default_factory=True),
                    "unit": more.get("unit", ""),
                    "variable": variable(setting) if setting else None,
                    "source": source_of(settings, setting, sources[setting]) if setting else given,
                    "meaning": field.description,
                }
            )
    return found


def simulation_record(settings: Settings, file: Path, first: date | None, last: date | None) -> dict[str, Any]:
    """The past decisions of first .. last under the policy of a file.

    Raises PolicyError where the file cannot be used, PermanentError where a record is damaged or the days are none.
    """
    if first and last and first > last:
        raise PermanentError(f"--from {first} lies after --to {last}")
    policy, store = load_policy(file), Store(settings.store)

    def inside(asset: str) -> list[str]:
        return [day for day in store.days(asset) if str(first or "") <= day <= str(last or "9999-12-31")]

    names = ("trained_model", "registered_model", "deployed_model")
    there = {name: set(inside(name)) for name in names}
    days = sorted(set.union(*there.values()))
    gates = {day: footer.gates for day, footer in store.footers("training_set", days).items()}
    decisions: list[dict[str, Any]] = []
    for day in days:
        found = {
            name: store.read_record(store.path(name, f"{day}.json")) if day in there[name] else None for name in names
        }
        trained, registered, deployed = (found[name] for name in names)
        decisions += replay_day(RecordedDay(day, gates.get(day), trained, registered, deployed), policy)
    for day in inside("shadow_report"):
        report = store.read_record(store.path("shadow_report", f"{day}.json"))
        if (one := replay_trial(report, policy, settings.promotion)) is not None:
            decisions.append(one)
    return {
        "policy": policy.to_record(),
        "in_force": policy_of(settings).version,
        "differs": _differences(policy_of(settings), policy),
        "decisions": decisions,
        "totals": totals(decisions),
    }


def _differences(one: Policy, other: Policy) -> dict[str, dict[str, Any]]:
    """The keys in which two policies differ."""
    before, after = one.model_dump(mode="json"), other.model_dump(mode="json")
    return {
        f"{section}.{key}": {"in_force": value, "simulated": after[section][key]}
        for section, keys in before.items()
        for key, value in keys.items()
        if value != after[section][key]
    }


def print_policy(record: dict[str, Any], console: Console) -> None:
    console.print(f"policy {record['version'][:_SHOWN]}")
    key, of_variable = Column("key", no_wrap=True), Column("variable", no_wrap=True)
    table = Table(key, "value", "unit", "source", of_variable, "meaning")
    for one in record["keys"]:
        value, source = str(one["value"]), one["source"]
        style = None if source == "default" else "bold"
        table.add_row(
            one["key"], value, one["unit"] or "-", source, one["variable"] or "-", one["meaning"], style=style
        )
    console.print(table)
    rules = Table("rule of trained_model", "a failure", "what it says")
    for rule in record["rules"]:
        fails = "stops the run" if rule["severity"] == "error" else "rejects the model"
        rules.add_row(rule["rule"], fails, rule["description"])
    console.print(rules)


def print_simulation(record: dict[str, Any], console: Console) -> None:
    console.print(f"policy {record['policy']['version'][:_SHOWN]} beside {record['in_force'][:_SHOWN]}, in force")
    for key, values in record["differs"].items():
        console.print(f"  {key}: {values['simulated']} instead of {values['in_force']}", markup=False)
    if not record["decisions"]:
        console.print("No decision is recorded of these days.")
        return
    table = Table("as of", "decision on", "then", "now", "now by", "not recorded then")
    for one in record["decisions"]:
        by = "; ".join(f"{rule['rule']}: {'; '.join(rule['why']) or '-'}" for rule in one["now"]["by"])
        missing = ", ".join(one["not_recorded"])
        style = "bold" if one["changed"] else "dim"
        table.add_row(
            one["as_of"], one["what"], one["then"]["decision"], one["now"]["decision"], by, missing, style=style
        )
    console.print(table)
    for what, counts in record["totals"].items():
        then, now = (", ".join(f"{n} {name}" for name, n in counts[when].items()) for when in ("then", "now"))
        console.print(f"{what}: then {then}; now {now}; {counts['changed']} otherwise than then", markup=False)
    for line in (
        "Each day is judged by its own evidence, beside the champion of then: what another champion would have been "
        "beaten by is not recorded.",
        "What was not recorded then counts neither for nor against. Gates of the training set stand as they were "
        "judged. Variables do not override the keys of the file. Nothing was changed.",
    ):
        console.print(line, style="dim", markup=False)
