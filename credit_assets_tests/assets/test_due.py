"""Days on which no model can be made yet: recorded, green, the same again; and what fails all the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from credit_assets.assets import due
from credit_assets.assets.due import outlook, without_training
from credit_assets.ml.data.orphans import find_orphans
from credit_assets.ml.rules.due import DUE, NOT_DUE, why_not_due
from credit_assets.settings import load_settings
from credit_assets.stages import DAILY, RETRAIN
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import SMALL, START, House, book, copied_home, open_house, write_book
from credit_assets_tests.support.synthetic import canonical_book

# The window is 30 days: the third day is mature on the 2nd of February.
FIRST_DUE = date(2024, 2, 2)
EARLY = date(2024, 1, 20)
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TRAINED = ("xgboost_candidate", "lightgbm_candidate", "catboost_candidate", "trained_model", "registered_model")


@pytest.fixture(scope="module")
def house(ingested_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(copied_home(ingested_home, tmp_path_factory.mktemp("due"))) as house:
        yield house


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Any]:
    """Opens a house of these loans, once a test."""
    opened = []

    def build(loans: tuple[Any, Any], **overrides: Any) -> House:
        write_book(load_settings(home=tmp_path / "own", **{**SMALL, **overrides}), *loans)
        opened.append(open_house(tmp_path / "own", **overrides))
        return opened[-1].__enter__()

    yield build
    for house in opened:
        house.__exit__(None, None, None)


def execute(house: House, job: str, day: date, **more: Any) -> dg.ExecuteInProcessResult:
    return house.replay.definitions.resolve_job_def(job).execute_in_process(
        instance=house.instance, partition_key=day.isoformat(), run_config=_QUIET, raise_on_error=False, **more
    )


def record(house: House, asset: str, day: date) -> Any:
    return house.replay.store.read_record(house.replay.store.path(asset, f"{day}.json"))


class Book:
    """A warehouse with one application a day, whose id is the day, and who is asked for which days."""

    def __init__(self, first: date, last: date) -> None:
        self.days = [first + timedelta(n) for n in range((last - first).days + 1)]
        self.read = 0

    def ids(self, days: list[date]) -> pa.ChunkedArray:
        self.read += len(days)
        return pa.chunked_array([pa.array([day.isoformat() for day in days], pa.string())])

    def application_ids(self, _: Any, within: tuple[date, date] | None = None) -> Iterator[pa.ChunkedArray]:
        first, last = within or (date.min, date.max)
        yield self.ids([day for day in self.days if first <= day <= last])


@pytest.mark.parametrize("years", [1, 10])
def test_orphans_are_looked_for_in_newer_days_first_whatever_the_age_of_the_book(years: int) -> None:
    as_of, settings = date(2024, 12, 31), load_settings(performance_window_days=30)
    first, last = as_of - timedelta(60), as_of - timedelta(30)
    table = pa.table({"application_id": [f"{first + timedelta(n)}" for n in range(31)]})
    cohort: Any = SimpleNamespace(features=table, window=SimpleNamespace(last=last), first=first)

    def found(*outcomes: str) -> tuple[int, int]:
        warehouse: Any = Book(as_of - timedelta(365 * years), as_of)
        ids = pa.chunked_array([pa.array(outcomes, pa.string())])
        return find_orphans(ids, due._applied(settings, warehouse, cohort, as_of)).orphans, warehouse.read

    # Of the cohorts, of days since, of a month before, of half a year before.
    assert found(f"{first}", f"{last}") == (0, 0)
    assert found(f"{first}", f"{as_of}") == (0, 31)
    assert found(f"{as_of}", f"{first - timedelta(30)}") == (0, 31 + 30)
    assert found(f"{first - timedelta(180)}") == (0, 31 + 30 + 60 + 120)
    # One that is nowhere has all of them read.
    assert found(f"{as_of}", "nobody")[0] == 1


@pytest.mark.slow
def test_the_daily_run_of_a_day_that_is_not_due_is_green_and_records_it_in_every_asset(house: House) -> None:
    result = execute(house, DAILY, EARLY)
    assert result.success
    assert [check for check in result.get_asset_check_evaluations() if not check.passed] == []
    made = {event.asset_key.path[-1]: event for event in result.get_asset_materialization_events()}
    for asset in ("training_set", *TRAINED[:-1]):
        metadata = made[asset].materialization.metadata
        assert metadata["state"].value == NOT_DUE
        assert str(FIRST_DUE) in metadata["why"].value
    assert record(house, "registered_model", EARLY)["decision"] == NOT_DUE
    deployed = record(house, "deployed_model", EARLY)
    assert (deployed["decision"], deployed["champion_after"]) == ("unchanged", None)
    assert str(FIRST_DUE) in deployed["reasons"][0]["text"]
    # What does not come from a training is made as ever.
    for asset in ("raw_loan_data", "loan_scores", "drift_report", "performance_report", "shadow_report"):
        assert asset in made
    scores = made["loan_scores"].materialization.metadata
    assert scores["scored"].value == 0
    assert scores["unscored"].value == house.replay.store.row_count("processed_features", str(EARLY)) > 0
    files = house.hashes()
    assert execute(house, RETRAIN, EARLY).success
    assert house.hashes() == files


@pytest.mark.slow
def test_a_schedule_leaves_out_the_steps_that_would_do_nothing(house: House) -> None:
    day = EARLY + timedelta(1)
    selection = without_training(house.settings, DAILY, "not due: too early")
    assert selection is not None
    result = execute(house, DAILY, day, asset_selection=selection)
    assert result.success
    made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}
    assert made.isdisjoint({*TRAINED, "deployed_model", "model_dossier"})
    assert {"training_set", "loan_scores", "performance_report"} <= made
    assert why_not_due(house.replay.store.gates("training_set", str(day)))
    assert without_training(house.settings, DAILY, "") is None


@pytest.mark.slow
def test_a_replay_goes_on_over_days_that_are_not_due_and_ends_with_what_it_skipped(
    ingested_home: Path, tmp_path: Path
) -> None:
    with open_house(copied_home(ingested_home, tmp_path / "own")) as house:
        skips_and_goes_on(house)


def skips_and_goes_on(house: House) -> None:
    end = date(2024, 3, 3)
    report = house.replay.run(START, end, "21")
    assert [t.status for t in report.trainings] == [NOT_DUE, NOT_DUE, "registered"], report.trainings
    early, growing = report.not_due
    assert (early.as_of, growing.as_of) == (date(2024, 1, 21), date(2024, 2, 11))
    assert str(FIRST_DUE) in early.reason
    assert "12 of the 60 days of the lookback are mature by 2024-02-11" in growing.reason
    # Nobody was champion on these days.
    assert (report.scored, report.unscored) == (0, 63)
    assert report.unscored_applications > 0
    again = house.replay.run(START, end, "21")
    assert again.trainings == report.trainings
    later = house.replay.run(START, end + timedelta(2), "none")
    assert (later.scored, later.unscored, later.unscored_applications) == (2, 0, 0)
    assert later.scored_applications > 0


@pytest.mark.slow
def test_a_book_that_begins_after_the_start_date_is_trained_once_its_own_days_are_mature(own: Any) -> None:
    house = own(book(), variants=("lightgbm",))
    begin = date(2024, 3, 1)
    report = house.replay.run(begin, date(2024, 4, 30), "month-end")
    # By the end of March the first of March alone is mature; in April, January and February are not waited for.
    assert [t.status for t in report.trainings] == [NOT_DUE, "registered"]
    assert "the first day ingested is 2024-03-01" in report.trainings[0].reason
    assert "2024-04-02" in report.trainings[0].reason
    splits = house.replay.store.read_partitions("training_set", ["2024-04-30"]).to_pandas()
    assert str(splits["application_date"].min()) == "2024-03-01"
    # Reports on days before anything is mature, and before the first day ingested.
    first = record(house, "performance_report", begin)
    assert "no application is old enough" in first["realised"]["why"]
    result = house.replay.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=house.instance,
        partition_key="2024-01-15",
        asset_selection=[dg.AssetKey("performance_report"), dg.AssetKey("drift_report"), dg.AssetKey("shadow_report")],
        run_config=_QUIET,
    )
    assert result.success
    # A day that is lost among those that were ingested is no beginning.
    house.replay.store.remove(house.replay.store.path("processed_features", "2024-03-02.parquet"))
    assert not execute(house, RETRAIN, date(2024, 4, 30)).success


@pytest.mark.slow
def test_a_young_lender_is_not_due_until_enough_is_mature_and_then_is_trained(own: Any) -> None:
    # 40 bads need some 20 of the 60 days of the lookback.
    house = own(book(), variants=("lightgbm",))
    report = house.replay.run(START, date(2024, 3, 31), "1", train_from=date(2024, 1, 28))
    statuses = [t.status for t in report.trainings]
    assert "blocked" not in statuses
    assert set(statuses[:12]) == {NOT_DUE}
    assert "registered" in statuses
    # With the lookback full there is nothing to wait for.
    assert NOT_DUE not in statuses[-2:]
    growing = next(t for t in reversed(report.trainings) if t.status == NOT_DUE)
    assert growing.as_of > FIRST_DUE
    assert "of the 60 days of the lookback are mature" in growing.reason


@pytest.mark.slow
def test_applications_that_begin_long_after_the_start_date_make_a_young_book_too(own: Any) -> None:
    loans = canonical_book(2_000, date(2024, 3, 1), date(2024, 4, 30), seed=5, window_days=30)
    house = own(loans, variants=("lightgbm",))
    report = house.replay.run(START, date(2024, 4, 10), "10", train_from=date(2024, 3, 1))
    assert {t.status for t in report.trainings} == {NOT_DUE}
    assert "none has an application" in report.trainings[0].reason
    assert "the first day with applications is 2024-03-01" in report.trainings[-1].reason
    found = outlook(house.settings, house.replay.store)
    assert "the first day with applications is 2024-03-01" in found.why
    assert found.first_due >= date(2024, 4, 2)


@pytest.mark.slow
def test_too_little_where_there_should_be_enough_is_a_failed_gate_with_numbers(own: Any) -> None:
    applications, outcomes = canonical_book(9_000, START, date(2024, 6, 30), seed=7, window_days=30)
    # Outcomes that were never loaded: waiting brings none.
    house = own((applications, outcomes.iloc[:0]), variants=("lightgbm",))
    (outcome,) = house.replay.run(START, date(2024, 3, 15), "last").trainings
    assert outcome.status == "blocked"
    assert "enough_outcomes" in outcome.reason
    gate = next(g for g in house.replay.store.gates("training_set", "2024-03-15") if g.name == "enough_outcomes")
    assert "0 bads" in str(gate.value)
    assert "0 validation bads" in str(gate.value)
    assert "at least" in gate.threshold
    assert "40 bads" in gate.threshold


@pytest.mark.slow
def test_a_window_without_applications_amid_the_book_is_a_failed_gate(own: Any) -> None:
    applications, outcomes = book()
    early = applications["application_date"].astype(str) < "2024-01-10"
    house = own((applications[early], outcomes), variants=("lightgbm",), lookback_days=20)
    (outcome,) = house.replay.run(START, date(2024, 3, 31), "last").trainings
    assert outcome.status == "blocked"
    gate = next(g for g in house.replay.store.gates("training_set", "2024-03-31") if g.name == "enough_outcomes")
    assert str(gate.value).startswith("0 goods, 0 bads")


@pytest.mark.slow
def test_the_outlook_names_the_first_day_with_enough_applications(house: House, tmp_path: Path) -> None:
    found = outlook(house.settings, house.replay.store)
    gates = house.settings.portfolio_contract.gates
    assert found.state == DUE
    assert found.first_due >= FIRST_DUE
    counts = [house.replay.store.row_count("processed_features", str(START + timedelta(n))) for n in range(30)]
    needed = next(n for n in range(30) if sum(counts[: n + 1]) >= gates.min_goods + gates.min_bads and n >= 2)
    assert found.first_due == START + timedelta(needed + 30)
    nothing = outlook(house.settings, Store(str(tmp_path / "empty")))
    assert (nothing.state, nothing.newest, nothing.first_due) == (NOT_DUE, None, FIRST_DUE)
