"""The walk over everything that was recorded: whether each decision follows from its evidence, and each move from a
decision.

Belongs here: the table of checks. Does not belong here: what is walked (`walk`), and each check (the modules beside).

Every check is on its own: it takes the walk and gives the gaps that it found. None writes, and none trusts another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from credit_assets.ledger.audit.chains import chains_whole, journal_kept, one_house
from credit_assets.ledger.audit.decisions import (
    registrations,
    requests_met,
    retrainings_requested,
    takeovers,
    trials,
)
from credit_assets.ledger.audit.files import (
    days_in_between,
    evidence_kept,
    gates_of_days,
    model_files,
    rows_of_days,
    training_sets,
)
from credit_assets.ledger.audit.moves import aliases_held, moves_decided, moves_in_order, periods
from credit_assets.ledger.audit.scores import scores_by_models_in_force
from credit_assets.ledger.audit.versions import versions_and_records, versions_as_recorded
from credit_assets.ledger.audit.walk import Gap, Walk

Check = Callable[[Walk], Sequence[Gap]]

CHECKS: tuple[Check, ...] = (
    chains_whole,
    journal_kept,
    one_house,
    versions_and_records,
    versions_as_recorded,
    registrations,
    takeovers,
    trials,
    requests_met,
    retrainings_requested,
    moves_in_order,
    moves_decided,
    aliases_held,
    periods,
    evidence_kept,
    training_sets,
    model_files,
    days_in_between,
    gates_of_days,
    rows_of_days,
    scores_by_models_in_force,
)


def gaps(walk: Walk, checks: Sequence[Check] = CHECKS) -> list[Gap]:
    """What all checks found, in their order. A record that is edited beyond what a release writes ends the check that
    comes upon it, which is a gap of it, and no other.
    """
    return [gap for check in checks for gap in _found(check, walk)]


def _found(check: Check, walk: Walk) -> Sequence[Gap]:
    try:
        return check(walk)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # Without its words, which may hold what was recorded.
        where = f" ({error.args[0]!r} is missing)" if isinstance(error, KeyError) and error.args else ""
        text = f"could not be walked to its end: a record is not as any release writes it{where}"
        do = "see the gaps of `evidence_kept` and `readable`, bring what they name back from a backup, and audit again"
        return [Gap(check.__name__, text, do, "ledger")]


def described(check: Check) -> str:
    """What a check looks at: the first line of what it says of itself."""
    return (check.__doc__ or "").strip().splitlines()[0]
