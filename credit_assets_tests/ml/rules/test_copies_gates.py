"""Copies under new ids, and customers who apply again: what is found, and what sound books do not have."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data.customers import LeftOutRows
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.rules.copies_gates import copies_gate, customers_gate
from credit_assets_tests.support.synthetic import canonical_book
from credit_assets_tests.support.tiny import TINY

PORTFOLIO = load_portfolio()


def split(frame: pd.DataFrame) -> pd.DataFrame:
    rows = len(frame)
    sizes = [rows - rows // 5 - rows // 4, rows // 5, rows // 4]
    return frame.reset_index(drop=True).assign(split=np.repeat(["train", "validation", "test"], sizes))


def book(rows: int = 4_000, seed: int = 1) -> pd.DataFrame:
    applications, _ = canonical_book(rows, date(2015, 1, 1), date(2015, 6, 30), seed)
    return pd.DataFrame(applications)


def mixed(frame: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    more = more.assign(application_id=[f"again-{n}" for n in range(len(more))])
    return split(pd.concat([frame, more]).sample(frac=1.0, random_state=5))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_sound_book_repeats_nobody(seed: int) -> None:
    found = copies_gate(split(book(seed=seed)), PORTFOLIO)
    assert (found.passed, found.value) == (True, pytest.approx(0.0, abs=0.001))


def test_real_loans_repeat_hardly_anybody() -> None:
    path = Path(__file__).parents[4] / "shared" / "data" / "lending_club_2007_2011.parquet"
    if not path.exists():
        pytest.skip(f"the public loans are not there: {path}")
    from credit_assets.loans.lending_club import read_lending_club

    found = copies_gate(split(read_lending_club(path).applications.to_pandas()), PORTFOLIO)
    assert found.passed
    assert found.value < 0.001  # type: ignore[operator]


@pytest.mark.parametrize("share", [0.02, 0.3])
@pytest.mark.parametrize("another", [None, "loan_amount", "purpose"])
def test_copies_under_new_ids_are_counted(share: float, another: str | None) -> None:
    frame = book()
    more = frame.sample(int(share * len(frame)), random_state=2)
    if another == "loan_amount":
        more = more.assign(loan_amount=np.random.default_rng(1).uniform(1_000, 30_000, len(more)))
    elif another:
        more = more.assign(purpose="wedding")
    found = copies_gate(mixed(frame, more), PORTFOLIO)
    assert not found.passed
    assert found.blocks
    assert found.value == pytest.approx(share / (1 + share), abs=0.002)
    assert ("inputs but one" in found.description) == (another is not None)
    assert "`role: customer`" in found.description
    assert "stand in validation or test" in found.description
    assert "again-" not in found.message()


NUMBERS = ("annual_income", "total_debt", "credit_used", "credit_limit", "loan_amount", "interest_rate")


@pytest.mark.parametrize(("noise", "least"), [(1e-6, 0.98), (1e-3, 0.9), (1e-2, 0.2)])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_copies_whose_numbers_are_disturbed_are_counted(noise: float, least: float, share: float) -> None:
    frame, rng = book(), np.random.default_rng(3)
    more = frame.sample(int(share * len(frame)), random_state=2)
    more = more.assign(**{name: more[name] * (1 + noise * rng.normal(size=len(more))) for name in NUMBERS})
    found = copies_gate(mixed(frame, more), PORTFOLIO)
    assert found.blocks
    assert found.value >= least * share / (1 + share)  # type: ignore[operator]
    assert "all inputs but for small differences of numbers" in found.description
    assert [one["problem"] for one in found.details] == ["as of an earlier row"]


def test_numbers_that_are_rounded_are_counted() -> None:
    frame = book()
    more = frame.sample(800, random_state=2)
    more = more.assign(**{name: more[name].round(-2) for name in NUMBERS[:5]})
    assert copies_gate(mixed(frame, more), PORTFOLIO).blocks


def test_a_few_copies_are_said_and_stop_nothing() -> None:
    frame = book()
    found = copies_gate(mixed(frame, frame.sample(20, random_state=2)), PORTFOLIO)
    assert found.passed
    assert found.description.startswith("20 of 4,020 rows (0.5%)")


def test_applicants_who_have_few_and_coarse_columns_are_no_copies() -> None:
    rng = np.random.default_rng(1)
    rows = {name: rng.integers(0, 5, 3_000).astype(float) for name in TINY.feature_names}
    frame = split(pd.DataFrame(rows))
    assert frame.duplicated(list(TINY.feature_names)).mean() > 0.5
    assert copies_gate(frame, TINY).value == 0.0


def test_applications_of_one_customer_are_theirs() -> None:
    content = PORTFOLIO.model_dump(exclude_defaults=True, mode="json")
    whose = {"name": "customer_id", "type": "string", "role": "customer"}
    portfolio = Portfolio.model_validate({**content, "columns": [*content["columns"], whose]})
    frame = book()
    frame["customer_id"] = frame["application_id"].astype(str)
    again = mixed(frame, frame.sample(1_000, random_state=2))
    assert copies_gate(again, portfolio).value == 0.0
    found = copies_gate(again.assign(customer_id=again["application_id"].astype(str)), portfolio)
    assert not found.passed
    assert "They are of other customers by the column 'customer_id'" in found.description
    with pytest.raises(ValueError, match="lack the customer column"):
        copies_gate(again.drop(columns="customer_id"), portfolio)


def test_a_test_of_new_customers_only_is_a_warning() -> None:
    content = PORTFOLIO.model_dump(exclude_defaults=True, mode="json")
    whose = {"name": "customer_id", "type": "string", "role": "customer"}
    portfolio = Portfolio.model_validate({**content, "columns": [*content["columns"], whose]})
    assert customers_gate(None, PORTFOLIO) is None
    few, many = (LeftOutRows(1_000, 700, 4, 20, 30, left, 200, 250) for left in (60, 150))
    passed, failed = customers_gate(few, portfolio), customers_gate(many, portfolio)
    assert passed is not None
    assert failed is not None
    assert (passed.passed, failed.passed, failed.blocks) == (True, False, False)
    assert "980 of 1,000 rows are of 700 customers, 4 of one at most" in passed.description
    assert "60 of 250 test rows and 30 of 200 validation rows" in passed.description
    assert "CREDIT_LOOKBACK_DAYS" in failed.description


@pytest.mark.parametrize(("rows", "most", "passes"), [(1_000, 50, True), (1_000, 51, False), (20_000, 201, False)])
def test_a_value_that_stands_for_everybody_unknown_is_no_customer(rows: int, most: int, passes: bool) -> None:
    content = PORTFOLIO.model_dump(exclude_defaults=True, mode="json")
    whose = {"name": "customer_id", "type": "string", "role": "customer"}
    portfolio = Portfolio.model_validate({**content, "columns": [*content["columns"], whose]})
    found = customers_gate(LeftOutRows(rows, 700, most, 0, 0, 0, 200, 250), portfolio)
    assert found is not None
    assert (found.passed, found.blocks) == (passes, False)
    assert ("let a view show it as missing" in found.description) is not passes
