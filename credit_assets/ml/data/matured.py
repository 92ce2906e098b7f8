"""Loans so old that something must have become of them, and those of them of which nothing did.

Belongs here: which loans are old enough, and counting those that never had an outcome. Does not belong here: reading a
warehouse, and the gate (`credit_assets.ml.rules.population_gates`).

Whoever was never lent to has no outcome, ever. So in a book whose goods have outcomes too, a share of old loans without
any is the share that was no loan. Old is a loan whose term and, after it, the performance window have passed: what is
paid back late is paid back by then. The term is that of a column of the portfolio; where there is none, the times are
told by the outcomes themselves: old is then twice the age by which 99 of 100 outcomes had come, since in a book that is
younger than that nothing says how long the others take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from credit_assets.ml.data.ids import normal_ids
from credit_assets.ml.data.portfolio import NUMERIC_TYPES, Portfolio

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.values import Values

    OutcomeBatch: TypeAlias = tuple[pa.ChunkedArray, NDArray[np.int64], NDArray[np.bool_]]

# Rows that are looked at, the newest of those that are old enough.
_MOST = 1_000_000
_DAYS_IN = {"day": 1.0, "week": 7.0, "month": 365.25 / 12, "quarter": 365.25 / 4, "year": 365.25}
_TERM_WORDS = ("term", "tenor", "maturity", "duration")
_EPOCH = date(1970, 1, 1)
# Of the ages at which outcomes came.
_NEARLY_ALL = 0.99


@dataclass(frozen=True)
class Matured:
    """Loans that are old enough, those of them that never had an outcome, and of the others goods and bads.

    `old`: in words, when a loan is old enough.
    """

    loans: int = 0
    without: int = 0
    goods: int = 0
    bads: int = 0
    old: str = ""

    @property
    def share(self) -> float:
        return self.without / self.loans if self.loans else 0.0


def term_column(portfolio: Portfolio) -> tuple[str, float] | None:
    """The column that has the term of a loan, and how many days its unit has; None where none is named so.

    >>> from credit_assets.ml.data.portfolio import load_portfolio
    >>> term_column(load_portfolio())
    ('term_months', 30.4375)
    """
    for column in portfolio.application_columns:
        unit, name = column.unit.lower().rstrip("s"), column.name.lower()
        if column.type in NUMERIC_TYPES and unit in _DAYS_IN and any(word in name for word in _TERM_WORDS):
            return column.name, _DAYS_IN[unit]
    return None


class OldLoans:
    """Applications that may be old enough on a day, gathered batch after batch in order of days.

    Parameters
    ----------
    portfolio, window_days, as_of
        Whose they are, the performance window, and the day.
    """

    def __init__(self, portfolio: Portfolio, window_days: int, as_of: date) -> None:
        self._portfolio, self._window_days = portfolio, window_days
        self._day = (as_of - _EPOCH).days
        self._term = term_column(portfolio)
        self._batches: list[pa.Table] = []
        self._rows = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a batch must have."""
        names = [self._portfolio.id_column, self._portfolio.date_column]
        return (*names, self._term[0]) if self._term else tuple(names)

    @property
    def term(self) -> str | None:
        """The column that has the term of a loan."""
        return self._term[0] if self._term else None

    def last_of(self, by_term: Mapping[Any, date], first: date, last: date) -> date:
        """The last day of `first` .. `last` on which an old loan may have been made, by the first day of loans of each
        term; the day before `first` where none is old.
        """
        import numpy as np

        terms, days = list(by_term), np.array([(day - _EPOCH).days for day in by_term.values()], dtype=np.int64)
        needs = self._needs_of(terms)
        old = needs[days + needs <= self._day]
        until = self._day - int(old.min()) if len(old) else (first - _EPOCH).days - 1
        return min(last, _EPOCH + timedelta(until))

    def add(self, rows: pa.Table) -> None:
        import numpy as np
        import pyarrow as pa

        key, day = self._portfolio.id_column, self._portfolio.date_column
        rows = rows.filter(rows[day].is_valid()).filter(rows[key].is_valid())
        days = pa.table({"day": rows[day].cast(pa.int32()).cast(pa.int64())})
        old = pa.array(np.asarray(days["day"].to_numpy() + self._needs(rows) <= self._day))
        # Most are young: ids are made normal of the old ones alone.
        kept = days.filter(old).add_column(0, "id", normal_ids(rows[key].filter(old)))
        if not self._term and self._rows >= _MOST:
            return
        self._batches.append(kept)
        self._rows += kept.num_rows
        while self._term and len(self._batches) > 1 and self._rows - self._batches[0].num_rows >= _MOST:
            self._rows -= self._batches.pop(0).num_rows

    def _needs(self, rows: pa.Table) -> NDArray[np.float64] | int:
        """How many days each loan needs to be old."""
        return self._window_days if self._term is None else self._needs_of(rows[self._term[0]])

    def _needs_of(self, terms: Values) -> NDArray[np.float64]:
        """How many days loans of such terms need to be old; a loan without a term never is."""
        import numpy as np

        from credit_assets.ml.data.values import numbers

        assert self._term is not None
        terms = numbers(terms) * self._term[1]
        return np.where(np.isfinite(terms), np.ceil(np.nan_to_num(terms)) + self._window_days, np.inf)

    def table(self) -> pa.Table:
        """What was gathered: `id` and `day` (since 1970)."""
        import pyarrow as pa

        empty = pa.table({"id": pa.array([], pa.string()), "day": pa.array([], pa.int64())})
        return pa.concat_tables(self._batches) if self._batches else empty

    def without_outcome(self, loans: pa.Table, outcomes: Iterable[OutcomeBatch]) -> Matured:
        """Of `loans`, rows of `table`, those that have none of the outcomes.

        `outcomes`: batches of ids, days since 1970, and whether each is a bad; those after the day are passed over.
        """
        import numpy as np
        import pyarrow.compute as pc

        ids = loans["id"].combine_chunks() if loans.num_rows else loans["id"]
        never = np.iinfo(np.int64).max
        first = np.full(loans.num_rows, never)
        bad = np.zeros(loans.num_rows, dtype=bool)
        for keys, days, bads in outcomes:
            if not loans.num_rows:
                break
            at = pc.fill_null(pc.index_in(normal_ids(keys), value_set=ids), -1).to_numpy()
            known = (at >= 0) & (days <= self._day)
            np.minimum.at(first, at[known], days[known])
            bad[at[known & bads]] = True
        day = loans["day"].to_numpy()
        had = first < never
        old, words = np.ones(loans.num_rows, dtype=bool), f"{self._window_days} days after the end of its term"
        if self._term is None:
            ages = np.sort((first - day)[had])
            usual = int(ages[int(_NEARLY_ALL * (len(ages) - 1))]) if len(ages) else never // 4
            old = day + 2 * max(usual, 0) <= self._day
            words = f"at {2 * usual} days, twice the age by which 99% of the outcomes had come" if had.any() else ""
        else:
            words = f"{words} ({self._term[0]})"
        return Matured(
            int(old.sum()),
            int((old & ~had).sum()),
            int((old & had & ~bad).sum()),
            int((old & had & bad).sum()),
            words,
        )


def outcome_batches(tables: Iterable[pa.Table], columns: Sequence[str], bad: Sequence[str]) -> Iterator[OutcomeBatch]:
    """Batches for `OldLoans.without_outcome` from tables with the columns id, day, and flag or status; `bad` are the
    texts of the latter that mean a default. A row that says nothing is no outcome.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    key, day, says = columns
    for table in tables:
        table = table.filter(
            pc.and_(pc.is_valid(table[day]), pc.and_(pc.is_valid(table[key]), pc.is_valid(table[says])))
        )
        text = table[says].cast(pa.string())
        bads = pc.is_in(text, value_set=pa.array(list(bad), pa.string()))
        days = table[day].cast(pa.int32()).cast(pa.int64()).to_numpy()
        yield table[key], np.asarray(days), np.asarray(bads.to_numpy(), dtype=bool)
