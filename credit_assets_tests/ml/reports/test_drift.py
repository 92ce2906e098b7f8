"""Drift reports over days that do not have the same columns: a column left, came back, or became a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.ml.evidence.drift import DriftPolicy
from credit_assets.ml.evidence.drift_reference import DriftReference
from credit_assets.ml.reports.drift import Pooling, drift_reports, summary
from credit_assets.ml.rules.periods import Period

FIRST, A_DAY, ROWS = date(2024, 4, 1), timedelta(1), 100
DAYS = [FIRST + n * A_DAY for n in range(8)]
POOLING = Pooling(FIRST, window_days=3, date_column="day")
POLICY = DriftPolicy(watch=0.1, shifted=0.25, alpha=0.01, min_rows=3 * ROWS)


def rows(day: date | None, count: int, seed: int, **changed: Any) -> pa.Table:
    rng = np.random.default_rng(seed)
    columns = {
        "income": rng.normal(size=count),
        "debt": rng.normal(size=count),
        "purpose": rng.choice(["a", "b", "c"], count),
    }
    table = pa.table({**columns, **{name: of(rng, count) for name, of in changed.items() if of}})
    table = table.drop_columns([name for name, of in changed.items() if of is None])
    return table if day is None else table.append_column("day", pa.array([day] * count, pa.date32()))


REFERENCE = DriftReference.of(rows(None, 3_000, 1), ("income", "debt", "purpose"), ("purpose",), np.arange(3_000.0))


class Tables:
    """Days of ROWS applications; of `changed` columns what they are then: made otherwise, or not there."""

    def __init__(self, changed: Mapping[int, Mapping[str, Any]]) -> None:
        self.days = {day: rows(day, ROWS, 10 + n, **changed.get(n, {})) for n, day in enumerate(DAYS)}

    def table(self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None) -> pa.Table:
        if asset == "loan_scores":
            count = ROWS * len(days)
            return pa.table(
                {
                    "day": pa.array(np.repeat(np.array(days, "datetime64[D]"), ROWS)),
                    "score": np.tile(np.linspace(0, 2_999, ROWS), len(days)),
                    "model_version": ["1"] * count,
                    "other_score": pa.nulls(count, pa.float64()),
                    "other_version": pa.nulls(count, pa.string()),
                }
            )
        # As the store does: of columns that a day lacks, or has as another type, nothing is made.
        return pa.concat_tables([self.days[day].select(columns) for day in days])

    def columns(self, asset: str, days: Sequence[date]) -> Mapping[date, Mapping[str, bool]]:
        return {day: {one.name: pa.types.is_string(one.type) for one in self.days[day].schema} for day in days}

    def counts(self, asset: str, days: Sequence[date]) -> Mapping[date, int | None]:
        return {day: self.days[day].num_rows if day in self.days else None for day in days}

    def record(self, asset: str, day: date) -> dict[str, Any] | None:
        return None


def reports(tables: Tables, days: Sequence[date]) -> dict[str, Any]:
    return drift_reports(days, [Period("1", FIRST, None)], {"1": REFERENCE}, tables, POOLING, POLICY)


def as_text(rng: Any, count: int) -> Any:
    return rng.choice(["low", "high"], count)


def as_number(rng: Any, count: int) -> Any:
    return rng.normal(size=count)


@pytest.mark.parametrize(
    ("name", "changed"),
    [("debt", None), ("debt", as_text), ("purpose", None), ("purpose", as_number)],
)
def test_a_column_that_was_away_is_watched_where_all_days_pooled_have_it(name: str, changed: Any) -> None:
    """Away on the third and fourth of eight days, of which three are pooled."""
    tables = Tables({n: {name: changed} for n in (2, 3)})
    found = reports(tables, DAYS[2:])
    away = [day for day, record in found.items() if record["left"]]
    assert away == [str(day) for day in DAYS[2:6]]
    for day, record in found.items():
        there = {"income", "debt", "purpose", "score"} - ({name} if day in away else set())
        assert record["left"] == ([name] if day in away else [])
        assert {one["name"] for one in record["features"]} == there
        assert (record["rows"], record["verdict"]) == (3 * ROWS, "stable"), record["why"]
        assert summary(record).get("features_not_looked_at", "") == (name if day in away else "")
    # Whatever other days are in the same run.
    assert reports(tables, DAYS[6:]) == {day: found[day] for day in map(str, DAYS[6:])}
    assert reports(tables, DAYS[4:5]) == {str(DAYS[4]): found[str(DAYS[4])]}


def test_what_all_days_have_is_found_shifted_across_a_change_of_another() -> None:
    shifted = {"income": lambda rng, count: 3 + rng.normal(size=count)}
    tables = Tables({5: shifted, 6: {**shifted, "debt": None}, 7: shifted})
    record = reports(tables, DAYS[7:])[str(DAYS[7])]
    assert (record["shifted"], record["left"], record["rows"]) == (["income"], ["debt"], 3 * ROWS)
