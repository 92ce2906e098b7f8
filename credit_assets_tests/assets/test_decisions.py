"""The asset `loan_decisions` on real warehouses: recorded from a column day by day, and read from a table."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from credit_assets.assets import decisions as assets_of_decisions
from credit_assets.ml.data.decisions import Decisions
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import applications_schema
from credit_assets.ml.data.values import as_table
from credit_assets.partitions import daily_partitions
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings
from credit_assets.tags import range_tags
from credit_assets.warehouse import Warehouse, open_warehouse
from credit_assets_tests.support.decided import by_column, by_table, lives, standing
from credit_assets_tests.support.houses import SMALL, START
from credit_assets_tests.support.synthetic import canonical_book
from credit_assets_tests.support.warehouses import KINDS, execute, warehouse_url

pytest_plugins = ["credit_assets_tests.support.postgres"]

LAST = START + timedelta(40)
APPLICATIONS = canonical_book(120, START, START + timedelta(9), seed=5)[0]


class Lender:
    """A lender's warehouse on some evening, and the asset that reads it."""

    def __init__(self, portfolio: Portfolio, url: str, home: Path) -> None:
        file = home / "portfolio.json"
        file.write_text(portfolio.model_dump_json(exclude_unset=True))
        self.settings: Settings = load_settings(home=home / "home", portfolio=str(file), warehouse_url=url, **SMALL)
        self.portfolio, self.decisions = portfolio, lives(APPLICATIONS)
        self.warehouse: Warehouse = open_warehouse(url)
        self.instance = dg.DagsterInstance.ephemeral()
        self.resources = build_resources(self.settings)

    def make(self, first: date, last: date | None = None, *, fails: bool = False) -> dg.ExecuteInProcessResult:
        partitions = daily_partitions(self.settings)
        result = dg.materialize(
            assets_of_decisions.assets(self.settings, partitions),
            resources=self.resources,
            instance=self.instance,
            tags=range_tags(first.isoformat(), (last or first).isoformat()),
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success is not fails
        return result

    def known(self, last: date = LAST) -> Decisions:
        days = [day for day in self.resources["store"].days("loan_decisions") if day <= last.isoformat()]
        return Decisions(self.resources["store"].read_partitions("loan_decisions", days), self.portfolio)

    def bytes_of(self, day: date) -> bytes:
        return Path(self.settings.store, "loan_decisions", f"{day}.parquet").read_bytes()


class WithColumn(Lender):
    """The status stands in a column of the applications, which is overwritten."""

    def __init__(self, portfolio: Portfolio, url: str, home: Path) -> None:
        super().__init__(portfolio, url, home)
        self.warehouse.create_tables(portfolio)
        rows = as_table(APPLICATIONS, applications_schema(portfolio))
        self.warehouse.write(portfolio, rows.append_column("status", pa.nulls(rows.num_rows, pa.string())), None)

    def evening(self, day: date) -> None:
        """Let the column say what it says at the end of a day."""
        found = standing(self.decisions, day)
        groups: dict[str, list[str]] = {}
        for key, status in found.items():
            groups.setdefault(status, []).append(key)
        quoted = {status: ", ".join(f"'{key}'" for key in keys) for status, keys in groups.items()}
        execute(
            self.warehouse,
            *(
                f"UPDATE loan_applications SET status = '{status}' WHERE application_id IN ({keys})"
                for status, keys in quoted.items()
            ),
        )


class WithTable(Lender):
    """Decisions stand in a table of their own, with the moment at which each was made."""

    def __init__(self, portfolio: Portfolio, url: str, home: Path) -> None:
        super().__init__(portfolio, url, home)
        kind = "TEXT" if url.startswith("sqlite") else "TIMESTAMP"
        moments = [f"{day} {8 + n % 2 * 5:02}:00:{n % 60:02}" for n, day in enumerate(self.decisions["decided_on"])]
        # The first row of an application comes first on its day.
        rows = [
            f"('{row.loan_no}', '{moment[:11]}{8 + n:02}{moment[13:]}', '{row.status}')"
            for n, row, moment in zip(
                self.decisions.groupby("loan_no").cumcount(), self.decisions.itertuples(), moments, strict=True
            )
        ]
        execute(
            self.warehouse,
            f"CREATE TABLE decisions (loan_no VARCHAR(30), decided_on {kind}, status VARCHAR(20))",
            f"INSERT INTO decisions VALUES {', '.join(reversed(rows))}",
        )


# What each kind of warehouse reads is looked at in warehouse/: here one shows what becomes of it.
@pytest.fixture(params=["duckdb", *(pytest.param(one, marks=pytest.mark.slow) for one in KINDS if one != "duckdb")])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return warehouse_url(request.param, tmp_path, request)


@pytest.fixture
def column(tmp_path: Path) -> WithColumn:
    return WithColumn(by_column(), f"duckdb:///{tmp_path / 'warehouse.duckdb'}", tmp_path)


def expected(lender: Lender, day: date) -> list[str]:
    classes = lender.portfolio.decisions.classes
    told = standing(lender.decisions, day)
    return [classes[told[key]] if key in told else "undecided" for key in APPLICATIONS["application_id"]]


def found(lender: Lender, day: date) -> list[str]:
    return list(lender.known().as_of(day).classes(APPLICATIONS["application_id"]))


def test_a_column_is_recorded_day_by_day_and_a_day_made_again_gives_what_it_gave(url: str, tmp_path: Path):
    lender = WithColumn(by_column(), url, tmp_path)
    # Every fifth day: what a day saw goes to it, whatever was decided in between.
    days = [START + timedelta(n) for n in range(0, 41, 5)]
    kept = {}
    for day in days:
        lender.evening(day)
        lender.make(day)
        kept[day] = lender.bytes_of(day)
    booked = sum(status == "booked" for status in expected(lender, days[-1]))
    early = sum(status == "booked" for status in expected(lender, days[2]))
    assert booked > early + 10
    for day in days:
        assert found(lender, day) == expected(lender, day)
    lender.make(days[0], days[-1])
    assert {day: lender.bytes_of(day) for day in days} == kept


def test_a_backfill_takes_what_stands_there_and_says_so(column: WithColumn):
    column.evening(LAST)
    result = column.make(START, START + timedelta(12))
    assert found(column, START + timedelta(12)) == expected(column, LAST)
    gates = {gate.name: gate for gate in column.resources["store"].gates("loan_decisions", START.isoformat())}
    assert gates["recorded"].passed
    assert str(gates["recorded"].value).endswith("days late")
    (event,) = [event for event in result.get_asset_materialization_events() if event.partition == START.isoformat()]
    assert "days late" in event.materialization.metadata["recorded"].value


def test_an_unknown_status_stops_its_day_by_name_and_count_until_it_is_mapped(column: WithColumn, tmp_path: Path):
    column.evening(START)
    some = ", ".join(f"'{key}'" for key in APPLICATIONS["application_id"][:3])
    execute(column.warehouse, f"UPDATE loan_applications SET status = 'frozen' WHERE application_id IN ({some})")
    result = column.make(START, fails=True)
    (failed,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed.check_name == "statuses"
    assert "status 'frozen' is in no list of population (3)" in str(failed.description)
    mapped = by_column(withdrawn=["lapsed", "frozen"])
    Path(column.settings.portfolio or "").write_text(mapped.model_dump_json(exclude_unset=True))
    again = Lender(mapped, column.settings.warehouse, tmp_path)
    again.make(START)
    assert list(again.known().as_of(START).classes(APPLICATIONS["application_id"][:3])) == ["withdrawn"] * 3


def test_a_table_of_decisions_is_read_by_the_moment_of_each(url: str, tmp_path: Path):
    lender = WithTable(by_table(), url, tmp_path)
    lender.make(START, LAST)
    for n in (0, 1, 5, 12, 40):
        assert found(lender, START + timedelta(n)) == expected(lender, START + timedelta(n))
    kept = lender.bytes_of(START + timedelta(5))
    lender.make(START + timedelta(5))
    assert lender.bytes_of(START + timedelta(5)) == kept


def test_a_table_that_holds_something_else_is_said(tmp_path: Path):
    lender = WithTable(by_table(), f"duckdb:///{tmp_path / 'warehouse.duckdb'}", tmp_path)
    execute(lender.warehouse, "INSERT INTO decisions VALUES (NULL, '2024-01-03 09:00:00', 'booked')")
    result = lender.make(date(2024, 1, 3), fails=True)
    said = {
        check.check_name: str(check.description) for check in result.get_asset_check_evaluations() if not check.passed
    }
    assert "loan_no missing (1)" in said["values"]
    lender.make(date(2024, 1, 4))
