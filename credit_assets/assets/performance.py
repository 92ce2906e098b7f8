"""How the model in use performs: on matured cohorts, and, before they mature, by estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.conventions import asset_options, days_of, dependencies, note_days, retry_transient_only
from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry, Version
from credit_assets.ml.rules.periods import first_day_in_force
from credit_assets.settings import Settings
from credit_assets.storage.io_managers import ByDay
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    from upath import UPath

NAME = "performance_report"
MEASURES = ("auc", "gini", "ks", "brier", "ece")
# Records that a picture reads at most, however many days it spans and however many there are.
_PICTURED = 120
_SUNDAY = 6
_READERS = 8
_DAY = timedelta(1)


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @dg.asset(
        deps=dependencies(NAME, settings),
        description=f"Scores as they were given against what became of the {settings.performance_cohort_days} days of "
        f"applications that matured last (default within {settings.window_days} days); the performance to expect of "
        "the newest applications, from their PDs alone; and the estimate of then against what was realised.",
        **asset_options(NAME, settings, partitions, "json"),
    )
    @retry_transient_only
    def performance_report(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], registry: dg.ResourceParam[Registry]
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.fingerprints import fingerprint

        days = days_of(context)
        records = performance_records(settings, days, store, registry)
        metadata = {day: summary(record) for day, record in records.items()}
        last = days[-1]
        of_last = metadata[last.isoformat()]
        of_last["measures"] = dg.MetadataValue.md(measures_table(records[last.isoformat()]))
        # Drawing takes longer than measuring, and the picture of years changes little from day to day.
        weekly = len(days) > 1 or last.weekday() == _SUNDAY
        picture = draw(settings, last, records, store) if weekly else None
        if picture is not None:
            of_last["performance_over_time"] = dg.MetadataValue.path(str(picture))
        note_days(context, metadata)
        return dg.MaterializeResult(value=ByDay(records), data_version=dg.DataVersion(fingerprint(**records)))

    return [performance_report]


def performance_records(
    settings: Settings, days: Sequence[date], store: Store, registry: Registry
) -> dict[str, dict[str, Any]]:
    """The report of each of the consecutive `days`, by ISO day. Every partition is read once, whatever needs it.

    Raises PermanentError naming partitions that are not there.
    """
    from credit_assets.ml.data.fingerprints import rounded
    from credit_assets.ml.evidence.performance import by_version, estimate, realised, reconcile

    key, start = settings.portfolio_contract.id_column, settings.start_date
    wait, cohort = timedelta(settings.window_days), timedelta(settings.performance_cohort_days - 1)
    measure = partial(realised, min_bads=settings.performance_min_bads)
    versions = registry.versions()
    begin = first_day_in_force(versions)
    scored, count = _scored(settings, days, begin, store), _counter(store)
    records: dict[str, dict[str, Any]] = {}
    for day in days:
        champion = registry.champion_at(day, versions)
        first, last = max(start, day - wait - cohort), day - wait
        rows = scored(first, last)
        # An id that comes again is one loan, whose outcome would count twice: as in a training set, the first stays.
        once = rows.drop_duplicates(key)
        found = by_version(measure, once["model_version"], once["default"], once["pd"])
        matured = {"unscored": count(first, last) - len(rows), **_measured(first, last, begin, found)}
        first, last = max(start, day - cohort), day
        once = scored(first, last).drop_duplicates(key)
        expected = _measured(first, last, begin, by_version(estimate, once["model_version"], once["pd"]))
        then = day - wait
        before = records.get(then.isoformat()) or (_recorded(store, then) if then >= start else None)
        records[day.isoformat()] = rounded(
            {
                "day": day.isoformat(),
                "champion": champion.version if champion else None,
                "registered": {name: _tag(champion, name, float) for name in MEASURES} if champion else None,
                "realised": matured,
                "estimated": expected,
                "reconciled": reconcile(before["estimated"], matured) if before else None,
                "newly_matured": count(max(start, champion.as_of - wait + _DAY), day - wait) if champion else None,
                "training_rows": _tag(champion, "training_rows", int) if champion else None,
            }
        )
    return records


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of one day."""
    realised, estimated, reconciled = record["realised"], record["estimated"], record["reconciled"]
    evaluation, ratio = realised["evaluation"], realised["observed_over_expected"]
    found = {"champion": record["champion"] or "none in force"}
    if ratio:
        auc = f"AUC {evaluation['auc']:.3f}, " if evaluation else ""
        found["realised"] = (
            f"{auc}{ratio['value']:.2f} times the expected bads ({ratio['low']:.2f} .. {ratio['high']:.2f}), "
            f"{realised['bads']} bads among {realised['rows']} applications of {realised['from']} .. {realised['to']}"
        )
    if realised["why"]:
        found["realised, but"] = realised["why"]
    if estimated["auc"] is None:
        found["estimated, but"] = estimated["why"]
    else:
        found["estimated"] = (
            f"AUC {estimated['auc']:.3f} ({estimated['auc_low']:.3f} .. {estimated['auc_high']:.3f}), bad rate "
            f"{estimated['expected_rate']:.2%}, {estimated['rows']} applications of {estimated['from']} .. "
            f"{estimated['to']}"
        )
    if reconciled:
        found["realised less estimated"] = f"AUC {reconciled['difference']['auc']:+.3f}"
    if record["newly_matured"] is not None:
        found["newly_matured"] = record["newly_matured"]
    return found


