"""What monitoring sees of a day before any outcome is known: drift of features and score."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.conventions import asset_options, days_of, dependencies, note_days, retry_transient_only
from credit_assets.ledger.registry import Registry, Version
from credit_assets.ml.rules.periods import first_day_in_force
from credit_assets.settings import Settings
from credit_assets.storage.io_managers import ByDay
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from credit_assets.ml.evidence.drift_reference import DriftReference


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @dg.asset(
        deps=dependencies("drift_report", settings),
        description="Every feature and the score of the day's applications against the training data of the champion "
        f"in force: PSI, tests, missing values, new levels. A day of fewer than {settings.drift_min_rows} applications "
        f"is pooled with those before it, up to {settings.drift_window_days} days.",
        **asset_options("drift_report", settings, partitions, "json"),
    )
    @retry_transient_only
    def drift_report(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], registry: dg.ResourceParam[Registry]
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.fingerprints import fingerprint

        days = days_of(context)
        records = drift_records(settings, days, store, registry)
        metadata = {day: summary(record) for day, record in records.items()}
        last = days[-1].isoformat()
        metadata[last]["features"] = dg.MetadataValue.md(feature_table(records[last]))
        note_days(context, metadata)
        return dg.MaterializeResult(value=ByDay(records), data_version=dg.DataVersion(fingerprint(**records)))

    return [drift_report]


def drift_records(
    settings: Settings, days: Sequence[date], store: Store, registry: Registry
) -> dict[str, dict[str, Any]]:
    """The report of each of the consecutive `days`, by ISO day. Every partition is read once, whatever needs it.

    Raises PermanentError naming partitions that are not there, ValueError where a model's drift reference is damaged.
    """
    from credit_assets.ml.evidence.drift import DriftPolicy, measure_drift

    policy = DriftPolicy(settings.drift_watch, settings.drift_shifted, settings.drift_alpha, settings.drift_min_rows)
    versions = registry.versions()
    champions = {day: registry.champion_at(day, versions) for day in days}
    references = _references([champion for champion in champions.values() if champion], registry)
    measured = [day for day, champion in champions.items() if champion and champion.version in references]
    counts: dict[date, int] = {}
    firsts = {day: _first_pooled(settings, day, store, counts) for day in measured}
    # Before the first champion nobody scored; those days need not even be there.
    begin = first_day_in_force(versions) or date.max
    features = _reader(settings, store, "processed_features", firsts)
    scores = _reader(settings, store, "loan_scores", firsts, begin)
    records = {}
    for day, champion in champions.items():
        record: dict[str, Any] = {"day": day.isoformat(), "champion": champion.version if champion else None}
        if day in firsts and champion:
            first = firsts[day]
            points = points_of(scores(first, day), champion.version)
            found = measure_drift(references[champion.version], features(first, day), points, policy).to_record()
            record |= {"from": first.isoformat(), "to": day.isoformat(), "days": (day - first).days + 1, **found}
        else:
            why = (
                f"champion version {champion.version} was registered before models kept a drift reference; the next "
                "model that is trained brings its own"
                if champion
                else "no champion is in force, so there is nothing to compare with"
            )
            record |= {"from": None, "to": None, "days": 0, "rows": 0, "score_rows": 0, "verdict": "unknown"}
            record |= {"why": why, "shifted": [], "watch": [], "features": []}
        records[day.isoformat()] = record
    return records


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of one day."""
    return {
        "verdict": record["verdict"],
        "why": record["why"],
        "champion": record["champion"] or "none in force",
        "pooled": f"{record['rows']} applications of {record['days']} days, {record['score_rows']} scores",
    }


def feature_table(record: Mapping[str, Any]) -> str:
    """Markdown, the largest PSI first."""

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    rows = sorted(record["features"], key=lambda one: -(one["psi"] or 0))
    lines = [
        f"| {one['name']} | {one['verdict']} | {number(one['psi'], '.3f')} | {one['test']} | "
        f"{number(one['p_value'], '.4f')} | {number(one['missing_share'], '.1%')} | "
        f"{number(one['missing_reference'], '.1%')} | {one['why']} |"
        for one in rows
    ]
    head = ["| feature | verdict | PSI | test | p-value | missing | in training | why |"]
    return "\n".join([*head, "|---|---|---:|---|---:|---:|---:|---|", *lines])


def _references(champions: Sequence[Version], registry: Registry) -> dict[str, DriftReference]:
    """By version; without those that were registered before models kept one."""
    from credit_assets.ml.evidence.drift_reference import DriftReference

    found = {}
    for champion in {one.version: one for one in champions}.values():
        with contextlib.suppress(FileNotFoundError):
            found[champion.version] = DriftReference.load(registry.download(champion))
    return found


def _first_pooled(settings: Settings, day: date, store: Store, counts: dict[date, int]) -> date:
    """The newest day from which on there are enough rows up to `day`, else the first that the window allows."""
    earliest = max(settings.start_date, day - timedelta(settings.drift_window_days - 1))
    first, rows = day, 0
    while True:
        if first not in counts:
            try:
                counts[first] = store.row_count("processed_features", first.isoformat())
            except (FileNotFoundError, ValueError):
                counts[first] = 0  # Read with the others, which says what is missing or damaged.
        rows += counts[first]
        if rows >= settings.drift_min_rows or first <= earliest:
            return first
        first -= timedelta(1)


def _reader(
    settings: Settings, store: Store, asset: str, firsts: Mapping[date, date], begin: date = date.min
) -> Callable[[date, date], Any]:
    """Reads all days that are pooled at once, from `begin` on; gives the rows of first .. last as a frame."""
    import numpy as np

    if not firsts:
        return lambda first, last: None
    start, end = max(begin, min(firsts.values())), max(firsts)
    table = store.read_partitions(asset, [(start + timedelta(n)).isoformat() for n in range((end - start).days + 1)])
    dates = table.column(settings.portfolio_contract.date_column).to_numpy().astype("datetime64[D]")
    frame = table.to_pandas(date_as_object=False)

    def rows(first: date, last: date) -> Any:
        a, b = np.searchsorted(dates, np.datetime64(first)), np.searchsorted(dates, np.datetime64(last), "right")
        return frame.iloc[a:b]

    return rows


def points_of(scores: pd.DataFrame, version: str) -> pd.Series[float]:
    """Points of the rows of `loan_scores` that the version scored, deciding or beside the model that decided."""
    other = scores["other_score"].where(scores["other_version"] == version)
    return scores["score"].where(scores["model_version"] == version, other).dropna()
