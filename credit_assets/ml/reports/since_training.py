"""The loans that matured since the champion was trained, as it scores them: what it has not seen, before its own
decisions have matured.

Belongs here: which loans these are on a day, their PDs by the champion of the day, and what became of them. Does not
belong here: the measures (`credit_assets.ml.evidence.performance`) and what follows from them.

A champion's own decisions mature a performance window after it came into force. Its successor is in force by then, and
whoever waits for them never judges a model that decides. The loans that matured since it was trained are as new to it,
and are there after a month.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.failures import PermanentError, error_text
from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.data.schemas import features_schema
from credit_assets.ml.evidence.performance import Realised, realised
from credit_assets.ml.reports.daily import DAY, DailyTables, RowsByDay, ScoredLoans, days_between, with_target
from credit_assets.ml.rules.periods import period_on

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.data.cohorts import Known
    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.reports.in_force import Champions, Cohorts

_FEATURES = "processed_features"
MOST_ROWS = 20_000
"""Loans of a cohort that are scored: a million would show no more of a change that matters."""
_AT_ONCE = 30
"""Days read at once."""


class SinceTraining:
    """What the champion of each of some days says of the loans that matured since it was trained.

    Parameters
    ----------
    days
        Consecutive days, oldest first.
    champions
        Who was champion when; its `score` is asked for the PDs.
    tables, cohorts, portfolio
        As of `performance.performance_reports`.

    Raises
    ------
    PermanentError
        As `tables` does.
    """

    def __init__(
        self,
        days: Sequence[date],
        champions: Champions,
        tables: DailyTables,
        cohorts: Cohorts,
        portfolio: Portfolio,
    ) -> None:
        self._cohorts, self._portfolio = cohorts, portfolio
        self._spans: dict[date, tuple[str, date, date]] = {}
        for day in days:
            if champion := period_on(day, champions.history):
                first, last = cohorts.matured(day)
                trained_to = champions.models[champion.version].as_of - timedelta(cohorts.window_days)
                self._spans[day] = champion.version, max(first, trained_to + DAY), last
        self._reaches = {version: reach for version in self._versions if (reach := self._reach(version))}
        self._rows: dict[str, RowsByDay | str] = self._scored(champions, tables) if champions.score else {}
        self._loans: dict[str, ScoredLoans] = {}

    @property
    def _versions(self) -> set[str]:
        return {version for version, _, _ in self._spans.values()}

    @property
    def first(self) -> date | None:
        """The first day from which outcomes have to be known; None where none is asked for."""
        days = [rows.days[0].item() for rows in self._rows.values() if not isinstance(rows, str) and len(rows.days)]
        return min(days, default=None)

    def learn(self, known: Known, last: date) -> None:
        """Take what became known of them up to `last`."""
        for version, rows in self._rows.items():
            if not isinstance(rows, str) and len(rows.days):
                window, portfolio = self._cohorts.window_days, self._portfolio
                self._loans[version] = ScoredLoans(rows.frame, known, last, window, portfolio)

    def on(self, day: date, min_bads: int) -> dict[str, Any] | None:
        """The record of a day, that of `Realised` with the first and last application date; None without a champion."""
        if day not in self._spans:
            return None
        version, first, last = self._spans[day]
        rows = self._rows.get(version)
        if last < first or rows is None:
            return _nothing("no loan has matured since the champion was trained")
        if isinstance(rows, str):
            return _nothing(f"version {version} cannot score them: {rows}")
        found = self._with_target(rows, day, (first, last)) if version in self._loans else None
        if found is None:
            return _nothing("no application has come")
        once = found.drop_duplicates(self._portfolio.id_column)
        measured = realised(once["default"], once["pd"], groups_of(once, self._portfolio), min_bads=min_bads)
        return {"from": first.isoformat(), "to": last.isoformat(), **measured.to_record()}

    def _with_target(self, rows: RowsByDay, day: date, window: tuple[date, date]) -> pd.DataFrame:
        loans = self._loans[self._spans[day][0]].on(day)
        return with_target(rows, loans, window, self._portfolio)

    def _reach(self, version: str) -> tuple[date, date] | None:
        """First and last application date that days of this champion look at; None where none looks at any."""
        spans = [(first, last) for one, first, last in self._spans.values() if one == version and first <= last]
        if not spans:
            return None
        first = min(first for first, _ in spans) - timedelta(self._portfolio.booking_days)
        return max(self._cohorts.first_day, first), max(last for _, last in spans)

    def _scored(self, champions: Champions, tables: DailyTables) -> dict[str, RowsByDay | str]:
        """By version id, date, customer and PD of the applications within its reach; why there are none where it cannot
        score them. Each day is read once, whatever versions look at it.
        """
        import pandas as pd
        import pyarrow as pa

        portfolio, wrong = self._portfolio, dict[str, str]()
        keys = (portfolio.id_column, portfolio.date_column, portfolio.customer_column)
        names = [name for name in keys if name is not None]
        nothing = features_schema(portfolio).empty_table().select(names).to_pandas(date_as_object=False)
        pieces = {version: [nothing.assign(pd=np.array([], dtype=np.float64))] for version in self._reaches}
        for piece in self._pieces(tables):
            dates = piece[portfolio.date_column].to_numpy().astype("datetime64[D]")
            for version, (first, last) in self._reaches.items():
                inside = (dates >= np.datetime64(first)) & (dates <= np.datetime64(last))
                if version in wrong or not inside.any():
                    continue
                rows = piece if inside.all() else piece.filter(pa.array(inside))
                try:
                    assert champions.score is not None
                    found = champions.score(version, rows)
                except (ValueError, PermanentError) as error:
                    wrong[version] = error_text(error)
                    continue
                scored = rows.select(names).to_pandas(date_as_object=False).assign(pd=found)
                # Those that the version refuses for a value that is missing have no PD to be held against anything.
                pieces[version].append(scored.dropna(subset=["pd"]))
        frames = {version: pd.concat(some[1:] or some, ignore_index=True) for version, some in pieces.items()}
        return {v: wrong.get(v) or RowsByDay(frame, portfolio.date_column) for v, frame in frames.items()}

    def _pieces(self, tables: DailyTables) -> Iterator[pa.Table]:
        """The features of the days in order, of each day at most so many, evenly taken."""
        most = -(-MOST_ROWS // self._cohorts.cohort_days)
        days = sorted({day for reach in self._reaches.values() for day in days_between(*reach)})
        for begin in range(0, len(days), _AT_ONCE):
            table = tables.table(_FEATURES, days[begin : begin + _AT_ONCE])
            _, counts = np.unique(table[self._portfolio.date_column].to_numpy(), return_counts=True)
            if not len(counts):
                continue
            taken = [
                np.linspace(end - count, end - 1, min(count, most)).astype(np.int64)
                for end, count in zip(np.cumsum(counts), counts, strict=True)
            ]
            rows = np.concatenate(taken)
            yield table if len(rows) == table.num_rows else table.take(rows)


def _nothing(why: str) -> dict[str, Any]:
    return {"from": None, "to": None, **asdict(Realised(0, 0, None, None, why))}


def shown(record: Mapping[str, Any]) -> str | None:
    """One line on it for people; None where a record has nothing of it."""
    since = record.get("since_training")
    if not since:
        return None
    ratio = since["observed_over_expected"]
    if not ratio:
        return f"nothing yet: {since['why']}"
    auc = f"AUC {since['evaluation']['auc']:.3f}, " if since["evaluation"] else ""
    return (
        f"{auc}{ratio['value']:.2f} times the expected bads ({ratio['low']:.2f} .. {ratio['high']:.2f}), "
        f"{since['bads']} bads among {since['rows']} loans of {since['from']} .. {since['to']}"
    )
