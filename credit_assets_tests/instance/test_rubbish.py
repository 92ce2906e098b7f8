"""Every place in which a process that was killed leaves something is swept, and nothing else."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from credit_assets.aside import aside
from credit_assets.instance.rubbish import OLD_SECONDS, find, sweep
from credit_assets.processes import own_mark
from credit_assets.settings import Settings, load_settings

NOBODY = 2**22 + 1


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return load_settings(home=tmp_path / "home")


def left(target: Path) -> Path:
    """What a process that is gone was writing."""
    mark = own_mark()
    path = aside(target)
    path = path.with_name(path.name.replace(mark.token, replace(mark, pid=NOBODY).token))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def places(settings: Settings, tmp_path: Path) -> list[Path]:
    store, home = Path(settings.store), settings.home_dir
    return [
        store / "raw_loan_data" / "2024-01-01.parquet",
        store / "quarantine" / "raw_loan_data" / "2024-01-01.parquet",
        store / "training_set" / "2024-01-01.parquet",
        store / "drift_report" / "2024-01-01.json",
        store / "claims" / "mlflow-runs" / "abc" / "parent",
        store / "claims" / "book",
        home / "settings.env",
        home / "warehouse.tables.json",
        home / "warehouse.duckdb",
        home / "rejected" / "loans.csv",
        settings.dagster_dir / "dagster.yaml",
        tmp_path / "cache" / "credit-assets" / "models" / "m-0123",
        tmp_path / "temporary" / "2024-01-01.parquet",
    ]


def test_what_killed_processes_left_is_found_in_every_place_and_taken_away(settings: Settings, tmp_path: Path) -> None:
    whole = places(settings, tmp_path)
    for path in whole:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"whole")
    lost, living = [left(path) for path in whole], [aside(path) for path in whole]
    for path in living:
        path.write_bytes(b"x")
        os.utime(path, (1, 1))
    folder = tmp_path / "temporary" / f"credit-assets-sort-{replace(own_mark(), pid=NOBODY).token}-ab_1"
    folder.mkdir()
    (folder / "0.arrow").write_bytes(b"rows")
    assert {one.path for one in find(settings)} == {*lost, folder}
    assert {one.path for one in sweep(settings)} == {*lost, folder}
    assert [path for path in (*lost, folder) if path.exists()] == []
    assert all(path.exists() for path in (*whole, *living))
    assert sweep(settings) == []


def test_of_an_earlier_version_it_is_taken_away_after_a_day(settings: Settings) -> None:
    path = Path(settings.store) / "raw_loan_data" / f".2024-01-01.parquet.{'0a' * 16}.tmp"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert find(settings) == []
    then = time.time() - OLD_SECONDS - 60
    os.utime(path, (then, then))
    assert [one.path for one in sweep(settings)] == [path]


def test_where_nothing_is_yet_there_is_nothing(settings: Settings) -> None:
    assert find(settings) == []


def test_an_object_store_has_none(tmp_path: Path) -> None:
    assert find(load_settings(home=tmp_path / "home", store_uri="memory://lender/store")) == []
