"""Days that are recorded: what a table says now, filed under the day on which it was first seen to say so.

Belongs here: keeping and continuing the record in the store. Does not belong here: which rows are news
(`credit_assets.ml.data.recorded`), and the assets that are recorded (`decisions`, `ingestion`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.conventions import daily_result, days_of
from credit_assets.checks import RECORDED
from credit_assets.partitions import today
from credit_assets.settings import Settings
from credit_assets.storage.partition_files import split_by_day, stage
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.gate_results import GateResult
    from credit_assets.ml.rules.day_gates import ByDayGates


@dataclass(frozen=True)
class Recording:
    """What is recorded: the statuses of a block of the portfolio file.

    `read`: the rows of some days as the table has them now; `news`: those that are news, given what is recorded, the
    days that are made and the first later one that is recorded already; `schema`: of the record, the day second; `own`:
    the gates of extensions on some days.
    """

    asset: str
    block: str
    status: str
    mapped: tuple[str, ...]
    within_days: int
    schema: pa.Schema
    read: Callable[[date, date], pa.Table]
    news: Callable[[pa.Table, pa.Table, Sequence[date], date | None], pa.Table]
    own: Callable[[Sequence[date]], ByDayGates] | None = None

    def make(self, context: dg.AssetExecutionContext, settings: Settings, store: Store) -> dg.MaterializeResult[Any]:
        """Record the days of a step. Those that are recorded already stay as they are, unless a gate rejected them."""
        days, now = days_of(context), today(settings)
        stands = {day: table for day in days if (table := self._recorded(store, day)) is not None}
        made = [day for day in days if day not in stands]
        found = self._found(store, made) if made else {}
        late = (now - made[-1]).days - 1 if made else 0
        if late > 0:
            context.log.warning(
                f"{self.asset} {made[0]} .. {made[-1]}: read {late} days and more after they closed, so that statuses "
                "are those of now: what is seen for the first time counts as known from its own day"
            )
        tables = {day: stands[day] if day in stands else found[day] for day in days}
        gates = self._judged(tables, {day: _late(store, self.asset, day) for day in stands}, now)
        staged = {day: stage(store, self._path(store, day), table, gates[day]) for day, table in tables.items()}
        return daily_result(context, staged, gates, {day: {"recorded": _value(gates[day])} for day in days})

    def _path(self, store: Store, day: date) -> Any:
        return store.path(self.asset, f"{day}.parquet")

    def _recorded(self, store: Store, day: date) -> pa.Table | None:
        """What is recorded of a day; None where nothing is, and where a gate rejected it."""
        if not self._path(store, day).exists():
            return None
        if any(gate.blocks for gate in store.gates(self.asset, day.isoformat())):
            return None
        return store.read_table(self._path(store, day))

    def _found(self, store: Store, days: Sequence[date]) -> Mapping[date, pa.Table]:
        """What the table says that was not recorded yet, by the day that it goes to."""
        import pyarrow as pa

        within = timedelta(self.within_days)
        now = self.read(days[0] - within, days[-1])
        near = [date.fromisoformat(name) for name in store.days(self.asset)]
        there = {
            day: recorded
            for day in near
            if days[0] - within <= day <= days[-1] + within and day not in days
            if (recorded := self._recorded(store, day)) is not None
        }
        before = pa.concat_tables([self.schema.empty_table(), *there.values()])
        later = min((day for day in there if day > days[-1]), default=None)
        by_day = split_by_day(self.news(now, before, days, later), self.schema.names[1], days)
        return {day: by_day.get(day, self.schema.empty_table()) for day in days}

    def _judged(
        self, tables: Mapping[date, pa.Table], stood: Mapping[date, GateResult | None], now: date
    ) -> dict[date, tuple[GateResult, ...]]:
        """The gates of each day; what was said of when a day was recorded stays."""
        from credit_assets.ml.rules.day_gates import with_own
        from credit_assets.ml.rules.population_gates import StatusGates, recorded_gate

        days = list(tables)
        columns = (self.schema.names[1], self.status)
        judges: list[ByDayGates] = [StatusGates(self.block, columns, self.mapped, days)]
        judges += [self.own(days)] if self.own else []
        for table in tables.values():
            for judge in judges:
                judge.add(table)
        recorded = {day: stood.get(day) or recorded_gate((now - day).days - 1) for day in days}
        return with_own({day: (gate,) for day, gate in recorded.items()}, *judges)


def _late(store: Store, asset: str, day: date) -> GateResult | None:
    return next((gate for gate in store.gates(asset, day.isoformat()) if gate.name == RECORDED), None)


def _value(gates: Sequence[GateResult]) -> Any:
    return next(gate.value for gate in gates if gate.name == RECORDED)
