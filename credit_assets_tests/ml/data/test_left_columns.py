"""Columns that a model reads and that have left the portfolio."""

from __future__ import annotations

from typing import Any

import pytest

from credit_assets.ml.data.left_columns import left_columns, way_out
from credit_assets.ml.data.portfolio import Portfolio

BASE: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "role": "id", "nullable": False},
    {"name": "day", "type": "date", "role": "date", "nullable": False},
    {"name": "income", "type": "float"},
    {"name": "debt", "type": "float"},
    {"name": "kind", "type": "category"},
]


def portfolio(**changes: dict[str, Any] | None) -> Portfolio:
    """The columns with these changes, without those that are None, with those that are new."""
    kept = [one | (changes.get(one["name"]) or {}) for one in BASE if changes.get(one["name"], {}) is not None]
    new = [
        {"name": name, **given} for name, given in changes.items() if given and name not in {b["name"] for b in BASE}
    ]
    return Portfolio.model_validate({"name": "small", "columns": [*kept, *new]})


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, {}),
        ({"debt": {"role": "ignored"}}, {"debt": "ignored"}),
        ({"kind": {"role": "protected"}}, {"kind": "protected"}),
        ({"debt": None}, {"debt": "in the portfolio no more"}),
        ({"debt": None, "total_debt": {"type": "float"}}, {"debt": "in the portfolio no more"}),
        ({"debt": {"type": "category"}}, {"debt": "a category"}),
        ({"kind": {"type": "float"}}, {"kind": "a number"}),
        ({"debt": {"type": "integer"}}, {}),
        ({"kind": {"allowed": ["a"]}}, {}),
        ({"more": {"type": "float"}}, {}),
    ],
)
def test_what_has_left_is_told_with_what_it_is_now(changes: dict[str, Any], left: dict[str, str]) -> None:
    assert left_columns(("income", "debt", "kind"), {"kind"}, portfolio(**changes)) == left


def test_a_name_that_a_derived_feature_took_over_is_another_column() -> None:
    content = portfolio(debt=None).model_dump(mode="json", exclude_unset=True)
    content["derived"] = [
        {"name": "debt", "function": "ratio", "inputs": {"numerator": "income", "denominator": "income"}}
    ]
    assert left_columns(("debt",), (), Portfolio.model_validate(content)) == {"debt": "a derived feature"}


def test_columns_that_a_pattern_takes_no_more_have_left() -> None:
    content = {"name": "small", "columns": BASE, "columns_matching": [{"names": "x_*", "type": "float"}]}
    wide = Portfolio.model_validate(content)
    names = ["id", "day", "income", "debt", "kind", "x_1", "x_2"]
    inputs = [one.name for one in wide.with_columns(names).input_columns]
    assert left_columns(inputs, {"kind"}, wide.with_columns(names[:-1])) == {"x_2": "in the portfolio no more"}


def test_the_way_out_depends_on_what_became_of_the_column() -> None:
    assert "role: ignored" not in way_out({"debt": "ignored"})
    gone = way_out({"debt": "ignored", "kind": "in the portfolio no more"})
    assert gone.startswith("until then keep kind in the portfolio with `role: ignored`")
    assert gone.endswith("`credit-assets trigger replace --reason WHY`")
