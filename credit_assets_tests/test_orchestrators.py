"""The examples for Airflow and Prefect: with the real packages they come to the pipeline's own models and scores.

`make test-orchestrators` makes the environments; without them these tests are skipped. The steps without an
orchestrator are tried always.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from credit_assets.ml.data.fingerprints import frame_hash
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import SMALL, TRAINED

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "orchestrators"
VARIANTS = ("xgboost", "lightgbm", "catboost")
SCORED = TRAINED + timedelta(1)


@pytest.fixture(scope="module")
def steps() -> Iterator[Any]:
    sys.path.insert(0, str(EXAMPLES))
    try:
        import steps

        yield steps
    finally:
        sys.path.remove(str(EXAMPLES))
        sys.modules.pop("steps", None)


@pytest.fixture
def plan(trained_home: Path, tmp_path: Path) -> dict[str, Any]:
    """What the pipeline did in the trained home, as a plan on the same loans."""
    store = Store(str(trained_home / "store"))
    recorded = store.read_record(store.path("xgboost_candidate", f"{TRAINED}.json"))
    return {
        "applications": str(trained_home / "store" / "raw_loan_data"),
        "outcomes": str(trained_home / "store" / "loan_outcomes"),
        "work": str(tmp_path / "work"),
        "as_of": str(TRAINED),
        "score_day": str(SCORED),
        "window_days": SMALL["performance_window_days"],
        "lookback_days": SMALL["lookback_days"],
        "test_share": 0.25,
        "validation_share": 0.2,
        "training": {
            "seed": recorded["identity"]["seed"],
            # Sums over threads round differently.
            "threads": recorded["threads"],
            "max_rounds": SMALL["max_rounds"],
            "early_stopping_rounds": SMALL["early_stopping_rounds"],
            "calibration": SMALL["calibration"],
        },
        "variant_params": SMALL["variant_params"],
    }


def assert_as_the_pipeline(plan: dict[str, Any], trained_home: Path) -> None:
    """The training set, the bytes of every model, the choice and the scores of a day."""
    store, work = Store(str(trained_home / "store")), Path(plan["work"])
    chosen = store.read_record(store.path("trained_model", f"{TRAINED}.json"))
    assert frame_hash(pq.read_table(work / "training_set.parquet")) == chosen["data"]
    for variant in VARIANTS:
        recorded = store.read_record(store.path(f"{variant}_candidate", f"{TRAINED}.json"))["files"]
        made = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (work / variant).iterdir()}
        assert len(made) == 2
        assert made == {name: recorded[name] for name in made}
    from credit_assets import CreditScorer

    # The pipeline's winner says the same of the day as what was chosen here.
    features = store.read_partitions("processed_features", [str(SCORED)])
    expected = CreditScorer.load(work / chosen["variant"]).score(features)
    scores = pq.read_table(work / "scores.parquet").to_pandas()
    assert len(scores)
    assert scores["pd"].tolist() == expected["pd"].tolist()
    assert scores["score"].tolist() == expected["score"].tolist()


@pytest.mark.slow
def test_the_steps_alone_come_to_the_pipelines_models(steps: Any, plan: dict[str, Any], trained_home: Path) -> None:
    training_set = steps.make_training_set(plan, steps.make_features(plan))
    candidates = [steps.train(plan, variant, training_set) for variant in VARIANTS]
    steps.score(plan, steps.choose(candidates))
    assert_as_the_pipeline(plan, trained_home)


def test_bad_data_are_named(steps: Any, plan: dict[str, Any], tmp_path: Path) -> None:
    plan["as_of"] = "2031-01-01"
    with pytest.raises(steps.BadDataError, match=r"2030-10-04.parquet is not there: extract the day"):
        steps.make_features(plan)
    # Nobody's window has closed with a bad yet: the gates say so, and no training set is left behind.
    plan["as_of"] = str(TRAINED)
    outcomes = tmp_path / "outcomes"
    shutil.copytree(plan["outcomes"], outcomes)
    for file in outcomes.glob("*.parquet"):
        pq.write_table(pq.ParquetFile(file).read().slice(0, 0), file)
    plan["outcomes"] = str(outcomes)
    with pytest.raises(steps.BadDataError, match="enough_outcomes: error"):
        steps.make_training_set(plan, steps.make_features(plan))
    assert not (tmp_path / "work" / "training_set.parquet").exists()


def test_the_first_of_equals_is_chosen(steps: Any) -> None:
    found = [{"variant": name, "auc": {"validation": auc}} for name, auc in (("a", 0.6), ("b", 0.7), ("c", 0.7))]
    assert steps.choose(found)["variant"] == "b"


def python_of(orchestrator: str) -> Path:
    """The interpreter with the real package; skips where nobody has made its environment."""
    python = ROOT / ".orchestrators" / orchestrator / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{orchestrator} is not installed: `make test-orchestrators` makes its environment")
    return python


def run(plan: dict[str, Any], tmp_path: Path, python: Path, *arguments: str, **environment: str) -> Any:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [str(python), *arguments, str(file)],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def airflow(plan: dict[str, Any], tmp_path: Path) -> Any:
    python = python_of("airflow")
    environment = {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [str(python.with_name("airflow")), "db", "migrate"]
    subprocess.run(command, env={**kept, **environment}, check=True, capture_output=True)
    return run(plan, tmp_path, python, str(EXAMPLES / "airflow_dag.py"), **environment)


def prefect(plan: dict[str, Any], tmp_path: Path) -> Any:
    environment = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The server that a flow starts where none is set: 20 seconds are too few on a busy machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    }
    return run(plan, tmp_path, python_of("prefect"), str(EXAMPLES / "prefect_flow.py"), **environment)


ORCHESTRATORS = {"airflow": airflow, "prefect": prefect}


@pytest.mark.slow
@pytest.mark.parametrize("name", ORCHESTRATORS)
def test_it_comes_to_the_pipelines_models(name: str, plan: dict[str, Any], trained_home: Path, tmp_path: Path) -> None:
    done = ORCHESTRATORS[name](plan, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_as_the_pipeline(plan, trained_home)


@pytest.mark.slow
@pytest.mark.parametrize("name", ORCHESTRATORS)
def test_bad_data_fail_at_once_and_say_why(name: str, plan: dict[str, Any], tmp_path: Path) -> None:
    """Were they tried again, the test would take minutes: the first delay is half of one."""
    plan["as_of"] = str(date(2031, 1, 1))
    done = ORCHESTRATORS[name](plan, tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "2030-10-04.parquet is not there: extract the day" in said
    assert not (tmp_path / "work" / "scores.parquet").exists()
    assert not [
        word for word in ("up_for_retry", "AwaitingRetry") if word in said.replace("UP_FOR_RETRY", "up_for_retry")
    ]


@pytest.mark.parametrize("name", ORCHESTRATORS)
def test_neither_dagster_nor_mlflow_is_needed(name: str) -> None:
    python = python_of(name)
    for package in ("dagster", "mlflow"):
        assert subprocess.run([str(python), "-c", f"import {package}"], capture_output=True, check=False).returncode
