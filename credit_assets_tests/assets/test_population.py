"""From a table of everyone who applied to a model of those who were lent to, through the whole graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from credit_assets.cli.doctor import population_health
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.settings import load_settings
from credit_assets_tests.support.decided import by_column
from credit_assets_tests.support.houses import SMALL, START, House, fast_forward, open_house, write_book
from credit_assets_tests.support.synthetic import canonical_book

LAST, AS_OF = date(2024, 4, 20), date(2024, 4, 15)


@dataclass
class Lender:
    house: House
    applications: pd.DataFrame
    booked: set[str]

    def with_portfolio(self, portfolio: Portfolio) -> House:
        return self.house.rebuilt(
            portfolio=str(stated(self.house.settings.home_dir, portfolio)), variants=("lightgbm",)
        )


def stated(home: Path, portfolio: Portfolio) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    file = home / f"{portfolio.population if portfolio.decisions is None else 'column'}.json"
    file.write_text(portfolio.model_dump_json(exclude_unset=True))
    return file


def silent() -> Portfolio:
    given = load_portfolio().model_dump(mode="json", exclude_unset=True)
    return Portfolio.model_validate({name: value for name, value in given.items() if name != "population"})


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lender]:
    home = tmp_path_factory.mktemp("lender")
    applications, outcomes = fast_forward(canonical_book(6_500, START, LAST, seed=7, bad_rate=0.12))
    rng = np.random.default_rng(5)
    # The riskier are declined, and a few of the rest do not take the loan up.
    rank = applications["interest_rate"].rank(pct=True) + rng.normal(0, 0.2, len(applications))
    status = np.select([rank > 0.55, rng.random(len(applications)) < 0.1], ["declined", "lapsed"], "booked")
    booked = set(applications["application_id"][status == "booked"])
    portfolio = stated(home, by_column())
    settings = load_settings(home=home, portfolio=str(portfolio), **SMALL)
    write_book(settings, applications.assign(status=status), outcomes[outcomes["application_id"].isin(booked)])
    with open_house(home, portfolio=str(portfolio), variants=("lightgbm",)) as house:
        house.replay.backfill(START, LAST, house.replay.graph.names("ingestion"))
        yield Lender(house, applications, booked)


@pytest.mark.slow
def test_a_model_is_trained_on_those_who_were_lent_to_and_says_so(lender: Lender) -> None:
    outcome = lender.house.train(AS_OF)
    assert outcome.status == "registered", outcome.reason
    store = lender.house.replay.store
    trained = store.read_partitions("training_set", [str(AS_OF)])
    assert set(trained["application_id"].to_pylist()) <= lender.booked
    of = store.read_record(store.path("trained_model", f"{AS_OF}.json"))["trained_on"]
    assert of["population"]["counts"]["booked"] == trained.num_rows
    assert of["population"]["counts"]["declined"] > 1_000
    assert of["outcomes"]["counts"]["bad"] == sum(trained["default"].to_pylist())
    tags = lender.house.replay.registry.version(outcome.version or "").tags
    assert '"booked": ' in tags["population"]
    assert "defaulted = 1" in tags["outcomes"]


@pytest.mark.slow
def test_a_model_scores_everyone(lender: Lender) -> None:
    lender.house.train(AS_OF)
    lender.house.replay.backfill(AS_OF, LAST, ("loan_scores",), again=True)
    scored = lender.house.replay.store.read_partitions("loan_scores", [str(date(2024, 4, 18))])
    assert not set(scored["application_id"].to_pylist()) <= lender.booked
    day = lender.applications["application_date"].dt.date == date(2024, 4, 18)
    assert scored.num_rows == day.sum()


# The gate itself: ml/rules/test_population_gates.py.
@pytest.mark.slow
def test_a_portfolio_that_says_nothing_ingests_and_scores_and_its_training_is_stopped(lender: Lender) -> None:
    house = lender.with_portfolio(silent())
    outcome = house.train(AS_OF, again=True)
    assert outcome.status == "blocked"
    assert "population: all" in outcome.reason
    assert population_health(house.settings).status == "fail"
    assert population_health(lender.house.settings).status == "ok"
