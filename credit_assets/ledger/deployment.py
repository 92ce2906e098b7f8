"""Deployment: bringing a version into force, taking it back, and letting one run beside the champion on trial.

Belongs here: which aliases move together and in what order, for the asset that decides about a training, for requests
by people and by finished trials, and for the record of every move. Does not belong here: the rules
(`credit_assets.ml.rules.decisions`), how an alias is moved (`registry`), and when requests are looked at
(`credit_assets.automation.deployment`).

A trial is the time in which a version holds the alias `shadow`. One runs at a time and none is cut short by a newer
model: with a model a day no trial would ever end. The newest model that passed its gates, the challenger, is next.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import CHAMPION, Registry, Version
from credit_assets.ledger.requests import ROLLBACK, Request, Requests, kind_of
from credit_assets.ml.rules.decisions import Decision, Promotion, Reason, Standing, newer
from credit_assets.ml.rules.periods import holder_now

if TYPE_CHECKING:
    from credit_assets.ledger.registry import Move

CHALLENGER, SHADOW = "challenger", "shadow"
ALIASES = (CHAMPION, CHALLENGER, SHADOW)
ACTOR = "credit_scoring pipeline"


class Deployment:
    """What moves the aliases of one registered model. Every method may be called again: it then changes nothing."""

    def __init__(self, registry: Registry, requests: Requests, promotion: Promotion) -> None:
        self.registry = registry
        self.requests = requests
        self.promotion = promotion

    # A training

    def after_training(self, version: Version, takes_over: date, decision: Decision, *, made: bool) -> None:
        """Move the aliases for a version that passed its gates: challenger at once, champion or a trial by policy.

        `made`: the version was promoted by an earlier run of the same day, and is not promoted again.
        """
        move = self.registry.move_alias
        move(
            CHALLENGER,
            version.version,
            effective_from=takes_over,
            reason="passed its gates",
            by=ACTOR,
            forward_only=True,
        )
        if decision.accepted and not made:
            move(
                CHAMPION,
                version.version,
                effective_from=takes_over,
                reason=f"promote: {decision.summary()}",
                by=ACTOR,
                forward_only=True,
            )
        self.settle_trial(takes_over, reason="a newer model is in force")

    # Requests

    def apply_pending(self) -> list[tuple[Request, str]]:
        """Do what pending requests ask, oldest first, and record what came of each."""
        return [(request, self.requests.finish(request, self._apply(request))) for request in self.requests.pending()]

    def examine(self, kind: str, version: str, *, by: str) -> Version:
        """The version that a request is about. Raises PermanentError where the request cannot be met."""
        registry = self.registry
        target, champion = registry.version(version), registry.alias(CHAMPION)
        if kind == ROLLBACK:
            if not target.champion_periods:
                raise PermanentError(f"version {version} was never champion: use `credit-assets promote {version}`")
            if champion and champion.version == target.version:
                raise PermanentError(f"version {version} is the champion already")
        elif kind == "reject":
            if SHADOW not in target.aliases:
                raise PermanentError(f"version {version} is not on trial: nothing to reject")
        else:
            on_trial = {period.version for period in registry.history(SHADOW)}
            if kind == "approve" and not on_trial & {version} and CHALLENGER not in target.aliases:
                raise PermanentError(
                    f"version {version} is neither on trial nor the challenger, so nobody waits for an approval; to "
                    f"bring it into force all the same use `credit-assets promote {version}`"
                )
            if champion and target.as_of < champion.as_of:
                raise PermanentError(
                    f"version {version} (as of {target.as_of}) is older than the champion, version {champion.version} "
                    f"(as of {champion.as_of}); to go back to a former champion use `credit-assets rollback`"
                )
            if by == ACTOR:
                decision = self.decide(target)
                if not decision.accepted:
                    raise PermanentError(decision.summary())
        return target

    def _apply(self, request: Request) -> str:
        try:
            target = self.examine(request.kind, request.version, by=request.by)
        except PermanentError as error:
            champion = self.registry.alias(CHAMPION)
            if champion and champion.version == request.version and request.kind != "reject":
                # Killed between the move and its outcome: what follows the move may still be missing.
                self.settle_trial(request.effective_from, reason=f"version {request.version} is in force")
                return "done"
            return f"refused: {error}"
        start, said = request.effective_from, request.recorded_reason
        if request.kind == "reject":
            self._end_trial(target.version, start, said, request.by)
        else:
            self.registry.move_alias(CHAMPION, target.version, effective_from=start, reason=said, by=request.by)
            self.settle_trial(start, reason=f"version {target.version} is in force")
        return "done"

    def decide(self, version: Version) -> Decision:
        """Whether the pipeline itself may bring a version into force at the end of its trial."""
        was = bool(version.champion_periods)
        first = Reason(
            "first_time",
            not was,
            len(version.champion_periods),
            0,
            f"version {version.version} was in force before and taken back: only a person brings it back"
            if was
            else f"version {version.version} was not in force before",
        )
        return Decision.of([newer(version.as_of, standing(self.registry.versions())), first])

    # Trials

    def settle_trial(self, start: date, *, reason: str) -> None:
        """End the trial of a model that is no newer than the champion; begin the next one where policy and models ask.

        `start` is the day from which this holds.
        """
        versions = {v.version: v for v in self.registry.versions()}
        newest = max((v.as_of for v in versions.values() if v.champion_periods), default=None)
        trial = holder_now(self.registry.history(SHADOW))
        if trial is not None:
            holder = versions.get(trial.version)
            if holder is not None and (newest is None or holder.as_of > newest) and not holder.champion_periods:
                return
            self._end(trial.version, start, reason, ACTOR)
        self._begin_next(start, versions, newest)

    def _end_trial(self, version: str, start: date, reason: str, by: str) -> None:
        self._end(version, start, reason, by)
        versions = {v.version: v for v in self.registry.versions()}
        self._begin_next(start, versions, max((v.as_of for v in versions.values() if v.champion_periods), default=None))

    def _end(self, version: str, start: date, reason: str, by: str) -> None:
        self.registry.end_alias(SHADOW, version, effective_from=start, reason=f"trial ended: {reason}", by=by)

    def _begin_next(self, start: date, versions: dict[str, Version], newest: date | None) -> None:
        if self.promotion == "immediate" or newest is None:
            return
        tried = {period.version for period in self.registry.history(SHADOW)}
        challenger = next((v for v in versions.values() if CHALLENGER in v.aliases), None)
        if challenger and challenger.version not in tried and challenger.as_of > newest:
            self.registry.move_alias(
                SHADOW,
                challenger.version,
                effective_from=start,
                reason="trial started: passed its gates",
                by=ACTOR,
                forward_only=True,
            )


def standing(versions: Sequence[Version], until: date | None = None) -> Standing:
    """What a promotion is judged against: now, or as it was on the day `until`."""
    periods = [(v.as_of, start, last) for v in versions for start, last in v.champion_periods]
    ever = [as_of for as_of, start, _ in periods if until is None or start <= until]
    now = [
        as_of
        for as_of, start, last in periods
        if (last is None if until is None else start <= until and (last is None or last >= until))
    ]
    return Standing(max(ever, default=None), max(now, default=None))


# The record of every move


def report_moves(instance: dg.DagsterInstance, registry: Registry) -> list[tuple[str, Move]]:
    """Report each move that Dagster has not seen as a materialization of `model_aliases/<alias>`, oldest first.

    From the registry's own log, whoever moved; so a mover that was killed loses no record.
    """
    reported = []
    for alias in ALIASES:
        log, key = registry.log_of(alias), alias_key(alias)
        latest = instance.get_latest_materialization_event(key)
        seen = latest.asset_materialization.metadata if latest and latest.asset_materialization else {}
        # Another log (the registered model was deleted and made anew) counts from the beginning.
        since = int(str(seen["number"].value)) if seen and str(seen["log"].value) == log else 0
        moves = registry.moves(alias, max(0, since - 1))
        before = {move.number: move for move in moves}
        for move in moves:
            if move.number <= since:
                continue
            former = before.get(move.number - 1)
            instance.report_runless_asset_event(
                dg.AssetMaterialization(key, metadata=_move_metadata(alias, log, move, former, registry))
            )
            reported.append((alias, move))
    return reported


def alias_key(alias: str) -> dg.AssetKey:
    return dg.AssetKey(["model_aliases", alias])


def _move_metadata(alias: str, log: str, move: Move, former: Move | None, registry: Registry) -> dict[str, Any]:
    return {
        "alias": alias,
        "number": move.number,
        "from": (former.version if former else "") or "none",
        "to": move.version or "none",
        "by": move.by,
        "reason": move.reason,
        **({"kind": kind} if (kind := kind_of(move.reason)) else {}),
        "effective_from": move.effective_from.isoformat(),
        "at": move.at,
        "log": log,
        **({"mlflow_version": registry.version_link(move.version)} if move.version else {}),
    }
