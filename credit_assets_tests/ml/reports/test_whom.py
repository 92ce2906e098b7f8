"""Whom the daily reports are of, where not everyone was lent to: realised and estimated of booked loans as they were
known on the day, scores and swap sets of everyone; held against a walk through the rows of each application.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import decisions_schema, outcomes_schema, scores_schema
from credit_assets.ml.data.values import as_table
from credit_assets.ml.reports.in_force import Champions, Cohorts, RegisteredModel
from credit_assets.ml.reports.performance import measures_table, performance_reports, summary
from credit_assets.ml.reports.shadow import TrialView, shadow_reports
from credit_assets.ml.rules.periods import Period
from credit_assets_tests.support.policies import trial
from credit_assets_tests.support.tiny import TINY

START, DAYS, W, COHORT, PER_DAY = date(2024, 1, 1), 90, 30, 10, 12
LISTS = {"booked": ["booked"], "declined": ["no"], "undecided": ["open"]}


def portfolio(start: str) -> Portfolio:
    given = TINY.model_dump(mode="json", exclude_unset=True)
    population = {"table": "d", "id": "id", "date": "on", "status": "status", "decided_within_days": 15, **LISTS}
    return Portfolio.model_validate({**given, "population": population, "performance_window_from": start})


class World:
    """Applications of DAYS days, scored by two models; who was lent to, and what became of them."""

    def __init__(self, contract: Portfolio) -> None:
        rng, rows = np.random.default_rng(3), DAYS * PER_DAY
        self.contract = contract
        self.ids = [f"a{n:04}" for n in range(rows)]
        self.applied = {key: START + timedelta(n // PER_DAY) for n, key in enumerate(self.ids)}
        pd_ = rng.uniform(0.05, 0.6, rows)
        # Those with the larger PD are declined: the realised rate of all would be far below what is expected.
        declined = rng.random(rows) < pd_ * 1.4
        lags = rng.integers(0, 15, rows)
        decisions: list[tuple[str, date, str]] = []
        self.booked: dict[str, date] = {}
        bads: list[tuple[str, date]] = []
        for n, key in enumerate(self.ids):
            day = self.applied[key]
            decisions.append((key, day, "open"))
            if declined[n]:
                decisions.append((key, day + timedelta(1), "no"))
                continue
            self.booked[key] = day + timedelta(int(lags[n]))
            decisions.append((key, self.booked[key], "booked"))
            if rng.random() < pd_[n]:
                bads.append((key, self.booked[key] + timedelta(int(rng.integers(0, W + 10)))))
        self.bads = dict(bads)
        scores = pd.DataFrame({"id": self.ids, "day": [self.applied[key] for key in self.ids], "pd": pd_})
        other = np.clip(pd_ + rng.normal(0, 0.1, rows), 0.01, 0.99)
        scores = scores.assign(
            score=600 - 100 * pd_, model_version="1", arm="champion", other_pd=other, other_score=600 - 100 * other,
            other_version="2",
        )  # fmt: skip
        self.scores = scores.set_index("id")
        self.tables = {
            # As a day of before has it, without reasons.
            "loan_scores": as_table(scores, pa.schema([f for f in scores_schema(contract) if f.name in scores])),
            "processed_features": pa.table({"id": self.ids, "day": [self.applied[key] for key in self.ids]}),
            "loan_decisions": as_table(
                pd.DataFrame(decisions, columns=["id", "on", "status"]).assign(known_at=0), decisions_schema(contract)
            ),
            "loan_outcomes": as_table(
                pd.DataFrame([(key, on, 1) for key, on in bads], columns=["id", "known", "bad"]),
                outcomes_schema(contract),
            ),
        }
        self._days = {
            "loan_scores": "day",
            "processed_features": "day",
            "loan_decisions": "on",
            "loan_outcomes": "known",
        }

    def table(self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None) -> pa.Table:
        frame = self.tables[asset]
        inside = frame.filter(pc.is_in(frame[self._days[asset]], value_set=pa.array(days, pa.date32())))
        inside = inside.sort_by(self._days[asset])
        return inside if columns is None else inside.select(list(columns))

    def columns(self, asset: str, days: Sequence[date]) -> Mapping[date, Mapping[str, bool]]:
        return {day: {one.name: pa.types.is_string(one.type) for one in self.tables[asset].schema} for day in days}

    def counts(self, asset: str, days: Sequence[date]) -> Mapping[date, int | None]:
        return {day: self.table(asset, [day]).num_rows for day in days}

    def record(self, asset: str, day: date) -> dict[str, Any] | None:
        return None

    def start_of(self, key: str) -> date:
        return self.booked[key] if self.contract.performance_window_from == "booking" else self.applied[key]

    def matured(self, day: date, first: date, last: date) -> list[str]:
        """Booked loans, as known on a day, whose window started on first .. last."""
        return [key for key, on in self.booked.items() if on <= day and first <= self.start_of(key) <= last]

    def target(self, key: str, day: date) -> bool:
        bad, start = self.bads.get(key), self.start_of(key)
        return bad is not None and bad <= day and start <= bad <= start + timedelta(W)


@pytest.fixture(scope="module", params=["application", "booking"])
def world(request: pytest.FixtureRequest) -> World:
    return World(portfolio(request.param))


def reports(world: World, days: Sequence[date]) -> dict[str, dict[str, Any]]:
    history = [Period("1", START, None)]
    champions = Champions(history, {"1": RegisteredModel(START + timedelta(30), {}, 100)})
    return performance_reports(days, champions, world, Cohorts(START, W, COHORT), world.contract, 5)


def test_realised_performance_is_of_booked_loans_as_they_were_known(world: World) -> None:
    days = [START + timedelta(n) for n in range(40, DAYS)]
    found = reports(world, days)
    for day in days:
        realised = found[str(day)]["realised"]
        last = day - timedelta(W)
        loans = world.matured(day, max(START, last - timedelta(COHORT - 1)), last)
        assert (realised["of"], realised["rows"]) == ("booked loans", len(loans))
        assert realised["bads"] == sum(world.target(key, day) for key in loans)
        assert realised["applied"] == COHORT * PER_DAY
        expected = world.scores.loc[loans, "pd"].sum()
        assert realised["observed_over_expected"]["value"] == pytest.approx(realised["bads"] / expected, abs=1e-5)
        newly = world.matured(day, START + timedelta(1), last)
        assert found[str(day)]["newly_matured"] == len(newly)


def test_each_day_is_as_if_it_stood_alone(world: World) -> None:
    days = [START + timedelta(n) for n in range(60, 70)]
    together = reports(world, days)
    for day in (days[0], days[4], days[-1]):
        alone = reports(world, [day])[str(day)]
        assert {**together[str(day)], "reconciled": None} == {**alone, "reconciled": None}


def test_the_estimate_is_of_those_known_to_be_booked_and_is_held_against_the_same_loans(world: World) -> None:
    days = [START + timedelta(n) for n in range(30, DAYS)]
    found = reports(world, days)
    day = days[-1]
    estimated = found[str(day)]["estimated"]
    newest = [key for key in world.booked if day - timedelta(COHORT - 1) <= world.applied[key] <= day]
    known = [key for key in newest if world.booked[key] <= day]
    assert (estimated["of"], estimated["rows"], estimated["applied"]) == ("booked loans", len(known), COHORT * PER_DAY)
    assert estimated["expected_rate"] == pytest.approx(world.scores.loc[known, "pd"].mean(), abs=1e-6)
    reconciled = found[str(day)]["reconciled"]
    assert reconciled["estimated"]["rows"] == reconciled["realised"]["rows"] == found[str(day)]["realised"]["rows"]
    lines = summary(found[str(day)])
    assert "booked loans of" in lines["realised"]
    assert "booked loans of" in lines["estimated"]
    assert "observed" not in measures_table(found[str(day)])


def test_a_trial_compares_scores_of_everyone_and_what_became_of_booked_loans(world: World) -> None:
    histories = [Period("1", START, None)], [Period("2", START + timedelta(5), None)]
    view = TrialView(START, W, COHORT, 0.5)
    policy = trial(min_bads=5, days=366, min_loans=1, min_correlation=-1.0, max_psi=100.0, max_pd_ratio=100.0)
    days = [START + timedelta(n) for n in (50, 70, DAYS - 1)]
    found = shadow_reports(days, histories, world, view, world.contract, policy)
    for day in days:
        record = found[str(day)]
        everyone = [key for key, on in world.applied.items() if START + timedelta(5) <= on <= day]
        assert record["rows"] == len(everyone)
        loans = [
            key
            for key in everyone
            if world.booked.get(key, date.max) <= day and world.start_of(key) + timedelta(W) <= day
        ]
        assert record["matured"]["rows"] == len(loans)
        assert record["matured"]["bads"] == sum(world.target(key, day) for key in loans)
