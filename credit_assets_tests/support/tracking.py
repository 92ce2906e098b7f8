"""What tests of MLflow runs and files share: a candidate to open, what is on a run, a model that scores everyone alike.

The fixtures are in `mlflow_server`, which a test file names in its `pytest_plugins`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.tracking import Tracking
from credit_assets.tracking import run as run_module
from credit_assets.tracking.dagster_mlflow import DagsterStep
from credit_assets.tracking.evidence import application_signature, example_application, pinned
from credit_assets.tracking.runs import CandidateKey
from credit_assets_tests.support.mlflow_server import constant_scorer


def candidate(
    tracking: Tracking, run: str = "dagster-1", asset: str = "xgboost_candidate", tags: Any = None, **more: Any
) -> Any:
    what = {"partition": "2024-03-31", "variant": "xgboost", "fingerprint": "f1", **more}
    return tracking.runs.candidate(
        CandidateKey(asset, **what), DagsterStep(run, "credit_scoring_daily", instance=instance()), tags
    )


@functools.cache
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def find(tracking: Tracking, fingerprint: str = "f1", asset: str = "xgboost_candidate", **more: Any) -> Any:
    what = {"partition": "2024-03-31", "variant": "xgboost", **more}
    return tracking.runs.find_finished(CandidateKey(asset, fingerprint=fingerprint, **what))


def runs(tracking: Tracking, where: str = "") -> list[Any]:
    return list(tracking.server.client.search_runs([tracking.server.experiment_id], where))


def status(tracking: Tracking, run_id: str) -> str:
    return str(tracking.server.client.get_run(run_id).info.status)


def tags(tracking: Tracking, run_id: str) -> dict[str, str]:
    return dict(tracking.server.client.get_run(run_id).data.tags)


def log_constant_model(tracking: Tracking, folder: Path, **more: Any) -> tuple[str, str]:
    portfolio = load_portfolio()
    with candidate(tracking, **more) as run:
        uri = run.log_model(
            constant_scorer(folder),
            input_example=example_application(pa.Table.from_pandas(applications()), portfolio),
            signature=application_signature(portfolio),
            pip_requirements=pinned("mlflow", "pandas"),
        )
    return run.run_id, uri


def applications(rows: int = 5) -> pd.DataFrame:
    columns = load_portfolio().input_columns
    return pd.DataFrame(
        {
            c.name: (["car", "medical", "car", "car", None] if c.type == "category" else [1.0, 2, 3, 4, None])
            for c in columns
        }
    ).head(rows)


@pytest.fixture
def constant_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "LOADER_MODULE", "credit_assets_tests.support.mlflow_server")
