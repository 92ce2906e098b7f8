"""The watch: sensors and schedules that stand still, and who is told of it.

Belongs here: when a sensor or schedule is in trouble, and the sensor that looks at the others. Does not belong here:
messages of single events (`follow`), and how a message comes to every service (`delivery`).

It cannot see that nothing ticks at all, itself included: that needs somebody outside who looks at the daemon (its
health in the Dagster UI, a liveness probe). It says so afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import dagster as dg

from credit_assets.instance.statuses import ended_ticks, is_on
from credit_assets.notify.alerts import step_problem
from credit_assets.notify.delivery import Notice, Tick, deliver, own_repository, places, sending_sensor, utc
from credit_assets.notify.messages import Message, one_line
from credit_assets.notify.ticks import Unreachable
from credit_assets.settings import Settings

if TYPE_CHECKING:
    from credit_assets.instance.dagster_internals import InstigatorState, InstigatorTick

WATCH = "sensor_watch"
_UNSENT_KEPT = 50
# So many ticks in a row are a trouble; a schedule that fails once has missed its hour.
_STREAK = 3
_SILENT_SECONDS = 600.0
_GAP_SECONDS = 300.0
_DOWN_SECONDS = 900.0


@dataclass(frozen=True)
class Trouble:
    """A sensor or schedule that does not do its work: since when (seconds of the epoch) and how it shows."""

    kind: str
    since: float
    what: str
    page: str


@dataclass(frozen=True)
class _Watched:
    """A sensor or schedule that is switched on, with its newest finished ticks, newest first."""

    name: str
    kind: str
    ticks: Sequence[InstigatorTick]
    needed: int
    """So many failed ticks in a row are a trouble."""
    last_tick: float
    silent_seconds: float | None
    """So long without a tick is a trouble; None where nothing says when it has to tick."""
    page: str


def watch_sensor(settings: Settings) -> dg.SensorDefinition:
    """One message for what came into trouble in a tick, one for what came out of it."""

    def watch(tick: Tick) -> tuple[dict[str, Any], str]:
        state, now = tick.state, time.time()
        seen, number = float(state.get("seen", now)), int(state.get("number", 0))
        # What stood still together with this sensor gets its time to start.
        awake = float(state.get("awake", now)) if now - seen < _GAP_SECONDS else now
        known = {name: Trouble(**trouble) for name, trouble in state.get("troubles", {}).items()}
        watched = list(_watched(tick.context, settings.dagster_url, settings.naming.dagster(WATCH), now))
        troubles = {one.name: trouble for one in watched if (trouble := _trouble(one, known.get(one.name), awake, now))}
        messages = [
            *([_gap_message(seen, now)] if now - seen > _DOWN_SECONDS else []),
            *_trouble_messages(known, troubles, {one.name for one in watched}),
        ]
        unsent = [Notice(position, Message(**message)) for position, message in state.get("unsent", [])]
        unsent += [Notice(number + n, message) for n, message in enumerate(messages, 1)]
        delivery = deliver(
            tick,
            places(state.get("at"), tick.services, number),
            lambda position: [notice for notice in unsent if notice.position > position],
        )
        served = min(place.position for place in delivery.places.values())
        left = [notice for notice in unsent if notice.position > served][-_UNSENT_KEPT:]
        kept = {
            "at": delivery.places,
            "number": number + len(messages),
            "unsent": [(notice.position, vars(notice.message)) for notice in left],
            "troubles": {name: vars(trouble) for name, trouble in troubles.items()},
            "seen": now,
            "awake": awake,
        }
        return kept, f"{len(watched)} watched, {len(troubles)} in trouble; {delivery.summary()}"

    return sending_sensor(
        settings,
        WATCH,
        f"Sends one message to CREDIT_ALERT_URLS when another sensor has failed or could not reach a "
        f"service {_STREAK} times in a row, has not ticked for long, or when a schedule has failed; one when it works "
        "again. It cannot tell that no sensor ticks at all: watch the daemon from outside.",
        60,
        watch,
    )


def _watched(context: dg.SensorEvaluationContext, dagster_url: str, watch: str, now: float) -> Iterator[_Watched]:
    """All others than this one, that are switched on. A few ticks of each are read, however many there are."""
    finished = ended_ticks()

    def newest(state: InstigatorState, since: float, limit: int) -> Sequence[InstigatorTick]:
        return context.instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=since, limit=limit, statuses=finished
        )

    repository = context.repository_def
    assert repository is not None
    # States outlive the code that made them: only what the code still defines is looked at.
    every: list[dg.SensorDefinition | dg.ScheduleDefinition] = [*repository.sensor_defs, *repository.schedule_defs]
    defined = {one.name: one for one in every if one.name != watch}
    for state in context.instance.all_instigator_state():
        place, definition = state.repository_selector, defined.get(state.instigator_name)
        mine = (place.location_name, place.repository_name) == own_repository(context)
        data: Any = state.instigator_data
        if definition is None or data is None or not mine or not is_on(state, definition):
            continue
        page = _page(dagster_url, state)
        if isinstance(definition, dg.SensorDefinition):
            interval = definition.minimum_interval_seconds or 30
            # Ticks of the time before it was switched off and on again do not count. Those of days are not asked for:
            # Dagster sorts all that it is asked for before it takes the newest.
            since = max(data.last_sensor_start_timestamp or 0.0, now - max(3600.0, 10.0 * interval))
            last, silent = data.last_tick_start_timestamp or 0.0, max(_SILENT_SECONDS, 10.0 * interval)
            yield _Watched(definition.name, "sensor", newest(state, since, _STREAK), _STREAK, last, silent, page)
        else:
            ticks = newest(state, data.start_timestamp or 0.0, 1)
            yield _Watched(definition.name, "schedule", ticks, 1, 0.0, None, page)


def _trouble(watched: _Watched, known: Trouble | None, awake: float, now: float) -> Trouble | None:
    """What is wrong with one; a trouble that is known lasts until a tick is well."""
    wrong = _streak(watched.ticks, watched.needed)
    if wrong is None and watched.silent_seconds is not None:
        last = max(watched.last_tick, awake)
        if now - last > watched.silent_seconds:
            wrong = last, "is switched on and does not tick"
    if known and (wrong or (watched.ticks and _complaint(watched.ticks[0]))):
        return known
    return Trouble(watched.kind, *wrong, watched.page) if wrong else None


def _streak(ticks: Sequence[InstigatorTick], needed: int) -> tuple[float, str] | None:
    """Since when, and with what, all of the last ticks (newest first) failed; None where one did not."""
    complaints = [_complaint(tick) for tick in ticks]
    if len(complaints) < needed or not all(complaints):
        return None
    often = f", {needed} times in a row" if needed > 1 else ""
    return ticks[-1].timestamp, f"{complaints[0]}{often}"


def _complaint(tick: InstigatorTick) -> str:
    """What was wrong with a tick, without any word of a foreign error; empty where nothing was."""
    from credit_assets.instance.dagster_internals import TickStatus

    if tick.status is TickStatus.FAILURE:
        problem = step_problem("", tick.error)
        return f"failed: {problem.line or f'{problem.error} (its message stands in the tick only)'}"
    unreachable = Unreachable.of(tick.skip_reason)
    # Not why: that is what a service or its library answered.
    return f"cannot reach {one_line(unreachable.service)}" if unreachable else ""


def _page(dagster_url: str, state: InstigatorState) -> str:
    kind = state.instigator_type.value.lower()
    place = state.repository_selector
    location = quote(place.location_name, safe="")
    # Dagster's UI leaves out the name that it gives to the only repository of a code location.
    folder = location if place.repository_name == "__repository__" else f"{place.repository_name}@{location}"
    return f"{dagster_url.rstrip('/')}/locations/{folder}/{kind}s/{quote(state.instigator_name, safe='')}"


def _trouble_messages(before: Mapping[str, Trouble], after: Mapping[str, Trouble], running: set[str]) -> list[Message]:
    """One message for all that came into trouble in this tick (a server that is away takes several along), one for all
    that came out of it. Who was switched off meanwhile is not mentioned: somebody did that.
    """
    new = {name: trouble for name, trouble in after.items() if name not in before}
    well = {name: trouble for name, trouble in before.items() if name not in after and name in running}
    messages = []
    if new:
        lines = [f"- {name} {t.what}, since {utc(t.since)}\n  {t.page}" for name, t in sorted(new.items())]
        hint = "Do: see the last ticks on its page; `credit-assets doctor` says which service does not answer."
        messages.append(Message.of(f"{_names(new)} in trouble", [*lines, hint], "failure"))
    if well:
        lines = [f"- {name}: in trouble since {utc(t.since)}\n  {t.page}" for name, t in sorted(well.items())]
        messages.append(Message.of(f"{_names(well)} {'works' if len(well) == 1 else 'work'} again", lines, "success"))
    return messages


def _gap_message(last: float, now: float) -> Message:
    line = (
        f"{WATCH} did not tick from {utc(last)} to {utc(now)}: the Dagster daemon was down or the code location did "
        "not load. What happened meanwhile is told now; the triggers go on where they stood."
    )
    return Message.of("sensors were not watched", [line], "warning")


def _names(troubles: Mapping[str, Trouble]) -> str:
    kinds = {trouble.kind for trouble in troubles.values()}
    if len(troubles) == 1:
        return f"{kinds.pop()} {next(iter(troubles))}"
    return f"{len(troubles)} {' and '.join(f'{kind}s' for kind in sorted(kinds, reverse=True))}"
