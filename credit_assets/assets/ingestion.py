"""From the warehouse into the store: the day's applications and the outcomes that became known that day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.accounts import table_account
from credit_assets.assets.columns import column_schema
from credit_assets.assets.conventions import daily_asset, daily_result, days_of
from credit_assets.assets.recording import Recording
from credit_assets.checks import account_result, account_spec, gate_specs, gates_of
from credit_assets.failures import PermanentError
from credit_assets.instance.ownership import own_store
from credit_assets.ledger.restated import Restatements
from credit_assets.ml.data.schemas import applications_fields, outcomes_fields
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.partition_files import PartitionWriter, Staged, in_pieces, quarantine
from credit_assets.storage.store import Store
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.contracts import Contract, TableRules
    from credit_assets.ml.data.day_findings import DayFindings
    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.rules.day_gates import ByDayGates, DayGates


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract

    @daily_asset(
        "raw_loan_data",
        settings,
        partitions,
        "parquet",
        check_specs=[
            *gate_specs("raw_loan_data", gates_of("raw_loan_data", portfolio), partitions),
            account_spec("raw_loan_data"),
        ],
        description=f"Applications of the day from `{portfolio.applications_table}`, as the contract of portfolio "
        f"`{portfolio.name}` wants them. Rows that break it are quarantined, or reject the partition.",
        metadata=column_schema(portfolio, applications_fields(portfolio)),
    )
    def raw_loan_data(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        claims: dg.ResourceParam[Claims],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.rules.day_gates import application_gates
        from credit_assets.ml.rules.extension_gates import OwnDayGates
        from credit_assets.ml.rules.volume_gates import history_days

        own_store(settings, claims)
        days = days_of(context)
        history = timedelta(days=history_days(portfolio.gates))
        recent = warehouse.daily_counts(portfolio, days[0] - history, days[-1])
        contract, rows = reading("raw_loan_data", portfolio, warehouse, days)
        own = OwnDayGates(portfolio, "applications", days, portfolio.date_column)
        made = ingest(context, store, contract, rows, lambda found: application_gates(found, portfolio, recent), own)
        return made.result(context, settings, warehouse, store)

    return [raw_loan_data, outcomes_asset(settings, partitions)]


def outcomes_asset(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    portfolio = settings.portfolio_contract
    names = portfolio.outcomes
    accounts = [] if names.recorded else [account_spec("loan_outcomes")]

    @daily_asset(
        "loan_outcomes",
        settings,
        partitions,
        "parquet",
        check_specs=[*gate_specs("loan_outcomes", gates_of("loan_outcomes", portfolio), partitions), *accounts],
        description=f"Outcomes that became known on the day, from `{names.table}`"
        + (
            f", which does not say when: recorded on the day on which a row was first seen, within "
            f"{names.recorded_within_days} days of its date (outcomes: recorded_within_days). What is recorded stays."
            if names.recorded
            else "."
        ),
        metadata=column_schema(portfolio, outcomes_fields(portfolio)),
    )
    def loan_outcomes(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        claims: dg.ResourceParam[Claims],
    ) -> dg.MaterializeResult[Any]:
        own_store(settings, claims)
        if names.recorded:
            return recorded_outcomes(portfolio, warehouse).make(context, settings, store)
        from credit_assets.ml.rules.day_gates import outcome_gates
        from credit_assets.ml.rules.extension_gates import OwnDayGates
        from credit_assets.ml.rules.population_gates import StatusGates
        from credit_assets.ml.rules.volume_gates import history_days

        days = days_of(context)
        history = timedelta(days=history_days(portfolio.gates))
        recent = warehouse.daily_outcomes(portfolio, days[0] - history, days[-1])
        contract, rows = reading("loan_outcomes", portfolio, warehouse, days)
        own: list[ByDayGates] = [OwnDayGates(portfolio, "outcomes", days, names.day)]
        if names.status is not None:
            own.append(StatusGates("outcomes", (names.day, names.status), names.classes, days))
        made = ingest(context, store, contract, rows, lambda found: outcome_gates(found, portfolio, recent), *own)
        return made.result(context, settings, warehouse, store)

    return loan_outcomes


def recorded_outcomes(portfolio: Portfolio, warehouse: Warehouse) -> Recording:
    """The outcomes of a table that does not say when they became known."""
    from credit_assets.ml.data.recorded import new_rows, telling_rows
    from credit_assets.ml.data.schemas import outcomes_schema
    from credit_assets.ml.rules.extension_gates import OwnDayGates

    names = portfolio.outcomes
    status, within = names.says, names.recorded_within_days
    return Recording(
        "loan_outcomes",
        "outcomes",
        status,
        tuple(names.classes),
        within,
        outcomes_schema(portfolio),
        lambda first, last: telling_rows(warehouse.read_outcomes(portfolio, first, last).read_all(), status),
        lambda now, before, days, later: new_rows(now, before, days, within, later),
        lambda days: OwnDayGates(portfolio, "outcomes", days, names.day),
    )


def reading(
    asset: str, portfolio: Portfolio, warehouse: Warehouse, days: Sequence[date]
) -> tuple[Contract, pa.RecordBatchReader]:
    """The contract of the table that an asset ingests, one of READ_AS, and the table's rows of these days."""
    from credit_assets.ml.data.contracts import Contract

    rules, rows = READ_AS[asset](portfolio, warehouse, days[0], days[-1])
    return Contract(rules, days), rows


def _applications(
    portfolio: Portfolio, warehouse: Warehouse, first: date, last: date
) -> tuple[TableRules, pa.RecordBatchReader]:
    from credit_assets.ml.data.contracts import applications_rules

    return applications_rules(portfolio), warehouse.read_applications(portfolio, first, last, noted=True)


