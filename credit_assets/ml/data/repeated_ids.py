"""Rows of a day that share an id, within a chunk and across the border of two.

Belongs here: telling copies from contradictions. Does not belong here: all other rules (`contracts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.chunks import Chunk
from credit_assets.ml.data.day_findings import DayFindings, Mark, Problem, Rule
from credit_assets.ml.data.values import mask_of

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.chunks import Mask, Positions


@dataclass
class _Group:
    """The rows of one day and id that the chunks so far ended with: the next chunk may begin with more of them.

    `first`: the first of them, all of them where they may differ.
    """

    day: int
    id: Any
    first: pa.Table
    contradicts: bool
    marks: list[frozenset[Mark]]


class RepeatedIds:
    """Finds, chunk after chunk, the rows that share their id with another of the day.

    Where an application may have `several` rows that differ, only equal copies are found. Where a row contradicts one
    of the chunk before, which was counted as sound by then, `findings` are put right.
    """

    def __init__(self, id_column: str, date_column: str, findings: DayFindings, *, several: bool = False) -> None:
        self._id, self._date, self._findings, self._several = id_column, date_column, findings, several
        self._copy = Rule("unique_ids", id_column, "equal copy of an earlier row", rejects=False)
        self._contradiction = Rule("unique_ids", id_column, "repeated with other values", rejects=True)
        self._group: _Group | None = None

    def problems(self, chunk: Chunk, others: Sequence[Problem]) -> list[Problem]:
        """Those of the chunk; `others` are the problems that its rows have besides."""
        import numpy as np

        if not chunk.typed.num_rows:
            return []
        group = self._group
        repeated = chunk.sharing_an_id(self._id)
        if group is not None:
            more = chunk.going_on_with(self._id, group.day, group.id)
            repeated = np.union1d(repeated, more) if len(more) else repeated
            group = group if len(more) else None
        contradicts, copies = self._compared(chunk, repeated, group)
        problems = [
            Problem(rule, rows)
            for rule, rows in ((self._copy, copies), (self._contradiction, contradicts))
            if len(rows)
        ]
        self._remember(chunk, repeated, contradicts, [*others, *problems], group)
        return problems

    def _compared(self, chunk: Chunk, repeated: Positions, group: _Group | None) -> tuple[Positions, Positions]:
        """Of the rows that share an id, those that contradict another, and further copies of equal ones."""
        import numpy as np
        import pyarrow as pa

        if not len(repeated):
            return repeated, repeated
        same, days = chunk.typed.take(pa.array(repeated)), chunk.day_of(repeated)
        if group is None:
            contradict, first = _compare(same, days, self._id, self._date)
            contradict &= not self._several
        else:
            same, days = (
                pa.concat_tables([group.first, same]),
                np.concatenate(([group.day] * group.first.num_rows, days)),
            )
            contradict, first = _compare(same, days, self._id, self._date)
            contradict &= not self._several
            if group.contradicts:
                contradict |= _is(same.column(self._id), days, group.id, group.day)
            elif contradict[0]:
                self._disown(group)
            known = group.first.num_rows
            contradict, first = contradict[known:], first[known:]
        return repeated[contradict], repeated[~contradict & ~first]

    def _disown(self, group: _Group) -> None:
        """Count the rows of a group as contradictions that chunks before counted as sound, or as copies."""
        self._findings.move(group.day, len(group.marks) - 1, self._copy, self._contradiction)
        self._findings.move(group.day, 1, None, self._contradiction)
        mark = self._contradiction.mark
        group.marks = [
            marks if mark in marks else self._findings.mark_also(group.day, marks, mark) for marks in group.marks
        ]

    def _remember(
        self,
        chunk: Chunk,
        repeated: Positions,
        contradicts: Positions,
        problems: Sequence[Problem],
        before: _Group | None,
    ) -> None:
        """Keep the group that the chunk ends with; `before` is the one that it began with, if it did with any."""
        import numpy as np
        import pyarrow as pa

        end = chunk.typed.num_rows - 1
        ids = chunk.typed.column(self._id)
        day, key = int(chunk.day_of(np.array([end]))[0]), ids[end].as_py()
        if key is None:
            self._group = None
            return
        rows = np.array([end])
        if len(repeated) and repeated[-1] == end:
            rows = repeated[_is(ids.take(pa.array(repeated)), chunk.day_of(repeated), key, day)]
        marks = [frozenset(p.rule.mark for p in problems if _holds(p.rows, row)) for row in rows]
        if before is not None and (before.day, before.id) == (day, key):
            before.marks += marks
            if self._several:
                before.first = pa.concat_tables([before.first, chunk.typed.take(pa.array(rows))])
            before.contradicts |= _holds(contradicts, end)
        else:
            # Taken, not sliced: a slice would hold the chunk's memory.
            first = chunk.typed.take(pa.array(rows if self._several else rows[:1]))
            self._group = _Group(day, key, first, _holds(contradicts, end), marks)


def _compare(rows: pa.Table, days: Positions, id_column: str, date_column: str) -> tuple[Mask, Mask]:
    """Of rows that share day and id: whether theirs contradict each other, and whether each is the first of equals."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    # Int64: as floats, long integers with a missing value beside them would look equal to their neighbours.
    frame = rows.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get, date_as_object=False)
    frame[date_column] = days
    first = ~frame.duplicated(keep="first").to_numpy(dtype=bool)
    # Rows left after equal copies are gone: more than one of an id means that they contradict each other.
    left = frame.assign(left=first).groupby([date_column, id_column], sort=False)["left"]
    return left.transform("sum").to_numpy(dtype=np.int64) > 1, first


def _is(ids: pa.ChunkedArray, days: Positions, key: Any, day: int) -> Mask:
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray(mask_of(pc.equal(ids, key)) & (days == day))


def _holds(rows: Positions, row: int) -> bool:
    """Whether the ascending `rows` hold `row`."""
    import numpy as np

    at = int(np.searchsorted(rows, row))
    return at < len(rows) and int(rows[at]) == row
