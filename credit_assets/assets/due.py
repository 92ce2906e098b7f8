"""Whether the as-of date of a step is due, by the settings and by what is ingested; and what a step returns where it
is not.

Belongs here: finding the first day of the book, the training set of an as-of date with its verdict, and the records of
training assets that have nothing to train on. Does not belong here: the arithmetic (`credit_assets.ml.rules.due`).

A date that is not due is recorded by every asset that a run makes for it: the training set as an empty file whose
verdict says why, each asset after it as a record of that state. So a run is green, a second one changes nothing, and
what went before and what comes after the training is not held up.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.accounts import APPLICATIONS, DECISIONS, OUTCOMES, table_accounts
from credit_assets.assets.evidence import LOOKED_BACK, matured_without_outcome
from credit_assets.assets.policies import policy_of
from credit_assets.assets.stored_days import StoredDays
from credit_assets.assets.world import feeds, world_record
from credit_assets.ml.rules.due import DUE, LEAST_DAYS, NOT_DUE, Calendar, first_enough, unjudged_gates, why_not_due
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.store import Store
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.cohorts import Cohort, CohortWindow
    from credit_assets.ml.data.gate_results import GateResult

_MONTH = 30
FIRST_DAY = "the first day ingested"


def calendar_of(settings: Settings, store: Store) -> Calendar:
    """The calendar of the book: from the first day that is ingested on. Days before it are not waited for."""
    first = StoredDays(store).first_day(settings.start_date)
    named = "the start date (CREDIT_START_DATE)" if first == settings.start_date else FIRST_DAY
    return Calendar(first, settings.window_days, settings.lookback_days, named)


def planned(settings: Settings) -> Calendar:
    """The calendar by the settings alone: what it says is not due is so whatever is ingested."""
    named = "the start date (CREDIT_START_DATE)"
    return Calendar(settings.start_date, settings.window_days, settings.lookback_days, named)


@dataclass(frozen=True)
class TrainingSet:
    """The training set of an as-of date: its rows, their verdict, and what a person reads of it."""

    table: pa.Table
    gates: tuple[GateResult, ...]
    metadata: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By asset and ISO day, the content of what it was made of."""


def training_set_of(
    settings: Settings, warehouse: Warehouse, store: Store, as_of: date, gate_names: Sequence[str]
) -> TrainingSet:
    """The judged training set, without rows where the date is not due.

    Raises PermanentError naming days after the first ingested one that are not there or were rejected.
    """
    from credit_assets.ml.data.orphans import find_orphans
    from credit_assets.ml.data.outcomes import definition
    from credit_assets.ml.reports.training import splits_table, summary
    from credit_assets.ml.rules.account_gates import account_of_training
    from credit_assets.ml.rules.copies_gates import customers_gate
    from credit_assets.ml.rules.due import due_gate
    from credit_assets.ml.rules.population_gates import classes_gate, evidence_gate, population_gate
    from credit_assets.ml.rules.training_gates import (
        orphan_gate,
        shortages,
        training_gates,
        with_orphans,
        without_advice,
    )
    from credit_assets.ml.rules.world_gates import outcomes_arrive, world_gates

    calendar, portfolio, tables = calendar_of(settings, store), settings.portfolio_contract, StoredDays(store)
    if why := calendar.why_not(as_of):
        return _not_due(settings, why, gate_names)
    read = stored_cohort(settings, store, as_of)
    cohort, window, first, outcomes = read.cohort, read.window, read.first, read.outcomes
    table = cohort.training_set(settings.test_share, settings.validation_share)
    # Today's account, whatever the as-of date: that a row has no day, or came too late, is known only now.
    windows = {APPLICATIONS: (first, window.last), OUTCOMES: (first, as_of), DECISIONS: (first, as_of)}
    accounts = table_accounts(settings, warehouse, store, windows)
    accounted = account_of_training(accounts, {name: windows[name] for name in accounts}, portfolio.gates)
    orphans = orphan_gate(
        find_orphans(outcomes[portfolio.outcomes.id], _applied(settings, warehouse, read, as_of)), portfolio
    )
    limits = policy_of(settings).world
    arrive = outcomes_arrive(feeds(cohort, first, as_of), as_of.isoformat(), limits, portfolio)
    short = {} if accounted.blocks or orphans.blocks or arrive.blocks else shortages(table, portfolio)
    if short and (why := _of_young_book(calendar, tables, as_of, short)):
        return _not_due(settings, why, gate_names)
    counts = cohort.counts()
    of_set = training_gates(table, portfolio, window, calendar.first_day)
    if arrive.blocks:
        of_set = without_advice(of_set, arrive.name)
    world = world_record(settings, tables, cohort, table, as_of)
    return TrainingSet(
        table,
        (
            due_gate(),
            population_gate(portfolio, counts),
            classes_gate(portfolio, counts, settings.window_days),
            evidence_gate(matured_without_outcome(settings, warehouse, as_of), portfolio),
            *((customers,) if (customers := customers_gate(cohort.left_out, portfolio)) else ()),
            *with_orphans(of_set, orphans),
            *world_gates(world, limits, portfolio),
            arrive,
            accounted,
        ),
        {
            "state": DUE,
            **summary(table, window, cohort.findings(), counts, definition(portfolio, settings.window_days)),
            "splits": dg.MetadataValue.md(splits_table(table)),
        },
        read.inputs,
    )


