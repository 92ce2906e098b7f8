"""Moves of aliases that a killed process left half done: completed before a command goes on, and what `doctor` says.

Belongs here: when a command that moves nothing itself does it. Does not belong here: what is left of a move and how it
is completed (`Deployment.recover`), and the commands that move (`moves`, `replay`).
"""

from __future__ import annotations

from contextlib import suppress

from credit_assets.failures import PermanentError, TransientError
from credit_assets.health import Health
from credit_assets.ledger.alias_log import cut_short
from credit_assets.ledger.requests import Requests
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims


def complete_moves(settings: Settings) -> list[str]:
    """Do the rest of what was cut short, and say what it was. A few small reads of the store where nothing was.

    Raises as `Claims` and `Tracking` do.
    """
    if not cut_short(Claims(settings.store), settings.naming.registered_model):
        return []
    completed: list[str] = build_resources(settings)["deployment"].recover()
    return completed


def complete_what_can_be(settings: Settings) -> None:
    """The same for a command that shows what is there: it reads the log, whatever cannot be written now."""
    # `doctor` says what stands against it, and the next command tries again.
    with suppress(PermanentError, TransientError):
        complete_moves(settings)


def moves_health(settings: Settings) -> Health:
    """Whether every move and request is through; what was cut short is completed."""
    requests = Requests(Claims(settings.store))
    try:
        completed = complete_moves(settings)
        waiting, damaged = len(requests.pending()), requests.damaged()
    except (PermanentError, TransientError) as error:
        return Health("a move was cut short and cannot be completed", "fail", str(error))
    value = f"completed what was cut short: {'; '.join(completed)}" if completed else "every move is through"
    if waiting:
        value += f"; {waiting} requests wait for the next tick of the sensor, or the next command that moves"
    return Health(value, "warn" if damaged else "ok", "; ".join(damaged))