def _outcomes(
    portfolio: Portfolio, warehouse: Warehouse, first: date, last: date
) -> tuple[TableRules, pa.RecordBatchReader]:
    from credit_assets.ml.data.contracts import outcomes_rules

    return outcomes_rules(portfolio), warehouse.read_outcomes(portfolio, first, last, noted=True)


def _decisions(
    portfolio: Portfolio, warehouse: Warehouse, first: date, last: date
) -> tuple[TableRules, pa.RecordBatchReader]:
    from credit_assets.ml.data.contracts import decisions_rules

    return decisions_rules(portfolio), warehouse.read_decisions(portfolio, first, last, noted=True)


def _histories(
    portfolio: Portfolio, warehouse: Warehouse, first: date, last: date
) -> tuple[TableRules, pa.RecordBatchReader]:
    from credit_assets.ml.rules.history_gates import history_rules

    return history_rules(portfolio), warehouse.read_history_features(portfolio, first, last)


READ_AS = {
    "raw_loan_data": _applications,
    "loan_outcomes": _outcomes,
    "loan_decisions": _decisions,
    "history_features": _histories,
}
"""By asset, how its table is read: what ingests a day, and what a recheck holds against it."""


@dataclass(frozen=True)
class Ingested:
    """What became of the rows of some days: files, not yet to be seen, gates, and rows quarantined, by day."""

    files: Mapping[date, Staged]
    gates: DayGates
    quarantined: Mapping[date, int]
    metadata: Mapping[date, Mapping[str, Any]]

    def result(
        self, context: dg.AssetExecutionContext, settings: Settings, warehouse: Warehouse, store: Store
    ) -> dg.MaterializeResult[Any]:
        """The result of the step, with the account of the whole table."""
        from credit_assets.ml.rules.account_gates import account_gate

        just = {day: (file.rows, self.quarantined[day]) for day, file in self.files.items()}
        account = table_account(context.asset_key.path[-1], settings, warehouse, store, just)
        gate = account_gate([account], settings.portfolio_contract.gates)
        if not gate.passed:
            context.log.warning(gate.message())
        return daily_result(context, self.files, self.gates, self.metadata, [account_result(gate)])


def ingest(
    context: dg.AssetExecutionContext,
    store: Store,
    contract: Contract,
    batches: Iterable[pa.RecordBatch],
    judge: Callable[[DayFindings], DayGates],
    *own: ByDayGates,
) -> Ingested:
    """Hold a stream of rows, in order of days and ids, against the contract: what keeps it becomes the partitions,
    the rest their quarantine, and `judge` makes the gates of what was found; `own` are further
    ones, which see the rows that are kept. Holds no more than a piece of the stream, and of a day the columns that an
    extension's gate reads.

    Raises PermanentError where a row of the stream would be in neither.
    """
    import pyarrow as pa

    from credit_assets.ml.rules.day_gates import with_own

    asset, days, day_column = context.asset_key.path[-1], contract.days, contract.rules.date_column
    with (
        PartitionWriter(store, asset, days, contract.schema, day_column) as kept,
        PartitionWriter(store, f"quarantine/{asset}", days, contract.quarantine_schema, day_column) as aside,
    ):
        read = 0
        for piece in in_pieces(pa.Table.from_batches([batch]) for batch in batches):
            read += piece.num_rows
            checked = contract.check(piece)
            kept.write(checked.kept)
            kept.write_undated(checked.kept)
            for gates_of_rows in own:
                gates_of_rows.add(checked.kept)
            aside.write(checked.quarantined)
            aside.write_undated(checked.quarantined)
        gates = with_own(judge(contract.findings), *own)
        files = kept.close(gates)
        set_aside = aside.close_nonempty()
    quarantined = {day: file.rows if (file := set_aside.get(day)) else 0 for day in days}
    counted = dict(zip(contract.days, contract.findings.rows.tolist(), strict=True))
    _account_for(asset, read, counted, {day: (files[day].rows, quarantined[day]) for day in days})
    metadata: dict[date, dict[str, Any]] = {}
    for day in days:
        path = quarantine(store, asset, day.isoformat(), set_aside.get(day))
        metadata[day] = {"rows_read": counted[day], "quarantined_rows": quarantined[day]}
        if path is not None:
            metadata[day]["quarantine"] = dg.MetadataValue.path(str(path))
    for one in Restatements(store).ingested(asset, {day.isoformat(): file for day, file in files.items()}):
        metadata[date.fromisoformat(one.day)]["restated"] = f"{one.rows_before:,} rows before, other ones now"
    empty = [day for day in days if files[day].rows == 0]
    if empty and asset == "raw_loan_data":
        shown = f"{empty[0]}" if len(empty) == 1 else f"{len(empty)} days ({empty[0]} .. {empty[-1]})"
        context.log.warning(f"{shown}: the warehouse has no application; the partition is valid and empty")
    return Ingested(files, gates, quarantined, metadata)


def _account_for(asset: str, read: int, counted: Mapping[date, int], written: Mapping[date, tuple[int, int]]) -> None:
    """Raise PermanentError unless the rows of the stream are those that were counted, and on each day as many kept and
    quarantined.
    """
    wrong = [day for day, rows in counted.items() if rows != sum(written[day])]
    if read == sum(counted.values()) and not wrong:
        return
    shown = "; ".join(
        f"{day}: {counted[day]:,} read, {written[day][0]:,} kept, {written[day][1]:,} quarantined" for day in wrong[:3]
    )
    raise PermanentError(
        f"{asset}: {read:,} rows were read, of which {sum(map(sum, written.values())):,} would be kept or quarantined "
        f"({shown or 'the rest is of other days'}); nothing was written, since a row must not get lost: please report "
        "it"
    )
