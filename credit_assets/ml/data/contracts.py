"""The data contract: applications and outcomes of many days held against the portfolio's rules, chunk after chunk.

Belongs here: the sorting of rows into kept and quarantined, and the gates of each day. Does not belong here: the
reading and screening of one column (`screens`), reading or writing data, and any gate that needs the target
(`cohorts`).

A day is judged by its own rows and by the volumes of the days before it, never by what else is checked with it: checked
alone or among a thousand others, in one chunk or in many, it gets the same verdict. That is what lets a backfill take a
year at a time, and a large day pass through little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.gate_results import GateResult, detail
from credit_assets.ml.data.portfolio import Column, Portfolio
from credit_assets.ml.data.schemas import applications_schema, outcomes_schema, quarantine_schema
from credit_assets.ml.data.screens import MISSING, UNREADABLE, Reading, read

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]
    Mask = NDArray[np.bool_]
    Counts = NDArray[np.int64]
    Source = Mapping[str, pa.ChunkedArray | pd.Series[Any]]

# A share above its limit fails only when a day that keeps the limit would show as many less often than this. Without
# it 2 missing of 25 rows would block a day under a limit of 5%, though every third such day has 2 or more.
# Missing values occur in sound data at rates near the limit, so a gate over many days and columns must be slow to
# fire; rows that break the contract hardly occur at all.
MISSING_CHANCE = 0.01
QUARANTINED_CHANCE = 0.05
# Standard deviations by which a day's volume must leave the recent median before it is worth a word.
VOLUME_DEVIATIONS = 4.0
# One unreadable value says something about its row, several without a readable one something about the column.
_WHOLE_COLUMN = 2

_COPY = "equal copy of an earlier row"
_CONTRADICTION = "repeated with other values"
_OTHER_DAY = "not of the partition"


@dataclass(frozen=True)
class Checked:
    """The rows of one chunk.

    `kept`: rows that keep the contract, with the schema of `applications_schema` or `outcomes_schema`, in the order of
    the input; the chunk itself where nothing was wrong with it. A column that the input lacks is there and all null.
    `quarantined`: the other rows as they came, in their order, as text with `quarantine_reason` (`quarantine_schema`);
    only the date is converted.
    """

    kept: pa.Table
    quarantined: pa.Table


@dataclass(frozen=True)
class ContractResult:
    """Rows and verdicts of the days checked: one chunk (`Checked`) and the gates of every day asked for."""

    kept: pa.Table
    quarantined: pa.Table
    gates: dict[date, tuple[GateResult, ...]]


@dataclass(frozen=True)
class _Problem:
    """Rows (by position, ascending) of a chunk that break one rule."""

    gate: str
    column: str
    text: str
    rows: Rows
    rejects: bool

    @property
    def mark(self) -> str:
        """What a row is marked with: its column for `values`, since a column may turn out to be at fault as a whole."""
        return self.column if self.gate == "values" else f"{self.gate}:"


@dataclass(frozen=True)
class _Found:
    """One rule over all chunks: how many rows of each day break it."""

    gate: str
    column: str
    text: str
    rejects: bool


@dataclass
class _Group:
    """The rows of one day and id that the chunks so far ended with: the next chunk may begin with more of them."""

    day: int
    id: Any
    first: pa.Table
    contradicts: bool
    marks: list[frozenset[str]]


class _Days:
    """The days asked for, and the day that each row counts for."""

    def __init__(self, days: Sequence[date]) -> None:
        import numpy as np

        if not days:
            raise ValueError("no day to check: name at least one")
        self.days = tuple(sorted(set(days)))
        self.edges = np.array(self.days, dtype="datetime64[D]").astype(np.int32)

    def __len__(self) -> int:
        return len(self.days)

    def locate(self, dates: pa.ChunkedArray) -> tuple[Rows, Rows, Mask]:
        """Runs of equal dates: their starts, the day that each counts for, and whether it is a day asked for."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = dates.cast(pa.int32())
        missing = None
        if numbers.null_count:
            missing = np.asarray(numbers.is_null().to_numpy(), dtype=bool)
            numbers = pc.fill_null(numbers, 0)
        values = np.asarray(numbers.to_numpy())
        changes = values[1:] != values[:-1]
        if missing is not None:
            changes = changes | (missing[1:] != missing[:-1])
        starts = np.concatenate(([0], np.flatnonzero(changes) + 1)) if len(values) else np.empty(0, dtype=np.intp)
        of_run = values[starts]
        found = np.searchsorted(self.edges, of_run).clip(max=len(self.edges) - 1)
        asked = self.edges[found] == of_run
        if missing is not None:
            asked = asked & ~missing[starts]
        return starts.astype(np.intp), np.where(asked, found, 0).astype(np.intp), asked


