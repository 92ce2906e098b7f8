"""What every opening of a database reads or makes again, once: hundreds of tests open homes of their own.

Belongs here: saving this process what it has read already. Does not belong here: homes with something in them
(`prepared`, `houses`). Processes that tests start open as they do anywhere.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from credit_assets.places import database_file
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.claims import Claims
from credit_assets.tracking import database
from credit_assets_tests.support.prepared import prepared_home


def remember_migrations(patch: pytest.MonkeyPatch) -> None:
    """Alembic's folders of migrations are read once. Dagster and MLflow read some ninety of them at each opening, to
    see whether the newest is what the database has: half of what opening a Dagster home costs.
    """
    from alembic.script import ScriptDirectory

    read = ScriptDirectory.from_config
    known: dict[tuple[str | None, str | None], ScriptDirectory] = {}

    def from_config(config: Any) -> ScriptDirectory:
        place = (config.config_file_name, config.get_main_option("script_location"))
        if place not in known:
            known[place] = read(config)
        return known[place]

    patch.setattr(ScriptDirectory, "from_config", from_config)


@contextmanager
def nobody_waits_for_the_disk() -> Iterator[None]:
    """SQLite leaves it to the system when what it has written is on the disk. A test kills processes, whose writes the
    system has; it cuts nobody's power.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def connected(connection: Any, _record: Any) -> None:
        if type(connection).__module__ == "sqlite3":
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", connected)
    yield
    event.remove(Engine, "connect", connected)


def copy_new_homes(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A new Dagster home in this process gets the databases of a blank one, which was opened as any is."""
    from credit_assets.instance import home

    def blank(folder: Path) -> None:
        folder.mkdir()
        with pytest.MonkeyPatch.context() as environment:
            environment.delenv("DAGSTER_HOME", raising=False)
            with home.instance_of(load_settings(home=folder)) as instance:
                assert instance.get_runs_count() == 0

    made = prepared_home(tmp_path_factory, "blank", blank) / "dagster"
    ensure = home.ensure_instance

    def ensured(settings: Settings) -> Path:
        folder = ensure(settings)
        untouched = (folder / home.CONFIG_FILE).read_text("utf-8") == home.CONFIG
        if untouched and not any((folder / name).exists() for name in ("event_log.db", "history", "schedules")):
            with suppress(OSError):
                shutil.copytree(made, folder, ignore=shutil.ignore_patterns("*.lock"), dirs_exist_ok=True)
        return folder

    patch.setattr(home, "ensure_instance", ensured)


def copy_new_mlflow(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A new SQLite database of MLflow in this process is a copy of `migrated_database`."""
    from credit_assets.tracking import server

    @contextmanager
    def migration_lock(uri: str) -> Iterator[None]:
        with database.migration_lock(uri):
            file = database_file(uri)
            if file is not None and not file.exists():
                with suppress(OSError):
                    shutil.copy(migrated_database(tmp_path_factory), file)
            yield

    patch.setattr(server, "migration_lock", migration_lock)


def forget_mlflow(beyond: int) -> None:
    """Where MLflow has asked more than `beyond` databases, forget them all: it keeps two engines for each address that
    a process has ever asked, each with a connection and with all statements it has compiled, a thousand descriptors
    after some hundred homes. Whoever still has one of these stores is given a new connection.
    """
    from mlflow.store.model_registry import sqlalchemy_store as models
    from mlflow.store.tracking import sqlalchemy_store as runs
    from mlflow.tracking._model_registry.registry import ModelRegistryStoreRegistry
    from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry

    if len(runs.SqlAlchemyStore._engine_map) <= beyond:
        return
    for stores in (TrackingStoreRegistry, ModelRegistryStoreRegistry):
        stores._get_store_with_resolved_uri.cache_clear()
    for store in (runs.SqlAlchemyStore, models.SqlAlchemyStore):
        with store._engine_map_lock:
            engines = list(store._engine_map.values())
            store._engine_map.clear()
        for engine in engines:
            engine.dispose()


def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables and no experiment in them, which was opened as any is."""
    from credit_assets.tracking import Tracking, server

    def migrate(home: Path) -> None:
        home.mkdir()
        file = home / "mlflow.db"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "migration_lock", database.migration_lock)
            Tracking(f"sqlite:///{file}", "any", Claims(str(home / "store"))).server.prepare()
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DELETE FROM experiment_tags")
            connection.execute("DELETE FROM experiments")

    return prepared_home(tmp_path_factory, "mlflow", migrate) / "mlflow.db"
