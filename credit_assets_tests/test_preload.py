"""What the fork server of CREDIT_EXECUTOR=multiprocess has loaded before it starts a step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from credit_assets.executors import PRELOAD
from credit_assets.instance.home import ensure_instance
from credit_assets.settings import load_settings

_REPORT = """
import importlib, json, os, sys, threading
for module in sys.argv[1:]:
    importlib.import_module(module)
from alembic.script import ScriptDirectory
print(json.dumps({
    "modules": sorted(sys.modules),
    "threads": threading.active_count(),
    "files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                    if os.path.isfile(f"/proc/self/fd/{fd}")) if os.path.isdir("/proc/self/fd") else [],
    "migrations": ScriptDirectory.from_config.__module__,
}))
"""


def test_the_fork_server_loads_what_steps_share_and_opens_nothing(tmp_path: Path) -> None:
    home = ensure_instance(load_settings(dagster_home=tmp_path / "dagster"))
    done = subprocess.run([sys.executable, "-c", _REPORT, *PRELOAD], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    loaded = set(report["modules"])
    assert {
        "credit_assets.definitions",
        "credit_assets.instance.event_log",
        "dagster._core.storage.runs.sqlite.sqlite_run_storage",
        "mlflow.store.tracking.sqlalchemy_store",
        "pandas",
        "pyarrow.parquet",
    } <= loaded
    # Each is loaded by one step in three at most, and brings threads of its own.
    assert not {"lightgbm", "xgboost", "catboost", "sklearn"} & loaded
    assert report["threads"] == 1
    assert report["migrations"] == "credit_assets.instance.dagster_internals"
    assert [name for name in report["files"] if str(home) in name] == []
