"""The door to Dagster's insides: every private or undocumented name of dagster and dagster-k8s that this package uses.

Belongs here: the names, what public API lacks each, and the shortest function around one where that keeps callers free
of it. Does not belong here: what is done with them. No other module imports from `dagster._*`, nor what dagster-k8s
does not document. docs/decisions/0017-doors.md weighs each use.

The names are looked up when they are first imported from here: some bring SQLAlchemy or the Kubernetes client with
them, which the definitions must not load.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.event_api import EventLogCursor as EventLogCursor
    from dagster._core.events import ASSET_CHECK_EVENTS as ASSET_CHECK_EVENTS
    from dagster._core.events import ASSET_EVENTS as ASSET_EVENTS
    from dagster._core.events import EngineEventData as EngineEventData
    from dagster._core.execution.plan.objects import StepFailureData as StepFailureData
    from dagster._core.execution.retries import RetryMode as RetryMode
    from dagster._core.executor.step_delegating import CheckStepHealthResult as CheckStepHealthResult
    from dagster._core.executor.step_delegating import StepDelegatingExecutor as StepDelegatingExecutor
    from dagster._core.executor.step_delegating import StepHandlerContext as StepHandlerContext
    from dagster._core.instance import InstanceRef as InstanceRef
    from dagster._core.launcher import CheckRunHealthResult as CheckRunHealthResult
    from dagster._core.launcher import LaunchRunContext as LaunchRunContext
    from dagster._core.launcher import ResumeRunContext as ResumeRunContext
    from dagster._core.launcher import WorkerStatus as WorkerStatus
    from dagster._core.scheduler.instigation import InstigatorState as InstigatorState
    from dagster._core.scheduler.instigation import InstigatorStatus as InstigatorStatus
    from dagster._core.scheduler.instigation import InstigatorTick as InstigatorTick
    from dagster._core.scheduler.instigation import TickData as TickData
    from dagster._core.scheduler.instigation import TickStatus as TickStatus
    from dagster._core.storage.asset_check_execution_record import (
        AssetCheckExecutionRecordStatus as AssetCheckExecutionRecordStatus,
    )
    from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage as ConsolidatedSqliteEventLogStorage
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as AssetCheckExecutionsTable
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as SqlEventLogStorageTable
    from dagster._serdes import ConfigurableClassData as ConfigurableClassData
    from dagster._serdes import deserialize_value as deserialize_value
    from dagster_k8s.container_context import K8sContainerContext as K8sContainerContext
    from dagster_k8s.executor import K8sStepHandler as K8sStepHandler
    from dagster_k8s.job import DagsterK8sJobConfig as DagsterK8sJobConfig
    from dagster_k8s.job import UserDefinedDagsterK8sConfig as UserDefinedDagsterK8sConfig
    from dagster_k8s.job import construct_dagster_k8s_job as construct_dagster_k8s_job
    from dagster_k8s.job import get_job_name_from_run_id as get_job_name_from_run_id
    from dagster_k8s.job import get_user_defined_k8s_config as get_user_defined_k8s_config

# Module: its names that are given on. The imports above are the same for the type checker; a test compares them.
_NAMES = {
    # Which classes an instance is made of, without opening it; state and ticks of sensors and schedules, which
    # `DagsterInstance` returns and no public name describes.
    "dagster._core.instance": ("InstanceRef",),
    "dagster._core.scheduler.instigation": (
        "InstigatorState",
        "InstigatorStatus",
        "InstigatorTick",
        "TickData",
        "TickStatus",
    ),
    # Storing events of an embedded instance in batches: `dagster.yaml` may name a class of one's own, and no public
    # name says how to write one. The parent, its tables, and what of an event goes into which.
    "dagster._core.storage.event_log": ("ConsolidatedSqliteEventLogStorage",),
    "dagster._core.storage.event_log.schema": ("AssetCheckExecutionsTable", "SqlEventLogStorageTable"),
    "dagster._core.storage.asset_check_execution_record": ("AssetCheckExecutionRecordStatus",),
    "dagster._core.events": ("ASSET_CHECK_EVENTS", "ASSET_EVENTS", "EngineEventData"),
    "dagster._core.event_api": ("EventLogCursor",),
    # What the files of an embedded instance hold, read without opening it (`embedded_reads`).
    "dagster._serdes": ("ConfigurableClassData", "deserialize_value"),
    # Looking at the pods of steps: dagster-k8s's executor has no hook for what becomes of a pod, nor for what another
    # attempt asks for (dagster issue 24595).
    "dagster._core.execution.plan.objects": ("StepFailureData",),
    "dagster._core.execution.retries": ("RetryMode",),
    "dagster._core.executor.step_delegating": ("CheckStepHealthResult", "StepDelegatingExecutor", "StepHandlerContext"),
    "dagster_k8s.container_context": ("K8sContainerContext",),
    "dagster_k8s.executor": ("K8sStepHandler",),
    # Looking at the pods of runs: the daemon's monitoring takes a launcher's word for what became of a run. And what a
    # launcher is told of the run that it is to start.
    "dagster._core.launcher": ("CheckRunHealthResult", "LaunchRunContext", "ResumeRunContext", "WorkerStatus"),
    # And the Job that a step would have, to be asked of a cluster before the install (`preflight`).
    "dagster_k8s.job": (
        "DagsterK8sJobConfig",
        "UserDefinedDagsterK8sConfig",
        "construct_dagster_k8s_job",
        "get_job_name_from_run_id",
        "get_user_defined_k8s_config",
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


class PartitionCheckResult(dg.AssetCheckResult):
    """The result of a check for one partition, also from a step over many.

    Lacking: `AssetCheckResult` has no partition. Dagster takes the step's, and none where the step has many.
    """

    partition: str

    def to_asset_check_evaluation(self, step_context: Any) -> dg.AssetCheckEvaluation:
        from dagster._record import replace

        return replace(super().to_asset_check_evaluation(step_context), partition=self.partition)


def record_check_results(context: dg.AssetExecutionContext, results: Sequence[dg.AssetCheckEvaluation]) -> None:
    """Store check results as the events that Dagster would make of them: in one batch and past its logging.

    Lacking: a step may return one result a check, while a step over many partitions has one for each of them; and what
    it returns is stored event by event, with a line of log each, which for a year would hide every other line.
    """
    from dagster._core.events import DagsterEventBatchMetadata, generate_event_batch_id

    step = context.get_step_execution_context()
    batch: str = generate_event_batch_id()  # type: ignore[no-untyped-call]
    for number, result in enumerate(results, 1):
        event = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name=step.job_name,
            step_handle=step.step.handle,
            node_handle=step.step.node_handle,
            step_kind_value=step.step.kind.value,
            logging_tags=step.event_tags,
            event_specific_data=result,
            message=f"Asset check '{result.check_name}' of {result.partition}: "
            f"{'passed' if result.passed else 'did not pass'}.",
            pid=os.getpid(),
        )
        last = DagsterEventBatchMetadata(batch, number == len(results))
        context.instance.report_dagster_event(event, context.run.run_id, logging.DEBUG, last)


def leave_out_partitions(context: dg.OutputContext, keys: Collection[str]) -> None:
    """Let a step over many partitions materialize the others only. To be called where its output is stored.

    Lacking: such a step materializes all of its partitions or none.
    """
    others = [key for key in context.asset_partition_keys if key not in keys]
    context._asset_partitions_subset = context.asset_partitions_def.subset_with_partition_keys(others)


def retry_failed(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the daemon tried to start a failed run again and could not.

    Lacking: an event type of its own. The daemon reports an engine event, and only its text tells it from the others of
    a run; a test lets the daemon fail in this way.
    """
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return any(one.dagster_event and one.dagster_event.message == "Failed to retry run" for one in events)


