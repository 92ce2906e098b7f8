"""Arms: the same application is in the same arm, whoever asks, and the share is the one that was asked for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.evidence.arms import assign

IDS = [f"A-{number}" for number in range(20_000)]


def test_a_known_assignment_never_changes() -> None:
    # Another machine, version of Python or release must give the same: who decided is not to be decided again.
    assert assign(range(1, 9), 0.5, "key", "1").tolist() == [False, True, False, True, False, True, True, True]


def test_arms_depend_neither_on_order_nor_on_company() -> None:
    arms = dict(zip(IDS, assign(IDS, 0.3, "key", "1"), strict=True))
    backwards = IDS[::-1]
    assert assign(backwards, 0.3, "key", "1").tolist() == [arms[one] for one in backwards]
    assert assign(IDS[500:510], 0.3, "key", "1").tolist() == [arms[one] for one in IDS[500:510]]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_the_share_is_met_in_expectation(share: float) -> None:
    error = 4 * np.sqrt(share * (1 - share) / len(IDS))
    assert assign(IDS, share, "key", "1").mean() == pytest.approx(share, abs=error + 1e-12)


def test_a_larger_share_keeps_all_that_were_in() -> None:
    shares = [assign(IDS, share, "key", "1") for share in (0.05, 0.1, 0.3, 0.8)]
    for smaller, larger in pairwise(shares):
        assert larger[smaller].all()
        assert larger.sum() > smaller.sum()


@pytest.mark.parametrize("other", [{"key": "other"}, {"salt": "2"}])
def test_another_trial_or_key_draws_anew(other: dict[str, str]) -> None:
    one = assign(IDS, 0.5, key="key", salt="1")
    two = assign(IDS, 0.5, **{"key": "key", "salt": "1", **other})
    assert np.corrcoef(one, two)[0, 1] == pytest.approx(0, abs=4 / np.sqrt(len(IDS)))


def test_arms_know_nothing_of_what_the_ids_say() -> None:
    numbers = np.arange(20_000)
    arms = assign(numbers, 0.5, "key", "1")
    for pattern in (numbers % 2, numbers < 10_000, numbers % 10 == 7):
        assert np.corrcoef(arms, pattern)[0, 1] == pytest.approx(0, abs=4 / np.sqrt(len(numbers)))


@pytest.mark.parametrize(
    "ids",
    [
        [7, 8, 9],
        ["7", "8", "9"],
        np.array([7, 8, 9], dtype=np.int32),
        pd.Series([7, 8, 9]),
        pd.Series(["7", "8", "9"]),
        pd.Series(["7", "8", "9"], dtype="string"),
    ],
)
def test_an_id_is_the_same_as_text_and_as_number(ids: object) -> None:
    expected = assign([7, 8, 9], 0.5, "k" * 200, "1").tolist()
    assert assign(ids, 0.5, "k" * 200, "1").tolist() == expected  # type: ignore[arg-type]


def test_no_ids_have_no_arms() -> None:
    assert assign([], 0.5, "key", "1").shape == (0,)


@pytest.mark.parametrize(
    ("ids", "share", "key", "expected"),
    [
        ([1], -0.1, "key", "must lie in 0 .. 1; got -0.1"),
        ([1], 1.1, "key", "must lie in 0 .. 1; got 1.1"),
        ([1], float("nan"), "key", "must lie in 0 .. 1; got nan"),
        ([1], 0.5, "", "must not be empty"),
        ([1.0], 0.5, "key", "float: no arm"),
        ([None], 0.5, "key", "NoneType: no arm"),
        ([True], 0.5, "key", "bool: no arm"),
    ],
)
def test_what_cannot_be_assigned_is_refused(ids: list[object], share: float, key: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        assign(ids, share, key, "1")


def test_the_share_of_many_ids_is_met() -> None:
    ids = [f"2024-{number:09d}" for number in range(200_000)]
    assert assign(ids, 0.1, "key", "1").mean() == pytest.approx(0.1, abs=0.003)
