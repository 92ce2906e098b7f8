"""What is said of a warehouse with loans, without loans, without tables."""

from __future__ import annotations

import sqlite3
from datetime import date
from pathlib import Path

import pytest

from credit_assets.health import Health
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.warehouse import open_warehouse
from credit_assets.warehouse.health import health
from credit_assets_tests.support.histories import DAY, days_only, fill, made_up, portfolio_of
from credit_assets_tests.support.warehouses import execute

PORTFOLIO = load_portfolio()


def health_of(url: str, start_date: date = date(2024, 1, 1)) -> Health:
    return health(url, PORTFOLIO, start_date, "UTC", embedded=False)


def with_loans(path: Path, *days: str) -> str:
    """An SQLite warehouse with one application a day."""
    url = f"sqlite:///{path}"
    open_warehouse(url).create_tables(PORTFOLIO)
    with sqlite3.connect(path) as connection:
        for number, day in enumerate(days):
            connection.execute(
                "INSERT INTO loan_applications (application_id, application_date, loan_amount, term_months) "
                "VALUES (?, ?, 1000, 36)",
                (str(number), day),
            )
    return url


def test_the_warehouse_shows_its_days(tmp_path: Path) -> None:
    url = with_loans(tmp_path / "loans.db", "2024-02-01", "2024-03-09")
    found = health_of(url)
    assert (found.status, found.value) == ("ok", "applications from 2024-02-01 to 2024-03-09")
    late = health_of(url, date(2024, 2, 15))
    assert late.status == "warn"
    assert "CREDIT_START_DATE=2024-02-01" in late.advice


def test_a_warehouse_without_rows_or_without_tables(tmp_path: Path) -> None:
    empty = health_of(with_loans(tmp_path / "loans.db"))
    assert (empty.status, empty.value) == ("warn", "reached, no applications yet")
    sqlite3.connect(tmp_path / "bare.db").close()
    bare = health_of(f"sqlite:///{tmp_path / 'bare.db'}")
    assert bare.status == "fail"
    assert "loan_applications" in bare.advice
    assert "credit-assets generate" in bare.advice


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE loan_applications RENAME COLUMN annual_income TO income", "has no column annual_income"),
        ("ALTER TABLE loan_outcomes RENAME COLUMN defaulted TO bad", "has no column defaulted"),
        ("DROP TABLE loan_outcomes", "has no table loan_outcomes"),
    ],
)
def test_a_table_or_column_of_the_portfolio_that_is_missing_is_told(change: str, said: str, tmp_path: Path) -> None:
    url = with_loans(tmp_path / "loans.db", "2024-02-01")
    assert health_of(url).status == "ok"
    execute(open_warehouse(url), change)
    found = health_of(url)
    assert (found.status, found.value) == ("fail", "reached, but a table is not as the portfolio says")
    assert said in found.advice


def test_a_history_that_cannot_be_read_is_told_before_a_run_needs_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'loans.db'}"
    warehouse = open_warehouse(url)
    with sqlite3.connect(tmp_path / "loans.db"):
        fill(warehouse, *made_up(1, days_only), "days")
    execute(warehouse, "CREATE TABLE loan_outcomes (application_id TEXT, outcome_date DATE, defaulted INTEGER)")
    assert health(url, portfolio_of(), date(2024, 1, 1), "UTC", embedded=False).status == "ok"
    execute(warehouse, "ALTER TABLE account_months RENAME COLUMN loaded_at TO loaded")
    found = health(url, portfolio_of(), DAY, "UTC", embedded=False)
    assert (found.status, found.value) == ("fail", "reached, but a history cannot be read")
    assert "has no column loaded_at" in found.advice
