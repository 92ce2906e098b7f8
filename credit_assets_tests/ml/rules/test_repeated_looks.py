"""The level of daily looks, against years of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from credit_assets.ml.rules.repeated_looks import freedom_of_sum, look_quantile, look_tail


@pytest.mark.parametrize(("window", "fresh"), [(90, 1.0), (90, 0.3), (30, 1.0), (365, 1.0), (1, 1.0)])
def test_a_year_of_looks_is_wrong_as_often_as_was_said(window: int, fresh: float) -> None:
    rng, years, alpha = np.random.default_rng(window), 20_000, 0.05
    limit, wrong = norm.isf(look_tail(alpha, window, fresh)), 0
    for _ in range(0, years, 2_000):
        days = np.cumsum(rng.normal(size=(2_000, 365 + window)), axis=1)
        sums = (days[:, window:] - days[:, :-window]) / np.sqrt(window)
        once = rng.normal(size=(2_000, 1))
        wrong += int(((np.sqrt(fresh) * sums + np.sqrt(1 - fresh) * once).max(axis=1) > limit).sum())
    assert wrong / years <= alpha * 1.1
    assert wrong / years >= alpha * 0.4  # And no rarer by far, which would see nothing.


def test_few_bads_ask_for_more() -> None:
    assert look_quantile(0.01, 90, 1.0, 20) > look_quantile(0.01, 90, 1.0, 1e6) + 0.5
    assert look_quantile(0.01, 90, 0.1, 100) < look_quantile(0.01, 90, 1.0, 100)
    assert freedom_of_sum([(1.0, 10), (0.0, 3)]) == pytest.approx(10)


@pytest.mark.parametrize("given", [(0.0, 90, 1.0), (1.0, 90, 1.0), (0.01, 0, 1.0), (0.01, 90, 1.5)])
def test_no_level_for_what_makes_no_sense(given: tuple[float, int, float]) -> None:
    with pytest.raises(ValueError, match="no level for alpha"):
        look_tail(*given)
