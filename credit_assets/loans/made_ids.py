"""Ids for loans whose file has none, such that the same loan has one id in every file, and no two loans share one.

Belongs here: finding a loan again by what was known of it when it was issued. Does not belong here: reading files
(`table_files`), the warehouse (the caller hands over what is in it).

An id is made from issue year and row. Two files of one year would give the same ids to different loans; so each loan is
looked for in the book first, by its month and origination values: it keeps the id that it has there, whichever file it
came from. A loan that is not there gets the id of its row, with a hash of its values where another loan has that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

# Known at issue, the same whichever way a file states debt and limit. 42,535 real loans have 42,535 different ones.
_ORIGINATION = (
    "annual_income", "credit_used", "loan_amount", "interest_rate", "term_months", "purpose", "home_ownership",
    "employment_years", "state", "inquiries_6m", "delinquencies_2y", "open_accounts",
)  # fmt: skip
_MADE = r"LC\d{4}-\d{7}(-[0-9a-f]{16}(\.\d+)?)?"

KnownLoans = Callable[[date, date], pa.Table]
"""The loans of the book whose application lies between two days, with the columns of the packaged portfolio."""


def year_bounds(months: NDArray[np.float64]) -> tuple[date, date]:
    """First and last day of the years in which months (counted since year 0) lie."""
    return date(int(months.min()) // 12, 1, 1), date(int(months.max()) // 12, 12, 31)


def made_ids(
    loans: pa.Table, months: NDArray[np.float64], numbers: NDArray[np.int64], book: pa.Table | None
) -> list[str]:
    """An id for each loan, given month of issue and number of each row, and the book's loans of their years."""
    natural = [f"LC{int(month) // 12}-{number:07d}" for month, number in zip(months, numbers, strict=True)]
    if book is None or not book.num_rows:
        return natural
    keys, times = _keys(loans, months, _compared(book))
    held = _held(book)
    taken = set(book["application_id"].to_pylist())
    ids = []
    for name, key, time in zip(natural, keys, times, strict=True):
        found = held.get((key, time))
        if found is None:
            found = name if name not in taken else f"{name}-{key:016x}"
            if found in taken:
                found = f"{found}.{time}"
            taken.add(found)
        ids.append(found)
    return ids


def loans_under_made_ids(loans: pa.Table, months: NDArray[np.float64], book: pa.Table) -> int:
    """How many of the loans, which have ids of their own, are in the book under made ones."""
    ids = book["application_id"].to_pandas()
    held = _held(book.filter(pa.array(ids.str.fullmatch(_MADE).to_numpy(dtype=bool))))
    return sum((key, time) in held for key, time in zip(*_keys(loans, months, _compared(book)), strict=True))


def _compared(book: pa.Table) -> list[str]:
    """The columns by which loans are found again: a portfolio need not have all of them."""
    return [name for name in _ORIGINATION if name in book.column_names]


def _held(book: pa.Table) -> dict[tuple[int, int], str]:
    book = book.sort_by("application_id")
    days = book["application_date"].to_numpy().astype("datetime64[M]").astype("int64")
    keys, times = _keys(book, days + 1970 * 12, _compared(book))
    return dict(zip(zip(keys, times, strict=True), book["application_id"].to_pylist(), strict=True))


def _keys(
    loans: pa.Table, months: NDArray[np.float64] | NDArray[np.int64], names: Sequence[str]
) -> tuple[Sequence[int], Sequence[int]]:
    """A hash of what each loan was at issue, and how many before it have the same."""
    frame = pd.DataFrame({"month": months.astype("float64")})
    for name in names:
        column = loans[name]
        if pa.types.is_string(column.type):
            frame[name] = column.to_pandas().fillna("").to_numpy()
        else:
            # Whole numbers with gaps come as floats from one side and not from the other.
            frame[name] = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy() + 0.0
    keys = pd.util.hash_pandas_object(frame, index=False)
    return keys.tolist(), keys.groupby(keys).cumcount().tolist()
