"""The asset `loan_outcomes` of a table with statuses, on real warehouses: by the moment at which rows became known, and
recorded by us where nothing says it.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from credit_assets.assets.ingestion import outcomes_asset
from credit_assets.ml.data.cohorts import Loans
from credit_assets.ml.data.outcomes import OUTCOME_CLASSES
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.partitions import daily_partitions
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings
from credit_assets.tags import range_tags
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.decided import restated
from credit_assets_tests.support.houses import SMALL, START
from credit_assets_tests.support.warehouses import KINDS, execute, warehouse_url

pytest_plugins = ["credit_assets_tests.support.postgres"]

LISTS = {
    "bad": ["90_dpd"],
    "good": ["paid"],
    "indeterminate": ["30_dpd"],
    "excluded": ["fraud"],
    "reversed": ["undone"],
}
NAMES = {"table": "performance", "id": "loan_no", "date": "effective_on", "status": "status", **LISTS}
KNOWN, UNDATED = restated(outcomes={**NAMES, "known": "recorded_at"}), restated(outcomes=NAMES)
W = 30
# Loan, day to which the row is booked, moment at which it became known, status; rows of one day in no order.
ROWS = [
    ("L1", 5, "6 18:00:00", "90_dpd"), ("L1", 5, "40 09:00:00", "undone"), ("L2", 5, "5 09:00:00", "30_dpd"),
    ("L2", 5, "5 17:30:00", "90_dpd"), ("L3", 7, "7 17:30:00", "undone"), ("L3", 7, "7 09:00:00", "90_dpd"),
    ("L4", 9, "9 09:00:00", "fraud"), ("L5", 12, "12 10:00:00", None), ("L6", 14, "14 10:00:00", "30_dpd"),
    ("L6", 14, "14 10:00:00", "30_dpd"), ("L7", 20, "39 23:59:59", "90_dpd"), ("L8", 20, "20 10:00:00", "paid"),
]  # fmt: skip
EXPECTED = {
    30: "bad bad good excluded good indeterminate good good",
    39: "bad bad good excluded good indeterminate bad good",
    40: "good bad good excluded good indeterminate bad good",
}


def moment(text: str) -> str:
    days, time = text.split()
    return f"{START + timedelta(int(days))} {time}"


class Lender:
    def __init__(self, portfolio: Portfolio, url: str, home: Path) -> None:
        file = home / "portfolio.json"
        file.write_text(portfolio.model_dump_json(exclude_unset=True))
        self.settings: Settings = load_settings(home=home / "home", portfolio=str(file), warehouse_url=url, **SMALL)
        self.portfolio, self.warehouse = portfolio, open_warehouse(url)
        self.instance, self.resources = dg.DagsterInstance.ephemeral(), build_resources(self.settings)
        text = url.startswith("sqlite")
        execute(
            self.warehouse,
            f"CREATE TABLE performance (loan_no VARCHAR(30), effective_on {'TEXT' if text else 'DATE'}, "
            f"recorded_at {'TEXT' if text else 'TIMESTAMP'}, status VARCHAR(20))",
        )

    def insert(self, *rows: tuple[str, int, str, str | None]) -> None:
        values = ", ".join(
            f"('{key}', '{START + timedelta(on)}', '{moment(known)}', {'NULL' if says is None else repr(says)})"
            for key, on, known, says in rows
        )
        execute(self.warehouse, f"INSERT INTO performance VALUES {values}")

    def make(self, first: date, last: date, *, fails: bool = False) -> dg.ExecuteInProcessResult:
        result = dg.materialize(
            [outcomes_asset(self.settings, daily_partitions(self.settings))],
            resources=self.resources,
            instance=self.instance,
            tags=range_tags(first.isoformat(), last.isoformat()),
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success is not fails
        return result

    def classes(self, day: int) -> str:
        """What became of each loan, all applied for on the first day, as known on a day."""
        store = self.resources["store"]
        days = [name for name in store.days("loan_outcomes") if name <= str(START + timedelta(day))]
        loans = pd.DataFrame(
            {"application_id": [f"L{n}" for n in range(1, 9)], "application_date": pd.Timestamp(START)}
        )
        found = Loans(loans, store.read_partitions("loan_outcomes", days), W, self.portfolio)
        return " ".join(OUTCOME_CLASSES[number] for number in found.on(START + timedelta(day)).classes)

    def bytes_of(self, day: int) -> bytes:
        return Path(self.settings.store, "loan_outcomes", f"{START + timedelta(day)}.parquet").read_bytes()


# What each kind of warehouse reads is looked at in warehouse/: here one shows what becomes of it.
@pytest.fixture(params=["duckdb", *(pytest.param(one, marks=pytest.mark.slow) for one in KINDS if one != "duckdb")])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return warehouse_url(request.param, tmp_path, request)


def test_rows_count_by_the_moment_at_which_they_became_known(url: str, tmp_path: Path):
    lender = Lender(KNOWN, url, tmp_path)
    lender.insert(*reversed(ROWS))
    lender.make(START, START + timedelta(45))
    for day, expected in EXPECTED.items():
        assert lender.classes(day) == expected
    kept = lender.bytes_of(5)
    lender.make(START + timedelta(5), START + timedelta(5))
    assert lender.bytes_of(5) == kept


def test_a_table_that_says_nothing_of_when_is_recorded_by_the_day_on_which_a_row_is_seen(url: str, tmp_path: Path):
    lender = Lender(UNDATED, url, tmp_path)
    # Read on these days alone; each row stands there from the day on which it became known.
    before = -1
    for day in (0, 6, 8, 10, 12, 14, 20, 38, 40, 44):
        seen = [row for row in ROWS if before < int(row[2].split()[0]) <= day]
        if seen:
            lender.insert(*seen)
        lender.make(START + timedelta(day), START + timedelta(day))
        before = day
    # Of rows of a loan that were seen at once and are booked to one day the graver counts: nothing orders them.
    assert lender.classes(38) == "bad bad bad excluded good indeterminate good good"
    assert lender.classes(40).split()[6] == "bad"
    kept = lender.bytes_of(6)
    execute(lender.warehouse, "DELETE FROM performance")
    lender.make(START + timedelta(6), START + timedelta(6))
    assert lender.bytes_of(6) == kept


def test_a_status_that_nobody_mapped_stops_its_day_and_no_other(tmp_path: Path):
    lender = Lender(KNOWN, f"duckdb:///{tmp_path / 'warehouse.duckdb'}", tmp_path)
    lender.insert(*ROWS, ("L1", 8, "8 10:00:00", "sold"))
    result = lender.make(START + timedelta(8), START + timedelta(8), fails=True)
    (failed,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert (failed.check_name, "status 'sold' is in no list of outcomes (1)" in str(failed.description)) == (
        "statuses",
        True,
    )
    lender.make(START + timedelta(12), START + timedelta(12))
