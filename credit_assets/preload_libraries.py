"""What the fork server loads once of that which the work of most steps takes: tables, and MLflow in the end.

Belongs here: imports, and nothing that opens a file, a connection or a thread, which would cross the fork. Arrow,
pandas and MLflow took more of a step in a process of its own than its work. Does not belong here: learners, which are
left to the few steps that train or score. What cannot be loaded here is left to the step, which then says why.
"""

from __future__ import annotations

from contextlib import suppress

from credit_assets.settings import load_settings
from credit_assets.tracking.fluent import import_mlflow


def load() -> None:
    with suppress(Exception):
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401

        import_mlflow()
        if load_settings().tracking_uri.startswith("sqlite:"):
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


load()
