"""Reading the materializations of an asset one after another, and remembering how far.

Belongs here: the cursor of a sensor that follows an asset, with the state of its rule. Does not belong here: what the
events mean.

A tick costs one indexed query. It never lists partitions, so that it costs the same after ten years of daily reports as
after one month.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import dagster as dg

from credit_assets.failures import PermanentError

EVENTS_A_TICK = 50

_S = TypeVar("_S")


def events_after(instance: dg.DagsterInstance, asset: str, position: int) -> Sequence[dg.EventLogRecord]:
    """The next events of an asset, oldest first, as many as a tick takes."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), after_storage_id=position)
    return instance.fetch_materializations(wanted, limit=EVENTS_A_TICK, ascending=True).records


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
