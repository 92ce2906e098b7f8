"""The plain scorecard: against scikit-learn, against the truth, and on columns of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.evidence import scorecard
from credit_assets.ml.evidence.evaluation import auc
from credit_assets.ml.evidence.scorecard import fit_scorecard
from credit_assets_tests.support.modelling import FEATURES, PORTFOLIO, training_set

CATEGORICAL = PORTFOLIO.categorical_features


def parts(rows: int = 4_000, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    data = training_set(rows, seed)
    return data[data["split"] == "train"], data[data["split"] == "test"]


def fitted(train: Any, target: Any) -> scorecard.Scorecard:
    return fit_scorecard(train, np.asarray(target, dtype=np.float64), FEATURES, CATEGORICAL)


def test_it_ranks_as_a_logistic_regression_on_bins_does() -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder

    train, test = parts()
    numeric = [name for name in FEATURES if name not in CATEGORICAL]
    bins = KBinsDiscretizer(10, encode="onehot-dense", quantile_method="averaged_inverted_cdf")
    columns = ColumnTransformer(
        [("n", bins, numeric), ("c", OneHotEncoder(handle_unknown="ignore"), list(CATEGORICAL))]
    )

    def filled(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{name: rows[name].fillna(-1) for name in numeric}).fillna("?")

    theirs = make_pipeline(columns, LogisticRegression(max_iter=1_000)).fit(filled(train), train["default"])
    reference = auc(test["default"], theirs.predict_proba(filled(test))[:, 1])
    assert auc(test["default"], fitted(train, train["default"]).pd(test)) == pytest.approx(reference, abs=0.015)


def test_its_pds_are_of_the_size_of_the_bad_rate() -> None:
    train, test = parts()
    pds = fitted(train, train["default"]).pd(test)
    assert pds.mean() == pytest.approx(train["default"].mean(), rel=0.1)
    assert ((pds > 0) & (pds < 1)).all()


def test_the_same_rows_give_the_same_whatever_holds_them() -> None:
    train, test = parts(1_500)
    of_frame = fitted(train, train["default"]).pd(test)
    table, tested = (pa.Table.from_pandas(each, preserve_index=False) for each in (train, test))
    np.testing.assert_array_equal(fitted(table, train["default"]).pd(tested), of_frame)


def test_columns_of_every_kind() -> None:
    """Constant, all missing, infinite, of one level, and levels that the train rows had not."""
    rng = np.random.default_rng(3)
    y = (rng.random(600) < 0.2).astype(float)
    rows = pd.DataFrame(
        {
            "signal": y + rng.normal(size=600),
            "constant": 1.0,
            "missing": np.nan,
            "infinite": np.where(rng.random(600) < 0.5, np.inf, 1.0),
            "one": "a",
            "none": pd.Series([None] * 600, dtype=object),
        }
    )
    found = fit_scorecard(rows, y, list(rows), ["one", "none"])
    assert auc(y, found.pd(rows)) > 0.7
    strange = rows.assign(one="b", constant=np.nan, signal=np.nan)
    assert np.isfinite(found.pd(strange)).all()


def test_rows_and_features_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorecard, "MOST_ROWS", 500)
    monkeypatch.setattr(scorecard, "MOST_FEATURES", 2)
    train, test = parts()
    found = fitted(train, train["default"])
    assert len(found.coefficients) == 3
    assert auc(test["default"], found.pd(test)) > 0.6


def test_one_outcome_is_refused() -> None:
    train, _ = parts(300)
    with pytest.raises(ValueError, match="both goods and bads"):
        fitted(train, np.zeros(len(train)))
