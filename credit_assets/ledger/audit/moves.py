"""Moves of the aliases: whether each follows from the one before it and from a decision, and what MLflow shows of them.

Belongs here: walking the logs. Does not belong here: making a move (`credit_assets.ledger.aliases`), and the decisions
(`decisions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise

from credit_assets.ledger.alias_log import Move, MoveKind
from credit_assets.ledger.audit.walk import Gap, Walk
from credit_assets.ledger.deployment import ACTOR, CHALLENGER, SHADOW
from credit_assets.ledger.registry import CHAMPION
from credit_assets.ledger.requests import DONE
from credit_assets.ml.rules.periods import Period, champion_history, ended, holder_now, moved

_LOG = "restore the log from a backup; what is shown is written from its newest entry"
_BY_REQUEST = (MoveKind.PROMOTE, MoveKind.APPROVE, MoveKind.ROLLBACK)


def moves_in_order(walk: Walk) -> Sequence[Gap]:
    """Every entry of a log follows from the one before it, and none is missing."""
    found = []
    for alias, moves in walk.logs.items():
        numbers = walk.log_numbers.get(alias, ())
        for missing in sorted({*range(1, max(numbers, default=0) + 1)} - {*numbers}):
            text = f"entry {missing} of the log is missing: entries are never taken away"
            found.append(Gap("moves_in_order", text, _LOG, f"model_aliases/{alias}"))
        before: tuple[Period, ...] = ()
        for move in moves:
            if move.number == 1 or move.number - 1 in numbers:
                found += [_gap("moves_in_order", alias, move, text, _LOG) for text in _follows(before, move)]
            before = move.history
    return found


def _follows(before: Sequence[Period], move: Move) -> Iterator[str]:
    """Whether the history after a move is the one before it, moved."""
    start = move.change.effective_from
    # A log that was begun anew has what MLflow knew before it in its first entry.
    if move.number == 1:
        before = [one for one in move.history if one.version != move.version]
        before = [Period(v, a, None if b and b + timedelta(1) == start else b) for v, a, b in before]
    expected = moved(before, move.version, start) if move.version else ended(before, start)
    if tuple(expected) != move.history:
        yield f"entry {move.number}: the periods after it are not those of the entry before, moved: it was edited"


def moves_decided(walk: Walk) -> Sequence[Gap]:
    """Every move follows from a decision: of a training, of a trial, or of a person whose request is in the log."""
    found = []
    for alias, moves in walk.logs.items():
        for move in moves:
            for text in _decided(walk, alias, move):
                do = "ask who is named; where nobody decided it, roll back (`credit-assets rollback`)"
                found.append(_gap("moves_decided", alias, move, f"entry {move.number}: {text}", do))
    return found


def _decided(walk: Walk, alias: str, move: Move) -> Iterator[str]:
    version = walk.versions.get(move.version)
    if move.version and version is None:
        yield "is to a version that is not in MLflow"
        return
    if alias == CHAMPION:
        if not _requested(walk, move) and not _by_training(walk, move):
            text = f"{move.change.kind} by {move.change.by}"
            yield f"{text}, and neither a training nor a request that was met decided it"
    elif alias in (CHALLENGER, SHADOW) and version is not None:
        kept = walk.kept_of(version)
        of_day = walk.of("registered_model").get(version.as_of.isoformat(), {})
        if not (kept and kept.version) and of_day.get("version") != version.version:
            yield "is to a version that no decision registered"


def _requested(walk: Walk, move: Move) -> bool:
    """Whether a request that was met asked for this move."""
    return move.change.kind in _BY_REQUEST and any(
        move.change.request in (0, one.number)
        and one.version == move.version
        and one.kind == move.change.kind
        and one.effective_from == move.change.effective_from
        and one.by == move.change.by
        # Killed between the move and its outcome, it is done by the next look.
        and walk.outcomes.get(one.number, DONE) == DONE
        for one in walk.requests
    )


def _by_training(walk: Walk, move: Move) -> bool:
    """Whether the training of the day before brought the version into force at once."""
    version = walk.versions[move.version]
    if move.change.kind != MoveKind.PROMOTE or move.change.by != ACTOR:
        return False
    if move.change.effective_from != version.as_of + timedelta(1):
        return False
    day = version.as_of.isoformat()
    registered, deployed = walk.of("registered_model").get(day), walk.of("deployed_model").get(day)
    if registered is None or registered.get("version") != version.version:
        # The day was trained again since: the version's own record is what is left of the decision.
        kept = walk.kept_of(version)
        return bool(kept and kept.version)
    return deployed is None or deployed["decision"] == "promoted"


def aliases_held(walk: Walk) -> Sequence[Gap]:
    """Every alias is where the newest entry of its log says, and MLflow shows the periods that it has."""
    found = []
    for alias in sorted({*walk.logs, *walk.held}):
        moves = walk.logs.get(alias, ())
        says = moves[-1].version if moves else ""
        shown = walk.held.get(alias, "")
        if says != shown:
            text = f"is on version {shown or 'none'} in MLflow, and the newest move says {says or 'none'}"
            do = "the log decides: the next move writes it, or set the alias in MLflow by hand"
            found.append(Gap("aliases_held", text, do, f"model_aliases/{alias}", "", shown))
    moves = walk.logs.get(CHAMPION, ())
    shown_periods = champion_history(walk.versions.values())
    if moves and tuple(shown_periods) != tuple(
        sorted(moves[-1].history, key=lambda one: (one.first, int(one.version)))
    ):
        for period in sorted({*shown_periods} ^ {*moves[-1].history}, key=lambda one: (one.first, one.version)):
            of = "MLflow" if period in shown_periods else "the log"
            text = f"in force {period.first} .. {period.last or 'now'} by {of} alone"
            do = "the log decides: correct the tag champion_periods of the version"
            found.append(Gap("aliases_held", text, do, "model_aliases/champion", str(period.first), period.version))
    return found


def periods(walk: Walk) -> Sequence[Gap]:
    """The champions follow one another: no two in force on a day, and no day without one from the first on."""
    moves = walk.logs.get(CHAMPION, ())
    log = list(moves[-1].history) if moves else []
    found = []
    for source, history in (("the log", log), ("MLflow", champion_history(walk.versions.values()))):
        for one, other in pairwise(history):
            if one.last is None or one.last >= other.first:
                text = f"by {source}, versions {one.version} and {other.version} are both in force on that day"
                found.append(_period(text, other))
            elif one.last + timedelta(1) < other.first:
                first, last = one.last + timedelta(1), other.first - timedelta(1)
                found.append(_period(f"by {source}, no champion is in force from {first} to {last}", other))
        if history and holder_now(history) is None:
            found.append(_period(f"by {source}, no champion is in force any more", history[-1]))
    return found


def _period(text: str, period: Period) -> Gap:
    return Gap("periods", text, _LOG, "model_aliases/champion", period.first.isoformat(), period.version)


def _gap(check: str, alias: str, move: Move, text: str, do: str) -> Gap:
    return Gap(check, text, do, f"model_aliases/{alias}", move.change.effective_from.isoformat(), move.version)
