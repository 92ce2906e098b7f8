"""The daily drift report: what monitoring sees of a day before any outcome is known.

Belongs here: which days are pooled and which model they are held against, the report as a record, and what people read
of it. Does not belong here: the measures (`credit_assets.ml.evidence.drift`) and where tables and models are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.ml.evidence.drift import DriftPolicy, measure_drift
from credit_assets.ml.evidence.drift_reference import SCORE, DriftReference, FeatureReference, NumericReference
from credit_assets.ml.evidence.scores import POINTS, points_of
from credit_assets.ml.reports.daily import DAY, Counts, DailyTables, RowsByDay, days_between, number
from credit_assets.ml.rules.periods import Period, period_on

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Pooling:
    """A day of too few applications is pooled with those before it: `window_days` at most, none before `first_day`.

    Applications that lack a feature of `needed` are scored by no model and learned from by none, and left out.
    """

    first_day: date
    window_days: int
    date_column: str
    needed: tuple[str, ...] = ()


def drift_reports(
    days: Sequence[date],
    champions: Sequence[Period],
    references: Mapping[str, DriftReference],
    tables: DailyTables,
    pooling: Pooling,
    policy: DriftPolicy,
) -> dict[str, dict[str, Any]]:
    """The drift report of each day. Every table is read once, whatever needs it.

    Parameters
    ----------
    days
        Consecutive days, oldest first.
    champions
        Who was champion when (`periods.champion_history`).
    references
        By version what the champions of these days keep of their training data; a version that is not there was
        registered before models kept any, and its days are unknown.
    tables
        Reads `processed_features` and `loan_scores`.
    pooling, policy
        Which days are looked at together, and from where on a verdict is given.

    Returns
    -------
    dict
        By ISO day a record of JSON types: `day`, `champion`, the days pooled (`from`, `to`, `days`), and those of
        `DriftFindings.to_record`, and the features of the champion that have `left`: which not all days pooled have as
        what the champion reads, since the portfolio has them no more, or has them again.
    """
    in_force = {day: period_on(day, champions) for day in days}
    measured = [day for day, champion in in_force.items() if champion and champion.version in references]
    counts = Counts(tables, "processed_features")
    firsts = {day: _first_pooled(day, counts, pooling, policy.min_rows) for day in measured}
    # Before the first champion nobody scored; those days need not even be there.
    known = frozenset({*pooling.needed, *(one.name for of in references.values() for one in of.features)})
    features = _pooled_features(tables, firsts, pooling, known)
    scores = _pooled(tables, firsts, pooling, champions[0].first if champions else date.max)
    records = {}
    for day, champion in in_force.items():
        record: dict[str, Any] = {"day": day.isoformat(), "champion": champion.version if champion else None}
        if champion and features and scores and day in firsts:
            first = firsts[day]
            points = points_of(scores.between(first, day), champion.version)
            pooled = features.between(first, day)
            reference, left = _of_columns_there(references[champion.version], pooled)
            findings = measure_drift(reference, pooled, points, policy)
            record |= {"from": first.isoformat(), "to": day.isoformat(), "days": (day - first).days + 1}
            record |= findings.to_record() | {"left": left}
        else:
            why = (
                f"champion version {champion.version} was registered before models kept a drift reference; the next "
                "model that is trained brings its own"
                if champion
                else "no champion is in force, so there is nothing to compare with"
            )
            record |= {"from": None, "to": None, "days": 0, "rows": 0, "score_rows": 0, "verdict": "unknown"}
            record |= {"why": why, "shifted": [], "watch": [], "features": [], "left": []}
        records[day.isoformat()] = record
    return records


def _of_columns_there(reference: DriftReference, features: pd.DataFrame) -> tuple[DriftReference, list[str]]:
    """The reference without features that the rows lack, or have as texts where they were numbers, and their names.
    What the model makes of them shows in its score.
    """
    from pandas.api.types import is_numeric_dtype

    def there(one: FeatureReference) -> bool:
        number = isinstance(one, NumericReference)
        return one.name in features and bool(is_numeric_dtype(features[one.name])) is number

    kept = tuple(one for one in reference.features if there(one))
    return replace(reference, features=kept), [one.name for one in reference.features if not there(one)]


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a person reads of one day."""
    left = record.get("left")
    return {
        **({"features_not_looked_at": ", ".join(left)} if left else {}),
        "verdict": record["verdict"],
        "why": record["why"],
        "champion": record["champion"] or "none in force",
        **_numbers(record),
        "applications": record["rows"],
        "scores": record["score_rows"],
        "days_pooled": record["days"],
    }


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    measured = {one["name"]: one["psi"] for one in record["features"] if one["psi"] is not None}
    features = {name: psi for name, psi in measured.items() if name != SCORE}
    if not measured:
        return {}
    worst = max(features, key=lambda name: features[name], default=None)
    return {
        "psi_max": features[worst] if worst else None,
        "psi_max_of": worst,
        "psi_of_score": measured.get(SCORE),
        "features_shifted": len(record["shifted"]),
        "features_to_watch": len(record["watch"]),
    }


