"""Groups of a protected column, and how a model treats them, beside what others published and compute."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.ml.data.fairness import Attribute, Fairness
from credit_assets.ml.evidence.fairness import (
    MISSING,
    FairnessSample,
    Groups,
    air_of,
    below,
    groups_of_values,
    less_discriminatory,
    measure_attribute,
    rank_auc,
    shortfall,
)
from credit_assets.ml.evidence.intervals import ratio_of_proportions

DAYS = pa.chunked_array([pa.array([date(2024, 3, 1)] * 6)])


@pytest.mark.parametrize(
    ("group", "reference", "ratio", "lacking", "fails"),
    [
        ((167, 508), (2072, 3808), 0.604, 109.4, True),
        ((141, 340), (1854, 3623), 0.810, 33.0, False),
        ((414, 1034), (808, 1622), 0.804, 101.1, False),
    ],
)
def test_published_ratios_of_approvals(
    group: tuple[int, int], reference: tuple[int, int], ratio: float, lacking: float, fails: bool
) -> None:
    found = ratio_of_proportions(*group, *reference)
    assert found is not None
    assert found.value == pytest.approx(ratio, abs=5e-4)
    assert found.low < found.value < found.high < 1
    assert shortfall(*group, *reference) == pytest.approx(lacking, abs=0.05)
    assert below(*group, *reference, 0.8) is fails
    more = int(np.ceil(shortfall(*group, *reference, 0.8)))
    assert not below(group[0] + more, group[1], *reference, 0.8)


def test_exactly_four_fifths_pass_whatever_the_counts() -> None:
    for rows in range(10, 400, 10):
        assert not below(rows * 4 // 10, rows, rows // 2, rows, 0.8)
        assert below(rows * 4 // 10 - 1, rows, rows // 2, rows, 0.8)


def test_the_interval_of_a_ratio_is_that_of_the_score_test() -> None:
    """P. Koopman's example of 1984, 36 of 40 against 16 of 80, whose interval is 2.94 .. 7.15 without N / (N - 1)."""
    found = ratio_of_proportions(36, 40, 16, 80)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((2.935, 7.166), abs=2e-3)
    one, other = ratio_of_proportions(30, 90, 45, 80), ratio_of_proportions(45, 80, 30, 90)
    assert one is not None
    assert other is not None
    assert (one.low, one.high) == pytest.approx((1 / other.high, 1 / other.low))
    nobody = ratio_of_proportions(0, 50, 30, 60)
    assert nobody is not None
    assert (nobody.value, nobody.low) == (0, 0)
    assert 0 < nobody.high < 0.3
    assert ratio_of_proportions(5, 50, 0, 60) is None


def test_the_interval_of_a_ratio_holds_the_truth() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        found = ratio_of_proportions(int(rng.binomial(60, 0.64)), 60, int(rng.binomial(400, 0.8)), 400)
        assert found is not None
        held += found.low <= 0.8 <= found.high
    # 380 are expected; fewer than 366 come by chance in 1 of 1,000.
    assert held >= 366


# Groups


def test_texts_are_groups_and_a_missing_one_is_a_group_of_its_own() -> None:
    found = groups_of_values(Attribute(column="sex"), pa.array(["f", None, "m", "f", "x", None]), DAYS)
    assert found.names == ("f", "m", "x", MISSING)
    assert found.place.tolist() == [0, 3, 1, 0, 2, 3]


def test_truth_values_are_groups() -> None:
    found = groups_of_values(Attribute(column="veteran"), pa.array([True, False, None, True, True, True]), DAYS)
    assert found.names == ("false", "true", MISSING)
    assert found.place.tolist() == [1, 0, 2, 1, 1, 1]


def test_numbers_are_in_bands_each_from_its_lower_edge_on() -> None:
    of = Attribute(column="age", bands=(25, 62))
    found = groups_of_values(of, pa.array([24.0, 25.0, 61.9, 62.0, None, float("nan")]), DAYS)
    assert found.names == ("below 25", "25 to below 62", "62 and above", MISSING)
    assert found.place.tolist() == [0, 1, 1, 2, 3, 3]


def test_without_bands_numbers_are_in_halves() -> None:
    found = groups_of_values(Attribute(column="age"), pa.array([20, 30, 40, 50, 60, None]), DAYS)
    assert found.names == ("below 40", "40 and above", MISSING)
    assert found.place.tolist() == [0, 0, 1, 1, 1, 2]
    other = groups_of_values(Attribute(column="age"), pa.array([20, 45, None, 1, 2, 3]), DAYS, edges=(40,))
    assert other.names == found.names


def test_a_date_of_birth_is_the_age_at_the_application() -> None:
    born = pa.array([date(1962, 2, 1), date(1962, 4, 1), None, date(2000, 1, 1), date(1940, 1, 1), date(1990, 1, 1)])
    found = groups_of_values(Attribute(column="born", bands=(62,)), born, DAYS)
    assert found.place.tolist() == [1, 0, 2, 0, 1, 0]


