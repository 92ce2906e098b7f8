"""The generated loan book: the same bytes for the same seed, and the statistics that it is calibrated on."""

from __future__ import annotations

import hashlib
import io
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.loans.generator import Shift, generate_book
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.data.schemas import applications_schema, outcomes_schema

START, END = date(2020, 1, 1), date(2024, 12, 31)
EVERYTHING = date(2035, 1, 1)
# Of seed 42 in `test_known_values`.
KNOWN = ("G42-20240703-0000002", 30_300.0, 7_400.0, 15.04, 36, "debt_consolidation", 2)
KNOWN_DEFAULTS = 427
KNOWN_BOOK = "da970604604f1271c282864fa40154de696fbc2c23ec72fd3db195c522d3688f"


@pytest.fixture(scope="module")
def book() -> pd.DataFrame:
    """200,000 loans of five years with all their outcomes, one row a loan."""
    applications, outcomes = generate_book(200_000, START, END, 7, outcomes_until=EVERYTHING)
    loans = applications.to_pandas().merge(outcomes.to_pandas(), on="application_id")
    applied, known = (pd.to_datetime(loans[name]) for name in ("application_date", "outcome_date"))
    loans["year"] = applied.dt.year
    loans["weekday"] = applied.dt.weekday
    loans["days"] = (known - applied).dt.days
    loans["target"] = (loans["defaulted"] == 1) & (loans["days"] <= 365)
    loans["dti"] = 100 * loans["total_debt"] / loans["annual_income"]
    loans["utilisation"] = (loans["credit_used"] / loans["credit_limit"]).fillna(0.0)
    return loans


def _bytes(*tables: pa.Table) -> bytes:
    file = io.BytesIO()
    for table in tables:
        pq.write_table(table, file)
    return file.getvalue()


def test_same_seed_same_bytes() -> None:
    a, b = (generate_book(5_000, START, END, 1) for _ in range(2))
    assert _bytes(*a) == _bytes(*b)
    other = generate_book(5_000, START, END, 2)
    assert not a[0]["annual_income"].equals(other[0]["annual_income"])
    assert not set(a[0]["application_id"].to_pylist()) & set(other[0]["application_id"].to_pylist())


def test_known_values() -> None:
    """Locks the loans of a seed: another version of a library must not change them."""
    applications, outcomes = generate_book(3_000, date(2024, 1, 1), date(2024, 12, 31), 42, outcomes_until=EVERYTHING)
    row = applications.slice(1_500, 1).to_pylist()[0]
    shown = (
        "application_id",
        "annual_income",
        "loan_amount",
        "interest_rate",
        "term_months",
        "purpose",
        "inquiries_6m",
    )
    assert tuple(row[name] for name in shown) == KNOWN
    assert sum(outcomes["defaulted"].to_pylist()) == KNOWN_DEFAULTS


def test_the_book_of_a_seed_is_the_same_for_ever() -> None:
    """All values of a small book; another way to draw them must give the same."""
    shown = repr([table.to_pydict() for table in generate_book(300, START, date(2021, 6, 30), 11, outcomes_until=END)])
    assert hashlib.sha256(shown.encode()).hexdigest() == KNOWN_BOOK


def test_canonical_columns_and_order() -> None:
    portfolio = load_portfolio()
    applications, outcomes = generate_book(4_000, START, date(2020, 12, 31), 3)
    assert applications.schema == applications_schema(portfolio)
    assert outcomes.schema == outcomes_schema(portfolio)
    assert applications.num_rows == 4_000
    assert applications.sort_by([("application_date", "ascending"), ("application_id", "ascending")]).equals(
        applications
    )
    assert outcomes.sort_by([("outcome_date", "ascending"), ("application_id", "ascending")]).equals(outcomes)
    frame = applications.to_pandas()
    assert frame["application_id"].is_unique
    assert frame["application_date"].min() >= START
    assert frame["application_date"].max() <= date(2020, 12, 31)


def test_values_keep_the_contract(book: pd.DataFrame) -> None:
    for column in load_portfolio().columns:
        values = book[column.name]
        if not column.nullable:
            assert values.notna().all(), column.name
        if column.minimum is not None:
            assert values.min() >= column.minimum, column.name
        if column.maximum is not None:
            assert values.max() <= column.maximum, column.name
        if column.allowed is not None:
            assert set(values.dropna()) <= set(column.allowed), column.name
        assert values.isna().mean() <= column.max_missing_share, column.name


