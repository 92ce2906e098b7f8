"""The dagster.yaml of one machine: every key is known to Dagster and means what its comment says."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from filelock import FileLock

from credit_assets.failures import PermanentError
from credit_assets.instance import home
from credit_assets.instance.event_log import EmbeddedEventLogStorage
from credit_assets.instance.health import health
from credit_assets.instance.home import CONFIG, CONFIG_FILE, ensure_instance, instance_of
from credit_assets.settings import load_settings


@pytest.fixture(autouse=True)
def _environment_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # ensure_instance sets it for good; setting it here first makes pytest put back what was there.
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")


def test_dagster_loads_the_instance_with_every_setting() -> None:
    folder = ensure_instance(load_settings())
    assert os.environ["DAGSTER_HOME"] == str(folder)
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, EmbeddedEventLogStorage)
        assert Path(instance.event_log_storage.get_db_path()) == folder / "event_log.db"
        assert isinstance(instance.run_storage, SqliteRunStorage)
        assert isinstance(instance.schedule_storage, SqliteScheduleStorage)
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert isinstance(instance.compute_log_manager, LocalComputeLogManager)
        concurrency = instance.get_concurrency_config()
        assert concurrency.run_queue_config is not None
        assert concurrency.run_queue_config.max_concurrent_runs == 2
        assert concurrency.pool_config.default_pool_limit == 1
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 2
        assert instance.run_retries_retry_on_asset_or_op_failure is False
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds == 12 * 3600
        assert instance.telemetry_enabled is False
        assert instance.nux_enabled is False
        # A pool that nobody gave a limit lets one step in at a time.
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default("training")
        assert storage.claim_concurrency_slot("training", "run1", "step").is_claimed
        assert not storage.claim_concurrency_slot("training", "run2", "step").is_claimed
        storage.free_concurrency_slots_for_run("run1")
        assert storage.claim_concurrency_slot("training", "run2", "step").is_claimed


def test_every_top_level_key_is_one_of_dagsters() -> None:
    assert set(yaml.safe_load(CONFIG)) <= set(dagster_instance_config_schema())


def test_ticks_are_kept_as_long_as_the_file_says() -> None:
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import TickStatus

    ensure_instance(load_settings())
    with dg.DagsterInstance.get() as instance:
        sensors = instance.get_tick_retention_settings(InstigatorType.SENSOR)
        schedules = instance.get_tick_retention_settings(InstigatorType.SCHEDULE)
    assert sensors[TickStatus.SKIPPED] == 3
    assert sensors[TickStatus.FAILURE] == 90
    assert schedules[TickStatus.SUCCESS] == 365


def test_a_file_that_is_there_is_never_touched() -> None:
    folder = load_settings().dagster_dir
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text("telemetry: {enabled: true}\n")
    before = (folder / CONFIG_FILE).stat().st_mtime_ns
    ensure_instance(load_settings())
    assert (folder / CONFIG_FILE).read_text() == "telemetry: {enabled: true}\n"
    assert (folder / CONFIG_FILE).stat().st_mtime_ns == before


@pytest.fixture(params=[0, 1], ids=["with compute_logs", "without"])
def earlier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a version of before wrote."""
    logs = """compute_logs:
  module: credit_assets.resources.compute_logs
  class: EmbeddedComputeLogManager
"""
    text = CONFIG.replace("credit_assets.instance.", "credit_assets.resources.") + ("" if request.param else logs)
    monkeypatch.setattr(home, "_EARLIER", {sha256(text.encode()).hexdigest()})
    return text


def test_a_file_of_an_earlier_version_is_written_anew(earlier: str) -> None:
    folder = load_settings().dagster_dir
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(earlier)
    ensure_instance(load_settings())
    assert (folder / CONFIG_FILE).read_text() == CONFIG
    assert [path.name for path in folder.iterdir()] == [CONFIG_FILE]


def test_a_changed_file_of_an_earlier_version_is_left_and_what_to_change_is_told(earlier: str) -> None:
    folder = load_settings().dagster_dir
    folder.mkdir(parents=True)
    changed = earlier.replace("max_concurrent_runs: 2", "max_concurrent_runs: 3")
    (folder / CONFIG_FILE).write_text(changed)
    with pytest.raises(PermanentError, match=r"dagster.yaml names .*event_log.* write credit_assets.instance.event"):
        ensure_instance(load_settings())
    assert (folder / CONFIG_FILE).read_text() == changed
    moved = changed.replace("credit_assets.resources.event_log", "credit_assets.instance.event_log")
    (folder / CONFIG_FILE).write_text(moved)
    if "compute_logs:" in moved:
        with pytest.raises(PermanentError, match="take out the section compute_logs"):
            ensure_instance(load_settings())
    else:
        ensure_instance(load_settings())
    assert (folder / CONFIG_FILE).read_text() == moved


