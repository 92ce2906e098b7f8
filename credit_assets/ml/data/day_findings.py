"""What a contract has found on each day, over all chunks so far: counts, from which the gates of the day are judged.

Belongs here: the rules that rows broke, and counting them by day. Does not belong here: finding them (`contracts`) and
judging them (`ml.rules.day_gates`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from credit_assets.ml.data.chunks import Chunk, Days
from credit_assets.ml.data.portfolio import Column
from credit_assets.ml.data.screens import Screened

if TYPE_CHECKING:
    from credit_assets.ml.data.chunks import Counts, Mask, Positions

# One unreadable value says something about its row, several without a readable one something about the column.
_WHOLE_COLUMN = 2

Mark: TypeAlias = tuple[str, str]
"""What a row is marked with: gate and, for `values`, column, since a column may turn out to be at fault as a whole."""


@dataclass(frozen=True)
class Rule:
    """A rule that a row may break: the gate it belongs to, the column, what is wrong in words, and whether a single
    row that breaks it rejects the day.
    """

    gate: str
    column: str
    text: str
    rejects: bool

    @property
    def mark(self) -> Mark:
        return self.gate, self.column if self.gate == "values" else ""


@dataclass(frozen=True)
class Problem:
    """Rows (by position, ascending) of a chunk that break one rule."""

    rule: Rule
    rows: Positions


class DayFindings:
    """Counts of rows for each of `days`.

    `absent`: columns that the table lacks; `rows`: rows; `missing`: rows without a value, by column.
    """

    def __init__(self, columns: Sequence[Column], days: Sequence[date]) -> None:
        self.columns, self.days = tuple(columns), Days(days)
        self.absent: tuple[str, ...] = ()
        self.rows = self.days.none()
        self.missing: dict[str, Counts] = {}
        self._unreadable: dict[str, Counts] = {}
        self._broken: dict[Rule, Counts] = {}
        # Rows by the marks they bear. A count for each rule would not do: one row may break several.
        self._marked: dict[frozenset[Mark], Counts] = {}

    # What the contract does

    def add(self, chunk: Chunk, screened: Mapping[str, Screened], problems: Sequence[Problem]) -> None:
        """Count a chunk: its columns as they were screened, and the problems of its rows."""
        self.rows += chunk.rows_by_day()
        for name, column in screened.items():
            for counts, mask in ((self.missing, column.missing), (self._unreadable, column.unreadable)):
                if mask is not None:
                    counts[name] = counts.get(name, 0) + chunk.count_by_day(mask)
        if problems:
            self._add_problems(chunk, problems)

    def _add_problems(self, chunk: Chunk, problems: Sequence[Problem]) -> None:
        import numpy as np

        at = np.unique(np.concatenate([problem.rows for problem in problems]))
        day = chunk.day_of(at)
        marks = list(dict.fromkeys(problem.rule.mark for problem in problems))
        borne = np.zeros((len(at), len(marks)), dtype=bool)
        for problem in problems:
            where = np.searchsorted(at, problem.rows)
            borne[where, marks.index(problem.rule.mark)] = True
            self._of_rule(problem.rule)[:] += np.bincount(day[where], minlength=len(self.days))
        pattern = np.zeros(len(at), dtype=np.int64)
        for column in borne.T:
            pattern = np.unique(2 * pattern + column, return_inverse=True)[1]
        for number, row in enumerate(np.unique(pattern, return_index=True)[1]):
            names = frozenset(mark for mark, one in zip(marks, borne[row], strict=True) if one)
            self._with_marks(names)[:] += np.bincount(day[pattern == number], minlength=len(self.days))

    def move(self, day: int, rows: int, source: Rule | None, target: Rule) -> None:
        """Count rows of a day, by its position, as breaking another rule than they were counted for, if any."""
        if source is not None:
            self._of_rule(source)[day] -= rows
        self._of_rule(target)[day] += rows

    def mark_also(self, day: int, marks: frozenset[Mark], mark: Mark) -> frozenset[Mark]:
        """Give a row of a day that bears `marks` one more; the marks that it bears then."""
        self._with_marks(marks)[day] -= 1
        more = marks | {mark}
        self._with_marks(more)[day] += 1
        return more

    def _of_rule(self, rule: Rule) -> Counts:
        return self._broken.setdefault(rule, self.days.none())

    def _with_marks(self, marks: frozenset[Mark]) -> Counts:
        return self._marked.setdefault(marks, self.days.none())

    # What the gates read

    def whole_columns(self) -> dict[str, Mask]:
        """Days, by column, on which no value could be read though several were given."""
        whole = {}
        for name, bad in self._unreadable.items():
            days = (bad >= _WHOLE_COLUMN) & (self.rows == bad + self.missing.get(name, 0))
            if days.any():
                whole[name] = days
        return whole

    def broken(self, gate: str) -> dict[Rule, Counts]:
        """Rows of each day by the rule of a gate that they break, in order of columns. Values of a column that is
        unreadable as a whole are no row's fault.
        """
        import numpy as np

        order = {column.name: number for number, column in enumerate(self.columns)}
        whole = self.whole_columns() if gate == "values" else {}
        rules = sorted(self._broken.items(), key=lambda item: (order[item[0].column], item[0].text))
        return {
            rule: np.where(whole[rule.column], 0, counts) if rule.column in whole else counts
            for rule, counts in rules
            if rule.gate == gate
        }

    def rows_at_fault(self, *gates: str) -> Counts:
        """Rows of each day that break a rule of these gates; of any, where none is named."""
        import numpy as np

        whole, total = self.whole_columns(), self.days.none()
        for marks, counts in self._marked.items():
            judged = [column for gate, column in marks if not gates or gate in gates]
            if not judged:
                continue
            excused = np.ones(len(total), dtype=bool)
            for column in judged:
                excused &= whole.get(column, False)
            total += np.where(excused, 0, counts)
        return total
