"""What a run and a tick can come to, and whether a sensor or schedule ticks at all.

Belongs here: the sets of Dagster's statuses by which anything is decided, each once. Does not belong here: what is done
with a run that has ended, and which of MLflow's words stands for its end (`credit_assets.tracking.runs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterRunStatus as Run

if TYPE_CHECKING:
    from credit_assets.instance.dagster_internals import InstigatorState, TickStatus

ENDED = (Run.SUCCESS, Run.FAILURE, Run.CANCELED)
UNFINISHED = tuple(status for status in Run if status not in ENDED)
"""All others, those included that come with a newer Dagster: nothing is taken from a run that may go on."""
AT_WORK = (Run.STARTING, Run.STARTED, Run.CANCELING)
"""There is, or was, a process that makes the run."""
WITH_PROCESS = (Run.NOT_STARTED, *AT_WORK)
"""The same, and one that a command has entered and not begun yet."""
UNDER_WAY = (Run.NOT_STARTED, Run.QUEUED, *AT_WORK)


def ended_ticks() -> list[TickStatus]:
    """Every status of a tick that is through."""
    # Its module brings SQLAlchemy, which what only knows of runs does without.
    from credit_assets.instance.dagster_internals import TickStatus

    return [status for status in TickStatus if status is not TickStatus.STARTED]


def is_on(state: InstigatorState | None, definition: dg.SensorDefinition | dg.ScheduleDefinition) -> bool:
    """Whether it ticks: by what somebody has said in the Dagster UI, else by what its definition declares.

    Dagster's own `is_running` is true of all that nobody has stopped, also of what is declared as stopped.
    """
    if state is not None and state.status.value in ("RUNNING", "STOPPED"):
        return state.status.value == "RUNNING"
    return definition.default_status in (dg.DefaultSensorStatus.RUNNING, dg.DefaultScheduleStatus.RUNNING)
