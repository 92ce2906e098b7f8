"""Logs that were looked through and had nothing left to do: whether anything came since, in a few small reads.

Belongs here: the ends of the logs of requests and moves, and whether they are where they were. Does not belong here:
what is left to do in a log (`deployment`, `reported`).

A tick that finds nothing is nearly every tick. To look through a log it lists all entries there ever were, and its
newest entry of an alias has the whole history. Entries have numbers without a gap and never change, so a log that ends
with the same entry as before has nothing new. One that was brought back from an older backup ends with another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from credit_assets.ledger.alias_log import LOGS, scopes_of
from credit_assets.ledger.requests import LOG as REQUESTS
from credit_assets.storage.claims import Claims


class End(NamedTuple):
    """The newest entry of a log; 0 and "" of an empty one."""

    number: int
    text: str


class LookedThrough:
    """How far the logs of one registered model's name were looked through. Raises as `Claims` does."""

    def __init__(self, claims: Claims, model_name: str, aliases: tuple[str, ...]) -> None:
        self.claims, self.model_name, self.aliases = claims, model_name, aliases
        self._ends: Mapping[str, End] | None = None
        self._reported: object = None

    def ends(self) -> dict[str, End]:
        """Where the logs end now. To be asked before they are looked through: what comes meanwhile is new then."""
        return {folder: self._end(folder) for folder in self._folders()}

    def note(self, ends: Mapping[str, End], reported: object) -> None:
        """Note that nothing was left to do up to there. `reported`: how far moves are in Dagster's records."""
        self._ends, self._reported = ends, reported

    def nothing_new(self, reported: object) -> bool:
        """Whether all logs end there still, and as much is reported: to another instance nothing is yet."""
        return (
            self._ends is not None
            and self._reported == reported
            and self._ends.keys() == set(self._folders())
            and all(self._ends_there(folder, end) for folder, end in self._ends.items())
        )

    def _folders(self) -> list[str]:
        logs = [
            f"{LOGS}/{scope}/{alias}" for scope in scopes_of(self.claims, self.model_name) for alias in self.aliases
        ]
        return [REQUESTS, *logs]

    def _end(self, folder: str) -> End:
        number = max((int(name) for name in self.claims.names(folder) if name.isdecimal()), default=0)
        return End(number, self._text(folder, number))

    def _ends_there(self, folder: str, end: End) -> bool:
        return not self._text(folder, end.number + 1) and self._text(folder, end.number) == end.text

    def _text(self, folder: str, number: int) -> str:
        return (self.claims.text(f"{folder}/{number:06d}") if number else None) or ""
