"""What commands leave that are killed outright, and who does away with it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from credit_assets.instance.lost_runs import process_tags
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import SMALL, TRAINED, copied_home, open_house
from credit_assets_tests.support.killed import kill_when, run, start, under_way

SETTINGS = environment({**SMALL, "variants": "xgboost,lightgbm"})
TRAIN = ["replay", "--start", str(TRAINED), "--end", str(TRAINED)]


def _is_training(home: Path) -> bool:
    """Whether a candidate is being logged."""
    with closing(sqlite3.connect(f"file:{home}/mlflow/mlflow.db?mode=ro", uri=True)) as connection:
        query = "SELECT count(*) FROM runs JOIN tags USING (run_uuid) WHERE key = 'role' AND value = 'candidate'"
        return bool(connection.execute(f"{query} AND status = 'RUNNING'").fetchone()[0])


@pytest.mark.slow
def test_a_replay_that_was_killed_in_training_is_ended_by_the_doctor_and_goes_on(
    ingested_home: Path, tmp_path: Path
) -> None:
    home = copied_home(ingested_home, tmp_path / "home")
    kill_when(start(TRAIN, home, SETTINGS), lambda: _is_training(home))
    runs, running = under_way(home)
    assert len(runs) == 1
    assert len(running) == 2  # the candidate and its parent
    (found,) = [one for one in run(["doctor"], home, SETTINGS)["findings"] if one["name"] == "runs"]
    assert found["status"] == "warn"
    assert "1 ended whose process was killed" in found["value"]
    assert under_way(home) == ([], [])
    # What was ingested and logged by then is not lost.
    report = run(TRAIN, home, SETTINGS)
    assert [one["status"] for one in report["trainings"]] == ["registered"]
    assert under_way(home) == ([], [])


def test_a_replay_ends_first_what_another_left(ingested_home: Path, tmp_path: Path) -> None:
    home = copied_home(ingested_home, tmp_path / "home")
    with open_house(home) as house:
        run_id = "11111111-2222-3333-4444-555555555555"
        job = house.replay.definitions.resolve_job_def("retrain_model")
        house.instance.create_run_for_job(job, run_id=run_id, tags=_of_nobody(run_id))
        parent = house.replay.tracking.runs.parent(run_id, "retrain_model")
        house.rebuilt()
        ended = house.instance.get_run_by_id(run_id)
        assert ended is not None
        assert ended.status == dg.DagsterRunStatus.FAILURE
        assert house.replay.tracking.server.client.get_run(parent).info.status == "FAILED"


def _of_nobody(run_id: str) -> dict[str, str]:
    """The tag of a process whose number is above all that Linux gives."""
    ((name, text),) = process_tags(run_id).items()
    return {name: json.dumps({**json.loads(text), "pid": 2**22 + 1})}
