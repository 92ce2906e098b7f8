"""The pipeline on the real LendingClub loans of 2007-2011."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from credit_assets.cli.loans import load_lending_club_file
from credit_assets.cli.models import models_record
from credit_assets.cli.replay import Replay
from credit_assets.instance.home import instance_of
from credit_assets.settings import load_settings


@pytest.mark.slow
@pytest.mark.real_loans
def test_real_loans_end_with_a_champion_that_has_skill_and_no_foresight(
    real_loans_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    settings = load_settings(home=tmp_path / "home", start_date="2008-07-01", lookback_days=730, max_rounds=400)
    load_lending_club_file(settings, real_loans_dir / "lending_club_2007_2011.parquet")
    with instance_of(settings) as instance:
        replay = Replay(settings, instance)
        report = replay.run(date(2008, 7, 1), date(2011, 6, 30), "quarter-end", train_from=date(2010, 12, 31))
    assert [t.as_of.isoformat() for t in report.trainings] == ["2010-12-31", "2011-03-31", "2011-06-30"]
    assert {t.status for t in report.trainings} <= {"registered", "rejected"}
    for training in report.trainings:
        # Above 0.80 the model has seen what it could not have known.
        assert 0.58 < training.metrics["auc"] < 0.80
        assert training.metrics["gini"] == pytest.approx(2 * training.metrics["auc"] - 1)
        assert training.metrics["ece"] < 0.05
    versions = models_record(settings)["versions"]
    assert versions[0]["as_of"] == "2010-12-31"
    assert sum("champion" in v["aliases"] for v in versions) == 1
    first = versions[0]["in_force"][0][0]
    assert first == "2011-01-01"
    scores = replay.store.read_partitions("loan_scores", ["2011-06-15"]).to_pandas()
    assert len(scores) > 20
    assert 0.005 < scores["pd"].mean() < 0.15
