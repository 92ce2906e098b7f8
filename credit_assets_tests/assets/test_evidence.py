"""Old loans that never had an outcome, counted on real warehouses: of those whom the portfolio states as lent to."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from credit_assets.assets.evidence import matured_without_outcome
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.settings import load_settings
from credit_assets.warehouse import open_warehouse
from credit_assets.warehouse.base import TableReader
from credit_assets.warehouse.source import SourceTable
from credit_assets_tests.support.decided import by_column, by_table, restated
from credit_assets_tests.support.warehouses import KINDS, execute, warehouse_url

pytest_plugins = ["credit_assets_tests.support.postgres"]

# Loans of 12 months each, 100 of the first day: 30 booked of which 4 went bad and 25 were paid, 70 declined.
START, AS_OF = date(2020, 1, 1), date(2022, 1, 3)
STATUSES = restated(
    outcomes={"table": "outs", "id": "application_id", "date": "on_day", "known": "seen", "status": "status",
              "bad": ["lost"], "good": ["paid"]},
    population=by_column().model_dump(mode="json")["population"],
)  # fmt: skip


def fill(url: str) -> None:
    warehouse, text = open_warehouse(url), url.startswith("sqlite")
    day, moment = ("TEXT", "TEXT") if text else ("DATE", "TIMESTAMP")
    loans = [
        (f"L{n:03}", START if n < 100 else AS_OF - timedelta(300), "booked" if n < 30 else "declined")
        for n in range(150)
    ]
    columns = load_portfolio().columns
    others = [c.name for c in columns if c.name not in ("application_id", "application_date", "term_months")]
    execute(
        warehouse,
        f"CREATE TABLE loan_applications (application_id VARCHAR(20), application_date {day}, term_months INTEGER, "
        f"status VARCHAR(20), {', '.join(f'{name} VARCHAR(20)' for name in others)})",
        "INSERT INTO loan_applications (application_id, application_date, term_months, status) VALUES "
        + ", ".join(f"('{key}', '{on}', 12, '{status}')" for key, on, status in loans),
        f"CREATE TABLE decisions (loan_no VARCHAR(20), decided_on {moment}, status VARCHAR(20))",
        "INSERT INTO decisions VALUES "
        + ", ".join(f"('{key}', '{on} 10:00:00', '{status}')" for key, on, status in loans),
        f"CREATE TABLE loan_outcomes (application_id VARCHAR(20), outcome_date {day}, defaulted INTEGER)",
        "INSERT INTO loan_outcomes VALUES "
        + ", ".join(f"('L{n:03}', '{START + timedelta(100 + n)}', {int(n < 4)})" for n in range(29)),
        f"CREATE TABLE outs (application_id VARCHAR(20), on_day {day}, seen {moment}, status VARCHAR(20))",
        "INSERT INTO outs VALUES "
        + ", ".join(
            f"('L{n:03}', '{START + timedelta(100 + n)}', '{START + timedelta(101 + n)} 09:00:00', "
            f"'{'lost' if n < 4 else 'paid'}')"
            for n in range(29)
        ),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_loans_without_an_outcome_are_counted_of_those_who_were_lent_to(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = warehouse_url(kind, tmp_path, request)
    fill(url)

    def found(portfolio: Portfolio, as_of: date = AS_OF) -> tuple[int, int, int, int]:
        file = tmp_path / "portfolio.json"
        file.write_text(portfolio.model_dump_json(exclude_unset=True))
        settings = load_settings(home=tmp_path, portfolio=str(file), warehouse_url=url)
        one = matured_without_outcome(settings, open_warehouse(url), as_of)
        return one.loans, one.without, one.goods, one.bads

    # Nobody is old enough a day before term and window have passed, and what is known later is not looked at.
    assert found(load_portfolio()) == (100, 71, 25, 4)
    assert found(load_portfolio(), AS_OF - timedelta(3)) == (0, 0, 0, 0)
    for portfolio in (by_column(), by_table(), STATUSES):
        assert found(portfolio) == (30, 1, 25, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_days_on_which_no_loan_can_be_old_are_not_read(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = warehouse_url(kind, tmp_path, request)
    fill(url)
    # Three years, and none said, among the loans of twelve months; a loan of a later day in words that are no number.
    execute(
        open_warehouse(url),
        "UPDATE loan_applications SET term_months = 36 WHERE application_id BETWEEN 'L010' AND 'L019'",
        "UPDATE loan_applications SET term_months = NULL WHERE application_id BETWEEN 'L020' AND 'L024'",
        f"UPDATE loan_applications SET application_date = '{AS_OF - timedelta(500)}' WHERE application_id > 'L090'",
    )
    settings = load_settings(home=tmp_path, warehouse_url=url)
    read: list[tuple[date, date]] = []
    columns_of = TableReader.columns_of

    def reading(self: TableReader, source: SourceTable, names: list[str], start: date, end: date) -> object:
        if source.table == "loan_applications":
            read.append((start, end))
        return columns_of(self, source, names, start, end)

    monkeypatch.setattr(TableReader, "columns_of", reading)
    dates = [START - timedelta(1), START, AS_OF - timedelta(4), AS_OF - timedelta(3), AS_OF, AS_OF + timedelta(700)]
    found = [matured_without_outcome(settings, open_warehouse(url), as_of) for as_of in dates]
    bounded, read[:] = read[:], []
    monkeypatch.setattr(TableReader, "first_days_of", lambda *_: None)
    assert found == [matured_without_outcome(settings, open_warehouse(url), as_of) for as_of in dates]
    assert [one.loans for one in found] == [0, 0, 0, 0, 76, 135]
    assert len(read) == len(dates)
    # Text says of no row its day: there all is read, as before.
    if kind == "sqlite":
        assert bounded == read
    else:
        # Nothing where nothing is old, else twelve months and the window before the day, whatever was made since.
        assert len(bounded) == 2
        assert bounded[0][1] == AS_OF - timedelta(366 + settings.window_days) < read[4][1]
