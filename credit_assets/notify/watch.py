"""The watch: what stands still (sensors, schedules, the daemon) and who is told of it.

Belongs here: the sensor that looks at the others. Does not belong here: messages of single events (`follow`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import dagster as dg

from credit_assets.notify.delivery import (
    _NOBODY,
    _TICK_SECONDS,
    Notice,
    _at,
    _deliver,
    _here,
    _places,
    _services,
    _state,
)
from credit_assets.notify.messages import (
    Message,
    one_line,
    step_problem,
)
from credit_assets.notify.notifier import Notifier
from credit_assets.settings import Settings

if TYPE_CHECKING:
    from credit_assets.instance.dagster_internals import InstigatorState, InstigatorTick
from credit_assets.notify.messages import _title

WATCH = "sensor_watch"


_UNSENT_KEPT = 50


_STREAK = 3


_SILENT_SECONDS = 600.0


_GAP_SECONDS = 300.0


_DOWN_SECONDS = 900.0


@dataclass(frozen=True)
class _Trouble:
    """A sensor or schedule that does not do its work: since when (seconds of the epoch) and how it shows."""

    kind: str
    since: float
    what: str
    page: str


def _watch(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=WATCH,
        description=f"Sends one message to CREDIT_ALERT_URLS when another sensor has failed or could not reach a "
        f"service {_STREAK} times in a row, has not ticked for long, or when a schedule has failed; one when it works "
        "again. It cannot tell that no sensor ticks at all: watch the daemon from outside.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
    )
    def sensor_watch(context: dg.SensorEvaluationContext, notifier: dg.ResourceParam[Notifier]) -> dg.SkipReason:
        services = _services(notifier)
        if not services:
            context.update_cursor("{}")
            return dg.SkipReason(_NOBODY)
        deadline = time.monotonic() + _TICK_SECONDS
        state, now = _state(context), time.time()
        seen, number = float(state.get("seen", now)), int(state.get("number", 0))
        # What stood still together with this sensor gets its time to start.
        awake = float(state.get("awake", now)) if now - seen < _GAP_SECONDS else now
        known = {name: _Trouble(**trouble) for name, trouble in state.get("troubles", {}).items()}
        troubles, running = _look(context, settings.dagster_url, known, awake, now)
        messages = [
            *([_gap_message(seen, now)] if now - seen > _DOWN_SECONDS else []),
            *_trouble_messages(known, troubles, running),
        ]
        places = _places(state.get("at"), services, number)
        unsent = [Notice(position, Message(**message)) for position, message in state.get("unsent", [])]
        unsent += [Notice(number + n, message) for n, message in enumerate(messages, 1)]
        delivery = _deliver(
            services, places, lambda position: [notice for notice in unsent if notice.position > position], deadline
        )
        told = min(place.position for place in delivery.places.values())
        left = [notice for notice in unsent if notice.position > told][-_UNSENT_KEPT:]
        context.update_cursor(
            json.dumps(
                {
                    "at": delivery.places,
                    "number": number + len(messages),
                    "unsent": [(notice.position, vars(notice.message)) for notice in left],
                    "troubles": {name: vars(trouble) for name, trouble in troubles.items()},
                    "seen": now,
                    "awake": awake,
                },
                sort_keys=True,
            )
        )
        return dg.SkipReason(f"{len(running)} watched, {len(troubles)} in trouble; {delivery.summary()}")

    return sensor_watch


def _look(
    context: dg.SensorEvaluationContext, dagster_url: str, known: Mapping[str, _Trouble], awake: float, now: float
) -> tuple[dict[str, _Trouble], set[str]]:
    """Who is in trouble, and who is switched on. A few ticks of each are read, however many there are."""
    from credit_assets.instance.dagster_internals import InstigatorStatus, TickStatus

    finished = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    RUNNING, DECLARED = InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE
    repository = context.repository_def
    assert repository is not None
    # States outlive the code that made them: only what the code still defines is looked at.
    every: list[Any] = [*repository.sensor_defs, *repository.schedule_defs]
    defined = {one.name: one for one in every}
    troubles: dict[str, _Trouble] = {}
    running: set[str] = set()
    for state in context.instance.all_instigator_state():
        place, definition = state.repository_selector, defined.get(state.instigator_name)
        data: Any = state.instigator_data
        if (
            definition is None
            or data is None
            or definition.name == WATCH
            or (place.location_name, place.repository_name) != _here(context)
            or not (
                state.status is RUNNING or (state.status is DECLARED and definition.default_status.value == "RUNNING")
            )
        ):
            continue
        name, kind = definition.name, state.instigator_type.value.lower()
        running.add(name)
        if kind == "sensor":
            interval = definition.minimum_interval_seconds or 30
            # Ticks of the time before it was switched off and on again do not count. Those of days are not asked for:
            # Dagster sorts all that it is asked for before it takes the newest.
            needed, since = _STREAK, max(data.last_sensor_start_timestamp or 0.0, now - max(3600.0, 10.0 * interval))
        else:
            # A schedule that fails once has missed its hour.
            needed, since = 1, data.start_timestamp or 0.0
        ticks = context.instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=since, limit=needed, statuses=finished
        )
        shown = _streak(ticks, needed)
        if shown is None and kind == "sensor":
            last = max(data.last_tick_start_timestamp or 0.0, awake)
            if now - last > max(_SILENT_SECONDS, 10 * interval):
                shown = last, "is switched on and does not tick"
        if name in known and (shown or (ticks and _complaint(ticks[0]))):
            troubles[name] = known[name]
        elif shown:
            troubles[name] = _Trouble(kind, *shown, _page(dagster_url, state, kind))
    return troubles, running


def _streak(ticks: Sequence[InstigatorTick], needed: int) -> tuple[float, str] | None:
    """Since when, and with what, all of the last ticks (newest first) failed; None where one did not."""
    complaints = [_complaint(tick) for tick in ticks]
    if len(complaints) < needed or not all(complaints):
        return None
    often = f", {needed} times in a row" if needed > 1 else ""
    return ticks[-1].timestamp, f"{complaints[0]}{often}"


def _complaint(tick: InstigatorTick) -> str:
    """What was wrong with a tick, without any word of a foreign error; empty where nothing was."""
    if tick.status.value == "FAILURE":
        problem = step_problem("", tick.error)
        return f"failed: {problem.line or f'{problem.error} (its message stands in the tick only)'}"
    said = tick.skip_reason or ""
    # What comes after the colon is what a service or its library answered.
    return one_line(said.partition(":")[0]) if said.startswith("cannot reach") else ""


def _page(dagster_url: str, state: InstigatorState, kind: str) -> str:
    place = state.repository_selector
    location = quote(place.location_name, safe="")
    # Dagster's UI leaves out the name that it gives to the only repository of a code location.
    folder = location if place.repository_name == "__repository__" else f"{place.repository_name}@{location}"
    return f"{dagster_url.rstrip('/')}/locations/{folder}/{kind}s/{quote(state.instigator_name, safe='')}"


def _trouble_messages(
    before: Mapping[str, _Trouble], after: Mapping[str, _Trouble], running: set[str]
) -> list[Message]:
    """One message for all that came into trouble in this tick (a server that is away takes several along), one for all
    that came out of it. Who was switched off meanwhile is not mentioned: somebody did that.
    """
    new = {name: trouble for name, trouble in after.items() if name not in before}
    well = {name: trouble for name, trouble in before.items() if name not in after and name in running}
    messages = []
    if new:
        lines = [f"- {name} {t.what}, since {_at(t.since)}\n  {t.page}" for name, t in sorted(new.items())]
        hint = "Do: see the last ticks on its page; `credit-assets doctor` says which service does not answer."
        messages.append(Message(_title(f"{_names(new)} in trouble"), "\n".join([*lines, hint]), "failure"))
    if well:
        lines = [f"- {name}: in trouble since {_at(t.since)}\n  {t.page}" for name, t in sorted(well.items())]
        messages.append(
            Message(
                _title(f"{_names(well)} {'works' if len(well) == 1 else 'work'} again"), "\n".join(lines), "success"
            )
        )
    return messages


def _gap_message(last: float, now: float) -> Message:
    return Message(
        _title("sensors were not watched"),
        f"{WATCH} did not tick from {_at(last)} to {_at(now)}: the Dagster daemon was down or the code location did "
        "not load. What happened meanwhile is told now; the triggers go on where they stood.",
        "warning",
    )


def _names(troubles: Mapping[str, _Trouble]) -> str:
    kinds = {trouble.kind for trouble in troubles.values()}
    if len(troubles) == 1:
        return f"{kinds.pop()} {next(iter(troubles))}"
    return f"{len(troubles)} {' and '.join(f'{kind}s' for kind in sorted(kinds, reverse=True))}"
