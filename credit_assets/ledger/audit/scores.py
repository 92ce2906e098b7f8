"""Who scored each day beside who was in force on it.

Belongs here: holding the versions of `loan_scores` against the logs of the aliases. Does not belong here: the logs
themselves (`moves`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from credit_assets.ledger.audit.walk import Gap, Walk, again
from credit_assets.ledger.deployment import SHADOW
from credit_assets.ledger.registry import CHAMPION
from credit_assets.ml.rules.periods import period_on


def scores_by_models_in_force(walk: Walk) -> Sequence[Gap]:
    """Every day was scored by models that were in force or on trial on it.

    A move that takes effect on a day that was scored already leaves the scores as they are: what counts is whether any
    state of the logs had the version there.
    """
    found = []
    for day, versions in walk.scorers.items():
        allowed = _ever_on(walk, date.fromisoformat(day))
        for version in versions:
            if version in allowed:
                continue
            named = ", ".join(sorted(allowed)) or "none"
            text = f"has scores of a version that was not in force on that day (in force or on trial: {named})"
            do = f"score it again: {again('loan_scores', day)}"
            found.append(Gap("scores_by_models_in_force", text, do, "loan_scores", day, version))
    return found


def _ever_on(walk: Walk, day: date) -> set[str]:
    """The versions that had the day by any entry of the logs."""
    held = (period_on(day, move.history) for alias in (CHAMPION, SHADOW) for move in walk.logs.get(alias, ()))
    return {period.version for period in held if period}
