"""What the fork server loads once, so that no step does.

Belongs here: imports, and nothing that opens a file, a connection or a thread, which would cross the fork. A step in a
process of its own opens the instance before anything else, takes tables soon after and talks to MLflow in the end:
SQLAlchemy, Alembic, Arrow, pandas and MLflow took more of such a step than its work. Learners are left to the few steps
that train or score. What cannot be loaded here is left to the step, which then says why.
"""

from __future__ import annotations

import os
from contextlib import suppress

from upath import UPath

import credit_assets.definitions  # noqa: F401
from credit_assets.instance.dagster_internals import load_for_steps, remember_migrations
from credit_assets.settings import load_settings
from credit_assets.tracking.fluent import import_mlflow


def load() -> None:
    with suppress(Exception):
        load_for_steps(os.environ.get("DAGSTER_HOME"))
    with suppress(Exception):
        remember_migrations()
    # Registers the file systems of fsspec.
    UPath(os.getcwd())
    with suppress(Exception):
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401

        import_mlflow()
        if load_settings().tracking_uri.startswith("sqlite:"):
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


load()
