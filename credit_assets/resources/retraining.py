"""Which retrainings were asked for, by which triggers, kept in the store so that a run of any origin knows it.

Belongs here: the claims `retraining/<D>` (who started the retraining as of D) and `retraining-triggers/<D>/<trigger>`
(everyone who asked for it). Does not belong here: when a trigger asks (`credit_assets.automation.triggers`).
"""

from __future__ import annotations

from datetime import date

from credit_assets.resources.claims import Claims

REFRESH = "refresh"


def triggers_of(claims: Claims, as_of: date) -> tuple[str, ...]:
    """The triggers that asked for the retraining as of this day, sorted. Empty for a daily or a manual run."""
    return tuple(claims.names(f"retraining-triggers/{as_of.isoformat()}"))
