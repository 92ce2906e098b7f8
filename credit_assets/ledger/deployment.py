"""Deployment: bringing a version into force, taking it back, and letting one run beside the champion on trial.

Belongs here: which aliases move together and in what order, for the asset that decides about a training, for requests
by people and by finished trials, and for the record of every move. Does not belong here: the rules
(`credit_assets.ml.rules.decisions`), how an alias is moved (`aliases`), and when requests are looked at
(`credit_assets.automation.deployment`).

A trial is the time in which a version holds the alias `shadow`. One runs at a time and none is cut short by a newer
model: with a model a day no trial would ever end. The newest model that passed its gates, the challenger, is next,
where it was held against the champion in force: one that was better than the champion before may be worse than this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import date
from typing import Any

import dagster as dg

from credit_assets import pages
from credit_assets.failures import PermanentError
from credit_assets.ledger.aliases import Aliases, Change, Move, MoveKind
from credit_assets.ledger.registry import CHAMPION, Registry, Version
from credit_assets.ledger.requests import DONE, Request, Requests
from credit_assets.ml.rules.chains import COMPARED_WITH, NONE, judged_against
from credit_assets.ml.rules.decisions import Decision, Promotion, Reason, Standing, newer
from credit_assets.ml.rules.fairness_rules import FAIRNESS
from credit_assets.ml.rules.first_days import FIRST_DAYS
from credit_assets.ml.rules.leak_rules import LEAKS
from credit_assets.ml.rules.periods import champion_history, holder_now, period_on
from credit_assets.naming import ALIASES as ALIAS_ASSETS
from credit_assets.naming import PLAIN, Names

CHALLENGER, SHADOW = "challenger", "shadow"
ALIASES = (CHAMPION, CHALLENGER, SHADOW)
ACTOR = "credit_scoring pipeline"

ACCEPTABLE = (FIRST_DAYS, LEAKS, FAIRNESS)
"""Names of the rules in spite of which a person may bring a version into force."""
Judge = Callable[[Version], Sequence[Reason]]
"""What is recorded of a version that may stand against its taking over, judged: how the newest days looked to it beside
those of its test (FIRST_DAYS), where its skill comes from (LEAKS), and how it treats protected groups (FAIRNESS)."""


class Deployment:
    """What moves the aliases of one registered model. Every method may be called again: it then changes nothing."""

    def __init__(self, registry: Registry, requests: Requests, promotion: Promotion, takeover: Judge) -> None:
        self.registry = registry
        self.takeover = takeover
        self.aliases = Aliases(registry)
        self.requests = requests
        self.promotion = promotion

    # A training

    def after_training(self, version: Version, takes_over: date, decision: Decision, *, made: bool) -> None:
        """Move the aliases for a version that passed its gates: challenger at once, champion or a trial by policy; none
        where anything stands against its taking over.

        `made`: the version was promoted by an earlier run of the same day, and is not promoted again.
        """
        if not _against(self.takeover(version)):
            passed = Change(takes_over, MoveKind.PASSED, ACTOR, "passed its gates")
            self.aliases.move(CHALLENGER, version.version, passed, forward_only=True)
        if decision.accepted and not made:
            promoted = Change(takes_over, MoveKind.PROMOTE, ACTOR, f"promote: {decision.summary()}")
            self.aliases.move(CHAMPION, version.version, promoted, forward_only=True)
        self.settle_trial(takes_over, reason="a newer model is in force")

    # Requests

    def apply_pending(self) -> list[tuple[Request, str]]:
        """Do what is requested, oldest first, and record what came of each request."""
        return [(request, self.requests.finish(request, self._apply(request))) for request in self.requests.pending()]

    def examine(self, kind: str, version: str, *, by: str, accepted: Collection[str] = ()) -> Version:
        """The version that a request is about. Raises PermanentError where the request cannot be met.

        `accepted` names what a person brings it into force in spite of. A rollback is not judged: the version was in
        force before, and has to be at hand when the present one fails.
        """
        registry = self.registry
        target, champion = registry.version(version), registry.alias(CHAMPION)
        if kind == "rollback":
            if not target.champion_periods:
                raise PermanentError(f"version {version} was never champion: use `credit-assets promote {version}`")
            if champion and champion.version == target.version:
                raise PermanentError(f"version {version} is the champion already")
        elif kind == "reject":
            if SHADOW not in target.aliases:
                raise PermanentError(f"version {version} is not on trial: nothing to reject")
        else:
            self._examine_takeover(kind, target, champion, accepted)
            if by == ACTOR:
                decision = self.decide(target)
                if not decision.accepted:
                    raise PermanentError(decision.summary())
        return target

    def _examine_takeover(
        self, kind: str, target: Version, champion: Version | None, accepted: Collection[str]
    ) -> None:
        version = target.version
        on_trial = {period.version for period in self.aliases.history(SHADOW)}
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
        reasons = self.takeover(target)
        if against := _against(reasons, accepted):
            options = " ".join(f"--accept {name}" for name in ACCEPTABLE if _against(reasons, {*ACCEPTABLE} - {name}))
            raise PermanentError(
                f"version {version} does not take over: {against}; to {kind} it all the same, once you have looked at "
                f"what is named, run `credit-assets {kind} {version} {options} --reason WHY`, which is recorded with "
                "who and why"
            )

    def _apply(self, request: Request) -> str:
        try:
            target = self.examine(request.kind, request.version, by=request.by, accepted=request.accepted)
        except PermanentError as error:
            champion = self.registry.alias(CHAMPION)
            if champion and champion.version == request.version and request.kind != "reject":
                # Killed between the move and its outcome: what follows the move may still be missing.
                self.settle_trial(request.effective_from, reason=f"version {request.version} is in force")
                return DONE
            if request.by == ACTOR and request.kind != "reject":
                self._give_up(request)
            return f"refused: {error}"
        start, reason = request.effective_from, f"{request.kind}: {request.reason}{self._in_spite_of(request, target)}"
        if request.kind == "reject":
            self._end(target.version, start, reason, request.by)
            self._begin_next(start, self.registry.versions())
        else:
            self.aliases.move(CHAMPION, target.version, Change(start, MoveKind(request.kind), request.by, reason))
            self.settle_trial(start, reason=f"version {target.version} is in force")
        return DONE

    def _give_up(self, request: Request) -> None:
        """End a trial that cannot bring its version into force, so that the next can begin; a person still may."""
        trial = holder_now(self.aliases.history(SHADOW))
        if trial is None or trial.version != request.version:
            return
        version = self.registry.version(request.version)
        if against := _against([*self.takeover(version), *self.decide(version).reasons]):
            self._end(request.version, request.effective_from, against, ACTOR)
            self._begin_next(request.effective_from, self.registry.versions())

    def _in_spite_of(self, request: Request, target: Version) -> str:
        """What a person accepted of the version, for the record of the move."""
        against = _against(self.takeover(target)) if request.accepted else ""
        return f" (in spite of: {against})" if against else ""

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
        today = self.registry.alias(CHAMPION)
        compared = judged_against(self._compared_with(version), today.version if today else None)
        return Decision.of([newer(version.as_of, standing(self.registry.versions())), first, compared])

    def judged_against(self, version: Version, day: date) -> Reason:
        """Whether a version was held against the champion of a day."""
        champion = self.registry.champion_at(day)
        return judged_against(self._compared_with(version), champion.version if champion else None)

    def _compared_with(self, version: Version) -> str:
        """The champion that it was held against; of its as-of date, in what was registered before it was noted."""
        if COMPARED_WITH in version.tags:
            return version.tags[COMPARED_WITH]
        champion = self.registry.champion_at(version.as_of)
        return champion.version if champion else NONE

    # Trials

    def settle_trial(self, start: date, *, reason: str) -> None:
        """End the trial of a model that is no newer than the champion; begin the next where policy and models allow.

        `start` is the day from which this holds.
        """
        versions = self.registry.versions()
        newest = standing(versions).newest
        trial = holder_now(self.aliases.history(SHADOW))
        if trial is not None:
            holder = next((v for v in versions if v.version == trial.version), None)
            if holder is not None and (newest is None or holder.as_of > newest) and not holder.champion_periods:
                return
            self._end(trial.version, start, reason, ACTOR)
        self._begin_next(start, versions)

    def _end(self, version: str, start: date, reason: str, by: str) -> None:
        self.aliases.end(SHADOW, version, Change(start, MoveKind.TRIAL_ENDED, by, f"trial ended: {reason}"))

    def _begin_next(self, start: date, versions: Sequence[Version]) -> None:
        newest = standing(versions).newest
        if self.promotion == "immediate" or newest is None:
            return
        tried = {period.version for period in self.aliases.history(SHADOW)}
        challenger = next((v for v in versions if CHALLENGER in v.aliases), None)
        if challenger is None or challenger.version in tried or challenger.as_of <= newest:
            return
        champion = period_on(start, champion_history(versions))
        if judged_against(self._compared_with(challenger), champion.version if champion else None).passed:
            started = Change(start, MoveKind.TRIAL_STARTED, ACTOR, "trial started: passed its gates")
            self.aliases.move(SHADOW, challenger.version, started, forward_only=True)


def _against(reasons: Sequence[Reason], accepted: Collection[str] = ()) -> str:
    """What stands against the version, but for rules of the names that are accepted; nothing where every rule passed.

    The name of a rule begins with that of its kind: "first_days scores".
    """
    return "; ".join(one.text for one in reasons if not one.passed and one.rule.partition(" ")[0] not in accepted)


def standing(versions: Sequence[Version], until: date | None = None) -> Standing:
    """What a promotion is judged against: now, or as it was on the day `until`."""
    as_of = {v.version: v.as_of for v in versions}
    history = champion_history(versions)
    ever = [as_of[p.version] for p in history if until is None or p.first <= until]
    now = [as_of[p.version] for p in history if (p.last is None if until is None else p.covers(until))]
    return Standing(max(ever, default=None), max(now, default=None))


# The record of every move


def report_moves(instance: dg.DagsterInstance, registry: Registry) -> list[tuple[str, Move]]:
    """Report each move that Dagster has not seen as a materialization of `model_aliases/<alias>`, oldest first.

    From the registry's own log, whoever moved; so a mover that was killed loses no record.
    """
    aliases, reported = Aliases(registry), []
    for alias in ALIASES:
        log, key = aliases.log_of(alias), alias_key(alias, registry.owner.naming)
        latest = instance.get_latest_materialization_event(key)
        seen = latest.asset_materialization.metadata if latest and latest.asset_materialization else {}
        # Another log (the registered model was deleted and made anew) counts from the beginning.
        since = int(str(seen["number"].value)) if seen and str(seen["log"].value) == log else 0
        moves = aliases.moves(alias, max(0, since - 1))
        before = {move.number: move for move in moves}
        for move in moves:
            if move.number <= since:
                continue
            former = before.get(move.number - 1)
            instance.report_runless_asset_event(
                dg.AssetMaterialization(key, metadata=pages.entries(_move_metadata(alias, log, move, former, registry)))
            )
            reported.append((alias, move))
    return reported


def alias_key(alias: str, naming: Names = PLAIN) -> dg.AssetKey:
    return dg.AssetKey(naming.asset(ALIAS_ASSETS, alias))


def _move_metadata(alias: str, log: str, move: Move, former: Move | None, registry: Registry) -> dict[str, Any]:
    change = move.change
    return {
        "alias": alias,
        "number": move.number,
        "kind": change.kind.value,
        "from": (former.version if former else "") or "none",
        "to": move.version or "none",
        "by": change.by,
        "reason": change.reason,
        "effective_from": change.effective_from.isoformat(),
        "at": move.at,
        "log": log,
        **({"mlflow_version": registry.version_link(move.version)} if move.version else {}),
    }