# A model and its groups


def measured(
    counts: dict[str, tuple[int, int]], attribute: Attribute = Attribute(column="sex"), **limits: Any
) -> dict[str, Any]:
    """By group, how many are approved of how many applied; their loans are the same rows, of which a tenth is bad."""
    names = (*counts, MISSING)
    place = np.repeat(np.arange(len(counts)), [rows for _, rows in counts.values()])
    pd = np.concatenate([np.r_[np.full(yes, 0.1), np.full(rows - yes, 0.3)] for yes, rows in counts.values()])
    bad = np.arange(len(pd)) % 10 == 0
    groups = Groups(names, place)
    return measure_attribute(
        attribute, Fairness(**limits), (groups, FairnessSample(pd, -pd)), (groups, FairnessSample(pd, -pd, bad)), 0.2
    )


def test_groups_stand_beside_the_named_reference_and_not_beside_the_best_one() -> None:
    found = measured({"a": (167, 508), "b": (2072, 3808), "c": (300, 400)}, Attribute(column="sex", reference="b"))
    assert (found["reference"], found["named"]) == ("b", True)
    by_name = {one["name"]: one for one in found["groups"]}
    assert by_name["a"]["air"]["value"] == pytest.approx(0.604, abs=5e-4)
    assert by_name["a"]["below_limit"]
    assert by_name["a"]["shortfall"]["parity"] == pytest.approx(109.4, abs=0.05)
    assert by_name["c"]["air"]["value"] > 1
    assert "air" not in by_name["b"]
    json.dumps(found, allow_nan=False)


def test_measures_agree_with_fairlearn_where_definitions_do() -> None:
    """Its ratio is min over max: ours, where the reference is the best group."""
    fairlearn = pytest.importorskip("fairlearn.metrics")
    counts = {"a": (40, 120), "b": (150, 200)}
    found = {one["name"]: one for one in measured(counts, Attribute(column="sex", reference="b"))["groups"]}
    sex = np.repeat(["a", "b"], [120, 200])
    yes = np.concatenate([np.arange(rows) < approved for approved, rows in counts.values()]).astype(int)
    good = (np.arange(320) % 10 != 0).astype(int)
    theirs = fairlearn.demographic_parity_ratio(good, yes, sensitive_features=sex)
    assert found["a"]["air"]["value"] == pytest.approx(theirs)
    rates = fairlearn.MetricFrame(
        metrics=fairlearn.true_positive_rate, y_true=good, y_pred=yes, sensitive_features=sex
    ).by_group
    assert found["a"]["opportunity"]["value"] == pytest.approx(rates["a"] - rates["b"])


def test_small_groups_are_counted_and_neither_judged_nor_named() -> None:
    found = measured({"a": (50, 60), "b": (300, 400), "rare": (1, 3), "c": (100, 150)})
    assert [one["name"] for one in found["groups"]] == ["b", "c"]
    assert found["small"] == {"groups": 2, "rows": 63}
    assert "rare" not in json.dumps(found)


def test_a_named_reference_that_is_too_small_leaves_nothing_judged() -> None:
    found = measured({"a": (50, 60), "b": (300, 400)}, Attribute(column="sex", reference="a"))
    assert found["groups"] == []
    assert found["why"] == "the reference group 'a' has fewer than 100 applications"


def by_loans(pd: np.ndarray, bad: np.ndarray, place: np.ndarray, **limits: Any) -> dict[str, dict[str, Any]]:
    """What is measured of groups `a`, the reference, and `b`, all of whose applications are loans."""
    groups = Groups(("a", "b", MISSING), place)
    sides = (groups, FairnessSample(pd, 600 - 100 * pd)), (groups, FairnessSample(pd, 600 - 100 * pd, bad))
    found = measure_attribute(Attribute(column="sex", reference="a"), Fairness(**limits), *sides, 0.2)
    json.dumps(found, allow_nan=False)
    return {one["name"]: one for one in found["groups"]}


def test_a_group_with_few_bads_is_judged_by_its_goods_alone() -> None:
    found = measured({"a": (90, 100), "b": (300, 400)}, min_group_bads=20)
    by_name = {one["name"]: one for one in found["groups"]}
    assert set(by_name["a"]["not_judged"]) == {"calibration"}
    assert "fewer than 20 bads among its loans" in by_name["a"]["not_judged"]["calibration"]
    assert by_name["b"]["not_judged"] == {}


