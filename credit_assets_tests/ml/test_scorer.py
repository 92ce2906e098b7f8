"""The door by which MLflow loads registered models, those of former versions of this package included."""

from __future__ import annotations

import json
import traceback
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.data import rows as rows_module
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.request_rules import CheckedRequest, RequestError, RequestRules
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.ml.scorer import WARNINGS, ScoringError, ScoringModel
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set

BEFORE = Path(__file__).parents[1] / "data" / "scorers"
"""Scorers as the code saved them when it had another layout, with rows and what they scored: trained on
`training_set(1500)` with `quick_config(variant, max_rounds=6)`."""
ALL = pytest.mark.parametrize("name", list(VARIANTS))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return dict(json.loads((BEFORE / "expected.json").read_text()))


@pytest.fixture(scope="module")
def rows(expected: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(expected["rows"])


@ALL
def test_a_version_that_was_registered_before_scores_as_it_did(
    name: str, rows: pd.DataFrame, expected: dict[str, Any], tmp_path: Path
) -> None:
    import mlflow.pyfunc

    # Its record in MLflow names the loader by module, and that is all it says of our code.
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        loader_module="credit_assets.ml.scorer",
        data_path=str(BEFORE / name),
        pip_requirements=["pandas"],
    )
    assert not list((tmp_path / "model").rglob("*.pkl"))
    scores = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(rows)
    for column in ("pd", "score"):
        np.testing.assert_allclose(scores[column], expected["scores"][name][column], rtol=1e-9)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_the_same_training_gives_the_model_that_the_code_of_before_gave(name: str, rows: pd.DataFrame) -> None:
    before = CreditScorer.load(BEFORE / name)
    if before.library != VARIANTS[name].library():
        pytest.skip(f"trained with {before.library}, and {VARIANTS[name].library()} is installed")
    scorer = train_candidate(training_set(1500), name, PORTFOLIO, quick_config(name, max_rounds=6)).scorer
    # The trees are the same; what a gap counts as, and so the calibration, is not left to the library any more.
    whole = rows.dropna()
    assert len(whole) > len(rows) / 2
    np.testing.assert_allclose(scorer.margin(whole), before.margin(whole), rtol=1e-6)
    assert scorer.categories == before.categories
    assert before.missing == {}
    assert {"income", "inquiries", "purpose"} <= set(scorer.missing)


def test_the_hook_gives_pd_and_points_of_any_rows(rows: pd.DataFrame) -> None:
    scorer = CreditScorer.load(BEFORE / "lightgbm")
    model, scores = ScoringModel(scorer), scorer.score(rows)
    assert model.predict(rows).equals(scores)
    assert model.predict(rows, params={}).equals(scores)
    assert model.predict(rows.to_dict("records")).equals(scores)
    # Without rules of its own: as before, but what cannot be read is refused and not taken for missing.
    assert list(model.predict(rows.assign(purpose="yacht", income=-1.0)).columns) == ["pd", "score"]
    assert model.predict(rows.assign(income=np.inf)).equals(scorer.score(rows.assign(income=np.nan)))
    with pytest.raises(RequestError, match="income: not a finite number"):
        model.predict(rows.assign(income="twelve"))
    with pytest.raises(RequestError, match="debt: not among the columns given"):
        model.predict(rows.drop(columns="debt"))


# A model with the portfolio's rules


FLAGGED = PORTFOLIO.model_copy(
    update={
        "columns": tuple(
            column.model_copy(update={"type": "boolean"} if column.name == "inquiries" else {})
            for column in PORTFOLIO.columns
        )
    }
)


@pytest.fixture(scope="module")
def ruled() -> ScoringModel:
    return ScoringModel(CreditScorer.load(BEFORE / "lightgbm"), RequestRules.of(PORTFOLIO))


