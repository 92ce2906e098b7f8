"""The contract of reasons: what a portfolio file may say, and what follows for features that it does not name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from credit_assets.ml.data.portfolio import Portfolio, PortfolioError, load_portfolio
from credit_assets.ml.data.reasons import REASONS_FILE, ReasonContract, Reasons

INCOME = {"code": "INCOME", "text": "Income is low", "features": ["annual_income", "loan_to_income"]}


def portfolio(reasons: Any, **more: Any) -> Portfolio:
    file = load_portfolio().model_dump(mode="json")
    return Portfolio.model_validate({**file, "reasons": reasons, **more})


@pytest.mark.parametrize(
    ("reasons", "says"),
    [
        ({"groups": [{**INCOME, "features": ["annual_incom"]}]}, "reasons: 'annual_incom' is no feature"),
        ({"none": ["stat"]}, "reasons: 'stat' is no feature"),
        ({"groups": [INCOME, {**INCOME, "features": ["loan_amount"]}]}, "code INCOME stands twice"),
        (
            {"groups": [INCOME, {**INCOME, "code": "OTHER"}]},
            "feature 'annual_income' stands in group INCOME and in group OTHER",
        ),
        ({"groups": [INCOME], "none": ["loan_to_income"]}, "'loan_to_income' stands in group INCOME and in none"),
        ({"none": ["purpose", "purpose"]}, "'purpose' stands twice in none"),
        ({"groups": [{**INCOME, "code": "income"}]}, "reasons.groups.0.code"),
        ({"groups": [{**INCOME, "code": "1"}]}, "reasons.groups.0.code"),
        ({"groups": [{**INCOME, "code": "A" * 65}]}, "reasons.groups.0.code"),
        ({"groups": [{**INCOME, "text": "  "}]}, "reasons.groups.0.text"),
        ({"groups": [{**INCOME, "text": "x" * 201}]}, "reasons.groups.0.text"),
        ({"groups": [{**INCOME, "text": "two\nlines"}]}, "on one line"),
        ({"groups": [{**INCOME, "features": []}]}, "reasons.groups.0.features"),
        ({"groups": [{**INCOME, "missing_text": ""}]}, "reasons.groups.0.missing_text"),
        ({"groups": [{**INCOME, "code": "INCOME-MISSING"}]}, "reasons.groups.0.code"),
        ({"groups": [{**INCOME, "txt": "a"}]}, "reasons.groups.0.txt"),
        ({"groups": [{**INCOME, "code": "PURPOSE"}]}, "code PURPOSE is that of the feature 'purpose'"),
        ({"most": 0}, "reasons.most"),
        ({"most": 11}, "reasons.most"),
    ],
)
def test_what_is_wrong_is_told_once_and_with_its_place(reasons: Any, says: str, tmp_path: Path) -> None:
    file = tmp_path / "loans.yaml"
    file.write_text(yaml.safe_dump({**load_portfolio().model_dump(mode="json"), "reasons": reasons}))
    with pytest.raises(PortfolioError) as refused:
        load_portfolio(file)
    assert says in str(refused.value)
    assert str(file) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_every_feature_of_the_packaged_portfolio_has_one_reason_or_none() -> None:
    packaged = load_portfolio()
    contract = ReasonContract.of(packaged)
    placed = [name for group in contract.groups for name in group.features] + list(contract.none)
    assert sorted(placed) == sorted(packaged.feature_names)
    assert contract.none == ("interest_rate",)
    assert contract.most == 4
    assert contract.text_of("DEBT") == "Existing debt is high in relation to income"


def test_without_an_entry_a_feature_has_its_name_and_description_and_a_derived_one_its_inputs_reason() -> None:
    contract = ReasonContract.of(portfolio({}))
    # What three derived features read is their reason: no two of them are given beside one another.
    assert {contract.code_of(name) for name in ("annual_income", "debt_to_income", "payment_to_income")} == {
        "ANNUAL_INCOME"
    }
    assert contract.code_of("credit_utilization") == "CREDIT_USED"
    assert contract.text_of("ANNUAL_INCOME") == "Stated gross income of the applicant"
    assert contract.none == ()


def test_a_derived_feature_follows_the_inputs_that_are_reasons() -> None:
    contract = ReasonContract.of(portfolio({"none": ["annual_income", "total_debt", "interest_rate"]}))
    assert contract.code_of("debt_to_income") is None
    assert contract.code_of("payment_to_income") == contract.code_of("loan_amount") == "LOAN_AMOUNT"
    contract = ReasonContract.of(portfolio({"groups": [{**INCOME, "features": ["annual_income"]}]}))
    assert contract.code_of("payment_to_income") == "INCOME"
    # What a derived feature is called takes no code.
    contract = ReasonContract.of(portfolio({"groups": [{**INCOME, "code": "DEBT_TO_INCOME"}]}))
    assert contract.code_of("debt_to_income") == "DEBT_TO_INCOME"


def test_names_that_come_to_one_code_are_told_apart() -> None:
    columns = [
        {"name": "id", "type": "string", "role": "id", "nullable": False},
        {"name": "day", "type": "date", "role": "date", "nullable": False},
        *({"name": name, "type": "float"} for name in ("a_b", "a.b", "_x", "A-b-c", "q")),
        {"name": "long", "type": "float", "description": "First sentence here. Internal remark: keep out."},
        {"name": "dear", "type": "float", "description": "word " * 60},
    ]
    contract = ReasonContract.of(Portfolio.model_validate({"name": "small", "columns": columns}))
    codes = [group.code for group in contract.groups]
    assert len(set(codes)) == len(codes) == 7
    assert codes[2:] == ["X", "A_B_C", "Q", "LONG", "DEAR"]
    assert contract.text_of("LONG") == "First sentence here"
    assert contract.text_of("DEAR") == "Dear"
    assert ReasonContract.from_record(json.loads(json.dumps(contract.to_record()))) == contract


def test_patterns_may_bring_features_and_are_held_to_it() -> None:
    file = load_portfolio().model_dump(mode="json")
    file["columns_matching"] = [{"names": "bureau_*", "type": "float"}]
    file["reasons"] = {"groups": [{**INCOME, "code": "BUREAU", "features": ["bureau_score"]}]}
    open_ = Portfolio.model_validate(file)
    names = [column["name"] for column in file["columns"]]
    resolved = open_.with_columns([*names, "bureau_score", "bureau_age"])
    contract = ReasonContract.of(resolved)
    assert contract.code_of("bureau_score") == "BUREAU"
    assert contract.code_of("bureau_age") == "BUREAU_AGE"
    with pytest.raises(PortfolioError, match="'bureau_score' is no feature"):
        open_.with_columns([*names, "bureau_age"])


def test_other_words_make_no_other_contract_of_data() -> None:
    assert portfolio({}).contract == portfolio({"groups": [INCOME], "most": 2}).contract == load_portfolio().contract


def test_the_saved_form_is_read_again_and_refused_where_it_is_none(tmp_path: Path) -> None:
    contract = ReasonContract.of(load_portfolio())
    assert ReasonContract.load(tmp_path) is None
    contract.save(tmp_path)
    written = (tmp_path / REASONS_FILE).read_bytes()
    contract.save(tmp_path)
    assert (tmp_path / REASONS_FILE).read_bytes() == written
    assert ReasonContract.load(tmp_path) == contract
    for spoilt in (b"{", b"[]", written.replace(b'"format": 2', b'"format": 3'), written.replace(b"INCOME", b"income")):
        (tmp_path / REASONS_FILE).write_bytes(spoilt)
        with pytest.raises(ValueError, match="cannot be read as the contract of reasons"):
            ReasonContract.load(tmp_path)


def test_a_missing_value_has_a_code_and_words_of_its_own() -> None:
    packaged = ReasonContract.of(load_portfolio())
    assert packaged.text_of("INCOME-MISSING") == "Income is not stated"
    assert len(packaged.texts) == 2 * len(packaged.groups) == len(set(packaged.texts.values()))
    assert all(group.missing_text for group in packaged.groups)
    # Columns and no derived features, which no applicant is asked for.
    own = ReasonContract.of(portfolio({"groups": [INCOME]}))
    assert own.text_of("INCOME-MISSING") == "No information on: annual income"
    assert own.text_of("LOAN_AMOUNT-MISSING") == "No information on: loan amount"
    wide = {"code": "ALL", "text": "Everything", "features": list(load_portfolio().feature_names)}
    assert len(ReasonContract.of(portfolio({"groups": [wide]})).text_of("ALL-MISSING")) <= 200
    names = [f"a_name_that_is_long_{number}" for number in range(30)]
    columns = [
        {"name": "id", "type": "string", "role": "id", "nullable": False},
        {"name": "day", "type": "date", "role": "date", "nullable": False},
        *({"name": name, "type": "float"} for name in names),
    ]
    reasons = {"groups": [{"code": "MANY", "text": "Many", "features": names}]}
    many = Portfolio.model_validate({"name": "many", "columns": columns, "reasons": reasons})
    assert ReasonContract.of(many).text_of("MANY-MISSING") == "Information that the decision needs is missing"


def test_a_contract_of_before_keeps_its_codes_and_words_where_values_are_missing(tmp_path: Path) -> None:
    record = ReasonContract.of(load_portfolio()).to_record()
    groups = [{key: one[key] for key in ("code", "text", "features")} for one in record["groups"]]
    (tmp_path / REASONS_FILE).write_text(json.dumps({**record, "format": 1, "groups": groups}), "utf-8")
    before = ReasonContract.load(tmp_path)
    assert before is not None
    assert {group.missing_code for group in before.groups} == {group["code"] for group in groups} == set(before.texts)


def test_features_that_it_does_not_know_have_a_reason_of_their_own() -> None:
    contract = ReasonContract.of(load_portfolio())
    assert contract.covering(contract.groups[0].features) is contract
    wider = contract.covering(["annual_income", "bureau_score", "income"])
    assert wider.code_of("bureau_score") == "BUREAU_SCORE"
    assert wider.text_of("BUREAU_SCORE") == "Bureau score"
    assert wider.text_of("BUREAU_SCORE-MISSING") == "No information on: bureau score"
    # Its code is taken by a group that means something else.
    assert str(wider.code_of("income")).startswith("INCOME_")


def test_a_column_that_is_a_feature_no_more_may_stay_and_is_no_reason() -> None:
    contract = ReasonContract.of(portfolio({"groups": [{**INCOME, "features": ["annual_income", "state"]}]}))
    assert contract.code_of("annual_income") == "INCOME"
    assert contract.code_of("state") is None


def test_none_is_a_word_in_yaml() -> None:
    assert Reasons.model_validate(yaml.safe_load("{none: [interest_rate]}")).none == ("interest_rate",)
