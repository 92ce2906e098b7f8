"""Which retrainings were requested, by which triggers, kept in the store so that a run of any origin knows it.

Belongs here: the claims `retraining/<D>` (who started the retraining as of D), `recalibration/<D>` (who started the
recalibration), and `retraining-triggers/<D>/<trigger>` (every trigger that requested either). Does not belong here:
when a trigger does (`credit_assets.automation`).

A recalibration is asked for by the trigger `calibration`. A day that another trigger asks for too is retrained: a new
model has a new calibration. So a recalibration keeps no retraining from being started, and a retraining answers whoever
asks for a recalibration as of its day.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError
from credit_assets.ml.data.documents import json_of
from credit_assets.ml.data.left_columns import REPLACE
from credit_assets.storage.claims import Claims

if TYPE_CHECKING:
    from credit_assets.ml.rules.model_rules import Mode

REFRESH = "refresh"
CALIBRATION = "calibration"
"""The trigger that asks for other PDs of the same model."""


def claim_retraining(claims: Claims, as_of: date, trigger: str, event: str, reason: str) -> tuple[str, str]:
    """Request the retraining as of a day; return event and reason of whoever starts it, the first to request it.

    Raises PermanentError where the claim is damaged.
    """
    mine = json.dumps({"trigger": trigger, "event": event, "reason": reason}, sort_keys=True)
    # First who requests, then who starts: whichever run it becomes, its gate finds everyone who requested it before.
    claims.claim(f"retraining-triggers/{as_of}/{trigger}", event)
    place = f"retraining/{as_of}"
    if trigger == CALIBRATION and claims.get(place) is None:
        place = f"recalibration/{as_of}"
    held = claims.claim(place, mine)
    try:
        holder = json_of(held)
        return holder["event"], holder["reason"]
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"the claim {place} in the store is damaged ({error}); bring it back from a backup"
        ) from error


def retrainings(claims: Claims) -> set[date]:
    """The as-of dates for which any trigger started a retraining."""
    return {date.fromisoformat(name) for name in claims.names("retraining")}


def recalibrations(claims: Claims) -> set[date]:
    """The as-of dates for which a recalibration was started."""
    return {date.fromisoformat(name) for name in claims.names("recalibration")}


def triggers_of(claims: Claims, as_of: date) -> tuple[str, ...]:
    """The triggers that requested the retraining as of this day, sorted. Empty for a daily or a manual run."""
    return tuple(claims.names(f"retraining-triggers/{as_of.isoformat()}"))


def training_mode(triggers: Iterable[str], champion: Mapping[str, Any] | None = None) -> Mode:
    """What a training is for, by who asked for it, and by the record of the comparison with the champion: a refresh by
    the calendar need not be better, and neither need be what takes the place of one that reads columns which have left;
    where nobody asks for more than a calibration the champion gets a new one.
    """
    kinds, left = set(triggers), bool(champion and champion.get("left"))
    if kinds == {CALIBRATION}:
        return "recalibration"
    if left and REPLACE in kinds:
        return "replacement"
    return "non_inferiority" if left or REFRESH in kinds else "improvement"
