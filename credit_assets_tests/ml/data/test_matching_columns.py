"""Columns by pattern: which names a pattern takes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from credit_assets.ml.data.portfolio import Portfolio, PortfolioError

KEYS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "role": "id", "nullable": False},
    {"name": "day", "type": "date", "role": "date", "nullable": False},
]


def portfolio(*patterns: dict[str, Any], **more: Any) -> Portfolio:
    return Portfolio.model_validate({"name": "p", "columns": KEYS, "columns_matching": patterns, **more})


def test_matching_columns_are_as_if_each_was_written_down() -> None:
    keys = {"type": "float", "minimum": 0, "max_missing_share": 0.5, "monotone": 1}
    given = portfolio({"names": "bureau_*", **keys}, {"names": "flag_?", "type": "boolean", "role": "protected"})
    found = given.with_columns(["x", "bureau_b", "id", "flag_1", "bureau_a", "flag_12", "BUREAU_c", "day"])
    written = [{"name": "bureau_b", **keys}, {"name": "flag_1", "type": "boolean", "role": "protected"}]
    written.append({"name": "bureau_a", **keys})
    assert found == Portfolio.model_validate({"name": "p", "columns": [*KEYS, *written]})
    assert found.monotone == {"bureau_a": 1, "bureau_b": 1}


def test_columns_that_are_written_down_win() -> None:
    own = {"name": "bureau_a", "type": "category"}
    given = portfolio({"names": "bureau_*", "type": "float"}, columns=[*KEYS, own])
    found = given.with_columns(["id", "day", "bureau_a", "bureau_b"])
    assert [(column.name, column.type) for column in found.input_columns] == [
        ("bureau_a", "category"),
        ("bureau_b", "float"),
    ]
    # Where all that match stand there already, nothing is wrong.
    assert given.with_columns(["id", "day", "bureau_a"]).feature_names == ("bureau_a",)


def test_derived_features_read_columns_of_patterns() -> None:
    derived = [{"name": "burden", "function": "ratio", "inputs": {"numerator": "b_1", "denominator": "b_2"}}]
    given = portfolio({"names": "b_*", "type": "float"}, derived=derived)
    assert given.with_columns(["b_1", "b_2"]).feature_names == ("b_1", "b_2", "burden")
    with pytest.raises(PortfolioError, match="reads 'b_2', which is not a numeric feature"):
        given.with_columns(["b_1"])
    with pytest.raises(ValidationError, match="reads 'c_2', which is not a numeric feature"):
        portfolio({"names": "b_*", "type": "float"}, derived=[{**derived[0], "inputs": {"numerator": "c_2"}}])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["id", "a_b"], r"column 'a_b' is matched by 'a_\*' and '\*_b': make the patterns exclude one another"),
        (["id", "a_1"], r"'\*_b' matches none of the 2 columns"),
        (["a_ä", "c_b"], r"column 'a_ä': name: String should match"),
        (["a_1", "default_b", "a b_b"], r"column 'a b_b': name"),
    ],
)
def test_names_that_do_not_fit_are_refused(names: list[str], message: str) -> None:
    given = portfolio({"names": "a_*", "type": "float"}, {"names": "*_b", "type": "float"})
    with pytest.raises(PortfolioError, match=message):
        given.with_columns(names)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ({"names": "b_*", "type": "flaot"}, "'b_\\*': type"),
        ({"names": "b_*", "type": "float", "maximun": 3}, "'b_\\*': maximun"),
        ({"names": "b_*", "type": "category", "monotone": 1}, "a monotone direction needs a numeric type"),
        ({"names": "b_*", "type": "float", "name": "x"}, "leave `name` out"),
        ({"names": "b_*", "type": "date", "role": "date", "nullable": False}, "role date is of one column"),
        ({"names": "", "type": "float"}, "names"),
        ({"type": "float"}, "names"),
    ],
)
def test_bad_patterns_are_refused_when_the_file_is_read(pattern: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        portfolio(pattern)
