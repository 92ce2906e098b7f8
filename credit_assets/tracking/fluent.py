"""MLflow's globals: its environment, and the server that its own functions talk to.

Belongs here: importing MLflow, and lending its globals to one user at a time. Does not belong here: a server of our own
(`server`), which needs no globals, and logins (`logins`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from credit_assets.tracking.logins import put_back
from credit_assets.tracking.mlflow_internals import experiment_put_back

# Set before MLflow is imported, and only where the environment does not say otherwise. Telemetry would call home from
# every step. MLflow's own 7 retries of 120 seconds keep a step waiting for minutes on a server that is not there, while
# Dagster's retry policy is the place for waiting. The rest: no copy of a uv project that happens to lie in the working
# folder in the model, no progress bars in step logs, no complaint about a missing git, no addresses of runs on stdout,
# where commands print their JSON.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
# What MLflow exports for subprocesses.
_EXPORTED = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")

# Tracking URI and experiment are the process's, so that only one run at a time is open in it.
GLOBALS = threading.RLock()


def import_mlflow() -> None:
    """Import MLflow with the environment that it reads at import."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.path.expanduser("~") == "~":
        # Neither HOME nor an account that would have one (OpenShift): MLflow could not be imported.
        os.environ["HOME"] = tempfile.gettempdir()
    import mlflow  # noqa: F401 - the import is what this is for

    # Whatever its database says it logs with the statement and its values, and then raises: `failures` words that.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def fluent(uri: str) -> Iterator[Any]:
    """The `mlflow` module with `uri` as its global server; what was set before is put back."""
    import mlflow

    with GLOBALS, experiment_put_back():
        environment = {name: os.environ.get(name) for name in _EXPORTED}
        # Looked for without the variable: a server that it alone names is not set in MLflow itself.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
        put_back(environment)
        try:
            mlflow.set_tracking_uri(uri)
            yield mlflow
        finally:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]
            put_back(environment)
