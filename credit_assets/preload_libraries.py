"""What the fork server loads once of that which the work of most steps takes: tables, MLflow, learners and pictures.

Belongs here: imports, and nothing that opens a file or a connection, which would cross the fork. Each took more of a
step in a process of its own than its work. Threads: those of the algebra under NumPy and SciPy alone, which is prepared
for a fork; a learner starts its own when it first fits or predicts, which is in a step. Does not belong here: what one
step takes (optbinning, optuna). What cannot be loaded here is left to the step, which then says why.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from importlib import import_module

from credit_assets.settings import load_settings
from credit_assets.tracking.fluent import import_mlflow


def load() -> None:
    with suppress(Exception):
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401

        import_mlflow()
        if load_settings().tracking_uri.startswith("sqlite:"):
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    # XGBoost and LightGBM bring SciPy and scikit-learn, six of the steps of a day one of them; four draw.
    for library in ("xgboost", "lightgbm", "catboost", "matplotlib.backends.backend_agg"):
        with suppress(Exception):
            import_module(library)
    gc.freeze()


load()
