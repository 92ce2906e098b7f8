"""Reading the materializations of an asset one after another, and remembering how far.

Belongs here: the cursor of a sensor that follows an asset, with the state of its rule, and where one that has none
begins. Does not belong here: what the events mean.

A tick costs one indexed query, the same after ten years of daily reports as after one month. Partitions are listed by
the first one alone, and for a request from outside that names no day.

A sensor that is switched on for the first time, or whose cursor was reset, begins at the newest day ingested. What was
reported before is history: walking through it took a tick for every 50 reports, and then a model was trained as of a
day long past, for a reason that nobody had any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, TypeVar

import dagster as dg

from credit_assets.failures import PermanentError
from credit_assets.naming import Names

EVENTS_A_TICK = 50
INGESTED = "loan_outcomes"
"""The asset whose newest partition is the newest day ingested: it is the last that an as-of date needs."""

_S = TypeVar("_S")


def events_after(instance: dg.DagsterInstance, asset: dg.AssetKey, position: int) -> Sequence[dg.EventLogRecord]:
    """The next events of an asset, oldest first, as many as a tick takes."""
    wanted = dg.AssetRecordsFilter(asset, after_storage_id=position)
    return instance.fetch_materializations(wanted, limit=EVENTS_A_TICK, ascending=True).records


class Beginning(NamedTuple):
    """Where a sensor without a cursor begins: after the event `position`, at the day `first` (None: nothing is
    ingested), which was ingested at `since`, in seconds since 1970.
    """

    position: int
    first: date | None
    since: float


def newest_day(instance: dg.DagsterInstance, naming: Names) -> date | None:
    """The newest day ingested, whenever that was."""
    days = instance.get_materialized_partitions(_ingested(naming))
    return max(map(date.fromisoformat, days), default=None)


def beginning(instance: dg.DagsterInstance, asset: dg.AssetKey, naming: Names) -> Beginning:
    """Where to begin to follow an asset: right before the first event of the newest day ingested.

    Without one of that day, after the newest event: the day's own is still to come.
    """
    first = newest_day(instance, naming)
    if first is None:
        return Beginning(0, None, 0.0)
    since = _one(instance, _ingested(naming), first, ascending=True)
    events = [_one(instance, asset, first, ascending=True), _one(instance, asset, None, ascending=False)]
    of_day, newest = (event.storage_id if event else None for event in events)
    position = of_day - 1 if of_day is not None else newest or 0
    return Beginning(position, first, since.timestamp if since else 0.0)


def _ingested(naming: Names) -> dg.AssetKey:
    return dg.AssetKey(naming.asset(INGESTED))


def _one(
    instance: dg.DagsterInstance, asset: dg.AssetKey, day: date | None, *, ascending: bool
) -> dg.EventLogRecord | None:
    wanted = dg.AssetRecordsFilter(asset, asset_partitions=[day.isoformat()] if day else None)
    return next(iter(instance.fetch_materializations(wanted, limit=1, ascending=ascending).records), None)


def read_cursor(cursor: str | None, parse: Callable[[dict[str, Any]], _S]) -> tuple[int, _S | None]:
    """How far the sensor has read, and its state; 0 and None at the beginning."""
    if not cursor:
        return 0, None
    try:
        record = json.loads(cursor)
        return int(record["storage_id"]), parse(record["state"])
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"the cursor of this sensor is damaged ({error}); reset it on the sensor's page"
        ) from error


def write_cursor(position: int, state: Mapping[str, Any]) -> str:
    return json.dumps({"storage_id": position, "state": state}, sort_keys=True)
