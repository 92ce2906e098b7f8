"""Which day an instant belongs to, on values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.instants import read_days
from credit_assets.ml.data.values import read
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.warehouses import ZONES

INSTANTS = st.datetimes(datetime(1980, 1, 1), datetime(2037, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))


@fuzz(100)
@given(st.lists(INSTANTS, min_size=1), st.sampled_from(ZONES), st.sampled_from(ZONES))
def test_an_instant_is_of_the_day_on_the_wall_however_it_is_given(
    instants: list[datetime], zone: str, written_in: str
) -> None:
    days = [instant.astimezone(ZoneInfo(zone)).date() for instant in instants]
    abroad = [instant.astimezone(ZoneInfo(written_in)) for instant in instants]
    for form in (
        pa.array(instants, pa.timestamp("us", "UTC")),
        pa.array(instants, pa.timestamp("ns", written_in)),
        pd.Series(abroad, dtype=object),
        abroad,
        [instant.isoformat() for instant in abroad],
        [f" {instant.isoformat(' ')} " for instant in abroad],
        [instant.astimezone(UTC).isoformat().replace("+00:00", "Z") for instant in instants],
    ):
        reading = read_days(form, zone, written_in)
        assert reading.values.to_pylist() == days
        assert reading.misfits is None


@fuzz(100)
@given(st.lists(INSTANTS, min_size=1), st.sampled_from(ZONES), st.sampled_from(ZONES))
def test_a_time_without_a_zone_is_read_off_the_clock_of_its_zone(
    instants: list[datetime], zone: str, naive: str
) -> None:
    there = [instant.astimezone(ZoneInfo(naive)) for instant in instants]
    # What the clock shows twice, or never, is not one instant: the tests of warehouses hold these against PostgreSQL.
    there = [time for time in there if time.replace(fold=0).utcoffset() == time.replace(fold=1).utcoffset()]
    days = [time.astimezone(ZoneInfo(zone)).date() for time in there]
    shown = [time.replace(tzinfo=None) for time in there]
    for form in (pa.array(shown, pa.timestamp("us")), [time.isoformat() for time in shown]):
        assert read_days(form, zone, naive).values.to_pylist() == days
        own = [time.date() for time in shown]
        assert read_days(form, naive, naive).values.to_pylist() == own
        assert read_days(form, naive).values.to_pylist() == own


@fuzz(100)
@given(st.lists(st.dates(), min_size=1), st.sampled_from(ZONES))
def test_a_date_is_that_day_in_any_zone(days: list[date], zone: str) -> None:
    for form in (pa.array(days), [day.isoformat() for day in days], days):
        assert read_days(form, zone, "UTC").values.to_pylist() == days


def test_what_is_no_day_is_what_it_is_elsewhere() -> None:
    mixed = ["2024-03-01T23:30:00Z", "", "  ", None, "soon", "28.02.2024", "2024-02-30T00:00:00Z"]
    reading = read_days(mixed, "Asia/Tokyo")
    assert reading.values.to_pylist() == [date(2024, 3, 2), *[None] * 6]
    assert reading.misfits is not None
    assert reading.misfits.tolist() == [False, False, False, False, True, True, True]
    for given_as in ([20240301, None], [[1], None], ["soon"], [True]):
        assert read_days(given_as, "Asia/Tokyo").misfit_count == read(given_as, pa.date32()).misfit_count == 1


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_ends_of_the_calendar_are_days_or_missing(zone: str) -> None:
    ends = pa.array([datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)], pa.timestamp("us", "UTC"))
    days = read_days(ends, zone).values.to_pylist()
    assert all(day is None or abs(day.year - end) < 2 for day, end in zip(days, (1, 9999), strict=True))


def test_samoa_has_no_30_december_2011() -> None:
    instants = [datetime(2011, 12, 29, tzinfo=UTC) + timedelta(hours=n) for n in range(72)]
    days = read_days(pa.array(instants, pa.timestamp("us", "UTC")), "Pacific/Apia").values.to_pylist()
    assert set(days) == {date(2011, 12, 28), date(2011, 12, 29), date(2011, 12, 31), date(2012, 1, 1)}
