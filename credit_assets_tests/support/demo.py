"""The demo, made once in a session: a book of two years, three trainings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from credit_assets.cli.demo import run_demo
from credit_assets.cli.demo_report import DemoReport
from credit_assets.cli.replay import no_progress
from credit_assets_tests.support.killed import is_training, kill_when, start


def make_demo(home: Path) -> None:
    """The demo in this home, killed outright while it ingests, and where it costs most to begin again: while a second
    model is trained, and when that is in the registry and the days after it are still to be scored with it.
    """
    for is_time in (
        lambda: any((home / "store" / "raw_loan_data").glob("*.parquet")),
        lambda: _records(home, "deployed_model") == 1 and is_training(home),
        lambda: _is_scored_anew(home),
    ):
        kill_when(start(["demo"], home, {}), is_time)
    demo_in(home)


def _is_scored_anew(home: Path) -> bool:
    """Whether days are being scored since the second training ended."""
    dossiers = sorted(file.stat().st_mtime for file in (home / "store" / "model_dossier").glob("*.json"))
    scored = (file.stat().st_mtime for file in (home / "store" / "loan_scores").glob("*.parquet"))
    return len(dossiers) == 2 and max(scored) > dossiers[-1]


def _records(home: Path, asset: str) -> int:
    return len(list((home / "store" / asset).glob("*.json")))


def demo_in(home: Path, on_progress: Callable[[str, int, int], None] = no_progress) -> DemoReport:
    """Run the demo in this home; the environment is what it was afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDIT_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DAGSTER_HOME", raising=False)
        try:
            return run_demo(None, on_progress)
        finally:
            os.environ.pop("DAGSTER_HOME", None)
