"""Weights of evidence against published tables, and the regression against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from credit_assets.ml.evidence.weights import information_value, logistic_regression, weights_of_evidence

# German credit (Statlog, 1,000 rows): goods and bads of each level.
GERMAN = {
    "checking account": ([139, 164, 49, 348], [135, 105, 14, 46], 0.666012),
    "credit history": ([15, 21, 361, 60, 243], [25, 28, 169, 28, 50], 0.293234),
    "savings": ([386, 69, 52, 42, 151], [217, 34, 11, 6, 32], 0.196010),
    "purpose": ([145, 86, 123, 218, 8, 14, 28, 8, 63, 7], [89, 17, 58, 62, 4, 8, 22, 1, 34, 5], 0.169195),
}


@pytest.mark.parametrize("name", GERMAN)
def test_information_values_are_the_published_ones(name: str) -> None:
    goods, bads, value = GERMAN[name]
    assert (sum(goods), sum(bads)) == (700, 300)
    assert information_value(goods, bads) == pytest.approx(value, abs=5e-7)


def test_a_weight_is_the_log_of_two_shares() -> None:
    weights = weights_of_evidence([139, 164, 49, 348], [135, 105, 14, 46])
    assert weights.tolist() == pytest.approx(
        [math.log((g / 700) / (b / 300)) for g, b in ((139, 135), (164, 105), (49, 14), (348, 46))]
    )
    assert (np.sign(weights) == [-1, -1, 1, 1]).all()


def test_a_bin_of_one_outcome_has_half_a_row_of_the_other() -> None:
    (safe, rest) = weights_of_evidence([40, 60], [0, 20])
    assert safe == pytest.approx(math.log((40.5 / 0.5) / (100 / 20)))
    assert rest == pytest.approx(math.log((60 / 20) / (100 / 20)))
    assert math.isfinite(information_value([40, 60], [0, 20]))


def test_a_bin_of_no_rows_says_nothing() -> None:
    assert weights_of_evidence([50, 50, 0], [5, 20, 0])[2] == pytest.approx(0, abs=1e-12)
    assert information_value([50, 50, 0], [5, 20, 0]) == pytest.approx(information_value([50, 50], [5, 20]), rel=1e-12)


def test_rows_of_the_average_rate_draw_small_bins_to_nothing() -> None:
    plain, drawn = (weights_of_evidence([3, 997], [3, 97], added)[0] for added in (0.0, 10.0))
    assert plain < drawn < 0
    assert drawn == pytest.approx(math.log((3 + 10 * 10 / 11) / (3 + 10 / 11)) - math.log(10))


@pytest.mark.parametrize(("goods", "bads"), [([0, 0], [1, 2]), ([1, 2], [0, 0]), ([], [])])
def test_one_outcome_has_no_weights(goods: list[int], bads: list[int]) -> None:
    with pytest.raises(ValueError, match="needs both goods and bads"):
        weights_of_evidence(goods, bads)


def test_the_regression_is_that_of_scikit_learn_however_rows_are_cut() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    columns = rng.normal(size=(800, 3))
    bad = rng.random(800) < 1 / (1 + np.exp(2 - columns @ [0.8, -0.4, 0.0]))
    design = np.column_stack([columns, np.ones(800)])
    found = logistic_regression(lambda: [(design, bad)], float(bad.mean()), ridge=2.0)
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=1_000).fit(columns, bad)
    assert found.coefficients == pytest.approx([*theirs.coef_[0], *theirs.intercept_], abs=1e-5)
    pieces = [(design[part], bad[part]) for part in (slice(0, 7), slice(7, 500), slice(500, None))]
    again = logistic_regression(lambda: pieces, float(bad.mean()), ridge=2.0)
    assert again.coefficients == pytest.approx(found.coefficients, abs=1e-9)
    p = 1 / (1 + np.exp(-design @ found.coefficients))
    information = (design * (p * (1 - p))[:, None]).T @ design + np.diag([2.0, 2.0, 2.0, 0.0])
    assert found.errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(information))), rel=1e-6)