@dataclass(frozen=True)
class StoredCohort:
    """The cohorts of an as-of date with what the store has of them, and by asset and ISO day the content of that."""

    cohort: Cohort
    window: CohortWindow
    first: date
    features: pa.Table
    outcomes: pa.Table
    inputs: Mapping[str, Mapping[str, str]]


def stored_cohort(settings: Settings, store: Store, as_of: date) -> StoredCohort:
    """Read the cohorts of an as-of date that is due. Raises PermanentError naming days that are not there or were
    rejected.
    """
    from credit_assets.ml.data.cohorts import Cohort, Known
    from credit_assets.ml.data.schemas import features_fields
    from credit_assets.ml.reports.daily import days_between

    calendar, portfolio, tables = calendar_of(settings, store), settings.portfolio_contract, StoredDays(store)
    days, window = calendar.days_there(as_of), calendar.cohorts(as_of)
    # Where windows start at the booking, applications of the days before may have been booked within the cohorts'.
    first = max(calendar.first_day, days[0] - timedelta(portfolio.booking_days))
    inputs: dict[str, Mapping[str, str]] = {}

    def read(asset: str, until: date, columns: Sequence[str] | None = None) -> pa.Table:
        table, inputs[asset] = tables.table_with_contents(asset, days_between(first, until), columns)
        return table

    # The portfolio's columns as they are now: the days of cohorts that mature are old, and what has left it is in them.
    wanted = [name for name, _ in features_fields(portfolio)]
    features, outcomes = read("processed_features", window.last, wanted), read(OUTCOMES, as_of)
    known = Known(outcomes, read(DECISIONS, as_of) if portfolio.decisions else None)
    return StoredCohort(Cohort(features, known, window, portfolio), window, first, features, outcomes, inputs)


def _applied(settings: Settings, warehouse: Warehouse, read: StoredCohort, as_of: date) -> Iterator[pa.ChunkedArray]:
    """The ids of applications, in batches: those of the cohorts, of the days since, of days before, further back each
    time; at last those of the whole table, whatever its days.

    Whoever looks for some stops where all are found: of outcomes that come within months, a book of ten years is not
    read.
    """
    portfolio = settings.portfolio_contract
    yield read.features[portfolio.id_column]
    yield from warehouse.application_ids(portfolio, (read.window.last, as_of))
    before, back = read.first, timedelta(max(settings.window_days, _MONTH))
    while before > as_of - LOOKED_BACK:
        before, last, back = before - back, before - timedelta(1), 2 * back
        yield from warehouse.application_ids(portfolio, (before, last))
    yield from warehouse.application_ids(portfolio)


def _of_young_book(calendar: Calendar, tables: StoredDays, as_of: date, short: Mapping[str, tuple[int, int]]) -> str:
    """Why a shortage is none yet: the book began so late that its lookback is still filling; else nothing."""
    newest = calendar.cohorts(as_of).last
    first = tables.first_with_rows("processed_features", calendar.first_day, newest)
    if first is None:
        return (
            f"not due: of {calendar.first_day} ({calendar.named}) .. {newest}, the days that are mature by {as_of}, "
            "none has an application"
        )
    if first == calendar.first_day:
        return calendar.why_growing(as_of, short)
    book = Calendar(first, calendar.window_days, calendar.lookback_days, "the first day with applications")
    return book.why_not(as_of) or book.why_growing(as_of, short)