def feature_table(record: Mapping[str, Any]) -> str:
    """Markdown, the largest PSI first."""
    rows = sorted(record["features"], key=lambda one: -(one["psi"] or 0))
    lines = [
        f"| {one['name']} | {one['verdict']} | {number(one['psi'], '.3f')} | {one['test']} | "
        f"{number(one['p_value'], '.4f')} | {number(one['missing_share'], '.1%')} | "
        f"{number(one['missing_reference'], '.1%')} | {one['why']} |"
        for one in rows
    ]
    head = ["| feature | verdict | PSI | test | p-value | missing | in training | why |"]
    return "\n".join([*head, "|---|---|---:|---|---:|---:|---:|---|", *lines])


def _first_pooled(day: date, counts: Counts, pooling: Pooling, min_rows: int) -> date:
    """The newest day from which on there are enough rows up to `day`, else the first that the window allows."""
    earliest = max(pooling.first_day, day - timedelta(pooling.window_days - 1))
    first, rows = day, 0
    while True:
        # What is missing or damaged counts nothing here; it is read with the others, which says so.
        rows += counts.of([first])[0] or 0
        if rows >= min_rows or first <= earliest:
            return first
        first -= DAY


def _pooled(tables: DailyTables, firsts: Mapping[date, date], pooling: Pooling, begin: date) -> RowsByDay | None:
    """The scores of all days that are pooled, from `begin` on; None where none are."""
    if not firsts:
        return None
    days, columns = days_between(max(begin, min(firsts.values())), max(firsts)), [pooling.date_column, *POINTS]
    table = tables.table("loan_scores", days, columns)
    return RowsByDay(table.to_pandas(date_as_object=False), pooling.date_column)


class _Features:
    """Features of consecutive days, which need not have the same columns: stretches of days that have."""

    def __init__(self, stretches: Sequence[tuple[date, date, RowsByDay]]) -> None:
        self._stretches = stretches

    def between(self, first: date, last: date) -> pd.DataFrame:
        """The rows of first .. last with the columns that all of these days have as the same."""
        import pandas as pd
        from pandas.api.types import is_numeric_dtype

        parts = [rows.between(first, last) for a, b, rows in self._stretches if a <= last and first <= b]
        if len(parts) == 1:
            return parts[0]
        kinds = [{name: is_numeric_dtype(part[name]) for name in part} for part in parts]
        same = [name for name in parts[-1] if len({of.get(name) for of in kinds}) == 1]
        return pd.concat([part[same] for part in parts], ignore_index=True)


def _pooled_features(
    tables: DailyTables, firsts: Mapping[date, date], pooling: Pooling, known: frozenset[str]
) -> _Features | None:
    """The features that models know of all days that are pooled, of the rows that have what is needed; None where none
    are pooled.
    """
    if not firsts:
        return None
    asset, days = "processed_features", days_between(min(firsts.values()), max(firsts))
    wanted, stretches = known | {pooling.date_column}, []
    for columns, some in _same_columns(tables.columns(asset, days), days, wanted):
        frame: pd.DataFrame = tables.table(asset, some, columns).to_pandas(date_as_object=False)
        needed = [name for name in pooling.needed if name in columns]
        rows = RowsByDay(frame.dropna(subset=needed) if needed else frame, pooling.date_column)
        stretches.append((some[0], some[-1], rows))
    return _Features(stretches)


def _same_columns(
    columns: Mapping[date, Mapping[str, bool]], days: Sequence[date], wanted: frozenset[str]
) -> Iterator[tuple[list[str], list[date]]]:
    """Stretches of days that have the same of the wanted columns. A day that is not there belongs to those before it:
    who reads them is told.
    """
    stretch: list[date] = []
    last: dict[str, bool] | None = None
    for day in days:
        of_day = {name: text for name, text in columns[day].items() if name in wanted} if day in columns else last
        if stretch and of_day != last and last is not None:
            yield list(last), stretch
            stretch = []
        last = of_day
        stretch.append(day)
    yield list(last or ()), stretch
