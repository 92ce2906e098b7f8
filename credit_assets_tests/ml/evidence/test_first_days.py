"""Newest days beside the days of the test: what drifts keeps its order, and what is lost costs the test its AUC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data.rows import Rows
from credit_assets.ml.data.values import numbers, texts
from credit_assets.ml.evidence.first_days import Sides, measure_first_days
from credit_assets.ml.rules.first_days import decide_first_days
from credit_assets_tests.support.policies import drift, first_days

FEATURES = ("told", "other", "kind", "ignored")
ROWS = 3_000


def days(seed: int, rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(np.array(["a", "b", "c"], dtype=object), rows, p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame(
        {"told": rng.normal(size=rows), "other": rng.normal(size=rows), "kind": kind, "ignored": rng.normal(size=rows)}
    )
    return frame.assign(default=(rng.random(rows) < model(frame)[0]).astype("int8"))


def model(data: Any) -> tuple[Any, Any]:
    """A model that is known: log odds of three of the features; what is missing counts as 0."""
    rows = Rows.of(data)
    told, other = (np.nan_to_num(numbers(rows.column(name))) for name in ("told", "other"))
    places, levels = texts(rows.column("kind"))
    kind = np.array([{"b": 0.5, "c": 1.5}.get(str(level), 0.0) for level in levels])[places]
    log_odds = np.clip(-2.5 + 1.2 * told + 0.4 * other + kind, -30, 30)
    return 1 / (1 + np.exp(-log_odds)), 600 - 30 * log_odds


def measured(
    change: Callable[[pd.DataFrame], Any], then: Callable[[pd.DataFrame], Any] | None = None
) -> dict[str, Any]:
    old, new = days(1), days(2)
    if then:
        then(old)
    change(new)
    features = list(FEATURES)
    return measure_first_days(model, Sides(old, old[features], new[features]), features, ["kind"], drift())


def named(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in found["features"]}


def setting(name: str, value: Any) -> Callable[[pd.DataFrame], None]:
    def change(frame: pd.DataFrame) -> None:
        frame[name] = value(frame[name]) if callable(value) else value

    return change


def test_the_same_days_differ_in_nothing() -> None:
    found = measured(lambda _: None)
    assert found["features"] == []
    assert found["together"]["auc_loss"] == 0
    assert found["together"]["used"] is False
    assert found["pd_odds_ratio"]["ci_low"] < 1.1
    assert found["pd_odds_ratio"]["ci_high"] > 0.9
    assert found["rows"] == {"test": ROWS, "then": ROWS, "now": ROWS}
    assert found["compared"] == 4


def test_a_feature_that_drifts_keeps_the_order_of_its_rows() -> None:
    one = named(measured(setting("told", lambda values: values * 0.9 + 0.6)))["told"]
    assert one["psi"] > 0.25
    assert abs(one["auc_loss"]) < 0.02
    assert one["pd_odds_ratio"] > 1.3
    assert one["unread"] == 0
    assert 0.5 < one["scale"] < 2


@pytest.mark.parametrize(
    ("value", "unread", "scale"),
    [(np.nan, 1.0, None), (0.0, 0.0, 0.0), (lambda values: values * 1000, 0.0, 1000), (-50.0, 0.0, 63)],
)
def test_what_is_missing_constant_or_in_another_unit_costs_what_the_feature_told(
    value: Any, unread: float, scale: float | None
) -> None:
    found = measured(setting("told", value))
    one = named(found)["told"]
    assert one["unread"] == unread
    assert one["scale"] == (None if scale is None else pytest.approx(scale, rel=0.1))
    assert one["used"]
    if not callable(value):
        assert one["auc_loss"] > 0.1
        assert one["auc_loss_low"] > 0.05
        assert found["auc"] - found["together"]["auc_as_now"] == pytest.approx(found["together"]["auc_loss"], abs=2e-6)


def test_a_list_price_that_moves_is_let_pass() -> None:
    """One value on all of the newest days, out of the range of the test's: drift, and no fault."""
    rng = np.random.default_rng(3)

    def price(values: tuple[float, ...]) -> Callable[[pd.DataFrame], None]:
        def change(frame: pd.DataFrame) -> None:
            frame["other"] = rng.choice(np.array(values), len(frame))

        return change

    found = measured(price((1.3,)), price((0.9, 1.0, 1.1)))
    one = named(found)["other"]
    assert one["out_of_range_share"] == 1
    assert all(reason.passed for reason in decide_first_days(found, first_days()))


