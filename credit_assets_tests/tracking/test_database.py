"""Where MLflow's tables and files may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets_tests.support.mlflow_server import EXPERIMENT
from credit_assets_tests.support.tracking import candidate, find, status, tags

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.postgres"]


def test_files_lie_beside_the_database_whatever_folder_a_step_stands_in(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with candidate(tracking) as run:
        run.log_dict({}, "candidate.json")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(list((tmp_path / "mlflow" / "artifacts").rglob("candidate.json"))) == 1


def test_on_postgresql_files_go_to_the_store(postgres_database: str, tmp_path: Path) -> None:
    tracking = Tracking(postgres_database, EXPERIMENT, Claims(str(tmp_path / "store")))
    with candidate(tracking) as run:
        run.log_dict({"a": 1}, "candidate.json")
    found = find(tracking)
    assert found is not None
    assert (found.run_id, found.load_record("candidate.json")) == (run.run_id, {"a": 1})
    assert len(list((tmp_path / "store" / "mlflow" / EXPERIMENT).rglob("candidate.json"))) == 1
    tracking.runs.close("dagster-1", "SUCCESS")
    assert status(tracking, tags(tracking, run.run_id)["mlflow.parentRunId"]) == "FINISHED"


def test_an_unreachable_database_is_transient_quickly(tmp_path: Path) -> None:
    away = Tracking("postgresql://user:s3cret-word@127.0.0.1:9/mlflow", EXPERIMENT, Claims(str(tmp_path)))
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        away.server.prepare()
    assert "s3cret-word" not in str(caught.value)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:", "nosuch://x"])
def test_a_uri_that_steps_cannot_share_is_permanent(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PermanentError, match="MLFLOW_TRACKING_URI"):
        Tracking(uri, EXPERIMENT, Claims(str(tmp_path))).server.prepare()


def test_a_database_in_a_folder_that_is_a_file_is_permanent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="see that its folder can be written"):
        Tracking(f"sqlite:///{tmp_path}/file/mlflow.db", EXPERIMENT, Claims(str(tmp_path))).server.prepare()
