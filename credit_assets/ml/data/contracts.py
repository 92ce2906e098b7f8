"""The data contract: applications and outcomes of many days held against the portfolio's rules, chunk after chunk.

Belongs here: the sorting of rows into kept and quarantined. Does not belong here: the reading and screening of one
column (`values`, `screens`), reading or writing data, and the verdict on a day (`ml.rules.day_gates`), which is judged
from what the contract found (`day_findings`).

A day is judged by its own rows and by the volumes of the days before it, never by what else is checked with it: checked
alone or among a thousand others, in one chunk or in many, it gets the same verdict. That is what lets a backfill take a
year at a time, and a large day pass through little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from credit_assets.ml.data.chunks import Chunk
from credit_assets.ml.data.day_findings import DayFindings, Problem, Rule
from credit_assets.ml.data.portfolio import Column, Portfolio
from credit_assets.ml.data.repeated_ids import RepeatedIds
from credit_assets.ml.data.schemas import (
    Fields,
    applications_schema,
    arrow_schema,
    decisions_fields,
    outcomes_fields,
    quarantine_schema,
)
from credit_assets.ml.data.screens import MISSING, UNREADABLE, Screened, screen
from credit_assets.ml.data.unreadable import taken_off

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.data.chunks import Mask, Positions
    from credit_assets.ml.data.unreadable import UnreadableRows

    Source: TypeAlias = Mapping[str, pa.ChunkedArray | pd.Series]


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
class TableRules:
    """What a table must keep: its columns, the schema in which it is stored, and which columns are id and date; and
    whether an application may have several rows on a day, which then are no contradiction. A row that lacks the value
    of `says` says nothing: it is set aside, and rejects no day.
    """

    columns: tuple[Column, ...]
    schema: pa.Schema
    id_column: str
    date_column: str
    repeats: bool = False
    says: str = ""


def applications_rules(portfolio: Portfolio) -> TableRules:
    """The rules of the portfolio's applications."""
    schema = applications_schema(portfolio)
    return TableRules(portfolio.application_columns, schema, portfolio.id_column, portfolio.date_column)


def outcomes_rules(portfolio: Portfolio) -> TableRules:
    """The rules of outcomes: id and date must be there, a flag must be 0 or 1 (booleans and their usual texts are
    read). What breaks them rejects the day, since a lost default would make the cohort look better than it is. A row
    without a flag or status says nothing, and is set aside.
    """
    names = portfolio.outcomes
    return _rules(outcomes_fields(portfolio), names.says, repeats=names.known is not None)


def decisions_rules(portfolio: Portfolio) -> TableRules:
    """The rules of a table of decisions: id and date must be there, and a day of booking must be one. What breaks them
    rejects the day, since a loan that is lost here is lost to every training. A row without a status is set aside.
    """
    stated = portfolio.decisions
    return _rules(decisions_fields(portfolio), stated.status if stated else "", repeats=True)


def _rules(fields: Fields, says: str, *, repeats: bool) -> TableRules:
    """Id and day first; they must be there, and what `says` something. What is none of its type rejects the day."""
    types = {"flag": "boolean"}
    roles = ["id", "date", *["ignored"] * (len(fields) - 2)]
    columns = tuple(
        Column.model_validate(
            {
                "name": name,
                "type": types.get(kind, kind),
                "role": role,
                "nullable": role == "ignored" and name != says,
                "on_violation": "reject",
            }
        )
        for (name, kind), role in zip(fields, roles, strict=True)
    )
    return TableRules(columns, arrow_schema(fields), columns[0].name, columns[1].name, repeats=repeats, says=says)


