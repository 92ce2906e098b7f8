"""Aliases of the registered model: who holds which from when to when, and every move in a numbered log.

Belongs here: moving an alias, its log and its history. Does not belong here: which move is allowed
(`credit_assets.ledger.deployment`), and the arithmetic of periods (`credit_assets.ml.rules.periods`).

MLflow sets an alias without looking at what it was, and a move of the champion is several calls: the alias, the period
of the new champion, the period of the former one. So each move is first claimed as the next entry of a numbered log in
the store (`mlflow-aliases/<model>/<alias>/000001`), which holds the whole history after it. One of two movers at once
gets the number; the other reads the winner's history and moves on from there. What MLflow shows is written from the
newest entry, by whoever moves, and read again afterwards: a mover that was overtaken while writing writes the newer
state. One that was killed between claim and writing is completed by the next call with the same or another version, as
a step's retry makes it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ledger.registry import CHAMPION, Registry, Version
from credit_assets.ml.rules.periods import Period, champion_history, ended, holder_now, moved, period_on

_ATTEMPTS = 100


class MoveKind(StrEnum):
    """What a move means."""

    PASSED = "passed its gates"
    PROMOTE = "promote"
    APPROVE = "approve"
    ROLLBACK = "rollback"
    TRIAL_STARTED = "trial started"
    TRIAL_ENDED = "trial ended"
    OTHER = "other"


@dataclass(frozen=True)
class Change:
    """What whoever moves an alias gives with it."""

    effective_from: date
    kind: MoveKind
    by: str
    reason: str
    """For people: nothing is read out of it."""


class Move(NamedTuple):
    """One entry of an alias's log."""

    number: int
    version: str
    """Empty where the alias was taken away."""
    change: Change
    at: str
    history: tuple[Period, ...]
    """Oldest first: the whole history after this move."""