def measures_table(record: Mapping[str, Any]) -> str:
    """Markdown: the measures as registered, realised and estimated."""
    registered = record["registered"] or {}
    realised, estimated = record["realised"]["evaluation"] or {}, record["estimated"]
    rows = [
        (
            name.upper() if len(name) < 4 else name.capitalize(),
            registered.get(name),
            realised.get(name),
            estimated.get(name),
        )
        for name in MEASURES
    ]
    rows.append(("bad rate", None, realised.get("observed_rate"), estimated["expected_rate"]))
    lines = [
        f"| {name} | {' | '.join('' if value is None else f'{value:.4f}' for value in values)} |"
        for name, *values in rows
    ]
    return "\n".join(["| measure | registered | realised | estimated |", "|---|---:|---:|---:|", *lines])


def draw(settings: Settings, day: date, records: Mapping[str, Mapping[str, Any]], store: Store) -> UPath | None:
    """Write the picture of the records up to `day`, over two performance windows: an estimate and what was realised of
    the same applications are one window apart, so half of the estimates are met by what came of them.
    """
    from credit_assets.ml.reports.figures import Point, performance_over_time, png

    span = 2 * settings.window_days
    step = -(-span // _PICTURED)
    days = [day - timedelta(n) for n in range(0, span + 1, step) if day - timedelta(n) >= settings.start_date]
    known = [records.get(one.isoformat()) or _recorded(store, one) for one in reversed(days)]
    realised, estimated, ratios = [], [], []
    for record in (one for one in known if one is not None):
        found, expected = record["realised"], record["estimated"]
        if found["evaluation"]:
            values = (found["evaluation"][name] for name in ("auc", "auc_ci_low", "auc_ci_high"))
            realised.append(Point(date.fromisoformat(found["to"]), *values))
        if found["observed_over_expected"]:
            ratios.append(Point(date.fromisoformat(found["to"]), **found["observed_over_expected"]))
        if expected["auc"] is not None:
            values = (expected[name] for name in ("auc", "auc_low", "auc_high"))
            estimated.append(Point(date.fromisoformat(expected["to"]), *values))
    if not (estimated or ratios):
        return None
    label = f"{settings.performance_cohort_days} days of applications a point"
    path = store.path("figures", NAME, f"{day}.png")
    store.write_bytes(path, png(performance_over_time(realised, estimated, ratios, label)))
    return path


def _scored(settings: Settings, days: Sequence[date], begin: date | None, store: Store) -> Callable[[date, date], Any]:
    """Reads all scores that the reports of `days` need; gives those of first .. last: id, date, pd, model_version and,
    where the window has closed, `default`.
    """
    import numpy as np

    from credit_assets.ml.data.cohorts import CohortWindow, targets
    from credit_assets.ml.data.schemas import scores_schema

    portfolio, wait = settings.portfolio_contract, settings.window_days
    columns = [portfolio.id_column, portfolio.date_column, "pd", "model_version"]
    reach = timedelta(settings.performance_cohort_days - 1)
    mature = days[-1] - timedelta(wait)
    # Before the first champion nobody scored; those days need not even be there.
    earliest = max(settings.start_date, begin or date.max)
    wanted = {*_days(days[0] - timedelta(wait) - reach, mature), *_days(days[0] - reach, days[-1])}
    there = [day.isoformat() for day in sorted(wanted) if day >= earliest]
    table = store.read_partitions("loan_scores", there) if there else scores_schema(portfolio).empty_table()
    frame = table.select(columns).to_pandas(date_as_object=False)
    dates = frame[portfolio.date_column].to_numpy().astype("datetime64[D]")
    closed = int(np.searchsorted(dates, np.datetime64(mature), "right"))
    frame["default"] = np.nan
    if closed:
        first = dates[0].item()
        known = store.read_partitions("loan_outcomes", [day.isoformat() for day in _days(first, days[-1])])
        # Once for all days: the target of an application is the same from the day on which its window closed.
        window = CohortWindow(days[-1], wait, (mature - first).days + 1)
        frame.loc[: closed - 1, "default"] = targets(
            frame.iloc[:closed], known.to_pandas(date_as_object=False), window, portfolio
        )

    def rows(first: date, last: date) -> Any:
        a, b = np.searchsorted(dates, np.datetime64(first)), np.searchsorted(dates, np.datetime64(last), "right")
        return frame.iloc[a:b]

    return rows


def _counter(store: Store) -> Callable[[date, date], int]:
    """Counts the applications of first .. last from the files' footers, each read once. Raises PermanentError."""
    known: dict[date, int | None] = {}

    def read(day: date) -> int | None:
        try:
            return store.row_count("processed_features", day.isoformat())
        except (FileNotFoundError, ValueError):
            return None

    def count(first: date, last: date) -> int:
        days = _days(first, last)
        new = [day for day in days if day not in known]
        if new:
            with ThreadPoolExecutor(min(_READERS, len(new))) as pool:
                known.update(zip(new, pool.map(read, new), strict=True))
        missing = [day for day in days if known[day] is None]
        if missing:
            raise PermanentError(
                f"processed_features: {len(missing)} of {len(days)} partitions needed are missing or damaged "
                f"({missing[0]} .. {missing[-1]}); materialize them"
            )
        return sum(known[day] or 0 for day in days)

    return count


def _measured(first: date, last: date, begin: date | None, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured on the applications of first .. last, with the reason where none of them has a score."""
    if last < first:
        return {"from": None, "to": None, **measured, "why": f"no application is old enough; the first is of {first}"}
    window = {"from": first.isoformat(), "to": last.isoformat()}
    if begin is None or last < begin:
        return {**window, **measured, "why": f"no champion was in force by {last}, so no application was scored"}
    return {**window, **measured}


def _recorded(store: Store, day: date) -> dict[str, Any] | None:
    path = store.path(NAME, f"{day}.json")
    return store.read_record(path) if path.exists() else None


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def _tag(version: Version, name: str, kind: type[Any]) -> Any:
    return kind(version.tags[name]) if name in version.tags else None
