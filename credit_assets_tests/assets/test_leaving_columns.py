"""A column leaves the portfolio, through the whole graph: the day is scored, a model is trained without it, and another
champion comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from credit_assets.assets.conventions import asset_key
from credit_assets.cli.doctor import columns_health
from credit_assets.cli.trainings import ReplayReport
from credit_assets.ledger.retraining import claim_retraining
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.left_columns import REPLACE
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.resources import objects_of
from credit_assets_tests.support.houses import START, House, copied_home, fast_forward, open_house, write_book
from credit_assets_tests.support.prepared import prepared_home
from credit_assets_tests.support.synthetic import canonical_book

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::dagster.BetaWarning")]

AS_OF, LAST = date(2024, 4, 1), date(2024, 4, 20)
CHANGED = date(2024, 4, 8)
"""From here on days are made under the changed portfolio; those before it are there already."""
LEFT = "inquiries_6m"


def write(home: Path, role: str | None) -> str:
    """The packaged portfolio with the column in this role, or without it."""
    content = load_portfolio().model_dump(mode="json", exclude_unset=True)
    for column in [one for one in content["columns"] if one["name"] == LEFT]:
        if role is None:
            content["columns"].remove(column)
            # What it was told for goes with it.
            groups = content["reasons"]["groups"]
            content["reasons"]["groups"] = [group for group in groups if group["features"] != [LEFT]]
        elif role != "feature":
            column.pop("monotone", None)
            column["role"] = role
    file = home / f"{role}.yaml"
    file.write_text(yaml.safe_dump(content), "utf-8")
    return str(file)


def prepare(home: Path) -> None:
    """A champion as of AS_OF that reads the column, and days up to the change."""
    home.mkdir(parents=True, exist_ok=True)
    with open_house(home, variants=("lightgbm",)) as house:
        write_book(house.settings, *fast_forward(canonical_book(8_000, START, LAST, seed=7, bad_rate=0.12)))
        house.replay.backfill(START, CHANGED - timedelta(1), house.replay.graph.names("ingestion"))
        outcome = house.train(AS_OF)
        assert (outcome.status, outcome.promoted) == ("registered", True), outcome.reason
        house.replay.run(AS_OF, CHANGED - timedelta(1), "none")


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[House]:
    home = copied_home(prepared_home(tmp_path_factory, "leaving", prepare), tmp_path / "home")
    with open_house(home, variants=("lightgbm",)) as house:
        yield house


def under(house: House, role: str | None) -> House:
    return house.rebuilt(portfolio=write(house.settings.home_dir, role), variants=("lightgbm",))


def record(house: House, asset: str, day: date) -> Any:
    store = house.replay.store
    return store.read_record(store.path(asset, f"{day}.json"))


def scores(house: House, day: date) -> Any:
    return house.replay.store.read_partitions("loan_scores", [str(day)]).to_pandas()


def check(house: House, asset: str, name: str) -> Any:
    """The newest result of a check."""
    from dagster import AssetCheckKey

    key = AssetCheckKey(asset_key(house.settings, asset), name)
    [found] = house.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return found.evaluation


def as_the_champion_means_it(house: House, day: date) -> Any:
    """PDs of the day's applications by version 1, from the table of the warehouse."""
    registry = house.replay.registry
    scorer = CreditScorer.load(registry.download(registry.version("1")))
    warehouse = objects_of(house.replay.definitions)["warehouse"]
    rows = warehouse.read_applications(load_portfolio(), day, day, noted=False).read_all()
    return scorer.pd(feature_table(rows, load_portfolio()))