class Aliases:
    """The aliases of one registered model. Costs nothing to construct. Raises as `Tracking` does."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def move(self, name: str, version: str, change: Change, *, forward_only: bool = False) -> Version:
        """Give the alias to the version from the change's first day on; return the version that holds it afterwards.

        Days before keep their holder, days from then on lose any other. The alias itself moves now, also where that day
        lies ahead. Calling it again changes nothing. With `forward_only` the move is left where the holder has a newer
        as-of date, judged in the same step as the move: two runs at once cannot turn time back.
        """
        target, start = self.registry.version(version), change.effective_from

        def after(history: Sequence[Period], holder: Period | None) -> list[Period] | None:
            if holder is None:
                return moved(history, target.version, start)
            stays = holder.version == target.version and holder.first <= start
            if forward_only and holder.version != target.version:
                there = {v.version: v for v in self.registry.versions()}.get(holder.version)
                stays = there is not None and there.as_of > target.as_of
            return None if stays else moved(history, target.version, start)

        return self.registry.version(self._enter(name, target.version, change, after))

    def end(self, name: str, version: str, change: Change) -> None:
        """Take the alias from `version`, whose last day is the one before the change.

        Changes nothing where another version, or none, holds it: calling it again is safe.
        """

        def after(history: Sequence[Period], holder: Period | None) -> list[Period] | None:
            if holder is None or holder.version != version:
                return None
            return ended(history, change.effective_from)

        self._enter(name, "", change, after)

    def history(self, name: str) -> tuple[Period, ...]:
        """Every period of an alias, oldest first."""
        newest = self._newest(self.log_of(name))
        return newest.history if newest else self._history_in_tags(name)

    def period_of(self, name: str, day: date) -> Period | None:
        """The period in which a version holds the alias on `day`; None where none does. Costs the same for any day."""
        return period_on(day, self.history(name))

    def moves(self, name: str, since: int = 0) -> list[Move]:
        """Moves of an alias after number `since`, oldest first, with who and why."""
        folder = self.log_of(name)
        return [self.entry(folder, entry) for entry in self.registry.claims.names(folder) if int(entry) > since]

    def log_of(self, name: str) -> str:
        """Name of an alias's log: another one where the registered model was deleted and made anew."""
        return f"mlflow-aliases/{self.registry.scope()}/{name}"

    def _enter(
        self,
        name: str,
        version: str,
        change: Change,
        after: Callable[[Sequence[Period], Period | None], list[Period] | None],
    ) -> str:
        """Enter a move into the log and show it in MLflow; return who holds the alias then, "" for nobody.

        `after` gives the history after the move from the history and the holder before it, None for no move.
        """
        folder = self.log_of(name)
        for _ in range(_ATTEMPTS):
            newest = self._newest(folder)
            history = newest.history if newest else self._history_in_tags(name)
            holder = holder_now(history)
            changed = after(history, holder)
            if changed is None:
                held = holder.version if holder else ""
                self._show(name, folder, held)
                return held
            number = newest.number + 1 if newest else 1
            entry = json.dumps(
                {
                    "id": uuid.uuid4().hex,
                    "version": version,
                    "effective_from": change.effective_from.isoformat(),
                    "kind": change.kind,
                    "reason": change.reason,
                    "by": change.by,
                    "at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "history": [[v, a.isoformat(), b.isoformat() if b else None] for v, a, b in changed],
                }
            )
            if self.registry.claims.claim(f"{folder}/{number:06d}", entry) == entry:
                self._show(name, folder, version)
                return version
        raise TransientError(f"alias {name} is being moved by others all the time")

    def _show(self, name: str, folder: str, fallback: str) -> None:
        """Write the newest entry of the log into MLflow, until it is the newest still when that is done."""
        while True:
            newest = self._newest(folder)
            holder = newest.version if newest else fallback
            versions = self.registry.versions()
            # The new holder before the former one: a day between two periods would have no champion at all.
            for version in sorted(versions, key=lambda v: v.version != holder):
                if version.version == holder and name not in version.aliases:
                    self.registry.set_alias(name, holder)
                if not holder and name in version.aliases:
                    self.registry.delete_alias(name)
                if name == CHAMPION and newest is not None:
                    self.registry.set_tags(version, _tags_after(newest, version))
            after = self._newest(folder)
            if (after.number if after else 0) == (newest.number if newest else 0):
                return

    def _newest(self, folder: str) -> Move | None:
        entries = self.registry.claims.names(folder)
        return self.entry(folder, entries[-1]) if entries else None

    def entry(self, folder: str, entry: str) -> Move:
        """One entry of a log. Raises PermanentError where it is damaged."""
        text = self.registry.claims.get(f"{folder}/{entry}")
        try:
            record = json.loads(text or "")
            start = date.fromisoformat(record["effective_from"])
            periods = [(v, a, b and date.fromisoformat(b)) for v, a, b in record["history"]]
            return Move(
                number=int(entry),
                version=str(record["version"]),
                change=Change(start, _kind(record), record["by"], record["reason"]),
                at=record["at"],
                history=tuple(Period(str(v), date.fromisoformat(a), b) for v, a, b in periods),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(f"entry {entry} of {folder} in the store is damaged ({error})") from error

    def _history_in_tags(self, name: str) -> tuple[Period, ...]:
        """What MLflow knows where the store has no log: it was replaced since."""
        return tuple(champion_history(self.registry.versions())) if name == CHAMPION else ()


def _kind(record: dict[str, Any]) -> MoveKind:
    """The kind of a move. Entries of old have none: there it stands before the colon of the reason."""
    kind = record.get("kind") or str(record["reason"]).partition(":")[0]
    return MoveKind(kind) if kind in set(MoveKind) else MoveKind.OTHER


def _tags_after(move: Move, version: Version) -> dict[str, str]:
    """Tags of a version that the champion's history decides."""
    periods = [[a.isoformat(), b.isoformat() if b else None] for v, a, b in move.history if v == version.version]
    tags = {}
    if periods or version.champion_periods:
        tags["champion_periods"] = json.dumps(periods)
    if move.version == version.version:
        tags |= {
            "status": "champion",
            "promoted_by": move.change.by,
            "promoted_at": move.at,
            "promotion_reason": move.change.reason,
        }
    elif version.status == "champion" or periods:
        tags["status"] = "archived"
        if version.status == "champion":
            tags["archived_for_version"] = move.version
    return tags
