"""Histories in the portfolio file: what is read, and what is refused with one clear line."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from pydantic import ValidationError

from credit_assets.ml.data.histories import HistoryFeature, conditions
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import features_schema, history_schema

GOOD: dict[str, Any] = {
    "name": "small",
    "columns": [
        {"name": "id", "type": "string", "role": "id", "nullable": False},
        {"name": "day", "type": "date", "role": "date", "nullable": False},
        {"name": "customer_id", "type": "integer", "role": "ignored"},
        {"name": "income", "type": "float"},
        {"name": "kind", "type": "category"},
    ],
    "histories": [
        {
            "name": "months",
            "table": "account_months",
            "key": "customer_id",
            "date": "month_end",
            "known": "loaded_at",
            "columns": [
                {"name": "dpd", "type": "integer"},
                {"name": "paid", "type": "float"},
                {"name": "closed", "type": "boolean"},
                {"name": "status", "type": "category"},
            ],
        }
    ],
    "derived": [
        {"name": "late", "history": "months", "aggregate": "count", "where": {"dpd": ">= 30"}, "window_days": 365},
        {"name": "burden", "function": "ratio", "inputs": {"numerator": "late", "denominator": "income"}},
        {"name": "bureau_score", "history": "months", "aggregate": "last", "column": "paid", "monotone": -1},
    ],
}  # fmt: skip


def with_feature(**feature: Any) -> Portfolio:
    content = copy.deepcopy(GOOD)
    content["derived"] = [{"name": "f", "history": "months", **feature}]
    return Portfolio.model_validate(content)


def with_history(**changes: Any) -> Portfolio:
    content = copy.deepcopy(GOOD)
    content["histories"][0].update(changes)
    return Portfolio.model_validate(content)


def test_history_features_stand_among_the_derived_in_file_order() -> None:
    portfolio = Portfolio.model_validate(GOOD)
    assert portfolio.feature_names == ("income", "kind", "late", "burden", "bureau_score")
    assert [one.name for one in portfolio.history_features] == ["late", "bureau_score"]
    assert [one.name for one in portfolio.function_features] == ["burden"]
    assert [one.name for one in portfolio.model_inputs] == ["income", "kind", "late", "bureau_score"]
    assert portfolio.monotone == {"income": 0, "late": 0, "burden": 0, "bureau_score": -1}
    assert features_schema(portfolio).names == ["id", "day", *portfolio.feature_names]
    assert [str(kind) for kind in features_schema(portfolio).types[2:]] == ["double", "string", *["double"] * 3]
    assert history_schema(portfolio).names == ["id", "day", "late", "bureau_score", "months.rows"]
    assert portfolio.parts == {"histories"}


def test_a_name_that_the_pipeline_adds_is_refused_for_these_features_too() -> None:
    with pytest.raises(ValidationError, match="'score' has the name of a column that the pipeline adds"):
        with_feature(aggregate="count", name="score")


@pytest.mark.parametrize(("where", "expected"), [
    ({"dpd": ">= 30"}, [("dpd", ">=", (30.0,))]),
    ({"dpd": ">=30 and < 90"}, [("dpd", ">=", (30.0,)), ("dpd", "<", (90.0,))]),
    ({"dpd": 30}, [("dpd", "==", (30.0,))]),
    ({"dpd": "30"}, [("dpd", "==", (30.0,))]),
    ({"dpd": "!= -1"}, [("dpd", "!=", (-1.0,))]),
    ({"dpd": [30, "60"]}, [("dpd", "in", (30.0, 60.0))]),
    ({"paid": "> 1.5e3"}, [("paid", ">", (1500.0,))]),
    ({"paid": "<= .5"}, [("paid", "<=", (0.5,))]),
    ({"closed": True}, [("closed", "==", (1.0,))]),
    ({"closed": "!= true"}, [("closed", "!=", (1.0,))]),
    ({"status": "open"}, [("status", "==", ("open",))]),
    ({"status": "== >90"}, [("status", "==", (">90",))]),
    ({"status": "!= in court"}, [("status", "!=", ("in court",))]),
    ({"status": ["open", 90]}, [("status", "in", ("open", "90"))]),
    ({"status": "paid and closed", "dpd": 0}, [("status", "==", ("paid and closed",)), ("dpd", "==", (0.0,))]),
])  # fmt: skip
def test_conditions(where: dict[str, Any], expected: list[Any]) -> None:
    portfolio = with_feature(aggregate="count", where=where)
    (feature,) = portfolio.history_features
    found = conditions(feature, portfolio.histories[0])
    assert [(one.column, one.operator, one.values) for one in found] == expected


@pytest.mark.parametrize(("where", "says"), [
    ({"dpb": 1}, "where 'dpb': no such column; history 'months' has dpd, paid, closed, status"),
    ({"dpd": ">= thirty"}, "where 'dpd': 'thirty' is no number"),
    ({"dpd": ">="}, "'' is no number"),
    ({"dpd": "=> 30"}, "a single = is no operator"),
    ({"dpd": "= 30"}, "a single = is no operator"),
    ({"dpd": ">= 1_000"}, "'1_000' is no number"),
    ({"dpd": "> nan"}, "'nan' is no number"),
    ({"paid": float("inf")}, "inf is no number"),
    ({"paid": "> 1e15"}, "1000000000000000.0 is no number"),
    ({"dpd": "> 2.5"}, "2.5 is no whole number"),
    ({"dpd": True}, "True is no number"),
    ({"dpd": ">= 30 or < 5"}, "'30 or < 5' is no number"),
    ({"dpd": []}, "an empty list"),
    ({"dpd": [[30]]}, r"\[30\] is no number"),
    ({"dpd": ["> 30"]}, "'> 30' is no number"),
    ({"dpd": {"a": 1}}, "{'a': 1} is no number"),
    ({"closed": "maybe"}, "'maybe' is neither true nor false"),
    ({"status": ">= 30"}, ">= compares numbers, and the column is category"),
    ({"status": True}, "True is no text: put it in quotes"),
    ({"status": 1.5}, "1.5 is no text"),
    ({"status": ""}, "an empty text"),
    ({"status": None}, "None is no text"),
])  # fmt: skip
def test_conditions_that_cannot_be_read(where: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says if says.startswith("\\") else re.escape(says)) as raised:
        with_feature(aggregate="count", where=where)
    (problem,) = raised.value.errors()
    assert "derived feature 'f'" in problem["msg"]


@pytest.mark.parametrize(("feature", "says"), [
    ({"aggregate": "median", "column": "paid"}, "Input should be 'count', 'sum'"),
    ({"aggregate": "sum"}, "aggregate sum needs a `column`"),
    ({"aggregate": "change", "window_days": 30}, "aggregate change needs a `column`"),
    ({"aggregate": "change", "column": "paid"}, "aggregate change needs `window_days`"),
    ({"aggregate": "count", "column": "paid"}, "takes no `column`"),
    ({"aggregate": "share"}, "aggregate share needs `where`"),
    ({"aggregate": "mean", "column": "paid", "max_age_days": 3}, "takes no `max_age_days`"),
    ({"aggregate": "last", "column": "paid", "max_age_days": 3, "window_days": 3}, "not both"),
    ({"aggregate": "mean", "column": "status"}, "numeric column of history 'months'; numeric are dpd, paid"),
    ({"aggregate": "mean", "column": "pade"}, "'pade' is no numeric column"),
    ({"aggregate": "count", "history": "weeks"}, "no history 'weeks'; known: months"),
    ({"aggregate": "count", "window_days": 0}, "greater than or equal to 1"),
    ({"aggregate": "count", "default": float("nan")}, "finite number"),
    ({"aggregate": "count", "function": "ratio"}, "Extra inputs are not permitted"),
    ({"aggregate": "count", "name": "income"}, "has the name of another column"),
    ({"aggregate": "count", "name": "months.rows"}, "the pipeline adds a column 'months.rows'"),
])  # fmt: skip
def test_features_that_make_no_sense(feature: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        with_feature(**feature)


@pytest.mark.parametrize(("changes", "says"), [
    ({"key": "client"}, "compared with the column 'client' of the applications"),
    ({"key": "income"}, "compared with the column 'income'"),
    ({"application_key": "kind"}, "compared with the column 'kind'"),
    ({"known": "month_end"}, "month_end is named more than once"),
    ({"columns": 2 * [{"name": "dpd", "type": "integer"}]}, "dpd is named more than once"),
    ({"columns": [{"name": "dpd", "type": "date"}]}, "Input should be 'integer'"),
    ({"since": "x"}, "Extra inputs are not permitted"),
])  # fmt: skip
def test_histories_that_make_no_sense(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        with_history(**changes)


def test_two_histories_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="histories named twice: months"):
        Portfolio.model_validate({**GOOD, "histories": [*GOOD["histories"], *GOOD["histories"]]})


def test_the_key_may_have_another_name_among_the_applications() -> None:
    content = copy.deepcopy(GOOD)
    content["derived"] = content["derived"][:1]
    content["histories"][0] |= {"key": "holder", "application_key": "customer_id"}
    assert Portfolio.model_validate(content).histories[0].key_of_applications == "customer_id"


def test_a_feature_without_conditions_meets_all() -> None:
    feature = HistoryFeature(name="n", history="months", aggregate="count")
    portfolio = with_feature(aggregate="count")
    assert conditions(feature, portfolio.histories[0]) == ()


def test_a_description_is_no_part_of_the_contract_and_a_window_is() -> None:
    described, other = copy.deepcopy(GOOD), copy.deepcopy(GOOD)
    described["histories"][0]["description"] = described["derived"][0]["description"] = "for people"
    described["histories"][0]["columns"][0]["description"] = "for people"
    other["derived"][0]["window_days"] = 180
    contracts = [Portfolio.model_validate(content).contract for content in (GOOD, described, other)]
    assert contracts[0] == contracts[1] != contracts[2]


def test_a_name_alone_is_a_column_of_numbers() -> None:
    (history,) = with_history(columns=["dpd", "paid", {"name": "status", "type": "category"}]).histories
    assert [(column.name, column.type) for column in history.columns] == [
        ("dpd", "float"),
        ("paid", "float"),
        ("status", "category"),
    ]