@pytest.fixture(scope="module")
def whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with whole numbers that a float holds as well, and with levels that the model has seen."""
    unseen = ~rows["purpose"].isin(["car", "holiday", "small_business"]) & rows["purpose"].notna()
    purpose = rows["purpose"].mask(unseen, "car")
    return rows.assign(income=rows["income"].round(), debt=rows["debt"].round(), noise=1.0, purpose=purpose)


FORMS: dict[str, Any] = {
    "as the pipeline writes it": lambda f: f,
    "whole numbers": lambda f: f.assign(income=f["income"].astype("int64"), debt=f["debt"].astype("int32")),
    "unsigned": lambda f: f.assign(income=f["income"].astype("uint32"), noise=f["noise"].astype("uint8")),
    "float32": lambda f: f.assign(inquiries=f["inquiries"].astype("float32")),
    "true for one": lambda f: f.assign(noise=True),
    "nullable": lambda f: f.convert_dtypes(),
    "nullable Int64 with a gap": lambda f: f.assign(inquiries=f["inquiries"].astype("Int64")),
    "backed by Arrow": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "Arrow strings": lambda f: f.assign(purpose=f["purpose"].astype("string[pyarrow]")),
    "categoricals": lambda f: f.assign(purpose=f["purpose"].astype("category"), region=f["region"].astype("category")),
    "categories that no row has": lambda f: f.assign(
        region=pd.Categorical(f["region"], [*f["region"].dropna().unique(), "mars"])
    ),
    "objects with None": lambda f: f.astype(object).where(f.notna(), None),
    "objects with NA": lambda f: f.astype(object).where(f.notna(), pd.NA),
    "objects with NaT": lambda f: f.astype(object).where(f.notna(), pd.NaT),
    "numpy scalars": lambda f: f.assign(income=[np.int64(v) for v in f["income"]]).astype(object),
    "decimals": lambda f: f.assign(income=[Decimal(int(v)) for v in f["income"]]),
    "numbers as text": lambda f: f.assign(
        income=[f" {v} " for v in f["income"]], inquiries=[None if v != v else f"{v:.0f}" for v in f["inquiries"]]
    ),
    "empty text for missing": lambda f: f.assign(
        inquiries=["" if v != v else v for v in f["inquiries"]], purpose=f["purpose"].fillna("")
    ),
    "sparse": lambda f: f.assign(noise=pd.arrays.SparseArray(f["noise"])),
    "another order": lambda f: f[f.columns[::-1]],
    "more columns": lambda f: f.assign(loan_id="L1", applied_on=pd.Timestamp("2020-01-01"), **{"": 1}),
    "derived ones, which are computed": lambda f: f.assign(burden=99.0),
    "a table": lambda f: pa.Table.from_pandas(f),
    "records": lambda f: f.to_dict("records"),
    "columns": lambda f: {name: list(f[name]) for name in f},
}


@pytest.mark.parametrize("form", list(FORMS))
def test_a_frame_in_any_form_scores_as_its_floats_do(form: str, ruled: ScoringModel, whole: pd.DataFrame) -> None:
    expected = ruled.scorer.score(whole)
    answer = ruled.predict(FORMS[form](whole))
    pd.testing.assert_frame_equal(answer[["pd", "score"]], expected, check_exact=True)
    assert answer[WARNINGS].isna().all()
    assert list(answer.columns) == ["pd", "score", WARNINGS]


@pytest.mark.parametrize("values", [[True, False], ["yes", "No"], [1, 0.0], ["1", "f"], np.array([True, False])])
def test_truth_values_are_read_as_the_contract_means_them(values: Any, ruled: ScoringModel, rows: pd.DataFrame) -> None:
    flagged = ScoringModel(ruled.scorer, RequestRules.of(FLAGGED))
    expected = ruled.scorer.score(rows.head(2).assign(inquiries=[1.0, 0.0]))
    pd.testing.assert_frame_equal(flagged.predict(rows.head(2).assign(inquiries=values))[["pd", "score"]], expected)


def test_one_record_is_one_row(ruled: ScoringModel, rows: pd.DataFrame) -> None:
    (record,) = rows.tail(1).to_dict("records")
    assert ruled.predict(record)["pd"].tolist() == ruled.scorer.score(rows.tail(1))["pd"].tolist()


def test_a_column_that_may_be_missing_may_be_left_out(ruled: ScoringModel, whole: pd.DataFrame) -> None:
    answer = ruled.predict(whole.drop(columns="noise"))
    assert answer["pd"].tolist() == ruled.scorer.score(whole.assign(noise=np.nan))["pd"].tolist()
    assert set(answer[WARNINGS]) == {"noise: not among the columns given"}


def test_no_rows_give_an_empty_answer(ruled: ScoringModel, rows: pd.DataFrame) -> None:
    for nothing in (rows.head(0), pd.DataFrame(), [], pa.Table.from_pandas(rows.head(0))):
        answer = ruled.predict(nothing)
        assert answer.shape == (0, 3)
        assert answer.dtypes.tolist() == [np.float64, np.float64, np.dtype(object)]


def test_batches_make_no_difference_and_the_index_stays(
    ruled: ScoringModel, whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = whole.assign(purpose=["yacht", *whole["purpose"][1:]])
    rows = rows.set_index(pd.Index([f"A{number // 2}" for number in range(12)]))
    at_once = ruled.predict(rows)
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 5)
    pd.testing.assert_frame_equal(ruled.predict(rows), at_once, check_exact=True)
    assert at_once.index.tolist() == rows.index.tolist()
    assert at_once[WARNINGS].tolist() == ["purpose: a level that the model has not seen"] + [None] * 11
    with pytest.raises(RequestError, match=r"2 of 12 rows are refused: income: .* \(2 rows: 4, 12\)"):
        ruled.predict(rows.assign(income=[1, 2, 3, "x", 5, 6, 7, 8, 9, 10, 11, "y"]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame({"CANARY": [1]}), "none of the model's columns is among those given; it reads income, debt"),
        (pd.DataFrame(columns=["CANARY"]), "none of the model's columns"),
        (np.array([[4711.25, 2]]), "none of the model's columns"),
        ("CANARY", "a str that no table can be made from"),
        (pd.DataFrame([[1, 4711.25]], columns=["income", "income"]), "given more than once: income"),
        (pa.table({"income": [["CANARY"]]}), "income: not a finite number"),
    ],
)
def test_what_cannot_be_read_is_refused_without_a_value(data: Any, message: str, ruled: ScoringModel) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        ruled.predict(data)
    shown = "".join(traceback.format_exception(caught.value))
    assert "CANARY" not in shown
    assert "4711.25" not in shown


def test_a_fault_of_the_program_shows_its_place_and_no_value(
    ruled: ScoringModel, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("CANARY")

    monkeypatch.setattr(CheckedRequest, "read", fail)
    with pytest.raises(ScoringError, match=r"could not be scored: KeyError in test_scorer.py, line \d+") as caught:
        ruled.predict(rows)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


# Values that are missing


def with_policies(**policies: str) -> Portfolio:
    columns = (c.model_copy(update={"missing": policies.get(c.name)}) for c in PORTFOLIO.columns)
    derived = (d.model_copy(update={"missing": policies.get(d.name)}) for d in PORTFOLIO.derived)
    return PORTFOLIO.model_copy(update={"columns": tuple(columns), "derived": tuple(derived)})


def served(rows: pd.DataFrame, **policies: str) -> ScoringModel:
    portfolio, frame = with_policies(**policies), training_set(1500)
    frame = frame[[all(pd.notna(row[name]) for name in policies) for row in frame.to_dict("records")]]
    scorer = train_candidate(frame, "lightgbm", portfolio, quick_config("lightgbm", max_rounds=6)).scorer
    return ScoringModel(scorer, RequestRules.of(portfolio))


def test_a_request_without_a_value_that_is_needed_is_refused_by_column_and_row(whole: pd.DataFrame) -> None:
    model = served(whole, income="reject", purpose="reject", burden="reject")
    sound = whole.head(4).assign(income=50_000.0, debt=1_000.0, purpose="car", inquiries=1.0, region="north")
    assert model.predict(sound)["pd"].notna().all()
    asked = sound.assign(income=[1.0, None, 1.0, None], purpose=["car", None, "car", "car"])
    with pytest.raises(RequestError) as refused:
        model.predict(asked)
    # What a derived feature lacks with its input is told by the input.
    assert str(refused.value) == "2 of 4 rows are refused: income: missing (2 rows: 2, 4); purpose: missing (row 2)"
    assert refused.value.problems() == [
        {"column": "income", "rule": "missing", "rows": 2, "first": [2, 4]},
        {"column": "purpose", "rule": "missing", "rows": 1, "first": [2]},
    ]
    # Debt may be missing, and what derives from it may not.
    with pytest.raises(RequestError, match=r"^1 of 4 rows are refused: burden: missing \(row 3\)$"):
        model.predict(sound.assign(debt=[1.0, 2.0, None, 4.0]))
    with pytest.raises(RequestError, match=r"^the row is refused: income: missing \(row 1\)$"):
        model.predict(sound.head(1).drop(columns="income"))
    # A new level is no missing value: it is scored, with a warning, unless on_request says otherwise.
    answer = model.predict(sound.assign(purpose="yacht"))
    assert answer["pd"].notna().all()
    assert set(answer[WARNINGS]) == {"purpose: a level that the model has not seen"}


def test_a_row_refused_by_the_contract_and_for_a_gap_counts_once(
    whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 2)
    model = served(whole, income="reject")
    sound = whole.head(5).assign(income=50_000.0, debt=1_000.0, purpose="car", inquiries=1.0, region="north")
    asked = sound.astype(object).assign(income=[1.0, None, 1.0, 1.0, None], debt=[1.0, "much", 1.0, "much", 1.0])
    with pytest.raises(RequestError) as refused:
        model.predict(asked)
    assert str(refused.value).startswith("3 of 5 rows are refused: income: missing (2 rows: 2, 5); debt: not a ")


def test_a_score_tells_which_gap_was_filled(whole: pd.DataFrame) -> None:
    model = served(whole)
    sound = whole.head(2).assign(income=50_000.0, debt=1_000.0, purpose="car", inquiries=1.0, region="north")
    answer = model.predict(sound.assign(income=[None, 40_000.0]))
    assert answer[WARNINGS].tolist() == ["income: missing, and counts as the worst case", None]
    assert answer["pd"].iloc[0] > model.predict(sound)["pd"].iloc[0]
    neutral = served(whole, purpose="allowed")
    (said,) = neutral.predict(sound.head(1).assign(purpose=None))[WARNINGS]
    assert said == "purpose: missing, and counts as a neutral value"
