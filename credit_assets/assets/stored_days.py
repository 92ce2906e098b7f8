"""How the daily reports read the store: tables, counts and records by asset and day.

Belongs here: the reading alone. Does not belong here: which days a report needs (`credit_assets.ml.reports`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from credit_assets.storage.partition_files import Partitions
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 64


class StoredDays:
    """The store as a `credit_assets.ml.reports.daily.DailyTables`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def table(self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None) -> pa.Table:
        """Raises PermanentError as `Store.read_partitions`."""
        names = [day.isoformat() for day in days]
        return self._store.read_partitions(asset, names, *([] if columns is None else [columns]))

    def table_with_contents(
        self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None
    ) -> tuple[pa.Table, dict[str, str]]:
        """What `table` gives, and the content hash of each ISO day. Raises as it does."""
        return self._store.read_with_contents(asset, [day.isoformat() for day in days], columns)

    def columns(self, asset: str, days: Sequence[date]) -> dict[date, dict[str, bool]]:
        """Those of each day that is there, and whether they are texts, from the files' footers alone. Raises
        PermanentError where one is damaged.
        """
        found = self._store.footers(asset, [day.isoformat() for day in days])
        return {
            date.fromisoformat(day): {name: name in one.texts for name in one.columns} for day, one in found.items()
        }

    def counts(self, asset: str, days: Sequence[date]) -> dict[date, int | None]:
        """Rows of each day. A file that cannot be read is as good as none: its day has to be made again."""
        found = self._store.row_counts(asset, [day.isoformat() for day in days])
        return {day: found[name].rows if (name := day.isoformat()) in found else None for day in days}

    def scored(self, days: Sequence[date]) -> dict[date, tuple[int, int]]:
        """Rows of each scored day, and how many of them have no PD since the model refuses them."""
        found = self._store.row_counts("loan_scores", [day.isoformat() for day in days])
        return {date.fromisoformat(day): (one.rows, one.without_pd) for day, one in found.items()}

    def accepted(self, asset: str, days: Sequence[date]) -> dict[date, int]:
        """Rows of those days that are there and that no gate has rejected."""
        found = self._store.footers(asset, [day.isoformat() for day in days], damaged_too=False)
        return {date.fromisoformat(day): one.rows for day, one in found.items() if not one.rejected}

    def sample(self, asset: str, days: Mapping[date, int], most: int) -> pa.Table:
        """Of these days (and their numbers of rows) at most so many rows, evenly taken; never holds more than these and
        a piece. Raises PermanentError as `Partitions`.
        """
        import numpy as np
        import pyarrow as pa

        rows, taken, begin = sum(days.values()), [], 0
        wanted = np.linspace(0, rows - 1, min(rows, most)).astype(np.int64)
        for piece in Partitions(self._store, asset, [day.isoformat() for day in days]).pieces():
            inside = wanted[(wanted >= begin) & (wanted < begin + piece.num_rows)] - begin
            taken.append(piece if len(inside) == piece.num_rows else piece.take(inside))
            begin += piece.num_rows
        return pa.concat_tables(taken)

    def ingested(self, asset: str, within: tuple[date, date] | None = None) -> dict[date, tuple[int, int]]:
        """Rows ingested and quarantined of each day that is there, or of those `within` the first and the last given,
        from the files' footers alone.
        """
        first, last = within or (date.min, date.max)
        days, aside = (
            self.counts(
                name, [day for one in self._store.days(name) if first <= (day := date.fromisoformat(one)) <= last]
            )
            for name in (asset, f"quarantine/{asset}")
        )
        return {day: (rows, aside.get(day) or 0) for day, rows in days.items() if rows is not None}

    def first_day(self, start: date) -> date:
        """The first day that is ingested, whatever came of it, not before `start`; `start` where none is.

        Days before it are outside the book and nobody waits for them; a gap after it is one.
        """
        assets = ("raw_loan_data", "processed_features")
        # Nearly always, and one look is less than two listings of a book of years.
        if any(self._store.path(asset, f"{start}.parquet").exists() for asset in assets):
            return start
        days = (day for asset in assets for day in self._store.days(asset))
        # ISO days are ordered as texts are.
        first = min((day for day in days if day >= start.isoformat()), default=None)
        return start if first is None else date.fromisoformat(first)

    def first_with_rows(self, asset: str, first: date, last: date) -> date | None:
        """The first day of first .. last of which the asset has rows; None where none has."""
        days = [first + timedelta(n) for n in range((last - first).days + 1)]
        for some in (days[n : n + _AT_ONCE] for n in range(0, len(days), _AT_ONCE)):
            counted = self.counts(asset, some)
            if found := [day for day in some if counted[day]]:
                return found[0]
        return None

    def record(self, asset: str, day: date) -> dict[str, Any] | None:
        """Raises PermanentError where the record is damaged."""
        path = self._store.path(asset, f"{day}.json")
        return self._store.read_record(path) if path.exists() else None


class DayScores(NamedTuple):
    """Applications of a day that have a score, those that nobody scored, and those that the model refused for a value
    that is missing.
    """

    scored: int
    unscored: int
    refused: int = 0


class ScoredDays:
    """How many applications of a day are scored, by the files themselves: a day that was passed by without a champion
    has a file of scores too, an empty one.
    """

    def __init__(self, store: Store) -> None:
        self._tables = StoredDays(store)

    def of(self, days: Sequence[date]) -> dict[date, DayScores]:
        scores, applications = self._tables.scored(days), self._tables.counts("processed_features", days)
        found = {day: (*scores.get(day, (0, 0)), applications[day] or 0) for day in days}
        return {day: DayScores(rows - none, max(0, there - rows), none) for day, (rows, none, there) in found.items()}
