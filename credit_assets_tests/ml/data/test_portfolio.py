"""The portfolio file: the packaged one, another lender's, and errors that give the place."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from credit_assets.ml.data.formulas import FUNCTIONS, parameters
from credit_assets.ml.data.portfolio import RESERVED_NAMES, Portfolio, PortfolioError, load_portfolio
from credit_assets_tests.support.synthetic import GIVE_ME_SOME_CREDIT

GOOD: dict[str, Any] = {
    "name": "small",
    "columns": [
        {"name": "id", "type": "string", "role": "id", "nullable": False},
        {"name": "day", "type": "date", "role": "date", "nullable": False},
        {"name": "amount", "type": "float", "minimum": 0, "monotone": 1},
        {"name": "income", "type": "integer"},
        {"name": "kind", "type": "category", "allowed": ["a", "b"]},
        {"name": "gender", "type": "category", "role": "protected"},
    ],
    "derived": [{"name": "burden", "function": "ratio", "inputs": {"numerator": "amount", "denominator": "income"}}],
}


def load(tmp_path: Path, content: Any) -> Portfolio:
    file = tmp_path / "portfolio.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
    return load_portfolio(file)


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **changes}


def with_column(position: int, **changes: Any) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    content["columns"][position].update(changes)
    return content


def test_packaged_portfolio():
    portfolio = load_portfolio()
    assert (portfolio.id_column, portfolio.date_column) == ("application_id", "application_date")
    assert portfolio.performance_window_days == 365
    assert portfolio.categorical_features == ("purpose", "home_ownership")
    assert "state" not in portfolio.feature_names
    assert portfolio.feature_names[-4:] == tuple(d.name for d in portfolio.derived)
    assert portfolio.monotone["debt_to_income"] == 1
    assert portfolio.monotone["annual_income"] == -1
    assert set(portfolio.monotone) == set(portfolio.feature_names) - set(portfolio.categorical_features)


def test_the_other_lender():
    portfolio = load_portfolio(GIVE_ME_SOME_CREDIT)
    assert portfolio.protected_columns == ("age",)
    assert "age" not in portfolio.feature_names
    assert portfolio.outcomes.defaulted == "SeriousDlqin"
    assert portfolio.categorical_features == ()
    assert not set(portfolio.feature_names) & set(load_portfolio().feature_names)


def test_properties_of_a_small_one(tmp_path: Path):
    portfolio = load(tmp_path, GOOD)
    assert portfolio.feature_names == ("amount", "income", "kind", "burden")
    assert portfolio.monotone == {"amount": 1, "income": 0, "burden": 0}
    assert portfolio.column("income").type == "integer"
    with pytest.raises(KeyError, match="has no column 'age'"):
        portfolio.column("age")


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        (changed(columns=GOOD["columns"][1:]), "columns", "exactly one column must have role 'id'; found 0"),
        (
            changed(columns=[*GOOD["columns"], {**GOOD["columns"][1], "name": "day2"}]),
            "columns",
            "role 'date'; found 2",
        ),
        (changed(columns=[*GOOD["columns"], GOOD["columns"][2]]), "columns", "named twice: amount"),
        (changed(columns=GOOD["columns"][:2], derived=[]), "columns", "at least one column must have role 'feature'"),
        (with_column(0, type="float"), "columns", "'id' with role 'id' must have type string or integer"),
        (with_column(0, nullable=True), "columns.0", "role id needs `nullable: false`"),
        (with_column(2, type="number"), "columns.2.type", "Input should be 'string'"),
        (with_column(2, type="string", minimum=None, monotone=0), "columns.2", "numeric, boolean or category"),
        (with_column(2, minimum=5, maximum=1), "columns.2", "minimum 5.0 is above maximum 1.0"),
        (with_column(2, minimum=float("nan")), "columns.2.minimum", "finite"),
        (with_column(2, monotone=2), "columns.2.monotone", "Input should be -1, 0 or 1"),
        (with_column(2, allowed=["a"]), "columns.2", "allowed values need type category or string"),
        (with_column(2, maximun=3), "columns.2.maximun", "Extra inputs are not permitted"),
        (with_column(2, max_missing_share=5), "columns.2.max_missing_share", "less than or equal to 1"),
        (with_column(2, on_violation="drop"), "columns.2.on_violation", "'quarantine' or 'reject'"),
        (with_column(2, on_request="ask"), "columns.2.on_request", "'refuse' or 'warn'"),
        (with_column(0, on_request="warn"), "columns.0", "on_request is for features"),
        (with_column(2, name="loan amount"), "columns.2.name", "should match pattern"),
        (with_column(2, name="default"), "columns.2", "the pipeline itself adds a column of this name"),
        (with_column(4, monotone=1), "columns.4", "a monotone direction needs a numeric type"),
        (with_column(4, minimum=1), "columns.4", "minimum and maximum need a numeric type"),
        (with_column(4, allowed=[]), "columns.4.allowed", "at least 1 item"),
        (with_column(4, allowed=[True, "b"]), "columns.4.allowed.0", "valid string"),
        (with_column(5, type="integer", monotone=1), "columns.5", "only a feature has a monotone direction"),
        (changed(derived=[{"name": "burden", "function": "magic"}]), "file", "no function 'magic'; known: "),
        (changed(derived=[{"name": "amount", "function": "ratio"}]), "file", "has the name of another column"),
        (changed(derived=[{"name": "score", "function": "ratio"}]), "file", "a column that the pipeline adds"),
        (
            changed(derived=[{"name": "x", "function": "ratio", "inputs": {"divisor": "income"}}]),
            "file",
            "has no input divisor; it takes numerator, denominator",
        ),
        (changed(derived=[{"name": "debt_to_income"}]), "file", "input 'total_debt' reads 'total_debt'"),
        (
            changed(
                derived=[{"name": "x", "function": "ratio", "inputs": {"numerator": "kind", "denominator": "income"}}]
            ),
            "file",
            "reads 'kind', which is not a numeric feature column",
        ),
        (
            changed(
                derived=[{"name": "x", "function": "ratio", "inputs": {"numerator": "gender", "denominator": "income"}}]
            ),
            "file",
            "reads 'gender', which has role protected",
        ),
        (changed(performance_window_days=0), "performance_window_days", "greater than or equal to 1"),
        (changed(outcomes={"id": "x", "date": "x"}), "outcomes", "three different columns"),
        (changed(gates={"target_rate_min": 0.6}), "gates", "target_rate_min must lie below target_rate_max"),
        (changed(gates={"max_psi": 0.2}), "gates.max_psi", "Extra inputs are not permitted"),
        (changed(name="bad name"), "name", "should match pattern"),
        ({"columns": GOOD["columns"]}, "name", "Field required"),
    ],
)
def test_an_error_gives_file_place_and_reason(tmp_path: Path, content: Any, place: str, reason: str):
    with pytest.raises(PortfolioError) as caught:
        load(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"portfolio file {tmp_path / 'portfolio.yaml'}: ")
    assert re.search(rf"(: |; ){re.escape(place)}: [^;]*{re.escape(reason)}", message), message
    assert "Value error" not in message


def test_every_problem_is_told_at_once(tmp_path: Path):
    content = changed(gates={"max_psi": 0.2}, performance_window_days=0)
    with pytest.raises(PortfolioError, match=r"performance_window_days: .*; gates\.max_psi: "):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n- b\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("name: [", "is not valid YAML"),
        ("name: a\nname: b\n", "key 'name' given twice"),
        ("columns:\n  - {name: x, minimum: 0, minimum: 5}\n", "key 'minimum' given twice"),
    ],
)
def test_a_file_that_is_no_portfolio(tmp_path: Path, text: str, reason: str):
    with pytest.raises(PortfolioError, match=reason):
        load(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(PortfolioError, match="cannot be read"):
        load_portfolio(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(PortfolioError, match="cannot be read"):
        load_portfolio(tmp_path / "latin.yaml")


def test_yaml_cannot_run_code(tmp_path: Path):
    with pytest.raises(PortfolioError, match="is not valid YAML"):
        load(tmp_path, "name: !!python/object/apply:os.getcwd []\n")


# The documentation


def documentation() -> str:
    return (Path(__file__).resolve().parents[3] / "docs" / "portfolio.md").read_text("utf-8")


def test_documentation_names_every_key_and_function():
    from credit_assets.ml.data.portfolio import Column, DerivedFeature, Gates, OutcomeTable

    text = documentation()
    for model in (Portfolio, Column, DerivedFeature, OutcomeTable, Gates):
        for key in model.model_fields:
            assert f"`{key}`" in text, f"{model.__name__}.{key}"
    for name in FUNCTIONS:
        assert f"`{name}`" in text, name
        for parameter in parameters(name):
            assert f"`{parameter}`" in text, f"{name}: {parameter}"
    for name in RESERVED_NAMES:
        assert f"`{name}`" in text, name


def test_documented_example_loads(tmp_path: Path):
    (example,) = re.findall(r"```yaml\n(name: .*?)```", documentation(), flags=re.DOTALL)
    portfolio = load(tmp_path, example)
    assert portfolio.protected_columns
    assert portfolio.derived


def test_documented_defaults_are_the_real_ones():
    from credit_assets.ml.data.portfolio import Gates

    text = documentation()
    for key, field in Gates.model_fields.items():
        if isinstance(field.default, (int, float)):
            (row,) = [line for line in text.splitlines() if line.startswith(f"| `{key}` |")]
            assert float(row.split("|")[2].strip().replace(",", "")) == field.default, row
