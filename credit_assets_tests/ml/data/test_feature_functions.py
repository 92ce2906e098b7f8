"""Features of a lender's own: tried on a few rows, then computed as the package's own are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from credit_assets.ml.data import feature_functions
from credit_assets.ml.data.extensions import Extension, ExtensionError, use
from credit_assets.ml.data.feature_functions import try_out
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.formulas import FUNCTIONS, parameters
from credit_assets.ml.data.portfolio import Portfolio, PortfolioError, load_portfolio
from credit_assets.ml.extensions import try_used, used
from credit_assets_tests.support.lender import FEATURES, MODULES, Lender

WITH_TEXTS = (
    FEATURES
    + '''

@feature
def own_region_rate(region: Texts, income: Numbers) -> Numbers:
    """A rate of the region, scaled by income."""
    return region.map({"north": 0.1, "south": 0.2}).astype("float64") * income
'''
)
COLUMNS = [
    {"name": "id", "type": "string", "role": "id", "nullable": False},
    {"name": "day", "type": "date", "role": "date", "nullable": False},
    {"name": "debt", "type": "float"},
    {"name": "income", "type": "float"},
    {"name": "area", "type": "category"},
]


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lender:
    return Lender(tmp_path, monkeypatch).write(**{**MODULES, "features": WITH_TEXTS}).install()


def portfolio(*derived: dict[str, Any]) -> Portfolio:
    return Portfolio.model_validate({"name": "own", "columns": COLUMNS, "derived": derived})


def test_numbers_and_categories_become_a_feature(lender: Lender) -> None:
    own = portfolio(
        {"name": "own_burden"}, {"name": "rate", "function": "own_region_rate", "inputs": {"region": "area"}}
    )
    try_used(own)
    frame = pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "day": ["2024-01-02"] * 4,
            "debt": [10.0, 20.0, None, 5.0],
            "income": [100.0, 0.0, 50.0, 10.0],
            "area": ["north", "south", "north", None],
        }
    )
    made = feature_table(frame, own)
    # Dividing by an income of zero gives no finite number, which counts as missing.
    assert made["own_burden"].to_pylist() == [0.2, None, None, 1.0]
    assert made["rate"].to_pylist() == [10.0, 0.0, 5.0, None]
    assert [one["name"] for one in used(own)] == ["own_burden", "own_region_rate"]
    assert [one["name"] for one in own.made_by()] == ["own_burden", "own_region_rate"]


@pytest.mark.parametrize(
    ("derived", "said"),
    [
        ({"name": "own_region_rate"}, "input 'region' reads 'region', which is not a category feature column"),
        (
            {"name": "own_region_rate", "inputs": {"region": "debt"}},
            "input 'region' reads 'debt', which is not a category feature column of this portfolio",
        ),
        (
            {"name": "own_burden", "inputs": {"debt": "area"}},
            "input 'debt' reads 'area', which is not a numeric feature column of this portfolio",
        ),
    ],
)
def test_inputs_are_of_the_kind_that_is_annotated(lender: Lender, derived: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="derived feature") as refused:
        portfolio(derived)
    assert said in str(refused.value)


def test_a_portfolio_whose_package_is_absent_says_what_to_do(lender: Lender, tmp_path: Path) -> None:
    lender.uninstall()
    file = tmp_path / "own.yaml"
    file.write_text(portfolio().model_dump_json().replace('"derived":[]', '"derived":[{"name":"own_burden"}]'))
    with pytest.raises(PortfolioError) as refused:
        load_portfolio(file)
    assert "derived feature 'own_burden': no function 'own_burden'; known: available_credit" in str(refused.value)
    assert "install the package that brings it, or name its module by CREDIT_EXTENSIONS" in str(refused.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return debt - debt.mean()", "gives a row another value when it stands alone"),
        ("return debt.rank()", "gives a row another value when it stands alone"),
        ("return debt.ffill()", "gives a row another value when it stands alone"),
        ("import random\n    return debt + random.random()", "gives other values for the same rows"),
        ("debt += 1\n    return debt", "changes the columns that it is given"),
        ("return 1.0", "gives a float for columns of 7 rows"),
        ("return debt.head(2)", "gives 2 rows for columns of 7 rows"),
        ("return debt.dropna()", "gives 6 rows for columns of 7 rows"),
        ("return debt.map(lambda x: 'high')", "which are no numbers"),
        ("return debt / int(income.iloc[0])", "tried on 7 made rows, with missing values, zeros and no row"),
    ],
)
def test_what_a_few_rows_show_is_refused(lender: Lender, body: str, said: str) -> None:
    lender.write(features=FEATURES.replace("return FACTOR * debt / income", body))
    with pytest.raises(ExtensionError) as refused:
        try_out(FUNCTIONS["own_burden"])
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"feature own_burden of {lender.name} 1.2.0")


@pytest.mark.parametrize(
    "body",
    [
        "return debt / debt.max()",
        "return debt.cumsum()",
        "return debt.fillna(debt.median())",
        "return debt.shift(1)",
        "return debt - income.iloc[-1] if len(debt) else debt",
        "return income.groupby(debt).transform('mean')",
        "return debt.duplicated().astype(float)",
        "return debt * len(debt)",
        "return (debt > debt.quantile(0.5)).astype(float)",
        "return debt.interpolate()",
        "import numpy\n    return debt + numpy.random.normal(size=len(debt))",
        "import time\n    return debt + time.perf_counter()",
    ],
)
def test_looking_at_other_rows_at_chance_or_at_the_clock_is_found(lender: Lender, body: str) -> None:
    lender.write(features=FEATURES.replace("return FACTOR * debt / income", body))
    with pytest.raises(ExtensionError, match="own_burden"):
        try_out(FUNCTIONS["own_burden"])


@pytest.mark.parametrize("name", list(FUNCTIONS.packaged))
def test_the_trial_finds_no_fault_with_the_packages_own(name: str) -> None:
    own = Extension("feature", name, FUNCTIONS[name], "credit_assets.ml.data.formulas", "", "", "")
    feature_functions._try(own, dict.fromkeys(parameters(name), feature_functions.Numbers))


def test_nobody_has_to_try_it_first(lender: Lender) -> None:
    """A notebook, or the served model, uses a function without the definitions having been built."""
    lender.write(features=FEATURES.replace("return FACTOR * debt / income", "return debt - debt.mean()"))
    with pytest.raises(ExtensionError, match="stands alone"):
        FUNCTIONS["own_burden"](pd.Series([1.0]), pd.Series([2.0]))


def test_a_failure_on_data_names_the_line_and_no_value(lender: Lender) -> None:
    body = "if (debt == 4711.0).any():\n        raise ValueError(f'bad debt {debt.max()}')\n    return debt"
    lender.write(features=FEATURES.replace("return FACTOR * debt / income", body))
    with pytest.raises(ExtensionError) as failed:
        FUNCTIONS["own_burden"](pd.Series([4711.0]), pd.Series([2.0]))
    assert "failed with ValueError (features.py, line 11)" in str(failed.value)
    assert "4711" not in str(failed.value)


def test_extensions_that_are_not_used_change_nothing(lender: Lender) -> None:
    plain = portfolio({"name": "ratio", "inputs": {"numerator": "debt", "denominator": "income"}})
    assert plain.made_by() == []
    assert used(plain, ["lightgbm"]) == []
    use([])
    assert used(plain, ["lightgbm"]) == []
