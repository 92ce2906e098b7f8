"""Dagster's event log in one SQLite file, fast enough for a laptop that replays years of daily partitions.

Belongs here: how events reach the file and how watchers learn of them. Does not belong here: what events mean, which
Dagster's own class (the parent) decides; a test compares the rows of both. `dagster.yaml` names this class
(`credit_assets.instance.home` writes it). A deployment with several machines uses PostgreSQL instead.

Dagster's default keeps one file per run plus an index, opens an engine per statement and waits for the disk after
each event: a run over 4 assets and 300 days takes two minutes of nothing else. Here:

* one engine with pooled connections, WAL and synchronous=NORMAL: a power cut can lose the last moments of history
  but never damages the file; a crash of the process loses nothing. A pooled connection also spares the checkpoint
  that SQLite makes whenever the last connection to a file is closed.
* one transaction per event, and one per batch of events. Dagster batches the events of partitions only when the
  environment variable DAGSTER_EVENT_BATCH_SIZE is above 0, so constructing this class sets it to 1000 where it is
  not set; 0 switches batches off.
* claims of pool slots lock first and read then, so that two processes never get the same slot.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import dagster._check as check
import sqlalchemy as db
from dagster._core.event_api import EventLogCursor
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetKeyTable, SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster._utils.concurrency import ConcurrencyClaimStatus
from filelock import FileLock
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import Pool

BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
BATCH_SIZE = 1000
BUSY_TIMEOUT_SECONDS = 60
_WATCH_SECONDS = 0.1
_FINAL = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}

_FAILED = AssetCheckExecutionRecordStatus.FAILED
_CHECK_RESULT = (
    AssetCheckExecutionsTable.update()
    .where(
        AssetCheckExecutionsTable.c.asset_key == db.bindparam("of_asset"),
        AssetCheckExecutionsTable.c.check_name == db.bindparam("of_check"),
        AssetCheckExecutionsTable.c.run_id == db.bindparam("of_run"),
        AssetCheckExecutionsTable.c.partition == db.bindparam("of_partition"),
    )
    .values(
        execution_status=db.bindparam("execution_status"),
        evaluation_event=db.bindparam("evaluation_event"),
        evaluation_event_timestamp=db.bindparam("evaluation_event_timestamp"),
        evaluation_event_storage_id=db.bindparam("evaluation_event_storage_id"),
        materialization_event_storage_id=db.bindparam("materialization_event_storage_id"),
    )
)

Callback = Callable[[EventLogEntry, str], Any]

_open: weakref.WeakSet[EmbeddedEventLogStorage] = weakref.WeakSet()
_inherited: list[Pool] = []


def _after_fork() -> None:
    # A SQLite connection must be neither used nor closed on the other side of a fork: the child gets its own pool
    # and keeps the inherited connections alive, untouched, until it ends.
    for storage in _open:
        storage._start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class EmbeddedEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """Event log storage for one machine: any number of threads and processes on one local disk.

    Config: `base_dir`, the folder of `event_log.db`. Not for network file systems, where SQLite's locks do not hold.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        os.environ.setdefault(BATCH_VARIABLE, str(BATCH_SIZE))
        self._local = threading.local()
        self._watch_lock = threading.Lock()
        self._watched: dict[tuple[str, Callback], str | None] = {}
        self._watch_thread: threading.Thread | None = None
        self._watch_stop = threading.Event()
        self._known_tables: set[str] = set()
        self._has_index_cols = False
        super().__init__(base_dir, inst_data)
        _open.add(self)

    # The file

    def _init_db(self) -> None:
        # Made aside and renamed: a process that starts meanwhile, or after a crash half-way, never sees half a schema.
        Path(self._base_dir).mkdir(parents=True, exist_ok=True)
        target = Path(self.get_db_path())
        with FileLock(f"{target}.lock"):
            if target.exists():
                return
            draft = tempfile.mkdtemp(prefix=".event_log-", dir=self._base_dir)
            try:
                ConsolidatedSqliteEventLogStorage(draft)
                os.replace(Path(draft) / target.name, target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    @cached_property
    def _engine(self) -> Engine:
        engine = db.create_engine(
            self._conn_string,
            pool_size=5,
            max_overflow=-1,
            connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )

        @db.event.listens_for(engine, "connect")
        def _set(connection: sqlite3.Connection, _: Any) -> None:
            connection.execute("PRAGMA synchronous=NORMAL")

        return engine

    def _start_anew(self) -> None:
        self._local = threading.local()
        self._watch_lock = threading.Lock()
        self._watched = {}
        self._watch_thread = None
        self._watch_stop = threading.Event()
        if "_engine" in self.__dict__:
            _inherited.append(self._engine.pool)
            del self._engine

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        held = getattr(self._local, "connection", None)
        if held is not None:
            yield held
            return
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction around everything this thread does inside, with the write lock taken at its start.

        Taking the lock first means that what is read inside cannot change before it is written back, and that the
        transaction never fails half-way because another process wrote in between.
        """
        held = getattr(self._local, "connection", None)
        if held is not None:
            yield held
            return
        with self._engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            self._local.connection = connection
            try:
                yield connection
            finally:
                self._local.connection = None

    def has_table(self, table_name: str) -> bool:
        # Tables appear by migration and are never dropped, so only a missing one is asked for again.
        if table_name not in self._known_tables:
            with self._connect() as connection:
                if not self._engine.dialect.has_table(connection, table_name):
                    return False
            self._known_tables.add(table_name)
        return True

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        self._has_index_cols = self._has_index_cols or super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_index_cols

    def dispose(self) -> None:
        with self._watch_lock:
            self._watched.clear()
            thread = self._watch_thread
            self._watch_stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=15)
        if "_engine" in self.__dict__:
            self._engine.dispose()

    # Events

    def store_event(self, event: EventLogEntry) -> None:
        with self._writing():
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store all events or, where one fails, none: Dagster then stores them one by one.

        Same rows as `store_event` for each of them, but each asset's row is written once, with the last event of
        each type.
        """
        if not events:
            return
        rows = [self._event_to_row(event) for event in events]
        with self._writing() as connection:
            # The write lock is held, so no other row can come between: the ids are those SQLite would give.
            inserted = connection.execute(SqlEventLogStorageTable.insert().values(**rows[0])).inserted_primary_key
            first = check.not_none(inserted)[0]
            ids = range(first, first + len(rows))
            if len(rows) > 1:
                rest = [{**row, "id": id_} for row, id_ in zip(rows[1:], ids[1:], strict=True)]
                connection.execute(SqlEventLogStorageTable.insert(), rest)
            of_assets = [
                (event, id_)
                for event, id_ in zip(events, ids, strict=True)
                if event.dagster_event is not None
                and event.dagster_event_type in ASSET_EVENTS
                and event.dagster_event.asset_key
            ]
            if of_assets:
                self._store_asset_event_tags(connection, *zip(*of_assets, strict=True))
                self._store_asset_rows(connection, of_assets)
            self._store_check_events(connection, events, ids, rows)

    def _store_check_events(
        self,
        connection: Connection,
        events: Sequence[EventLogEntry],
        ids: Sequence[int],
        rows: Sequence[dict[str, Any]],
    ) -> None:
        """The parent's `_update_asset_check_evaluation` for a whole batch, with the event as it is serialized already.

        Where a result was not planned there is no row to change: those go the parent's way.
        """
        of_checks = [n for n, event in enumerate(events) if event.dagster_event_type in ASSET_CHECK_EVENTS]
        planned: list[int] = []
        for n in of_checks:
            is_result = events[n].dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION
            if is_result and events[n].run_id and _evaluation(events[n]).partition is not None:
                planned.append(n)
        changes = []
        for n in planned:
            evaluation = _evaluation(events[n])
            target = evaluation.target_materialization_data
            status = AssetCheckExecutionRecordStatus.SUCCEEDED if evaluation.passed else _FAILED
            changes.append(
                {
                    "of_asset": evaluation.asset_key.to_string(),
                    "of_check": evaluation.check_name,
                    "of_run": events[n].run_id,
                    "of_partition": evaluation.partition,
                    "execution_status": status.value,
                    "evaluation_event": rows[n]["event"],
                    "evaluation_event_timestamp": self._event_insert_timestamp(events[n]),
                    "evaluation_event_storage_id": ids[n],
                    "materialization_event_storage_id": target.storage_id if target else None,
                }
            )
        if changes and connection.execute(_CHECK_RESULT, changes).rowcount == len(changes):
            of_checks = sorted(set(of_checks) - set(planned))
        for n in of_checks:
            self.store_asset_check_event(events[n], ids[n])

    def _store_asset_rows(self, connection: Connection, events: Sequence[tuple[EventLogEntry, int]]) -> None:
        # Events of one type set the same columns of the asset's row, so of each type only the last one shows.
        last: dict[str, dict[str, tuple[EventLogEntry, int]]] = {}
        for event, id_ in events:
            dagster_event = event.get_dagster_event()
            of_asset = last.setdefault(check.not_none(dagster_event.asset_key).to_string(), {})
            of_asset.pop(dagster_event.event_type_value, None)
            of_asset[dagster_event.event_type_value] = (event, id_)
        index_cols = self._has_asset_key_index_cols_on_connection(connection)
        for asset_key, by_type in last.items():
            values: dict[str, Any] = {}
            for event, id_ in by_type.values():
                values |= self._get_asset_entry_values(event, id_, index_cols)
            if values:
                insert = upsert(AssetKeyTable).values(asset_key=asset_key, **values)
                connection.execute(insert.on_conflict_do_update(index_elements=["asset_key"], set_=values))

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        # The parent writes the event out anew for every partition and binds all rows in one statement, which SQLite
        # refuses above 4,000 partitions.
        planned = cast(Any, event.get_dagster_event().event_specific_data)
        partitions = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
        }
        rows = [{**row, "partition": partition} for partition in partitions]
        if rows:
            with self._writing() as connection:
                connection.execute(AssetCheckExecutionsTable.insert(), rows)

    # Pools and dynamic partitions: each of these reads, decides and writes, so it locks before it reads.

    def initialize_concurrency_limit_to_default(self, concurrency_key: str) -> bool:
        with self._writing():
            return super().initialize_concurrency_limit_to_default(concurrency_key)

    def set_concurrency_slots(self, concurrency_key: str, num: int) -> None:
        with self._writing():
            super().set_concurrency_slots(concurrency_key, num)

    def delete_concurrency_limit(self, concurrency_key: str) -> None:
        with self._writing():
            super().delete_concurrency_limit(concurrency_key)

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        with self._writing():
            return super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)

    def free_concurrency_slots_for_run(self, run_id: str) -> None:
        with self._writing():
            super().free_concurrency_slots_for_run(run_id)

    def free_concurrency_slot_for_step(self, run_id: str, step_key: str) -> None:
        with self._writing():
            super().free_concurrency_slot_for_step(run_id, step_key)

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        with self._writing():
            super().add_dynamic_partitions(partitions_def_name, partition_keys)

    # Watchers: the parent watches the database file for changes, but under WAL new events go to another file.

    def watch(self, run_id: str, cursor: str | None, callback: Callback) -> None:
        """Call `callback(event, cursor)` for each event of the run after `cursor`, whichever process stores it."""
        with self._watch_lock:
            self._watched[run_id, callback] = cursor
            if self._watch_thread is None:
                self._watch_stop = threading.Event()
                self._watch_thread = threading.Thread(
                    target=self._follow, args=(self._watch_stop,), name="event-log-watch", daemon=True
                )
                self._watch_thread.start()

    def end_watch(self, run_id: str, handler: Callback) -> None:
        with self._watch_lock:
            self._watched.pop((run_id, handler), None)

    def _follow(self, stop: threading.Event) -> None:
        """Until nobody watches: ask SQLite whether another connection has committed, and pass on what is new."""
        seen: tuple[int | None, frozenset[tuple[str, Callback]]] = (None, frozenset())
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not stop.is_set():
                with self._watch_lock:
                    watched = frozenset(self._watched)
                    if not watched:
                        self._watch_thread = None
                        return
                try:
                    version = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
                    if (version, watched) != seen:
                        self._pass_on(watched)
                        seen = (version, watched)
                except Exception:
                    # The file may be locked for a moment; the watchers' cursors stand, so nothing is missed.
                    logging.getLogger(__name__).exception("Reading new events for the watchers failed; trying again.")
                stop.wait(_WATCH_SECONDS)
        with self._watch_lock:
            if self._watch_thread is threading.current_thread():
                self._watch_thread = None

    def _pass_on(self, watched: frozenset[tuple[str, Callback]]) -> None:
        for run_id, callback in watched:
            with self._watch_lock:
                if (run_id, callback) not in self._watched:
                    continue
                cursor = self._watched[run_id, callback]
            for record in self.get_records_for_run(run_id, cursor).records:
                position = str(EventLogCursor.from_storage_id(record.storage_id))
                with self._watch_lock:
                    if (run_id, callback) not in self._watched:
                        break
                    self._watched[run_id, callback] = position
                status = None
                try:
                    status = callback(record.event_log_entry, position)
                except Exception:
                    logging.getLogger(__name__).exception("A watcher of run %s failed on an event.", run_id)
                if status in _FINAL:
                    self.end_watch(run_id, callback)
                    break


def _evaluation(event: EventLogEntry) -> Any:
    return check.not_none(event.dagster_event).event_specific_data
