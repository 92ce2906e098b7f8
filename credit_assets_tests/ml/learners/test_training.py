"""Training a candidate: which rows may decide what."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.ml.data import rows as rows_module
from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.data.rows import Rows
from credit_assets.ml.evidence.evaluation import auc, evaluate
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.candidates import Candidate, candidate_identity, train_candidate
from credit_assets.ml.learners.training import TrainingConfig, resolve_params
from credit_assets_tests.support.modelling import PORTFOLIO, applications, quick_config, training_set

ALL = pytest.mark.parametrize("name", list(VARIANTS))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return training_set(3000)


@pytest.fixture(scope="module")
def candidates(frame: pd.DataFrame) -> dict[str, Candidate]:
    return {name: train_candidate(frame, name, PORTFOLIO, quick_config(name)) for name in VARIANTS}


def saved(candidate: Candidate, folder: Path) -> dict[str, bytes]:
    candidate.scorer.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@ALL
def test_a_candidate_is_near_the_best_there_can_be(
    name: str, frame: pd.DataFrame, candidates: dict[str, Candidate]
) -> None:
    test = frame["split"] == "test"
    truth = auc(frame.loc[test, "default"], probability(applications(3000)["truth"][test.to_numpy()]))
    found = candidates[name].metrics["test"]
    assert truth - 0.06 < found.auc < truth + 0.02
    assert found.ece < 0.05
    assert found.observed_over_expected == pytest.approx(1, abs=0.25)


@ALL
def test_the_metrics_are_those_of_the_scorer(name: str, frame: pd.DataFrame, candidates: dict[str, Candidate]) -> None:
    candidate = candidates[name]
    assert set(candidate.metrics) == set(candidate.predictions) == {"train", "validation", "test"}
    for split, metrics in candidate.metrics.items():
        rows = frame[frame["split"] == split]
        assert evaluate(rows["default"], candidate.scorer.pd(rows)) == metrics
        predictions = candidate.predictions[split]
        np.testing.assert_array_equal(predictions.target, rows["default"])
        np.testing.assert_array_equal(predictions.score, candidate.scorer.score(rows)["score"])
    assert candidate.best_rounds <= len(candidate.history["validation-logloss"]) <= 60
    assert candidate.variant == name


@ALL
def test_the_calibration_is_that_of_the_validation_rows(name: str, candidates: dict[str, Candidate]) -> None:
    validation = candidates[name].metrics["validation"]
    choice = candidates[name].calibration_choice
    assert choice is not None
    assert (choice["rows"], choice["bads"]) == (validation.rows, validation.bads)
    assert candidates[name].scorer.calibration.method == choice["method"]
    # Where none is chosen, the level is not shown to be wrong.
    off = 2 / validation.bads**0.5 if choice["method"] == "none" else 0.02
    assert validation.observed_over_expected == pytest.approx(1, abs=off)


def test_a_calibration_that_is_asked_for_is_part_of_what_a_model_is(frame: pd.DataFrame) -> None:
    asked = quick_config("lightgbm", calibration="isotonic")
    found = train_candidate(frame, "lightgbm", PORTFOLIO, asked)
    assert found.scorer.calibration.method == "isotonic"
    free, forced = (
        candidate_identity("lightgbm", "2021-01-01", "data", config, PORTFOLIO)
        for config in (quick_config("lightgbm"), asked)
    )
    assert forced == {**free, "calibration": "isotonic"}


@ALL
def test_the_test_rows_change_nothing_in_the_model(
    name: str, frame: pd.DataFrame, candidates: dict[str, Candidate], tmp_path: Path
) -> None:
    changed = frame.copy()
    test = changed["split"] == "test"
    changed.loc[test, "default"] = 1 - changed.loc[test, "default"]
    changed.loc[test, ["income", "debt", "burden", "noise"]] = 1e6
    changed.loc[test, "purpose"] = "a level of the future"
    # More test rows and another order of the splits in the frame.
    changed = pd.concat([changed[test], changed[~test], changed[test]], ignore_index=True)
    other = train_candidate(changed, name, PORTFOLIO, quick_config(name))
    assert saved(other, tmp_path / "other") == saved(candidates[name], tmp_path / "first")
    assert other.history == candidates[name].history
    assert other.metrics["validation"] == candidates[name].metrics["validation"]
    assert other.metrics["test"] != candidates[name].metrics["test"]


@ALL
def test_levels_come_from_the_train_rows_only(name: str, frame: pd.DataFrame) -> None:
    changed = frame.copy()
    changed.loc[changed.index[changed["split"] == "validation"][0], "purpose"] = "new in validation"
    candidate = train_candidate(changed, name, PORTFOLIO, quick_config(name))
    assert candidate.scorer.categories["purpose"] == ("car", "holiday", "small_business")


@ALL
def test_the_same_again_gives_the_same_bytes(
    name: str, frame: pd.DataFrame, candidates: dict[str, Candidate], tmp_path: Path
) -> None:
    again = train_candidate(frame, name, PORTFOLIO, quick_config(name))
    assert saved(again, tmp_path / "again") == saved(candidates[name], tmp_path / "first")
    assert again.metrics == candidates[name].metrics
    other = train_candidate(frame, name, PORTFOLIO, quick_config(name, seed=1))
    # A scorecard draws nothing by chance.
    assert (saved(other, tmp_path / "other") == saved(candidates[name], tmp_path / "first")) == (name == "scorecard")


@ALL
@pytest.mark.parametrize("form", ["table", "dictionaries", "file", "categorical frame"])
def test_every_form_of_the_same_rows_gives_the_same_bytes(
    name: str,
    form: str,
    frame: pd.DataFrame,
    candidates: dict[str, Candidate],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Many batches, which end anywhere.
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 237)
    table: Any = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, tmp_path / "set.parquet", row_group_size=1000)
    data = {
        "table": lambda: table,
        "dictionaries": lambda: pq.read_table(tmp_path / "set.parquet", read_dictionary=["purpose", "region", "split"]),
        "file": lambda: Rows.stored(tmp_path / "set.parquet"),
        "categorical frame": lambda: frame.astype({"purpose": "category", "region": "category", "split": "category"}),
    }[form]()
    found = train_candidate(data, name, PORTFOLIO, quick_config(name))
    assert saved(found, tmp_path / "found") == saved(candidates[name], tmp_path / "first")
    assert found.history == candidates[name].history
    assert found.metrics == candidates[name].metrics
    assert found.reference == candidates[name].reference


def test_the_device_stands_in_the_parameters_where_it_is_not_the_cpu() -> None:
    on_gpu = TrainingConfig(device="cuda")
    assert "device" not in resolve_params("xgboost", TrainingConfig())
    for name in VARIANTS:
        assert resolve_params(name, on_gpu)["device"] == "cuda"
    # CatBoost has no sampling of features there: the record says what holds.
    assert resolve_params("catboost", TrainingConfig())["rsm"] == 0.8
    assert resolve_params("catboost", on_gpu)["rsm"] == 1.0
    with pytest.raises(ValueError, match="parameter 'rsm' must be 1 on a GPU"):
        resolve_params("catboost", TrainingConfig(params={"rsm": 0.5}, device="cuda"))


def test_parameters_are_resolved_with_all_that_decides() -> None:
    from importlib.metadata import version

    resolved = resolve_params("xgboost", TrainingConfig(params={"max_depth": 4}, max_rounds=77, threads=3))
    assert resolved["max_depth"] == 4
    assert resolved["learning_rate"] == 0.01
    assert (resolved["max_rounds"], resolved["early_stopping_rounds"]) == (77, 50)
    assert resolved["library"] == f"xgboost {version('xgboost')}"
    # The same book on a machine with more cores is the same model.
    assert resolved == resolve_params("xgboost", TrainingConfig(params={"max_depth": 4}, max_rounds=77, threads=1))


def test_the_candidate_carries_its_parameters(candidates: dict[str, Candidate]) -> None:
    assert candidates["lightgbm"].params == resolve_params("lightgbm", quick_config("lightgbm"))
    assert candidates["lightgbm"].scorer.library == candidates["lightgbm"].params["library"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop(columns=["debt", "split"]), "lacks the columns debt, split"),
        (lambda f: f.assign(split="train"), "has no validation rows"),
        (lambda f: f[f["split"] != "test"], "has no test rows"),
        (lambda f: f.assign(split=f["split"].replace("test", "holdout")), "rows of split holdout"),
        (lambda f: f.assign(default=f["default"].where(f["split"] != "train", 0)), "train rows are all good"),
        (lambda f: f.assign(default=f["default"].where(f["split"] != "validation", 1)), "validation rows are all bad"),
        (lambda f: f.assign(default=f["default"].where(f["split"] != "test", 0)), "split test: all 100 rows are good"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(spoil: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_candidate(spoil(training_set(400)), "lightgbm", PORTFOLIO, quick_config("lightgbm"))


def test_unknown_variants_and_bad_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown variant 'forest'; known: xgboost, lightgbm, catboost"):
        train_candidate(training_set(400), "forest", PORTFOLIO, TrainingConfig())
    with pytest.raises(ValueError, match="unknown variant 'forest'"):
        resolve_params("forest", TrainingConfig())
    with pytest.raises(ValueError, match="variant lightgbm: parameter 'num_leaves'"):
        resolve_params("lightgbm", TrainingConfig(params={"num_leaves": -5}))
    with pytest.raises(ValueError, match="variant lightgbm: parameter 'num_leaves'"):
        train_candidate(training_set(400), "lightgbm", PORTFOLIO, TrainingConfig(params={"num_leaves": -5}))


@pytest.mark.slow
def test_fifteen_thousand_rows_with_default_parameters_take_seconds() -> None:
    """All three learners with the packaged portfolio: a bound on CPU time, three times what it takes."""
    from datetime import date

    from credit_assets.ml.data.cohorts import CohortWindow, assemble_training_set
    from credit_assets_tests.support.synthetic import canonical_book, model_inputs

    portfolio = load_portfolio()
    raw, outcomes = canonical_book(15_000, date(2019, 1, 1), date(2020, 12, 31), seed=3)
    window = CohortWindow(date(2021, 12, 31), 365, 731)
    frame = assemble_training_set(
        model_inputs(raw, portfolio), outcomes, window, portfolio, test_share=0.25, validation_share=0.2
    )
    start = time.process_time()
    for name in VARIANTS:
        found = train_candidate(frame, name, portfolio, TrainingConfig())
        assert 0.62 < found.metrics["test"].auc < 0.80
        assert found.metrics["test"].ece < 0.02
    assert time.process_time() - start < 40
