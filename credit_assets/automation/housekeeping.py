"""The sensor that tidies up after runs: ends those whose process is gone, and in MLflow what they left open, and starts
lost ones again.

Belongs here: runs that have ended, or whose process has, and runs whose own retry failed. Does not belong here: how
MLflow runs are ended (`credit_assets.tracking`), how it is known that a process is gone (`instance.lost_runs`), retries
of runs, which Dagster's daemon does (`run_retries` of the instance), and of steps.

It looks at every run of the instance, since `credit-assets replay` starts runs that belong to no code location, and
takes those of its portfolio. Its cursor has how far it has read: where MLflow does not answer, the next tick meets the
same runs.

The daemon asks the code server for the run that is to be retried, once. Where a node takes run and code server with it,
that fails, the run is marked as not to be retried, and nobody comes back to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from credit_assets.instance.dagster_internals import retry_failed
from credit_assets.instance.lost_runs import end_lost_runs
from credit_assets.instance.own_runs import is_own
from credit_assets.instance.statuses import ENDED
from credit_assets.naming import PLAIN, Names
from credit_assets.notify.follow import run_events
from credit_assets.notify.ticks import handles_tick_errors
from credit_assets.storage.claims import Claims
from credit_assets.storage.turns import take
from credit_assets.tags import (
    DAGSTER_PARTITION_TAG,
    DAGSTER_PREFIX,
    LOST_BEFORE_TAG,
    LOST_RUN_TAG,
    PARENT_RUN_TAG,
    WILL_RETRY_TAG,
)
from credit_assets.tracking import Tracking

HOUSEKEEPING = "housekeeping"
MOST = 2
_LOOKBACK = timedelta(days=1)
_TURN = timedelta(minutes=10)
"""How long one that was to start a lost run is waited for: a daemon that was killed just then did not."""
_RUNS_A_TICK = 50
_SWEPT, _SWEEP_SECONDS = "swept", 3600
_RETAINED, _RETAIN_SECONDS = "retained", 86_400
RETAIN_AT_ONCE = 20.0
"""Seconds of a tick for what the settings no longer keep: a tick may take a minute. The next one goes on."""
ENDS = {status.value: dg.DagsterEventType[f"RUN_{status.value}"] for status in ENDED}
"""By the status of a run that has ended, the event of its end."""


def housekeeping_sensor(
    jobs: Sequence[dg.UnresolvedAssetJobDefinition],
    naming: Names = PLAIN,
    sweep: Callable[[], Sequence[object]] = tuple,
    retain: Callable[[dg.DagsterInstance], Iterable[object]] = lambda _: (),
) -> dg.SensorDefinition:
    """Ends MLflow runs of runs that have ended, and starts lost runs of these jobs again, for the same partition and
    with the same configuration, at most twice each. Once an hour `sweep` takes away what killed processes have left,
    once a day `retain` what the settings no longer keep.
    """
    names = {job.name for job in jobs}

    @dg.sensor(
        name=naming.dagster(HOUSEKEEPING),
        jobs=list(jobs),
        description="Tidies up after runs: ends a run whose process was killed, ends in MLflow what a run left open "
        "when it ended, and starts a run again that was lost together with the code server, so that Dagster's own "
        f"retry failed; at most {MOST} times.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    @handles_tick_errors("MLflow or Dagster's database")
    def housekeeping(
        context: dg.SensorEvaluationContext, tracking: dg.ResourceParam[Tracking], claims: dg.ResourceParam[Claims]
    ) -> dg.SensorResult | dg.SkipReason:
        for line in end_lost_runs(context.instance, naming):
            context.log.warning(f"ended {line}, which is gone")
        lost = list(_lost(context.instance, names, naming))
        # Of two daemons that look at once one starts it: Dagster's run keys are compared before either has.
        requests = [_again(run) for run in lost if take(claims, f"lost-runs/{run.run_id}", _TURN)]
        read = json.loads(context.cursor or "{}")
        # A clock that was set back must not put it off.
        if abs(time.time() - read.get(_SWEPT, 0)) > _SWEEP_SECONDS:
            read[_SWEPT] = int(time.time())
            if swept := len(sweep()):
                context.log.info(f"removed {swept} files and folders of processes that are gone")
        try:
            read |= _retain(context, retain, read)
            read, closed = _close(context.instance, tracking, naming, read)
        except Exception as error:
            if not requests:
                raise
            # Runs are started all the same; those to be closed are met again, and then the tick says what is wrong.
            context.log.warning(f"nothing was taken out, or no run was closed in MLflow: {error}")
            return dg.SensorResult(run_requests=requests, cursor=context.cursor)
        summary = f"looked at {closed} runs that ended; no run was lost"
        return dg.SensorResult(
            run_requests=requests, skip_reason=None if requests else summary, cursor=json.dumps(read, sort_keys=True)
        )

    return housekeeping


def _retain(
    context: dg.SensorEvaluationContext,
    retain: Callable[[dg.DagsterInstance], Iterable[object]],
    read: Mapping[str, int],
) -> dict[str, int]:
    """Once a day; when, or nothing where the time was up, so that the next tick goes on."""
    if abs(time.time() - read.get(_RETAINED, 0)) <= _RETAIN_SECONDS:
        return {}
    begun = time.monotonic()
    if gone := sum(1 for _ in retain(context.instance)):
        context.log.info(f"took out {gone} things that the settings no longer keep")
    return {_RETAINED: int(time.time())} if time.monotonic() - begun < RETAIN_AT_ONCE else {}


def _close(
    instance: dg.DagsterInstance, tracking: Tracking, naming: Names, read: Mapping[str, int]
) -> tuple[dict[str, int], int]:
    """End in MLflow what runs left open that have ended since; how far it has read now, and how many they were. A run
    without an MLflow run costs one look. Without a cursor it begins with the newest runs of each end.
    """
    now, closed = dict(read), 0
    for status, kind in ENDS.items():
        records = run_events(kind)(instance, read.get(status), _RUNS_A_TICK)
        # Where there was no such end yet, all from here on are new.
        now.setdefault(status, 0)
        for record in sorted(records, key=lambda one: one.storage_id):
            run = instance.get_run_by_id(record.event_log_entry.run_id)
            if run is not None and is_own(naming, run):
                tracking.runs.close(run.run_id, status)
                closed += 1
            now[status] = record.storage_id
    return now, closed


def _lost(instance: dg.DagsterInstance, names: set[str], naming: Names) -> Iterator[dg.DagsterRun]:
    since = datetime.now(UTC) - _LOOKBACK
    wanted = RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={WILL_RETRY_TAG: "false"}, updated_after=since)
    for run in instance.get_runs(wanted):
        mine = run.job_name in names and DAGSTER_PARTITION_TAG in run.tags and is_own(naming, run)
        if not mine or int(run.tags.get(LOST_BEFORE_TAG, 0)) >= MOST or not retry_failed(instance, run.run_id):
            continue
        # Somebody else may have started it again by then: the daemon, a person, or another daemon's housekeeping.
        if not any(
            instance.get_run_records(RunsFilter(tags={tag: run.run_id}), limit=1)
            for tag in (PARENT_RUN_TAG, LOST_RUN_TAG)
        ):
            yield run


def _again(run: dg.DagsterRun) -> dg.RunRequest:
    # Dagster's own tags are about the lost run: its image, its end, its retries.
    tags = {name: value for name, value in run.tags.items() if not name.startswith(DAGSTER_PREFIX)}
    before = int(run.tags.get(LOST_BEFORE_TAG, 0))
    return dg.RunRequest(
        # One for each lost run, however often this looks.
        run_key=run.run_id,
        job_name=run.job_name,
        partition_key=run.tags[DAGSTER_PARTITION_TAG],
        run_config=run.run_config,
        tags={**tags, LOST_RUN_TAG: run.run_id, LOST_BEFORE_TAG: str(before + 1)},
    )
