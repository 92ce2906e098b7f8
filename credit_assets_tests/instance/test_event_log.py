"""The embedded event log: same rows as Dagster's own class, whole batches or nothing, many writers, live watchers."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.events import (
    AssetCheckEvaluationPlanned,
    DagsterEvent,
    DagsterEventBatchMetadata,
    DagsterEventType,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._serdes import deserialize_value
from sqlalchemy import event as sqlalchemy_event

from credit_assets.instance.event_log import BATCH_VARIABLE, EmbeddedEventLogStorage

DAYS = dg.DailyPartitionsDefinition("2024-01-01")
TABLES = {
    "event_logs": "id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition",
    "asset_keys": "id, asset_key, last_materialization, last_run_id, asset_details, wipe_timestamp, "
    "last_materialization_timestamp, tags, cached_status_data",
    "asset_event_tags": "id, event_id, asset_key, key, value, event_timestamp",
    "asset_check_executions": "id, asset_key, check_name, partition, run_id, execution_status, evaluation_event, "
    "evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id",
    "secondary_indexes": "name",
    "alembic_version": "version_num",
}


@pytest.fixture(autouse=True)
def _batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BATCH_VARIABLE, raising=False)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[EmbeddedEventLogStorage]:
    storage = EmbeddedEventLogStorage(str(tmp_path / "log"))
    yield storage
    storage.dispose()


def contents(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    with sqlite3.connect(folder / "event_log.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {
            table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
            for table, columns in TABLES.items()
        }


def materialization(run: str, asset: str, partition: str, version: str = "1") -> EventLogEntry:
    data = StepMaterializationData(
        dg.AssetMaterialization(asset, partition=partition, tags={"dagster/data_version": version, "not_indexed": "x"})
    )
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name="job",
        step_key=asset,
        event_specific_data=data,
    )
    return entry(run, event)


def entry(run: str, event: DagsterEvent) -> EventLogEntry:
    return EventLogEntry(
        error_info=None,
        level="debug",
        user_message="",
        run_id=run,
        timestamp=time.time(),
        step_key=event.step_key,
        job_name="job",
        dagster_event=event,
    )


def house(storage: type, folder: Path) -> dg.DagsterInstance:
    """A Dagster instance whose event log is of the class given."""
    folder.mkdir()
    config = {
        "event_log_storage": {
            "module": storage.__module__,
            "class": storage.__qualname__,
            "config": {"base_dir": str(folder / "log")},
        },
        "telemetry": {"enabled": False},
    }
    (folder / "dagster.yaml").write_text(yaml.safe_dump(config))
    return dg.DagsterInstance.from_config(str(folder))


@dg.multi_asset_check(specs=[dg.AssetCheckSpec("volume", asset="loans", partitions_def=DAYS)])
def loans_checks() -> Iterator[dg.AssetCheckResult]:
    yield dg.AssetCheckResult(check_name="volume", asset_key="loans", passed=True, metadata={"rows": 3})


def assets() -> list[Any]:
    @dg.asset(
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("schema", asset="loans")],
    )
    def loans(context) -> Iterator[Any]:  # type: ignore[no-untyped-def]
        for day in context.partition_keys:
            context.add_asset_metadata({"rows": 3, "hash": f"h{day}"}, partition_key=day)
        context.log_event(dg.AssetObservation("loans", partition=context.partition_keys[0], metadata={"seen": 1}))
        yield dg.MaterializeResult(
            data_version=dg.DataVersion("v1"), check_results=[dg.AssetCheckResult(check_name="schema", passed=True)]
        )

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), deps=["loans"])
    def scores() -> None: ...

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), deps=["scores"])
    def broken() -> None:
        raise RuntimeError("broken on purpose")

    return [loans, scores, broken]


def run_range(instance: dg.DagsterInstance, days: int) -> dg.ExecuteInProcessResult:
    defs = dg.Definitions(assets=assets(), asset_checks=[loans_checks], jobs=[dg.define_asset_job("job")])
    tags = {
        "dagster/asset_partition_range_start": "2024-01-01",
        "dagster/asset_partition_range_end": f"2024-01-{days:02d}",
    }
    return defs.resolve_job_def("job").execute_in_process(instance=instance, tags=tags, raise_on_error=False)


@pytest.fixture(scope="module")
def real_events(tmp_path_factory: pytest.TempPathFactory) -> list[EventLogEntry]:
    """The events of a real range run that fails at its end, as the parent class stored them."""
    folder = tmp_path_factory.mktemp("parent") / "home"
    with house(ConsolidatedSqliteEventLogStorage, folder) as instance:
        run_range(instance, 4)
    with sqlite3.connect(folder / "log" / "event_log.db") as connection:
        rows = connection.execute("SELECT event FROM event_logs ORDER BY id").fetchall()
    return [deserialize_value(text, EventLogEntry) for (text,) in rows]


@pytest.fixture(scope="module")
def parent_rows(
    real_events: list[EventLogEntry], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[Any, ...]]]:
    """What the parent class leaves in the file when it stores these events one by one."""
    folder = tmp_path_factory.mktemp("expected")
    parent = ConsolidatedSqliteEventLogStorage(str(folder))
    for event in real_events:
        parent.store_event(event)
    return contents(folder)


def test_the_real_events_are_of_every_kind_that_the_tables_hold(real_events: list[EventLogEntry]) -> None:
    kinds = {event.dagster_event_type for event in real_events}
    assert {
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        DagsterEventType.ASSET_OBSERVATION,
        DagsterEventType.ASSET_CHECK_EVALUATION,
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.RUN_FAILURE,
    } <= kinds


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_batches_leave_the_rows_that_the_parent_class_leaves(
    real_events: list[EventLogEntry], parent_rows: dict[str, list[tuple[Any, ...]]], tmp_path: Path, size: int
) -> None:
    assert len(parent_rows["event_logs"]) == len(real_events)
    assert parent_rows["asset_event_tags"]
    assert parent_rows["asset_check_executions"]
    own = EmbeddedEventLogStorage(str(tmp_path))
    for start in range(0, len(real_events), size):
        own.store_event_batch(real_events[start : start + size])
    own.dispose()
    assert contents(tmp_path) == parent_rows


def test_single_events_leave_the_rows_that_the_parent_class_leaves(
    real_events: list[EventLogEntry], parent_rows: dict[str, list[tuple[Any, ...]]], storage: EmbeddedEventLogStorage
) -> None:
    for event in real_events:
        storage.store_event(event)
    assert contents(Path(storage._base_dir)) == parent_rows


def test_a_batch_goes_on_from_rows_that_are_there_and_after_a_wipe(
    real_events: list[EventLogEntry], tmp_path: Path
) -> None:
    extra = materialization("other", "scores", "2024-01-01")
    for cls, name in ((ConsolidatedSqliteEventLogStorage, "parent"), (EmbeddedEventLogStorage, "own")):
        storage = cls(str(tmp_path / name))
        storage.store_event_batch(real_events[:10])
        storage.delete_events(real_events[0].run_id)
        storage.store_event_batch(real_events)
        storage.store_event_batch([extra, extra])
        storage.dispose()
    assert contents(tmp_path / "own") == contents(tmp_path / "parent")


def test_a_real_run_is_batched_and_reads_back(tmp_path: Path) -> None:
    with house(EmbeddedEventLogStorage, tmp_path / "home") as instance:
        assert os.environ[BATCH_VARIABLE] == "1000"
        commits: list[int] = []
        sqlalchemy_event.listen(instance.event_log_storage.engine, "commit", lambda _: commits.append(1))
        result = run_range(instance, 20)
        assert not result.success
        stored = instance.event_log_storage.get_records_for_run(result.run_id).records
        writes = sum(1 for record in stored if record.event_log_entry.dagster_event_type is not None)
        assert writes > 100
        # 20 days x 2 assets materialized and x 3 planned would be 100 transactions of their own.
        assert len(commits) < writes
        keys = instance.get_materialized_partitions(dg.AssetKey("loans"))
        assert keys == {f"2024-01-{day:02d}" for day in range(1, 21)}
        record = instance.get_latest_materialization_event(dg.AssetKey("scores"))
        assert record is not None
        assert record.run_id == result.run_id
        check = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("loans"), "schema"), limit=1
        )
        assert [item.status.value for item in check] == ["SUCCEEDED"]
        versions = instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey("loans"), DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
        )
        assert {tags["dagster/data_version"] for tags in versions.values()} == {"v1"}
        assert len(versions) == 20


def test_the_batch_size_of_the_environment_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(BATCH_VARIABLE, "0")
    EmbeddedEventLogStorage(str(tmp_path)).dispose()
    assert os.environ[BATCH_VARIABLE] == "0"


def blow_up_on(storage: EmbeddedEventLogStorage, version: str) -> None:
    """From now on the database itself refuses the tag of this data version."""
    with storage._connect() as connection:
        connection.exec_driver_sql(
            f"CREATE TRIGGER fuse BEFORE INSERT ON asset_event_tags WHEN NEW.value = '{version}' "
            "BEGIN SELECT RAISE(ABORT, 'fuse blown'); END"
        )


def test_a_batch_that_fails_leaves_nothing(storage: EmbeddedEventLogStorage, tmp_path: Path) -> None:
    storage.store_event_batch([materialization("r", "loans", "2024-01-01")])
    before = contents(tmp_path / "log")
    blow_up_on(storage, "bad")
    batch = [materialization("r", "loans", f"2024-01-{day:02d}", "bad" if day == 5 else "2") for day in range(2, 9)]
    with pytest.raises(Exception, match="fuse blown"):
        storage.store_event_batch(batch)
    assert contents(tmp_path / "log") == before
    with pytest.raises(Exception, match="fuse blown"):
        storage.store_event(batch[3])
    assert contents(tmp_path / "log") == before
    # The thread is not left in the failed transaction.
    storage.store_event_batch(batch[:2])
    assert len(contents(tmp_path / "log")["event_logs"]) == 3


class FirstBatchFails(EmbeddedEventLogStorage):
    """Fails inside the transaction of its first batch, after rows were written."""

    batches = 0

    def _store_check_events(self, connection: Any, events: Sequence[tuple[EventLogEntry, int, str]]) -> None:
        super()._store_check_events(connection, events)
        type(self).batches += 1
        if type(self).batches == 1:
            raise OSError("disk went away for a moment")


def test_dagster_stores_the_events_of_a_failed_batch_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with house(FirstBatchFails, tmp_path / "home") as instance:
        for number in range(6):
            instance.handle_new_event(
                materialization("r", "loans", f"2024-01-{number + 1:02d}"),
                batch_metadata=DagsterEventBatchMetadata("batch", number == 5),
            )
        assert "disk went away" in capsys.readouterr().err
        assert FirstBatchFails.batches == 1
        rows = contents(tmp_path / "home" / "log")
    assert [row[-1] for row in rows["event_logs"]] == [f"2024-01-{day:02d}" for day in range(1, 7)]
    assert [row[1] for row in rows["asset_event_tags"]] == [row[0] for row in rows["event_logs"]]


def test_a_planned_check_of_very_many_partitions_is_stored(storage: EmbeddedEventLogStorage, tmp_path: Path) -> None:
    days = dg.DailyPartitionsDefinition("2007-06-01", end_date="2024-01-01")
    keys = days.get_partition_keys()
    assert len(keys) > 6000
    subset = days.subset_with_all_partitions().to_serializable_subset()
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
        job_name="job",
        step_key="loans",
        event_specific_data=AssetCheckEvaluationPlanned(
            asset_key=dg.AssetKey("loans"), check_name="schema", partitions_subset=subset
        ),
    )
    storage.store_event_batch([entry("r", event), entry("other", event)])
    rows = contents(tmp_path / "log")["asset_check_executions"]
    assert {row[3] for row in rows} == set(keys)
    assert len(rows) == 2 * len(keys)


def write_much(folder: str, name: str, keys: int, go: Any, claimed: Any) -> None:
    """One process: three threads of batches and single events, then a claim on each pool."""
    go.wait()
    storage = EmbeddedEventLogStorage(folder)

    def write(thread: int) -> None:
        run = f"{name}-{thread}"
        for number in range(6):
            storage.store_event_batch([materialization(run, f"asset{i % 3}", f"{number}-{i}") for i in range(10)])
            storage.store_event(materialization(run, "asset0", f"{number}-single"))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = sum(storage.claim_concurrency_slot(f"pool{k}", name, "step").is_claimed for k in range(keys))
    claimed.put((name, won))
    storage.dispose()


def test_processes_and_threads_write_at_once_while_others_read(tmp_path: Path) -> None:
    folder, pools, processes = tmp_path / "log", 30, 2
    context = multiprocessing.get_context("spawn")
    go, claimed = context.Event(), context.Queue()
    workers = [
        context.Process(target=write_much, args=(str(folder), f"p{i}", pools, go, claimed)) for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    # All of them make the file at the same moment; this process is one more.
    go.set()
    storage = EmbeddedEventLogStorage(str(folder))
    for pool in range(pools):
        storage.set_concurrency_slots(f"pool{pool}", 1)
    seen = 0
    while any(worker.is_alive() for worker in workers):
        records = storage.get_records_for_run("p0-0", limit=1000).records
        # A batch shows whole or not at all, and what was seen stays.
        assert len(records) % 11 in (0, 10)
        assert len(records) >= seen
        seen = len(records)
        time.sleep(0.05)
    assert [worker.exitcode for worker in workers] == [0] * processes
    rows = contents(folder)
    assert len(rows["event_logs"]) == processes * 3 * 66
    assert len(rows["asset_event_tags"]) == len(rows["event_logs"])
    assert {row[1] for row in rows["asset_event_tags"]} == {row[0] for row in rows["event_logs"]}
    assert len(rows["asset_keys"]) == 3
    # One slot a pool: whoever came first has it, and nobody else.
    assert sum(claimed.get()[1] for _ in workers) == pools
    storage.dispose()


def test_readers_do_not_wait_for_a_writer(storage: EmbeddedEventLogStorage) -> None:
    storage.store_event(materialization("r", "loans", "2024-01-01"))
    found: list[int] = []

    def read() -> None:
        found.append(len(storage.get_records_for_run("r").records))

    with storage.writing():
        storage.store_event(materialization("r", "loans", "2024-01-02"))
        reader = threading.Thread(target=read)
        reader.start()
        reader.join()
        assert found == [1]
    read()
    assert found == [1, 2]


def in_another_process(action: Callable[[], None]) -> Callable[[], None]:
    """A child that is forked now, and does this when the function returned is called; that waits for its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(reading, 1)
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)

    def go() -> None:
        os.write(writing, b"!")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    return go


