"""What became of loans, as known by the end of a day: good, indeterminate, bad or excluded within their window.

Belongs here: what one row of outcomes says, and what several of an application say together. Does not belong here:
whose outcomes count and when they are due (`cohorts`), and the names of the columns (`portfolio`).

Rows count in the order in which they became known, and only those known by the day. Of an application the gravest
counts (excluded before bad, bad before indeterminate) that is booked to a day of its window and was not reversed
since: a default that was booked by mistake is one on every day on which that was not known, and none from then on.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from credit_assets.ml.data.known_rows import KnownRows
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import outcomes_fields, outcomes_schema
from credit_assets.ml.data.values import as_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    TableLike: TypeAlias = pa.Table | pd.DataFrame

GOOD, INDETERMINATE, BAD, EXCLUDED = range(4)
OUTCOME_CLASSES = ("good", "indeterminate", "bad", "excluded")
"""What can become of a loan, by its number: of several outcomes the one with the largest number counts."""
_REVERSED, _NOTHING = -1, -2
_EPOCH = date(1970, 1, 1)


class Outcomes:
    """The outcomes of any number of days, as `loan_outcomes` keeps them: a table or frame with the columns of
    `outcomes_fields(portfolio)`, in any order. A row that says nothing (no flag, no status) counts as none.
    """

    def __init__(self, table: TableLike, portfolio: Portfolio) -> None:
        rows = as_table(table, outcomes_schema(portfolio), "outcomes")
        (key, _), (day, _) = outcomes_fields(portfolio)[:2]
        says = _says(rows, portfolio)
        booked_to = _day_numbers(rows[portfolio.outcomes.date])
        self.rows = KnownRows(rows[key], rows[day], booked_to, says)
        self.says, self.booked_to = says[self.rows.order], booked_to[self.rows.order]

    def of(self, ids: pa.ChunkedArray) -> OutcomesOf:
        """Those of these applications, in any order and number."""
        return OutcomesOf(self, ids)

    def bads(self, as_of: date) -> pa.Table:
        """Each default that was known on `as_of`: `id`, and the `day` to which it is booked."""
        import numpy as np
        import pyarrow as pa

        known = np.flatnonzero((self.rows.day <= (as_of - _EPOCH).days) & (self.says == BAD))
        days = pa.array(self.booked_to[known].astype(np.int32), pa.int32()).cast(pa.date32())
        return pa.table({"id": self.rows.ids.take(self.rows.place[known]), "day": days})


class OutcomesOf:
    """The outcomes of some applications, of each in the order in which they became known."""

    def __init__(self, outcomes: Outcomes, ids: pa.ChunkedArray) -> None:
        import numpy as np

        rows = outcomes.rows
        places = rows.places(ids)
        first, end = np.searchsorted(rows.place, places, "left"), np.searchsorted(rows.place, places, "right")
        counts = np.where(places >= 0, end - first, 0)
        self.applications = len(places)
        self.of: NDArray[np.int64] = np.repeat(np.arange(len(places)), counts)
        at = np.arange(len(self.of)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
        self.day, self.says, self.booked_to = rows.day[at], outcomes.says[at], outcomes.booked_to[at]

    def classes(self, starts: NDArray[np.int64], window_days: int, as_of: date) -> NDArray[np.int8]:
        """The class of each application by what was known on `as_of`: GOOD where nothing speaks against it.

        `starts`: of each the day since 1970 on which its performance window starts; it ends `window_days` later.
        """
        import numpy as np

        known = self.day <= (as_of - _EPOCH).days
        number = np.arange(len(self.of))
        reversed_at = np.full(self.applications, -1)
        takes_back = known & (self.says == _REVERSED)
        np.maximum.at(reversed_at, self.of[takes_back], number[takes_back])
        start = starts[self.of]
        inside = (self.booked_to >= start) & (self.booked_to <= start + window_days)
        counts = known & inside & (self.says > GOOD) & (number > reversed_at[self.of])
        worst = np.full(self.applications, GOOD, dtype=np.int8)
        np.maximum.at(worst, self.of[counts], self.says[counts].astype(np.int8))
        return worst


def _says(rows: pa.Table, portfolio: Portfolio) -> NDArray[np.int64]:
    """What each row says: a class, that what came before is reversed, or nothing."""
    import numpy as np
    import pyarrow.compute as pc

    flags = pc.fill_null(rows[portfolio.outcomes.defaulted], _NOTHING).to_numpy()
    return np.where(flags == 1, BAD, np.where(flags == 0, GOOD, _NOTHING)).astype(np.int64)


def _day_numbers(days: pa.ChunkedArray) -> NDArray[np.int64]:
    """Days since 1970; one that no window has where there is none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(days.cast(pa.int32()).cast(pa.int64()), -(2**40)).to_numpy())
