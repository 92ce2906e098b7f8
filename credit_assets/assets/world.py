"""The rows of a training set beside one another and beside the newest days, for the gates about its world.

Belongs here: which rows are held against which, and reading the newest days. Does not belong here: the measures
(`ml.evidence.world`) and the gates (`ml.rules.world_gates`).

Like is held against like: the splits are loans with a target, one beside the other; everyone who applied on the days of
the cohorts is beside everyone who applied on the newest days, whoever of them was lent to.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.assets.first_days import newest_days
from credit_assets.assets.stored_days import StoredDays
from credit_assets.failures import PermanentError, error_text
from credit_assets.ml.rules.first_days import LEAST_ROWS
from credit_assets.ml.rules.world_gates import NEWEST
from credit_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.cohorts import Cohort

_FEATURES = "processed_features"


def world_record(
    settings: Settings, tables: StoredDays, cohort: Cohort, training_set: pa.Table, as_of: date
) -> dict[str, Any]:
    """What `world_gates` judges."""
    portfolio = settings.portfolio_contract
    comparisons, newest = _comparisons(settings, tables, cohort.table, training_set, as_of)
    return {
        "comparisons": comparisons,
        "newest": newest,
        "target": target_record(training_set, cohort.table, portfolio.date_column),
    }


def feeds(cohort: Cohort, first: date, as_of: date) -> dict[str, dict[str, Any]]:
    """By "outcomes" and "defaults", what `measure_feed` says of them."""
    from credit_assets.ml.data.outcomes import BAD
    from credit_assets.ml.evidence.world import measure_feed

    outcomes = cohort.loans.outcomes
    return {
        "outcomes": measure_feed(outcomes.rows.day, first, as_of),
        "defaults": measure_feed(outcomes.rows.day[outcomes.says == BAD], first, as_of),
    }


def _comparisons(
    settings: Settings, tables: StoredDays, applied: pa.Table, training_set: pa.Table, as_of: date
) -> tuple[list[dict[str, Any]], str]:
    """Every pair of rows, measured, and why the newest days are not among them."""
    from credit_assets.ml.data.cohorts import SPLIT, SPLITS
    from credit_assets.ml.evidence.world import measure_world

    portfolio = settings.portfolio_contract
    day = portfolio.date_column
    parts = {name: training_set.filter(_equal(training_set[SPLIT], name)) for name in SPLITS}
    pairs = [(("train", parts["train"]), (name, parts[name])) for name in SPLITS[1:]]
    newest, why = _newest(settings, tables, applied, as_of)
    if newest is not None:
        pairs.append((("the cohorts", applied), (NEWEST, newest)))
    compared = []
    for (before, rows), (after, later) in pairs:
        if not rows.num_rows or not later.num_rows:
            continue
        measured = measure_world(rows, later, portfolio.feature_names, portfolio.categorical_features)
        compared.append(
            {"before": before, "after": after, "days": {before: ends(rows[day]), after: ends(later[day])}, **measured}
        )
    return compared, why


def _newest(settings: Settings, tables: StoredDays, applied: pa.Table, as_of: date) -> tuple[pa.Table | None, str]:
    """Applications of the newest days, or why they are not compared."""
    import pyarrow.compute as pc

    from credit_assets.ml.evidence.world import MOST_ROWS

    if not applied.num_rows:
        return None, "no application is mature"
    last = pc.max(applied[settings.portfolio_contract.date_column]).as_py()
    days = newest_days(tables, last, as_of, settings)
    if sum(days.values()) < LEAST_ROWS:
        return None, (
            f"{sum(days.values())} applications are there of {last + timedelta(1)} .. {as_of}, the days after the "
            f"cohorts, and {LEAST_ROWS} are needed"
        )
    try:
        return tables.sample(_FEATURES, days, MOST_ROWS), ""
    except (PermanentError, ValueError) as error:
        # A training does not wait for days that it does not need; the model waits for them (`first_days`).
        return None, error_text(error)


def target_record(training_set: pa.Table, applied: pa.Table, day: str) -> dict[str, Any]:
    """What `measure_target` says of a training set among all that `applied`; `day` is the column of the date."""
    import pyarrow.compute as pc

    from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET
    from credit_assets.ml.evidence.world import measure_target

    days, bad = training_set[day].to_numpy(), training_set[TARGET].to_numpy() == 1
    starts = [pc.min(training_set.filter(_equal(training_set[SPLIT], name))[day]).as_py() for name in SPLITS[1:]]
    return measure_target(days, bad, applied[day].to_numpy(), [start for start in starts if start is not None])


def _equal(column: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.equal(column, text)


def ends(days: pa.ChunkedArray) -> list[str]:
    """The first and the last day."""
    import pyarrow.compute as pc

    ends = pc.min_max(days).as_py()
    return [ends["min"].isoformat(), ends["max"].isoformat()]
