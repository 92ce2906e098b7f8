"""What runs that succeeded have said of their steps, taken out of Dagster once it is old.

Belongs here: events and output of runs. Does not belong here: for how long they are kept (settings), and what is kept
of models (`credit_assets.ledger.retention`).

A run itself, what it made (materializations, observations), checked and decided, when it and its steps began and
ended, and everything of one that did not succeed stays: from these events the materialized days, the checks and the
record of decisions are told. What goes is between them: inputs and outputs of steps as they were handed over,
resources that were opened, lines of log.

Runs are gone through in the order in which they were made, once: how far stands among the cursors of Dagster's own
daemons. It is noted after a run is done with, and doing it again changes nothing, so that whoever is killed loses
nothing but a look.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import dagster as dg

from credit_assets.instance.dagster_internals import take_out_events
from credit_assets.instance.own_runs import is_own
from credit_assets.naming import Names

_KINDS = dg.DagsterEventType
GOING = frozenset(
    kind.value
    for kind in (
        _KINDS.STEP_INPUT,
        _KINDS.STEP_OUTPUT,
        _KINDS.HANDLED_OUTPUT,
        _KINDS.LOADED_INPUT,
        _KINDS.RESOURCE_INIT_STARTED,
        _KINDS.RESOURCE_INIT_SUCCESS,
        _KINDS.ENGINE_EVENT,
        _KINDS.LOGS_CAPTURED,
        _KINDS.STEP_WORKER_STARTING,
        _KINDS.STEP_WORKER_STARTED,
        _KINDS.ASSET_CHECK_EVALUATION_PLANNED,
    )
)
"""Types of events that go, with the lines of log, which have none."""
EVENTS, OUTPUT = "events", "output"
_PAGE = 100


class OldRun(NamedTuple):
    """A run whose events or output go; how many events there are of it, where these do."""

    run_id: str
    job: str
    made: datetime
    events: int | None = None


def take_out_old(
    instance: dg.DagsterInstance, naming: Names, what: str, before: datetime, *, dry_run: bool = False
) -> Iterator[OldRun]:
    """Take the EVENTS or the OUTPUT of this portfolio's runs out that succeeded and were made before then, oldest
    first; each run when it is done with. With `dry_run` only say which.
    """
    after = place_of(instance, naming, what)
    while True:
        wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], created_after=after, created_before=before)
        page = instance.get_run_records(wanted, limit=_PAGE, ascending=True)
        for record in page:
            run, made = record.dagster_run, record.create_timestamp.replace(tzinfo=UTC)
            mine = is_own(naming, run)
            count = _take_out(instance, run.run_id, what, dry_run=dry_run) if mine else None
            if not dry_run:
                note_place(instance, naming, what, made)
            if mine:
                yield OldRun(run.run_id, run.job_name, made, count)
            after = made
        if len(page) < _PAGE:
            return


def _take_out(instance: dg.DagsterInstance, run_id: str, what: str, *, dry_run: bool) -> int | None:
    if what == EVENTS:
        return take_out_events(instance, run_id, GOING, only_count=dry_run)
    if not dry_run:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    return None


def _key(naming: Names, what: str) -> str:
    return f"credit-assets/retention/{what}/{naming.portfolio}"


def place_of(instance: dg.DagsterInstance, naming: Names, what: str) -> datetime | None:
    """How far the retention of something has come; None where it has not begun."""
    key = _key(naming, what)
    written = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
    try:
        return datetime.fromisoformat(written) if written else None
    except ValueError:
        # Damaged: all are gone through again, which changes nothing.
        return None


def note_place(instance: dg.DagsterInstance, naming: Names, what: str, moment: datetime) -> None:
    """Note that everything up to a moment is gone through."""
    instance.daemon_cursor_storage.set_cursor_values({_key(naming, what): moment.isoformat()})
