"""Every kind of move of an alias as a piece of work that can be killed and done again, and what is there then.

Belongs here: the state before each, the work as its command, step or tick does it, and a picture of store, MLflow and
Dagster to compare. Does not belong here: killing (`effects`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import dagster as dg

from credit_assets.automation.deployment import deployment_sensor
from credit_assets.cli import moves
from credit_assets.ledger.deployment import ACTOR, ALIASES, Deployment, promoted_by_training
from credit_assets.ledger.reported import alias_key, recover, report_moves
from credit_assets.ml.rules.decisions import Decision, Promotion
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets_tests.support.effects import Effects, counted
from credit_assets_tests.support.registry import NO, YES, day_after, opened, register, trained

D1, D2, D3, D4 = date(2024, 3, 31), date(2024, 4, 30), date(2024, 5, 20), date(2024, 6, 10)
PAST, NOW = date(2024, 5, 10), date(2024, 7, 1)
_EXPERIMENT = "credit_scoring"


@dataclass
class House:
    """Store, MLflow and Dagster of one trial, as a process sees them that has just begun."""

    deployment: Deployment
    instance: dg.DagsterInstance


@dataclass(frozen=True)
class Work:
    """One kind of move: what is there before, and what is done, which must be the same done again."""

    before: Callable[[House], None]
    act: Callable[[House], None]
    promotion: Promotion = "shadow"


@contextmanager
def house(folder: Path, promotion: Promotion) -> Iterator[House]:
    tracking = Tracking(f"sqlite:///{folder}/mlflow.db", _EXPERIMENT, Claims(str(folder / "store")))
    (folder / "dagster").mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
        yield House(opened(tracking, promotion), instance)


def tick(house: House) -> str:
    context = dg.build_sensor_context(instance=house.instance, resources={"deployment": house.deployment})
    found: Any = deployment_sensor()(context)
    return str(found.skip_message or "")


def command(kind: Any, version: str | None = None, start: date = NOW) -> Callable[[House], None]:
    """The verb of the command line."""
    wanted = moves.MoveRequest(kind, version, "ann", "committee of 3 May", start)

    def act(house: House) -> None:
        settings: Any = SimpleNamespace(timezone="UTC")
        with patch.object(moves, "build_resources", lambda _: {"deployment": house.deployment}):
            moves.request_move(settings, house.instance, wanted)

    return act


def training(name: str, as_of: date, decision: Decision) -> Callable[[House], None]:
    """What the daily run does about the version of its day, registering it first."""

    def act(house: House) -> None:
        deployment, start = house.deployment, day_after(as_of)
        deployment.recover()
        there = [one for one in deployment.registry.versions() if one.fingerprint == name]
        version = there[0] if there else register(deployment.registry, name, as_of)
        made = promoted_by_training(deployment.aliases, version, start)
        deployment.after_training(version, start, decision, made=made)
        report_moves(house.instance, deployment.registry)

    return act


def end_of_trial(house: House) -> None:
    """What a finished trial asks for, and the tick that does it."""
    house.deployment.requests.add("promote", "2", by=ACTOR, reason="passed", effective_from=NOW, identity="trial/2")
    tick(house)


def _two(house: House, second: Decision = YES) -> None:
    trained(house.deployment, "a", D1, YES)
    trained(house.deployment, "b", D2, second)


def _on_trial(house: House) -> None:
    _two(house, NO)
    trained(house.deployment, "c", D3)


def _nothing(_: House) -> None:
    pass


WORKS = {
    "rollback from the past": Work(_two, command("rollback", start=PAST), "immediate"),
    "rollback from its first day": Work(_two, command("rollback", start=day_after(D2)), "immediate"),
    "rollback": Work(_two, command("rollback", "1"), "immediate"),
    "promote": Work(_on_trial, command("promote", "3")),
    "approve": Work(_on_trial, command("approve")),
    "reject": Work(_on_trial, command("reject")),
    "first champion": Work(_nothing, training("a", D1, YES)),
    "daily promotion": Work(_two, training("c", D4, YES), "immediate"),
    "trial started": Work(lambda house: _two(house, YES), training("c", D4, NO)),
    "challenger while a trial runs": Work(_on_trial, training("d", D4, NO)),
    "end of a trial": Work(_on_trial, end_of_trial),
}


def picture(house: House) -> dict[str, Any]:
    """What is there, without moments and identities: logs, MLflow, requests, records in Dagster."""
    deployment = house.deployment
    logs = {alias: deployment.aliases.moves(alias) for alias in ALIASES}
    return {
        "logs": {
            alias: [(one.version, one.change, one.history, one.held) for one in log] for alias, log in logs.items()
        },
        "shown": [
            (one.version, one.aliases, one.champion_periods, one.status, _tags(one.tags))
            for one in deployment.registry.shown()
        ],
        "decided": [(one.version, one.aliases, one.champion_periods) for one in deployment.registry.versions()],
        "requests": [(one.kind, one.version) for one in deployment.requests.all()],
        "outcomes": deployment.requests.outcomes(),
        "reported": {alias: _reported(house.instance, alias) for alias in ALIASES},
    }


def _tags(tags: Any) -> dict[str, str]:
    kept = ("promoted_by", "promotion_reason", "archived_for_version", "champion_periods", "status")
    return {name: tags[name] for name in kept if name in tags}


def _reported(instance: dg.DagsterInstance, alias: str) -> list[tuple[Any, ...]]:
    records = instance.fetch_materializations(alias_key(alias), limit=100, ascending=True).records
    found = [record.asset_materialization.metadata for record in records if record.asset_materialization]
    return [tuple(one[name].value for name in ("number", "from", "to", "by", "reason")) for one in found]


def in_force(house: House) -> list[str | None]:
    """The champion of each day, as scores would be made."""
    versions = house.deployment.registry.versions()
    days = [D1 + timedelta(n) for n in range(120)]
    found = [house.deployment.registry.champion_at(day, versions) for day in days]
    return [one.version if one else None for one in found]


def prepared(folder: Path, name: str) -> Path:
    """A folder with what is there before the work."""
    folder.mkdir(parents=True)
    with house(folder, WORKS[name].promotion) as there:
        WORKS[name].before(there)
        recover(there.instance, there.deployment)
    return folder


def main() -> None:
    """`python -m credit_assets_tests.support.moving FOLDER WORK N`: the work, ended by SIGKILL before effect N."""
    folder, name, number = sys.argv[1:]
    with house(Path(folder), WORKS[name].promotion) as there, counted(Effects(int(number), by_signal=True)):
        WORKS[name].act(there)


if __name__ == "__main__":
    main()
