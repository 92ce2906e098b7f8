"""The daily drift report: what monitoring sees of a day before any outcome is known.

Belongs here: which days are pooled and which model they are held against, the report as a record, and what people read
of it. Does not belong here: the measures (`credit_assets.ml.evidence.drift`) and where tables and models are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.ml.evidence.drift import DriftPolicy, measure_drift
from credit_assets.ml.evidence.drift_reference import DriftReference
from credit_assets.ml.evidence.scores import points_of
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
        `DriftFindings.to_record`.
    """
    in_force = {day: period_on(day, champions) for day in days}
    measured = [day for day, champion in in_force.items() if champion and champion.version in references]
    counts = Counts(tables, "processed_features")
    firsts = {day: _first_pooled(day, counts, pooling, policy.min_rows) for day in measured}
    # Before the first champion nobody scored; those days need not even be there.
    features = _pooled(tables, "processed_features", firsts, pooling, date.min, pooling.needed)
    scores = _pooled(tables, "loan_scores", firsts, pooling, champions[0].first if champions else date.max)
    records = {}
    for day, champion in in_force.items():
        record: dict[str, Any] = {"day": day.isoformat(), "champion": champion.version if champion else None}
        if champion and features and scores and day in firsts:
            first = firsts[day]
            points = points_of(scores.between(first, day), champion.version)
            findings = measure_drift(references[champion.version], features.between(first, day), points, policy)
            record |= {"from": first.isoformat(), "to": day.isoformat(), "days": (day - first).days + 1}
            record |= findings.to_record()
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
    """What a person reads of one day."""
    return {
        "verdict": record["verdict"],
        "why": record["why"],
        "champion": record["champion"] or "none in force",
        "pooled": f"{record['rows']} applications of {record['days']} days, {record['score_rows']} scores",
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


def _pooled(
    tables: DailyTables,
    asset: str,
    firsts: Mapping[date, date],
    pooling: Pooling,
    begin: date,
    needed: Sequence[str] = (),
) -> RowsByDay | None:
    """All days that are pooled, from `begin` on, with the rows that have what is `needed`; None where none are."""
    if not firsts:
        return None
    table = tables.table(asset, days_between(max(begin, min(firsts.values())), max(firsts)))
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    return RowsByDay(frame.dropna(subset=list(needed)) if needed else frame, pooling.date_column)
