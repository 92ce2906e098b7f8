"""Deployment: bringing a version into force, taking it back, and letting one run beside the champion on trial.

Belongs here: which aliases move together and in what order, for the asset that decides about a training, for requests
by people and by finished trials. Does not belong here: the rules
(`credit_assets.ml.rules.decisions`), how an alias is moved (`aliases`), and when requests are looked at
(`credit_assets.automation.deployment`).

A trial is the time in which a version holds the alias `shadow`. One runs at a time and none is cut short by a newer
model: with a model a day no trial would ever end. The newest model that passed its gates, the challenger, is next,
where it was held against the champion in force: one that was better than the champion before may be worse than this.

What a decision or a request leads to is several moves, and a process may be killed between any two writes. Everything
that is left then is found again in the logs: an entry that MLflow does not show, one after which the trial was not
settled, a request without an outcome whose move is entered. `recover` does the rest; whoever comes next calls it first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date

from credit_assets.failures import PermanentError, is_ours, is_transient
from credit_assets.health import first_line
from credit_assets.ledger.alias_log import AliasLog, Move, MoveDetails, MoveKind, cut_short
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.approvals import Approvals
from credit_assets.ledger.integrity import Integrity
from credit_assets.ledger.looked import LookedThrough
from credit_assets.ledger.one_look import at_one_look
from credit_assets.ledger.registry import CHAMPION, Registry, Version
from credit_assets.ledger.requests import DONE, Request, Requests
from credit_assets.ml.rules.chains import COMPARED_WITH, NONE, judged_against
from credit_assets.ml.rules.decisions import ChampionDates, Decision, Promotion, Reason, newer
from credit_assets.ml.rules.fairness_rules import FAIRNESS
from credit_assets.ml.rules.first_days import FIRST_DAYS
from credit_assets.ml.rules.leak_rules import LEAKS
from credit_assets.ml.rules.periods import champion_history, holder_now, period_on
from credit_assets.settings.approvers import Approvers

CHALLENGER, SHADOW = "challenger", "shadow"
ALIASES = (CHAMPION, CHALLENGER, SHADOW)
ACTOR = "credit_scoring pipeline"
UNFINISHED = "not done yet"

_log = logging.getLogger(__name__)
_NEWER = "a newer model is in force"

ACCEPTABLE = (FIRST_DAYS, LEAKS, FAIRNESS)
"""Names of the rules in spite of which a person may bring a version into force."""
Judge = Callable[[Version], Sequence[Reason]]
"""What is recorded of a version that may stand against its taking over, judged: how the newest days looked to it beside
those of its test (FIRST_DAYS), where its skill comes from (LEAKS), and how it treats protected groups (FAIRNESS)."""


class Deployment:
    """What moves the aliases of one registered model. Every method may be called again: it then changes nothing."""

    def __init__(
        self,
        registry: Registry,
        requests: Requests,
        promotion: Promotion,
        takeover: Judge,
        approvers: Approvers | None = None,
    ) -> None:
        self.approvals = Approvals(requests.claims, approvers, promotion)
        self.registry = registry
        self.takeover = takeover
        self.aliases = Aliases(registry)
        self.requests = requests
        self.promotion = promotion
        self.looked = LookedThrough(requests.claims, registry.model_name, ALIASES)

    # A training

    @at_one_look
    def after_training(self, version: Version, takes_over: date, decision: Decision, *, made: bool) -> None:
        """Move the aliases for a version that passed its gates: challenger at once, champion or a trial by policy; none
        where anything stands against its taking over.

        `made`: the version was promoted by an earlier run of the same day, and is not promoted again.
        """
        if not _against(self.takeover(version)):
            passed = MoveDetails(takes_over, MoveKind.PASSED, ACTOR, "passed its gates")
            self.aliases.move(CHALLENGER, version.version, passed, forward_only=True)
        if decision.accepted and not made:
            promoted = MoveDetails(takes_over, MoveKind.PROMOTE, ACTOR, f"promote: {decision.summary()}")
            self.aliases.move(CHAMPION, version.version, promoted, forward_only=True)
        self.settle_trial(takes_over, reason=_NEWER)

    # What was cut short

    @at_one_look
    def recover(self) -> list[str]:
        """Do the rest of every move that was cut short, and say what it was; nothing where nothing was.

        MLflow is brought up to the newest entries, the trial is settled, and requests whose move is entered get their
        outcome. Calling it while another process is in the midst of a move does what that one is about to do. Where
        nothing is left that is seen in the store: MLflow, which reads all versions for each answer, is not asked.
        """
        if not cut_short(self.requests.claims, self.registry.model_name) and not self.requests.pending():
            return []
        lines = [
            f"move {move.number} of {alias} to version {move.version or 'none'}"
            for alias, move in self.aliases.complete()
        ]
        # First what a request led to, which says for what reason a trial ended.
        started = [request for request in self.requests.pending() if move_of(self.aliases, request) is not None]
        done = [request for request, outcome in self._do(started) if outcome == DONE]
        lines += [f"request {request.number} ({request.kind} version {request.version})" for request in done]
        if unsettled := _unsettled(self.registry):
            self.settle_trial(max(move.change.effective_from for _, move in unsettled), reason=_NEWER)
            lines += [f"the trial after move {move.number} of {log.alias}" for log, move in unsettled]
        return lines

    def _follow(self, request: Request) -> None:
        """What follows the move that a request asked for."""
        start, version = request.effective_from, request.version
        reason = f"version {version} was rejected" if request.kind == "reject" else f"version {version} is in force"
        self.settle_trial(start, reason=reason)

    # Requests

    @at_one_look
    def apply_pending(self) -> list[tuple[Request, str]]:
        """Do what is requested, oldest first, and record what came of each request.

        One that cannot be done for a reason of its own stays open, and says why in place of an outcome; those behind
        it are done. Where a service does not answer all of them wait: their order matters. One that waits for a
        signature is passed by.
        """
        return self._do(one for one in self.requests.pending() if not self.waits_for_signature(one))

    def waits_for_signature(self, request: Request) -> bool:
        """Whether a request is not done until an approver has signed it."""
        return self.approvals.waits(request, by_pipeline=request.by == ACTOR)

    def _do(self, requests: Iterable[Request]) -> list[tuple[Request, str]]:
        found = []
        for request in requests:
            try:
                # Withdrawn while those before it were done.
                outcome = self.requests.outcome(request)
                outcome = outcome or self.requests.finish(request, self._apply(request))
            except Exception as error:
                if is_transient(error):
                    raise
                outcome = f"{UNFINISHED}: {first_line(error) if is_ours(error) else type(error).__name__}"
                _log.warning("request %s: %s", request.number, outcome)
            found.append((request, outcome))
        return found

    @at_one_look
    def examine(self, kind: str, version: str, *, by: str, accepted: Collection[str] = ()) -> Version:
        """The version that a request is about. Raises PermanentError where the request cannot be met.

        `accepted` names what a person brings it into force in spite of. A rollback is not judged: the version was in
        force before, and has to be at hand when the present one fails.
        """
        registry = self.registry
        target, champion = registry.version(version), registry.alias(CHAMPION)
        if kind == "rollback":
            if not target.was_champion:
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
        Integrity(self.registry).refuse_broken(f"version {version} does not take over")
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
        if move_of(self.aliases, request) is not None:
            # Killed between the move and its outcome: what follows the move may still be missing.
            self._follow(request)
            return DONE
        try:
            target = self.examine(request.kind, request.version, by=request.by, accepted=request.accepted)
        except PermanentError as error:
            champion = self.registry.alias(CHAMPION)
            if champion and champion.version == request.version and request.kind != "reject":
                # Two asked for the same.
                self._follow(request)
                return DONE
            if request.by == ACTOR and request.kind != "reject":
                self._give_up(request)
            return f"refused: {error}"
        start, reason = request.effective_from, f"{request.kind}: {request.reason}{self._in_spite_of(request, target)}"
        reason += self.approvals.signer_in_words(request)
        if request.kind == "reject":
            self._end(target.version, start, reason, request.by, request.number)
        else:
            change = MoveDetails(start, MoveKind(request.kind), request.by, reason, request.number)
            self.aliases.move(CHAMPION, target.version, change)
        self._follow(request)
        return DONE

    def _give_up(self, request: Request) -> None:
        """End a trial that cannot bring its version into force, so that the next can begin; a person still may."""
        trial = holder_now(self.aliases.history(SHADOW))
        if trial is not None and trial.version == request.version:
            version = self.registry.version(request.version)
            if against := _against([*self.takeover(version), *self.decide(version).reasons]):
                self._end(request.version, request.effective_from, against, ACTOR)
        self.settle_trial(request.effective_from, reason=_NEWER)

    def _in_spite_of(self, request: Request, target: Version) -> str:
        """What a person accepted of the version, for the record of the move."""
        against = _against(self.takeover(target)) if request.accepted else ""
        return f" (in spite of: {against})" if against else ""

    @at_one_look
    def decide(self, version: Version) -> Decision:
        """Whether the pipeline itself may bring a version into force at the end of its trial."""
        was = version.was_champion
        first = Reason(
            "first_time",
            not was,
            len(version.champion_periods) or int(was),
            0,
            f"version {version.version} was in force before and taken back: only a person brings it back"
            if was
            else f"version {version.version} was not in force before",
        )
        today = self.registry.alias(CHAMPION)
        compared = judged_against(_compared_with(self.registry, version), today.version if today else None)
        return Decision.of([newer(version.as_of, standing(self.registry.versions())), first, compared])

    @at_one_look
    def judged_against(self, version: Version, day: date) -> Reason:
        """Whether a version was held against the champion of a day."""
        champion = self.registry.champion_at(day)
        return judged_against(_compared_with(self.registry, version), champion.version if champion else None)

    # Trials

    @at_one_look
    def settle_trial(self, start: date, *, reason: str) -> None:
        """End the trial of a model that is no newer than the champion; begin the next where policy and models allow.

        `start` is the day from which this holds.
        """
        unsettled = _unsettled(self.registry)
        versions = self.registry.versions()
        newest = standing(versions).newest
        trial = holder_now(self.aliases.history(SHADOW))
        holder = next((v for v in versions if trial and v.version == trial.version), None)
        over = holder is None or (newest is not None and holder.as_of <= newest) or holder.was_champion
        if trial is not None and over:
            self._end(trial.version, start, reason, ACTOR)
            unsettled += [(log, move) for log, move in _unsettled(self.registry) if log.alias == SHADOW]
        if over:
            self._begin_next(start, versions)
        for log, move in unsettled:
            log.done("settled", move.number)

    def _end(self, version: str, start: date, reason: str, by: str, request: int = 0) -> None:
        self.aliases.end(
            SHADOW, version, MoveDetails(start, MoveKind.TRIAL_ENDED, by, f"trial ended: {reason}", request)
        )

    def _begin_next(self, start: date, versions: Sequence[Version]) -> None:
        newest = standing(versions).newest
        if self.promotion == "immediate" or newest is None:
            return
        tried = {period.version for period in self.aliases.history(SHADOW)}
        challenger = next((v for v in versions if CHALLENGER in v.aliases), None)
        if challenger is None or challenger.version in tried or challenger.as_of <= newest:
            return
        champion = period_on(start, champion_history(versions))
        if judged_against(_compared_with(self.registry, challenger), champion.version if champion else None).passed:
            started = MoveDetails(start, MoveKind.TRIAL_STARTED, ACTOR, "trial started: passed its gates")
            self.aliases.move(SHADOW, challenger.version, started, forward_only=True)


def _compared_with(registry: Registry, version: Version) -> str:
    """The champion that it was held against; of its as-of date, in what was registered before it was noted."""
    if COMPARED_WITH in version.tags:
        return version.tags[COMPARED_WITH]
    champion = registry.champion_at(version.as_of)
    return champion.version if champion else NONE


def _unsettled(registry: Registry) -> list[tuple[AliasLog, Move]]:
    """Newest entries after which the trial beside the champion may have to be another and was not looked at."""
    left = [(log, log.undone()) for log in registry.logs()]
    return [(log, found[0]) for log, found in left if found and "settled" in found[1]]


def _against(reasons: Sequence[Reason], accepted: Collection[str] = ()) -> str:
    """What stands against the version, but for rules of the names that are accepted; nothing where every rule passed.

    The name of a rule begins with that of its kind: "first_days scores".
    """
    return "; ".join(one.text for one in reasons if not one.passed and one.rule.partition(" ")[0] not in accepted)


def promoted_by_training(aliases: Aliases, version: Version, takes_over: date) -> bool:
    """Whether a run of its day brought the version into force, whatever has become of it since."""
    if takes_over in [start for start, _ in version.champion_periods]:
        return True
    return version.was_champion and any(
        move.version == version.version
        and move.change.effective_from == takes_over
        and (move.change.kind, move.change.by) == (MoveKind.PROMOTE, ACTOR)
        for move in aliases.log(CHAMPION).backwards()
    )


def move_of(aliases: Aliases, request: Request) -> Move | None:
    """The move that a request asked for, where it was entered."""
    for move in aliases.log(_moves(request)).backwards():
        if move.change.request == request.number:
            return move
        # They are done in their order.
        if 0 < move.change.request < request.number:
            break
    return None


def holds(aliases: Aliases, request: Request) -> bool:
    """Whether what a request asked for is so now."""
    newest = aliases.log(_moves(request)).newest()
    held = newest is not None and newest.version == request.version
    return not held if request.kind == "reject" else held


def champion_before(aliases: Aliases, request: Request) -> str | None:
    """The champion that the move of a request replaced; the one in force where it moved none."""
    move = move_of(aliases, request)
    if move is None or request.kind == "reject":
        holder = aliases.registry.alias(CHAMPION)
        return holder.version if holder else None
    former = next((one for one in aliases.log(CHAMPION).backwards() if one.number < move.number), None)
    return (former.version or None) if former else None


def _moves(request: Request) -> str:
    """The alias that a request moves."""
    return SHADOW if request.kind == "reject" else CHAMPION


def standing(versions: Sequence[Version], until: date | None = None) -> ChampionDates:
    """What a promotion is judged against: now, or as it was on the day `until`."""
    as_of = {v.version: v.as_of for v in versions}
    history = champion_history(versions)
    # Also one whose days were all taken back: only a newer model ends that.
    taken_back = [v.as_of for v in versions if until is None and v.was_champion]
    ever = [as_of[p.version] for p in history if until is None or p.first <= until] + taken_back
    now = [as_of[p.version] for p in history if (p.last is None if until is None else p.covers(until))]
    return ChampionDates(max(ever, default=None), max(now, default=None))
