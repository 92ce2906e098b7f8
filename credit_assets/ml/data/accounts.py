"""The account of a warehouse table: every row of it by what became of it.

Belongs here: the sums, by name, and that they come out. Does not belong here: counting in a warehouse or a store
(`credit_assets.warehouse`, `credit_assets.storage`), and the verdict (`ml.rules.account_gates`).

    rows + gone = ingested + quarantined + arrived + not_ingested + open + future + before_start
                  + missing + unreadable + implausible
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

# Days that systems write for "none": 0 in the count of days since 1970, 1900 in a spreadsheet.
_NO_DAY_UP_TO = date(1970, 1, 1)
_YEARS_AHEAD = timedelta(days=3653)


@dataclass(frozen=True)
class DayCounts:
    """Rows of a table by the day whose query finds them, and how many no day's query finds, by the reason.

    `missing`: null or blank; `unreadable`: text that is no day of the form 2024-03-01; `implausible`: infinite, or
    further back or ahead than any day of a loan book.
    """

    days: Mapping[date, int]
    missing: int = 0
    unreadable: int = 0
    implausible: int = 0

    @property
    def rows(self) -> int:
        return sum(self.days.values()) + self.missing + self.unreadable + self.implausible


@dataclass(frozen=True)
class Account:
    """What became of the rows of a table.

    `ingested` and `quarantined` lie in the store. `arrived`, by day: rows that the warehouse has more than the store on
    days that were ingested. `gone`, by day: rows that the store has more. `not_ingested`: rows of closed days without a
    partition. `open`: rows of today. `future`: of later days. `before_start`: of days before the first partition. The
    rest as in `DayCounts`.
    """

    table: str
    day_column: str
    rows: int
    ingested: int = 0
    quarantined: int = 0
    arrived: Mapping[date, int] = field(default_factory=dict)
    gone: Mapping[date, int] = field(default_factory=dict)
    not_ingested: int = 0
    open: int = 0
    future: int = 0
    before_start: int = 0
    missing: int = 0
    unreadable: int = 0
    implausible: int = 0

    def __post_init__(self) -> None:
        known = sum(getattr(self, name) for name in _COUNTS) + sum(self.arrived.values())
        if known != self.rows + sum(self.gone.values()):
            raise AssertionError(f"{self.table}: {known} rows are accounted for, {self.rows} are there")

    @property
    def undated(self) -> int:
        """Rows that no day's query will ever find."""
        return self.missing + self.unreadable + self.implausible

    def to_record(self) -> dict[str, Any]:
        """As JSON types: every part of the sum, and the days on which warehouse and store differ."""
        differing = sorted({*self.arrived, *self.gone})
        return {
            "table": self.table,
            "rows": self.rows,
            **{name: getattr(self, name) for name in _COUNTS},
            "arrived": sum(self.arrived.values()),
            "gone": sum(self.gone.values()),
            "restated_days": len(differing),
            "first_restated": differing[0].isoformat() if differing else None,
            "last_restated": differing[-1].isoformat() if differing else None,
        }

    def line(self) -> str:
        """The sum in words: "outs: 5,901 rows = 5,281 ingested + 620 without a date"."""
        parts = [f"{getattr(self, name):,} {words}" for name, words in _COUNTS.items() if getattr(self, name)]
        if self.arrived:
            parts.append(f"{sum(self.arrived.values()):,} {ARRIVED} ({_days(self.arrived)})")
        if self.gone:
            parts.append(f"less {sum(self.gone.values()):,} {GONE} ({_days(self.gone)})")
        return f"{self.table}: {self.rows:,} rows = {' + '.join(parts).replace('+ less', '-') or 'nothing'}"


_COUNTS = {
    "ingested": "ingested",
    "quarantined": "quarantined",
    "before_start": "before the first partition",
    "not_ingested": "of closed days not ingested yet",
    "open": "of the day that is not over",
    "future": "of days to come",
    "missing": "without a date",
    "unreadable": "with a date that cannot be read",
    "implausible": "with a date that no loan book has",
}
ARRIVED = "arrived after their day was ingested"
GONE = "ingested and no longer in the warehouse"


def plausible_days(start: date, today: date) -> tuple[date, date]:
    """First and last day that a row of a book beginning on `start` may have; a system's "no day" is not among them."""
    return min(start, _NO_DAY_UP_TO + timedelta(days=1)), today + _YEARS_AHEAD


def account(
    table: str,
    day_column: str,
    counted: DayCounts,
    stored: Mapping[date, tuple[int, int]],
    *,
    start: date,
    today: date,
) -> Account:
    """Hold a table's rows against what was ingested of it.

    Parameters
    ----------
    table, day_column
        Its names, for messages.
    counted
        Its rows as the warehouse counts them.
    stored
        Rows ingested and quarantined, by day, of every day that was ingested.
    start, today
        The first partition, and the day that is not over.

    Examples
    --------
    >>> first = date(2024, 1, 1)
    >>> counted = DayCounts({first: 9, date(2024, 1, 2): 5}, missing=3)
    >>> one = account("outs", "known_on", counted, {first: (7, 2)}, start=first, today=date(2024, 2, 1))
    >>> one.line()
    'outs: 17 rows = 7 ingested + 2 quarantined + 5 of closed days not ingested yet + 3 without a date'
    """
    sums = dict.fromkeys(("ingested", "quarantined", "not_ingested", "open", "future", "before_start"), 0)
    arrived, gone = {}, {}
    for day in sorted({*counted.days, *stored}):
        there = counted.days.get(day, 0)
        if day in stored:
            ingested, quarantined = stored[day]
            sums["ingested"] += ingested
            sums["quarantined"] += quarantined
            more = there - ingested - quarantined
            if more > 0:
                arrived[day] = more
            elif more < 0:
                gone[day] = -more
        elif day < start:
            sums["before_start"] += there
        else:
            sums["not_ingested" if day < today else "open" if day == today else "future"] += there
    outside = {name: getattr(counted, name) for name in ("missing", "unreadable", "implausible")}
    return Account(table, day_column, counted.rows, arrived=arrived, gone=gone, **sums, **outside)


def _days(differing: Mapping[date, int]) -> str:
    first, last = min(differing), max(differing)
    return f"{first}" if first == last else f"{len(differing)} days, {first} .. {last}"
