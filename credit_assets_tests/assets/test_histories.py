"""The whole graph of a portfolio with histories: the example of the documentation, on a small book."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from credit_assets.cli.trainings import ReplayReport
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.ml.data.history_features import history_features
from credit_assets.settings import load_settings
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.houses import SMALL, START, TRAINED, House, build_house, fast_forward, write_book
from credit_assets_tests.support.synthetic import canonical_book
from credit_assets_tests.support.warehouses import execute

DOCS = Path(__file__).parents[2] / "docs" / "histories.md"
LAST = TRAINED + timedelta(days=10)
Rows = dict[str, list[dict[str, Any]]]


def example() -> str:
    """The portfolio of the page."""
    (found,) = re.findall(r"```yaml\n(name: .*?)```", DOCS.read_text("utf-8"), flags=re.DOTALL)
    return str(found)


def with_strong_arrears() -> str:
    """The example, with the arrears of the book below strong by right: alone they have an AUC of 0.80."""
    strong = "strong_features: [delinquencies_12m, worst_12m, days_since_late]"
    assert example().count("gates: {") == 1
    return example().replace("gates: {", f"gates: {{{strong}, ")


def book() -> tuple[pd.DataFrame, pd.DataFrame, Rows]:
    """Loans whose defaults show in the months before, and months that tell them only afterwards."""
    applications, outcomes = fast_forward(canonical_book(2_500, START, LAST, seed=11, bad_rate=0.15))
    bad = dict(zip(outcomes["application_id"], outcomes["defaulted"], strict=True))
    chance, rows = random.Random(3), Rows()
    customers = [f"C{number:05d}" for number in range(len(applications))]
    for customer, key, day in zip(
        customers, applications["application_id"], applications["application_date"], strict=True
    ):
        rows[customer] = []
        if chance.random() < 0.1:
            continue
        for months in range(-2, 7):
            on = pd.Timestamp(day).date() - timedelta(days=30 * months + chance.randrange(1, 20))
            late = chance.random() < (0.35 if bad.get(key) else 0.12)
            told = months < 0 and bad.get(key)
            rows[customer].append(
                {
                    "customer_id": customer,
                    "month_end": on,
                    "loaded_at": on + timedelta(days=chance.choice([0, 1, 5, 45])),
                    "days_past_due": 180 if told else chance.choice([30, 60]) if late else 0,
                    "balance": round(chance.uniform(100, 9_000), 2),
                    "status": chance.choice(["open", "open", "closed"]),
                }
            )
    return applications.assign(customer_id=customers), outcomes, rows


@pytest.fixture(scope="module")
def rows() -> Rows:
    return book()[2]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("histories")
    (home / "portfolio.yaml").write_text(with_strong_arrears(), "utf-8")
    settings = load_settings(home=home, portfolio=home / "portfolio.yaml", **{**SMALL, "variants": "lightgbm"})
    applications, outcomes, histories = book()
    write_book(settings, applications, outcomes)
    warehouse = open_warehouse(settings.warehouse)
    values = ", ".join(
        "(" + ", ".join(f"'{value}'" if isinstance(value, str | date) else str(value) for value in row.values()) + ")"
        for of in histories.values()
        for row in of
    )
    execute(
        warehouse,
        "CREATE TABLE account_months (customer_id VARCHAR, month_end DATE, loaded_at DATE, days_past_due INTEGER, "
        "balance DOUBLE, status VARCHAR)",
        f"INSERT INTO account_months VALUES {values}",
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(settings.dagster_dir))
        with instance_of(settings) as instance:
            yield build_house(settings, instance)


def made(house: House) -> ReplayReport:
    """The first model as of TRAINED, and the days after it scored; what is there already is not made again."""
    report = house.replay.run(START, TRAINED, "last")
    later = house.replay.run(START, LAST, "none")
    assert report.rejected == later.rejected == {}
    return report


@pytest.mark.slow
def test_from_the_histories_to_scores(house: House, rows: Rows) -> None:
    report = made(house)
    portfolio, store = house.settings.portfolio_contract, house.replay.store
    (outcome,) = report.trainings
    assert (outcome.status, outcome.promoted) == ("registered", True), outcome.reason
    # Months that tell of a default come after the application: with them the model would be nearly right.
    assert 0.55 < outcome.metrics["auc"] < 0.95
    day = str(LAST)
    raw, histories, features, scores = (
        store.read_partitions(asset, [day]).to_pylist()
        for asset in ("raw_loan_data", "history_features", "processed_features", "loan_scores")
    )
    assert len(raw) == len(histories) == len(features) == len(scores) > 10
    customers = {row["application_id"]: row["customer_id"] for row in raw}
    names = [feature.name for feature in portfolio.history_features]
    for one in features:
        own = rows[customers[one["application_id"]]]
        expected = history_features(portfolio, LAST, {"months": own})
        assert {name: one[name] for name in names} == expected
        ratio = expected["balance_last"]
        assert one["last_balance_to_income"] == (None if ratio is None else ratio / max(one["annual_income"], 1.0))
    assert {name for name, rows_ in ((h["application_id"], h["months.rows"]) for h in histories) if rows_ is None} == {
        key for key, customer in customers.items() if not rows[customer]
    } | {
        key
        for key, customer in customers.items()
        if rows[customer] and not any(r["month_end"] < LAST and r["loaded_at"] < LAST for r in rows[customer])
    }
    assert all(score["pd"] is not None for score in scores)


@pytest.mark.slow
def test_the_served_model_takes_them_as_columns_and_keeps_their_direction(house: House) -> None:
    made(house)
    from credit_assets.ml.data.request_rules import RequestRules
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.scorer import ScoringModel

    champion = house.replay.registry.versions()[-1]
    folder = house.replay.registry.download(champion)
    model = ScoringModel(CreditScorer.load(folder), RequestRules.load(folder))
    assert {"delinquencies_12m", "balance_change"} <= set(model.scorer.inputs)
    assert "last_balance_to_income" not in model.scorer.inputs
    assert model.scorer.monotone["delinquencies_12m"] == 1
    day = house.replay.store.read_partitions("processed_features", [str(LAST)]).to_pandas()
    inputs = day[list(model.scorer.inputs)]
    calm, late = (model.predict(inputs.assign(delinquencies_12m=count))["pd"].to_numpy() for count in (0.0, 9.0))
    assert (late >= calm).all()
    assert (late > calm).any()
    warned = model.predict(inputs.drop(columns="balance_change"))
    assert warned["warnings"].str.contains("balance_change").all()


@pytest.mark.slow
def test_a_history_altered_behind_a_day_is_found_and_a_lost_one_stops_the_day(house: House, rows: Rows) -> None:
    made(house)
    warehouse, store = open_warehouse(house.settings.warehouse), house.replay.store
    before = store.read_partitions("history_features", [str(LAST)])
    late = "INSERT INTO account_months SELECT customer_id, month_end, DATE '2024-06-01', 180, 5000, 'open' "
    late += "FROM account_months"
    execute(warehouse, late)
    assert house.replay.recheck(LAST, ReplayReport())["restated"] == []
    execute(warehouse, "DELETE FROM account_months WHERE loaded_at = DATE '2024-06-01'")
    execute(warehouse, f"UPDATE account_months SET balance = balance + 1 WHERE loaded_at < DATE '{LAST}'")
    record = house.replay.recheck(LAST, ReplayReport())
    assert {one["asset"] for one in record["restated"]} == {"history_features"}
    assert not store.read_partitions("history_features", [str(LAST)]).equals(before)
    execute(warehouse, "ALTER TABLE account_months RENAME TO kept", "CREATE TABLE account_months AS FROM kept LIMIT 0")
    report = house.replay.backfill(LAST, LAST, ("history_features",), again=True)
    assert list(report.rejected) == [f"history_features {LAST}"]
    assert "months without a row" in report.rejected[f"history_features {LAST}"]
    with pytest.raises(PermanentError, match=r"history_features .* was rejected by its gate"):
        store.read_partitions("history_features", [str(LAST)])
    execute(warehouse, "DROP TABLE account_months", "ALTER TABLE kept RENAME TO account_months")
