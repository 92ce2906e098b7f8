"""Delivery: each message to each alert service once, in order, from where that service stands.

Belongs here: places (how far a service has been served), sending, and what every sensor that sends has in common. Does
not belong here: what a message says (`messages`, `alerts`), which events there are messages of (`follow`, `watch`),
and how one service is spoken to (`notifier`).

No message is lost. A run status sensor of Dagster passes a run by when its function raises, so an alert that nobody
takes would be gone. The sensors here keep in their cursor how far each service has been served, in a row of events that
outlives the tick. A service that does not answer is tried again at the next tick and holds up no other one. A message
is sent twice only where the process is killed after sending and before Dagster stores the cursor. A service that is
added is served from then on; one that takes the place of another (a corrected URL) gets what that one has missed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import dagster as dg

from credit_assets.failures import PermanentError, TransientError
from credit_assets.naming import Names
from credit_assets.notify.messages import Message
from credit_assets.notify.notifier import Notifier
from credit_assets.notify.ticks import Unreachable, handles_tick_errors
from credit_assets.settings import Settings

# A tick has a minute before Dagster gives it up, and the last message may take ten seconds.
_TICK_SECONDS = 30.0
# Also what keeps a URL with several targets, of which one refuses for ever, from filling the others' inbox.
_LONGEST_PAUSE_SECONDS = 600.0


class Notice(NamedTuple):
    """An event at its place in a row of events, and the message of it, if there is one."""

    position: int
    message: Message | None


class DeliveryState(NamedTuple):
    """How far a service has been served; how often it has refused the next message, and when it is tried again."""

    position: int
    refused: int = 0
    not_before: float = 0.0


@dataclass(frozen=True)
class Delivery:
    """What came of one tick: where each service stands now, titles of what was sent, and what went wrong."""

    places: dict[str, DeliveryState]
    sent: tuple[str, ...]
    problems: tuple[str, ...]

    def summary(self) -> str:
        if self.problems:
            service = f"{len(self.problems)} of {len(self.places)} alert services"
            return str(Unreachable(service, "; ".join(self.problems)))
        return f"told: {'; '.join(self.sent)}" if self.sent else "nothing new"


class Tick(NamedTuple):
    """What a sensor that sends has to work with."""

    context: dg.SensorEvaluationContext
    services: Mapping[str, Notifier]
    state: Mapping[str, Any]
    deadline: float
    naming: Names
    """Of the portfolio that the messages are about."""


def sending_sensor(
    settings: Settings, name: str, description: str, seconds: int, work: Callable[[Tick], tuple[dict[str, Any], str]]
) -> dg.SensorDefinition:
    """A sensor that sends messages and starts no run. `work` returns what the cursor keeps, and what the tick says.

    It is off where CREDIT_ALERT_URLS names nobody: a list of sensors that do nothing hides those that do.
    """
    naming, on = settings.naming, bool(settings.alert_targets)

    @dg.sensor(
        name=naming.dagster(name),
        description=description if on else f"{description} Off, since CREDIT_ALERT_URLS names nobody.",
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=seconds,
    )
    @handles_tick_errors("the alert services or Dagster's database")
    def sensor(context: dg.SensorEvaluationContext, notifier: dg.ResourceParam[Notifier]) -> dg.SkipReason:
        services = _services(notifier)
        if not services:
            context.update_cursor("{}")
            return dg.SkipReason("CREDIT_ALERT_URLS is empty, so nobody is told")
        state, summary = work(Tick(context, services, _state(context.cursor), time.monotonic() + _TICK_SECONDS, naming))
        context.update_cursor(json.dumps(state, sort_keys=True))
        return dg.SkipReason(summary)

    return sensor


def places(known: Mapping[str, Sequence[Any]] | None, services: Iterable[str], newest: int) -> dict[str, DeliveryState]:
    """Where each service stands. One that is new goes on where the last of those that are gone stood."""
    before, names = {name: DeliveryState(*place) for name, place in (known or {}).items()}, set(services)
    start = min((place.position for name, place in before.items() if name not in names), default=newest)
    # Not beyond the newest: an event log that was wiped counts from the beginning again.
    return {
        name: place._replace(position=min(place.position, newest))
        for name in services
        for place in [before.get(name, DeliveryState(start))]
    }


def deliver(tick: Tick, at: Mapping[str, DeliveryState], after: Callable[[int], Sequence[Notice]]) -> Delivery:
    """Send each service, in order, what it has not got, up to the first message that it does not take."""
    # Services stand at the same place nearly always; an event is put into words once.
    waiting = {
        position: [Notice(one.position, one.message and one.message.about(tick.naming)) for one in after(position)]
        for position in sorted({place.position for place in at.values()})
    }

    def serve(name: str) -> tuple[DeliveryState, list[str], str]:
        return _serve(name, tick.services[name], at[name], waiting[at[name].position], tick.deadline)

    with ThreadPoolExecutor(len(tick.services)) as pool:
        answers = dict(zip(tick.services, pool.map(serve, tick.services), strict=True))
    return Delivery(
        {name: place for name, (place, _, _) in answers.items()},
        tuple(dict.fromkeys(title for _, sent, _ in answers.values() for title in sent)),
        tuple(problem for _, _, problem in answers.values() if problem),
    )


def _serve(
    name: str, service: Notifier, place: DeliveryState, notices: Sequence[Notice], deadline: float
) -> tuple[DeliveryState, list[str], str]:
    """Where a service stands after these, titles of what it took, and why it took no more."""
    sent: list[str] = []
    now = time.time()
    for position, message in notices:
        if message is not None:
            if now < place.not_before:
                return place, sent, f"{name} is asked again after {utc(place.not_before)}"
            # Never before the first one: what takes long to put into words would take as long again.
            if sent and time.monotonic() > deadline:
                break
            try:
                service.send(message.title, message.body, message.kind)
            except (TransientError, PermanentError) as error:
                pause = min(_LONGEST_PAUSE_SECONDS, 30.0 * (2 ** min(place.refused, 10) - 1))
                return place._replace(refused=place.refused + 1, not_before=now + pause), sent, str(error)
            sent.append(message.title)
        place = DeliveryState(position)
    return place, sent, ""


def _services(notifier: Notifier) -> dict[str, Notifier]:
    """A notifier for each service and each recipient of mail, by a name without secrets, since the UI shows cursors.

    One by one, so that who took a message does not get it again for the sake of one who did not.
    """
    services: dict[str, Notifier] = {}
    for single in notifier.each():
        (shown,) = single.describe()
        number = sum(name.partition(" ")[0] == shown for name in services)
        services[f"{shown} #{number + 1}" if number else shown] = single
    return services


def _state(cursor: str | None) -> dict[str, Any]:
    """What the cursor holds; nothing where it is another sensor's of the same name."""
    try:
        state = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}


def own_repository(context: dg.SensorEvaluationContext) -> tuple[str | None, str | None]:
    """Names of the code location and repository that the sensor belongs to; None outside of any."""
    location = context.code_location_origin
    return location.location_name if location else None, context.repository_name


def utc(seconds: float) -> str:
    """A moment (seconds of the epoch) for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
