"""The scorecard: its bins, its signs, and scores by its table alone."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.evidence.evaluation import auc
from credit_assets.ml.evidence.weights import information_value, weights_of_evidence
from credit_assets.ml.learners import VARIANTS, default_variants
from credit_assets.ml.learners import scorecard as module
from credit_assets.ml.learners.encoding import encode
from credit_assets.ml.learners.learner import FitConfig, Sample
from credit_assets.ml.learners.scorecard import Card, CardFeature
from credit_assets_tests.support.modelling import FEATURES, LEVELS, PORTFOLIO, fit, training_set

CARD = VARIANTS["scorecard"]
KEPT = Path(__file__).parents[2] / "data" / "scorers" / "scorecard"


@pytest.fixture(scope="module")
def parts() -> dict[str, pd.DataFrame]:
    frame = training_set(6_000)
    return {split: frame[frame["split"] == split] for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def card(parts: dict[str, pd.DataFrame]) -> Card:
    model: Card = fit("scorecard", parts).model
    return model


def fitted(rows: pd.DataFrame, categorical: dict[str, tuple[str, ...]], **options: Any) -> Card:
    sample = Sample(rows.drop(columns="default"), rows["default"])
    directions = options.pop("monotone", {})
    config = FitConfig(params=options)
    return CARD.fit(sample, sample, monotone=directions, categorical=categorical, config=config).model  # type: ignore[no-any-return]


def by_name(card: Card) -> dict[str, CardFeature]:
    return {one.name: one for one in card.features}


def by_table(record: dict[str, Any], row: dict[str, Any]) -> float:
    """Log-odds of default by a saved table, written anew: what another program would do with the file."""
    total = record["intercept"]
    for feature in record["features"]:
        value = row[feature["name"]]
        if feature["edges"] is not None:
            known = value is not None and math.isfinite(value)
            place = sum(value >= edge for edge in feature["edges"]) if known else -1
        else:
            place = next((n for n, group in enumerate(feature["groups"]) if value in group), -1)
        total += feature["coefficient"] * feature["weights"][place]
    return float(-total)


# The table


def test_rows_are_scored_by_the_saved_table_alone(card: Card, parts: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    CARD.save(card, tmp_path / CARD.filename)
    record = json.loads((tmp_path / CARD.filename).read_text())
    rows = parts["test"].head(200).astype(object)
    rows.iloc[0, rows.columns.get_loc("purpose")] = "a purpose of next year"
    rows = rows.where(rows.notna(), None)
    expected = [by_table(record, row) for row in rows.to_dict("records")]
    found = CARD.predict_margin(card, encode(rows.infer_objects(), FEATURES, LEVELS))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert len(set(expected)) > 50


def test_counts_and_weights_are_those_of_the_train_rows(card: Card, parts: dict[str, pd.DataFrame]) -> None:
    train = parts["train"]
    bad = train["default"].to_numpy() == 1
    for feature in card.features:
        assert sum(feature.goods) == (~bad).sum()
        assert sum(feature.bads) == bad.sum()
        seen = slice(None) if feature.goods[-1] + feature.bads[-1] >= 100 else slice(0, -1)
        assert feature.weights[seen] == pytest.approx(weights_of_evidence(feature.goods, feature.bads)[seen])
        value = information_value(feature.goods[seen], feature.bads[seen])
        assert feature.information_value == pytest.approx(value)
    burden = by_name(card)["burden"]
    assert burden.edges is not None
    inside = train["burden"] < burden.edges[0]
    assert (burden.goods[0], burden.bads[0]) == ((inside & ~bad).sum(), (inside & bad).sum())


def test_bins_are_those_of_optbinning(card: Card, parts: dict[str, pd.DataFrame]) -> None:
    from optbinning import OptimalBinning

    train = parts["train"]
    theirs = OptimalBinning(monotonic_trend="ascending", max_n_bins=8, min_bin_size=0.05)
    theirs.fit(train["burden"].to_numpy(), train["default"].to_numpy())
    ours = by_name(card)["burden"]
    assert ours.edges == tuple(theirs.splits)
    table = theirs.binning_table.build()
    assert ours.weights[:-1] == pytest.approx(table["WoE"].iloc[: len(theirs.splits) + 1].to_numpy(dtype=float))
    assert ours.information_value == pytest.approx(float(table.loc["Totals", "IV"]))


@pytest.mark.parametrize(
    "spoil", [{"format": 2}, {"features": None}, {"features": [{"name": "x"}]}, {"intercept": "x"}]
)
def test_a_spoilt_table_is_refused(card: Card, tmp_path: Path, spoil: dict[str, Any]) -> None:
    path = tmp_path / CARD.filename
    path.write_text(json.dumps({**card.to_record(), **spoil}))
    with pytest.raises(ValueError, match=r"variant scorecard: scorecard_model.json holds no whole scorecard"):
        CARD.load(path)


def test_bins_that_do_not_fit_one_another_are_refused(card: Card, tmp_path: Path) -> None:
    record = card.to_record()
    first = record["features"][0]
    record["features"] = [{**first, "weights": first["weights"][:-1]}]
    path = tmp_path / CARD.filename
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"the bins of {first['name']} do not fit one another"):
        CARD.load(path)


# Directions and signs


def test_bad_rates_move_with_the_direction_from_bin_to_bin(card: Card) -> None:
    found = by_name(card)
    for name, direction in PORTFOLIO.monotone.items():
        if direction and name in found:
            assert (np.diff(found[name].weights[:-1]) * -direction > 0).all()
    assert {"burden", "inquiries"} <= set(found)


def test_without_a_direction_bad_rates_rise_or_fall_throughout() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=4_000)
    rows = pd.DataFrame({"x": x, "default": (rng.random(4_000) < 1 / (1 + np.exp(2 - x))).astype(int)})
    (feature,) = fitted(rows, {}).features
    assert (np.diff(feature.weights[:-1]) < 0).all()


def test_a_direction_that_all_rows_contradict_leaves_the_feature_out() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=4_000)
    rows = pd.DataFrame({"x": x, "default": (rng.random(4_000) < 1 / (1 + np.exp(2 - x))).astype(int)})
    found = fitted(rows, {}, monotone={"x": -1})
    assert found.features == ()
    assert [one.why for one in found.left_out] == ["no bins tell goods from bads in its direction"]
    margins = CARD.predict_margin(found, encode(rows, ("x",), {}))
    assert margins == pytest.approx(np.log(rows["default"].mean() / (1 - rows["default"].mean())))


def test_edges_that_the_other_rows_contradict_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins are looked for in some of the rows; in all of them the bad rate may go another way."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=5_000)
    rows = pd.DataFrame({"x": x, "default": (rng.random(5_000) < 1 / (1 + np.exp(2 - 0.3 * x))).astype(int)})
    monkeypatch.setattr(module, "MOST_ROWS", 400)
    few = fitted(rows, {}, monotone={"x": 1}, max_bins=12, min_bin_share=0.02).features
    assert few
    assert (np.diff(few[0].weights[:-1]) < 0).all()


def test_a_coefficient_of_the_wrong_sign_is_refused_and_the_rest_fitted_again() -> None:
    """By itself `noisy` tells; beside `clean`, which it copies with something safe added, it tells the contrary."""
    rng = np.random.default_rng(5)
    clean, other = rng.normal(size=20_000), rng.normal(size=20_000)
    bad = (rng.random(20_000) < 1 / (1 + np.exp(2 - 1.5 * clean + 0.8 * other))).astype(int)
    rows = pd.DataFrame({"clean": clean, "noisy": clean + 0.6 * other, "default": bad})
    alone = fitted(rows[["noisy", "default"]], {}, monotone={"noisy": 1})
    assert alone.features[0].coefficient > 0
    found = fitted(rows, {}, monotone={"noisy": 1, "clean": 1})
    assert [one.name for one in found.features] == ["clean"]
    (out,) = found.left_out
    assert out.feature == "noisy"
    assert "its coefficient -" in out.why
    assert "has the wrong sign beside the other features" in out.why
    only = fitted(rows[["clean", "default"]], {}, monotone={"clean": 1})
    assert found.features[0].coefficient == pytest.approx(only.features[0].coefficient)
    assert found.intercept == pytest.approx(only.intercept)


def test_all_coefficients_are_positive(card: Card) -> None:
    assert card.features
    assert all(one.coefficient > 0 and one.standard_error > 0 for one in card.features)


# Categories and missing values


def test_every_level_has_a_bin_and_rare_ones_share_one() -> None:
    rng = np.random.default_rng(6)
    levels = tuple(f"l{number:03d}" for number in range(60))
    # Forty levels of six rows each beside twenty that are frequent.
    names = np.concatenate([rng.choice(levels[:20], 5_760), np.repeat(levels[20:], 6)])
    risk = np.array([int(name[1:]) for name in names]) / 60
    rows = pd.DataFrame({"branch": names, "default": (rng.random(6_000) < 0.05 + 0.4 * risk).astype(int)})
    (feature,) = fitted(rows, {"branch": levels}).features
    assert feature.groups is not None
    assert sorted(level for group in feature.groups for level in group) == sorted(levels)
    (home,) = {place for place, group in enumerate(feature.groups) for level in group if level in levels[20:]}
    assert set(levels[20:]) <= set(feature.groups[home])


@pytest.mark.parametrize(("gone", "weighs"), [(60, False), (400, True)])
def test_missing_values_weigh_where_enough_rows_lack_them(gone: int, weighs: bool) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=4_000)
    bad = (rng.random(4_000) < 1 / (1 + np.exp(2 - x))).astype(int)
    x[:gone], bad[: gone // 2] = np.nan, 1
    (feature,) = fitted(pd.DataFrame({"x": x, "default": bad}), {}).features
    assert feature.goods[-1] + feature.bads[-1] == gone
    assert (feature.weights[-1] < -0.5) == weighs
    assert (feature.weights[-1] == 0) != weighs


def test_features_that_tell_nothing_are_left_out_and_said() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=3_000)
    bad = (rng.random(3_000) < 1 / (1 + np.exp(2 - x))).astype(int)
    rows = pd.DataFrame({"x": x, "constant": 1.0, "empty": np.nan, "dim": rng.normal(size=3_000), "default": bad})
    found = fitted(rows, {}, min_information_value=0.05, max_bins=3)
    assert [one.name for one in found.features] == ["x"]
    said = {one.feature: one.why for one in found.left_out}
    assert said["constant"] == said["empty"] == "no bins tell goods from bads"
    assert "below 0.05 (min_information_value)" in said["dim"]
    both = fitted(rows.assign(y=x + rng.normal(size=3_000)), {}, max_features=1)
    assert {one.feature: one.why for one in both.left_out}["y"] == "1 features tell more (max_features)"


# Where it runs


def test_it_scores_without_the_package_that_found_its_bins() -> None:
    code = (
        "import sys; sys.modules['optbinning'] = sys.modules['sklearn'] = None; import json; import pandas as pd; "
        "from credit_assets.ml.learners.scorer import CreditScorer; "
        f"rows = pd.DataFrame(json.load(open({str(KEPT.parent / 'expected.json')!r}))['rows']); "
        f"print(CreditScorer.load({str(KEPT)!r}).score(rows)['score'].notna().all())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_without_the_package_it_is_no_default_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_variants() == ("xgboost", "lightgbm", "catboost", "scorecard")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert default_variants() == ("xgboost", "lightgbm", "catboost")
    assert CARD.untrainable() == (
        "variant scorecard is trained with the package optbinning, which is not installed here: install "
        "credit-assets[scorecard]"
    )


@pytest.mark.slow
def test_it_ranks_real_loans_beside_the_boosters(real_loans_dir: Path) -> None:
    """Out of time, on four as-of dates: never far behind the best of the others, and ahead of it on one at least."""
    from datetime import date

    from credit_assets.loans.lending_club import read_lending_club
    from credit_assets.ml.data.cohorts import CohortWindow, assemble_training_set
    from credit_assets.ml.data.features import feature_table
    from credit_assets.ml.data.portfolio import load_portfolio
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.learners.training import TrainingConfig, splits, train

    portfolio, read = load_portfolio(None), read_lending_club(real_loans_dir / "lending_club_2007_2011.parquet")
    features = feature_table(read.applications.sort_by("application_date"), portfolio)
    ahead = []
    for as_of in (date(2010, 6, 30), date(2010, 12, 31), date(2011, 6, 30), date(2011, 12, 31)):
        window = CohortWindow(as_of, 365, 730)
        rows = assemble_training_set(features, read.outcomes, window, portfolio, test_share=0.2, validation_share=0.2)
        given = splits(Rows.of(rows), portfolio.feature_names)
        found = {}
        for name in ("scorecard", "lightgbm", "xgboost"):
            scorer = train(VARIANTS[name], given, portfolio, TrainingConfig(max_rounds=400)).scorer
            found[name] = auc(np.asarray(given["test"].target), scorer.pd(given["test"].rows))
        ahead.append(found["scorecard"] - max(found["lightgbm"], found["xgboost"]))
    assert min(ahead) > -0.05
    assert max(ahead) > 0