@pytest.mark.parametrize("role", ["ignored", "protected"])
def test_a_column_that_may_not_be_a_feature_any_more(house: House, role: str) -> None:
    now, day = under(house, role), date(2024, 4, 10)
    # The champion scores, from where the column still is; the days are made without it.
    now.replay.run(CHANGED, day, "none")
    assert LEFT not in now.replay.store.read_partitions("processed_features", [str(day)]).column_names
    np.testing.assert_allclose(scores(now, day)["pd"], as_the_champion_means_it(now, day), rtol=1e-12)
    assert check(now, "loan_scores", "champion_scores").passed
    assert columns_health(house.settings).status == "ok"
    seen = columns_health(now.settings)
    assert (seen.status, seen.value) == (
        "warn",
        f"champion version 1 reads columns that have left the portfolio: {LEFT} ({role})",
    )
    assert seen.advice.endswith("`credit-assets trigger replace --reason WHY`.")
    # Reports are made, and say what is not looked at.
    assert record(now, "drift_report", day)["left"] == [LEFT]
    assert record(now, "performance_report", day)["day"] == str(day)
    # A training reads days of both kinds, and has nothing of the column.
    outcome = now.train(day)
    trained = record(now, "trained_model", day)
    assert outcome.status in ("registered", "rejected"), outcome.reason
    assert LEFT not in now.replay.store.read_partitions("training_set", [str(day)]).column_names
    assert (trained["champion"]["comparable"], trained["champion"]["left"]) == (True, {LEFT: role})
    assert trained["mode"] == "non_inferiority"
    reasons = {one["rule"]: one["text"] for one in record(now, "registered_model", day)["reasons"]}
    assert f"reads columns that have left the portfolio: {LEFT} ({role})" in reasons["left_columns"]
    # A person asks for the replacement, and the pipeline comes to a champion that never saw the column.
    if outcome.promoted:
        return
    later = day + timedelta(1)
    claim_retraining(now.replay.registry.claims, later, REPLACE, f"external:{later}:replace", "forbidden by law")
    outcome = now.train(later)
    assert record(now, "trained_model", later)["mode"] == "replacement"
    assert (outcome.status, outcome.promoted) == ("registered", True), outcome.reason
    now.replay.run(later, later + timedelta(1), "none")
    after = scores(now, later + timedelta(1))
    assert set(after["model_version"]) == {outcome.version}
    new = CreditScorer.load(now.replay.registry.download(now.replay.registry.version(outcome.version or "")))
    assert LEFT not in new.features
    assert columns_health(now.settings).status == "ok"
    assert record(now, "drift_report", later + timedelta(1))["left"] == []


def test_a_column_that_is_gone_altogether(house: House) -> None:
    """Days without it cannot be scored, which is said and stops nothing; days of before can, and a new model is on its
    way.
    """
    now, day = under(house, None), date(2024, 4, 10)
    now.replay.run(CHANGED, day, "none")
    assert scores(now, day).empty
    failed = check(now, "loan_scores", "champion_scores")
    assert not failed.passed
    assert f": the model reads {LEFT} (in the portfolio no more), and the store has no values of" in failed.description
    assert "champion version 1 could not score 2024-04-" in failed.description
    assert f"until then keep {LEFT} in the portfolio with `role: ignored`" in (failed.description or "")
    seen = columns_health(now.settings)
    assert seen.status == "fail"
    assert seen.value == (
        f"champion version 1 cannot score: the model reads {LEFT} (in the portfolio no more), and the store has no "
        f"values of {day}"
    )
    assert f"until then keep {LEFT} in the portfolio with `role: ignored`" in seen.advice
    # No day of before is taken for restated because it has a column more.
    assert now.replay.recheck(day, ReplayReport())["restated"] == []
    before = CHANGED - timedelta(1)
    now.replay.backfill(before, before, ("processed_features", "loan_scores"), again=True)
    np.testing.assert_allclose(scores(now, before)["pd"], as_the_champion_means_it(now, before), rtol=1e-12)
    # The test's days have the column, so that the comparison is made.
    later = day + timedelta(1)
    claim_retraining(now.replay.registry.claims, later, REPLACE, f"external:{later}:replace", "no longer bought")
    outcome = now.train(later)
    assert (outcome.status, outcome.promoted) == ("registered", True), outcome.reason
    now.replay.run(later, later + timedelta(1), "none")
    assert set(scores(now, later + timedelta(1))["model_version"]) == {outcome.version}
    # Kept as ignored until then, every day would have been scored; the days that were not are scored once it is back.
    back = under(house, "ignored")
    back.replay.backfill(day, day, ("raw_loan_data",), again=True)
    back.replay.run(day, day, "none")
    np.testing.assert_allclose(scores(back, day)["pd"], as_the_champion_means_it(back, day), rtol=1e-12)


def test_a_column_that_is_added_is_asked_of_the_days_by_name(house: House) -> None:
    """The champion does not know it and scores on; a training says which days lack it, and what makes them."""
    without = under(house, "ignored")
    without.replay.backfill(START, CHANGED - timedelta(1), ("processed_features",), again=True)
    day = date(2024, 4, 10)
    house.replay.backfill(CHANGED, day)
    # Reports pool days of both kinds: what they do not all have is not looked at, and what they have is.
    house.replay.backfill(CHANGED, CHANGED, ("drift_report",))
    report = record(house, "drift_report", CHANGED)
    assert (report["days"] > 1, report["left"]) == (True, [LEFT])
    assert {one["name"] for one in report["features"]} >= {"annual_income", "purpose"}
    np.testing.assert_allclose(scores(house, day)["pd"], as_the_champion_means_it(house, day), rtol=1e-12)
    with pytest.raises(Exception, match=f"another type of, {LEFT}.*backfill --again --assets processed_features"):
        house.train(day)
