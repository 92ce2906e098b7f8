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

        failed: dict[str, dict[str, Rows]] = {column.name: {} for column in self.present}
        try:
            contract_schema(self.present).validate(self.typed, lazy=True)
        except pandera.errors.SchemaErrors as errors:
            for (name, check), rows in errors.failure_cases.groupby(["column", "check"], sort=False)["index"]:
                failed[name][check] = np.sort(rows.to_numpy(dtype=np.intp))
        problems = []
        for column in self.present:
            unreadable, rules = self.unreadable[column.name], failed[column.name]
            # A value that could not be read is missing in the typed frame; it must not count as a null as well.
            nulls = rules.pop("not_nullable", np.empty(0, dtype=np.intp))
            rules["missing"] = nulls[~unreadable[nulls]]
            rules[_UNREADABLE.get(column.type, "unreadable")] = np.flatnonzero(unreadable)
            whole = self.unreadable_columns.get(column.name)
            for text, rows in sorted(rules.items()):
                at_fault = rows if whole is None else rows[~whole[self.day[rows]]]
                if len(at_fault):
                    problems.append(_Problem("values", column.name, text, at_fault, column.on_violation == "reject"))
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
        faults: list[tuple[str, str, Mask | None]] = [(name, "missing column", None) for name in self.absent]
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
        import numpy as np

        limited = [column for column in self.present if column.max_missing_share < 1]
        missing = [
            self._by_day(self.typed[c.name].isna().to_numpy(dtype=bool) & ~self.unreadable[c.name]) for c in limited
        ]
        counts = np.column_stack([*missing, np.zeros((len(self.days), 0), dtype=np.int64)])
        limits = {column.name: column.max_missing_share for column in limited}
        return dict(enumerate(missing_share_gates(limits, counts, self.rows_of_day)))

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
    gates = []
    for index in range(len(rows)):
        at_fault = np.flatnonzero(failed[index])
        among = at_fault if len(at_fault) else np.arange(len(names))
        worst = int(among[np.argmax((shares[index] - allowed)[among])]) if len(among) else None
        gates.append(
            GateResult(
                name="missing_share",
                passed=not len(at_fault),
                severity="error",
                value=None if worst is None else float(shares[index, worst]),
                threshold="no column with a limit"
                if worst is None
                else f"at most {allowed[worst]:.4g} of {names[worst]}, beyond chance",
                description="Columns miss more values than their contract allows; correct the source."
                if len(at_fault)
                else "No column misses more values than its contract allows.",
                details=tuple(
                    detail(names[i], f"missing, at most {allowed[i]:.4g} of the rows", counts[index, i])
                    for i in at_fault
                ),
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
    from scipy.special import betainc

    k, n, p = np.broadcast_arrays(
        np.asarray(counts, dtype="float64"), np.asarray(rows, dtype="float64"), np.asarray(limit, dtype="float64")
    )
    above = k > n * p
    probability = np.ones(k.shape)
    probability[above] = betainc(k[above], n[above] - k[above] + 1, p[above])
    return np.asarray(above & (probability < chance))


def _volume_gate(table: _Table, portfolio: Portfolio, recent: Mapping[date, int]) -> dict[int, GateResult]:
    """A day's rows against the median of the recent days that had any.

    Warns when the count leaves the median by more than VOLUME_DEVIATIONS standard deviations of a Poisson count, on
    the scale where these are constant (2 sqrt(n); Anscombe 1948), and by more than half the way to `volume_max_ratio`
    (its root, half of it on the log scale): books grow and Sundays are quiet. Beyond `volume_max_ratio` it blocks, if
    at least `volume_min_expected` rows were expected. An empty day is valid and warns.
    """
    limits = portfolio.gates
    gates = {}
    for index, day in enumerate(table.days):
        rows = int(table.rows_of_day[index])
        earlier = (day - timedelta(days=back) for back in range(1, limits.volume_history_days + 1))
        counts = [count for count in map(recent.get, earlier) if count]
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
        gates[index] = GateResult(
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
    return gates


def _read(frame: pd.DataFrame, column: Column) -> tuple[pd.Series[Any], Mask]:
    """The column as its contract type, and where a value was there but could not be read.

    Empty text counts as missing: loads from CSV files leave it where a value is absent.
    """
    import numpy as np
    import pandas as pd

    none = np.zeros(len(frame), dtype=bool)
    if column.name not in frame.columns:
        empty = pd.Series([None] * len(frame), index=frame.index, dtype=_DTYPES[column.type])
        return empty, none
    values = frame[column.name]
    if not isinstance(values.dtype, np.dtype) or values.dtype == object:
        values = values.astype(object)
        values = values.where(values.notna() & ~values.isin([""]), None)
    if column.type in ("string", "category"):
        return as_categories(values), none
    if column.type == "date":
        days = as_days(values)
        return days, (days.isna() & values.notna()).to_numpy(dtype=bool)
    if column.type == "boolean" and values.dtype == object:
        lowered = values.map(
            lambda value: _FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value
        )
        numbers = as_numbers(lowered)
    else:
        numbers = as_numbers(values)
    given = values.notna().to_numpy(dtype=bool)
    if column.type == "float":
        return numbers, given & numbers.isna().to_numpy(dtype=bool)
    fits = (numbers == np.floor(numbers)) & (numbers.abs() < 2.0**63)
    if column.type == "boolean":
        fits = numbers.isin((0.0, 1.0))
    numbers = numbers.where(fits)
    unreadable = given & numbers.isna().to_numpy(dtype=bool)
    if column.type == "boolean":
        return numbers.astype("boolean"), unreadable
    if values.dtype.kind in "iu" and not unreadable.any():
        return values.astype("Int64"), unreadable
    whole = numbers.astype("Int64")
    if values.dtype == object:
        # From 2^53 on float64 has gaps, and a long customer number would become its neighbour's.
        long = np.flatnonzero((numbers.abs() >= 2.0**53).to_numpy(dtype=bool))
        for row in long:
            text = str(values.iloc[row]).strip()
            whole.iloc[int(row)] = int(text) if text.lstrip("+-").isdigit() else int(numbers.iloc[row])
    return whole, unreadable
