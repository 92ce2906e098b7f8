"""Rows that no day's query finds, and rows that came after their day, in a house: seen, shown, and no model of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from rich.console import Console

from credit_assets.assets.accounts import table_accounts
from credit_assets.cli.doctor import rows_health
from credit_assets.cli.state import status_record
from credit_assets.cli.status import print_status
from credit_assets.ml.rules.account_gates import account_of_training
from credit_assets.storage.store import Store
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.houses import START, TRAINED, House, copied_home, open_house

UNDATED = "UPDATE loan_outcomes SET outcome_date = NULL WHERE defaulted = 1 AND hash(application_id) % 10 < 4"
FREE = "ALTER TABLE {0} ALTER COLUMN {1} DROP NOT NULL"


@pytest.fixture
def house(ingested_home: Path, tmp_path: Path) -> Iterator[House]:
    with open_house(copied_home(ingested_home, tmp_path / "house"), variants="lightgbm") as house:
        yield house


def change(house: House, *statements: str) -> None:
    with duckdb.connect(house.settings.warehouse.removeprefix("duckdb:///")) as connection:
        for statement in statements:
            connection.execute(statement)


def count(house: House, query: str) -> int:
    with duckdb.connect(house.settings.warehouse.removeprefix("duckdb:///"), read_only=True) as connection:
        return int(connection.execute(query).fetchall()[0][0])


def latest_check(house: House, asset: str) -> Any:
    key = dg.AssetCheckKey(dg.AssetKey(asset), "accounted_for")
    (record,) = house.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return record.event.dagster_event.event_specific_data


def test_a_sound_book_is_accounted_for(house: House) -> None:
    accounts = status_record(house.settings, house.instance)["accounts"]
    for asset, table in (("raw_loan_data", "loan_applications"), ("loan_outcomes", "loan_outcomes")):
        found = accounts[asset]
        assert (found["table"], found["verdict"]) == (table, "passed")
        assert found["rows"] == count(house, f"SELECT count(*) FROM {table}")
        assert found["rows"] == found["ingested"] + found["quarantined"] + found["not_ingested"]
    assert rows_health(house.settings).status == "ok"
    house.replay.backfill(START, START, ("raw_loan_data",), again=True)
    assert latest_check(house, "raw_loan_data").passed


def test_a_day_accounts_for_each_row_that_it_read(house: House) -> None:
    """A text that is no day is within the bounds of one, and belongs to none: it is set aside with the first."""
    change(
        house,
        "ALTER TABLE loan_applications ALTER COLUMN application_date TYPE VARCHAR",
        f"UPDATE loan_applications SET application_date = '{START}T99:99' WHERE application_id = (SELECT "
        f"min(application_id) FROM loan_applications WHERE application_date = '{START}')",
    )
    rows = count(house, f"SELECT count(*) FROM loan_applications WHERE application_date LIKE '{START}%'")
    report = house.replay.backfill(START, START, ("raw_loan_data",), again=True)
    key = dg.AssetKey("raw_loan_data")
    event = house.instance.get_latest_materialization_event(key)
    observed = house.instance.fetch_observations(key, limit=1).records
    said = (observed[0].asset_observation if report.rejected else event.asset_materialization).metadata
    assert said["rows_read"].value == rows
    assert said["quarantined_rows"].value == 1
    assert said["rows_read"].value == said["dagster/row_count"].value + said["quarantined_rows"].value


@pytest.mark.slow
def test_defaults_without_a_date_are_counted_and_train_nothing(house: House, capsys: Any) -> None:
    change(house, FREE.format("loan_outcomes", "outcome_date"), UNDATED)
    lost = count(house, "SELECT count(*) FROM loan_outcomes WHERE outcome_date IS NULL")
    assert lost > 100
    house.replay.backfill(START, date(2024, 6, 30), ("loan_outcomes",), again=True)
    check = latest_check(house, "loan_outcomes")
    assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.ERROR, False)
    assert f"{lost:,} without a date" in check.description
    record = status_record(house.settings, house.instance)
    found = record["accounts"]["loan_outcomes"]
    assert (found["missing"], found["gone"], found["verdict"]) == (lost, 0, "error")
    print_status(record, Console(width=200))
    assert f"{lost:,} without a date" in capsys.readouterr().out
    health = rows_health(house.settings)
    assert health.status == "fail"
    assert f"{lost:,} of" in health.advice
    outcome = house.train(TRAINED)
    assert outcome.status == "blocked"
    assert "accounted_for" in outcome.reason
    assert f"{lost:,} without a date" in outcome.reason
    assert house.versions() == []


@pytest.mark.slow
def test_outcomes_that_came_after_their_day_train_nothing(house: House) -> None:
    again = "SELECT 'late' || application_id, DATE '2024-03-01', 1 FROM loan_applications LIMIT 90"
    change(house, f"INSERT INTO loan_outcomes {again}")
    outcome = house.train(TRAINED)
    assert outcome.status == "blocked"
    assert "90 arrived after their day was ingested (2024-03-01)" in outcome.reason
    assert "credit-assets recheck --since 2024-03-01" in outcome.reason
    # What came after the as-of date is no matter to it.
    change(house, "UPDATE loan_outcomes SET outcome_date = DATE '2024-05-01' WHERE application_id LIKE 'late%'")
    assert house.train(TRAINED).status == "registered"


def test_a_training_looks_at_the_files_of_its_window_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    day, window = "2024-03-10", (date(2024, 3, 1), date(2024, 3, 31))
    change(
        house,
        *(
            f"INSERT INTO loan_outcomes SELECT '{name}' || application_id, DATE '{on}', 1 FROM loan_applications "
            f"LIMIT {n}"
            for name, on, n in (("in", day, 40), ("out", "2024-05-10", 70))
        ),
        "DELETE FROM loan_outcomes WHERE outcome_date = DATE '2024-03-20'",
    )
    settings, store = house.settings, Store(house.settings.store)
    warehouse, limits = open_warehouse(settings.warehouse, settings.timezone), settings.portfolio_contract.gates
    windows = {"raw_loan_data": window, "loan_outcomes": window}
    whole = account_of_training(table_accounts(settings, warehouse, store), windows, limits)
    read: set[str] = set()
    footers = Store.footers

    def watched(self: Store, asset: str, days: Any, **more: Any) -> Any:
        read.update(days)
        return footers(self, asset, days, **more)

    monkeypatch.setattr(Store, "footers", watched)
    part = account_of_training(table_accounts(settings, warehouse, store, windows), windows, limits)
    assert (min(read), max(read)) == ("2024-03-01", "2024-03-31")
    assert not part.passed
    assert part.to_record() == whole.to_record()
    assert "40 arrived" in part.description
    assert "2024-05-10" not in part.description


def test_a_warehouse_that_cannot_be_read_does_not_fail_status(house: House) -> None:
    change(house, "DROP TABLE loan_outcomes")
    assert "no table loan_outcomes" in status_record(house.settings, house.instance)["accounts"]["problem"]
    assert rows_health(house.settings).status == "warn"
