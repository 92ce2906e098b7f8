"""The gates about who was lent to: every status of a day is known, and a training set says whose outcomes it has.

Belongs here: what is held against what, and the results in words. Does not belong here: mapping statuses
(`ml.data.population`), what was decided (`ml.data.decisions`), and counting in a warehouse.

A status is a word of the lender's system and not an applicant's value; names in messages are bounded in number and
length all the same, since a portfolio file may name a wrong column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.cohorts import CohortCounts
from credit_assets.ml.data.gate_results import GateResult, detail
from credit_assets.ml.data.matured import Matured
from credit_assets.ml.data.outcomes import definition
from credit_assets.ml.data.population import BOOKED, STATED
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.rules.day_gates import exceeds

if TYPE_CHECKING:
    import pyarrow as pa

# As of orphans: outcomes that are late or were never entered occur in sound data.
EVIDENCE_CHANCE = 0.01
POPULATION = "population"
_NAMES, _LETTERS = 20, 40
_TOO_MANY = 50


class StatusGates:
    """The gate `statuses` of days whose kept rows come in pieces: rows are counted by statuses in no list of a block.

    `columns`: those of the day and of the status.
    """

    def __init__(self, block: str, columns: tuple[str, str], mapped: Iterable[str], days: Sequence[date]) -> None:
        self._block, (self._day, self._status) = block, columns
        self._mapped, self._days = list(mapped), days
        self._unknown: dict[date, Counter[str]] = {}

    def add(self, kept: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        statuses = kept[self._status]
        known = pc.is_in(statuses, value_set=pa.array(self._mapped, pa.string()))
        unknown = pc.and_(pc.is_valid(statuses), pc.invert(known))
        if not pc.any(unknown).as_py():
            return
        counted = kept.filter(unknown).group_by([self._day, self._status]).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            self._unknown.setdefault(row[self._day], Counter())[row[self._status]] += row["count_all"]

    def close(self) -> dict[date, tuple[GateResult, ...]]:
        """The verdict on every day."""
        return {day: (status_gate(self._block, self._status, self._unknown.get(day, {})),) for day in self._days}


def status_gate(block: str, column: str, unknown: Mapping[str, int]) -> GateResult:
    """The gate `statuses`: every status is in one of the lists of a block of the portfolio file.

    Examples
    --------
    >>> gate = status_gate("population", "status", {"frozen": 3})
    >>> gate.blocks, gate.details
    (True, ({'column': 'status', 'problem': "status 'frozen' is in no list of population", 'count': 3},))
    """
    shown = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:_NAMES]
    details = [detail(column, f"status {_bounded(text)!r} is in no list of {block}", count) for text, count in shown]
    if len(unknown) > _TOO_MANY:
        problem = f"{len(unknown)} different values are in no list of {block}: is it the column of the status?"
        details = [detail(column, problem, sum(unknown.values()))]
    return GateResult(
        name="statuses",
        passed=not unknown,
        severity="error",
        value=sum(unknown.values()),
        threshold=f"0 rows with a status in no list of {block}",
        description="Every status is known."
        if not unknown
        else f"Statuses are in no list of {block}; put each into the one that it means, then ingest the day again.",
        details=tuple(details),
        setting=block,
    )


def population_gate(portfolio: Portfolio, counts: CohortCounts | None) -> GateResult:
    """The gate `population`: the portfolio says who was lent to, and whoever has an outcome was.

    A training set without it would count everyone who has no default as good, those too who were never lent to.
    `counts`: those of a training set; None where there is none, and only the portfolio is judged.
    """
    if portfolio.population is None:
        return GateResult(
            name="population",
            passed=False,
            severity="error",
            value="0 statements",
            threshold="1 statement of who was lent to",
            description=f"Portfolio {portfolio.name} does not say who of {portfolio.applications_table} was lent to. "
            "Whoever was not can never default: among the goods they would make the worst applicants look best. Write "
            f"`{STATED}` where decisions stand apart (docs/portfolio.md).",
            setting="population",
        )
    stated = portfolio.decisions
    if stated is None:
        table = portfolio.applications_table
        return _stated("everyone in the table", f"population: all. Everyone in {table} was lent to.", {})
    if counts is None:
        return _stated("stated", f"Lent to: {stated_population(portfolio)}.", {})
    limit, lost = portfolio.gates.max_orphan_share, counts.lent_to_nobody
    if exceeds(lost, max(counts.with_outcome, 1), limit, EVIDENCE_CHANCE):
        problem = "has an outcome, and no status that is booked"
        return GateResult(
            name=POPULATION,
            passed=False,
            severity="error",
            value=lost / counts.with_outcome,
            threshold=f"at most {limit:.4g} (gates: max_orphan_share), beyond chance",
            description=f"{lost:,} of {counts.with_outcome:,} applications with an outcome were not booked by what the "
            f"portfolio states ({stated_population(portfolio)}): they were lent to, so that the status which they have "
            "now belongs to `booked`.",
            details=(detail(stated.status, problem, lost),),
            setting="population",
        )
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.population.items())
    booked = counts.population[BOOKED]
    summary = f"Trained on the {booked:,} that were booked, of {counts.applications:,} that applied: {shown}."
    return _stated(shown, summary, counts.population)


def _stated(value: str, description: str, classes: Mapping[str, int]) -> GateResult:
    details = tuple(detail(POPULATION, name, count) for name, count in classes.items())
    threshold = "1 statement of who was lent to"
    return GateResult(POPULATION, True, "error", value, threshold, description, details)


def classes_gate(portfolio: Portfolio, counts: CohortCounts, window_days: int) -> GateResult:
    """The gate `statuses` of a training set: every status of decisions and outcomes that was met is in a list. It has
    the definition of what is bad, and the booked loans of each class.
    """
    stated, names = portfolio.decisions, portfolio.outcomes
    if stated is not None and counts.unmapped:
        return status_gate("population", stated.status, counts.unmapped)
    if names.status is not None and counts.unmapped_outcomes:
        return status_gate("outcomes", names.status, counts.unmapped_outcomes)
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.outcomes.items() if count)
    nothing = (
        f" Rows of {names.table} without a {names.says}: {counts.without_outcome:,}." if counts.without_outcome else ""
    )
    return GateResult(
        name="statuses",
        passed=True,
        severity="error",
        value=shown or "0 loans",
        threshold="0 rows with a status in no list",
        description=f"{definition(portfolio, window_days)}. Of the booked loans: {shown or 'none'}.{nothing}",
        details=tuple(detail(names.says, name, count) for name, count in counts.outcomes.items()),
    )


def classes_record(gates: Sequence[GateResult]) -> dict[str, Any]:
    """What the gates of a training set say of whom it is and what is bad, for the record of a model."""
    named = {gate.name: gate for gate in gates}
    record: dict[str, Any] = {}
    for name, key in ((POPULATION, "population"), ("statuses", "outcomes")):
        if name in named:
            counts = {row["problem"]: row["count"] for row in named[name].details}
            record[key] = {"definition": named[name].description, "counts": counts}
    return record


def _bounded(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 3]}..."


def recorded_gate(days_late: int) -> GateResult:
    """When statuses were read that say not since when they hold. It never fails: a backfill cannot read the past."""
    return GateResult(
        name="recorded",
        passed=True,
        severity="error",
        value="in time" if days_late <= 0 else f"{days_late} days late",
        threshold="a state, not a limit",
        description="The statuses were read once the day had closed."
        if days_late <= 0
        else f"The statuses were read {days_late} days later, and are those of then: since when is not known.",
    )


def evidence_gate(found: Matured, portfolio: Portfolio) -> GateResult:
    """The gate `matured_without_outcome`: of loans so old that something must have become of them, few have no outcome.

    It holds whatever the portfolio states. Where outcomes hold bads alone a good loan has none either, and nothing can
    be said: told by bads that outnumber the goods, which they do in no book that has both.
    """
    limit = portfolio.gates.max_matured_without_outcome
    who = "booked loans" if portfolio.decisions else "applications"
    not_judged = ""
    if not found.loans:
        not_judged = f"Not judged: no {who.removesuffix('s')} is so old that something must have become of it."
    elif found.goods < found.bads or not found.goods:
        not_judged = (
            f"Not judged: {portfolio.outcomes.table} has {found.goods:,} goods and {found.bads:,} bads of the {who} "
            "that are old enough. Where goods have no outcome, one that is missing says nothing."
        )
    failed = not not_judged and bool(exceeds(found.without, found.loans, limit, EVIDENCE_CHANCE))
    summary = f"{found.without:,} of {found.loans:,} {who} ({found.share:.1%}) never had an outcome, each {found.old}"
    return GateResult(
        name="matured_without_outcome",
        passed=not failed,
        severity="error",
        value="not judged" if not_judged else found.share,
        threshold=f"at most {limit:.4g} of the {who} that are old enough, beyond chance",
        description=not_judged
        or (
            f"{summary}: they were not lent to, or their outcomes are not in {portfolio.outcomes.table}. Correct "
            f"`population` (now {stated_population(portfolio)}), or load the outcomes that are missing."
            if failed
            else f"{summary}."
        ),
        details=(detail(portfolio.outcomes.table, "without an outcome, old enough for one", found.without),)
        if failed
        else (),
        setting="gates: max_matured_without_outcome",
    )


def stated_population(portfolio: Portfolio) -> str:
    """What the portfolio states about its population."""
    stated = portfolio.decisions
    if stated is None:
        return "not stated" if portfolio.population is None else "all"
    return f"the statuses {', '.join(stated.booked[:_NAMES])} of column {stated.status}"