def test_a_forked_child_writes_with_connections_of_its_own(storage: EmbeddedEventLogStorage, tmp_path: Path) -> None:
    storage.store_event(materialization("parent", "loans", "2024-01-01"))
    in_another_process(
        lambda: storage.store_event_batch([materialization("child", "loans", f"{i}") for i in range(5)])
    )()
    storage.store_event(materialization("parent", "loans", "2024-01-02"))
    assert [row[1] for row in contents(tmp_path / "log")["event_logs"]] == ["parent", *["child"] * 5, "parent"]


def until(condition: Any) -> None:
    """A watcher's thread is at work: what it never does ends with the suite's limit, which shows where."""
    while not condition():
        time.sleep(0.02)


@pytest.mark.parametrize(
    "of_type",
    [
        None,
        DagsterEventType.ASSET_MATERIALIZATION,
        {DagsterEventType.ASSET_MATERIALIZATION},
        {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.STEP_FAILURE},
    ],
)
def test_events_of_a_run_are_found_by_the_run_whatever_their_type(
    storage: EmbeddedEventLogStorage, of_type: Any
) -> None:
    for run in ("a", "b"):
        storage.store_event_batch([materialization(run, "loans", f"{run}{n}") for n in range(3)])
    asked: list[tuple[str, Any]] = []

    def ask(_: Any, __: Any, statement: str, parameters: Any, *more: Any) -> None:
        asked.append((statement, parameters))

    sqlalchemy_event.listen(storage.engine, "before_cursor_execute", ask)
    found = storage.get_records_for_run("b", of_type=of_type, limit=2)
    rest = storage.get_records_for_run("b", found.cursor, of_type)
    backwards = storage.get_records_for_run("b", of_type=of_type, ascending=False)
    sqlalchemy_event.remove(storage.engine, "before_cursor_execute", ask)
    days = [
        [record.event_log_entry.get_dagster_event().partition for record in one.records]
        for one in (found, rest, backwards)
    ]
    assert days == [["b0", "b1"], ["b2"], ["b2", "b1", "b0"]]
    # All of a type that were ever written would be the more the older the house.
    with storage.engine.connect() as connection:
        plans = [
            "; ".join(row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", values))
            for one, values in asked
            if "FROM event_logs" in one
        ]
    assert len(plans) == 3
    assert all("idx_events_by_run_id" in plan for plan in plans), plans


def test_watchers_learn_what_another_process_stores(storage: EmbeddedEventLogStorage) -> None:
    # Forked while this process has one thread.
    store = in_another_process(
        lambda: storage.store_event_batch(
            [materialization(run, "loans", run + place) for place in "123" for run in ("r", "unseen")]
        )
    )
    storage.store_event(materialization("r", "loans", "before"))
    cursor = storage.get_records_for_run("r").cursor
    seen: list[tuple[str | None, str]] = []
    from_start: list[str | None] = []

    def callback(event: EventLogEntry, position: str) -> None:
        seen.append((event.get_dagster_event().partition, position))
        raise RuntimeError("a watcher that fails must not stop the others")

    def other(event: EventLogEntry, position: str) -> None:
        from_start.append(event.get_dagster_event().partition)

    storage.watch("r", cursor, callback)
    storage.watch("r", None, other)
    store()
    until(lambda: len(seen) == 3 and len(from_start) == 4)
    assert [partition for partition, _ in seen] == ["r1", "r2", "r3"]
    assert from_start == ["before", "r1", "r2", "r3"]
    # The position a watcher is given is one it can go on from.
    assert [
        r.event_log_entry.get_dagster_event().partition for r in storage.get_records_for_run("r", seen[1][1]).records
    ] == ["r3"]

    storage.end_watch("r", callback)
    storage.store_event(materialization("r", "loans", "later"))
    until(lambda: len(from_start) == 5)
    assert len(seen) == 3


def test_the_thread_of_the_watchers_goes_with_the_last_of_them(storage: EmbeddedEventLogStorage) -> None:
    seen: list[str | None] = []

    def callback(event: EventLogEntry, position: str) -> None:
        seen.append(event.get_dagster_event().partition)
        storage.end_watch("r", callback)

    storage.watch("r", None, callback)
    storage.store_event_batch([materialization("r", "loans", "1"), materialization("r", "loans", "2")])
    until(lambda: storage._run_watchers.thread is None)
    assert seen == ["1"]
    # And it can be watched again.
    storage.watch("r", None, callback)
    until(lambda: len(seen) == 2)


def test_a_start_that_was_cut_off_leaves_no_half_made_file(tmp_path: Path) -> None:
    (tmp_path / ".event_log-abc").mkdir()
    (tmp_path / ".event_log-abc" / "event_log.db").write_bytes(b"half a file")
    storage = EmbeddedEventLogStorage(str(tmp_path))
    storage.store_event(materialization("r", "loans", "1"))
    assert storage.has_secondary_index("asset_key_index_columns")
    assert not storage.has_table("no_such_table")
    storage.dispose()
