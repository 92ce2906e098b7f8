"""What every daily report needs: tables and records by day, spans of days, and what became of the loans of a day.

Belongs here: nothing of a particular report, and no store: whoever asks for a report hands in how days are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.cohorts import Known, LoansOn
    from credit_assets.ml.data.portfolio import Portfolio

DAY = timedelta(1)


class DailyTables(Protocol):
    """The tables and records of a pipeline by asset and day, wherever they are kept."""

    def table(self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of these days, in the order of the days; of the columns only some, where they are named. Raises
        naming days that are not there.
        """
        ...

    def columns(self, asset: str, days: Sequence[date]) -> Mapping[date, Mapping[str, bool]]:
        """The columns that the table of each of these days has, and whether they are texts, without a read of it; no
        entry where the day is missing.
        """
        ...

    def counts(self, asset: str, days: Sequence[date]) -> Mapping[date, int | None]:
        """How many rows each of these days has; None where the day is missing or damaged."""
        ...

    def record(self, asset: str, day: date) -> dict[str, Any] | None:
        """The record of a day, None where there is none."""
        ...


class Counts:
    """Rows of the days of one asset, each counted once."""

    def __init__(self, tables: DailyTables, asset: str) -> None:
        self._tables, self._asset = tables, asset
        self._known: dict[date, int | None] = {}

    def of(self, days: Sequence[date]) -> list[int | None]:
        """The count of each of the days; None where it is missing or damaged."""
        new = [day for day in days if day not in self._known]
        if new:
            self._known.update(self._tables.counts(self._asset, new))
        return [self._known[day] for day in days]


class RowsByDay:
    """Rows in the order of their days, of which any span of days is a slice."""

    def __init__(self, frame: pd.DataFrame, date_column: str) -> None:
        self.frame = frame
        self.days = days_of(frame, date_column)

    def between(self, first: date, last: date) -> pd.DataFrame:
        """The rows of first .. last."""
        begin = np.searchsorted(self.days, np.datetime64(first), "left")
        return self.frame.iloc[begin : np.searchsorted(self.days, np.datetime64(last), "right")]


def days_of(frame: pd.DataFrame, date_column: str) -> NDArray[np.datetime64]:
    """The day of each row."""
    return frame[date_column].to_numpy().astype("datetime64[D]")


def days_between(first: date, last: date) -> list[date]:
    """first .. last, none where last is earlier."""
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def known_in(tables: DailyTables, days: Sequence[date], portfolio: Portfolio) -> Known:
    """Outcomes, and decisions where the portfolio has them, that became known on these days."""
    from credit_assets.ml.data.cohorts import Known

    decisions = tables.table("loan_decisions", days) if portfolio.decisions else None
    return Known(tables.table("loan_outcomes", days), decisions)


class ScoredLoans:
    """What became of scored applications, as it was known on any of some days.

    Parameters
    ----------
    scores
        A frame with id and date of each.
    known
        What became known up to `last`.
    last
        The last of the days.
    window_days, portfolio
        As of `Loans`.
    """

    def __init__(self, scores: pd.DataFrame, known: Known, last: date, window_days: int, portfolio: Portfolio) -> None:
        from credit_assets.ml.data.cohorts import Loans

        self._loans = Loans(scores, known, window_days, portfolio)
        self._on_the_last = self._loans.on(last) if self._loans.final else None

    def on(self, day: date) -> LoansOn:
        """What was known by the end of a day; where it can be told from what was known on the last day, from that: of
        a table with one outcome a loan, known on its day, a target is the same from the day on which its window closed.
        """
        from credit_assets.ml.data.cohorts import LoansOn

        whole = self._on_the_last
        if whole is None:
            return self._loans.on(day)
        return LoansOn(whole.starts, whole.booked, self._loans.mature(whole.starts, day), whole.classes)


def with_target(
    scored: RowsByDay, loans: LoansOn | None, windows: tuple[date, date], portfolio: Portfolio
) -> pd.DataFrame:
    """The rows whose performance window starts from the first to the last of `windows` and that have a target, as
    `default`: of everyone where everyone was lent to, else of those who were.
    """
    first, last = windows
    rows = scored.between(first - timedelta(portfolio.booking_days), last)
    if loans is None:
        return rows.assign(default=float("nan")).iloc[:0]
    target, starts = loans.targets[rows.index], loans.starts[rows.index].astype("datetime64[D]")
    inside = (starts >= np.datetime64(first)) & (starts <= np.datetime64(last)) & ~np.isnan(target)
    return rows.assign(default=target)[inside]


def number(value: float | None, form: str) -> str:
    """A number in a table, empty where there is none."""
    return "" if value is None else format(value, form)
