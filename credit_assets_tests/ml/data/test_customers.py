"""Customers: groups, and the splits that keep them apart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.data.cohorts import Cohort
from credit_assets.ml.data.customers import groups_of, known_before
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import features_schema, scores_schema, training_schema
from credit_assets_tests.support.tiny import TINY, WINDOW, features, outcomes

_CONTENT = TINY.model_dump(exclude_defaults=True, mode="json")


def with_customer(**keys: Any) -> Portfolio:
    column = {"name": "client", "type": "string", "role": "customer", **keys}
    return Portfolio.model_validate({**_CONTENT, "columns": [*_CONTENT["columns"], column]})


def test_groups_are_of_equal_customers_however_they_are_written() -> None:
    portfolio = with_customer()
    given = ["A1", None, "A1 ", "17.0", "17", None, "a1"]
    found = groups_of(pa.table({"client": given}), portfolio)
    assert found is not None
    assert (found[0] == found[2], found[3] == found[4], found[0] == found[6]) == (True, True, False)
    assert len(set(found.tolist())) == 5
    np.testing.assert_array_equal(groups_of(pd.DataFrame({"client": given}), portfolio), found)


def test_whole_numbers_with_gaps_keep_their_digits() -> None:
    portfolio, large = with_customer(type="integer"), 9_007_199_254_740_993
    found = groups_of(pa.table({"client": pa.array([large, large - 1, None, large])}), portfolio)
    assert found is not None
    assert (found[0] == found[3], found[0] == found[1], found[2] < 0) == (True, False, True)
    framed = groups_of(pd.DataFrame({"client": [7.0, np.nan, 7.0]}), portfolio)
    assert framed is not None
    assert (framed[0] == framed[2], framed[1] < 0) == (True, True)


def test_words_for_nobody_are_nobody() -> None:
    found = groups_of(pa.table({"client": ["n/a", "N/A", "", " ", "-", "NULL", "0"]}), with_customer())
    assert found is not None
    assert len(set(found.tolist())) == 7


def test_no_customer_column_is_no_group_and_a_missing_one_is_said() -> None:
    assert groups_of(pa.table({"id": ["a"]}), TINY) is None
    with pytest.raises(ValueError, match=r"lack the customer column 'client'.*make these days again"):
        groups_of(pa.table({"id": ["a"]}), with_customer())
    for empty in (pa.table({"client": pa.array([], pa.string())}), pd.DataFrame({"client": []})):
        assert groups_of(empty, with_customer()) is not None
    nobody = groups_of(pa.table({"client": pa.nulls(3)}), with_customer())
    assert nobody is not None
    assert len(set(nobody.tolist())) == 3


def test_each_customer_stays_in_the_first_split_that_has_them() -> None:
    rng = np.random.default_rng(3)
    groups = rng.integers(-200, 60, 400)
    groups[groups < 0] = -1 - np.flatnonzero(groups < 0)
    lengths = (220, 80, 100)
    stays, found = known_before(groups, lengths)
    split = np.repeat(np.arange(3), lengths)
    for one in np.unique(groups):
        rows = groups == one
        assert set(split[rows & stays]) == {split[rows].min()}
        assert (stays[rows] == (split[rows] == split[rows].min())).all()
    assert found.test == int((~stays & (split == 2)).sum())
    assert found.validation == int((~stays & (split == 1)).sum())
    assert (found.rows, found.unnamed) == (400, int((groups < 0).sum()))
    assert (found.customers, found.most) == (
        len(np.unique(groups[groups >= 0])),
        np.bincount(groups[groups >= 0]).max(),
    )


def test_a_training_set_keeps_no_customer_in_two_splits() -> None:
    portfolio = with_customer()
    rows = features(*((f"a{n}", WINDOW.first + timedelta(n // 3)) for n in range(60)))
    clients = [f"C{n % 30}" if n % 3 else None for n in range(len(rows))]
    table = feature_table(rows.assign(client=clients), portfolio)
    assert table.schema.equals(features_schema(portfolio))
    cohort = Cohort(table, outcomes(), WINDOW, portfolio)
    made = cohort.training_set(0.25, 0.25)
    assert made.schema.equals(training_schema(portfolio))
    frame = made.to_pandas()
    splits = frame[frame["client"].notna()].groupby("client")["split"].nunique()
    assert (splits == 1).all()
    assert cohort.left_out is not None
    assert cohort.left_out.test > 0
    whole = Cohort(rows, outcomes(), WINDOW, TINY)
    plain = whole.training_set(0.25, 0.25)
    assert whole.left_out is None
    assert plain.num_rows - made.num_rows == cohort.left_out.test + cohort.left_out.validation
    # Train has lost nobody, and days are cut where they were.
    counts = [frame["split"].eq("train").sum(), plain.to_pandas()["split"].eq("train").sum()]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"type": "float"}, "column 'client' with role 'customer' must have type string or integer"),
        ({"type": "date"}, "column 'client' with role 'customer' must have type string or integer"),
        ({"monotone": 1, "type": "integer"}, "only a feature has a monotone direction"),
        ({"on_request": "warn"}, "on_request is for features"),
    ],
)
def test_what_a_customer_column_cannot_be(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        with_customer(**keys)


def test_one_column_at_most_is_the_customer_and_no_pattern_is() -> None:
    content = with_customer().model_dump(exclude_defaults=True, mode="json")
    again = {"name": "household", "type": "string", "role": "customer"}
    with pytest.raises(ValueError, match="exactly one column must have role 'customer'; found 2"):
        Portfolio.model_validate({**content, "columns": [*content["columns"], again]})
    pattern = {"names": "party_*", "type": "string", "role": "customer"}
    with pytest.raises(ValueError, match="role customer is of one column"):
        Portfolio.model_validate({**content, "columns_matching": [pattern]})


def test_a_customer_is_no_feature_and_another_contract() -> None:
    portfolio = with_customer()
    assert portfolio.customer_column == "client"
    assert portfolio.feature_names == TINY.feature_names
    assert portfolio.contract != TINY.contract
    assert TINY.customer_column is None
    assert "client" in scores_schema(portfolio).names
    history = {"name": "months", "table": "m", "key": "client", "date": "d", "columns": []}
    content = portfolio.model_dump(exclude_defaults=True, mode="json")
    assert Portfolio.model_validate({**content, "histories": [history]}).histories[0].key_of_applications == "client"
