"""The champion on the loans that matured since it was trained: which loans, whose PDs, and what stops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import features_schema, outcomes_schema
from credit_assets.ml.data.values import as_table
from credit_assets.ml.evidence.performance import realised
from credit_assets.ml.reports import since_training
from credit_assets.ml.reports.daily import known_in
from credit_assets.ml.reports.in_force import Champions, Cohorts, RegisteredModel
from credit_assets.ml.reports.since_training import SinceTraining, shown
from credit_assets.ml.rules.periods import Period
from credit_assets_tests.support.tiny import TINY

FIRST, W, C, A_DAY = date(2015, 1, 1), 30, 20, 6
COHORTS = Cohorts(FIRST, W, C)
CUSTOMER = {"name": "client", "type": "string", "role": "customer"}


def day(number: int) -> date:
    return FIRST + timedelta(number)


class Tables:
    """Six applications a day, the first of which defaults ten days later; remembers what was read."""

    def __init__(self, portfolio: Portfolio = TINY, clients: int = 0) -> None:
        self.portfolio, self.clients, self.read = portfolio, clients, list[tuple[str, date]]()

    def table(self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None) -> pa.Table:
        self.read += [(asset, one) for one in days]
        schema = (features_schema if asset == "processed_features" else outcomes_schema)(self.portfolio)
        rows = [
            row for one in days for row in (self._features(one) if asset == "processed_features" else self._bad(one))
        ]
        table = as_table(pd.DataFrame(rows, columns=schema.names), schema, asset)
        return table if columns is None else table.select(columns)

    def _features(self, one: date) -> list[dict[str, Any]]:
        number = (one - FIRST).days
        rows = [{"id": f"{number}-{n}", "day": one, "amount": float(n), "kind": "a"} for n in range(A_DAY)]
        return [{**row, "client": f"C{n % self.clients}"} for n, row in enumerate(rows)] if self.clients else rows

    def _bad(self, one: date) -> list[dict[str, Any]]:
        number = (one - FIRST).days - 10
        return [{"id": f"{number}-0", "known": one, "bad": 1}] if number >= 0 else []

    def columns(self, asset: str, days: Sequence[date]) -> Mapping[date, Mapping[str, bool]]:
        raise AssertionError("no day is asked for its columns here")

    def counts(self, asset: str, days: Sequence[date]) -> Mapping[date, int | None]:
        raise AssertionError("nothing is counted here")

    def record(self, asset: str, day: date) -> dict[str, Any] | None:
        raise AssertionError("no record is read here")


def champions(score: Any, *versions: tuple[str, int, int]) -> Champions:
    """(version, day in force from, as-of day) of each."""
    history = []
    for place, (version, begin, _) in enumerate(versions):
        last = day(versions[place + 1][1] - 1) if place + 1 < len(versions) else None
        history.append(Period(version, day(begin), last))
    models = {version: RegisteredModel(day(as_of), {}, None) for version, _, as_of in versions}
    return Champions(history, models, score)


def pds(version: str, rows: pa.Table) -> np.ndarray:
    """Another for each version: 0.5 for the first application of a day, less for the others."""
    return 0.5 / (rows["amount"].to_numpy() + float(version))


def records(days: Sequence[date], given: Champions, tables: Tables) -> dict[date, Any]:
    since = SinceTraining(days, given, tables, COHORTS, tables.portfolio)
    if since.first is not None:
        since.learn(known_in(tables, [day(n) for n in range((days[-1] - FIRST).days + 1)], tables.portfolio), days[-1])
    return {one: since.on(one, min_bads=5) for one in days}


def test_only_what_matured_since_the_training_is_looked_at_by_the_champion_of_the_day() -> None:
    days = [day(n) for n in range(95, 121)]
    found = records(days, champions(pds, ("1", 90, 89), ("2", 110, 100)), Tables())
    # As of day 89, the loans to day 59 were mature: on day 95 those of 60 .. 65 are new, on day 109 of 60 .. 79.
    for number, first, last, version in ((95, 60, 65, "1"), (109, 60, 79, "1"), (110, 71, 80, "2"), (120, 71, 90, "2")):
        record = found[day(number)]
        assert (record["from"], record["to"]) == (str(day(first)), str(day(last)))
        rows = last - first + 1
        y, p = np.tile([1] + [0] * (A_DAY - 1), rows), np.tile(0.5 / (np.arange(A_DAY) + float(version)), rows)
        expected = {"from": str(day(first)), "to": str(day(last)), **realised(y, p, min_bads=5).to_record()}
        assert record == expected
        assert "times the expected bads" in str(shown({"since_training": record}))


def test_an_old_champion_is_measured_on_the_newest_cohort() -> None:
    record = records([day(200)], champions(pds, ("1", 60, 59)), Tables())[day(200)]
    assert (record["from"], record["to"], record["rows"]) == (str(day(151)), str(day(170)), C * A_DAY)


def test_each_day_is_read_once_whatever_versions_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(since_training, "_AT_ONCE", 7)
    tables = Tables()
    records([day(n) for n in range(90, 131)], champions(pds, ("1", 90, 70), ("2", 100, 75), ("3", 120, 80)), tables)
    read = [one for asset, one in tables.read if asset == "processed_features"]
    assert len(read) == len(set(read))
    assert (min(read), max(read)) == (day(41), day(100))


def test_a_champion_that_cannot_score_says_so_and_keeps_no_other_from_it() -> None:
    def score(version: str, rows: pa.Table) -> np.ndarray:
        if version == "1":
            raise ValueError(f"income {rows.num_rows} of K17")
        if version == "2":
            raise PermanentError("its extension is gone")
        return pds(version, rows)

    found = records(
        [day(95), day(105), day(115)], champions(score, ("1", 90, 89), ("2", 100, 89), ("3", 110, 89)), Tables()
    )
    why = str(found[day(95)]["why"])
    assert why.startswith("version 1 cannot score them: ValueError in credit_assets/ml/reports/since_training.py:")
    # Nobody of the package wrote its words.
    assert "K17" not in why
    assert found[day(105)]["why"] == "version 2 cannot score them: its extension is gone"
    assert found[day(115)]["rows"] > 0
    assert shown({"since_training": found[day(95)]}) == f"nothing yet: {why}"


def test_nothing_has_matured_yet_or_nobody_is_champion() -> None:
    found = records([day(80), day(90)], champions(pds, ("1", 90, 90)), Tables())
    assert found[day(80)] is None
    assert found[day(90)]["why"] == "no loan has matured since the champion was trained"
    assert found[day(90)]["rows"] == 0
    assert shown({"since_training": None}) is shown({}) is None


def test_of_a_large_day_some_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(since_training, "MOST_ROWS", 3 * C)
    record = records([day(200)], champions(pds, ("1", 60, 59)), Tables())[day(200)]
    assert record["rows"] == 3 * C
    # Evenly: the first, the middle and the last of six.
    assert record["bads"] == C


def test_rows_of_one_customer_are_one_sample() -> None:
    content = TINY.model_dump(exclude_defaults=True, mode="json")
    portfolio = Portfolio.model_validate({**content, "columns": [*content["columns"], CUSTOMER]})
    given = champions(pds, ("1", 60, 59))
    alone = records([day(200)], given, Tables())[day(200)]
    # The same six customers come every day.
    theirs = records([day(200)], given, Tables(portfolio, clients=A_DAY))[day(200)]
    assert (theirs["bads"], theirs["evaluation"]["auc"]) == (alone["bads"], alone["evaluation"]["auc"])
    assert theirs["level_error"] > 3 * alone["level_error"]
    assert theirs["auc_error"] == 0.5  # One customer has all the bads.
