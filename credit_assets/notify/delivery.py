"""Delivery: each message to each alert service once, in order, from where that service stands.

Belongs here: places (how far a service has been told) and sending. Does not belong here: what a message says
(`messages`), which events there are messages of (`follow`), and how one service is spoken to (`notifier`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from credit_assets.failures import PermanentError, TransientError
from credit_assets.notify.messages import (
    Message,
)
from credit_assets.notify.notifier import Notifier

if TYPE_CHECKING:
    pass

# A tick has a minute before Dagster gives it up, and the last message may take ten seconds.
_TICK_SECONDS = 30.0


# Also what keeps a URL with several targets, of which one refuses for ever, from filling the others' inbox.
_LONGEST_PAUSE_SECONDS = 600.0


_NOBODY = "CREDIT_ALERT_URLS is empty, so nobody is told"


class Notice(NamedTuple):
    """An event at its place in a row of events, and what there is to tell of it."""

    position: int
    message: Message | None


def _here(context: dg.SensorEvaluationContext) -> tuple[str | None, str | None]:
    """Names of the code location and repository that the sensor belongs to; None outside of any."""
    location = context.code_location_origin
    return location.location_name if location else None, context.repository_name


class _Place(NamedTuple):
    """How far a service has been told; how often it has refused the next message, and when it is asked again."""

    position: int
    refused: int = 0
    not_before: float = 0.0


@dataclass(frozen=True)
class _Delivery:
    places: dict[str, _Place]
    sent: tuple[str, ...]
    problems: tuple[str, ...]

    def summary(self) -> str:
        if self.problems:
            why = "; ".join(self.problems)
            return f"cannot reach {len(self.problems)} of {len(self.places)} alert services, will try again: {why}"
        return f"told: {'; '.join(self.sent)}" if self.sent else "nothing new"


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


def _places(known: Mapping[str, Sequence[Any]] | None, services: Iterable[str], newest: int) -> dict[str, _Place]:
    """Where each service stands. One that is new goes on where the last of those that are gone stood."""
    places, names = {name: _Place(*place) for name, place in (known or {}).items()}, set(services)
    start = min((place.position for name, place in places.items() if name not in names), default=newest)
    # Not beyond the newest: an event log that was wiped counts from the beginning again.
    return {
        name: place._replace(position=min(place.position, newest))
        for name in services
        for place in [places.get(name, _Place(start))]
    }


def _deliver(
    services: Mapping[str, Notifier],
    places: Mapping[str, _Place],
    after: Callable[[int], Sequence[Notice]],
    deadline: float,
) -> _Delivery:
    """Send each service, in order, what it has not been told, up to the first message that it does not take."""
    # Services stand at the same place nearly always; an event is put into words once.
    waiting = {position: after(position) for position in sorted({place.position for place in places.values()})}
    now = time.time()

    def tell(name: str) -> tuple[_Place, list[str], str]:
        place = places[name]
        sent: list[str] = []
        for notice in waiting[place.position]:
            if notice.message is not None:
                if now < place.not_before:
                    return place, sent, f"{name} is asked again after {_at(place.not_before)}"
                # Never before the first one: what takes long to put into words would take as long again.
                if sent and time.monotonic() > deadline:
                    break
                try:
                    services[name].send(notice.message.title, notice.message.body, notice.message.kind)
                except (TransientError, PermanentError) as error:
                    pause = min(_LONGEST_PAUSE_SECONDS, 30.0 * (2 ** min(place.refused, 10) - 1))
                    return place._replace(refused=place.refused + 1, not_before=now + pause), sent, str(error)
                sent.append(notice.message.title)
            place = _Place(notice.position)
        return place, sent, ""

    with ThreadPoolExecutor(len(services)) as pool:
        answers = dict(zip(services, pool.map(tell, services), strict=True))
    return _Delivery(
        {name: place for name, (place, _, _) in answers.items()},
        tuple(dict.fromkeys(title for _, sent, _ in answers.values() for title in sent)),
        tuple(problem for _, _, problem in answers.values() if problem),
    )


def _state(context: dg.SensorEvaluationContext) -> dict[str, Any]:
    """What the cursor holds; nothing where it is another sensor's of the same name."""
    try:
        state = json.loads(context.cursor or "{}")
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
