"""The data contract: applications and outcomes of many days held against the portfolio's rules, in one pass.

Belongs here: the pandera schema built from a portfolio, the sorting of rows into kept and quarantined, and the gates
of each day. Does not belong here: reading or writing data, and any gate that needs the target (`cohorts`).

A day is judged by its own rows and by the volumes of the days before it, never by what else is in the frame: checked
alone or among a thousand others, it gets the same verdict. That is what lets a backfill take a year at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING, Any

from credit_assets.ml.features import as_categories, as_days, as_numbers
from credit_assets.ml.gates import GateResult, detail
from credit_assets.ml.portfolio import Column, Portfolio
from credit_assets.ml.schemas import REASON

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]
    Mask = NDArray[np.bool_]

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

_DTYPES = {
    "string": "object",
    "category": "object",
    "integer": "Int64",
    "float": "float64",
    "boolean": "boolean",
    "date": "datetime64[ms]",
}
_UNREADABLE = {
    "integer": "not a whole number",
    "float": "not a finite number",
    "boolean": "not true or false",
    "date": "not a date",
}
_FLAGS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}


@dataclass(frozen=True)
class ContractResult:
    """Rows and verdicts of the days checked.

    `kept`: rows that keep the contract, every column of the table in file order, in its type (float64, Int64, boolean,
    str objects, datetime64[ms]), in the order of the input. A column that the input lacks is there and all missing.
    `quarantined`: the other rows as they came, with `quarantine_reason`; only the date is converted.
    `gates`: the gates of every day asked for. A day with a gate that blocks is rejected as a whole: its rows are
    still sorted into kept and quarantined, for whoever looks into it, but must not be used.
    """

    kept: pd.DataFrame
    quarantined: pd.DataFrame
    gates: dict[date, tuple[GateResult, ...]]


@dataclass(frozen=True)
class _Problem:
    """Rows (by position) of one column that break one rule."""

    gate: str
    column: str
    text: str
    rows: Rows
    rejects: bool


def contract_schema(columns: Iterable[Column]) -> pa.DataFrameSchema:
    """The rules of the columns on values as a pandera schema, for a frame whose columns have their types already.

    Range and allowed values do not judge missing values; `nullable` does.
    """
    import pandera.pandas as pa

    fields = {}
    for column in columns:
        checks = []
        if column.minimum is not None:
            checks.append(pa.Check.ge(column.minimum, error=f"below {column.minimum:g}"))
        if column.maximum is not None:
            checks.append(pa.Check.le(column.maximum, error=f"above {column.maximum:g}"))
        if column.allowed is not None:
            checks.append(pa.Check.isin(list(column.allowed), error="not an allowed value"))
        fields[column.name] = pa.Column(_DTYPES[column.type], checks, nullable=column.nullable, required=True)
    return pa.DataFrameSchema(fields)


def check_applications(
    frame: pd.DataFrame, portfolio: Portfolio, days: Sequence[date], recent_volume: Mapping[date, int]
) -> ContractResult:
    """Hold the applications of `days` against the portfolio.

    `frame` has one row an application; `recent_volume` gives the number of applications of earlier days, as far back as
    `gates.volume_history_days` (days left out, or without an application, are not compared with). A row whose date is
    missing or in none of `days` counts for the first of them.

    Gates of each day: `schema` (columns there, readable as their type), `values` (nulls, ranges, allowed values),
    `unique_ids`, `partition_date`, `volume`, `missing_share`, `quarantined_share`. Rows that break `values` are
    quarantined; where the column says `on_violation: reject` they also reject the day. Equal copies of an application
    are quarantined but for the first; applications that differ under one id reject the day.
    Raises ValueError where `days` is empty.
    """
    table = _Table(frame, portfolio.columns, portfolio.id_column, portfolio.date_column, days)
    gates = (
        table.schema_gate(),
        table.values_gate(),
        table.unique_ids_gate(),
        table.partition_date_gate(),
        _volume_gate(table, portfolio, recent_volume),
        table.missing_share_gate(),
        table.quarantined_share_gate(portfolio.gates.max_quarantined_share),
    )
    return table.result(gates)


def check_outcomes(frame: pd.DataFrame, portfolio: Portfolio, days: Sequence[date]) -> ContractResult:
    """Hold the outcomes that became known on `days` against their contract.

    Id and date must be there, `defaulted` must be 0 or 1 (booleans and their usual texts are read), and an application
    has one outcome a day. Gates: `schema`, `values`, `unique_ids`, `partition_date`. What breaks `values` rejects the
    day, since a lost default would make the cohort look better than it is. In `kept`, `defaulted` is int8.
    Raises ValueError where `days` is empty.
    """
    names = portfolio.outcomes
    key = portfolio.column(portfolio.id_column).type
    columns = (
        Column(name=names.id, type=key, role="id", nullable=False, on_violation="reject"),
        Column(name=names.date, type="date", role="date", nullable=False, on_violation="reject"),
        Column(name=names.defaulted, type="boolean", role="ignored", nullable=False, on_violation="reject"),
    )
    table = _Table(frame, columns, names.id, names.date, days)
    gates = (table.schema_gate(), table.values_gate(), table.unique_ids_gate(), table.partition_date_gate())
    result = table.result(gates)
    # Rows kept have their outcome, except where the whole column is missing or unreadable and the day is rejected.
    defaulted = result.kept[names.defaulted]
    kept = result.kept.assign(**{names.defaulted: defaulted.astype("Int8" if defaulted.isna().any() else "int8")})
    return ContractResult(kept, result.quarantined, result.gates)


class _Table:
    """One pass over a frame: columns read as their types, problems by row, and their counts by day."""

    def __init__(
        self, frame: pd.DataFrame, columns: Sequence[Column], id_column: str, date_column: str, days: Sequence[date]
    ) -> None:
        import numpy as np
        import pandas as pd

        if not days:
            raise ValueError("no day to check: name at least one")
        self.columns, self.id_column, self.date_column = tuple(columns), id_column, date_column
        self.days = tuple(sorted(set(days)))
        self.source = frame.reset_index(drop=True)
        self.absent = [column.name for column in self.columns if column.name not in frame.columns]
        self.present = [column for column in self.columns if column.name not in self.absent]

        read = {column.name: _read(self.source, column) for column in self.columns}
        self.typed = pd.DataFrame({name: values for name, (values, _) in read.items()}, index=self.source.index)
        self.unreadable: dict[str, Mask] = {name: mask for name, (_, mask) in read.items()}

        edges = np.array(self.days, dtype="datetime64[D]")
        dates = self.typed[date_column].to_numpy().astype("datetime64[D]")
        found = np.searchsorted(edges, dates).clip(max=len(edges) - 1)
        self.in_days: Mask = edges[found] == dates
        self.day = np.where(self.in_days, found, 0).astype(np.intp)
        self.rows_of_day = np.bincount(self.day, minlength=len(self.days))

        # Whole columns first: their values are then no row's fault.
        self.unreadable_columns: dict[str, Mask] = {}
        for column in self.present:
            bad = self._by_day(self.unreadable[column.name])
            readable = self._by_day(self.typed[column.name].notna().to_numpy(dtype=bool))
            whole = (bad >= _WHOLE_COLUMN) & (readable == 0)
            if whole.any():
                self.unreadable_columns[column.name] = whole
        self.problems = [*self._value_problems(), *self._date_problems(), *self._id_problems()]
        self.quarantine: Mask = np.zeros(len(self.source), dtype=bool)
        for problem in self.problems:
            self.quarantine[problem.rows] = True

    def result(self, gates: Sequence[dict[int, GateResult]]) -> ContractResult:
        import numpy as np

        names = [column.name for column in self.columns]
        kept = self.typed.loc[~self.quarantine, names].reset_index(drop=True)
        rows = np.flatnonzero(self.quarantine)
        reasons = np.full(len(self.source), "", dtype=object)
        for problem in self.problems:
            reasons[problem.rows] += f"; {problem.column}: {problem.text}"
        aside = self.source.iloc[rows].reindex(columns=names)
        aside[self.date_column] = self.typed[self.date_column].iloc[rows]
        aside[REASON] = [reason[2:] for reason in reasons[rows]]
        by_day = {day: tuple(gate[index] for gate in gates) for index, day in enumerate(self.days)}
        return ContractResult(kept, aside.reset_index(drop=True), by_day)

    # Problems

    def _value_problems(self) -> list[_Problem]:
        import numpy as np
        import pandera.errors

        judged = [column for column in self.present if not self.unreadable_columns.get(column.name, _NONE).all()]
        failed: dict[tuple[str, str], Rows] = {}
        try:
            contract_schema(judged).validate(self.typed, lazy=True)
        except pandera.errors.SchemaErrors as errors:
            cases = errors.failure_cases
            for (name, check), rows in cases.groupby(["column", "check"], sort=False)["index"]:
                failed[str(name), str(check)] = np.sort(rows.to_numpy(dtype=np.intp))
        problems = []
        for column in judged:
            whole = self.unreadable_columns.get(column.name)
            unreadable = self.unreadable[column.name]
            # A value that could not be read is missing in the typed frame, and must not be counted as a null too.
            found = {"not_nullable": unreadable} if column.nullable else {}
            rules = {_UNREADABLE.get(column.type, ""): np.flatnonzero(unreadable)}
            for (name, check), rows in failed.items():
                if name == column.name:
                    rules["missing" if check == "not_nullable" else check] = (
                        rows[~unreadable[rows]] if check == "not_nullable" else rows
                    )
            del found
            for text, rows in sorted(rules.items()):
                if whole is not None:
                    rows = rows[~whole[self.day[rows]]]
                if len(rows):
                    problems.append(_Problem("values", column.name, text, rows, column.on_violation == "reject"))
        return problems

    def _date_problems(self) -> list[_Problem]:
        import numpy as np

        dated = self.typed[self.date_column].notna().to_numpy(dtype=bool)
        rows = np.flatnonzero(dated & ~self.in_days)
        return [_Problem("partition_date", self.date_column, "not of the partition", rows, True)] if len(rows) else []

    def _id_problems(self) -> list[_Problem]:
        import numpy as np

        if self.id_column in self.absent:
            return []
        ids = self.typed[self.id_column]
        key = ids.to_frame("id").assign(day=self.day)
        repeated = np.flatnonzero(key.duplicated(keep=False).to_numpy() & ids.notna().to_numpy(dtype=bool))
        if not len(repeated):
            return []
        copies = self.typed.iloc[repeated].assign(**{self.date_column: self.day[repeated]})
        first = ~copies.duplicated(keep="first").to_numpy()
        # Rows left after equal copies are gone: more than one of an id means that they contradict each other.
        left = copies.assign(left=first).groupby([self.date_column, self.id_column], sort=False)["left"]
        contradict = left.transform("sum").to_numpy() > 1
        problems = []
        for text, rows, rejects in (
            ("equal copy of an earlier row", repeated[~contradict & ~first], False),
            ("repeated with other values", repeated[contradict], True),
        ):
            if len(rows):
                problems.append(_Problem("unique_ids", self.id_column, text, rows, rejects))
        return problems

    # Gates: one result for every day, by the day's position in `days`

    def schema_gate(self) -> dict[int, GateResult]:
        gates = {}
        faults = [(name, "missing column", None) for name in self.absent]
        faults += [
            (column.name, f"unreadable as {column.type}", self.unreadable_columns[column.name])
            for column in self.columns
            if column.name in self.unreadable_columns
        ]
        for index in range(len(self.days)):
            rows = int(self.rows_of_day[index])
            details = tuple(detail(name, text, rows) for name, text, where in faults if where is None or where[index])
            gates[index] = GateResult(
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
        return gates

    def values_gate(self) -> dict[int, GateResult]:
        return self._row_gate(
            "values",
            passed="All values keep the column contract.",
            warns="Rows break the column contract and are quarantined.",
            fails="Rows break the contract of columns that reject the partition; correct the source.",
        )

    def unique_ids_gate(self) -> dict[int, GateResult]:
        return self._row_gate(
            "unique_ids",
            passed="Every id stands once in the day.",
            warns="Equal copies of rows are quarantined; the first of each is kept.",
            fails="Rows that differ share an id, and nothing says which of them is right; correct the source.",
        )

    def partition_date_gate(self) -> dict[int, GateResult]:
        return self._row_gate(
            "partition_date",
            passed="Every row bears the date of its partition.",
            warns="",
            fails="Rows bear the date of another day; correct the query or the source.",
        )

    def _row_gate(self, gate: str, *, passed: str, warns: str, fails: str) -> dict[int, GateResult]:
        import numpy as np

        problems = [problem for problem in self.problems if problem.gate == gate]
        broken = np.zeros(len(self.source), dtype=bool)
        rejected = np.zeros(len(self.days), dtype=bool)
        details: dict[int, list[dict[str, Any]]] = {}
        for problem in problems:
            broken[problem.rows] = True
            counts = np.bincount(self.day[problem.rows], minlength=len(self.days))
            rejected |= problem.rejects & (counts > 0)
            for index in np.flatnonzero(counts):
                details.setdefault(int(index), []).append(detail(problem.column, problem.text, counts[index]))
        rows = self._by_day(broken)
        return {
            index: GateResult(
                name=gate,
                passed=not rows[index],
                severity="error" if rejected[index] or not rows[index] else "warn",
                value=int(rows[index]),
                threshold="0 rows",
                description=fails if rejected[index] else warns if rows[index] else passed,
                details=tuple(details.get(index, ())),
            )
            for index in range(len(self.days))
        }

    def missing_share_gate(self) -> dict[int, GateResult]:
        limited = [column for column in self.present if column.max_missing_share < 1]
        counts = [
            self._by_day((self.typed[c.name].isna().to_numpy(dtype=bool)) & ~self.unreadable[c.name]) for c in limited
        ]
        limits = [column.max_missing_share for column in limited]
        failed = [exceeds(k, self.rows_of_day, p, MISSING_CHANCE) for k, p in zip(counts, limits, strict=True)]
        gates = {}
        for index, rows in enumerate(self.rows_of_day.tolist()):
            shares = [int(k[index]) / rows if rows else 0.0 for k in counts]
            at_fault = [i for i in range(len(limited)) if failed[i][index]]
            gates[index] = missing_share_result(
                [column.name for column in limited],
                shares,
                limits,
                [int(k[index]) for k in counts],
                at_fault,
            )
        return gates

    def quarantined_share_gate(self, limit: float) -> dict[int, GateResult]:
        rows = self._by_day(self.quarantine)
        failed = exceeds(rows, self.rows_of_day, limit, QUARANTINED_CHANCE)
        gates = {}
        for index, total in enumerate(self.rows_of_day.tolist()):
            gates[index] = GateResult(
                name="quarantined_share",
                passed=not failed[index],
                severity="error",
                value=int(rows[index]) / total if total else 0.0,
                threshold=f"at most {limit:.4g} of the rows, beyond chance",
                description="Few enough rows were set aside."
                if not failed[index]
                else "Too many rows break the contract; correct the source, or the contract where it is wrong.",
            )
        return gates

    def _by_day(self, mask: Mask) -> NDArray[np.int64]:
        import numpy as np

        return np.bincount(self.day[mask], minlength=len(self.days))
