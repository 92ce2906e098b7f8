"""What the fork server of CREDIT_EXECUTOR=multiprocess has loaded before it starts a step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from credit_assets.executors import PRELOAD
from credit_assets.instance.home import ensure_instance
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.settings import load_settings
from credit_assets_tests.support.modelling import BOOSTERS, PORTFOLIO, quick_config, training_set

_REPORTS_AND_FITS = """
import gc, importlib, json, multiprocessing, os, sys, threading
for module in sys.argv[2:]:
    importlib.import_module(module)
from alembic.script import ScriptDirectory
print(json.dumps({
    "modules": sorted(sys.modules),
    "policy": os.environ["OMP_WAIT_POLICY"],
    "frozen": gc.get_freeze_count(),
    "threads": threading.active_count(),
    "files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                    if os.path.isfile(f"/proc/self/fd/{fd}")) if os.path.isdir("/proc/self/fd") else [],
    "migrations": ScriptDirectory.from_config.__module__,
}), flush=True)

def fit(learner):
    from credit_assets_tests.test_preload import fitted

    fitted(learner).save(f"{sys.argv[1]}/{learner}")

context = multiprocessing.get_context("fork")
steps = [context.Process(target=fit, args=(one,)) for one in ("xgboost", "lightgbm", "catboost")]
for step in steps:
    step.start()
for step in steps:
    step.join()
sys.exit(any(step.exitcode for step in steps))
"""


def test_the_fork_server_loads_what_steps_share_opens_nothing_and_its_forks_fit_the_same_models(
    tmp_path: Path,
) -> None:
    """One process shows both: loading takes it four seconds."""
    home = ensure_instance(load_settings(dagster_home=tmp_path / "dagster"))
    command = [sys.executable, "-c", _REPORTS_AND_FITS, str(tmp_path / "forked"), *PRELOAD]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "BackfillPolic" not in done.stderr
    report = json.loads(done.stdout.splitlines()[0])
    loaded = set(report["modules"])
    assert {
        "credit_assets.definitions",
        "credit_assets.instance.event_log",
        "dagster._core.storage.runs.sqlite.sqlite_run_storage",
        "mlflow.store.tracking.sqlalchemy_store",
        "pandas",
        "pyarrow.parquet",
        "xgboost",
        "lightgbm",
        "catboost",
        "matplotlib.backends.backend_agg",
    } <= loaded
    # One step in sixteen takes each.
    assert not {"optbinning", "optuna", "duckdb"} & loaded
    assert report["policy"] == "PASSIVE"
    assert report["threads"] == 1
    assert report["frozen"] > 0
    assert report["migrations"] == "credit_assets.instance.dagster_internals"
    assert [name for name in report["files"] if str(home) in name] == []
    for learner in BOOSTERS:
        fitted(learner).save(tmp_path / "here" / learner)
        here, forked = (sorted((tmp_path / side / learner).iterdir()) for side in ("here", "forked"))
        assert [file.name for file in here] == [file.name for file in forked]
        assert [file.read_bytes() for file in here] == [file.read_bytes() for file in forked]


def fitted(learner: str) -> CreditScorer:
    config = quick_config(learner, threads=2)
    return train_candidate(training_set(), learner, PORTFOLIO, config).scorer
