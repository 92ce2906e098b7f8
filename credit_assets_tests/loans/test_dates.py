"""Days and months as files write them, and the one order of a file."""

from __future__ import annotations

from datetime import date, datetime

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.dates import Order, day_of, days, moments, month_of, order_of


@pytest.mark.parametrize(
    "text",
    ["Dec-2011", "dec-11", "11-Dec", "2011-12-01", "2011-12", "2011-12-01 00:00:00", "12/1/2011", "12/2011", "1-Dec-11",
     "December 2011", "31.12.2011", "2011/12/31", "12/1/2011 0:00", "Dec 1, 2011"],
)  # fmt: skip
def test_month_forms(text: str) -> None:
    assert month_of(text) == 2011 * 12 + 11


@pytest.mark.parametrize("text", ["", "2011", "Dez-2011", "2011-13-01", "13/1/2011", "soon", "1.13.2011"])
def test_no_months(text: str) -> None:
    assert month_of(text) is None


@pytest.mark.parametrize(
    ("text", "order", "day"),
    [
        ("1/2/2015", "day-first", date(2015, 2, 1)),
        ("1/2/2015", "month-first", date(2015, 1, 2)),
        ("01-02-2015", "day-first", date(2015, 2, 1)),
        ("31.12.2015", "", date(2015, 12, 31)),
        ("31-Dec-2015", "", date(2015, 12, 31)),
        ("Dec 31, 2015", "", date(2015, 12, 31)),
        ("31/12/2015 10:00", "day-first", date(2015, 12, 31)),
        ("30/2/2015", "day-first", None),
        ("Dec-2015", "", None),
        ("42369", "", None),
    ],
)
def test_days(text: str, order: Order, day: date | None) -> None:
    assert day_of(text, order) == day


def order(*texts: str, told: Order = "", monthly: bool = False) -> Order:
    return order_of([pa.chunked_array([list(texts)])], told, "book.csv", monthly=monthly)


def test_one_value_that_tells_decides_for_the_file() -> None:
    assert order("1/2/2015", "31/1/2015") == "day-first"
    assert order("1/2/2015", "1/31/2015") == "month-first"
    both = [pa.chunked_array([["1/2/2015"]]), pa.chunked_array([["13/2/2015", None]])]
    assert order_of(both, "", "book.csv") == "day-first"
    assert order("1/2/2015", told="month-first") == "month-first"
    assert order("2015-01-02", "3/3/2015") == ""


def test_first_days_of_months_tell() -> None:
    assert order("1/12/2011", "1/11/2011", monthly=True) == "day-first"
    assert order("12/1/2011", "11/1/2011", monthly=True) == "month-first"


def test_days_that_can_be_read_in_two_ways_are_refused() -> None:
    with pytest.raises(
        PermanentError, match=r"book\.csv: its days can be read as .* \(2 different ones\): give --dates"
    ):
        order("1/2/2015", "3/4/2015")
    with pytest.raises(PermanentError, match="written in both orders"):
        order("1/31/2015", "31/1/2015")


def test_columns_of_days_whatever_their_type() -> None:
    texts = pa.chunked_array([["2015-01-02", "31/1/2015", None, "someday", "2015-01-02"]])
    values, unreadable = days(texts, "day-first")
    assert values.to_pylist() == [date(2015, 1, 2), date(2015, 1, 31), None, None, date(2015, 1, 2)]
    assert unreadable.tolist() == [False, False, False, True, False]
    times = pa.chunked_array([pa.array([datetime(2015, 1, 2, 23), None], pa.timestamp("us"))])
    assert days(times, "")[0].to_pylist() == [date(2015, 1, 2), None]
    values, unreadable = days(pa.chunked_array([[42_369]]), "")
    assert unreadable.tolist() == [True]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-31", datetime(2024, 1, 31)),
        ("2024-01-31 09:05", datetime(2024, 1, 31, 9, 5)),
        ("2024-01-31T09:05:06.1234567", datetime(2024, 1, 31, 9, 5, 6, 123456)),
        ("2024-01-31T23:30:00Z", datetime(2024, 2, 1, 0, 30)),
        ("2024-07-31T23:30:00 UTC", datetime(2024, 8, 1, 1, 30)),
        ("2024-01-31 23:30:00-05:30", datetime(2024, 2, 1, 6, 0)),
        ("31.01.2024 16:40", datetime(2024, 1, 31, 16, 40)),
        ("1/2/2024 4:40 PM", datetime(2024, 2, 1, 16, 40)),
        ("31-JAN-24 12.10.00.000000 AM", datetime(2024, 1, 31, 0, 10)),
        ("Jan 31, 2024 10:00", datetime(2024, 1, 31, 10)),
        ("2024-01-31 lunch", None),
        ("2024-01-31 25:00", None),
        ("2024-01-31 13:00 PM", None),
        ("2024-01-31 10:00 +99:00", None),
        ("2024-01-31T10", None),
        ("2024-02-30 10:00", None),
        ("1706691600", None),
    ],
)
def test_moments(text: str, moment: datetime | None) -> None:
    column = pa.chunked_array([["2024-01-01 00:00:01", text, None]])
    values, unreadable, said = moments(column, "day-first", "Europe/Berlin")
    assert values.to_pylist() == [datetime(2024, 1, 1, 0, 0, 1), moment, None]
    assert unreadable.tolist() == [False, moment is None, False]
    assert said.startswith("moments")


def test_moments_of_typed_columns_and_of_days_alone() -> None:
    clock = "Asia/Tokyo"
    day, noon = datetime(2024, 1, 31), datetime(2024, 1, 31, 12)
    instants = pa.chunked_array([pa.array([noon, None], pa.timestamp("ns", "UTC"))])
    values, _, said = moments(instants, "", clock)
    assert (values.to_pylist(), said) == ([datetime(2024, 1, 31, 21), None], "moments, by the clock of Asia/Tokyo")
    assert moments(pa.chunked_array([pa.array([noon], pa.timestamp("s"))]), "", clock)[0].to_pylist() == [noon]
    for column in (
        pa.chunked_array([pa.array([day], pa.timestamp("ns"))]),
        pa.chunked_array([["2024-01-31 00:00:00"]]),
        pa.chunked_array([pa.array([day.date()])]),
    ):
        values, unreadable, said = moments(column, "", clock)
        assert (values.to_pylist(), unreadable.tolist(), said) == ([day.date()], [False], "")
    assert moments(pa.chunked_array([[19_753]]), "", clock)[1].tolist() == [True]
