"""By which columns the reliability of a model is cut."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.reports.reliability import FEW, MISSING, VINTAGE, reliability_record
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set


def test_a_model_is_cut_by_month_category_and_numbers_of_few_values() -> None:
    frame = training_set(2_000)
    scorer = train_candidate(frame, "lightgbm", PORTFOLIO, quick_config("lightgbm")).scorer
    test = frame[frame["split"] == "test"]
    found = reliability_record(pa.Table.from_pandas(test, preserve_index=False), scorer, PORTFOLIO)
    assert {"decile", "score", VINTAGE, "purpose", "region"} <= set(found["tables"])
    # Incomes are all different, and counts of inquiries are not.
    assert not {"income", "noise", "burden"} & set(found["tables"])
    assert test["inquiries"].nunique() <= FEW
    assert MISSING in [one["part"] for one in found["tables"]["inquiries"]]
    assert MISSING in [one["part"] for one in found["tables"]["purpose"]]
    months = test["applied_on"].to_numpy().astype("datetime64[M]")
    assert [one["part"] for one in found["tables"][VINTAGE]] == [str(month) for month in np.unique(months)]
    assert found["rows"] == len(test)
    json.dumps(found, allow_nan=False)