class Contract:
    """Rules of a table, and what the chunks so far have shown by day.

    `schema`: what rows kept have; `quarantine_schema`: what rows set aside have.
    """

    def __init__(
        self, columns: Sequence[Column], schema: pa.Schema, id_column: str, date_column: str, days: Sequence[date]
    ) -> None:
        self._days = _Days(days)
        self._columns, self.schema = tuple(columns), schema
        self.quarantine_schema = quarantine_schema(schema, date_column)
        self._id, self._date = id_column, date_column
        self._absent: tuple[str, ...] | None = None
        self._rows = self._none()
        self._missing: dict[str, Counts] = {}
        self._unreadable: dict[str, Counts] = {}
        self._found: dict[_Found, Counts] = {}
        # Rows by the marks they bear. A count for each rule would not do: one row may break several.
        self._marked: dict[frozenset[str], Counts] = {}
        self._group: _Group | None = None
        self._latest = -1

    def check(self, rows: pa.Table | pd.DataFrame, *, last: bool = False) -> Checked:
        """Sort the rows of the next chunk into kept and quarantined.

        `rows`: a table, best with the types of the schema, or a frame of values of any type; columns in any order, more
        than the contract's do not matter. Chunks come in order of (date, id); within a chunk rows may have any order.
        `last` says that no more rows of any day follow. Without it a day that the next chunk may go on with keeps no
        row of which a value is unreadable, though the whole column may turn out to be so.

        Rows that share an id on one day are compared across the border of two chunks too. Where the later one
        contradicts the first, which has been handed out as kept by then, the day is rejected: its rows must not be
        used whatever they look like. Raises ValueError where chunks lack different columns, or go back in time.
        """
        import numpy as np
        import pyarrow as pa

        size = len(rows)
        given = set(rows.column_names if isinstance(rows, pa.Table) else rows.columns)
        absent = tuple(column.name for column in self._columns if column.name not in given)
        if self._absent is None:
            self._absent = absent
        elif absent != self._absent:
            raise ValueError(
                f"this chunk lacks columns {', '.join(absent) or 'none'}, the chunks before it lacked "
                f"{', '.join(self._absent) or 'none'}: give chunks of one table"
            )
        source = {column.name: _column(rows, column.name) for column in self._columns if column.name not in absent}
        readings = {
            column.name: read(column, self.schema.field(column.name).type, source[column.name])
            for column in self._columns
            if column.name in source
        }
        typed = self._typed(rows, source, readings)
        chunk = _Chunk(typed, readings, *self._days.locate(typed.column(self._date)))
        self._keep_order(chunk)

        self._rows += chunk.rows_of_day(len(self._days))
        for name, reading in readings.items():
            self._add(self._missing, name, chunk, reading.missing)
            self._add(self._unreadable, name, chunk, reading.unreadable)
        problems = [*self._value_problems(chunk), *self._date_problems(chunk)]
        problems += self._id_problems(chunk, problems)
        self._count(chunk, problems)

        exempt = self._exempt(chunk, last)
        quarantined = np.zeros(size, dtype=bool)
        shown = []
        for problem in problems:
            at_fault = problem.rows
            if problem.gate == "values" and problem.column in exempt:
                at_fault = at_fault[~exempt[problem.column][chunk.day_of(at_fault)]]
            if len(at_fault):
                quarantined[at_fault] = True
                shown.append((at_fault, f"{problem.column}: {problem.text}"))
        if not shown:
            return Checked(typed, self.quarantine_schema.empty_table())
        return Checked(typed.filter(pa.array(~quarantined)), self._aside(source, typed, quarantined, shown))

    # Rows

    def _typed(self, rows: pa.Table | pd.DataFrame, source: Source, readings: Mapping[str, Reading]) -> pa.Table:
        import pyarrow as pa

        if (
            isinstance(rows, pa.Table)
            and rows.schema.equals(self.schema, check_metadata=True)
            and all(reading.values is source[name] for name, reading in readings.items())
        ):
            return rows
        columns = [
            readings[field.name].values if field.name in readings else pa.nulls(len(rows), field.type)
            for field in self.schema
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _aside(self, source: Source, typed: pa.Table, quarantined: Mask, shown: Iterable[tuple[Rows, str]]) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        at = np.flatnonzero(quarantined)
        reasons = np.full(len(at), "", dtype=object)
        for at_fault, text in shown:
            reasons[np.searchsorted(at, at_fault)] += f"; {text}"
        columns = []
        for field in self.schema:
            if field.name == self._date:
                columns.append(typed.column(field.name).take(pa.array(at)))
            elif field.name in source:
                columns.append(_texts(source[field.name], at))
            else:
                columns.append(pa.nulls(len(at), pa.string()))
        columns.append(pa.array([reason[2:] for reason in reasons], pa.string()))
        return pa.Table.from_arrays(columns, schema=self.quarantine_schema)

    # Problems

    def _value_problems(self, chunk: _Chunk) -> Iterable[_Problem]:
        import numpy as np

        for column in self._columns:
            reading = chunk.readings.get(column.name)
            if reading is None:
                continue
            rules = dict(reading.broken)
            if reading.missing is not None and not column.nullable:
                rules[MISSING] = reading.missing
            if reading.unreadable is not None:
                rules[UNREADABLE[column.type]] = reading.unreadable
            for text, mask in sorted(rules.items()):
                rejects = column.on_violation == "reject"
                yield _Problem("values", column.name, text, np.flatnonzero(mask), rejects)

    def _date_problems(self, chunk: _Chunk) -> Iterable[_Problem]:
        import numpy as np

        if chunk.asked.all():
            return
        dated = np.asarray(chunk.typed.column(self._date).is_valid().to_numpy(), dtype=bool)
        rows = np.flatnonzero(dated & ~np.repeat(chunk.asked, chunk.lengths))
        if len(rows):
            yield _Problem("partition_date", self._date, _OTHER_DAY, rows, True)

    def _id_problems(self, chunk: _Chunk, others: Sequence[_Problem]) -> list[_Problem]:
        """Rows that share their id with another of the day; `others` are the problems that the rows have besides."""
        import numpy as np
        import pyarrow as pa

        size = chunk.typed.num_rows
        if self._id not in chunk.readings or not size:
            return []
        group = self._group
        repeated = chunk.repeated(self._id)
        if group is not None:
            more = chunk.rows_with(self._id, group.day, group.id)
            repeated = np.union1d(repeated, more) if len(more) else repeated
            group = group if len(more) else None
        contradicts, copies = np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
        if len(repeated):
            same = chunk.typed.take(pa.array(repeated))
            days = chunk.day_of(repeated)
            if group is not None:
                same, days = pa.concat_tables([group.first, same]), np.concatenate(([group.day], days))
            contradict, first = _compare(same, days, self._id, self._date)
            if group is not None:
                if group.contradicts:
                    contradict |= _is(same.column(self._id), days, group.id, group.day)
                elif contradict[0]:
                    self._disown(group)
                contradict, first = contradict[1:], first[1:]
            contradicts, copies = repeated[contradict], repeated[~contradict & ~first]
        found = [
            _Problem("unique_ids", self._id, text, rows, rejects)
            for text, rows, rejects in ((_COPY, copies, False), (_CONTRADICTION, contradicts, True))
            if len(rows)
        ]
        self._remember(chunk, repeated, contradicts, [*others, *found], group)
        return found

    def _disown(self, group: _Group) -> None:
        """Count the rows of a group as contradictions that chunks before counted as sound, or as copies."""
        self._counts(_Found("unique_ids", self._id, _COPY, False))[group.day] -= len(group.marks) - 1
        self._counts(_Found("unique_ids", self._id, _CONTRADICTION, True))[group.day] += len(group.marks)
        for number, marks in enumerate(group.marks):
            if "unique_ids:" not in marks:
                self._marks(marks)[group.day] -= 1
                group.marks[number] = marks | {"unique_ids:"}
                self._marks(group.marks[number])[group.day] += 1

    def _remember(
        self, chunk: _Chunk, repeated: Rows, contradicts: Rows, problems: Sequence[_Problem], before: _Group | None
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
        marks = [frozenset(p.mark for p in problems if _holds(p.rows, row)) for row in rows]
        if before is not None and (before.day, before.id) == (day, key):
            before.marks += marks
            before.contradicts |= _holds(contradicts, end)
        else:
            # Taken, not sliced: a slice would hold the chunk's memory.
            first = chunk.typed.take(pa.array(rows[:1]))
            self._group = _Group(day, key, first, _holds(contradicts, end), marks)

    def _exempt(self, chunk: _Chunk, last: bool) -> dict[str, Mask]:
        """Days, by column, whose unreadable or missing values are no row's fault, and will not be."""
        import numpy as np

        whole = self._whole_columns()
        if whole and not last:
            # Rows may follow for the day reached, and for the first one, which rows of no day asked for count for.
            finished = np.arange(len(self._days)) < self._latest
            finished[0] = False
            whole = {name: days & finished for name, days in whole.items()}
        return {name: days for name, days in whole.items() if days.any()}

    def _keep_order(self, chunk: _Chunk) -> None:
        days = chunk.run_days[chunk.asked]
        if len(days):
            if days.min() < self._latest:
                raise ValueError(
                    f"this chunk has rows of {self._days.days[days.min()]}, the one before it had rows of "
                    f"{self._days.days[self._latest]}: give the chunks in order of (date, id)"
                )
            self._latest = int(days.max())

    # Counts by day

    def _none(self) -> Counts:
        import numpy as np

        return np.zeros(len(self._days), dtype=np.int64)

    def _counts(self, found: _Found) -> Counts:
        return self._found.setdefault(found, self._none())

    def _marks(self, marks: frozenset[str]) -> Counts:
        return self._marked.setdefault(marks, self._none())

    def _add(self, counts: dict[str, Counts], name: str, chunk: _Chunk, mask: Mask | None) -> None:
        if mask is not None:
            counts[name] = counts.get(name, self._none()) + chunk.by_day(mask, len(self._days))

    def _count(self, chunk: _Chunk, problems: Sequence[_Problem]) -> None:
        import numpy as np

        if not problems:
            return
        at = np.unique(np.concatenate([problem.rows for problem in problems]))
        day = chunk.day_of(at)
        marks = list(dict.fromkeys(problem.mark for problem in problems))
        borne = np.zeros((len(at), len(marks)), dtype=bool)
        for problem in problems:
            where = np.searchsorted(at, problem.rows)
            borne[where, marks.index(problem.mark)] = True
            counts = np.bincount(day[where], minlength=len(self._days))
            self._counts(_Found(problem.gate, problem.column, problem.text, problem.rejects))[:] += counts
        pattern = np.zeros(len(at), dtype=np.int64)
        for column in borne.T:
            pattern = np.unique(2 * pattern + column, return_inverse=True)[1]
        for number, row in enumerate(np.unique(pattern, return_index=True)[1]):
            names = frozenset(mark for mark, one in zip(marks, borne[row], strict=True) if one)
            self._marks(names)[:] += np.bincount(day[pattern == number], minlength=len(self._days))

    def _whole_columns(self) -> dict[str, Mask]:
        """Days, by column, on which no value could be read though several were given."""
        whole = {}
        for name, bad in self._unreadable.items():
            days = (bad >= _WHOLE_COLUMN) & (self._rows == bad + self._missing.get(name, 0))
            if days.any():
                whole[name] = days
        return whole

    def _broken(self, *, values_only: bool) -> Counts:
        """Rows of each day that break a rule: of `values` alone, or any."""
        import numpy as np

        whole, total = self._whole_columns(), self._none()
        for marks, counts in self._marked.items():
            judged = [mark for mark in marks if not (values_only and mark.endswith(":"))]
            if not judged:
                continue
            excused = np.ones(len(total), dtype=bool)
            for mark in judged:
                excused &= whole.get(mark, False)
            total += np.where(excused, 0, counts)
        return total

    # Gates: one result for every day, in order of days

    def gates(self) -> dict[date, tuple[GateResult, ...]]:
        """The gates of every day asked for, over all chunks checked so far."""
        return dict(zip(self._days.days, zip(*self._gates(), strict=True), strict=True))

    def _gates(self) -> Sequence[Sequence[GateResult]]:
        raise NotImplementedError

    def _schema_gate(self) -> list[GateResult]:
        whole = self._whole_columns()
        faults: list[tuple[str, str, Mask | None]] = [(name, "missing column", None) for name in self._absent or ()]
        faults += [(c.name, f"unreadable as {c.type}", whole[c.name]) for c in self._columns if c.name in whole]

        def gate(details: tuple[dict[str, Any], ...]) -> GateResult:
            return GateResult(
                name="schema",
                passed=not details,
                severity="error",
                value=len(details),
                threshold="0 columns missing or unreadable",
                description="Every column of the contract is there and readable as its type."
                if not details
                else "Columns are missing or cannot be read as their type; correct the source or the portfolio file.",
                details=details,
            )

        if not faults:
            return [gate(())] * len(self._days)
        return [
            gate(tuple(detail(name, text, rows) for name, text, where in faults if where is None or where[index]))
            for index, rows in enumerate(self._rows.tolist())
        ]

    def _values_gate(self) -> list[GateResult]:
        return self._row_gate(
            "values",
            passed="All values keep the column contract.",
            warns="Rows break the column contract and are quarantined.",
            fails="Rows break the contract of columns that reject the partition; correct the source.",
        )

    def _unique_ids_gate(self) -> list[GateResult]:
        return self._row_gate(
            "unique_ids",
            passed="Every id stands once in the day.",
            warns="Equal copies of rows are quarantined; the first of each is kept.",
            fails="Rows that differ share an id, and nothing says which of them is right; correct the source.",
        )

    def _partition_date_gate(self) -> list[GateResult]:
        return self._row_gate(
            "partition_date",
            passed="Every row bears the date of its partition.",
            warns="",
            fails="Rows bear the date of another day; correct the query or the source.",
        )

    def _row_gate(self, gate: str, *, passed: str, warns: str, fails: str) -> list[GateResult]:
        import numpy as np

        def result(rows: int, rejected: bool, details: tuple[dict[str, Any], ...]) -> GateResult:
            return GateResult(
                name=gate,
                passed=not rows,
                severity="error" if rejected or not rows else "warn",
                value=rows,
                threshold="0 rows",
                description=fails if rejected else warns if rows else passed,
                details=details,
            )

        results = [result(0, False, ())] * len(self._days)
        order = {column.name: number for number, column in enumerate(self._columns)}
        whole = self._whole_columns() if gate == "values" else {}
        found = {
            one: np.where(whole[one.column], 0, counts) if one.column in whole else counts
            for one, counts in sorted(self._found.items(), key=lambda item: (order[item[0].column], item[0].text))
            if one.gate == gate
        }
        if not found:
            return results
        # The problems of the other gates exclude each other; a row may break several rules on values.
        broken = self._broken(values_only=True) if gate == "values" else np.sum(list(found.values()), axis=0)
        for index in np.flatnonzero(broken):
            here = [(one, int(counts[index])) for one, counts in found.items() if counts[index]]
            results[index] = result(
                int(broken[index]),
                any(one.rejects for one, _ in here),
                tuple(detail(one.column, one.text, count) for one, count in here),
            )
        return results


class ApplicationsContract(Contract):
    """The applications of `days`, held against the portfolio.

    `recent_volume` gives the number of applications of earlier days, as far back as `gates.volume_history_days` (days
    left out, or without an application, are not compared with). A row whose date is missing or in none of `days` counts
    for the first of them.

    Gates of each day: `schema` (columns there, readable as their type), `values` (nulls, ranges, allowed values),
    `unique_ids`, `partition_date`, `volume`, `missing_share`, `quarantined_share`. Rows that break `values` are
    quarantined; where the column says `on_violation: reject` they also reject the day. Equal copies of an application
    are quarantined but for the first; applications that differ under one id reject the day. A day with a gate that
    blocks is rejected as a whole: its rows are still sorted into kept and quarantined, for whoever looks into it, but
    must not be used.

    Raises ValueError where `days` is empty.
    """

    def __init__(self, portfolio: Portfolio, days: Sequence[date], recent_volume: Mapping[date, int]) -> None:
        super().__init__(
            portfolio.columns, applications_schema(portfolio), portfolio.id_column, portfolio.date_column, days
        )
        self._limits = portfolio.gates
        self._recent = {day.toordinal(): count for day, count in recent_volume.items() if count}

    def _gates(self) -> Sequence[Sequence[GateResult]]:
        return (
            self._schema_gate(),
            self._values_gate(),
            self._unique_ids_gate(),
            self._partition_date_gate(),
            [self._volume_gate(day, rows) for day, rows in zip(self._days.days, self._rows.tolist(), strict=True)],
            self._missing_share_gate(),
            self._quarantined_share_gate(),
        )

    def _volume_gate(self, day: date, rows: int) -> GateResult:
        """A day's rows against the median of the recent days that had any.

        Warns when the count leaves the median by more than VOLUME_DEVIATIONS standard deviations of a Poisson count, on
        the scale where these are constant (2 sqrt(n); Anscombe 1948), and by more than half the way to
        `volume_max_ratio` (its root, half of it on the log scale): books grow and Sundays are quiet. Beyond
        `volume_max_ratio` it blocks, if at least `volume_min_expected` rows were expected. An empty day is valid and
        warns.
        """
        limits = self._limits
        today = day.toordinal()
        earlier = range(today - limits.volume_history_days, today)
        counts = [count for count in map(self._recent.get, earlier) if count]
        expected = float(median(counts)) if counts else 0.0
        passed, severity, text = True, "warn", "The number of rows is in line with the recent days."
        if rows == 0:
            passed, text = False, "The day is empty: a valid partition without rows, if nobody applied."
        elif not counts:
            text = "No recent day to compare with."
        else:
            ratio = max(rows / expected, expected / rows)
            unlikely = 2 * abs(sqrt(rows) - sqrt(expected)) > VOLUME_DEVIATIONS
            if unlikely and ratio > limits.volume_max_ratio and expected >= limits.volume_min_expected:
                passed, severity = False, "error"
                text = "The number of rows is far from the recent days; see whether the load was cut short or doubled."
            elif unlikely and ratio > sqrt(limits.volume_max_ratio):
                passed, text = False, "The number of rows is unusual against the recent days."
        return GateResult(
            name="volume",
            passed=passed,
            severity="error" if severity == "error" else "warn",
            value=rows,
            threshold=f"within a factor of {limits.volume_max_ratio:g} of {expected:g}, the median of {len(counts)} "
            f"days of the last {limits.volume_history_days}"
            if counts
            else "at least 1 row",
            description=text,
        )

    def _missing_share_gate(self) -> list[GateResult]:
        import numpy as np

        absent = self._absent or ()
        limits = {
            c.name: c.max_missing_share for c in self._columns if c.max_missing_share < 1 and c.name not in absent
        }
        counts = np.zeros((len(self._days), len(limits)), dtype=np.int64)
        for number, name in enumerate(limits):
            counts[:, number] = self._missing.get(name, 0)
        return missing_share_gates(limits, counts, self._rows)

    def _quarantined_share_gate(self) -> list[GateResult]:
        limit, rows = self._limits.max_quarantined_share, self._broken(values_only=False)
        failed = exceeds(rows, self._rows, limit, QUARANTINED_CHANCE)

        def gate(share: float, failed: bool) -> GateResult:
            return GateResult(
                name="quarantined_share",
                passed=not failed,
                severity="error",
                value=share,
                threshold=f"at most {limit:.4g} of the rows, beyond chance",
                description="Few enough rows were set aside."
                if not failed
                else "Too many rows break the contract; correct the source, or the contract where it is wrong.",
            )

        sound = gate(0.0, False)
        return [
            gate(int(rows[index]) / total, bool(failed[index])) if rows[index] else sound
            for index, total in enumerate(self._rows.tolist())
        ]


class OutcomesContract(Contract):
    """The outcomes that became known on `days`, held against their contract.

    Id and date must be there, `defaulted` must be 0 or 1 (booleans and their usual texts are read), and an application
    has one outcome a day. Gates: `schema`, `values`, `unique_ids`, `partition_date`. What breaks `values` rejects the
    day, since a lost default would make the cohort look better than it is.
    Raises ValueError where `days` is empty.
    """

    def __init__(self, portfolio: Portfolio, days: Sequence[date]) -> None:
        names = portfolio.outcomes
        key = portfolio.column(portfolio.id_column).type
        columns = (
            Column(name=names.id, type=key, role="id", nullable=False, on_violation="reject"),
            Column(name=names.date, type="date", role="date", nullable=False, on_violation="reject"),
            Column(name=names.defaulted, type="boolean", role="ignored", nullable=False, on_violation="reject"),
        )
        super().__init__(columns, outcomes_schema(portfolio), names.id, names.date, days)

    def _gates(self) -> Sequence[Sequence[GateResult]]:
        return self._schema_gate(), self._values_gate(), self._unique_ids_gate(), self._partition_date_gate()


class _Chunk:
    """Rows as their types, in runs of equal dates."""

    def __init__(
        self, typed: pa.Table, readings: Mapping[str, Reading], starts: Rows, run_days: Rows, asked: Mask
    ) -> None:
        import numpy as np

        self.typed, self.readings = typed, readings
        self.starts, self.run_days, self.asked = starts, run_days, asked
        self.lengths = np.diff(starts, append=typed.num_rows)

    def day_of(self, rows: Rows) -> Rows:
        """The day, by its position, that each of the rows counts for."""
        import numpy as np

        return self.run_days[np.searchsorted(self.starts, rows, "right") - 1]

    def rows_of_day(self, days: int) -> Counts:
        return self._by_day(self.lengths, days)

    def by_day(self, mask: Mask, days: int) -> Counts:
        import numpy as np

        before = np.searchsorted(np.flatnonzero(mask), np.append(self.starts, len(mask)))
        return self._by_day(np.diff(before), days)

    def _by_day(self, of_runs: Rows, days: int) -> Counts:
        import numpy as np

        counts = np.zeros(days, dtype=np.int64)
        np.add.at(counts, self.run_days, of_runs)
        return counts

    def repeated(self, id_column: str) -> Rows:
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
        missing = np.asarray(codes.is_null().to_numpy(zero_copy_only=False), dtype=bool)
        rows = np.flatnonzero(~missing)
        keys = codes.fill_null(0).to_numpy()[rows] + self.day_of(rows) * size
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        return np.sort(rows[order[np.union1d(same, same + 1)]])

    def rows_with(self, id_column: str, day: int, key: Any) -> Rows:
        """Rows of that day and id, if the chunk begins with one."""
        import numpy as np
        import pyarrow.compute as pc

        ids = self.typed.column(id_column)
        if self.run_days[0] != day or ids[0].as_py() != key:
            return np.empty(0, dtype=np.intp)
        rows = np.flatnonzero(pc.fill_null(pc.equal(ids, key), False).to_numpy())
        return np.asarray(rows[self.day_of(rows) == day])


def check_applications(
    rows: pa.Table | pd.DataFrame, portfolio: Portfolio, days: Sequence[date], recent_volume: Mapping[date, int]
) -> ContractResult:
    """Hold all applications of `days` against the portfolio at once (`ApplicationsContract`)."""
    return _at_once(ApplicationsContract(portfolio, days, recent_volume), rows)


def check_outcomes(rows: pa.Table | pd.DataFrame, portfolio: Portfolio, days: Sequence[date]) -> ContractResult:
    """Hold all outcomes of `days` against their contract at once (`OutcomesContract`)."""
    return _at_once(OutcomesContract(portfolio, days), rows)


def _at_once(contract: Contract, rows: pa.Table | pd.DataFrame) -> ContractResult:
    checked = contract.check(rows, last=True)
    return ContractResult(checked.kept, checked.quarantined, contract.gates())


def missing_share_gates(
    limits: Mapping[str, float], counts: NDArray[np.int64], rows: NDArray[np.int64]
) -> list[GateResult]:
    """The gate `missing_share` for each of n sets of rows.

    `limits` gives the largest share for each of k columns, `counts` (n x k) the missing values found, `rows` (n) the
    rows. A share fails where it is above its limit and chance does not explain it (`exceeds`). The value is the share
    of the column that is furthest above its limit, or nearest to it.
    """
    import numpy as np

    names, allowed = list(limits), np.array(list(limits.values()), dtype="float64")
    shares = counts / np.maximum(rows, 1)[:, None]
    failed = exceeds(counts, rows[:, None], allowed[None, :], MISSING_CHANCE)
    blocked = np.any(failed, axis=1)
    # Of the columns at fault where there are any, else of all of them: the one furthest above its limit.
    above = np.where(failed | ~blocked[:, None], shares - allowed, -np.inf)
    worst = above.argmax(axis=1).tolist() if names else [0] * len(rows)
    thresholds = [f"at most {limit:.4g} of {name}, beyond chance" for name, limit in limits.items()]
    gates = []
    for index, (column, block) in enumerate(zip(worst, list(blocked), strict=True)):
        gates.append(
            GateResult(
                name="missing_share",
                passed=not block,
                severity="error",
                value=float(shares[index, column]) if names else None,
                threshold=thresholds[column] if names else "no column with a limit",
                description="Columns miss more values than their contract allows; correct the source."
                if block
                else "No column misses more values than its contract allows.",
                details=tuple(
                    detail(names[i], f"missing, at most {allowed[i]:.4g} of the rows", counts[index, i])
                    for i in np.flatnonzero(failed[index])
                )
                if block
                else (),
            )
        )
    return gates


def exceeds(counts: Any, rows: Any, limit: Any, chance: float) -> Mask:
    """Whether counts / rows lies above `limit` by more than chance explains; works elementwise on arrays.

    Chance: the binomial probability of `counts` or more among `rows` at a rate of exactly `limit`, which must be below
    `chance`. P(X >= k) = I_limit(k, n - k + 1), the regularized incomplete beta function (Abramowitz and Stegun
    26.5.24). At 5%: 4 of 25 have probability 0.034, 5 of 25 have 0.0072.
    """
    import numpy as np

    k, n, p = np.broadcast_arrays(
        np.asarray(counts, dtype="float64"), np.asarray(rows, dtype="float64"), np.asarray(limit, dtype="float64")
    )
    above = k > n * p
    if not above.any():
        return np.asarray(above)
    from scipy.special import betainc

    probability = np.ones(k.shape)
    probability[above] = betainc(k[above], n[above] - k[above] + 1, p[above])
    return np.asarray(above & (probability < chance))


def _compare(rows: pa.Table, days: Rows, id_column: str, date_column: str) -> tuple[Mask, Mask]:
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


def _is(ids: pa.ChunkedArray, days: Rows, key: Any, day: int) -> Mask:
    import numpy as np
    import pyarrow.compute as pc

    same = np.asarray(pc.fill_null(pc.equal(ids, key), False).to_numpy(), dtype=bool)
    return np.asarray(same & (days == day))


def _holds(rows: Rows, row: int) -> bool:
    """Whether the ascending `rows` hold `row`."""
    import numpy as np

    at = int(np.searchsorted(rows, row))
    return at < len(rows) and int(rows[at]) == row


def _column(rows: pa.Table | pd.DataFrame, name: str) -> pa.ChunkedArray | pd.Series[Any]:
    import pyarrow as pa

    return rows.column(name) if isinstance(rows, pa.Table) else rows[name].reset_index(drop=True)


def _texts(given: pa.ChunkedArray | pd.Series[Any], at: Rows) -> pa.Array | pa.ChunkedArray:
    """The values of some rows as text, null where missing."""
    import pyarrow as pa

    if not isinstance(given, pa.ChunkedArray):
        return pa.array(given.iloc[at].astype("string"), type=pa.string(), from_pandas=True)
    taken = given.take(pa.array(at))
    if pa.types.is_string(taken.type):
        return taken
    return pa.array([None if v is None or v != v else str(v) for v in taken.to_pylist()], pa.string())
