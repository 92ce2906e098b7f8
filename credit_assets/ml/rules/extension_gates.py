"""Gates of a lender's own: what such a function must be, and its verdict on a day or on a training set.

Belongs here: their checks and use. Does not belong here: the package's own gates (`day_gates`, `training_gates`), and
which of a lender's a portfolio uses (`ml.data.extension_use`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from credit_assets import failures
from credit_assets.ml.data.extension_use import bound, parameters_of
from credit_assets.ml.data.extensions import Catalogue, Extension
from credit_assets.ml.data.gate_results import GateResult, Severity
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import applications_schema, outcomes_schema, training_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.rows import Rows

Judged = Literal["applications", "outcomes", "training_set"]
"""What a gate judges: the kept rows of a day of applications or outcomes, or a training set."""


@dataclass(frozen=True)
class Judgement:
    """What a gate of an extension says.

    `value` is what was measured, `threshold` has in words what it is held against, `description` is what a person
    reads: of a failure also what to do. `severity` is what a failure means: "error" stops what is downstream, "warn" is
    shown and stops nothing. `details` name columns, problems and counts, as `detail` makes them: no value and no id of
    an applicant may stand in any of these.
    """

    passed: bool
    value: float | int | str | None
    threshold: str
    description: str
    severity: Severity = "error"
    details: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class OwnGate:
    """A gate of an extension."""

    extension: Extension
    of: Judged
    columns: tuple[str, ...]
    description: str

    def judge(self, rows: pa.Table, parameters: Mapping[str, Any]) -> GateResult:
        """Its verdict on rows. Raises ExtensionError where it fails or gives something else."""
        its = self.extension
        try:
            given = its.target(rows, **bound(its, parameters))
        except Exception as error:
            raise its.error(f"failed with {its.fault(error)} on {rows.num_rows:,} rows; correct it") from error
        if not isinstance(given, Judgement):
            raise its.error(f"gives a {type(given).__name__}: it must give a Judgement of credit_assets.ml.extensions")
        try:
            return GateResult(
                name=its.name,
                passed=bool(given.passed),
                severity=given.severity,
                value=getattr(given.value, "item", lambda: given.value)(),
                threshold=given.threshold,
                description=given.description,
                details=tuple(given.details),
                # Which one it was stands beside the verdict for ever.
                setting=f"extensions: gates: {its.name}, a {its}",
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise its.error(f"its Judgement is none: {failures.error_text(error)}") from error


def checked_gate(extension: Extension) -> OwnGate:
    """Raises ExtensionError where the function is no gate."""
    of, columns = extension.options["of"], tuple(extension.options["columns"])
    if of not in get_args(Judged):
        raise extension.error(f"it judges {of!r}: write @gate(of=...) with one of {', '.join(get_args(Judged))}")
    parameters_of(extension)
    if extension.resolved(inspect.signature(extension.target).return_annotation) is not Judgement:
        raise extension.error("its result must be annotated Judgement of credit_assets.ml.extensions")
    description = (inspect.getdoc(extension.target) or "").split("\n\n")[0]
    if not description:
        raise extension.error("it has no docstring: its first paragraph is what people read of the gate")
    return OwnGate(extension, of, columns, " ".join(description.split()))


GATES: Catalogue[OwnGate] = Catalogue("gate", {}, checked_gate)
"""By name; the package's own gates stand in `checks`, and none of these may have the name of one."""


def own_gates(portfolio: Portfolio, of: Judged) -> list[tuple[OwnGate, Mapping[str, Any]]]:
    """The gates of extensions that a portfolio uses on such rows, with the values of their parameters."""
    used = [(GATES[one.name], one.parameters) for one in portfolio.extensions.gates]
    return [(gate, parameters) for gate, parameters in used if gate.of == of]


def try_gates(portfolio: Portfolio) -> None:
    """Let each gate that the portfolio uses judge a table without rows, as a day without applications is one.

    Raises ExtensionError naming what is wrong.
    """
    schemas: tuple[tuple[Judged, Callable[[Portfolio], pa.Schema]], ...] = (
        ("applications", applications_schema),
        ("outcomes", outcomes_schema),
        ("training_set", training_schema),
    )
    for of, schema_of in schemas:
        for gate, parameters in own_gates(portfolio, of):
            schema = schema_of(portfolio)
            if missing := sorted(set(gate.columns) - set(schema.names)):
                raise gate.extension.error(
                    f"it reads {', '.join(missing)}, which {of} of this portfolio do not have; they have "
                    f"{', '.join(schema.names)}"
                )
            gate.judge(schema.empty_table().select(list(gate.columns or schema.names)), parameters)


def judged_training_set(rows: Rows, portfolio: Portfolio) -> tuple[GateResult, ...]:
    """What gates of extensions say of a training set."""
    import pyarrow as pa

    results = []
    for gate, parameters in own_gates(portfolio, "training_set"):
        table = pa.table({name: rows.column(name) for name in gate.columns or rows.names})
        results.append(gate.judge(table, parameters))
    return tuple(results)


class OwnDayGates:
    """The verdicts of extensions' gates on days whose kept rows come in pieces, in order of days.

    Holds the rows of one day and of the columns that the gates read.
    """

    def __init__(
        self, portfolio: Portfolio, of: Literal["applications", "outcomes"], days: Sequence[date], day_column: str
    ) -> None:
        self._gates = own_gates(portfolio, of)
        self._empty = partial(applications_schema if of == "applications" else outcomes_schema, portfolio)
        self._days, self._column = days, day_column
        self._waiting: dict[date, list[pa.Table]] = {}
        self._results: dict[date, tuple[GateResult, ...]] = {}

    def add(self, kept: pa.Table) -> None:
        """Judge the days that these rows end, and hold those of the last one."""
        if not self._gates or not kept.num_rows:
            return
        every = [gate.columns for gate, _ in self._gates]
        wanted = kept.column_names if () in every else list(dict.fromkeys(name for some in every for name in some))
        for day, rows in _by_day(kept, self._column):
            self._waiting.setdefault(day, []).append(rows.select(wanted))
        for day in sorted(self._waiting)[:-1]:
            self._judge(day)

    def close(self) -> dict[date, tuple[GateResult, ...]]:
        """The verdicts on every day, those without rows too; nothing where the portfolio uses no such gate."""
        if not self._gates:
            return dict.fromkeys(self._days, ())
        for day in self._days:
            if day not in self._results:
                self._judge(day)
        return {day: self._results[day] for day in self._days}

    def _judge(self, day: date) -> None:
        import pyarrow as pa

        tables = self._waiting.pop(day, None)
        rows = pa.concat_tables(tables) if tables else self._empty().empty_table()
        self._results[day] = tuple(
            gate.judge(rows.select(list(gate.columns)) if gate.columns else rows, parameters)
            for gate, parameters in self._gates
        )


def _by_day(table: pa.Table, column: str) -> Iterator[tuple[date, pa.Table]]:
    import numpy as np

    days = table[column].to_numpy().astype("datetime64[D]")
    different = np.unique(days)
    for day in different:
        of_day = np.flatnonzero(days == day)
        first, last = int(of_day[0]), int(of_day[-1]) + 1
        yield day.item(), table.slice(first, last - first) if last - first == len(of_day) else table.take(of_day)
