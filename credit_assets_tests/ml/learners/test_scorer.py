"""The scorer: the saved form of a model, and what it accepts."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.data import rows as rows_module
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.calibration import calibration_of
from credit_assets.ml.learners.candidates import Candidate, train_candidate
from credit_assets.ml.learners.scorer import SCORER_FILE, CreditScorer, ScoreScale
from credit_assets_tests.support.modelling import (
    BOOSTERS,
    FEATURES,
    PORTFOLIO,
    applications,
    quick_config,
    training_set,
)
from credit_assets_tests.support.synthetic import model_inputs

ALL = pytest.mark.parametrize("name", list(VARIANTS))
RAW = ["income", "debt", "inquiries", "noise", "purpose", "region"]


@pytest.fixture(scope="module")
def candidates() -> dict[str, Candidate]:
    frame = training_set(1500)
    scale = ScoreScale(base=500, odds=20, pdo=40)
    return {name: train_candidate(frame, name, PORTFOLIO, quick_config(name, scale=scale)) for name in VARIANTS}


@pytest.fixture
def saved(candidates: dict[str, Candidate], tmp_path: Path) -> Path:
    folder = tmp_path / "scorer"
    candidates["lightgbm"].scorer.save(folder)
    return folder


def change(folder: Path, **values: Any) -> None:
    record = json.loads((folder / SCORER_FILE).read_text())
    (folder / SCORER_FILE).write_text(json.dumps({**record, **values}))


# The scale


def test_worked_numbers_of_the_scale() -> None:
    scale = ScoreScale()
    assert scale.points(np.log(1 / 50)) == pytest.approx(600)
    assert scale.points(np.log(1 / 100)) == pytest.approx(620)
    assert scale.points(np.log(1 / 25)) == pytest.approx(580)
    np.testing.assert_allclose(scale.pd([600, 620]), [1 / 51, 1 / 101])


@pytest.mark.parametrize("scale", [ScoreScale(), ScoreScale(500, 20, 40), ScoreScale(0, 1, 1)])
def test_pd_is_the_inverse_of_points(scale: ScoreScale) -> None:
    p = np.array([1e-6, 0.01, 0.5, 0.9])
    np.testing.assert_allclose(scale.pd(scale.points(np.log(p / (1 - p)))), p)


@pytest.mark.parametrize("bad", [{"odds": 0}, {"odds": -1}, {"pdo": 0}, {"pdo": np.inf}, {"base": np.nan}])
def test_a_scale_that_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="score scale"):
        ScoreScale(**bad)


# Scoring


@ALL
def test_raw_columns_and_model_inputs_score_alike(name: str, candidates: dict[str, Candidate]) -> None:
    raw = applications(200, seed=5)
    scorer = candidates[name].scorer
    inputs = model_inputs(raw, PORTFOLIO)
    assert list(scorer.inputs) == RAW
    pd.testing.assert_frame_equal(scorer.score(raw[RAW]), scorer.score(inputs))
    # Another order of columns, other columns beside them, another order of rows.
    shuffled = raw.sample(frac=1, random_state=1)[["noise", "truth", *reversed([c for c in RAW if c != "noise"])]]
    pd.testing.assert_frame_equal(scorer.score(shuffled).sort_index(), scorer.score(raw))


@ALL
def test_a_table_scores_as_its_frame_does(
    name: str, candidates: dict[str, Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 37)
    scorer, raw = candidates[name].scorer, applications(200, seed=5)
    # With derived features to be computed, and with all of them there.
    for frame in (raw[RAW], model_inputs(raw, PORTFOLIO)):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        expected = scorer.score(frame)
        pd.testing.assert_frame_equal(scorer.score(table, threads=2), expected, check_exact=True)
        np.testing.assert_array_equal(scorer.pd(table), expected["pd"])
        np.testing.assert_array_equal(scorer.margin(table), scorer.margin(frame))
        assert scorer.score(table.slice(0, 0)).shape == (0, 2)
    with pytest.raises(ValueError, match="the frame lacks debt"):
        scorer.score(table.drop(["debt"]))


@ALL
def test_pds_are_probabilities_and_points_are_theirs(name: str, candidates: dict[str, Candidate]) -> None:
    scorer = candidates[name].scorer
    scores = scorer.score(applications(300, seed=6))
    assert list(scores.columns) == ["pd", "score"]
    assert scores.dtypes.tolist() == [np.float64, np.float64]
    assert scores["pd"].between(0, 1, inclusive="neither").all()
    np.testing.assert_allclose(scorer.scale.pd(scores["score"]), scores["pd"])
    assert scores["score"].corr(scores["pd"], method="spearman") == pytest.approx(-1)
    np.testing.assert_array_equal(scorer.pd(applications(300, seed=6)), scores["pd"])


@ALL
def test_an_empty_frame_gives_an_empty_frame(name: str, candidates: dict[str, Candidate]) -> None:
    for empty in (applications(5)[RAW].iloc[:0], pd.DataFrame(columns=RAW)):
        scores = candidates[name].scorer.score(empty)
        assert scores.shape == (0, 2)
        assert list(scores.columns) == ["pd", "score"]
        assert scores.dtypes.tolist() == [np.float64, np.float64]
        assert candidates[name].scorer.pd(empty).shape == (0,)


@ALL
def test_missing_unseen_and_unreadable_values_are_scored_as_missing(
    name: str, candidates: dict[str, Candidate]
) -> None:
    scorer, one = candidates[name].scorer, applications(1, seed=9)[RAW].astype(object)
    missing = scorer.score(one.assign(purpose=None, income=None, inquiries=None))
    assert missing["pd"].between(0, 1, inclusive="neither").all()
    assert scorer.score(one.assign(purpose="yacht", income="n/a", inquiries=np.nan)).equals(missing)
    # As JSON delivers them: whole numbers as int or text.
    number, text = one.assign(inquiries=2), one.assign(inquiries="2")
    assert scorer.score(number).equals(scorer.score(text))


@ALL
def test_missing_columns_are_named(name: str, candidates: dict[str, Candidate]) -> None:
    frame = applications(3)[RAW].drop(columns=["debt", "purpose"])
    with pytest.raises(ValueError, match=r"needs the columns income, debt, .* the frame lacks debt, purpose"):
        candidates[name].scorer.score(frame)


def test_a_derived_feature_that_is_there_is_used_as_it_is(candidates: dict[str, Candidate]) -> None:
    scorer, raw = candidates["xgboost"].scorer, applications(200, seed=5)
    changed = scorer.pd(raw.assign(burden=5.0))
    assert (changed >= scorer.pd(raw)).all()
    assert not np.array_equal(changed, scorer.pd(raw))
    assert "burden" not in raw.columns


@ALL
def test_the_index_of_the_frame_stays(name: str, candidates: dict[str, Candidate]) -> None:
    frame = applications(4)[RAW].set_index(pd.Index(["a", "b", "c", "c"]))
    assert list(candidates[name].scorer.score(frame).index) == ["a", "b", "c", "c"]


# Saving


@ALL
def test_a_saved_scorer_scores_exactly_alike(name: str, candidates: dict[str, Candidate], tmp_path: Path) -> None:
    scorer = candidates[name].scorer
    scorer.save(tmp_path / "a" / "scorer")
    loaded = CreditScorer.load(tmp_path / "a" / "scorer")
    assert loaded == scorer
    raw = applications(300, seed=7)
    pd.testing.assert_frame_equal(loaded.score(raw), scorer.score(raw), check_exact=True)


@ALL
def test_equal_scorers_give_equal_bytes(name: str, candidates: dict[str, Candidate], tmp_path: Path) -> None:
    scorer = candidates[name].scorer
    scorer.save(tmp_path / "first")
    # A model that has scored in between, and one that was trained again.
    scorer.score(applications(50))
    scale = ScoreScale(base=500, odds=20, pdo=40)
    train_candidate(training_set(1500), name, PORTFOLIO, quick_config(name, scale=scale)).scorer.save(
        tmp_path / "second"
    )
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == sorted([SCORER_FILE, VARIANTS[name].filename])
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_the_record_holds_all_that_scoring_needs(saved: Path) -> None:
    record = json.loads((saved / SCORER_FILE).read_text())
    assert record["format"] == 1
    assert record["variant"] == "lightgbm"
    assert record["library"].startswith("lightgbm ")
    assert record["features"] == list(FEATURES)
    assert record["inputs"] == [
        {"name": name, "type": "category" if name in ("purpose", "region") else "number"} for name in RAW
    ]
    assert record["categories"]["purpose"] == ["car", "holiday", "small_business"]
    assert record["derived"] == [
        {
            "name": "burden",
            "function": "debt_to_income",
            "inputs": {"total_debt": "debt", "annual_income": "income"},
        }
    ]
    assert record["monotone"]["income"] == -1
    assert set(record["calibration"]) == {"method", "slope", "intercept"}
    assert record["scale"] == {"base": 500, "odds": 20, "pdo": 40}


def test_the_saved_model_is_the_librarys_own(candidates: dict[str, Candidate], tmp_path: Path) -> None:
    """Any program with the library reads it: nothing of this package is needed but the record."""
    from credit_assets.ml.learners.encoding import encode, matrix

    # What stands in a gap is said by the record, before the library has its turn.
    raw = model_inputs(applications(30, seed=8), PORTFOLIO).dropna().reset_index(drop=True)
    assert len(raw) > 20
    for name in BOOSTERS:
        candidate = candidates[name]
        candidate.scorer.save(tmp_path / name)
        record = json.loads((tmp_path / name / SCORER_FILE).read_text())
        encoded = encode(raw, record["features"], record["categories"])
        file = str(tmp_path / name / record["model_file"])
        if name == "xgboost":
            import xgboost

            types = ["c" if f in record["categories"] else "q" for f in record["features"]]
            data = xgboost.DMatrix(
                matrix(encoded), feature_names=record["features"], feature_types=types, enable_categorical=True
            )
            margin = xgboost.Booster(model_file=file).predict(data, output_margin=True)
        elif name == "lightgbm":
            import lightgbm

            margin = lightgbm.Booster(model_file=file).predict(matrix(encoded), raw_score=True)
        else:
            import catboost

            model = catboost.CatBoost().load_model(file)
            # Its own note of the columns beside those that were missing in training.
            shown = {f"{gap} is missing": 0.0 for gap in json.loads(model.get_metadata()["gaps"])}
            assert list(shown) == ["inquiries is missing"]
            texts = raw[record["features"]].assign(**shown)
            margin = model.predict(texts, prediction_type="RawFormulaVal")
        calibration = calibration_of(record["calibration"])
        np.testing.assert_allclose(calibration.pd(margin), candidate.scorer.pd(raw), rtol=1e-6)


def test_saving_again_replaces_the_whole(candidates: dict[str, Candidate], saved: Path) -> None:
    before = (saved / SCORER_FILE).read_bytes()
    candidates["lightgbm"].scorer.save(saved)
    assert (saved / SCORER_FILE).read_bytes() == before
    assert sorted(path.name for path in saved.iterdir()) == ["model.txt", SCORER_FILE]


def test_a_save_that_was_cut_short_is_refused(saved: Path) -> None:
    (saved / SCORER_FILE).unlink()
    with pytest.raises(ValueError, match="cannot be read as the record of a scorer"):
        CreditScorer.load(saved)


# Loading what is wrong


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: change(f, format=2), "has format 2; this version of credit_assets reads format 1"),
        (lambda f: change(f, format="1"), "has format '1'"),
        (lambda f: (f / SCORER_FILE).write_text("[]"), "has format None"),
        (lambda f: (f / SCORER_FILE).write_text("{"), "cannot be read as the record"),
        (lambda f: change(f, variant="forest"), "unknown variant 'forest'"),
        (lambda f: change(f, model_file="../model.txt"), r"model file of variant lightgbm is model.txt, not '../model"),
        (lambda f: change(f, model_file="model.pkl"), "is model.txt, not 'model.pkl'"),
        (lambda f: change(f, variant="xgboost"), "is model.ubj, not 'model.txt'"),
        (lambda f: change(f, extra=1), r"unknown \['extra'\]"),
        (lambda f: (f / "model.txt").unlink(), "model.txt cannot be read"),
        (lambda f: (f / "model.txt").write_bytes(b"tree\n"), "its SHA-256 differs"),
        (lambda f: change(f, calibration={"method": "isotonic"}), "not the record of a calibration"),
        (lambda f: change(f, scale={"base": 600, "odds": 50}), None),
        (lambda f: change(f, scale={"base": 600, "odds": 50, "pdo": -20}), "score scale"),
        (lambda f: change(f, derived=[{"name": "x", "function": "gone", "inputs": {}}]), "has no function 'gone'"),
        (
            lambda f: change(f, derived=[{"name": "x", "function": "ratio", "inputs": {"a": "b"}}]),
            "no function 'ratio'",
        ),
        (lambda f: change(f, categories=[]), "scorer.json: "),
    ],
)
def test_a_folder_that_is_no_scorer_is_refused(spoil: Callable[[Path], Any], message: str | None, saved: Path) -> None:
    CreditScorer.load(saved)
    spoil(saved)
    if message is None:
        # A default fills what an older record of the same format lacks.
        assert CreditScorer.load(saved).scale == ScoreScale()
        return
    with pytest.raises(ValueError, match=message):
        CreditScorer.load(saved)


def test_nothing_is_unpickled(saved: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was opened",))

    for name in ("model.pkl", "python_model.pkl"):
        (saved / name).write_bytes(pickle.dumps(Trap()))
    assert len(CreditScorer.load(saved).score(applications(3))) == 3
    (saved / "model.txt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="SHA-256 differs"):
        CreditScorer.load(saved)


def test_scoring_imports_one_learner_only(saved: Path) -> None:
    code = (
        "import sys; from credit_assets.ml.learners.scorer import CreditScorer; "
        f"s = CreditScorer.load({str(saved)!r}); import pandas as pd; "
        "s.score(pd.DataFrame([dict.fromkeys(s.inputs)])); "
        "assert not {'xgboost', 'catboost', 'mlflow', 'dagster', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The cut-off


def test_a_model_declines_above_its_cut_off_and_not_on_it(candidates: dict[str, Candidate]) -> None:
    scorer = replace(candidates["lightgbm"].scorer, cut_off=0.25)
    declined = scorer.declined([0.2, 0.25, 0.250001, np.nan])
    assert declined is not None
    assert declined.tolist() == [False, False, True, False]
    assert candidates["lightgbm"].scorer.declined([0.9]) is None


def test_a_model_of_before_has_no_cut_off_and_a_broken_one_is_refused(saved: Path) -> None:
    assert "cut_off" not in json.loads((saved / SCORER_FILE).read_text())
    assert CreditScorer.load(saved).cut_off is None
    change(saved, cut_off=0.3)
    assert CreditScorer.load(saved).cut_off == 0.3
    for wrong in (0.0, 1.5, "0.3", True):
        change(saved, cut_off=wrong)
        with pytest.raises(ValueError, match="no probability"):
            CreditScorer.load(saved)
