"""What people ask of the deployment: promote, approve, rollback, reject.

Belongs here: entering a request and seeing it done. Does not belong here: what a request does
(`credit_assets.ledger.deployment`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from rich.console import Console

from credit_assets.failures import PermanentError
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import (
    ACCEPTABLE,
    ACTOR,
    CHALLENGER,
    SHADOW,
    Deployment,
    champion_before,
    holds,
)
from credit_assets.ledger.registry import CHAMPION, Registry
from credit_assets.ledger.reported import recover, report_moves
from credit_assets.ledger.requests import DONE, Kind, Request
from credit_assets.resources import build_resources
from credit_assets.settings import Settings

# A tick every 30 seconds, and what it does.
_SENSOR_WAIT_SECONDS = 60
_HEARTBEAT_SECONDS = 90


@dataclass(frozen=True)
class MoveRequest:
    """What a person asks for. Without a version a rollback means the champion before this one, an approval or a
    rejection the model on trial; without a day the move takes effect today.
    """

    kind: Kind
    version: str | None
    by: str
    reason: str
    effective_from: date | None = None
    accepted: tuple[str, ...] = ()


def request_move(settings: Settings, instance: dg.DagsterInstance, wanted: MoveRequest) -> dict[str, Any]:
    """Enter the request and see it done: by the sensor where Dagster's daemon runs, within a tick, else here.

    What was cut short before is completed first. A command that was killed and is run again goes on with the request
    that it entered then, however far that has come: it asks for nothing new.

    Raises PermanentError for an unknown version, an empty reason, or what `Deployment.examine` refuses.
    """
    kind, by = wanted.kind, wanted.by
    if by == ACTOR:
        raise PermanentError(f"--by {by!r} is the name under which the pipeline decides: name a person")
    _refuse_acceptance(kind, wanted.accepted)
    deployment: Deployment = build_resources(settings)["deployment"]
    recover(instance, deployment)
    start = wanted.effective_from or datetime.now(ZoneInfo(settings.timezone)).date()
    request = _interrupted(deployment, wanted, start) or _enter(deployment, wanted, start)
    target = request.version
    if deployment.waits_for_signature(request):
        return {"request": request.number, "move": kind, "to": target, "waits": deployment.approvals.in_words(request)}
    try:
        outcome = _done(deployment, request, instance)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"request {request.number} to {kind} version {target} is entered and will be done: see `credit-assets "
            "models` before you ask again"
        ) from None
    if outcome != DONE:
        raise PermanentError(f"request {request.number} to {kind} version {target} was {outcome}")
    against = [one.text for one in deployment.takeover(deployment.registry.version(target)) if not one.passed]
    return {
        "request": request.number,
        "move": kind,
        "from": champion_before(deployment.aliases, request),
        "to": target,
        "reason": request.reason,
        "by": by,
        "effective_from": request.effective_from.isoformat(),
        "in_spite_of": [] if kind == "reject" else against,
    }


def _enter(deployment: Deployment, wanted: MoveRequest, start: date) -> Request:
    """A new request, examined before. Raises PermanentError where it cannot be met."""
    kind, accepted = wanted.kind, wanted.accepted
    target = wanted.version or _default_version(kind, deployment.registry)
    deployment.examine(kind, target, by=wanted.by, accepted=accepted)
    return deployment.requests.add(
        kind, target, by=wanted.by, reason=wanted.reason, effective_from=start, accepted=accepted
    )


def _interrupted(deployment: Deployment, wanted: MoveRequest, start: date) -> Request | None:
    """The newest request of this person, where it is what this command asks for and is not done, or still holds: the
    command was cut short then. Without it a rollback that was killed at its last step would, run again, roll back the
    rollback, and an approval bring the next model on trial into force.
    """
    newest = deployment.requests.newest_of(wanted.by)
    if newest is None:
        return None
    same = (
        newest.kind == wanted.kind
        and wanted.version in (None, newest.version)
        and newest.reason == " ".join(wanted.reason.split())
        and newest.accepted == wanted.accepted
    )
    # Killed before midnight and run again after it, a command without --from names the next day.
    days = abs((start - newest.effective_from).days)
    if not same or days > (0 if wanted.effective_from else 1):
        return None
    outcome = deployment.requests.outcome(newest)
    return newest if outcome is None or (outcome == DONE and holds(deployment.aliases, newest)) else None


def _refuse_acceptance(kind: Kind, accepted: Sequence[str]) -> None:
    if accepted and kind not in ("promote", "approve"):
        raise PermanentError(f"--accept has no meaning for {kind}: nothing recorded of the version stands against it")
    if unknown := sorted(set(accepted) - set(ACCEPTABLE)):
        raise PermanentError(f"--accept {', '.join(unknown)}: unknown; what can be accepted: {', '.join(ACCEPTABLE)}")


def _done(deployment: Deployment, request: Request, instance: dg.DagsterInstance) -> str | None:
    """What came of the request: by the sensor where it runs, else by this process."""
    deadline = time.monotonic() + (_SENSOR_WAIT_SECONDS if _sensors_run(instance) else 0)
    while (outcome := deployment.requests.outcome(request)) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    if outcome is None:
        outcome = {found.number: message for found, message in deployment.apply_pending()}.get(request.number)
        report_moves(instance, deployment.registry)
    return deployment.requests.outcome(request) or outcome


def sign_request(settings: Settings, instance: dg.DagsterInstance, number: int, signature: str) -> dict[str, Any]:
    """Enter the signature of a pending request and see that done. Raises PermanentError where it does not count."""
    deployment: Deployment = build_resources(settings)["deployment"]
    request = pending_request(deployment, number)
    signer = deployment.approvals.sign(request, signature)
    outcome = _done(deployment, request, instance)
    if outcome != DONE:
        raise PermanentError(f"request {number} to {request.kind} version {request.version} was {outcome}")
    return {"request": number, "move": request.kind, "to": request.version, "by": request.by, "signed_by": signer}


def withdraw_request(settings: Settings, number: int, *, by: str, reason: str) -> dict[str, Any]:
    """Give up a request that waits for a signature. Raises PermanentError where none of this number does."""
    deployment: Deployment = build_resources(settings)["deployment"]
    request = pending_request(deployment, number)
    if not deployment.waits_for_signature(request):
        raise PermanentError(f"request {number} waits for no signature any more: it is done within a tick")
    outcome = deployment.requests.withdraw(request, by=by, reason=reason)
    return {"request": number, "move": request.kind, "to": request.version, "by": request.by, "outcome": outcome}


def text_to_sign(settings: Settings, number: int) -> str:
    """The text of a pending request. Raises PermanentError where there is none of this number."""
    deployment: Deployment = build_resources(settings)["deployment"]
    return deployment.approvals.text_of(pending_request(deployment, number))


def pending_request(deployment: Deployment, number: int) -> Request:
    found = next((one for one in deployment.requests.pending() if one.number == number), None)
    if found is None:
        waiting = ", ".join(str(one.number) for one in deployment.requests.pending()) or "none"
        raise PermanentError(f"no request {number} waits for anything; those that wait: {waiting}")
    return found


def print_move(record: dict[str, Any], console: Console) -> None:
    if "waits" in record:
        console.print(record["waits"], markup=False)
        return
    to, start = record["to"], record["effective_from"]
    if record["move"] == "reject":
        console.print(f"version {to} is no longer on trial from {start} on")
    else:
        for text in record["in_spite_of"]:
            console.print(f"warning: {text}", style="yellow", markup=False)
        console.print(f"champion: version {to} from {start} on (before: {record['from'] or 'none'})")


def _default_version(kind: Kind, registry: Registry) -> str:
    """The version that a request without one is about."""
    if kind == "rollback":
        history = Aliases(registry).history(CHAMPION)
        if len(history) < 2:
            raise PermanentError("there is no former champion to roll back to")
        return history[-2].version
    holder = registry.alias(SHADOW) or registry.alias(CHALLENGER)
    if holder is None or CHAMPION in holder.aliases:
        raise PermanentError(f"no model is on trial: name the version to {kind}")
    return holder.version


def _sensors_run(instance: dg.DagsterInstance) -> bool:
    """Whether Dagster's daemon evaluates sensors on this instance: its heart has beaten lately."""
    beat = instance.get_daemon_heartbeats().get("SENSOR")
    return beat is not None and time.time() - beat.timestamp < _HEARTBEAT_SECONDS
