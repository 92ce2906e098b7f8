"""Vintage curves: of the loans whose window began in a quarter, the share that was bad after so many months.

Belongs here: counting. Does not belong here: what is bad and when it was known (`credit_assets.ml.data.outcomes`), and
drawing (`credit_assets.ml.reports.figures`).
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.outcomes import BAD, EXCLUDED
from credit_assets.ml.evidence.intervals import proportion

if TYPE_CHECKING:
    from credit_assets.ml.data.cohorts import Loans

DAYS_PER_MONTH = 365.25 / 12
_EPOCH = date(1970, 1, 1)


def vintage_curves(loans: Loans, known_to: date, window_days: int) -> list[dict[str, Any]]:
    """The cumulative bad rate of each quarter's loans by months since their performance window began.

    A month is counted where every loan of the quarter has reached it by `known_to`: a curve that went on with the older
    loans alone would bend. Months end with the performance window.

    Parameters
    ----------
    loans
        Applications with all that is known of them.
    known_to
        The last day of which it is known.
    window_days
        The performance window W.

    Returns
    -------
    list of dict
        Oldest first: `quarter` ("2010 Q1"), `loans` that were booked and not excluded, and `months`, a list of `month`
        (1 on), `bads` so far, and the `value`, `low` and `high` of their share (Wilson, 95%).
    """
    now = loans.on(known_to)
    counted = np.flatnonzero(now.booked & (now.classes != EXCLUDED))
    quarters = now.starts.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) // 3
    longest = int(window_days / DAYS_PER_MONTH + 0.5)
    reached = {month: min(window_days, round(month * DAYS_PER_MONTH)) for month in range(1, longest + 1)}
    bad_by = {month: loans.of_ids.classes(now.starts, days, known_to) == BAD for month, days in reached.items()}
    found = []
    for quarter in np.unique(quarters[counted]).tolist():
        rows = counted[quarters[counted] == quarter]
        age = (known_to - _EPOCH).days - int(now.starts[rows].max())
        months = []
        for month, days in reached.items():
            if days > age:
                break
            bads = int(bad_by[month][rows].sum())
            interval = proportion(bads, len(rows))
            assert interval is not None
            months.append({"month": month, "bads": bads, **interval.to_record()})
        year, number = divmod(quarter, 4)
        found.append({"quarter": f"{1970 + year} Q{number + 1}", "loans": len(rows), "months": months})
    return found