def take_out_events(
    instance: dg.DagsterInstance, run_id: str, kinds: Collection[str], *, only_count: bool = False
) -> int:
    """Take a run's events of these types, and its lines of log, out of the event log; how many they were.

    Lacking: Dagster deletes a run with all of its events or nothing, materializations and check results included.
    """
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
    from sqlalchemy import func, or_, select

    storage: Any = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    kind = Events.c.dagster_event_type
    theirs = (Events.c.run_id == run_id) & or_(kind.in_(sorted(kinds)), kind.is_(None))
    with storage.run_connection(run_id) as connection:
        if only_count:
            return int(connection.execute(select(func.count()).select_from(Events).where(theirs)).scalar_one())
        return int(connection.execute(Events.delete().where(theirs)).rowcount)


def load_for_steps(home: str | None) -> None:
    """Import what a step in a process of its own needs to start: Dagster's part, and the classes of its instance.

    Lacking: the fork server takes names of modules, and nothing says which of Dagster's own a step imports.
    """
    for module in (
        "dagster._core.execution.plan.execute_plan",
        "dagster._core.executor.child_process_executor",
        "dagster._core.instance.factory",
        "dagster._core.secrets.env_file",
        "dagster._core.storage.migration.utils",
    ):
        import_module(module)
    if home:
        from dagster._core.instance import InstanceRef
        from dagster._serdes import ConfigurableClassData

        for part in InstanceRef.from_dir(home):
            if isinstance(part, ConfigurableClassData):
                import_module(part.module_name)


def remember_migrations() -> None:
    """Let Alembic read Dagster's migrations once in this process and those forked from it.

    Lacking: each opening of each storage reads 90 files to learn whether there is a newest migration, in a step of its
    own 0.2 s. The files do not change while a run lasts.
    """
    from alembic.script import ScriptDirectory
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
    from dagster._core.storage.sql import get_alembic_config

    read = ScriptDirectory.from_config
    directories: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Any) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in directories:
            directories[location] = read(config)
            directories[location].as_revision_number("head")
        return directories[location]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]
    for storage in (sqlite_run_storage, sqlite_schedule_storage):
        from_config(get_alembic_config(storage.__file__))
