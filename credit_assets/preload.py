"""What the fork server loads once, so that no step does.

A step in a process of its own opens the instance before anything else, and paths soon after. SQLAlchemy, Alembic and
fsspec took most of what such a step cost. Nothing is opened here: no connection crosses the fork. What cannot be loaded
here is left to the step, which then says why.
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from typing import Any

import dagster._core.execution.plan.execute_plan
import dagster._core.executor.child_process_executor
import dagster._core.instance.factory
import dagster._core.secrets.env_file
import dagster._core.storage.migration.utils  # noqa: F401
from alembic.script import ScriptDirectory
from dagster._core.instance import InstanceRef
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.storage.sql import get_alembic_config
from dagster._serdes import ConfigurableClassData
from upath import UPath

import credit_assets.definitions  # noqa: F401


def storages(home: str) -> list[str]:
    """Modules of the classes that the instance of this folder is made of."""
    parts = InstanceRef.from_dir(home)
    found = [getattr(parts, name) for name in type(parts)._fields]
    return [part.module_name for part in found if isinstance(part, ConfigurableClassData)]


def remember_migrations() -> None:
    """Let Alembic read Dagster's migrations once instead of at each opening of each storage: 90 files every time, to
    learn whether there is a newest one. The files do not change while a run lasts.
    """
    read = ScriptDirectory.from_config

    directories: dict[str, ScriptDirectory] = {}

    def from_config(config: Any) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in directories:
            directories[location] = read(config)
            directories[location].as_revision_number("head")
        return directories[location]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]
    for storage in (sqlite_run_storage, sqlite_schedule_storage):
        from_config(get_alembic_config(storage.__file__))


if os.environ.get("DAGSTER_HOME"):
    with suppress(Exception):
        for module in storages(os.environ["DAGSTER_HOME"]):
            importlib.import_module(module)
with suppress(Exception):
    remember_migrations()
UPath(os.getcwd())
