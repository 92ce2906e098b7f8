"""Observed beside expected defaults by parts, and the parts of the Brier score."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.evidence.intervals import observed_over_expected, proportion
from credit_assets.ml.evidence.reliability import MOST_PARTS, OTHER, brier_parts, jeffreys, measure_reliability
from credit_assets_tests.support.fuzz import fuzz


def book(rows: int = 2_000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(2.2 - rng.normal(size=rows)))
    return (rng.random(rows) < p).astype(int), p


@fuzz(100)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_parts_of_the_brier_score_add_up_exactly(rows: list[tuple[int, float, int]]) -> None:
    y, p, bins = map(np.array, zip(*rows, strict=True))
    found = brier_parts(y, p, bins)
    whole = found["reliability"] - found["resolution"] + found["uncertainty"] + found["within"]
    assert whole == pytest.approx(found["brier"], abs=1e-12)
    assert found["brier"] == pytest.approx(np.mean((p - y) ** 2))


def test_bins_of_one_pd_have_murphys_three_parts() -> None:
    y, _ = book()
    p = np.repeat([0.1, 0.2, 0.4, 0.05], len(y) // 4)
    found = brier_parts(y, p, p)
    assert found["within"] == pytest.approx(0, abs=1e-15)
    assert found["uncertainty"] == pytest.approx(y.mean() * (1 - y.mean()))


def test_each_part_has_its_rate_and_its_ratio_with_intervals() -> None:
    y, p = book()
    term = np.where(np.arange(len(y)) % 3 == 0, 60, 36)
    found = measure_reliability(y, p, 600 - 30 * np.log(p / (1 - p)), {"term": term})
    assert [one["part"] for one in found["tables"]["term"]] == [36, 60]
    short = found["tables"]["term"][0]
    inside = term == 36
    assert (short["rows"], short["bads"]) == (inside.sum(), y[inside].sum())
    rate, ratio = proportion(short["bads"], short["rows"]), observed_over_expected(short["bads"], p[inside])
    assert rate is not None
    assert ratio is not None
    assert short["bad_rate"] == rate.to_record()
    assert short["observed_over_expected"] == ratio.to_record()
    assert short["understated_p"] == jeffreys(short["bads"], short["rows"], float(p[inside].mean()))
    deciles = found["tables"]["decile"]
    assert [one["part"] for one in deciles] == list(range(1, 11))
    assert [one["mean_pd"] for one in deciles] == sorted((one["mean_pd"] for one in deciles), reverse=True)
    for table in found["tables"].values():
        assert sum(one["rows"] for one in table) == len(y)
        assert sum(one["bads"] for one in table) == y.sum()
    for band in found["tables"]["score"]:
        assert isinstance(band["part"], int | str)
    json.dumps(found, allow_nan=False)


def test_of_right_pds_jeffreys_test_finds_one_in_twenty_too_low_and_of_halved_ones_nearly_all() -> None:
    bads = np.random.default_rng(3).binomial(1_000, 0.08, 2_000)
    right = np.array([jeffreys(int(one), 1_000, 0.08) for one in bads]) < 0.05
    assert 0.035 < right.mean() < 0.065
    assert np.mean([jeffreys(int(one), 1_000, 0.04) < 0.05 for one in bads]) > 0.99


def test_tables_are_short_and_lose_no_row() -> None:
    y, p = book()
    rng = np.random.default_rng(2)
    days = rng.normal(0, 30, len(y)).round()
    names = np.array([f"branch {number}" for number in rng.geometric(0.02, len(y))])
    found = measure_reliability(y, p, p, {"day": days, "branch": names})["tables"]
    assert len(found["day"]) == len(found["branch"]) == MOST_PARTS
    assert sum(one["rows"] for one in found["day"]) == sum(one["rows"] for one in found["branch"]) == len(y)
    assert str(found["day"][0]["part"]).endswith("and less")
    assert str(found["day"][-1]["part"]).endswith("and more")
    assert found["branch"][-1]["part"] == OTHER


def test_refused_rows_are_left_out_and_customers_widen_the_intervals() -> None:
    y, p = book(400)
    refused = p.copy()
    refused[:50] = np.nan
    assert measure_reliability(y, refused, p, {})["rows"] == 350
    twice = np.repeat(np.arange(400), 2)
    alone = measure_reliability(np.repeat(y, 2), np.repeat(p, 2), np.repeat(p, 2), {})
    grouped = measure_reliability(np.repeat(y, 2), np.repeat(p, 2), np.repeat(p, 2), {}, twice)
    assert grouped["design_effect"] == pytest.approx(2)

    def width(found: dict) -> float:  # type: ignore[type-arg]
        rate = found["tables"]["decile"][0]["bad_rate"]
        return float(rate["high"] - rate["low"])

    assert width(grouped) > width(alone)