class Contract:
    """The rows of `days` held against the rules of their table, chunk after chunk.

    `findings` are what the chunks so far have shown by day; `ml.rules.day_gates` judges them. Rows that break a rule
    are quarantined. Equal copies of a row under one id and day are quarantined but for the first, rows that differ
    under one id are all quarantined, unless the rules say that an application may have several. A row whose date is
    missing or in none of `days` counts for the first of them.
    A day that a gate blocks is rejected as a whole: its rows are still sorted, for whoever looks into it, but must not
    be used.

    Parameters
    ----------
    rules
        Of the table: `applications_rules` or `outcomes_rules` of a portfolio.
    days
        The days to check.

    Raises
    ------
    ValueError
        Where `days` is empty.

    Examples
    --------
    >>> from credit_assets.ml.data.portfolio import Portfolio
    >>> portfolio = Portfolio.model_validate({
    ...     "name": "small",
    ...     "columns": [
    ...         {"name": "id", "type": "string", "role": "id", "nullable": False},
    ...         {"name": "day", "type": "date", "role": "date", "nullable": False},
    ...         {"name": "amount", "type": "float", "minimum": 0},
    ...     ],
    ... })
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"id": ["a", "b"], "day": "2015-01-02", "amount": [5.0, -1.0]})
    >>> contract = Contract(applications_rules(portfolio), [date(2015, 1, 2)])
    >>> contract.check(frame, last=True).quarantined["quarantine_reason"].to_pylist()
    ['amount: below 0']
    """

    def __init__(self, rules: TableRules, days: Sequence[date]) -> None:
        self.rules, self.schema = rules, rules.schema
        self.quarantine_schema = quarantine_schema(rules.schema, rules.date_column)
        self.findings = DayFindings(rules.columns, days)
        self._ids = RepeatedIds(rules.id_column, rules.date_column, self.findings, several=rules.repeats)
        self._absent: tuple[str, ...] | None = None
        self._latest = -1

    @property
    def days(self) -> tuple[date, ...]:
        """The days that are checked, in order."""
        return self.findings.days.dates

    def check(self, rows: pa.Table | pd.DataFrame, *, last: bool = False) -> Checked:
        """Sort the rows of the next chunk into kept and quarantined.

        Rows that share an id on one day are compared across the border of two chunks too. Where the later one
        contradicts the first, which has been handed out as kept by then, the day is rejected: its rows must not be
        used whatever they look like.

        Parameters
        ----------
        rows
            A table, best with the types of the schema, or a frame of values of any type; columns in any order, more
            than the contract's do not matter. A table may note values that are none of its types
            (`unreadable.UNREADABLE`). Chunks come in order of (date, id); within a chunk rows may have any
            order.
        last
            Whether no more rows of any day follow. Without it a day that the next chunk may go on with keeps no row of
            which a value is unreadable, though the whole column may turn out to be so.

        Raises
        ------
        ValueError
            Where chunks lack different columns, or go back in time.
        """
        import numpy as np
        import pyarrow as pa

        rows, noted = taken_off(rows) if isinstance(rows, pa.Table) else (rows, {})
        source = self._source(rows)
        screened = {
            column.name: screen(
                column, self.schema.field(column.name).type, source[column.name], noted.get(column.name)
            )
            for column in self.rules.columns
            if column.name in source
        }
        typed = self._typed(rows, source, screened)
        chunk = Chunk(typed, self.rules.date_column, self.findings.days)
        self._keep_order(chunk)
        problems = [*self._value_problems(screened), *self._date_problems(chunk)]
        if self.rules.id_column in source:
            problems += self._ids.problems(chunk, problems)
        self.findings.add(chunk, screened, problems)

        exempt = self._exempt(last)
        quarantined = np.zeros(len(rows), dtype=bool)
        shown = []
        for problem in problems:
            at_fault, rule = problem.rows, problem.rule
            if rule.gate == "values" and rule.column in exempt:
                at_fault = at_fault[~exempt[rule.column][chunk.day_of(at_fault)]]
            if len(at_fault):
                quarantined[at_fault] = True
                shown.append((at_fault, f"{rule.column}: {rule.text}"))
        if not shown:
            return Checked(typed, self.quarantine_schema.empty_table())
        aside = self._aside(source, typed, quarantined, shown)
        return Checked(typed.filter(pa.array(~quarantined)), _with_notes(aside, noted, np.flatnonzero(quarantined)))

    # Rows

    def _source(self, rows: pa.Table | pd.DataFrame) -> Source:
        """The contract's columns of the rows."""
        import pyarrow as pa

        given = set(rows.column_names if isinstance(rows, pa.Table) else rows.columns)
        absent = tuple(column.name for column in self.rules.columns if column.name not in given)
        if self._absent is None:
            self._absent = self.findings.absent = absent
        elif absent != self._absent:
            raise ValueError(
                f"this chunk lacks columns {', '.join(absent) or 'none'}, the chunks before it lacked "
                f"{', '.join(self._absent) or 'none'}: give chunks of one table"
            )
        return {column.name: rows[column.name] for column in self.rules.columns if column.name in given}

    def _typed(self, rows: pa.Table | pd.DataFrame, source: Source, screened: Mapping[str, Screened]) -> pa.Table:
        import pyarrow as pa

        if (
            isinstance(rows, pa.Table)
            and rows.schema.equals(self.schema, check_metadata=True)
            and all(column.values is source[name] for name, column in screened.items())
        ):
            return rows
        columns = [
            screened[field.name].values if field.name in screened else pa.nulls(len(rows), field.type)
            for field in self.schema
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _aside(
        self, source: Source, typed: pa.Table, quarantined: Mask, shown: Iterable[tuple[Positions, str]]
    ) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        at = np.flatnonzero(quarantined)
        reasons = np.full(len(at), "", dtype=object)
        for at_fault, text in shown:
            reasons[np.searchsorted(at, at_fault)] += f"; {text}"
        columns = []
        for field in self.schema:
            if field.name == self.rules.date_column:
                columns.append(typed.column(field.name).take(pa.array(at)))
            elif field.name in source:
                columns.append(_texts(source[field.name], at))
            else:
                columns.append(pa.nulls(len(at), pa.string()))
        columns.append(pa.array([reason[2:] for reason in reasons], pa.string()))
        return pa.Table.from_arrays(columns, schema=self.quarantine_schema)

    # Problems

    def _value_problems(self, screened: Mapping[str, Screened]) -> Iterator[Problem]:
        import numpy as np

        for column in self.rules.columns:
            if column.name not in screened:
                continue
            values = screened[column.name]
            broken = dict(values.broken)
            if values.missing is not None and not column.nullable:
                broken[MISSING] = values.missing
            if values.unreadable is not None:
                broken[UNREADABLE[column.type]] = values.unreadable
            for text, mask in sorted(broken.items()):
                rejects = column.on_violation == "reject" and not (text == MISSING and column.name == self.rules.says)
                rule = Rule("values", column.name, text, rejects)
                yield Problem(rule, np.flatnonzero(mask))

    def _date_problems(self, chunk: Chunk) -> Iterator[Problem]:
        import numpy as np

        if chunk.in_days.all():
            return
        day = self.rules.date_column
        dated = np.asarray(chunk.typed.column(day).is_valid().to_numpy(), dtype=bool)
        rows = np.flatnonzero(dated & ~np.repeat(chunk.in_days, chunk.lengths))
        if len(rows):
            yield Problem(Rule("partition_date", day, "not of the partition", rejects=True), rows)

    def _exempt(self, last: bool) -> dict[str, Mask]:
        """Days, by column, whose unreadable or missing values are no row's fault, and will not be."""
        import numpy as np

        whole = self.findings.whole_columns()
        if whole and not last:
            # Rows may follow for the day reached, and for the first one, which rows outside the days count for.
            finished = np.arange(len(self.days)) < self._latest
            finished[0] = False
            whole = {name: days & finished for name, days in whole.items()}
        return {name: days for name, days in whole.items() if days.any()}

    def _keep_order(self, chunk: Chunk) -> None:
        days = chunk.run_days[chunk.in_days]
        if len(days):
            if days.min() < self._latest:
                raise ValueError(
                    f"this chunk has rows of {self.days[days.min()]}, the one before it had rows of "
                    f"{self.days[self._latest]}: give the chunks in order of (date, id)"
                )
            self._latest = int(days.max())


def _with_notes(aside: pa.Table, noted: Mapping[str, UnreadableRows], at: Positions) -> pa.Table:
    """The rows set aside, those of the chunk `at`, with the texts that were noted beside them."""
    import pyarrow as pa

    for name, note in noted.items():
        field = aside.schema.field(name)
        if pa.types.is_string(field.type):
            texts = aside[name].to_pylist()
            shown = [note.texts.get(row, text) for row, text in zip(at.tolist(), texts, strict=True)]
            aside = aside.set_column(aside.column_names.index(name), field, pa.array(shown, pa.string()))
    return aside


def _texts(given: pa.ChunkedArray | pd.Series, at: Positions) -> pa.Array | pa.ChunkedArray:
    """The values of some rows as text, null where missing."""
    import pyarrow as pa

    if not isinstance(given, pa.ChunkedArray):
        some = given.iloc[at]
        values = some.astype(object).where(some.notna(), None).tolist()
    elif pa.types.is_string(given.type):
        return given.take(pa.array(at))
    else:
        values = given.take(pa.array(at)).to_pylist()
    return pa.array([None if value is None or value != value else str(value) for value in values], pa.string())
