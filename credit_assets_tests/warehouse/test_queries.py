"""Days are cut in one zone, in every kind of warehouse and both tables, whatever the column holds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.instants import read_days
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import Warehouse, open_warehouse
from credit_assets_tests.support.warehouses import KINDS, ZONES, execute, warehouse_url

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]

# Around which midnights to look, by zone: a day skipped, midnights that come twice or never, summer time of half an
# hour, and ordinary changes; for all others any.
MIDNIGHTS = {
    "Pacific/Apia": [date(2011, 12, 30), date(2011, 12, 31), date(2012, 4, 1)],
    "America/St_Johns": [date(2010, 11, 7), date(2011, 3, 13)],
    "America/Sao_Paulo": [date(2018, 11, 4), date(2018, 2, 18)],
    "America/Havana": [date(2019, 3, 10), date(2019, 11, 3)],
    "America/New_York": [date(2024, 3, 10), date(2024, 11, 3)],
    "Australia/Lord_Howe": [date(2024, 4, 7), date(2024, 10, 6)],
}
ANY = [date(2024, 3, 1)]


def book(naive: str | None = None) -> Portfolio:
    return Portfolio.model_validate(
        {
            "name": "instants",
            "timezone": naive,
            "applications_table": "apps",
            "outcomes": {"table": "outs", "id": "id", "date": "known_at", "defaulted": "bad"},
            "columns": [
                {"name": "id", "type": "integer", "role": "id", "nullable": False},
                {"name": "applied_at", "type": "date", "role": "date", "nullable": False},
                {"name": "signed_at", "type": "date", "role": "ignored"},
                {"name": "income", "type": "float"},
            ],
        }
    )


def around(midnights: Sequence[date], zone: str) -> list[datetime]:
    """Instants on both sides of each midnight of the zone and of the next one, and some between."""
    random_ = random.Random(zone)
    instants = set()
    for day in midnights:
        for midnight in (datetime(day.year, day.month, day.day) + timedelta(days=n) for n in (0, 1)):
            for fold in (0, 1):
                edge = midnight.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
                for seconds in (0, 1, 59, 60, 1800, 3599, 3600, *random_.sample(range(86_400), 4)):
                    instants |= {edge + timedelta(seconds=seconds), edge - timedelta(seconds=seconds)}
    return sorted(instants)


def stored(warehouse: Warehouse, kind: str, values: Sequence[str]) -> None:
    for table, day, rest in (
        ("apps", "applied_at", "signed_at {0}, income FLOAT"),
        ("outs", "known_at", "bad INTEGER"),
    ):
        execute(
            warehouse,
            f"DROP TABLE IF EXISTS {table}",
            f"CREATE TABLE {table} (id INTEGER, {day} {kind}, {rest.format(kind)})",
        )
    rows = ", ".join(f"({n}, '{value}', '{value}', 1)" for n, value in enumerate(values))
    known = ", ".join(f"({n}, '{value}', 1)" for n, value in enumerate(values))
    execute(warehouse, f"INSERT INTO apps VALUES {rows}", f"INSERT INTO outs VALUES {known}")


def every_day_has_its_rows(warehouse: Warehouse, portfolio: Portfolio, days: Sequence[date]) -> None:
    """Each row is of one day, the same by all ways."""
    expected = dict(sorted(Counter(days).items()))
    first, last = min(days), max(days)
    assert warehouse.date_range(portfolio) == (first, last)
    assert warehouse.daily_counts(portfolio, first - timedelta(9), last + timedelta(9)) == expected
    for count in (warehouse.count_applications, warehouse.count_outcomes):
        counted = count(portfolio, first, last)
        assert counted.days == expected
        assert not (counted.missing)
        assert not (counted.unreadable)
        assert not (counted.implausible)
    whole = warehouse.read_applications(portfolio, first, last).read_all()
    assert dict(zip(whole["id"].to_pylist(), whole["applied_at"].to_pylist(), strict=True)) == dict(enumerate(days))
    assert whole["signed_at"].equals(whole["applied_at"])
    assert whole.equals(whole.sort_by([("applied_at", "ascending"), ("id", "ascending")]))
    for day in expected:
        ids = [n for n, one in enumerate(days) if one == day]
        for rows, column in (
            (warehouse.read_applications(portfolio, day, day), "applied_at"),
            (warehouse.read_outcomes(portfolio, day, day), "known_at"),
        ):
            read = rows.read_all()
            assert read["id"].to_pylist() == ids
            assert set(read[column].to_pylist()) == {day}
    for day in (first, last):
        assert warehouse.daily_counts(portfolio, day, day) == {day: expected[day]}


def with_slow(zone: str, *more: str) -> list[Any]:
    """One zone for every run of the tests, more for those that take their time."""
    return [zone, *(pytest.param(one, marks=pytest.mark.slow) for one in more)]


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_instant_is_of_its_day_in_every_zone(
    kind: str, zone: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    check_instants(kind, zone, tmp_path, request)


@pytest.mark.parametrize("zone", with_slow("Pacific/Apia", "Asia/Tokyo", "America/St_Johns"))
@pytest.mark.parametrize("kind", KINDS)
def test_an_instant_is_of_the_day_that_it_is_in_the_zone_of_the_partitions(
    kind: str, zone: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    check_instants(kind, zone, tmp_path, request)


def check_instants(kind: str, zone: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    warehouse = open_warehouse(warehouse_url(kind, tmp_path, request), zone)
    instants = around(MIDNIGHTS.get(zone, ANY), zone)
    days = [instant.astimezone(ZoneInfo(zone)).date() for instant in instants]
    execute(warehouse, "CREATE TABLE unrelated (a INTEGER)")
    if kind != "sqlite":
        stored(warehouse, "TIMESTAMPTZ", [instant.isoformat(" ") for instant in instants])
        every_day_has_its_rows(warehouse, book(), days)
    # Text with the distance from UTC of wherever it was written is an instant too.
    written = [instant.astimezone(ZoneInfo(random.Random(n).choice(ZONES))) for n, instant in enumerate(instants)]
    stored(warehouse, "VARCHAR(40)", [instant.isoformat() for instant in written])
    every_day_has_its_rows(warehouse, book("Asia/Kathmandu"), days)


@pytest.mark.parametrize("naive", with_slow("Australia/Lord_Howe", "UTC", "America/New_York", "Pacific/Apia"))
@pytest.mark.parametrize("kind", KINDS)
def test_a_time_without_a_zone_is_of_the_zone_that_the_portfolio_names(
    kind: str, naive: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    warehouse = open_warehouse(warehouse_url(kind, tmp_path, request), "Asia/Tokyo")
    # Also what the clock shows twice, and what it never shows.
    shown = sorted({t.astimezone(ZoneInfo(naive)).replace(tzinfo=None) + timedelta(minutes=n)
                    for t in around(MIDNIGHTS.get(naive, ANY), naive) for n in (0, 150)})  # fmt: skip
    execute(warehouse, "CREATE TABLE unrelated (a INTEGER)")
    stored(warehouse, "TIMESTAMP", [time.isoformat(" ") for time in shown])
    days = read_days(pa.array(shown, pa.timestamp("us")), "Asia/Tokyo", naive).values.to_pylist()
    every_day_has_its_rows(warehouse, book(naive), days)
    days = [time.date() for time in shown]
    every_day_has_its_rows(warehouse, book(), days)
    assert warehouse.count_applications(book("Asia/Tokyo"), min(days), max(days)).days == Counter(days)


@pytest.mark.parametrize("kind", KINDS)
def test_a_date_is_that_day_whatever_the_zones(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    warehouse = open_warehouse(warehouse_url(kind, tmp_path, request), "America/Los_Angeles")
    execute(warehouse, "CREATE TABLE unrelated (a INTEGER)")
    days = [date(2024, 2, 27) + timedelta(n // 2) for n in range(8)]
    for column in ("DATE", "VARCHAR(12)"):
        stored(warehouse, column, [day.isoformat() for day in days])
        every_day_has_its_rows(warehouse, book("Asia/Tokyo"), days)


@pytest.mark.parametrize("zone", with_slow("America/Sao_Paulo", "America/New_York", "Asia/Tokyo"))
@pytest.mark.parametrize("column", ["TIMESTAMPTZ", "TIMESTAMP", "DATE"])
@pytest.mark.parametrize("kind", ["duckdb", "postgresql"])
def test_a_day_that_is_written_is_read_as_that_day(
    kind: str, column: str, zone: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    warehouse = open_warehouse(warehouse_url(kind, tmp_path, request), zone)
    execute(warehouse, "CREATE TABLE unrelated (a INTEGER)")
    stored(warehouse, column, ["2024-01-01"])
    days = [*MIDNIGHTS.get(zone, ANY), date(2024, 7, 1)]
    rows = pa.table({"id": pa.array(range(len(days)), pa.int64()), "applied_at": days, "signed_at": days,
                     "income": [2.0] * len(days)})  # fmt: skip
    known = pa.table({"id": rows["id"], "known_at": days, "bad": pa.array([1] * len(days), pa.int8())})
    warehouse.write(book("UTC"), rows, known)
    # Written again it is what it was.
    report = warehouse.write(book("UTC"), rows, known)
    assert (report.applications.unchanged, report.outcomes.unchanged) == (len(days), len(days))
    every_day_has_its_rows(warehouse, book("UTC"), days)


@pytest.mark.parametrize("kind", ["duckdb", "postgresql"])
def test_a_zone_that_the_warehouse_does_not_know_is_named(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = warehouse_url(kind, tmp_path, request)
    execute(open_warehouse(url), "CREATE TABLE unrelated (a INTEGER)")
    stored(open_warehouse(url), "TIMESTAMP", ["2024-03-01"])
    unknown = book().model_copy(update={"timezone": "Europe/Newtown"})
    for read in (
        lambda: open_warehouse(url, "Europe/Newtown").date_range(book()),
        lambda: open_warehouse(url).date_range(unknown),
        lambda: open_warehouse(url).read_applications(unknown, *ANY, *ANY).read_all(),
    ):
        with pytest.raises(PermanentError, match=r"Europe/Newtown.*give CREDIT_TIMEZONE, or `timezone` of the"):
            read()
