"""What the fork server imports once, so that no step does: the code location and the storages of the instance.

A step in a process of its own opens the instance before anything else. Its storages bring SQLAlchemy and Alembic,
half a second for each step unless they are here already. Only modules: nothing is opened before the fork. What cannot
be imported here is left to the step, which then says why.
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress

import dagster._core.execution.plan.execute_plan
import dagster._core.executor.child_process_executor
import dagster._core.instance.factory
import dagster._core.secrets.env_file
import dagster._core.storage.migration.utils  # noqa: F401
from dagster._core.instance import InstanceRef
from dagster._serdes import ConfigurableClassData

import credit_assets.definitions  # noqa: F401


def storages(home: str) -> list[str]:
    """Modules of the classes that the instance of this folder is made of."""
    parts = InstanceRef.from_dir(home)
    found = [getattr(parts, name) for name in type(parts)._fields]
    # Storages within storages: the composite one of dagster.yaml's key `storage` holds the names in its config.
    return [part.module_name for part in found if isinstance(part, ConfigurableClassData)]


if os.environ.get("DAGSTER_HOME"):
    with suppress(Exception):
        for module in storages(os.environ["DAGSTER_HOME"]):
            importlib.import_module(module)
