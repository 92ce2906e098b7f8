"""Days that the warehouse has changed since they were ingested: found by their content, made again, and told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from rich.console import Console

from credit_assets.assets.runs import BuiltJobs
from credit_assets.cli.models import models_record, print_models
from credit_assets.cli.recheck import print_recheck, run_recheck
from credit_assets.cli.replay import Replay
from credit_assets.cli.state import stale_lines, status_record
from credit_assets.cli.status import print_status
from credit_assets.cli.trainings import ReplayReport
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.settings import load_settings
from credit_assets.stages import INGEST, RECHECK
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import (
    LAST,
    SMALL,
    START,
    TRAINED,
    House,
    copied_home,
    fast_forward,
    open_house,
    write_book,
)
from credit_assets_tests.support.synthetic import canonical_book

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.s3"]

DAY = date(2024, 6, 20)


@pytest.fixture
def house(ingested_home: Path, tmp_path: Path) -> Iterator[House]:
    with open_house(copied_home(ingested_home, tmp_path / "house"), variants="lightgbm") as house:
        yield house


def change(house: House, *statements: str) -> None:
    with duckdb.connect(house.settings.warehouse.removeprefix("duckdb:///")) as connection:
        for statement in statements:
            connection.execute(statement)


def late(day: date, rows: int, name: str = "late") -> str:
    return (
        f"INSERT INTO loan_outcomes SELECT '{name}' || application_id, DATE '{day}', 1 FROM loan_applications "
        f"ORDER BY application_id LIMIT {rows}"
    )


def recheck(house: House, days: int | None = None, since: date | None = None) -> dict[str, Any]:
    return run_recheck(house.settings, house.instance, days, since)


def runs(house: House) -> list[str]:
    return [run.job_name for run in house.instance.get_runs()]


def test_where_nothing_has_changed_days_are_compared_and_nothing_is_made(house: House) -> None:
    files, before = house.hashes(), len(runs(house))
    record = recheck(house)
    assert (record["days"], record["compared_days"], record["restated"]) == (14, 14, [])
    assert record["scored_again"] is None
    assert runs(house)[: len(runs(house)) - before] == ["recheck_loans"]
    assert {name: text for name, text in house.hashes().items() if "restated_days" not in name} == files


def test_rows_that_came_went_or_changed_are_found_ingested_and_found_no_more(house: House) -> None:
    """A row that arrived, one withdrawn, defaults booked back, incomes corrected: four days of two tables."""
    sound = house.replay.store.row_count("loan_outcomes", f"{DAY}")
    other, third = date(2024, 6, 25), date(2024, 6, 28)
    change(
        house,
        late(DAY, 12),
        f"DELETE FROM loan_outcomes WHERE application_id = (SELECT min(application_id) FROM loan_outcomes WHERE "
        f"outcome_date = DATE '{other}')",
        f"UPDATE loan_outcomes SET defaulted = 1 - defaulted WHERE outcome_date = DATE '{third}'",
        f"UPDATE loan_applications SET annual_income = annual_income + 1 WHERE application_date = DATE '{LAST}'",
        late(date(2024, 5, 1), 3, "too old for a fortnight"),
    )
    record = recheck(house)
    found = {(one["asset"], one["day"]): one["rows_now"] - one["rows_before"] for one in record["restated"]}
    assert found == {
        ("loan_outcomes", f"{DAY}"): 12,
        ("loan_outcomes", f"{other}"): -1,
        ("loan_outcomes", f"{third}"): 0,
        ("raw_loan_data", f"{LAST}"): 0,
    }
    assert house.replay.store.row_count("loan_outcomes", f"{DAY}") == sound + 12
    income = f"SELECT sum(annual_income) FROM loan_applications WHERE application_date = DATE '{LAST}'"
    with duckdb.connect(house.settings.warehouse.removeprefix("duckdb:///"), read_only=True) as connection:
        expected = connection.execute(income).fetchall()[0][0]
    features = house.replay.store.read_partitions("processed_features", [f"{LAST}"]).to_pandas()
    assert features["annual_income"].sum() == pytest.approx(expected)
    assert recheck(house)["restated"] == []
    deeper = recheck(house, since=date(2024, 5, 1))
    assert [(one["day"], one["rows_now"] - one["rows_before"]) for one in deeper["restated"]] == [("2024-05-01", 3)]
    assert recheck(house, days=61)["restated"] == []


@pytest.mark.slow
def test_scores_reports_and_versions_follow(trained_home: Path, tmp_path: Path, capsys: Any) -> None:
    with open_house(copied_home(trained_home, tmp_path / "house")) as house:
        house.replay.backfill(TRAINED, date(2024, 6, 23), ("loan_scores",))
        house.replay.score(date(2024, 6, 24), LAST, ReplayReport())
        change(
            house,
            "UPDATE loan_applications SET annual_income = annual_income * 3 WHERE application_date = DATE '2024-06-26'",
            late(TRAINED, 2),
        )
        before = house.hashes()
        record = recheck(house, since=TRAINED)
        assert record["scored_again"] == [f"{TRAINED}", f"{LAST}"]
        changed = {name for name, text in house.hashes().items() if before.get(name) != text}
        assert "loan_scores/2024-06-26.parquet" in changed
        assert "loan_scores/2024-06-25.parquet" not in changed
        assert "drift_report/2024-06-28.json" in changed
        (trained,) = record["trained_on"]
        assert (trained["version"], trained["as_of"], trained["certain"]) == ("1", f"{TRAINED}", True)
        assert trained["days"] == {"loan_outcomes": 1}
        assert trained["rows"] == {"loan_outcomes": house.replay.store.row_count("loan_outcomes", f"{TRAINED}")}
        print_recheck(record, Console(width=200))
        shown = capsys.readouterr().out
        assert "raw_loan_data 2024-06-26:" in shown
        assert "with other values" in shown
        assert f"trained on restated days: version 1 (as of {TRAINED}: 1 days of loan_outcomes, " in shown
        check = dg.AssetCheckKey(dg.AssetKey("restated_days"), "trained_on_restated")
        (found,) = house.instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
        evaluation: Any = found.event.dagster_event.event_specific_data
        assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "version 1" in evaluation.description


@pytest.mark.slow
def test_a_replay_rechecks_before_it_trains(house: House) -> None:
    change(house, late(DAY, 9))
    report = house.replay.run(LAST, LAST, "last")
    assert any("loan_outcomes 2024-06-20" in line for line in report.restated)
    training = house.replay.store.gates("training_set", f"{LAST}")
    assert next(gate for gate in training if gate.name == "accounted_for").passed
    assert house.replay.run(LAST, LAST, "last").runs == 0


def test_what_a_killed_recheck_left_is_made_by_the_next(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    change(house, late(DAY, 5))
    over_days = BuiltJobs.over_days
    made: list[str] = []

    def killed(self: BuiltJobs, instance: dg.DagsterInstance, job: str, days: tuple[date, date]) -> None:
        over_days(self, instance, job, days)
        raise PermanentError("killed after the files were written")

    def watched(self: BuiltJobs, instance: dg.DagsterInstance, job: str, days: tuple[date, date]) -> None:
        made.append(f"{job} {days[0]} {days[1]}")
        over_days(self, instance, job, days)

    with monkeypatch.context() as patch:
        patch.setattr(BuiltJobs, "over_days", killed)
        with pytest.raises(PermanentError, match="killed after"):
            recheck(house)
    monkeypatch.setattr(BuiltJobs, "over_days", watched)
    # Its content agrees by now, and what is made of it may not.
    assert recheck(house)["restated"] == []
    assert made == [f"{INGEST} {DAY} {DAY}"]
    recheck(house)
    assert len(made) == 1


def test_what_cannot_be_rechecked_is_said(house: House) -> None:
    with pytest.raises(PermanentError, match="give one of them"):
        recheck(house, days=3, since=DAY)
    with pytest.raises(PermanentError, match=f"lies after {LAST}"):
        recheck(house, since=date(2025, 1, 1))


def test_an_empty_home_has_nothing_to_recheck(tmp_path: Path) -> None:
    with open_house(tmp_path / "empty") as empty, pytest.raises(PermanentError, match="no day is ingested yet"):
        recheck(empty)


def test_no_depth_compares_nothing(house: House) -> None:
    change(house, late(DAY, 5))
    with open_house(house.settings.home, variants="lightgbm", recheck_days=0) as off:
        assert run_recheck(off.settings, off.instance, None, None)["compared_days"] == 0
    assert load_settings().recheck_days == 14


# By policy


def test_what_is_only_reported_is_ingested_by_nobody_and_named(house: House, capsys: Any) -> None:
    change(
        house,
        late(DAY, 12),
        f"UPDATE loan_applications SET annual_income = annual_income + 1 WHERE application_date = DATE '{LAST}'",
    )
    before, files = len(runs(house)), house.hashes()
    with open_house(house.settings.home, variants="lightgbm", restated="report") as careful:
        record = recheck(careful)
        assert (record["policy"], record["scored_again"]) == ("report", None)
        assert {(one["asset"], one["day"]) for one in record["restated"]} == {
            ("loan_outcomes", f"{DAY}"),
            ("raw_loan_data", f"{LAST}"),
        }
        print_recheck(record, Console(width=200))
        assert "reported only, and nothing was ingested again" in capsys.readouterr().out
        assert runs(careful)[: len(runs(careful)) - before] == ["recheck_loans"]
        changed = {name.split("/")[0] for name, text in careful.hashes().items() if files.get(name) != text}
        assert changed == {"restated", "restated_days"}
        status = status_record(careful.settings, careful.instance)["restated"]
        assert status["reported"] == {"loan_outcomes": [f"{DAY}"], "raw_loan_data": [f"{LAST}"]}
        assert status["stale"]["processed_features"]["days"] == [f"{LAST}"]
        text = " ".join(stale_lines(status))
        assert f"--since {DAY}` ingests them" in text
        assert "1 of processed_features" in text
        # Found again, and said again, until somebody ingests them.
        assert len(recheck(careful)["restated"]) == 2
    assert len(recheck(house)["restated"]) == 2
    after = status_record(house.settings, house.instance)["restated"]
    assert (after["reported"], after["stale"]) == ({}, {})


@pytest.mark.slow
def test_a_day_that_is_ingested_again_by_hand_is_a_restated_one_too(
    trained_home: Path, tmp_path: Path, capsys: Any
) -> None:
    with open_house(copied_home(trained_home, tmp_path / "house")) as house:
        house.replay.backfill(date(2024, 4, 1), LAST, ("loan_scores",))
        day, scored = date(2024, 2, 10), date(2024, 6, 20)
        change(
            house,
            f"UPDATE loan_applications SET annual_income = annual_income * 2 WHERE application_date IN (DATE '{day}', "
            f"DATE '{scored}')",
            late(date(2024, 2, 20), 3),
        )
        for one in (day, scored):
            house.replay.backfill(one, one, ("raw_loan_data",), again=True)
        house.replay.backfill(date(2024, 2, 20), date(2024, 2, 20), ("loan_outcomes",), again=True)
        status = status_record(house.settings, house.instance)
        rows = house.replay.store.row_count("processed_features", f"{day}")
        stale = status["restated"]["stale"]
        assert stale["processed_features"]["days"] == [f"{day}", f"{scored}"]
        of_scored = house.replay.store.row_count("loan_scores", f"{scored}")
        assert stale["loan_scores"] == {"days": [f"{scored}"], "rows": of_scored}
        assert stale["training_set"]["days"] == [f"{TRAINED}"]
        (version,) = status["restated"]["versions"]
        assert (version["version"], version["aliases"]) == ("1", ["champion"])
        assert version["days"] == {"processed_features": 1, "loan_outcomes": 1}
        assert version["rows"]["processed_features"] == rows
        print_status(status, Console(width=250))
        shown = capsys.readouterr().out
        assert "trained on restated days as they were: version 1 (champion, as of 2024-03-31: 1 days of" in shown
        models = models_record(house.settings)
        assert models["versions"][0]["restated"]["days"] == version["days"]
        print_models(models, Console(width=400))
        assert "restated since" in capsys.readouterr().out
        # Features and scores are made again; what the version saw stays with it, and so does its training set.
        kept = house.replay.store.path(models["versions"][0]["training_set"])
        saw = kept.read_bytes()
        for one in (day, scored):
            house.replay.backfill(one, one, ("processed_features",), again=True)
        house.replay.backfill(scored, scored, ("loan_scores",), again=True)
        assert set(status_record(house.settings, house.instance)["restated"]["stale"]) == {"training_set"}
        # Dagster shows it on the partition, once, until the set is made again.
        for _ in range(2):
            recheck(house)
            assert current_days(house) == [False, True]
        house.train(TRAINED, again=True)
        assert current_days(house)[0] is True
        assert kept.read_bytes() == saw
        again = status_record(house.settings, house.instance)["restated"]
        assert again["stale"] == {}
        assert [one["version"] for one in again["versions"]] == ["1"]


def current_days(house: House) -> list[bool]:
    """Results of the check on the training set, the newest first."""
    check = dg.AssetCheckKey(dg.AssetKey("training_set"), "current_days")
    found = house.instance.event_log_storage.get_asset_check_execution_history(check, limit=10)
    evaluations: list[Any] = [one.event.dagster_event.event_specific_data for one in found]
    assert {one.partition for one in evaluations} == {f"{TRAINED}"}
    return [one.passed for one in evaluations]


@pytest.mark.slow
def test_on_postgresql(postgres_database: str, tmp_path: Path) -> None:
    import psycopg

    last = date(2024, 1, 20)
    house_at = {"warehouse_url": postgres_database, "variants": "lightgbm"}
    write_book(
        load_settings(home=tmp_path, **{**SMALL, **house_at}), *fast_forward(canonical_book(800, START, last, 3))
    )
    with open_house(tmp_path, **house_at) as house:
        house.replay.backfill(START, last, ("raw_loan_data", "loan_outcomes", "processed_features"))
        assert recheck(house, days=20)["restated"] == []
        with psycopg.connect(postgres_database) as connection:
            for statement in (
                "UPDATE loan_applications SET annual_income = annual_income * 2 WHERE application_date = '2024-01-12'",
                "DELETE FROM loan_applications WHERE application_id = (SELECT min(application_id) FROM "
                "loan_applications WHERE application_date = '2024-01-15')",
                "INSERT INTO loan_outcomes SELECT 'late' || application_id, '2024-01-18', 1 FROM loan_applications "
                "LIMIT 7",
            ):
                connection.execute(statement.encode())
        found = {(one["asset"], one["day"]): one["rows_now"] - one["rows_before"] for one in recheck(house)["restated"]}
        assert found == {
            ("raw_loan_data", "2024-01-12"): 0,
            ("raw_loan_data", "2024-01-15"): -1,
            ("loan_outcomes", "2024-01-18"): 7,
        }
        assert recheck(house, days=20)["restated"] == []


@pytest.mark.slow
def test_as_a_cluster_runs_it(
    postgres_database: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step in a process of its own, loans in PostgreSQL, files in an object store: what pods share, and no more."""
    import psycopg

    last = date(2024, 1, 12)
    values: dict[str, Any] = {
        **SMALL,
        "variants": "lightgbm",
        "executor": "multiprocess",
        "warehouse_url": postgres_database,
        "store_uri": bucket,
    }
    for name, value in environment(values).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    settings = load_settings()
    write_book(settings, *fast_forward(canonical_book(400, START, last, 3)))
    with instance_of(settings) as instance:
        replay = Replay(settings, instance)
        replay.backfill(START, last, ("raw_loan_data", "loan_outcomes", "processed_features"))
        with psycopg.connect(postgres_database) as connection:
            late_rows = "INSERT INTO loan_outcomes SELECT application_id || 'x', '2024-01-10', 1 FROM loan_applications"
            connection.execute(f"{late_rows} LIMIT 5".encode())
        command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "credit_assets.definitions"]
        command += ["-j", RECHECK, "--tags", json.dumps({"dagster/partition": last.isoformat()})]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        record = replay.store.read_record(replay.store.path("restated_days", f"{last}.json"))
        assert [(one["asset"], one["day"], one["rows_now"] - one["rows_before"]) for one in record["restated"]] == [
            ("loan_outcomes", "2024-01-10", 5)
        ]
        assert replay.recheck(last, ReplayReport())["restated"] == []
