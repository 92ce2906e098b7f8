"""Starting the retraining of an as-of date: one run a day, whichever of its events comes first.

Belongs here: what every trigger does once it has a reason, from the claim to the run request. Does not belong here:
when there is a reason (`report_triggers`, `external_trigger`, `refresh`), and what the run decides (`assets`).

An event is never lost and never acted on twice. A tick that cannot do its work skips and leaves its cursor, so that the
next one meets the same events. Before a run is requested, the as-of date is claimed in the store: of all triggers of a
day one starts the run, and the others say which one did. A tick that was killed between the claim and the cursor finds
its own claim afterwards and requests the run under the same run key, which Dagster starts once. Claims outlive the
Dagster home, and so does the cooldown that they count from. A service that neither answers nor refuses for as long as
Dagster lets a tick take (60 seconds) fails the tick, which keeps the event too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from credit_assets.assets.due import calendar_of
from credit_assets.failures import PermanentError, is_transient
from credit_assets.ledger.registry import CHAMPION, Registry
from credit_assets.ledger.retraining import claim_retraining
from credit_assets.notify.messages import one_line
from credit_assets.notify.ticks import Unreachable
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tags import EVENT_TAG, REASON_TAG, TRIGGER_TAG

_LONGEST_REASON = 300


class NotNow(Exception):  # noqa: N818 - an answer, not an error
    """Why this tick does nothing; the event stays."""


class NotReady(NotNow):
    """The as-of date has not been ingested."""


@dataclass(frozen=True)
class NoRun:
    """Why an event starts no run, now or later."""

    why: str


@dataclass(frozen=True)
class Services:
    """Where triggers read and claim."""

    settings: Settings
    store: Store
    registry: Registry
    claims: Claims


@dataclass(frozen=True)
class RetrainingEvent:
    """What asks for a retraining: by which trigger, under which name for ever, as of which day and why."""

    trigger: str
    identity: str
    as_of: date
    reason: str

    def run_request(self) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=self.identity,
            partition_key=self.as_of.isoformat(),
            tags={
                TRIGGER_TAG: self.trigger,
                EVENT_TAG: self.identity,
                REASON_TAG: one_line(self.reason, _LONGEST_REASON),
            },
        )


def start(services: Services, event: RetrainingEvent) -> dg.RunRequest | NoRun:
    """The run of this event, or why there is none: the day is not due, or another event has started the retraining
    as of it.

    Raises NotNow where the day is not ingested or something does not answer, PermanentError for a damaged claim.
    """
    day = event.as_of
    with reaching("the store"):
        read = sorted(services.settings.graph.asset("training_set").reads)
        missing = [asset for asset in read if not services.store.path(asset, f"{day}.parquet").exists()]
    if missing:
        named = f"{event.trigger}: {event.reason}"
        raise NotReady(f"{' and '.join(missing)} of {day} must be materialized first ({named})")
    with reaching("the store"):
        if why := calendar_of(services.settings, services.store).why_not(day):
            return NoRun(f"{why} ({event.trigger}: {event.reason})")
    with reaching("MLflow"):
        # A run that cannot reach it fails, and its event would be spent.
        services.registry.shows(CHAMPION)
    with reaching("the store"):
        reason = one_line(event.reason, _LONGEST_REASON)
        holder, why = claim_retraining(services.claims, day, event.trigger, event.identity, reason)
    if holder != event.identity:
        return NoRun(f"the retraining as of {day} was started already by {holder} ({why})")
    return event.run_request()


def record_of(store: Store, asset: str, day: date) -> Any:
    """A record of the store, None where it is not there. Raises PermanentError where it is damaged."""
    with reaching("the store"):
        try:
            return store.read_record(store.path(asset, f"{day}.json"))
        except PermanentError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise


@contextmanager
def reaching(service: str) -> Iterator[None]:
    """Turn what a later tick may find mended into NotNow."""
    try:
        yield
    except Exception as error:
        if isinstance(error, PermanentError) or not (is_transient(error) or isinstance(error, OSError)):
            raise
        raise NotNow(str(Unreachable(service, one_line(str(error), _LONGEST_REASON)))) from error