def test_what_was_written_before_is_known_and_what_is_written_now_is_not() -> None:
    digest = sha256(CONFIG.encode()).hexdigest()
    assert digest not in home._EARLIER
    # Whoever changes CONFIG adds the digest of what it was to home._EARLIER, and writes the new one here.
    assert digest == "0aac217de88335a6280b60488760c7ccc7a4afdaafe3163d62f1030430867200"


def test_twice_and_at_once_leaves_one_file() -> None:
    settings = load_settings()
    threads = [threading.Thread(target=ensure_instance, args=(settings,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in ensure_instance(settings).iterdir()] == [CONFIG_FILE]
    assert (settings.dagster_dir / CONFIG_FILE).read_text() == CONFIG


def test_dagster_home_decides_the_folder_and_a_moved_folder_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "here"))
    assert ensure_instance(load_settings()) == tmp_path / "here"
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("kept", ["one"])
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "there"))
    ensure_instance(load_settings())
    with dg.DagsterInstance.get() as instance:
        assert instance.get_dynamic_partitions("kept") == ["one"]
    assert not (tmp_path / "here").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "dagster"))
    with pytest.raises(PermanentError, match=r"file/dagster cannot be used .* set DAGSTER_HOME"):
        ensure_instance(load_settings())


def test_importing_it_leaves_dagster_out() -> None:
    code = "import sys, credit_assets.instance.home\nassert 'dagster' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def _open_together(barrier: Any, results: Any) -> None:
    barrier.wait()
    try:
        with instance_of(load_settings()) as instance:
            instance.get_runs_count()
            results.put("")
    except BaseException as error:
        results.put(repr(error))


def test_commands_that_meet_in_a_new_home_make_its_tables_once() -> None:
    # Forked after the imports, which would spread them in time.
    with dg.DagsterInstance.ephemeral():
        pass
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        shutil.rmtree(load_settings().dagster_dir, ignore_errors=True)
        barrier, results = context.Barrier(4), context.Queue()
        processes = [context.Process(target=_open_together, args=(barrier, results)) for _ in range(4)]
        for process in processes:
            process.start()
        assert [results.get() for _ in processes] == [""] * 4
        for process in processes:
            process.join()


@pytest.mark.parametrize("database", ["history/runs.db", "schedules/schedules.db", "event_log.db"])
def test_a_damaged_database_is_told_of_with_its_folder(database: str) -> None:
    settings = load_settings()
    with instance_of(settings) as instance:
        instance.get_asset_keys(limit=1)
    file = settings.dagster_dir / database
    file.write_bytes(b"no database" * 1000)
    for rest in file.parent.glob(f"{file.name}-*"):
        rest.unlink()

    def read() -> None:
        with instance_of(settings) as instance:
            instance.get_runs_count()
            instance.get_asset_keys(limit=1)

    with pytest.raises(PermanentError, match="should be a database is none") as told:
        read()
    assert str(settings.dagster_dir) in str(told.value)
    found = health(settings)
    assert found.status == "fail"
    assert "restore it" in found.advice


def test_a_configuration_that_dagster_refuses_is_told_of_with_its_file() -> None:
    folder = ensure_instance(load_settings())
    (folder / CONFIG_FILE).write_text("no_such_key: 1\n")
    with pytest.raises(PermanentError, match=f"correct or delete {CONFIG_FILE}"), instance_of(load_settings()):
        pass


def test_what_a_command_raises_inside_is_left_as_it_is() -> None:
    for error in (ValueError("x"), PermanentError("y"), OSError(28, "No space left on device", "/data/x")):
        with pytest.raises(type(error)) as raised, instance_of(load_settings()):
            raise error
        assert raised.value is error


def test_two_homes_in_one_process_keep_their_records_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    folders = []
    for name in ("one", "two", "one"):
        with instance_of(load_settings(home=tmp_path / name)) as instance:
            folders.append(Path(instance.root_directory))
            assert os.environ["DAGSTER_HOME"] == str(tmp_path / name / "dagster")
        assert "DAGSTER_HOME" not in os.environ
    assert folders == [tmp_path / name / "dagster" for name in ("one", "two", "one")]
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "elsewhere"))
    with instance_of(load_settings(home=tmp_path / "three")) as instance:
        assert Path(instance.root_directory) == tmp_path / "elsewhere"
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "elsewhere")


def test_a_folder_that_nobody_can_write_to_is_opened_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster, where dagster.yaml comes from a ConfigMap into a read-only root."""
    settings = load_settings(home=tmp_path)
    with instance_of(settings):
        pass

    def refused(lock: FileLock, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(lock.lock_file))

    monkeypatch.setattr(FileLock, "acquire", refused)
    with instance_of(settings) as instance:
        assert instance.get_runs_count() == 0
