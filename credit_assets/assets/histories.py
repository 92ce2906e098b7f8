"""Features of the applicants' histories, as they were known before each application."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.columns import column_schema
from credit_assets.assets.conventions import daily_asset, daily_result, days_of
from credit_assets.assets.ingestion import ingest
from credit_assets.checks import HISTORY_GATES, gate_specs
from credit_assets.instance.ownership import own_store
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import history_fields
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.footers import gates_of
from credit_assets.storage.store import RefusedPartitionError, RejectedPartitionError, Store
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.rules.history_gates import Without
    from credit_assets.warehouse.histories import HistoryCounts

HISTORY = "history_features"


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract
    tables = ", ".join(f"`{history.table}`" for history in portfolio.histories)

    @daily_asset(
        HISTORY,
        settings,
        partitions,
        "parquet",
        check_specs=gate_specs(HISTORY, HISTORY_GATES, partitions),
        description=f"Aggregates of {tables} for the applications of the day, of what was known before each of them.",
        metadata=column_schema(portfolio, history_fields(portfolio)),
    )
    def history_features(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        claims: dg.ResourceParam[Claims],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.contracts import Contract
        from credit_assets.ml.rules.history_gates import history_gates, history_rules
        from credit_assets.warehouse.histories import HistoryCounts

        own_store(settings, claims)
        days, counts = days_of(context), HistoryCounts()
        before = days_before(store, portfolio, days[0])
        contract = Contract(history_rules(portfolio), days)
        rows = warehouse.read_history_features(portfolio, days[0], days[-1], counts)
        made = ingest(
            context, store, contract, rows, lambda found: history_gates(found, portfolio, _unread(counts), before)
        )
        metadata = {day: {**made.metadata[day], **_rows_of(counts, portfolio, day)} for day in days}
        return daily_result(context, made.files, made.gates, metadata)

    return [history_features]


def _unread(counts: HistoryCounts) -> dict[tuple[date, str], Any]:
    from credit_assets.ml.rules.history_gates import Unread

    found = {*counts.rows, *counts.undated, *counts.unreadable}
    return {
        one: Unread(counts.rows.get(one, 0), counts.undated.get(one, 0), counts.unreadable.get(one, 0)) for one in found
    }


def _rows_of(counts: HistoryCounts, portfolio: Portfolio, day: date) -> dict[str, int]:
    return {f"rows of {history.name}": counts.rows.get((day, history.name), 0) for history in portfolio.histories}


def days_before(store: Store, portfolio: Portfolio, day: date) -> dict[date, Without]:
    """Applications without a row, of the days before this one that are there and were not rejected; from the footers
    of their files.
    """
    from credit_assets.ml.data.gate_results import why_rejected
    from credit_assets.ml.rules.history_gates import Without

    first = day - timedelta(days=portfolio.gates.volume_history_days)
    found: dict[date, Without] = {}
    for name in store.days(HISTORY):
        if not first <= date.fromisoformat(name) < day:
            continue
        try:
            footer = store.metadata(store.path(HISTORY, f"{name}.parquet"))
        except FileNotFoundError:
            continue
        if why_rejected(gates_of(footer)):
            continue
        without = {history.name: _nulls(footer, history.rows_column) for history in portfolio.histories}
        known = {name: count for name, count in without.items() if count is not None}
        found[date.fromisoformat(name)] = Without(footer.num_rows, known)
    return found


def _nulls(footer: pa.parquet.FileMetaData, column: str) -> int | None:
    """Nulls of a column; None where the file has it not."""
    names = footer.schema.to_arrow_schema().names
    if column not in names:
        return None
    place = names.index(column)
    groups = [footer.row_group(n).column(place).statistics for n in range(footer.num_row_groups)]
    return sum(int(one.null_count) for one in groups if one is not None)


class HistoryDays:
    """Puts the history features of a day beside its applications. Days whose features are not there, or rejected, or
    lack an application, stand in `refused`, by ISO day.
    """

    def __init__(self, store: Store, portfolio: Portfolio) -> None:
        self.refused: dict[str, RefusedPartitionError] = {}
        self._store, self._portfolio = store, portfolio
        self.contents: dict[str, dict[str, str]] = {HISTORY: {}} if portfolio.histories else {}
        """The beginning of the hash of what was put beside, by asset and ISO day."""
        self._last: tuple[date, pa.Table] | None = None

    def beside(self, applications: pa.Table) -> pa.Table:
        """The applications, in order of their days, with the features beside each; without those of refused days."""
        import pyarrow as pa

        from credit_assets.ml.data.schemas import history_schema
        from credit_assets.storage.partition_files import split_by_day

        column = self._portfolio.date_column
        days = sorted(applications[column].unique().to_pylist())
        names = [feature.name for feature in self._portfolio.history_features]
        fields = [history_schema(self._portfolio).field(name) for name in names]
        empty = pa.schema([*applications.schema, *fields]).empty_table()
        made = [self._joined(day, rows, names) for day, rows in split_by_day(applications, column, days).items()]
        return pa.concat_tables([empty, *(table for table in made if table is not None)])

    def _joined(self, day: date, applications: pa.Table, names: list[str]) -> pa.Table | None:
        import pyarrow.compute as pc

        if str(day) in self.refused:
            return None
        key = self._portfolio.id_column
        try:
            features = self._day(day)
            places = pc.index_in(applications[key], value_set=features[key].combine_chunks())
            if places.null_count:
                raise RefusedPartitionError(
                    f"{HISTORY} {day} lacks {places.null_count:,} of the {len(places):,} applications of "
                    "raw_loan_data: these came in between, or were restated; materialize the day of both again, "
                    "raw_loan_data first"
                )
        except RefusedPartitionError as refusal:
            self.refused[str(day)] = refusal
            return None
        for name in names:
            applications = applications.append_column(features.schema.field(name), features[name].take(places))
        return applications

    def _day(self, day: date) -> pa.Table:
        if self._last is None or self._last[0] != day:
            # Let go of the one before this one is read.
            self._last = None
            self._last = day, self._store.read_partitions(HISTORY, [str(day)])
            self.contents[HISTORY][str(day)] = self._store.footers(HISTORY, [str(day)])[str(day)].as_input
        return self._last[1]

    def refusals(self, others: Mapping[str, str], days: int) -> dict[str, str]:
        """Why days are refused, by this or already by `others`. Raises where that leaves none of so many `days`."""
        found = {**others, **{day: str(refusal) for day, refusal in self.refused.items()}}
        if self.refused and len(found) == days:
            # One by a gate before others: whoever reads it knows a verdict from a fault.
            raise min(self.refused.values(), key=lambda one: not isinstance(one, RejectedPartitionError))
        return found
