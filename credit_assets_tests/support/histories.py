"""A portfolio with histories, tables of them in a warehouse of each kind, and what each aggregate is by the plainest
reading of its definition: one applicant at a time, in plain Python, with fractions.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import Warehouse
from credit_assets_tests.support.warehouses import execute, kind_of

DAY = date(2024, 3, 31)
Moment = date | datetime
Record = Mapping[str, Any]

DERIVED: list[dict[str, Any]] = [
    {"name": "late_count", "aggregate": "count", "where": {"dpd": ">= 30"}, "window_days": 60},
    {"name": "late_count_ever", "aggregate": "count", "where": {"dpd": ">= 30 and < 90"}, "default": -1},
    {"name": "rows_all", "aggregate": "count"},
    {"name": "paid_sum", "aggregate": "sum", "column": "paid", "window_days": 90},
    {"name": "paid_sum_open", "aggregate": "sum", "column": "paid", "where": {"status": "open"}, "default": -5},
    {"name": "paid_mean", "aggregate": "mean", "column": "paid", "window_days": 90, "default": 0},
    {"name": "paid_mean_other", "aggregate": "mean", "column": "paid", "where": {"status": "!= open"}},
    {"name": "paid_min", "aggregate": "min", "column": "paid"},
    {"name": "paid_max", "aggregate": "max", "column": "paid", "where": {"status": ["open", "late"]}},
    {"name": "dpd_last", "aggregate": "last", "column": "dpd", "max_age_days": 45, "default": 0},
    {"name": "paid_last", "aggregate": "last", "column": "paid", "where": {"closed": False}},
    {"name": "late_share", "aggregate": "share", "where": {"dpd": [30, 60, 90]}, "window_days": 90},
    {"name": "closed_share", "aggregate": "share", "where": {"closed": True, "paid": "> 0"}},
    {"name": "since_late", "aggregate": "days_since_last", "where": {"dpd": "> 0"}},
    {"name": "since_any", "aggregate": "days_since_last", "max_age_days": 30, "default": 999},
    {"name": "paid_change", "aggregate": "change", "column": "paid", "window_days": 30},
]


def portfolio_of(*, known: bool = True, timezone: str | None = None) -> Portfolio:
    return Portfolio.model_validate(
        {
            "name": "with_histories",
            "timezone": timezone,
            "applications_table": "applications",
            "columns": [
                {"name": "id", "type": "string", "role": "id", "nullable": False},
                {"name": "day", "type": "date", "role": "date", "nullable": False},
                {"name": "customer", "type": "string", "role": "ignored"},
                {"name": "amount", "type": "float"},
            ],
            "histories": [
                {
                    "name": "months",
                    "table": "account_months",
                    "key": "holder",
                    "application_key": "customer",
                    "date": "month_end",
                    **({"known": "loaded_at"} if known else {}),
                    "columns": [
                        {"name": "dpd", "type": "integer"},
                        {"name": "paid", "type": "float"},
                        {"name": "status", "type": "category"},
                        {"name": "closed", "type": "boolean"},
                    ],
                }
            ],
            "derived": [{"history": "months", **one} for one in DERIVED],
        }
    )


def made_up(seed: int, moment: Callable[[random.Random, date], Moment | None]) -> tuple[list[Record], list[Record]]:
    """Applications of five days and rows of their customers: repeated customers, customers without rows, rows of the
    day itself, late and undated ones, duplicates, ties, missing and infinite values.
    """
    chance = random.Random(seed)
    applications: list[Record] = [
        {
            "id": f"A{n:03d}",
            "day": moment(chance, DAY - timedelta(days=n % 5)),
            "customer": f"C{chance.randrange(30):02d}",
        }
        for n in range(40)
    ]
    applications.append({"id": "A900", "day": moment(chance, DAY), "customer": None})
    rows: list[Record] = []
    for _ in range(700):
        on = DAY - timedelta(days=chance.choice([0, 1, 2, *range(3, 130)]))
        late = timedelta(days=chance.choice([0, 0, 1, 2, 5, 40]))
        rows.append(
            {
                "holder": f"C{chance.randrange(25):02d}",
                "month_end": None if chance.random() < 0.02 else moment(chance, on),
                "loaded_at": None if chance.random() < 0.02 else moment(chance, on + late),
                "dpd": chance.choice([None, 0, 0, 0, 15, 30, 60, 90, 120]),
                "paid": chance.choice(
                    [None, 0.0, -0.0, 0.1, 0.2, 0.3, 1e-6, 123456.78, -99.99, math.inf, 999_999_999.99, 5e14, 1e15]
                ),
                "status": chance.choice([None, "", "open", "late", "closed"]),
                "closed": chance.choice([None, True, False]),
            }
        )
    rows += chance.sample(rows, 40)
    return applications, rows


def days_only(chance: random.Random, day: date) -> Moment:
    return day


def naive_moments(chance: random.Random, day: date) -> Moment:
    """A time of the day, on the hour so that ties come up; midnight and the last second too."""
    return datetime(day.year, day.month, day.day) + chance.choice(
        [timedelta(0), timedelta(hours=5), timedelta(hours=12), timedelta(hours=23, minutes=59, seconds=59)]
    )


def instants(chance: random.Random, day: date) -> Moment:
    moment = naive_moments(chance, day)
    assert isinstance(moment, datetime)
    return moment.replace(tzinfo=UTC)


_TYPES = {
    "duckdb": ("VARCHAR", "DOUBLE", {"days": "DATE", "naive": "TIMESTAMP", "instants": "TIMESTAMPTZ"}),
    "sqlite": ("TEXT", "REAL", {"days": "DATE", "naive": "DATETIME", "instants": "TEXT"}),
    "postgresql": ("TEXT", "DOUBLE PRECISION", {"days": "DATE", "naive": "TIMESTAMP", "instants": "TIMESTAMPTZ"}),
}


def fill(warehouse: Warehouse, applications: Sequence[Record], rows: Sequence[Record], moments: str) -> None:
    """The two tables, with days and moments stored as "days", "naive" or "instants"."""
    kind = kind_of(warehouse)
    text, number, dated = _TYPES[kind]
    day = dated[moments]
    execute(
        warehouse,
        f"CREATE TABLE applications (id {text}, day {day}, customer {text}, amount {number})",
        f"CREATE TABLE account_months (holder {text}, month_end {day}, loaded_at {day}, dpd INTEGER, paid {number}, "
        f"status {text}, closed BOOLEAN)",
        *_inserts("applications", [{**one, "amount": 1.0} for one in applications]),
        *_inserts("account_months", rows, infinite="9e999" if kind == "sqlite" else "'Infinity'"),
    )


def _inserts(table: str, records: Sequence[Record], infinite: str = "") -> list[str]:
    """One statement, since each costs as much as many rows; none without rows."""
    rows = (f"({', '.join(_literal(value, infinite) for value in record.values())})" for record in records)
    return [f"INSERT INTO {table} VALUES {', '.join(rows)}"] if records else []


def _literal(value: Any, infinite: str) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return infinite if math.isinf(value) else repr(value)
    return f"'{value}'" if isinstance(value, str | date) else str(value)


# The plainest reading


def reference(portfolio: Portfolio, application: Record, rows: Sequence[Record], zone: str) -> dict[str, float | None]:
    """Every feature of one applicant."""

    def day_of(moment: Moment | None) -> date | None:
        if not isinstance(moment, datetime):
            return moment
        if moment.tzinfo is None and portfolio.timezone not in (None, zone):
            moment = moment.replace(tzinfo=ZoneInfo(portfolio.timezone))
        return moment.date() if moment.tzinfo is None else moment.astimezone(ZoneInfo(zone)).date()

    history, day = portfolio.histories[0], day_of(application["day"])
    assert day is not None
    counting = []
    for row in rows:
        on, known = day_of(row["month_end"]), day_of(row["loaded_at"])
        mine = row["holder"] == application["customer"] and application["customer"] is not None
        if mine and on is not None and on < day and (not history.known or (known is not None and known < day)):
            paid = row["paid"]
            usable = paid is not None and abs(paid) < 1e15
            counting.append({**row, "paid": paid if usable else None, "age": (day - on).days})
    return {one["name"]: _plainly(one, counting, bool(history.known)) for one in DERIVED}


_MEET: dict[str, Callable[[Record], bool]] = {
    "late_count": lambda row: row["dpd"] is not None and row["dpd"] >= 30,
    "late_count_ever": lambda row: row["dpd"] is not None and 30 <= row["dpd"] < 90,
    "paid_sum_open": lambda row: row["status"] == "open",
    "paid_mean_other": lambda row: row["status"] is not None and row["status"] != "open",
    "paid_max": lambda row: row["status"] in ("open", "late"),
    "paid_last": lambda row: row["closed"] is False,
    "late_share": lambda row: row["dpd"] in (30, 60, 90),
    "closed_share": lambda row: row["closed"] is True and row["paid"] is not None and row["paid"] > 0,
    "since_late": lambda row: row["dpd"] is not None and row["dpd"] > 0,
}


def _plainly(feature: Record, rows: Sequence[Record], known: bool) -> float | None:
    default, window = feature.get("default"), feature.get("window_days") or feature.get("max_age_days")
    meets = _MEET.get(feature["name"], lambda _: True)
    aggregate, column = feature["aggregate"], feature.get("column")

    def mean(values: Sequence[float]) -> Fraction | None:
        return sum(map(_exact, values), Fraction(0)) / len(values) if values else None

    def values(first: int, last: int | None) -> list[float]:
        return [
            row[column]
            for row in rows
            if row["age"] >= first and (last is None or row["age"] <= last) and meets(row) and row[column] is not None
        ]

    within = [row for row in rows if window is None or row["age"] <= window]
    met = [row for row in within if meets(row)]
    if aggregate in ("count", "sum"):
        if not rows:
            return float(default or 0)
        return float(len(met)) if aggregate == "count" else float(sum(map(_exact, values(1, window)), Fraction(0)))
    found: Any = None
    if aggregate == "share":
        found = Fraction(len(met), len(within)) if within else None
    elif aggregate == "days_since_last":
        found = min((row["age"] for row in met), default=None)
    elif aggregate == "mean":
        found = mean(values(1, window))
    elif aggregate in ("min", "max"):
        found = (min if aggregate == "min" else max)(values(1, window), default=None)
    elif aggregate == "last":
        last: Any = None
        for row in met:
            when = row["month_end"], row["loaded_at"] if known else row["month_end"], row[column]
            if row[column] is not None and (last is None or when > last):
                last = when
        found = None if last is None else last[2]
    else:
        now, before = mean(values(1, window)), mean(values(window + 1, 2 * window))
        found = None if now is None or before is None else now - before
    if found is None:
        return None if default is None else float(default)
    return float(found) + 0.0


def _exact(value: float) -> Fraction:
    """A value in whole millionths."""
    return Fraction(math.floor(value * 1e6 + 0.5), 1_000_000)
