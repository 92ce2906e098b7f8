"""What the AUC of a test loses without one feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data.rows import Rows
from credit_assets.ml.data.values import numbers
from credit_assets.ml.evidence.leaks import measure_concentration


def test_the_feature_that_makes_the_skill_comes_first_with_what_it_brings() -> None:
    rng = np.random.default_rng(0)
    risk, leak, noise = rng.normal(size=(3, 4_000))
    bad = (rng.random(4_000) < 1 / (1 + np.exp(2.2 - 0.6 * risk))).astype(np.int8)
    leak = leak + 1.5 * bad
    test = pd.DataFrame({"risk": risk, "leak": leak, "noise": noise, "default": bad})
    read: list[int] = []

    def pd_of(data: Any) -> Any:
        rows = Rows.of(data)
        read.append(len(rows))
        margin = 0.6 * numbers(rows.column("risk")) + 1.5 * numbers(rows.column("leak"))
        return 1 / (1 + np.exp(2.2 - margin))

    found = measure_concentration(pd_of, test, ["risk", "leak", "noise"])
    assert [one["name"] for one in found] == ["leak", "risk", "noise"]
    strongest, weaker, none = found
    assert strongest["gain_low"] > 0.15
    assert 0.5 < strongest["share"] < 1
    assert strongest["alone"] == pytest.approx(0.855, abs=0.02)
    assert strongest["alone"] - 0.03 < strongest["alone_low"] < strongest["alone"]
    assert weaker["gain"] < 0.06
    assert none["gain"] == 0.0
    # The same whatever ran before.
    assert measure_concentration(pd_of, test, ["noise", "leak", "risk"]) == found
    assert read == [4_000] * 8


def test_of_many_features_the_ten_that_rank_best_alone_are_looked_at() -> None:
    rng = np.random.default_rng(0)
    columns = {f"x{n}": rng.normal(size=500) for n in range(30)}
    test = pd.DataFrame({**columns, "default": rng.random(500) < 0.2})
    calls: list[int] = []

    def flat(data: Any) -> Any:
        calls.append(1)
        return np.full(len(Rows.of(data)), 0.2)

    found = measure_concentration(flat, test, list(columns))
    assert len(found) == 10
    assert len(calls) == 11
    # A model that says the same of all has no skill to share.
    assert {one["share"] for one in found} == {None}
