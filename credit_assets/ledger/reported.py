"""The record of every move in Dagster: one materialization of `model_aliases/<alias>` each, whoever moved.

Belongs here: reporting moves, once each, and where it has got to. Does not belong here: making a move (`aliases`,
`deployment`), and telling people of it (`credit_assets.notify`).

Where it has got to stands among the cursors of Dagster's own daemons, in the database of the instance whose record it
is. No page and no call of its API writes there, while anybody who sees Dagster's pages may report a materialization of
these assets: such an event is not looked at, but for those that say word for word what would be reported now, left by a
process that was killed before it could note that it had.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import dagster as dg

from credit_assets import pages
from credit_assets.ledger.alias_log import AliasLog, Move, newest_scope
from credit_assets.ledger.deployment import ALIASES, Deployment
from credit_assets.ledger.integrity import Integrity
from credit_assets.ledger.one_look import at_one_look
from credit_assets.ledger.registry import Registry
from credit_assets.naming import ALIASES as ALIAS_ASSETS
from credit_assets.naming import PLAIN, Names
from credit_assets.storage.claims import Claims

_EVENTS_A_LOOK = 1000


class _Place(NamedTuple):
    """How far one log is reported, and the newest event of its asset that was looked at by then."""

    log: str
    number: int
    event: int


def recover(instance: dg.DagsterInstance, deployment: Deployment) -> list[str]:
    """Do the rest of every move that was cut short, in MLflow, the store and Dagster; what it was."""
    lines = deployment.recover()
    return lines + [
        f"record of move {move.number} of {alias}" for alias, move in report_moves(instance, deployment.registry)
    ]


@at_one_look
def report_moves(instance: dg.DagsterInstance, registry: Registry) -> list[tuple[str, Move]]:
    """Report each move that was not reported to this instance, oldest first; where none is left MLflow is not asked."""
    scope, reported = newest_scope(registry.claims, registry.model_name), []
    for alias in ALIASES if scope else ():
        log = AliasLog(registry.claims, str(scope), alias)
        place = _place(instance, registry.owner.naming, alias)
        # Another log (the registered model was deleted and made anew) counts from the beginning.
        since = place.number if place.log == log.folder else 0
        moves = log.moves(since - 1)
        if not moves or moves[-1].number <= since:
            continue
        key, before = alias_key(alias, registry.owner.naming), {move.number: move for move in moves}
        events = list(_events(instance, key, place.event))
        there, newest = [reported for _, reported in events], max((at for at, _ in events), default=place.event)
        for move in moves:
            if move.number <= since:
                continue
            record = record_of(log, move, before.get(move.number - 1))
            if record not in there:
                link = {"mlflow_version": registry.version_link(move.version)} if move.version else {}
                event = dg.AssetMaterialization(key, metadata=pages.entries(record | link))
                instance.report_runless_asset_event(event)
                reported.append((alias, move))
            _note(instance, registry.owner.naming, alias, _Place(log.folder, move.number, newest))
    if reported:
        Integrity(registry).note()
    return reported


def reported_up_to(instance: dg.DagsterInstance, registry: Registry) -> list[tuple[str, int]]:
    """How far moves are reported to this instance: for each alias the log and the number, as it is noted there."""
    return [_place(instance, registry.owner.naming, alias)[:2] for alias in ALIASES]


def reported_move(
    instance: dg.DagsterInstance, claims: Claims, naming: Names, record: dg.EventLogRecord
) -> dict[str, Any] | None:
    """The move that an event is the report of, as its log has it; None of any other event, and of a second one that
    says the same: anybody who sees Dagster's pages may report one, and nobody is told of a move that was not made.
    """
    event = record.asset_materialization
    scope = newest_scope(claims, naming.registered_model)
    if event is None or scope is None:
        return None
    log, reported = AliasLog(claims, scope, event.asset_key.path[-1]), _move_of(record)
    by_number = {int(name): name for name in log.names()}
    number = reported.get("number")
    if not isinstance(number, int) or number not in by_number:
        return None
    former = by_number.get(number - 1)
    move = record_of(log, log.read(by_number[number]), log.read(former) if former else None)
    if move != reported:
        return None
    first = next(at for at, other in _events(instance, event.asset_key, 0) if other == reported)
    return move if first == record.storage_id else None


def alias_key(alias: str, naming: Names = PLAIN) -> dg.AssetKey:
    return dg.AssetKey(naming.asset(ALIAS_ASSETS, alias))


def record_of(log: AliasLog, move: Move, former: Move | None) -> dict[str, Any]:
    """What the report of a move says."""
    change = move.change
    return {
        "alias": log.alias,
        "number": move.number,
        "kind": change.kind.value,
        "from": (former.version if former else "") or "none",
        "to": move.version or "none",
        "by": change.by,
        "reason": change.reason,
        "effective_from": change.effective_from.isoformat(),
        "at": move.at,
        "log": log.folder,
        **({"hash": move.hash} if move.hash else {}),
    }


def _events(instance: dg.DagsterInstance, key: dg.AssetKey, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """What the events of an asset after a position say, each with its position."""
    while True:
        wanted = dg.AssetRecordsFilter(key, after_storage_id=after)
        records = instance.fetch_materializations(wanted, limit=_EVENTS_A_LOOK, ascending=True).records
        for record in records:
            after = record.storage_id
            yield after, _move_of(record)
        if len(records) < _EVENTS_A_LOOK:
            return


def _move_of(record: dg.EventLogRecord) -> dict[str, Any]:
    """What an event says, in the values that it was reported with."""
    event = record.asset_materialization
    values = {
        name: entry.value for name, entry in (event.metadata if event else {}).items() if name != "mlflow_version"
    }
    return {name: pages.whole_hashes(value) if isinstance(value, str) else value for name, value in values.items()}


def _key(naming: Names, alias: str) -> str:
    return f"credit-assets/reported-moves/{'/'.join(naming.asset(ALIAS_ASSETS, alias))}"


def _place(instance: dg.DagsterInstance, naming: Names, alias: str) -> _Place:
    key = _key(naming, alias)
    written: Mapping[str, str] = instance.daemon_cursor_storage.get_cursor_values({key})
    try:
        log, number, event = json.loads(written[key])
        return _Place(str(log), int(number), int(event))
    except (KeyError, ValueError, TypeError):
        # None yet, of a release before there was one, or damaged: all events are looked at, and none comes twice.
        return _Place("", 0, 0)


def _note(instance: dg.DagsterInstance, naming: Names, alias: str, place: _Place) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_key(naming, alias): json.dumps(place)})
