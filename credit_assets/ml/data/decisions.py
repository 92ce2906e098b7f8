"""What had been decided about each application by the end of a day: who was lent to, and since when.

Belongs here: the last decision known by a day, the class of its status, and the day on which a performance window
starts. Does not belong here: the keys of the portfolio file (`population`), and the target (`cohorts`).

Decisions become known later than the application, in any number: of an application the one that became known last
decides, and on a day before that the one before it. What is not known by a day does not exist on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from credit_assets.ml.data.keys import KNOWN_AT
from credit_assets.ml.data.known_rows import KnownRows, last_of_each
from credit_assets.ml.data.population import BOOKED, CLASSES
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import decisions_fields, decisions_schema
from credit_assets.ml.data.values import as_column, as_table, texts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    TableLike: TypeAlias = pa.Table | pd.DataFrame

_UNMAPPED = -1


class Decisions:
    """The decisions of any number of days, as `loan_decisions` keeps them.

    Parameters
    ----------
    table
        A table or frame with the columns of `decisions_fields(portfolio)`, in any order.
    portfolio
        Whose `population` has the class of each status. A row without a status is undecided.

    Examples
    --------
    >>> from credit_assets.ml.data.portfolio import Portfolio
    >>> portfolio = Portfolio.model_validate({
    ...     "name": "small",
    ...     "population": {"table": "decisions", "id": "id", "date": "on", "status": "status",
    ...                    "booked": ["booked"], "undecided": ["approved"], "declined": ["declined"]},
    ...     "columns": [
    ...         {"name": "id", "type": "integer", "role": "id", "nullable": False},
    ...         {"name": "day", "type": "date", "role": "date", "nullable": False},
    ...         {"name": "amount", "type": "float"},
    ...     ],
    ... })
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"id": [1, 1, 2], "on": pd.to_datetime(["2024-01-02", "2024-01-09", "2024-01-02"]),
    ...                      "status": ["approved", "booked", "declined"], "known_at": 0})
    >>> decisions, ids = Decisions(rows, portfolio), rows["id"].unique()
    >>> [list(decisions.as_of(date(2024, 1, day)).classes(ids)) for day in (1, 8, 9)]
    [['undecided', 'undecided'], ['undecided', 'declined'], ['booked', 'declined']]
    """

    def __init__(self, table: TableLike, portfolio: Portfolio) -> None:
        import numpy as np
        import pyarrow.compute as pc

        stated = portfolio.decisions
        assert stated is not None
        rows = as_table(table, decisions_schema(portfolio), "decisions")
        (key, _), (day, _) = decisions_fields(portfolio)[:2]
        places, different = texts(rows[stated.status])
        ranks = {status: CLASSES.index(name) for status, name in stated.classes.items()}
        of_status = np.array([0 if text is None else ranks.get(text, _UNMAPPED) for text in different], dtype=np.int64)
        rank = of_status[places] if len(different) else np.empty(0, dtype=np.int64)
        moments = np.zeros(rows.num_rows, dtype=np.int64)
        if KNOWN_AT in rows.column_names:
            moments = pc.fill_null(rows[KNOWN_AT], 0).to_numpy()
        self.rows = KnownRows(rows[key], rows[day], moments, rank)
        self._rank = rank[self.rows.order]
        self._status = places[self.rows.order]
        self._different = different
        self._booked_on = self._booking_days(rows, portfolio)

    def _booking_days(self, rows: pa.Table, portfolio: Portfolio) -> NDArray[np.int64] | None:
        """Of each row the day of booking, where windows start at it: that given, else that on which it became known."""
        import numpy as np

        if portfolio.performance_window_from != "booking":
            return None
        stated = portfolio.decisions
        name = stated.booked_on if stated is not None else None
        if name is None or name not in rows.column_names:
            return self.rows.day
        given = _days(rows[name])[self.rows.order]
        days: NDArray[np.int64] = np.where(given == _NO_DAY, self.rows.day, given)
        return days

    def as_of(self, day: date) -> Standing:
        """What had been decided by the end of a day."""
        import numpy as np

        known = np.flatnonzero(self.rows.day <= (day - _EPOCH).days)
        last = known[last_of_each(self.rows.place[known])]
        rank = np.zeros(self.rows.applications, dtype=np.int64)
        rank[self.rows.place[last]] = self._rank[last]
        starts = None
        if self._booked_on is not None:
            starts = np.full(self.rows.applications, _NO_DAY, dtype=np.int64)
            starts[self.rows.place[last]] = self._booked_on[last]
        unmapped = np.bincount(self._status[last][self._rank[last] == _UNMAPPED], minlength=len(self._different))
        named = {str(text): int(n) for text, n in zip(self._different, unmapped, strict=True) if n}
        return Standing(self.rows, rank, starts, named)


@dataclass(frozen=True, eq=False)
class Standing:
    """What had been decided about each application by the end of a day. Whoever no decision is known of is undecided.

    `unmapped`: applications by statuses that the portfolio does not map; they are of no class.
    """

    rows: KnownRows
    rank: NDArray[np.int64]
    starts: NDArray[np.int64] | None
    unmapped: Mapping[str, int]

    def classes(self, ids: pa.ChunkedArray) -> NDArray[np.object_]:
        """The class of each of these applications; None for an unmapped status."""
        import numpy as np

        return np.array([*CLASSES, None], dtype=object)[self._rank_of(ids)]

    def booked(self, ids: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Whether each of these applications was lent to."""
        import numpy as np

        return np.asarray(self._rank_of(ids) == CLASSES.index(BOOKED))

    def window_starts(self, ids: pa.ChunkedArray, applied: NDArray[np.int64]) -> NDArray[np.int64]:
        """The day (since 1970) on which the performance window of each application starts, given that of application.

        That of booking where windows start at it, which is not before the application.
        """
        import numpy as np

        if self.starts is None:
            return applied
        places = self.rows.places(as_column(ids))
        starts = np.where(places >= 0, self.starts[places] if len(self.starts) else _NO_DAY, _NO_DAY)
        return np.maximum(applied, np.where(starts == _NO_DAY, applied, starts))

    def _rank_of(self, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        import numpy as np

        places = self.rows.places(as_column(ids))
        if not self.rows.applications:
            return np.zeros(len(places), dtype=np.int64)
        return np.where(places >= 0, self.rank[places], 0)


def decisions_of(table: TableLike | None, portfolio: Portfolio) -> Decisions | None:
    """The decisions; None for a portfolio that states none."""
    return Decisions(table, portfolio) if table is not None and portfolio.decisions is not None else None


_EPOCH = date(1970, 1, 1)
_NO_DAY = -(2**40)


def _days(values: pa.ChunkedArray) -> NDArray[np.int64]:
    """Days since 1970, _NO_DAY where there is none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(values.cast(pa.int32()).cast(pa.int64()), _NO_DAY).to_numpy())
