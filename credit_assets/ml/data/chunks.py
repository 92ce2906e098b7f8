"""A chunk of typed rows and the days that they count for.

Belongs here: which day a row counts for, counting rows by day, and rows of a day that share an id. Does not belong
here: what is wrong with a row (`contracts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias

from credit_assets.ml.data.values import mask_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Positions: TypeAlias = NDArray[np.intp]
    Mask: TypeAlias = NDArray[np.bool_]
    Counts: TypeAlias = NDArray[np.int64]


class Days:
    """The days that are checked, in order. Raises ValueError where there is none."""

    def __init__(self, days: Sequence[date]) -> None:
        import numpy as np

        if not days:
            raise ValueError("no day to check: name at least one")
        self.dates = tuple(sorted(set(days)))
        self.numbers = np.array(self.dates, dtype="datetime64[D]").astype(np.int32)

    def __len__(self) -> int:
        return len(self.dates)

    def none(self) -> Counts:
        """A count of zero for each day."""
        import numpy as np

        return np.zeros(len(self.dates), dtype=np.int64)


class Chunk:
    """Rows as their types, in runs of equal dates.

    `starts`: the first row of each run; `run_days`: the position among `days` of the day that the run counts for;
    `in_days`: whether that is its date. A row whose date is missing or is not checked counts for the first day.
    """

    def __init__(self, typed: pa.Table, date_column: str, days: Days) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        self.typed, self.days = typed, days
        numbers, missing = typed.column(date_column).cast(pa.int32()), None
        if numbers.null_count:
            missing = mask_of(numbers.is_null())
            numbers = pc.fill_null(numbers, 0)
        values = np.asarray(numbers.to_numpy())
        changes = values[1:] != values[:-1]
        if missing is not None:
            changes = changes | (missing[1:] != missing[:-1])
        starts = np.concatenate(([0], np.flatnonzero(changes) + 1)) if len(values) else np.empty(0, dtype=np.intp)
        at = np.searchsorted(days.numbers, values[starts]).clip(max=len(days) - 1)
        self.in_days: Mask = days.numbers[at] == values[starts]
        if missing is not None:
            self.in_days = self.in_days & ~missing[starts]
        self.starts: Positions = starts.astype(np.intp)
        self.run_days: Positions = np.where(self.in_days, at, 0).astype(np.intp)
        self.lengths = np.diff(self.starts, append=typed.num_rows)

    def day_of(self, rows: Positions) -> Positions:
        """The day, by its position, that each of the rows counts for."""
        import numpy as np

        return self.run_days[np.searchsorted(self.starts, rows, "right") - 1]

    def rows_by_day(self) -> Counts:
        return self._by_day(self.lengths)

    def count_by_day(self, mask: Mask) -> Counts:
        """Rows of each day where the mask is true."""
        import numpy as np

        before = np.searchsorted(np.flatnonzero(mask), np.append(self.starts, len(mask)))
        return self._by_day(np.diff(before))

    def _by_day(self, of_runs: Positions) -> Counts:
        import numpy as np

        counts = self.days.none()
        np.add.at(counts, self.run_days, of_runs)
        return counts

    def sharing_an_id(self, id_column: str) -> Positions:
        """Rows that share day and id with another row of the chunk; a missing id is shared with none."""
        import numpy as np
        import pyarrow.compute as pc

        ids = self.typed.column(id_column)
        size = len(ids)
        if not ids.null_count and (self.run_days[1:] > self.run_days[:-1]).all():
            before, after = ids.slice(0, size - 1), ids.slice(1)
            rising = np.asarray(pc.less(before, after).to_numpy(), dtype=bool)
            rising[self.starts[1:] - 1] = True
            if rising.all():
                return np.empty(0, dtype=np.intp)
            stays = np.flatnonzero(~rising)
            if pc.all(pc.equal(before.take(stays), after.take(stays))).as_py():
                return np.union1d(stays, stays + 1)
        codes = ids.combine_chunks().dictionary_encode().indices
        rows = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
        keys = codes.fill_null(0).to_numpy()[rows] + self.day_of(rows) * size
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        return np.sort(rows[order[np.union1d(same, same + 1)]])

    def going_on_with(self, id_column: str, day: int, key: Any) -> Positions:
        """Rows of that day and id, if the chunk begins with one."""
        import numpy as np
        import pyarrow.compute as pc

        ids = self.typed.column(id_column)
        if self.run_days[0] != day or ids[0].as_py() != key:
            return np.empty(0, dtype=np.intp)
        rows = np.flatnonzero(mask_of(pc.equal(ids, key)))
        return np.asarray(rows[self.day_of(rows) == day])