def test_a_days_loans_do_not_depend_on_size_or_end() -> None:
    small, large = generate_book(2_000, START, date(2020, 6, 30), 5), generate_book(9_000, START, date(2021, 6, 30), 5)
    whole = {row["application_id"]: row for row in large[0].to_pylist()}
    shared = [row for row in small[0].to_pylist() if row["application_id"] in whole]
    assert len(shared) > 1_900
    assert all(whole[row["application_id"]] == row for row in shared)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from credit_assets.loans import generator

    whole = generate_book(3_000, START, END, 1)
    monkeypatch.setattr(generator, "_CHUNK_ROWS", 700)
    assert all(a.equals(b) for a, b in zip(whole, generate_book(3_000, START, END, 1), strict=True))


def test_nothing_is_known_after_the_end() -> None:
    _, until_end = generate_book(20_000, START, END, 1)
    _, all_known = generate_book(20_000, START, END, 1, outcomes_until=EVERYTHING)
    assert max(until_end["outcome_date"].to_pylist()) <= END
    assert all_known.num_rows == 20_000
    early = all_known.filter(pa.compute.less_equal(all_known["outcome_date"], pa.scalar(END)))
    assert early.equals(until_end)


def test_default_rates(book: pd.DataFrame) -> None:
    assert book["defaulted"].mean() == pytest.approx(0.155, abs=0.012)
    assert 0.04 <= book["target"].mean() <= 0.06
    for _, rows in book.groupby("year"):
        assert 0.13 <= rows["defaulted"].mean() <= 0.18
        assert 0.035 <= rows["target"].mean() <= 0.06
    by_term = book.groupby("term_months")["defaulted"].mean()
    assert by_term[36] == pytest.approx(0.123, abs=0.015)
    assert by_term[60] == pytest.approx(0.232, abs=0.02)
    quintiles = book.groupby(pd.qcut(book["utilisation"], 5), observed=True)["defaulted"].mean().to_list()
    assert quintiles == sorted(quintiles)
    assert quintiles[-1] / quintiles[0] > 1.5
    # Riskier rates default more, all the way.
    by_rate = book.groupby(pd.cut(book["interest_rate"], [0, 8, 11, 14, 17, 20, 30]), observed=True)["defaulted"].mean()
    assert by_rate.is_monotonic_increasing
    assert by_rate.iloc[0] < 0.075
    assert by_rate.iloc[-1] > 0.30
    assert book.groupby("purpose")["defaulted"].mean().idxmax() == "small_business"


def test_time_to_outcome(book: pd.DataFrame) -> None:
    months = book["days"] / 30.44
    assert months[book["defaulted"] == 1].median() == pytest.approx(22, abs=1.5)
    assert months[book["defaulted"] == 0].median() == pytest.approx(35, abs=1.5)
    assert months[book["defaulted"] == 1].min() > 5
    assert months.max() < 72


def test_drifts(book: pd.DataFrame) -> None:
    years = book.groupby("year")
    inquiries = years["inquiries_6m"].mean()
    assert inquiries.is_monotonic_decreasing
    assert inquiries.iloc[0] > 2.0
    assert inquiries.iloc[-1] < 1.0
    amounts = years["loan_amount"].median()
    assert amounts.iloc[0] < 8_000 < 10_000 <= amounts.iloc[-1]
    long = years["term_months"].apply(lambda terms: (terms == 60).mean())
    assert long.iloc[0] < 0.2
    assert long.iloc[-1] == pytest.approx(0.35, abs=0.02)
    assert not (book["term_months"][pd.to_datetime(book["application_date"]) < pd.Timestamp(2020, 4, 1)] == 60).any()
    assert years["dti"].mean().iloc[-1] - years["dti"].mean().iloc[0] == pytest.approx(1.6, abs=0.5)
    utilisation = years["utilisation"].mean()
    assert utilisation.iloc[:4].between(0.46, 0.50).all()
    assert utilisation.iloc[-1] > 0.515
    assert years["interest_rate"].std().is_monotonic_increasing