def test_a_feature_that_the_model_does_not_use_changes_nothing() -> None:
    one = named(measured(setting("ignored", np.nan)))["ignored"]
    assert (one["used"], one["auc_loss"], one["pd_odds_ratio"], one["unread"]) == (False, 0.0, 1.0, 1.0)


def test_a_flag_that_is_raised_afterwards_is_found() -> None:
    """Only loans that turned bad have it, and of the newest none has."""

    def flagged(frame: pd.DataFrame) -> None:
        bads = frame["default"].to_numpy() == 1
        frame["told"] = np.where(bads & (np.arange(len(frame)) % 2 == 0), 2.0, 0.0)

    one = named(measured(setting("told", 0.0), flagged))["told"]
    assert one["auc_loss"] > 0.1
    assert one["auc_loss_low"] > 0.05
    assert one["pd_odds_ratio"] < 0.8


def test_values_that_stand_many_times_are_divided_as_the_newest_days_divide_them() -> None:
    """A flag of 30% that is one of 15%: half of the rows that had it keep it, none gets it."""

    def share(part: float) -> Callable[[pd.DataFrame], None]:
        def change(frame: pd.DataFrame) -> None:
            frame["other"] = (np.arange(len(frame)) % 100 < 100 * part).astype(float)

        return change

    seen: list[Any] = []

    def watched(data: Any) -> Any:
        seen.append(numbers(Rows.of(data).column("other")))
        return model(data)

    old, new = days(1), days(2)
    share(0.30)(old)
    share(0.15)(new)
    features = list(FEATURES)
    measure_first_days(watched, Sides(old, old[features], new[features]), features, ["kind"], drift())
    moved = seen[-1]
    assert moved.mean() == pytest.approx(0.15, abs=0.005)
    assert not (moved > old["other"].to_numpy()).any()


@pytest.mark.parametrize(("share_now", "factor", "scale"), [(0.06, 1, 1), (0.06, 12, 12), (0.5, 1, 1), (0.0, 1, 0)])
def test_zeros_are_of_no_size(share_now: float, factor: float, scale: float) -> None:
    """A count that a ninth of the applicants had: fewer or more of them are no other unit; none at all are."""

    def count(share: float, times: float) -> Callable[[pd.DataFrame], None]:
        def change(frame: pd.DataFrame) -> None:
            rng = np.random.default_rng(3)
            frame["other"] = times * (rng.random(ROWS) < share) * rng.integers(1, 4, ROWS)

        return change

    one = named(measured(count(share_now, factor), then=count(0.11, 1)))["other"]
    assert one["scale"] == pytest.approx(scale, rel=0.1)


def test_levels_keep_as_many_rows_as_can_and_give_the_others_away() -> None:
    def gone(frame: pd.DataFrame) -> None:
        frame["kind"] = frame["kind"].replace("c", "new")

    found = measured(gone)
    one = named(found)["kind"]
    assert one["new_levels"] == ["new"]
    assert one["unread"] == pytest.approx(0.2, abs=0.03)
    assert one["scale"] is None
    # The fifth of the rows that were the worst are worth nothing special any more.
    assert one["auc_loss"] > 0.02
    assert one["pd_odds_ratio"] < 0.8


def test_missing_values_come_and_go_with_their_shares() -> None:
    def half(frame: pd.DataFrame) -> None:
        frame.loc[frame.index % 2 == 0, "told"] = np.nan

    lost = named(measured(half))["told"]
    assert lost["missing_share"] == 0.5
    assert 0.02 < lost["auc_loss"] < 0.15
    back = named(measured(lambda _: None, half))["told"]
    assert back["missing_reference"] == 0.5
    assert back["used"]


def test_the_same_rows_measure_the_same() -> None:
    change = setting("told", lambda values: values + 1)
    assert measured(change) == measured(change)


def test_a_side_without_rows_is_refused() -> None:
    features = list(FEATURES)
    some = days(1)
    with pytest.raises(ValueError, match="rows"):
        measure_first_days(model, Sides(some, some[features].head(0), some[features]), features, ["kind"], drift())
