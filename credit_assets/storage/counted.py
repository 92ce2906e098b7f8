"""The store with the rows of its partitions counted once: a later look opens only the files that were replaced since.

Belongs here: which counts are remembered. Does not belong here: how (`remembered`), and what the counts are asked for.

The account of a table, the loans that have matured since a training and `status` ask for every day of the book. What is
asked of few days is not remembered: a window that something is trained or judged on reads its files.
"""

from __future__ import annotations

from collections.abc import Sequence

from credit_assets.storage.remembered import Remembered
from credit_assets.storage.store import RowCount, Store

FEW = 64
"""So many days are counted by their files."""
_ROWS = " ".join(RowCount._fields)


class CountedStore(Store):
    """A store whose `row_counts` of many days remembers what was counted before, by whomever."""

    def row_counts(self, asset: str, days: Sequence[str]) -> dict[str, RowCount]:
        if len(days) <= FEW:
            return super().row_counts(asset, days)
        counts = Remembered(self, asset, _ROWS)
        found = {day: RowCount(*one) for day, one in counts.of(days).items()}
        if new := [day for day in counts.there(days) if day not in found]:
            counted = super().row_counts(asset, new)
            counts.add({day: list(one) for day, one in counted.items()})
            found |= counted
        return {day: found[day] for day in days if day in found}
