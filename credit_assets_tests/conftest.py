"""Fixtures that every test file may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings of the machine it runs on, and none writes outside its folder."""
    for name in list(os.environ):
        if name.startswith("CREDIT_") and name != "CREDIT_TEST_DATA":
            monkeypatch.delenv(name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def real_loans_dir() -> Path:
    """Folder with the real LendingClub files; skips where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("CREDIT_TEST_DATA") or root / ".." / "shared" / "data").resolve()
    if not (folder / "lending_club_2007_2011.parquet").is_file():
        pytest.skip(f"real LendingClub files not found in {folder}; set CREDIT_TEST_DATA to their folder")
    return folder
