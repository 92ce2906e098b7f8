"""The PD above which a model declines."""

from __future__ import annotations

import numpy as np
import pytest

from credit_assets.ml.data.policies import CutoffPolicy
from credit_assets.ml.evidence.cutoffs import cut_off


def test_without_either_key_nobody_is_declined() -> None:
    assert cut_off([0.1, 0.9], CutoffPolicy()) is None
    assert not CutoffPolicy().decides


@pytest.mark.parametrize("rate", [0.07, 0.29, 0.5, 0.57, 0.99])
def test_exactly_that_share_is_approved_where_no_two_pds_are_equal(rate: float) -> None:
    pd = np.random.default_rng(1).permutation(np.arange(1, 101) / 200)
    found = cut_off(pd, CutoffPolicy(approval_rate=rate))
    assert (pd <= found).sum() == round(100 * rate)
    assert found in pd


def test_equal_pds_are_approved_together_and_more_than_asked_for() -> None:
    pd = [0.1] * 50 + [0.2] * 40 + [0.3] * 10
    assert cut_off(pd, CutoffPolicy(approval_rate=0.5)) == 0.1
    assert cut_off(pd, CutoffPolicy(approval_rate=0.51)) == 0.2


def test_the_lower_of_both_holds() -> None:
    pd = np.linspace(0.01, 0.5, 50)
    by_rate = cut_off(pd, CutoffPolicy(approval_rate=0.5))
    assert cut_off(pd, CutoffPolicy(approval_rate=0.5, max_pd=0.1)) == 0.1
    assert cut_off(pd, CutoffPolicy(approval_rate=0.5, max_pd=0.4)) == by_rate
    assert cut_off([], CutoffPolicy(max_pd=0.4)) == 0.4


def test_whom_the_model_refuses_counts_on_neither_side() -> None:
    pd = [0.1, np.nan, 0.2, np.nan, 0.3, 0.4]
    assert cut_off(pd, CutoffPolicy(approval_rate=0.5)) == 0.2


@pytest.mark.parametrize("pd", [[], [np.nan]])
def test_a_rate_of_nobody_is_refused(pd: list[float]) -> None:
    with pytest.raises(ValueError, match="no PDs are known"):
        cut_off(pd, CutoffPolicy(approval_rate=0.5))