def test_missing_values_as_in_the_real_book(book: pd.DataFrame) -> None:
    shares = book.isna().mean()
    assert shares["employment_years"] == pytest.approx(0.026, abs=0.003)
    assert shares["credit_limit"] == pytest.approx(0.036, abs=0.008)
    assert shares["inquiries_6m"] == shares["open_accounts"] == pytest.approx(0.0007, abs=0.0003)
    assert (
        shares.drop(["employment_years", "credit_limit", "inquiries_6m", "delinquencies_2y", "open_accounts"]).sum()
        == 0
    )


def test_volume_follows_the_week(book: pd.DataFrame) -> None:
    per_weekday = book["weekday"].value_counts(normalize=True)
    assert per_weekday[[5, 6]].sum() == pytest.approx(1.43 / 7, abs=0.01)
    per_day = book.groupby("application_date").size()
    assert len(per_day) == (END - START).days + 1
    assert per_day.min() > 30


def test_learners_find_what_real_books_hold(book: pd.DataFrame) -> None:
    """Out-of-time AUC of a gradient boosting model on origination features, newest quarter of the first two years."""
    import lightgbm as lgb

    from credit_assets.ml.evidence.evaluation import auc

    rows = book[book["year"] <= 2021]
    inputs = rows[["annual_income", "credit_limit", "loan_amount", "interest_rate", "term_months", "employment_years",
                   "inquiries_6m", "delinquencies_2y", "open_accounts", "dti", "utilisation"]]  # fmt: skip
    cut = int(len(rows) * 0.75)
    settings = {"objective": "binary", "num_leaves": 8, "min_child_samples": 200, "seed": 1, "verbose": -1}
    training = lgb.Dataset(inputs.iloc[:cut], rows["target"].iloc[:cut])
    # One thread: two that wait for each other take many times as long on a busy machine.
    model = lgb.train({**settings, "learning_rate": 0.1, "num_threads": 1}, training, 50)
    assert 0.65 <= auc(rows["target"].iloc[cut:], model.predict(inputs.iloc[cut:], num_threads=1)) <= 0.70


def test_shift_breaks_from_its_day() -> None:
    since = date(2020, 7, 1)
    shift = Shift(since, income=0.8, amount=1.3, inquiries=2.0, utilisation=0.8, rate=3.0, default_log_odds=1.0)
    plain, plain_known = generate_book(40_000, START, date(2020, 12, 31), 1, outcomes_until=EVERYTHING)
    broken, broken_known = generate_book(40_000, START, date(2020, 12, 31), 1, shift, outcomes_until=EVERYTHING)
    a, b = plain.to_pandas(), broken.to_pandas()
    before = (a["application_date"] < since).to_numpy()
    pd.testing.assert_frame_equal(a[before], b[before])
    a, b = a[~before], b[~before]
    assert (b["annual_income"] / a["annual_income"]).median() == pytest.approx(0.8, abs=0.01)
    assert (b["interest_rate"] - a["interest_rate"]).median() > 3.0
    assert b["inquiries_6m"].mean() / a["inquiries_6m"].mean() == pytest.approx(2.0, abs=0.1)
    assert (b["credit_used"] / b["credit_limit"]).mean() > (a["credit_used"] / a["credit_limit"]).mean() + 0.1
    ids = set(a["application_id"])
    rates = [
        np.mean(
            [
                bad
                for key, bad in zip(*(t[n].to_pylist() for n in ("application_id", "defaulted")), strict=True)
                if key in ids
            ]
        )
        for t in (plain_known, broken_known)
    ]
    assert rates[1] > 1.8 * rates[0]
    same, _ = generate_book(40_000, START, date(2020, 12, 31), 1, Shift(since))
    assert same.equals(plain)


@pytest.mark.parametrize(
    ("rows", "end", "seed", "message"),
    [(0, END, 1, "rows must be"), (1, START - timedelta(days=1), 1, "before start"), (1, END, -1, "seed must lie")],
)
def test_impossible_books(rows: int, end: date, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_book(rows, START, end, seed)


def test_small_and_short_books() -> None:
    applications, outcomes = generate_book(3, START, START, 1)
    assert (applications.num_rows, outcomes.num_rows) == (3, 0)
    assert generate_book(5, START, END, 1)[0].num_rows == 5


@pytest.mark.slow
def test_a_million_loans() -> None:
    applications, _ = generate_book(1_000_000, START, END, 1)
    assert applications.num_rows == 1_000_000