def test_a_group_without_a_bad_is_judged_where_bads_are_expected_of_it() -> None:
    """That its PDs are far too high is told by the bads that do not come."""
    rng, place = np.random.default_rng(3), np.repeat([0, 1], 2_000)
    pd = rng.beta(2, 18, 4_000)
    bad = (rng.random(4_000) < pd) & (place == 0)
    b = by_loans(pd, bad, place)["b"]
    assert (b["bads"], b["not_judged"]) == (0, {})
    assert b["observed_over_expected"]["high"] < 0.8
    few = np.r_[np.arange(2_000), np.arange(2_000, 2_110)]
    assert set(by_loans(pd[few], bad[few], place[few])["b"]["not_judged"]) == {"calibration"}
    # Where nobody is bad nothing is expected of a group.
    assert set(by_loans(pd, np.zeros(4_000, bool), place)["b"]["not_judged"]) == {"calibration"}
    assert set(by_loans(pd, np.ones(4_000, bool), place)["b"]["not_judged"]) == {"opportunity"}


@pytest.mark.parametrize("name", ["\U0001f600", "(missing)", "zz", "￿"])
def test_any_text_is_a_group_of_its_own_but_the_word_for_what_is_missing(name: str) -> None:
    values = pa.array([name, "a", name, None])
    days = pa.chunked_array([pa.array([date(2024, 1, 1)] * 4)])
    groups = groups_of_values(Attribute(column="sex"), values, days)
    assert [groups.names[n] for n in groups.place] == [name, "a", name, MISSING]
    assert len(set(groups.names)) == len(groups.names)


def test_another_model_may_refuse_all_of_a_group() -> None:
    of = {"groups": [{"name": "a"}, {"name": "b"}]}
    assert air_of(Groups(("a", "b"), np.array([0, 0])), np.array([True, False]), of) is None


def test_points_and_calibration_by_group() -> None:
    rng = np.random.default_rng(3)
    place = rng.integers(0, 2, 4_000)
    pd = 1 / (1 + np.exp(-rng.normal(-2 + 0.5 * (place == 1), 0.8)))
    # The second group is bad half as often as said.
    bad = rng.random(4_000) < np.where(place == 1, pd / 2, pd)
    groups, points = Groups(("a", "b", MISSING), place), -np.log(pd / (1 - pd))
    found = measure_attribute(
        Attribute(column="sex", reference="a"),
        Fairness(),
        (groups, FairnessSample(pd, points)),
        (groups, FairnessSample(pd, points, bad)),
        0.2,
    )
    a, b = found["groups"]
    spread = np.sqrt((points[place == 0].var(ddof=1) + points[place == 1].var(ddof=1)) / 2)
    assert b["smd"]["value"] == pytest.approx(
        (points[place == 1].mean() - points[place == 0].mean()) / spread, rel=0.01
    )
    assert b["smd"]["low"] < b["smd"]["value"] < b["smd"]["high"] < 0
    # Beside the level of all loans, so that a model that is off for everybody is off for no group.
    assert b["observed_over_expected"]["high"] < 1 < a["observed_over_expected"]["low"]


def test_the_smallest_ratio_of_an_attribute() -> None:
    of = measured({"a": (60, 120), "b": (150, 200)})
    groups = Groups(("a", "b", MISSING), np.repeat([0, 1], [120, 200]))
    approved = np.concatenate([np.arange(rows) < yes for yes, rows in ((60, 120), (150, 200))])
    assert air_of(groups, approved, of) == pytest.approx(0.5 / 0.75)
    assert air_of(groups, approved, {"groups": of["groups"][:1]}) is None


def test_the_rank_auc_counts_ties_half() -> None:
    target, score = np.array([1, 0, 1, 0], bool), np.array([0.3, 0.3, 0.9, 0.1])
    assert rank_auc(target, score) == pytest.approx((0.5 + 1 + 1 + 1) / 4)


def test_an_alternative_is_better_for_a_group_and_costs_little() -> None:
    ours = {"variant": "a", "auc": 0.7, "air": {"sex": 0.75, "age": 0.9}, "own_rate": True}

    def with_other(**other: Any) -> list[str]:
        one = {"variant": "b", "auc": 0.7, "air": {"sex": 0.75, "age": 0.9}, "own_rate": True, **other}
        return [found["column"] for found in less_discriminatory([ours, one], "a", 0.005)]

    assert with_other() == []
    assert with_other(air={"sex": 0.85, "age": 0.8}) == ["sex"]
    assert with_other(air={"sex": 0.85, "age": 0.8}, auc=0.69) == []
    assert with_other(air={"sex": 0.85, "age": None}, own_rate=False) == []
    assert less_discriminatory([{"variant": "b", "why": "it is gone"}], "a", 0.005) == []


def test_nothing_ranks_rows_of_one_outcome() -> None:
    for target in (np.zeros(3, bool), np.ones(3, bool)):
        with pytest.raises(ValueError, match="of one outcome"):
            rank_auc(target, np.arange(3.0))
