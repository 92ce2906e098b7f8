"""What became of loans, as known by the end of a day: good, indeterminate, bad or excluded within their window.

Belongs here: what one row of outcomes says, and what several of an application say together. Does not belong here:
whose outcomes count and when they are due (`cohorts`), and the names of the columns (`portfolio`).

Rows count in the order in which they became known, and only those known by the day. Of an application the gravest
counts (excluded before bad, bad before indeterminate) that is booked to a day of its window and was not reversed
since: a default that was booked by mistake is one on every day on which that was not known, and none from then on. A
good row settles what was indeterminate before it; a default it does not undo.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from credit_assets.ml.data.keys import KNOWN_AT
from credit_assets.ml.data.known_rows import KnownRows
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import outcomes_schema
from credit_assets.ml.data.values import as_table, texts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    TableLike: TypeAlias = pa.Table | pd.DataFrame

GOOD, INDETERMINATE, BAD, EXCLUDED = range(4)
OUTCOME_CLASSES = ("good", "indeterminate", "bad", "excluded")
"""What can become of a loan, by its number: of several outcomes the one with the largest number counts."""
_REVERSED, _NOTHING, _UNMAPPED = -1, -2, -3
_EPOCH = date(1970, 1, 1)
_NO_DAY = -(2**40)


class Outcomes:
    """The outcomes of any number of days, as `loan_outcomes` keeps them: a table or frame with the columns of
    `outcomes_fields(portfolio)`, in any order. A row that says nothing (no flag, no status) counts as none.
    """

    def __init__(self, table: TableLike, portfolio: Portfolio) -> None:
        import numpy as np
        import pyarrow.compute as pc

        names = portfolio.outcomes
        rows = as_table(table, outcomes_schema(portfolio), "outcomes")
        says, self._texts = _says(rows, portfolio)
        known, booked_to = _day_numbers(rows[names.day]), _day_numbers(rows[names.date])
        # Of a row that is booked to no day, that on which it became known.
        booked_to = np.where(booked_to == _NO_DAY, known, booked_to)
        moments = np.zeros(rows.num_rows, dtype=np.int64)
        if KNOWN_AT in rows.column_names:
            moments = pc.fill_null(rows[KNOWN_AT], 0).to_numpy()
        self.rows = KnownRows(rows[names.id], rows[names.day], moments, booked_to, says)
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

    def without_outcome(self, as_of: date) -> int:
        """Rows known on `as_of` without a flag or status."""
        return int(((self.rows.day <= (as_of - _EPOCH).days) & (self.says == _NOTHING)).sum())

    def unmapped(self, as_of: date) -> dict[str, int]:
        """Rows known on `as_of` by statuses that are in none of the lists."""
        import numpy as np

        known = (self.rows.day <= (as_of - _EPOCH).days) & (self.says == _UNMAPPED)
        if not known.any():
            return {}
        places, different = self._texts
        counts = np.bincount(places[self.rows.order][known], minlength=len(different))
        return {str(text): int(count) for text, count in zip(different, counts, strict=True) if count}


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
        start = starts[self.of]
        inside = known & (self.booked_to >= start) & (self.booked_to <= start + window_days)
        reversed_at = self._last(known & (self.says == _REVERSED))
        settled_at = self._last(inside & (self.says == GOOD))
        number = np.arange(len(self.of))
        counts = inside & (self.says > GOOD) & (number > reversed_at[self.of])
        counts &= (self.says != INDETERMINATE) | (number > settled_at[self.of])
        worst = np.full(self.applications, GOOD, dtype=np.int8)
        np.maximum.at(worst, self.of[counts], self.says[counts].astype(np.int8))
        return worst

    def any_known(self, as_of: date) -> NDArray[np.bool_]:
        """Whether anything was known on `as_of` of what became of each application."""
        import numpy as np

        found = np.zeros(self.applications, dtype=bool)
        found[self.of[(self.day <= (as_of - _EPOCH).days) & (self.says > _NOTHING)]] = True
        return found

    def _last(self, which: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Of each application the number of the last of these rows; -1 where it has none."""
        import numpy as np

        last = np.full(self.applications, -1)
        np.maximum.at(last, self.of[which], np.flatnonzero(which))
        return last


def _says(rows: pa.Table, portfolio: Portfolio) -> tuple[NDArray[np.int64], tuple[NDArray[np.int32], list[str | None]]]:
    """What each row says: a class, that what came before is reversed, or nothing; and the statuses as texts."""
    import numpy as np
    import pyarrow.compute as pc

    names = portfolio.outcomes
    if names.status is None:
        flags = pc.fill_null(rows[names.defaulted], _NOTHING).to_numpy()
        # Where several flags of a loan may become known one after another, the last of them holds.
        good = GOOD if names.known is None else _REVERSED
        codes = np.where(flags == 1, BAD, np.where(flags == 0, good, _NOTHING)).astype(np.int64)
        return codes, (np.zeros(len(codes), dtype=np.int32), [])
    numbers = {name: number for number, name in enumerate(OUTCOME_CLASSES)} | {"reversed": _REVERSED}
    of_status = {status: numbers[name] for status, name in names.classes.items()}
    places, different = texts(rows[names.status])
    codes = np.array(
        [_NOTHING if text is None else of_status.get(text, _UNMAPPED) for text in different], dtype=np.int64
    )
    return codes[places] if len(different) else places.astype(np.int64), (places, different)


def _day_numbers(days: pa.ChunkedArray) -> NDArray[np.int64]:
    """Days since 1970; one that no window has where there is none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(days.cast(pa.int32()).cast(pa.int64()), _NO_DAY).to_numpy())


def definition(portfolio: Portfolio, window_days: int) -> str:
    """What counts as bad, in a sentence."""
    names = portfolio.outcomes
    what = f"{names.defaulted} = 1" if names.status is None else f"{names.status} in {', '.join(names.bad)}"
    undone = f", unless {names.status} in {', '.join(names.reversed)} became known since" if names.reversed else ""
    left_out = [*names.indeterminate, *names.excluded]
    without = f"; left out: {', '.join(left_out)}" if left_out else ""
    return (
        f"bad: {what} in {names.table}, booked to a day ({names.date}) of the {window_days} days from "
        f"{portfolio.performance_window_from}, as known ({names.day}) by the as-of date{undone}{without}"
    )
