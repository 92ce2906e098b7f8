"""What processes that were killed have left: seen, and ended, by `doctor`.

Belongs here: looking for it and saying what was found. Does not belong here: how it is known that a process is gone
(`credit_assets.processes`), and ending a run (`credit_assets.instance.lost_runs`).
"""

from __future__ import annotations

import dagster as dg

from credit_assets.failures import PermanentError, TransientError
from credit_assets.health import Health, first_line
from credit_assets.instance.home import instance_of
from credit_assets.instance.lost_runs import end_lost_runs, process_of
from credit_assets.instance.own_runs import own_runs
from credit_assets.resources import build_resources
from credit_assets.settings import Settings

_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_MOST = 100


def runs_health(settings: Settings) -> Health:
    """Ends the runs whose process is gone; says which they were, and which cannot be looked at from here."""
    tracking = build_resources(settings)["tracking"]
    try:
        with instance_of(settings) as instance:
            ended = end_lost_runs(instance, settings.naming, tracking.runs.close)
            under_way = own_runs(instance, settings.naming, _MOST, dg.RunsFilter(statuses=_UNDER_WAY))
    except (PermanentError, TransientError) as error:
        return Health("not looked at", "warn", f"runs whose process is gone could not be ended: {first_line(error)}")
    elsewhere = sorted({str(mark) for run in under_way if (mark := process_of(run)) and mark.gone is None})
    value = f"{len(under_way)} under way" + (
        f", of them not to be seen from here: {', '.join(elsewhere)}" * bool(elsewhere)
    )
    if not ended:
        return Health(value)
    return Health(
        f"{value}; {len(ended)} ended whose process was killed",
        "warn",
        f"{'; '.join(ended)}: run the same command again, it goes on where it was; what Dagster's daemon had started "
        "it starts again",
    )
