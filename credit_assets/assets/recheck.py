"""Days on which the warehouse now says something else than was ingested: found, made again, and what they were in.

Belongs here: comparing days, and the asset that does it before a training. Does not belong here: what a day is made of
(`ingestion`, `features`, `scoring`), which the runs that it starts make as ever.

A day is compared by its content: its rows are read as ingestion reads them, held against the contract, and the hashes
of what would be kept and quarantined against those of the files. A count alone does not see a default that was booked
back, and to read a fortnight costs less than the run that it stands in.

What has to be made again is noted in the store first, and struck out when all of it is made: a step that is killed in
between leaves a day whose files look right and whose scores are of yesterday.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.accounts import APPLICATIONS, OUTCOMES
from credit_assets.assets.conventions import daily_asset
from credit_assets.assets.ingestion import reading
from credit_assets.assets.runs import Runs
from credit_assets.checks import table_of_text
from credit_assets.instance.dagster_internals import PartitionCheckResult
from credit_assets.partitions import ranges
from credit_assets.settings import Settings
from credit_assets.stages import INGEST, SCORE
from credit_assets.storage.partition_files import in_pieces, split_by_day
from credit_assets.storage.store import Store
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN, _LINES = 50, 20
RESTATED = "restated_days"
TRAINED_ON_RESTATED = "trained_on_restated"
_PENDING = "pending_restatements"


@dataclass(frozen=True)
class Restated:
    """A day of one table that reads otherwise now: rows kept and quarantined, then and now. Equal counts mean other
    values.
    """

    asset: str
    day: str
    rows_before: int
    rows_now: int
    quarantined_before: int
    quarantined_now: int


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
            )
        ],
        description=f"Of the last {settings.recheck_days} ingested days (CREDIT_RECHECK_DAYS), those on which the "
        "warehouse says something else now. They are ingested again, with features, scores and reports.",
    )
    def make_restated_days(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        runs: dg.ResourceParam[Runs],
    ) -> dg.MaterializeResult[Any]:
        last = date.fromisoformat(context.partition_key)
        compared = rechecked_days(settings, store, last)
        found = [
            day for asset, days in compared.items() for day in restated_days(asset, settings, warehouse, store, days)
        ]
        again = {date.fromisoformat(one.day) for one in found} | _pending(store)
        scored = _make_again(context, runs, store, sorted(again), settings) if again else None
        record = {
            "as_of": last.isoformat(),
            "compared_days": len({day for days in compared.values() for day in days}),
            "restated": [asdict(one) for one in found],
            "scored_again": scored and [day.isoformat() for day in scored],
            "trained_on": trained_on(store, found),
        }
        for one in found:
            context.log.warning(f"restated: {in_words(one)}")
        return _result(record, last)

    return [make_restated_days]


def rechecked_days(settings: Settings, store: Store, last: date) -> dict[str, list[date]]:
    """By asset, the ingested days among the CREDIT_RECHECK_DAYS up to `last`."""
    first = last - timedelta(days=settings.recheck_days - 1)
    return {
        asset: [day for name in store.days(asset) if first <= (day := date.fromisoformat(name)) <= last]
        for asset in (APPLICATIONS, OUTCOMES)
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
    now = _contents_now(asset, settings, warehouse, days)
    found = []
    for day in days:
        before = _stored(store, asset, day)
        if before != now[day]:
            (kept, _), (aside, _) = before
            (kept_now, _), (aside_now, _) = now[day]
            found.append(Restated(asset, day.isoformat(), kept, kept_now, aside, aside_now))
    return found


_Content = tuple[int, str]
"""Rows, and the hash of them."""


def _contents_now(
    asset: str, settings: Settings, warehouse: Warehouse, days: Sequence[date]
) -> dict[date, tuple[_Content, _Content]]:
    """What ingesting each of these days now would keep and quarantine."""
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
    return {
        day: (
            (counts[day], hashes[day].hexdigest()) if counts[day] else _NOTHING,
            _in_any_order(pa.concat_tables(aside[day])) if aside[day] else _NOTHING,
        )
        for day in days
    }


def _stored(store: Store, asset: str, day: date) -> tuple[_Content, _Content]:
    """What the store has of a day, kept and quarantined, whatever a gate said of it; nothing where there is no file."""
    from credit_assets.ml.data.fingerprints import frame_hash

    def table(name: str) -> pa.Table | None:
        try:
            read = store.open_table(store.path(name, f"{day}.parquet")).read()
        except FileNotFoundError:
            return None
        return read.replace_schema_metadata(None) if read.num_rows else None

    kept, aside = table(asset), table(f"quarantine/{asset}")
    return (
        _NOTHING if kept is None else (kept.num_rows, frame_hash(kept)),
        _NOTHING if aside is None else _in_any_order(aside),
    )


_NOTHING: _Content = (0, "")


def _in_any_order(rows: pa.Table) -> _Content:
    """Rows that share an id come in no certain order."""
    from credit_assets.ml.data.fingerprints import frame_hash

    return rows.num_rows, frame_hash(rows.sort_by([(name, "ascending") for name in rows.column_names]))


# Making it again


def _make_again(
    context: dg.AssetExecutionContext, runs: Runs, store: Store, days: Sequence[date], settings: Settings
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


# What they were in


def trained_on(store: Store, found: Iterable[Restated]) -> list[dict[str, Any]]:
    """Registered versions whose training set holds restated days, by the records of their as-of dates, with the number
    of these days of each asset.

    A set holds the applications of its own days, and the outcomes from the first of these to its as-of date.
    """
    days = {asset: sorted(one.day for one in found if one.asset == asset) for asset in (APPLICATIONS, OUTCOMES)}
    first = min((of[0] for of in days.values() if of), default=None)
    versions = []
    for as_of in store.days("registered_model") if first else ():
        if as_of < str(first):
            continue
        version = store.read_record(store.path("registered_model", f"{as_of}.json"))["version"]
        span = _span(store, as_of) if version else None
        if span is None:
            continue
        within = {
            APPLICATIONS: sum(span[0] <= day <= span[1] for day in days[APPLICATIONS]),
            OUTCOMES: sum(span[0] <= day <= as_of for day in days[OUTCOMES]),
        }
        if any(within.values()):
            versions.append({"version": version, "as_of": as_of, **within})
    return versions


def _span(store: Store, as_of: str) -> tuple[str, str] | None:
    """First and last application day of a training set, from the footer of its file."""
    try:
        footer = store.open_table(store.path("training_set", f"{as_of}.parquet")).metadata
    except FileNotFoundError:
        return None
    # Id first, then the day.
    of_groups = [footer.row_group(n).column(1).statistics for n in range(footer.num_row_groups)]
    if not of_groups:
        return None
    return str(min(one.min for one in of_groups)), str(max(one.max for one in of_groups))


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
    """ "version 3 (as of 2024-03-31: 2 days of loan_outcomes)", and so on."""
    return "; ".join(
        f"version {one['version']} (as of {one['as_of']}: "
        + ", ".join(f"{one[asset]} days of {asset}" for asset in (APPLICATIONS, OUTCOMES) if one[asset])
        + ")"
        for one in trained
    )


def _result(record: Mapping[str, Any], last: date) -> dg.MaterializeResult[Any]:
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
        metadata={"value": str(len(trained)), "threshold": "no version"},
    )
    check.partition = last.isoformat()
    shown = [{name: str(value) for name, value in one.items()} for one in record["restated"]]
    metadata: dict[str, Any] = {"compared_days": record["compared_days"], "restated": len(shown)}
    if shown:
        metadata["days"] = table_of_text(shown[:_SHOWN], list(shown[0]))
    return dg.MaterializeResult(
        value=record, data_version=dg.DataVersion(fingerprint(**record)), metadata=metadata, check_results=[check]
    )