def _not_due(settings: Settings, why: str, gate_names: Sequence[str]) -> TrainingSet:
    from credit_assets.ml.data.schemas import training_schema

    empty = training_schema(settings.portfolio_contract).empty_table()
    return TrainingSet(empty, unjudged_gates(gate_names, why), {"state": NOT_DUE, "why": why})


def why_no_training(store: Store, training_set: Any, day: str) -> str:
    """Why the stored training set of this day was not due; nothing where it has something to train on."""
    return "" if training_set.num_rows else why_not_due(store.gates("training_set", day))


def not_due_result(
    record: Mapping[str, Any], why: str, checks: Sequence[dg.AssetCheckResult] | None = None
) -> dg.MaterializeResult[Any]:
    """What a training asset returns of a day that is not due."""
    return dg.MaterializeResult(
        value={**record, "why": why},
        data_version=dg.DataVersion(NOT_DUE),
        metadata={"state": NOT_DUE, "why": why},
        check_results=checks,
    )


def without_training(settings: Settings, job: str, why: str) -> list[dg.AssetKey] | None:
    """What a run of the job makes of a day that is not due: the training set, which records it, and all that does not
    come from it. None, which means everything, where `why` is empty.

    The steps left out would do nothing; on a cluster each of them would be a pod, some of them on a GPU.
    """
    if not why:
        return None
    trained = set(settings.graph.made_by(RETRAIN)) - {"training_set"}
    made = settings.graph.made_by(job)
    return [dg.AssetKey(settings.naming.asset(name)) for name in made if name not in trained]


def still_to_train(
    settings: Settings, store: Store, as_ofs: Sequence[date], recorded: Container[str], missing: Container[date]
) -> set[date]:
    """Of these as-of dates those on which something is still to be made: those `missing` that are due, and those not
    due that are not `recorded` (ISO days) as such. One that was not due is looked at again unless the calendar still
    says so: since then earlier days may have come.
    """
    calendar = calendar_of(settings, store)

    def was_not_due(day: date) -> bool:
        return day.isoformat() in recorded and bool(why_not_due(store.gates("training_set", day.isoformat())))

    return {
        day for day in as_ofs if (not was_not_due(day) if calendar.why_not(day) else day in missing or was_not_due(day))
    }


@dataclass(frozen=True)
class Outlook:
    """The first as-of date with which a model can be made, and why then."""

    first_due: date
    why: str
    newest: date | None
    """The newest day ingested."""

    @property
    def state(self) -> str:
        return DUE if self.newest is not None and self.newest >= self.first_due else NOT_DUE

    def to_record(self) -> dict[str, Any]:
        return {"state": self.state, "first_possible": self.first_due.isoformat(), "why": self.why}


def outlook(settings: Settings, store: Store) -> Outlook:
    """From which as-of date on there can be a model: by the start date, what is ingested, the performance window, and
    the applications that the portfolio's limits on goods and bads need at the least.
    """
    calendar, tables, gates = calendar_of(settings, store), StoredDays(store), settings.portfolio_contract.gates
    days = [date.fromisoformat(day) for day in store.days("processed_features")]
    newest = days[-1] if days else None
    begin = tables.first_with_rows("processed_features", calendar.first_day, newest) if newest else None
    if begin and begin != calendar.first_day:
        named = "the first day with applications"
        calendar = Calendar(begin, calendar.window_days, calendar.lookback_days, named)
    first, least = calendar.first_due, gates.min_goods + gates.min_bads
    why = f"{calendar.named} is {calendar.first_day}, the performance window {calendar.window_days} days, and a "
    why += f"training set needs {min(LEAST_DAYS, calendar.lookback_days)} days"
    if begin and newest:
        # As many days as a lookback has: where they hold too few, later ones may hold more, and nobody knows yet.
        some = [day for day in days if begin <= day][: max(calendar.lookback_days, LEAST_DAYS)]
        counted = {day: count or 0 for day, count in tables.counts("processed_features", some).items()}
        enough = first_enough(counted, calendar, least)
        if enough and enough > first:
            first, why = enough, f"{why} and at least {least} applications"
        elif not enough:
            first = max(first, some[-1] + timedelta(calendar.window_days))
            why += f" and at least {least} applications, of which {sum(counted.values())} came by {some[-1]}"
    return Outlook(first, why, newest)
