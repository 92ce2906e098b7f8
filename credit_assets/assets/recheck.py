"""Days on which the warehouse now says something else than was ingested: found, made again, and what they were in.

Belongs here: comparing days, and the asset that does it before a training. Does not belong here: what a day is made of
(`ingestion`, `features`, `scoring`), which the runs that it starts make as ever.

A day is compared by its content: its rows are read as ingestion reads them, held against the contract, and the hashes
of what would be kept and quarantined against those of the files. A count alone does not see a default that was booked
back, and to read a fortnight costs less than the run that it stands in.

By CREDIT_RESTATED what differs is ingested again, or reported only. Either way it is known from then on, and so is what
was made of it as it was (`credit_assets.ledger.restated`).

What has to be made again is noted in the store first, and struck out when all of it is made: a step that is killed in
between leaves a day whose files look right and whose scores are of yesterday.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets import pages
from credit_assets.assets.accounts import ingested_tables
from credit_assets.assets.conventions import asset_key, daily_asset
from credit_assets.assets.ingestion import reading
from credit_assets.assets.runs import BuiltJobs
from credit_assets.checks import restated_since
from credit_assets.failures import PermanentError, TransientError
from credit_assets.health import first_line
from credit_assets.instance.dagster_internals import PartitionCheckResult
from credit_assets.ledger.alias_log import LOGS
from credit_assets.ledger.integrity import WAY_OUT, Integrity, break_in_words
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.restated import NOTHING, RestatedDay, Restatements
from credit_assets.ml.data.schemas import REASON
from credit_assets.partitions import ranges
from credit_assets.settings import Settings
from credit_assets.stages import INGEST, SCORE
from credit_assets.storage.partition_files import in_pieces, split_by_day
from credit_assets.storage.store import Store
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN, _LINES, _WORDS = 50, 20, 500
RESTATED = "restated_days"
INGESTED = "ingest"
"""The policy under which restated days are ingested again."""
TRAINED_ON_RESTATED, LEDGER_WHOLE = "trained_on_restated", "ledger_whole"
_PENDING = "pending_restatements"


@dataclass(frozen=True)
class Restated:
    """A day of one table that reads otherwise now: rows kept and quarantined, then and now, and the hash of those kept.
    Equal counts mean other values.
    """

    asset: str
    day: str
    rows_before: int
    rows_now: int
    quarantined_before: int
    quarantined_now: int
    content_now: str


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @daily_asset(
        RESTATED,
        settings,
        partitions,
        "parquet",
        check_specs=[
            dg.AssetCheckSpec(
                TRAINED_ON_RESTATED,
                asset=RESTATED,
                partitions_def=partitions,
                description="No registered version was trained on a day that the warehouse has changed since.",
            ),
            dg.AssetCheckSpec(
                LEDGER_WHOLE,
                asset=RESTATED,
                partitions_def=partitions,
                description="No record of moves, requests and decisions was edited, removed or put there past the "
                "pipeline, by a look at the newest of each log; `credit-assets audit --verify` looks at all.",
            ),
        ],
        description=f"Of the last {settings.recheck_days} ingested days (CREDIT_RECHECK_DAYS), those on which the "
        "warehouse says something else now. "
        + (
            "They are ingested again, with features, scores and reports."
            if settings.restated == INGESTED
            else "They are reported, and nothing is ingested again (CREDIT_RESTATED)."
        ),
    )
    def make_restated_days(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        runs: dg.ResourceParam[BuiltJobs],
        registry: dg.ResourceParam[Registry],
    ) -> dg.MaterializeResult[Any]:
        last = date.fromisoformat(context.partition_key)
        compared = rechecked_days(settings, store, last)
        found = [
            day for asset, days in compared.items() for day in restated_days(asset, settings, warehouse, store, days)
        ]
        again = _pending(store)
        if settings.restated == INGESTED:
            again |= {date.fromisoformat(one.day) for one in found}
        scored = _make_again(context, runs, store, sorted(again), settings) if again else None
        _note(store, compared, found, settings)
        for day in Restatements(store).newly_stale_sets():
            context.instance.report_runless_asset_event(restated_since(asset_key(settings, "training_set"), day))
        stale = Restatements(store).stale(
            {asset: {one.day for one in found if one.asset == asset} for asset in compared}
        )
        record = {
            "as_of": last.isoformat(),
            "policy": settings.restated,
            "compared_days": len({day for days in compared.values() for day in days}),
            "restated": [asdict(one) for one in found],
            "scored_again": scored and [day.isoformat() for day in scored],
            "trained_on": [one.to_record() for one in stale.versions],
        }
        for one in found:
            context.log.warning(f"restated: {in_words(one)}")
        return _result(record, last, ledger_check(registry, last))

    return [make_restated_days]


def rechecked_days(settings: Settings, store: Store, last: date) -> dict[str, list[date]]:
    """By asset, the ingested days among the CREDIT_RECHECK_DAYS up to `last`."""
    first = last - timedelta(days=settings.recheck_days - 1)
    return {
        asset: [day for name in store.days(asset) if first <= (day := date.fromisoformat(name)) <= last]
        for asset in (
            *ingested_tables(settings),
            *(["history_features"] if settings.portfolio_contract.histories else []),
        )
    }


def restated_days(
    asset: str, settings: Settings, warehouse: Warehouse, store: Store, days: Sequence[date]
) -> list[Restated]:
    """Of these days, all of them ingested, those that read otherwise now. Raises as the warehouse and the store do."""
    return [
        one
        for first, last in ranges(days, settings.days_per_run)
        for one in _restated(asset, settings, warehouse, store, [day for day in days if first <= day <= last])
    ]


def _restated(
    asset: str, settings: Settings, warehouse: Warehouse, store: Store, days: Sequence[date]
) -> list[Restated]:
    now, columns = _contents_now(asset, settings, warehouse, days)
    stored = _contents_stored(asset, store, days, columns)
    found = []
    for day in days:
        if stored[day] != now[day]:
            (kept, _), (aside, _) = stored[day]
            (kept_now, content), (aside_now, _) = now[day]
            found.append(Restated(asset, day.isoformat(), kept, kept_now, aside, aside_now, content))
    return found


_Content = tuple[int, str]
"""Rows, and the hash of them."""


def _contents_now(
    asset: str, settings: Settings, warehouse: Warehouse, days: Sequence[date]
) -> tuple[dict[date, tuple[_Content, _Content]], tuple[str, ...]]:
    """What ingesting each of these days now would keep and quarantine, and the columns that these have."""
    import pyarrow as pa

    from credit_assets.ml.data.fingerprints import ContentHash

    contract, rows = reading(asset, settings.portfolio_contract, warehouse, days)
    column = contract.rules.date_column
    counts, hashes = dict.fromkeys(days, 0), {day: ContentHash() for day in days}
    aside: dict[date, list[pa.Table]] = {day: [] for day in days}
    for piece in in_pieces(pa.Table.from_batches([batch]) for batch in rows):
        checked = contract.check(piece)
        for day, table in split_by_day(checked.kept, column, list(days)).items():
            counts[day] += table.num_rows
            hashes[day].update(table)
        for day, table in split_by_day(checked.quarantined, column, list(days)).items():
            aside[day].append(table)
    found = {
        day: (
            (counts[day], hashes[day].hexdigest()) if counts[day] else _NOTHING,
            _in_any_order(pa.concat_tables(aside[day])) if aside[day] else _NOTHING,
        )
        for day in days
    }
    return found, tuple(contract.schema.names)


def _contents_stored(
    asset: str, store: Store, days: Sequence[date], columns: Sequence[str]
) -> dict[date, tuple[_Content, _Content]]:
    """What the store has of each day, kept and quarantined, whatever a gate said of it; nothing where there is no file.
    Files say what they hold; rows that were quarantined are few, and are read. What a file has beyond `columns` is of a
    portfolio that had more, and does not count: that a column has left it restates no day.
    """
    from credit_assets.ml.data.fingerprints import frame_hash

    names = [day.isoformat() for day in days]
    there, folder = store.footers(asset, names), f"quarantine/{asset}"
    set_aside = set(store.days(folder)).intersection(names)

    def rows(folder: str, name: str) -> pa.Table:
        table = store.read_table(store.path(folder, f"{name}.parquet"))
        return table.select([one for one in (*columns, REASON) if one in table.column_names])

    def kept(name: str) -> _Content:
        footer = there.get(name)
        if footer is None or not footer.rows:
            return _NOTHING
        as_now = footer.content if footer.columns == tuple(columns) else ""
        return footer.rows, as_now or frame_hash(rows(asset, name))

    return {
        day: (kept(name), _in_any_order(rows(folder, name)) if name in set_aside else _NOTHING)
        for day, name in zip(days, names, strict=True)
    }


_NOTHING: _Content = (0, "")


def _in_any_order(rows: pa.Table) -> _Content:
    """Rows that share an id come in no certain order."""
    from credit_assets.ml.data.fingerprints import frame_hash

    return rows.num_rows, frame_hash(rows.sort_by([(name, "ascending") for name in rows.column_names]))


# Making it again


def _make_again(
    context: dg.AssetExecutionContext, runs: BuiltJobs, store: Store, days: Sequence[date], settings: Settings
) -> tuple[date, date] | None:
    """Ingest these days, and score and report from the first of them on, as far as that was done; the latter's ends.

    A report looks back over many days: one of a later day has a restated one in it.
    """
    note = store.path(_PENDING, f"{days[0]}_{days[-1]}.json")
    store.write_record(note, [day.isoformat() for day in days])
    for span in ranges(days, settings.days_per_run):
        runs.over_days(context.instance, INGEST, span)
    scored, reported = (
        [day for name in store.days(asset) if (day := date.fromisoformat(name)) >= days[0]]
        for asset in ("loan_scores", "performance_report")
    )
    for span in ranges([day for day in scored if day not in set(reported)], settings.days_per_run):
        # Of days that a backfill scored and nobody reported on.
        runs.over_days(context.instance, SCORE, span, ("loan_scores",))
    for span in ranges(reported, settings.days_per_run):
        runs.over_days(context.instance, SCORE, span)
    for path in {note, *(store.path(_PENDING, f"{name}.json") for name in store.days(_PENDING))}:
        if set(store.read_record(path)) <= {day.isoformat() for day in days}:
            store.remove(path)
    return (scored[0], scored[-1]) if scored else None


def _pending(store: Store) -> set[date]:
    """Days that an earlier recheck began to make again and did not finish."""
    notes = [store.read_record(store.path(_PENDING, f"{name}.json")) for name in store.days(_PENDING)]
    return {date.fromisoformat(day) for note in notes for day in note}


def _note(store: Store, compared: Mapping[str, Sequence[date]], found: Sequence[Restated], settings: Settings) -> None:
    """Note what is only reported, and of what was reported before that it is so no more."""
    reported = [
        RestatedDay(one.asset, one.day, one.rows_before, one.rows_now, one.content_now or NOTHING)
        for one in found
        if settings.restated != INGESTED
    ]
    made = {(one.asset, one.day) for one in found} if settings.restated == INGESTED else set()
    looked_at = {(asset, day.isoformat()) for asset, days in compared.items() for day in days} - made
    Restatements(store).reported(reported, looked_at)


# In words


def in_words(one: Restated | Mapping[str, Any]) -> str:
    """ "loan_outcomes 2024-03-01: 18 rows, now 30": one restated day, for a log or a terminal."""
    record = asdict(one) if isinstance(one, Restated) else one
    text = f"{record['asset']} {record['day']}: {record['rows_before']:,} rows, now {record['rows_now']:,}"
    if record["quarantined_before"] or record["quarantined_now"]:
        text += f"; quarantined {record['quarantined_before']:,}, now {record['quarantined_now']:,}"
    if record["rows_before"] == record["rows_now"]:
        text += ", with other values"
    return text


def lines(record: Mapping[str, Any]) -> list[str]:
    """A record in words: the newest of its days, and the versions that were trained on any of them."""
    restated = record["restated"]
    shown = [in_words(one) for one in restated[-_LINES:]]
    if len(restated) > len(shown):
        shown.insert(0, f"{len(restated) - len(shown):,} days more (all of them with --json), and")
    if record["trained_on"]:
        shown.append(f"trained on restated days: {versions_in_words(record['trained_on'])}")
    return shown


def versions_in_words(trained: Iterable[Mapping[str, Any]]) -> str:
    """ "version 3 (champion, as of 2024-03-31: 2 days of loan_outcomes, 31 rows)", and so on."""
    return "; ".join(
        f"version {one['version']} ({', '.join([*one.get('aliases', ()), 'as of ' + one['as_of']])}: "
        + f"{days_in_words(one)})"
        for one in trained
    )


def days_in_words(one: Mapping[str, Any]) -> str:
    """ "2 days of loan_outcomes, 31 rows", and so on: the restated days of one version."""
    days = "; ".join(
        f"{count} days of {asset}" + (f", {one['rows'][asset]:,} rows" if asset in one["rows"] else "")
        for asset, count in one["days"].items()
    )
    return days if one["certain"] else f"{days}; by the days that its training set spans"


def _result(record: Mapping[str, Any], last: date, *checks: dg.AssetCheckResult) -> dg.MaterializeResult[Any]:
    from credit_assets.ml.data.fingerprints import fingerprint

    trained = record["trained_on"]
    check = PartitionCheckResult(
        check_name=TRAINED_ON_RESTATED,
        passed=not trained,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Trained on days that the warehouse has changed since: {versions_in_words(trained)}. Train as of "
        f"those dates again to see what the change does; newer trainings read the days as they are now."
        if trained
        else "No registered version was trained on a day that has changed.",
        metadata=pages.judged(len(trained), 0),
    )
    check.partition = last.isoformat()
    shown = [{name: str(value) for name, value in one.items()} for one in record["restated"]]
    metadata: dict[str, Any] = {"compared_days": record["compared_days"], "restated": len(shown)}
    if shown:
        metadata["days"] = pages.table(shown[:_SHOWN], list(shown[0]))
    return dg.MaterializeResult(
        value=record,
        data_version=dg.DataVersion(fingerprint(**record)),
        metadata=metadata,
        check_results=[check, *checks],
    )


def ledger_check(registry: Registry, day: date) -> dg.AssetCheckResult:
    """The cheap look at the ledger's chains as a check, a warning: days go on being scored, and people are told."""
    try:
        broken = Integrity(registry).breaks() if registry.claims.names(LOGS) else []
        description = "; ".join(break_in_words(one) for one in broken) or "Every log ends as it was written."
    except (PermanentError, TransientError) as error:
        # The steps that need what does not answer say so themselves.
        broken, description = [], f"Not looked at: {first_line(error)}"
    check = PartitionCheckResult(
        check_name=LEDGER_WHOLE,
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{description[:_WORDS]}{' Nothing is trained or promoted on it: ' + WAY_OUT if broken else ''}",
        metadata=pages.judged(len(broken), 0),
    )
    check.partition = day.isoformat()
    return check
