"""What the exporter says of a house with a champion and a model on trial, and of one whose places are away."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.remote_origin import RemoteJobOrigin
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from credit_assets.cli.exporter.families import FAMILIES, PREFIX, MetricSample
from credit_assets.cli.exporter.of_instance import InstanceFigures, lag
from credit_assets.cli.exporter.of_store import ModelFigures, StoreFigures, drift_samples, is_late, performance_samples
from credit_assets.cli.exporter.server import figures, registry_of
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.store import Store
from credit_assets.tags import DAGSTER_PARTITION_TAG, PORTFOLIO_TAG, WILL_RETRY_TAG
from credit_assets_tests.support.houses import LAST, SMALL, TRIAL_END, TrialHouse, copied_home, open_trial
from credit_assets_tests.support.sensors import repository_origin

# The morning after the last day of the book.
NOW = datetime(2024, 7, 1, 9, 30, tzinfo=UTC)
Found = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def house(trial_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialHouse]:
    with open_trial(copied_home(trial_home, tmp_path_factory.mktemp("seen") / "home")) as opened:
        yield opened


def by_label(samples: Any) -> Found:
    """Values by name and the values of the labels, in their order."""
    return {(one.name, *one.labels.values()): float(one.value) for one in samples}


def test_what_the_instance_says(house: TrialHouse) -> None:
    read = InstanceFigures(house.settings)
    found = by_label(read(NOW))
    assert found["partitions", "raw_loan_data"] == (LAST - date(2024, 1, 1)).days + 1
    assert found["partitions_behind", "raw_loan_data"] == found["partitions_missing", "raw_loan_data"] == 0
    assert found["partitions_behind", "loan_scores"] == (LAST - TRIAL_END).days
    assert found["partitions_missing", "loan_scores"] == 30
    # Of what trainings make no date is late.
    assert ("partitions_behind", "training_set") not in found
    assert found["steps", "training_set", "success"] == 1
    assert found["step_seconds", "training_set"] > 0
    assert found["checks", "training_set", "passed"] > 5
    assert found["daemon_up",] == found["daily_schedule_on",] == found["queue_length",] == 0
    assert not [one for one in found if one[0] == "check_failed"]
    read.close()


def test_runs_that_failed_count_until_a_later_one_mends_them(house: TrialHouse) -> None:
    def add(status: dg.DagsterRunStatus, day: str, job: str = "score_loans", **tags: str) -> None:
        tags = {PORTFOLIO_TAG: "consumer_loans", DAGSTER_PARTITION_TAG: day, **tags}
        origin = RemoteJobOrigin(repository_origin(), job)
        run = dg.DagsterRun(job_name=job, run_id=str(uuid4()), status=status, tags=tags, remote_job_origin=origin)
        house.instance.add_run(run)

    failure, success = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
    read = InstanceFigures(house.settings)
    add(failure, "2024-06-01")
    add(failure, "2024-06-02")
    # Started again by Dagster: nobody has to look.
    add(failure, "2024-06-03", **{WILL_RETRY_TAG: "true"})
    add(failure, "2024-06-04", "a job of somebody's own")
    # Another portfolio's.
    add(failure, "2024-06-05", **{PORTFOLIO_TAG: "cards"})
    add(dg.DagsterRunStatus.QUEUED, "2024-06-06")
    found = by_label(read(NOW))
    assert found["runs_unmended", "score_loans"] == 2
    assert found["runs_unmended", "other"] == 1
    assert found["runs", "score_loans", "failure"] == 2
    assert found["runs", "score_loans", "failure_retried"] == 1
    assert found["runs", "score_loans", "queued"] == found["queue_length",] == 1
    add(success, "2024-06-01")
    assert by_label(read(NOW))["runs_unmended", "score_loans"] == 1
    read.close()


def test_a_check_that_fails_is_named_until_it_passes(house: TrialHouse) -> None:
    read = InstanceFigures(house.settings)
    for passed in (False, True):
        house.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("loan_scores"),
                check_name="champion_scores",
                passed=passed,
                metadata={},
                severity=dg.AssetCheckSeverity.WARN,
            )
        )
        found = by_label(read(NOW))
        assert (("check_failed", "loan_scores", "champion_scores", "warn") in found) is not passed
        assert found["checks", "loan_scores", "passed" if passed else "warn"] == 1
    read.close()


def test_what_the_store_says_of_scores_and_models(house: TrialHouse) -> None:
    store, models = by_label(StoreFigures(house.settings)(NOW)), by_label(ModelFigures(house.settings)(NOW))
    assert store["scores_late",] == 1
    assert store["scored_day_age_days",] == (LAST - TRIAL_END).days
    assert store["scored_day_timestamp_seconds",] == datetime(2024, 5, 25, tzinfo=UTC).timestamp()
    assert store["partitions_rejected", "raw_loan_data"] == 0
    assert (models["champion_version",], models["trial_version",]) == (1, 2)
    assert models["champion_age_days",] == (date(2024, 7, 1) - date(2024, 3, 31)).days
    assert models["champion_in_force_days",] == models["champion_age_days",] - 1
    assert 0.5 < models["champion_auc",] < 1


def test_days_that_gates_reject_are_counted_and_read_once(house: TrialHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    read = StoreFigures(house.settings)
    footers, asked = Store.footers, []
    bad = (GateResult("volume", False, "error", 0, "1", "too few", setting="gates: min_volume"),)

    def spoilt(self: Any, asset: str, days: Any, **how: Any) -> Any:
        asked.extend(days)
        found = footers(self, asset, days, **how)
        return {day: replace(one, gates=bad) if asset == "loan_outcomes" else one for day, one in found.items()}

    monkeypatch.setattr(Store, "footers", spoilt)
    assert by_label(read(NOW))["partitions_rejected", "loan_outcomes"] == 30
    first = list(asked)
    asked.clear()
    assert by_label(read(NOW + timedelta(minutes=5)))["partitions_rejected", "loan_outcomes"] == 30
    # The newest day of each table, which may have been made again.
    assert len(asked) == 3
    assert set(asked) <= {LAST.isoformat(), TRIAL_END.isoformat()}
    asked.clear()
    by_label(read(NOW + timedelta(minutes=11)))
    assert asked == first


def test_what_reports_say() -> None:
    def finding(name: str, verdict: str, psi: float | None) -> dict[str, Any]:
        return {"name": name, "verdict": verdict, "psi": psi}

    findings = [finding("income", "shifted", 0.4), finding("term", "watch", 0.12), finding("score", "stable", 0.02)]
    report = {"verdict": "shifted", "day": "2024-06-29", "features": [*findings, finding("state", "unknown", None)]}
    found = by_label(drift_samples(report, date(2024, 6, 30)))
    assert found["drift", "shifted"] == 1
    assert found["drift", "stable"] == 0
    assert found["drift_age_days",] == 1
    assert found["drift_shifted", "income"] == 1
    assert (found["drift_psi_max", "features"], found["drift_psi_max", "score"]) == (0.4, 0.02)
    assert found["drift_features", "unknown"] == 1
    evaluation = {"auc": 0.7, "auc_ci_low": 0.6, "auc_ci_high": 0.8}
    performance = {
        "realised": {"evaluation": None, "why": "no champion was in force"},
        "since_training": {"evaluation": evaluation, "observed_over_expected": {"value": 1.1}},
        "estimated": {"auc": 0.71, "auc_low": 0.65, "auc_high": 0.77},
    }
    found = by_label(performance_samples(performance))
    assert found == {
        ("auc", "since_training"): 0.7, ("auc_low", "since_training"): 0.6, ("auc_high", "since_training"): 0.8,
        ("observed_over_expected", "since_training"): 1.1,
        ("auc", "estimated"): 0.71, ("auc_low", "estimated"): 0.65, ("auc_high", "estimated"): 0.77,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("by", "zone", "hour", "there", "late"),
    [
        ("09:00", "UTC", 8, False, False),
        ("09:00", "UTC", 9, False, True),
        ("09:00", "UTC", 9, True, False),
        ("none", "UTC", 23, False, False),
        # 08:00 UTC is 10:00 in the summer of Berlin.
        ("09:00", "Europe/Berlin", 8, False, True),
        ("11:00", "Europe/Berlin", 8, False, False),
    ],
)
def test_scores_are_late_from_the_hour_on_by_which_they_are_wanted(
    by: str, zone: str, hour: int, there: bool, late: bool
) -> None:
    settings = load_settings(scores_by=by, timezone=zone)
    assert is_late(settings, datetime(2024, 7, 1, hour, 0, tzinfo=UTC), there) is late


def test_how_far_partitions_lie_behind() -> None:
    start, closed = date(2024, 1, 1), date(2024, 1, 10)
    days = [f"2024-01-{day:02}" for day in range(1, 11)]
    assert lag(days, start, closed) == (0, 0)
    assert lag(days[:-2], start, closed) == (2, 2)
    assert lag([*days[:3], *days[5:]], start, closed) == (0, 2)
    assert lag([], start, closed) == (10, 10)


def scraped(settings: Settings) -> Mapping[str, dict[str, float]]:
    """A whole scrape: by name, the values by place, or by nothing else."""
    found: dict[str, dict[str, float]] = {}
    text = openmetrics(registry_of(figures(settings, kept=0, limit=60))).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[sample.labels.get("place", "")] = sample.value
    return found


def test_a_scrape_is_valid_bounded_and_says_nothing_of_runs_or_applicants(house: TrialHouse) -> None:
    registry = registry_of(figures(house.settings, kept=600))
    text = generate_latest(registry).decode()
    lines = [line for line in text.splitlines() if line[0] != "#" and line.startswith(PREFIX)]
    assert len(lines) < 400
    assert all('portfolio="consumer_loans"' in line for line in lines)
    names = {re.split(r"[{ ]", line)[0].removeprefix(PREFIX).removesuffix("_total") for line in lines}
    assert names <= set(FAMILIES)
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", text)
    ids = house.read("loan_scores", date(2024, 4, 3))["application_id"]
    assert not any(f'"{one}"' in text for one in ids)
    # Read once, and kept.
    before = generate_latest(registry).decode().splitlines()
    assert [line for line in before if line.startswith(PREFIX)] == lines


def test_every_place_may_be_away_and_comes_back(trial_home: Path, tmp_path: Path) -> None:
    home = copied_home(trial_home, tmp_path / "home")
    settings = load_settings(home=home, **SMALL)
    assert scraped(settings)["credit_assets_up"] == dict.fromkeys(("instance", "store", "registry", "tracking"), 1)
    moved = {home / "store": tmp_path / "store", home / "mlflow" / "mlflow.db": tmp_path / "mlflow.db"}
    for there, away in moved.items():
        shutil.move(there, away)
    runs = home / "dagster" / "history" / "runs.db"
    shutil.move(runs, tmp_path / "runs.db")
    runs.write_bytes(b"no database at all" * 100)
    away = scraped(settings)
    # An embedded MLflow without a file is one that nothing has been written to.
    assert away["credit_assets_up"] == {"instance": 0, "store": 0, "registry": 0, "tracking": 1}
    assert set(away) == {
        "credit_assets_up", "credit_assets_exporter_errors_total", "credit_assets_exporter_seconds",
        "credit_assets_exporter_read_timestamp_seconds", *(name for name in away if name.startswith("process_")),
    }  # fmt: skip
    assert away["credit_assets_exporter_errors_total"]["store"] == 1
    for there, kept in moved.items():
        shutil.move(kept, there)
    shutil.move(tmp_path / "runs.db", runs)
    back = scraped(settings)
    assert back["credit_assets_up"]["store"] == back["credit_assets_up"]["instance"] == 1
    assert back["credit_assets_champion_version"][""] == 1


def test_an_mlflow_that_does_not_answer_takes_nothing_else_with_it(house: TrialHouse) -> None:
    settings = load_settings(home=house.settings.home, **SMALL, mlflow_tracking_uri="http://127.0.0.1:9")
    found = scraped(settings)
    assert found["credit_assets_up"]["tracking"] == 0
    assert found["credit_assets_champion_version"][""] == 1


def test_a_sample_is_one_of_the_table() -> None:
    assert all(set(family.labels) & {"run", "run_id", "application_id", "day"} == set() for family in FAMILIES.values())
    assert dict(MetricSample("up", 1).labels) == {}
