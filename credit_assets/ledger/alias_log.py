"""The log of an alias: one numbered entry a move, each with the whole history after it. What it says is so.

Belongs here: reading entries, the one place that writes them, and the marks of what has followed from an entry. Does
not belong here: which move is made (`aliases`, `deployment`), and what MLflow shows (`registry`).

Entries are claims (`mlflow-aliases/<model>/<alias>/000001`): one of two movers at once gets the number, and none is
changed. What follows from an entry, MLflow showing it and the trial being settled, is done by whoever entered it, and a
mark beside the log says that it was (`mlflow-aliases-done/<model>/<alias>/<step>/000001`). An entry without its mark
was cut short; whoever comes next does the rest. So it costs a few small reads an alias to know that nothing is left.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from credit_assets.failures import PermanentError
from credit_assets.ml.rules.periods import Period
from credit_assets.storage.chain import HASH, Chain
from credit_assets.storage.claims import Claims

LOGS, _DONE = "mlflow-aliases", "mlflow-aliases-done"
_TRIAL = "shadow"
Step = Literal["shown", "settled"]
"""What follows from an entry: MLflow shows it; the trial beside the champion is the one that it leaves."""


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
class MoveDetails:
    """What whoever moves an alias gives with it."""

    effective_from: date
    kind: MoveKind
    by: str
    reason: str
    """For people: nothing is read out of it."""
    request: int = 0
    """Number of the request that asked for it, by which one that was cut short finds its move again; 0 without one."""


class Move(NamedTuple):
    """One entry of an alias's log."""

    number: int
    version: str
    """Empty where the alias was taken away."""
    change: MoveDetails
    at: str
    history: tuple[Period, ...]
    """Oldest first: the whole history after this move."""
    held: tuple[str, ...] | None = None
    """Every version that ever held the alias, also one whose days were all taken back; None in entries of old."""
    hash: str = ""
    """Of the entry; "" of one of before entries were chained."""


class AliasLog:
    """The log of one alias of one registered model, born once (`scope_of`). Raises as `Claims` does."""

    def __init__(self, claims: Claims, scope: str, alias: str) -> None:
        self.claims, self.scope, self.alias = claims, scope, alias
        self.folder = f"{LOGS}/{scope}/{alias}"

    def names(self) -> list[str]:
        """The names of the entries, oldest first."""
        return sorted((name for name in self.claims.names(self.folder) if name.isdecimal()), key=int)

    def newest(self) -> Move | None:
        """The entry that holds now; None where the alias was never moved."""
        names = self.names()
        return self.read(names[-1]) if names else None

    def moves(self, since: int = 0) -> list[Move]:
        """Moves after number `since`, oldest first, with who and why."""
        return [self.read(name) for name in self.names() if int(name) > since]

    def backwards(self) -> Iterator[Move]:
        """All moves, newest first, each read when it is asked for."""
        yield from map(self.read, reversed(self.names()))

    def read(self, name: str) -> Move:
        """One entry. Raises PermanentError where it is damaged."""
        text = self.claims.text(f"{self.folder}/{name}")
        try:
            record = json.loads(text or "")
            start, held = date.fromisoformat(record["effective_from"]), record.get("held")
            return Move(
                number=int(name),
                version=str(record["version"]),
                change=MoveDetails(start, _kind(record), record["by"], record["reason"], int(record.get("request", 0))),
                at=record["at"],
                history=_periods(record["history"]),
                held=None if held is None else tuple(map(str, held)),
                hash=str(record.get(HASH, "")),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(f"entry {name} of {self.folder} in the store is damaged ({error})") from error

    def enter(self, move: Move) -> bool:
        """Write an entry; whether it is there now. False where another mover has the number."""
        entry = Chain(self.claims, self.folder).sealed(
            {
                "id": uuid.uuid4().hex,
                "version": move.version,
                "effective_from": move.change.effective_from.isoformat(),
                "kind": move.change.kind,
                "reason": move.change.reason,
                "by": move.change.by,
                "request": move.change.request,
                "at": move.at,
                "history": [[v, a.isoformat(), b.isoformat() if b else None] for v, a, b in move.history],
                "held": list(move.held or ()),
            },
            move.number,
        )
        return self.claims.claim(f"{self.folder}/{move.number:06d}", entry) == entry

    # What has followed from an entry

    def is_done(self, step: Step, number: int) -> bool:
        """Whether the step has followed from the entry of this number."""
        return self.claims.text(self._mark(step, number)) is not None

    def done(self, step: Step, number: int) -> None:
        """Mark that it has. To be called when it is through."""
        self.claims.claim(self._mark(step, number), step)

    def undone(self) -> tuple[Move, list[Step]] | None:
        """The newest entry and what has not followed from it yet; None where nothing is left."""
        newest = self.newest()
        if newest is None:
            return None
        steps: list[Step] = ["shown"]
        # Entries of old have no marks: the trial was looked at by whatever came since. One that began settles nothing.
        if newest.held is not None and not (self.alias == _TRIAL and newest.version):
            steps.append("settled")
        left = [step for step in steps if not self.is_done(step, newest.number)]
        return (newest, left) if left else None

    def _mark(self, step: Step, number: int) -> str:
        return f"{_DONE}/{self.scope}/{self.alias}/{step}/{number:06d}"


def scope_of(model_name: str, born: int) -> str:
    """Name and birth of the registered model, by which its logs are called."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', model_name)}-{born}"


def newest_scope(claims: Claims, model_name: str) -> str | None:
    """The scope of the newest registered model of this name that has a log, without a look into MLflow; None without
    one. A model that was deleted and made anew has another log, named by its birth.
    """
    return max(scopes_of(claims, model_name), key=lambda scope: int(scope.rpartition("-")[2]), default=None)


def scopes_of(claims: Claims, model_name: str) -> list[str]:
    """Of every registered model that ever had this name and a log."""
    name = scope_of(model_name, 0).removesuffix("-0")
    births = [born for found, _, born in (one.rpartition("-") for one in claims.names(LOGS)) if found == name]
    return [f"{name}-{born}" for born in births if born.isdecimal()]


def logs_of(claims: Claims, scope: str) -> list[AliasLog]:
    """The logs of a registered model, one for each alias that was ever moved."""
    return [AliasLog(claims, scope, alias) for alias in claims.names(f"{LOGS}/{scope}")]


def newest_moves(logs: Iterable[AliasLog]) -> dict[str, Move]:
    """By alias the newest entry of its log."""
    return {log.alias: move for log in logs if (move := log.newest()) is not None}


def cut_short(claims: Claims, model_name: str) -> bool:
    """Whether anything is left of a move of any alias, without a look into MLflow. A model that was deleted may be back
    from a backup, so the logs of all are looked at.
    """
    return any(log.undone() for scope in scopes_of(claims, model_name) for log in logs_of(claims, scope))


def _periods(written: Sequence[Sequence[Any]]) -> tuple[Period, ...]:
    return tuple(Period(str(v), date.fromisoformat(a), date.fromisoformat(b) if b else None) for v, a, b in written)


def _kind(record: dict[str, Any]) -> MoveKind:
    """The kind of a move. Entries of old have none: there it stands before the colon of the reason."""
    kind = record.get("kind") or str(record["reason"]).partition(":")[0]
    return MoveKind(kind) if kind in set(MoveKind) else MoveKind.OTHER
