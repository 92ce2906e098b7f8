"""Dagster's event log in one SQLite file, fast enough for a laptop that replays years of daily partitions.

Belongs here: how events reach the file. Does not belong here: what events mean, which Dagster's own class (the parent)
decides (a test compares the rows of both), and how watchers learn of them (`credit_assets.instance.event_watch`).
`dagster.yaml` names this class (`credit_assets.instance.home` writes it). A deployment with several machines uses
PostgreSQL instead. What each part of it is worth is in docs/decisions/0018-a-smaller-event-log.md.

Dagster's default keeps one file per run plus an index, opens an engine per statement and waits for the disk after
each event. Here:

* one engine with pooled connections, WAL and synchronous=NORMAL: a power cut can lose the last moments of history
  but never damages the file; a crash of the process loses nothing. A pooled connection also spares the checkpoint
  that SQLite makes whenever the last connection to a file is closed.
* one transaction per event, and one per batch of events. Dagster batches the events of partitions only when the
  environment variable DAGSTER_EVENT_BATCH_SIZE is above 0, so constructing this class sets it to 1000 where it is
  not set; 0 switches batches off.
* what reads, decides and writes locks before it reads, so that two processes never get the same slot of a pool.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import dagster as dg
import sqlalchemy as db
from filelock import FileLock
from sqlalchemy.engine import Connection, Engine

from credit_assets.instance.dagster_internals import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    AssetCheckExecutionsTable,
    ConfigurableClassData,
    SqlEventLogStorageTable,
)
from credit_assets.instance.dagster_internals import AssetCheckExecutionRecordStatus as Status
from credit_assets.instance.dagster_internals import ConsolidatedSqliteEventLogStorage as Parent
from credit_assets.instance.event_watch import Callback, RunWatchers
from credit_assets.processes import own_mark

BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
BATCH_SIZE = 1000
BUSY_TIMEOUT_SECONDS = 60

_OF_NO_RUN = dg.DagsterEventType.ASSET_WIPED
_checks = AssetCheckExecutionsTable.c
_CHECK_RESULT = (
    AssetCheckExecutionsTable.update()
    .where(
        _checks.asset_key == db.bindparam("of_asset"),
        _checks.check_name == db.bindparam("of_check"),
        _checks.run_id == db.bindparam("of_run"),
        _checks.partition.is_not_distinct_from(db.bindparam("of_partition")),
    )
    .values(
        execution_status=db.bindparam("execution_status"),
        evaluation_event=db.bindparam("evaluation_event"),
        evaluation_event_timestamp=db.bindparam("evaluation_event_timestamp"),
        evaluation_event_storage_id=db.bindparam("evaluation_event_storage_id"),
        materialization_event_storage_id=db.bindparam("materialization_event_storage_id"),
    )
)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Method = Callable[Concatenate[Any, _P], _R]


def _locked(method: _Method[_P, _R]) -> _Method[_P, _R]:
    """The same method in one transaction that has the write lock from its start."""

    @functools.wraps(method)
    def in_transaction(storage: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with storage.writing():
            return method(storage, *args, **kwargs)

    return in_transaction


class EmbeddedEventLogStorage(Parent):
    """Event log storage for one machine: any number of threads and processes on one local disk.

    Config: `base_dir`, the folder of `event_log.db`. Not for network file systems, where SQLite's locks do not hold.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        os.environ.setdefault(BATCH_VARIABLE, str(BATCH_SIZE))
        self._engines: dict[int, Engine] = {}
        self._of_thread = threading.local()
        self._known_tables: set[str] = set()
        self._has_index_cols = False
        self._run_watchers = RunWatchers(lambda run_id, cursor: self.get_records_for_run(run_id, cursor).records)
        super().__init__(base_dir, inst_data)

    # The file

    def _init_db(self) -> None:
        # Made aside and renamed: a process that starts meanwhile, or after a crash half-way, never sees half a schema.
        folder = Path(self._base_dir)
        folder.mkdir(parents=True, exist_ok=True)
        target = Path(self.get_db_path())  # type: ignore[no-untyped-call]
        with FileLock(f"{target}.lock"):
            if not target.exists():
                with tempfile.TemporaryDirectory(".tmp", f".event_log.{own_mark().token}.", folder) as draft:
                    Parent(draft)
                    os.replace(Path(draft) / target.name, target)

    @property
    def engine(self) -> Engine:
        """This process's own: a SQLite connection must be neither used nor closed on the other side of a fork."""
        if (own := self._engines.get(os.getpid())) is not None:
            return own
        engine = db.create_engine(
            self._conn_string,
            pool_size=5,
            max_overflow=-1,
            connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )

        @db.event.listens_for(engine, "connect")
        def _set(connection: sqlite3.Connection, _: Any) -> None:
            connection.execute("PRAGMA synchronous=NORMAL")

        return self._engines.setdefault(os.getpid(), engine)

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        if (held := self._held) is not None:
            yield held
            return
        with self.engine.begin() as connection:
            yield connection

    @property
    def _held(self) -> Connection | None:
        """The connection of the transaction that this thread is in."""
        return getattr(self._of_thread, "connection", None)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction around everything this thread does inside, with the write lock taken at its start.

        Taking the lock first means that what is read inside cannot change before it is written back, and that the
        transaction never fails half-way because another process wrote in between.
        """
        if (held := self._held) is not None:
            yield held
            return
        with self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            self._of_thread.connection = connection
            try:
                yield connection
            finally:
                self._of_thread.connection = None

    def has_table(self, table_name: str) -> bool:
        # Tables appear by migration and are never dropped, so only a missing one is looked for again.
        if table_name not in self._known_tables:
            with self._connect() as connection:
                if not db.inspect(connection).has_table(table_name):
                    return False
            self._known_tables.add(table_name)
        return True

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        self._has_index_cols = self._has_index_cols or super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_index_cols

    def dispose(self) -> None:
        self._run_watchers.close()
        if os.getpid() in self._engines:
            self.engine.dispose()

    # Events

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store all events or, where one fails, none: Dagster then stores them one by one.

        Same rows as `store_event` for each of them, but each asset's row is written only with the last event of each
        type: events of one type set the same columns.
        """
        if not events:
            return
        rows = [self._event_to_row(event) for event in events]
        with self.writing() as connection:
            # The write lock is held, so no other row can come between: the ids are those SQLite would give.
            inserted = connection.execute(SqlEventLogStorageTable.insert().values(**rows[0])).inserted_primary_key
            first: int = inserted[0]  # type: ignore[index]
            ids = range(first, first + len(rows))
            if len(rows) > 1:
                rest = [{**row, "id": id_} for row, id_ in zip(rows[1:], ids[1:], strict=True)]
                connection.execute(SqlEventLogStorageTable.insert(), rest)
            of_assets, of_checks = [], []
            for event, id_, row in zip(events, ids, rows, strict=True):
                if event.dagster_event_type in ASSET_EVENTS and event.get_dagster_event().asset_key:
                    of_assets.append((event, id_))
                elif event.dagster_event_type in ASSET_CHECK_EVENTS:
                    of_checks.append((event, id_, row["event"]))
            if of_assets:
                self._store_asset_event_tags(connection, *zip(*of_assets, strict=True))
                last = {(one.get_dagster_event().asset_key, one.dagster_event_type): id_ for one, id_ in of_assets}
                for id_ in sorted(last.values()):
                    self._store_asset_event(connection, events[id_ - first], id_)
            self._store_check_events(connection, of_checks)

    def _store_check_events(self, connection: Connection, events: Sequence[tuple[dg.EventLogEntry, int, str]]) -> None:
        """The parent's `store_asset_check_event`, with the results of a run's checks in one statement.

        `events`: each with its id and as it is serialized already. A result that was not planned has no row to change:
        then all go the parent's way.
        """
        results = {
            id_: self._result_of_check(event, id_, serialized)
            for event, id_, serialized in events
            if event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION and event.run_id
        }
        if results and connection.execute(_CHECK_RESULT, list(results.values())).rowcount != len(results):
            results = {}
        for event, id_, _ in events:
            if id_ not in results:
                self.store_asset_check_event(event, id_)

    def _result_of_check(self, event: dg.EventLogEntry, id_: int, serialized: str) -> dict[str, Any]:
        evaluation = event.get_dagster_event().asset_check_evaluation_data
        target = evaluation.target_materialization_data
        return {
            "of_asset": evaluation.asset_key.to_string(),
            "of_check": evaluation.check_name,
            "of_run": event.run_id,
            "of_partition": evaluation.partition,
            "execution_status": (Status.SUCCEEDED if evaluation.passed else Status.FAILED).value,
            "evaluation_event": serialized,
            "evaluation_event_timestamp": _moment(event),
            "evaluation_event_storage_id": id_,
            "materialization_event_storage_id": target.storage_id if target else None,
        }

    def _store_asset_check_evaluation_planned(self, event: dg.EventLogEntry, event_id: int | None) -> None:
        # The parent writes the event out anew for every partition and binds all rows in one statement, which SQLite
        # refuses above 4,000 partitions.
        planned: Any = event.get_dagster_event().event_specific_data
        partitions = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": Status.PLANNED.value,
            "evaluation_event": dg.serialize_value(event),
            "evaluation_event_timestamp": _moment(event),
            "evaluation_event_storage_id": event_id,
        }
        if rows := [{**row, "partition": partition} for partition in partitions]:
            with self.writing() as connection:
                connection.execute(AssetCheckExecutionsTable.insert(), rows)

    # Reading

    def get_records_for_run(
        self,
        run_id: str,
        cursor: str | None = None,
        of_type: dg.DagsterEventType | set[dg.DagsterEventType] | None = None,
        limit: int | None = None,
        ascending: bool = True,
    ) -> Any:
        # Of one type of events SQLite reads all that were ever written, by the index of types, and of two types those
        # of the run: its planner cannot know that a run has few events of the many that a type has. So another type is
        # asked for besides, which belongs to no run.
        types = {of_type} if isinstance(of_type, dg.DagsterEventType) else of_type
        if types and len(types) == 1:
            types = {*types, _OF_NO_RUN}
        return super().get_records_for_run(run_id, cursor, types, limit, ascending)

    # What reads, decides and writes

    store_event = _locked(Parent.store_event)
    initialize_concurrency_limit_to_default = _locked(Parent.initialize_concurrency_limit_to_default)
    set_concurrency_slots = _locked(Parent.set_concurrency_slots)
    delete_concurrency_limit = _locked(Parent.delete_concurrency_limit)
    claim_concurrency_slot = _locked(Parent.claim_concurrency_slot)
    free_concurrency_slots_for_run = _locked(Parent.free_concurrency_slots_for_run)
    free_concurrency_slot_for_step = _locked(Parent.free_concurrency_slot_for_step)
    add_dynamic_partitions = _locked(Parent.add_dynamic_partitions)

    # Watchers

    def watch(self, run_id: str, cursor: str | None, callback: Callback) -> None:
        """Call `callback(event, cursor)` for each event of the run after `cursor`, whichever process stores it."""
        self._run_watchers.add(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: Callback) -> None:
        self._run_watchers.remove(run_id, handler)


def _moment(event: dg.EventLogEntry) -> datetime:
    return datetime.fromtimestamp(event.timestamp, UTC).replace(tzinfo=None)
