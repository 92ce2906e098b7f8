"""What commands leave that are killed outright, and who does away with it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from credit_assets.aside import LeftOver, aside
from credit_assets.assets.conventions import asset_key
from credit_assets.cli.left_over import Cleaned, clean, print_cleaned
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.instance.lost_runs import process_tags
from credit_assets.processes import own_mark
from credit_assets.settings import load_settings
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import SMALL, TRAINED, copied_home, open_house
from credit_assets_tests.support.killed import is_training, kill_when, run, start, under_way

SETTINGS = environment({**SMALL, "variants": "xgboost,lightgbm"})
TRAIN = ["replay", "--start", str(TRAINED), "--end", str(TRAINED)]


@pytest.mark.slow
def test_a_replay_that_was_killed_in_training_is_ended_by_the_doctor_and_goes_on(
    ingested_home: Path, tmp_path: Path
) -> None:
    home = copied_home(ingested_home, tmp_path / "home")
    kill_when(start(TRAIN, home, SETTINGS), lambda: is_training(home))
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


def test_a_training_that_was_killed_before_its_dossier_is_gone_on_with(trained_home: Path, tmp_path: Path) -> None:
    home = copied_home(trained_home, tmp_path / "home")
    with open_house(home) as house:
        assert house.replay._to_train([TRAINED]) == set()
        (Path(house.settings.store) / "model_dossier" / f"{TRAINED}.json").unlink()
        # A release of before made none, and its training is whole.
        assert house.replay._to_train([TRAINED]) == set()
        key = asset_key(house.settings, "deployed_model")
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[str(TRAINED)])
        (made,) = house.instance.fetch_materializations(wanted, limit=1).records
        run = house.instance.get_run_by_id(made.run_id)
        assert run is not None
        house.instance.report_run_failed(run, "its process is gone")
        assert house.replay._to_train([TRAINED]) == {TRAINED}


def _of_nobody(run_id: str) -> dict[str, str]:
    """The tag of a process whose number is above all that Linux gives."""
    ((name, text),) = process_tags(run_id).items()
    return {name: json.dumps({**json.loads(text), "pid": 2**22 + 1})}


def test_clean_says_what_it_would_remove_and_removes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = load_settings(home=tmp_path / "home")
    day = Path(settings.store) / "raw_loan_data" / "2024-01-01.parquet"
    day.parent.mkdir(parents=True)
    mark = own_mark()
    lost, mine = aside(day), aside(day)
    lost = lost.with_name(lost.name.replace(mark.token, replace(mark, pid=2**22 + 1).token))
    for path in (day, lost, mine):
        path.write_bytes(b"12345")
    run_id = "11111111-2222-3333-4444-555555555555"
    with instance_of(settings) as instance:
        job = dg.JobDefinition(graph_def=dg.GraphDefinition("some"))
        instance.create_run_for_job(job, run_id=run_id, tags=_of_nobody(run_id))
    for dry_run in (True, False):
        cleaned = clean(settings, dry_run=dry_run)
        record = cleaned.to_record()
        assert [one["path"] for one in record["removed"]] == [str(lost)]
        assert (record["bytes"], len(record["runs"]), record["kept"]) == (5, 1, [])
        assert lost.exists() == dry_run
        print_cleaned(cleaned, Console(width=300))
        said = capsys.readouterr().out
        assert ("would be removed" in said) == dry_run
        assert "1 files and folders, 5 bytes; 1 runs" in said
    assert day.exists()
    assert mine.exists()
    assert clean(settings).to_record() == {"dry_run": False, "runs": [], "removed": [], "kept": [], "bytes": 0}


def test_what_cannot_be_removed_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    held = LeftOver(Path("/somewhere/.x.tmp"), 7, "its process is gone")
    with pytest.raises(PermanentError, match=r"1 could not be removed, /somewhere/\.x\.tmp first"):
        print_cleaned(Cleaned(False, [], [], [held]), Console())
    assert "0 files and folders" in capsys.readouterr().out
