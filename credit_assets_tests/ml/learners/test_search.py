"""The search of hyper-parameters: what it finds, on which rows, and that it goes on where it was cut short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from credit_assets.ml.data.portfolio import Column
from credit_assets.ml.learners import VARIANTS, search
from credit_assets.ml.learners.search import SPACES, SearchTrial
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets_tests.support.modelling import PORTFOLIO, training_set

SLOW = TrainingConfig(params={"num_leaves": 7}, max_rounds=40, early_stopping_rounds=5)
ROWS = pa.Table.from_pandas(training_set(3_000, seed=4), preserve_index=False)
ROWS = ROWS.set_column(1, "applied_on", ROWS["applied_on"].cast(pa.date32()))


class Kept:
    """Trials in memory; ends the search after so many, as a killed step does."""

    def __init__(self, trials: Sequence[SearchTrial] = (), dies_after: int | None = None) -> None:
        self.trials, self._dies_after = list(trials), dies_after

    def load(self) -> Sequence[SearchTrial]:
        return self.trials

    def save(self, trials: Sequence[SearchTrial]) -> None:
        self.trials = list(trials)
        if len(trials) == self._dies_after:
            raise KeyboardInterrupt


def searched(trials: int, kept: Kept | None = None, rows: pa.Table = ROWS, **changes: Any) -> search.SearchResult:
    return search.search(rows, "lightgbm", PORTFOLIO, replace(SLOW, **changes), trials, kept or Kept())


def test_a_search_that_is_cut_short_goes_on_as_it_would_have() -> None:
    whole = searched(11)
    cut = Kept(dies_after=4)
    with pytest.raises(KeyboardInterrupt):
        searched(11, cut)
    again = Kept([SearchTrial.from_record(one.to_record()) for one in cut.trials], dies_after=10)
    with pytest.raises(KeyboardInterrupt):
        searched(11, again)
    assert searched(11, Kept(again.trials)) == whole
    assert len({tuple(sorted(one.params.items())) for one in whole.trials}) == 11


def test_the_seed_decides_what_is_tried() -> None:
    one, other = searched(3), searched(3, seed=7)
    assert one.trials == searched(3).trials
    assert one.trials[1].params != other.trials[1].params


def test_the_test_has_no_part_in_it() -> None:
    flipped = ROWS["default"].to_numpy().copy()
    test = np.array(ROWS["split"].to_pylist()) == "test"
    flipped[test] = 1 - flipped[test]
    other = ROWS.set_column(ROWS.schema.get_field_index("default"), "default", pa.array(flipped))
    assert searched(3, rows=other) == searched(3)


def test_each_fold_is_judged_on_days_after_those_it_was_fitted_on() -> None:
    folds = search._folds(ROWS, PORTFOLIO)
    assert len(folds) == search.FOLDS
    for fold in folds:
        ends = {
            split: pc.min_max(fold.filter(pc.equal(fold["split"], split))["applied_on"])
            for split in ("train", "validation", "test")
        }
        assert ends["train"]["max"].as_py() < ends["validation"]["min"].as_py()
        assert ends["validation"]["max"].as_py() < ends["test"]["min"].as_py()
    judged = [set(fold.filter(pc.equal(fold["split"], "test"))["loan_id"].to_pylist()) for fold in folds]
    assert not set.intersection(*judged)
    known = set(ROWS.filter(pc.not_equal(ROWS["split"], "test"))["loan_id"].to_pylist())
    assert set().union(*judged) < known


def test_a_customer_is_judged_in_no_fold_that_was_fitted_on_him() -> None:
    portfolio = PORTFOLIO.model_copy(
        update={"columns": (*PORTFOLIO.columns, Column(name="who", type="string", role="customer"))}
    )
    rng = np.random.default_rng(3)
    rows = ROWS.append_column("who", pa.array([f"C{n}" for n in rng.integers(0, 900, ROWS.num_rows)]))
    for fold in search._folds(rows, portfolio):
        of = {name: set(fold.filter(pc.equal(fold["split"], name))["who"].to_pylist()) for name in ("train", "test")}
        assert of["test"]
        assert not of["train"] & of["test"]


def test_parameters_that_are_set_are_not_searched() -> None:
    found = searched(4, params={"num_leaves": 7, "learning_rate": 0.05})
    assert all("learning_rate" not in one.params and "num_leaves" not in one.params for one in found.trials)
    assert found.trials[1].params.keys() == SPACES["lightgbm"].keys() - {"learning_rate", "num_leaves"}


def test_what_is_found_is_taken_where_it_is_better_beyond_chance() -> None:
    default = SearchTrial({}, tuple(np.full(20, 0.30)))
    better = SearchTrial({"num_leaves": 9}, tuple(0.30 - 0.01 - 0.001 * np.arange(20) / 20))
    chance = SearchTrial({"num_leaves": 9}, tuple(0.299 + 0.05 * np.tile([-1.0, 1.0], 10)))
    refused = SearchTrial({"num_leaves": 2}, ())
    assert search.chosen((default, better, refused)).params == {"num_leaves": 9}
    assert search.chosen((default, chance, refused)).params == {}
    assert "beyond chance" in search.chosen((default, chance)).why
    assert search.chosen((default, refused)).params == {}
    record = search.chosen((default, better)).to_record()
    assert record["trials"] == 2
    assert record["log_loss_of_best"] < record["log_loss_of_defaults"]


def test_what_a_learner_refuses_is_a_trial_without_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("variant lightgbm: refused")

    monkeypatch.setattr(search, "train", refuse)
    found = searched(3)
    assert [one.losses for one in found.trials] == [(), (), ()]
    assert found.params == {}


@pytest.mark.parametrize("variant", sorted(SPACES))
def test_a_space_lies_within_what_the_learner_takes(variant: str) -> None:
    learner = VARIANTS[variant]
    for name, one in SPACES[variant].items():
        for end in (one.low, one.high):
            learner.resolve({name: int(end) if one.integer else float(end)})


def test_too_few_bads_are_said() -> None:
    good = np.flatnonzero(ROWS["default"].to_numpy() == 0)
    few = ROWS.take(np.sort(np.r_[good, np.flatnonzero(ROWS["default"].to_numpy() == 1)[:9]]))
    with pytest.raises(ValueError, match="hold too few bads for a search"):
        searched(3, rows=few)


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'credit-assets\[search\]'"):
        searched(3)


def test_a_variant_without_a_space_says_so() -> None:
    everything = {name: (int(one.low) if one.integer else one.low) for name, one in SPACES["lightgbm"].items()}
    with pytest.raises(ValueError, match="there is no parameter to search"):
        searched(3, params=everything)
