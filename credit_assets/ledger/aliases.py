"""Aliases of the registered model: moving them, and bringing what MLflow shows up to their logs.

Belongs here: making a move, once however many try, and completing one that was cut short. Does not belong here: the log
itself (`alias_log`), which move is allowed (`credit_assets.ledger.deployment`), and the arithmetic of periods
(`credit_assets.ml.rules.periods`).

MLflow sets an alias without looking at what it was, and a move of the champion is several calls: the alias, the period
of the new champion, the period of the former one. So each move is first entered into the alias's log in the store. One
of two movers at once gets the number; the other reads the winner's history and moves on from there. The log is what
holds: who is champion on a day is read from it alone. What MLflow shows is written from the newest entry, by whoever
moves, and read again afterwards: a mover that was overtaken while writing writes the newer state. What one that was
killed left is completed by whoever comes next (`complete`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

from credit_assets.failures import TransientError
from credit_assets.ledger.alias_log import AliasLog, Move, MoveDetails
from credit_assets.ledger.one_look import at_one_look
from credit_assets.ledger.registry import CHAMPION, Registry, Version
from credit_assets.ml.rules.periods import Period, champion_history, ended, holder_now, moved, period_on

_ATTEMPTS = 100


class Aliases:
    """The aliases of one registered model. Costs nothing to construct. Raises as `Tracking` does."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    @at_one_look
    def move(self, name: str, version: str, change: MoveDetails, *, forward_only: bool = False) -> Version:
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

    @at_one_look
    def end(self, name: str, version: str, change: MoveDetails) -> None:
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
        newest = self.log(name).newest()
        return newest.history if newest else self._history_in_tags(name)

    def period_of(self, name: str, day: date) -> Period | None:
        """The period in which a version holds the alias on `day`; None where none does. Costs the same for any day."""
        return period_on(day, self.history(name))

    def moves(self, name: str, since: int = 0) -> list[Move]:
        """Moves of an alias after number `since`, oldest first, with who and why."""
        return self.log(name).moves(since)

    def log(self, name: str) -> AliasLog:
        """An alias's log: another one where the registered model was deleted and made anew."""
        return AliasLog(self.registry.claims, self.registry.scope(), name)

    @at_one_look
    def complete(self) -> list[tuple[str, Move]]:
        """Let MLflow show each newest entry whose mover was killed before it did; return what was completed.

        Where nothing was cut short nothing is written, also where somebody has changed in MLflow what it shows.
        """
        found = []
        for log in self.registry.logs():
            left = log.undone()
            if left and "shown" in left[1]:
                self._show(log, left[0].version)
                found.append((log.alias, left[0]))
        return found

    def _enter(
        self,
        name: str,
        version: str,
        change: MoveDetails,
        after: Callable[[Sequence[Period], Period | None], list[Period] | None],
    ) -> str:
        """Enter a move into the log and show it in MLflow; return who holds the alias then, "" for nobody.

        `after` gives the history after the move from the history and the holder before it, None for no move.
        """
        log = self.log(name)
        for _ in range(_ATTEMPTS):
            newest = log.newest()
            history = newest.history if newest else self._history_in_tags(name)
            holder = holder_now(history)
            changed = after(history, holder)
            if changed is None:
                held = holder.version if holder else ""
                self._show(log, held)
                return held
            move = Move(
                newest.number + 1 if newest else 1,
                version,
                change,
                datetime.now(UTC).isoformat(timespec="seconds"),
                tuple(changed),
                _ever(log, newest, [*history, *changed]),
            )
            if log.enter(move):
                self._show(log, version)
                return version
        raise TransientError(f"alias {name} is being moved by others all the time")

    def _show(self, log: AliasLog, fallback: str) -> None:
        """Write the newest entry of the log into MLflow, until it is the newest still when that is done."""
        name, registry = log.alias, self.registry
        while True:
            newest = log.newest()
            holder = newest.version if newest else fallback
            versions = registry.shown()
            # The new holder before the former one: a day between two periods would have no champion at all.
            for version in sorted(versions, key=lambda v: v.version != holder):
                if version.version == holder and name not in version.aliases:
                    registry.set_alias(name, holder)
                if not holder and name in version.aliases:
                    registry.delete_alias(name)
                if name == CHAMPION and newest is not None:
                    registry.set_tags(version, _tags_after(newest, version))
            after = log.newest()
            if (after.number if after else 0) != (newest.number if newest else 0):
                continue
            # A version that MLflow lost cannot be shown: the entry stays open until it is back.
            if newest is not None and (not holder or holder in {version.version for version in versions}):
                log.done("shown", newest.number)
            return

    def _history_in_tags(self, name: str) -> tuple[Period, ...]:
        """What MLflow knows where the store has no log: it was replaced since."""
        return tuple(champion_history(self.registry.versions())) if name == CHAMPION else ()


def _ever(log: AliasLog, newest: Move | None, periods: Sequence[Period]) -> tuple[str, ...]:
    """Every version that ever held the alias. Entries of old do not say: there every one of them is read, once."""
    before = newest.held if newest else ()
    if before is None:
        before = tuple(move.version for move in log.moves() if move.version)
    return tuple(sorted({*before, *(period.version for period in periods)}, key=int))


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
        if version.status == "champion":
            tags["archived_for_version"] = move.version
        # Last: killed before it, the version is met again as one that is to be archived.
        tags["status"] = "archived"
    return tags
