"""The LendingClub reader: the published facts on the real files, and every quirk on files written here."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.loans.lending_club import NOT_A_LOAN, LendingClubBook, read_lending_club
from credit_assets.loans.rejections import REPEATED, SAME_ID
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.warehouse import TableCounts, open_warehouse
from credit_assets_tests.support.lending_club_files import loan, write_csv


def first(book: LendingClubBook) -> dict[str, Any]:
    row: dict[str, Any] = book.applications.to_pylist()[0]
    return row


def reasons(book: LendingClubBook) -> dict[int, str]:
    return dict(zip(book.rejected["row"], book.rejected["reason"], strict=True))


# The real files


@pytest.fixture(scope="module")
def real(real_loans_dir: Path) -> LendingClubBook:
    return read_lending_club(real_loans_dir / "lending_club_2007_2011.parquet")


# year: loans, default %, bad within 18 months %, 60-month %, inquiries, dti, utilisation, median amount
FACTS = {
    2007: (603, 26.2, 11.1, 0, 2.87, 10.7, 0.472, 6_000),
    2008: (2_393, 20.7, 9.8, 0, 1.91, 13.2, 0.489, 7_500),
    2009: (5_281, 13.7, 6.5, 0, 1.35, 12.5, 0.457, 8_800),
    2010: (12_537, 14.0, 5.3, 27, 1.17, 13.1, 0.486, 9_300),
    2011: (21_721, 15.2, 5.6, 35, 0.83, 13.8, 0.503, 10_000),
}


@pytest.mark.real_loans
def test_published_facts_by_year(real: LendingClubBook, real_loans_dir: Path) -> None:
    loans = real.applications.to_pandas().merge(real.outcomes.to_pandas(), on="application_id", how="left")
    applied, known = pd.to_datetime(loans["application_date"]), pd.to_datetime(loans["outcome_date"])
    loans["early"] = (loans["defaulted"] == 1) & (known <= applied + pd.DateOffset(months=18))
    loans["long"] = loans["term_months"] == 60
    # Four loans of 2007 state no income, so they have no total_debt; the file gives them a dti of 0.
    loans["dti"] = (100 * loans["total_debt"] / loans["annual_income"]).fillna(0.0)
    # A limit follows only from a utilisation of 1 % or more; of those without, the few that state none are not 0.
    stated = pd.read_parquet(real_loans_dir / "lending_club_2007_2011.parquet", columns=["revol_util"])["revol_util"]
    loans["utilisation"] = (loans["credit_used"] / loans["credit_limit"]).fillna(0.0).where(stated.notna())
    for year, rows in loans.groupby(applied.dt.year):
        count, default, early, long, inquiries, dti, utilisation, amount = FACTS[year]
        assert len(rows) == count
        assert 100 * rows["defaulted"].mean() == pytest.approx(default, abs=0.05)
        assert 100 * rows["early"].mean() == pytest.approx(early, abs=0.05)
        assert 100 * rows["long"].mean() == pytest.approx(long, abs=0.6)
        assert rows["inquiries_6m"].mean() == pytest.approx(inquiries, abs=0.006)
        assert rows["dti"].mean() == pytest.approx(dti, abs=0.06)
        assert rows["utilisation"].mean() == pytest.approx(utilisation, abs=0.003)
        assert rows["loan_amount"].median() == amount
    assert sorted(loans["application_date"].map(lambda day: day.year).unique()) == sorted(FACTS)


@pytest.mark.real_loans
def test_real_book_and_its_report(real: LendingClubBook) -> None:
    record = real.report.to_record()
    assert record["rows_read"] == record["rows_kept"] == record["outcomes"] == 42_535
    assert record["rejected"] == {}
    assert record["defaults"] == 6_431
    assert record["outside_credit_policy"] == 2_749
    assert record["ids"] == "made from issue year and row"
    assert record["layout"].startswith("Parquet, interest rate as fraction, utilisation as fraction")
    assert record["total_debt"].startswith("annualised debt service")
    frame = real.applications.to_pandas()
    assert frame["application_id"].is_unique
    assert frame["interest_rate"].between(5.42, 24.59).all()
    assert set(frame["term_months"]) == {36, 60}
    # A month's loans lie on all of its days, and no day has far more than its share.
    december = pd.to_datetime(frame["application_date"])[lambda day: (day.dt.year == 2011) & (day.dt.month == 12)]
    per_day = december.dt.day.value_counts()
    assert len(per_day) == 31
    assert per_day.max() < 1.6 * per_day.mean()
    days = pd.to_datetime(real.outcomes["outcome_date"].to_pandas()) - pd.to_datetime(frame["application_date"])
    assert (days.dt.days >= 0).all()
    bads = real.outcomes["defaulted"].to_numpy() == 1
    assert days[bads].dt.days.median() / 30.44 == pytest.approx(22, abs=0.5)
    assert days[~bads].dt.days.median() / 30.44 == pytest.approx(35, abs=1.0)


@pytest.mark.real_loans
def test_real_csv_layout(real_loans_dir: Path) -> None:
    path = real_loans_dir / "lending_club_accepted_layout_sample.csv"
    book = read_lending_club(path)
    assert book.report.rows_kept == 2_000
    assert book.report.ids == "from the file"
    assert "interest rate as percent" in book.report.layout
    raw = pd.read_csv(path, low_memory=False)
    frame = book.applications.to_pandas()
    assert frame["application_id"].tolist() == raw["id"].astype(str).tolist()
    assert np.allclose(frame["interest_rate"], raw["int_rate"])
    assert set(raw["term"]) == {" 36 months", " 60 months"}
    assert (frame["term_months"] == raw["term"].str.strip().str[:2].astype(int)).all()
    paid_or_lost = raw["loan_status"].str.contains("Paid|Charged")
    assert book.report.outcomes == paid_or_lost.sum() == 1_223
    assert book.report.defaults == raw["loan_status"].str.contains("Charged").sum()
    applied = pd.to_datetime(frame["application_date"])
    assert (applied.dt.strftime("%b-%Y") == raw["issue_d"]).all()
    # Loans of 2007 to 2012 have no balances: one scale for the whole book, unless asked for otherwise.
    assert book.report.total_debt.startswith("annualised debt service")
    assert np.allclose(frame["total_debt"], raw["dti"] * raw["annual_inc"] / 100, atol=0.006, equal_nan=True)
    balances = read_lending_club(path, debt="balance")
    assert balances.report.total_debt == "balance: tot_cur_bal"
    assert balances.applications["total_debt"].null_count == raw["tot_cur_bal"].isna().sum()
    sources = book.report.credit_limit
    assert sources["total_rev_hi_lim"] == raw["total_rev_hi_lim"].notna().sum()
    assert sum(sources.values()) == 2_000


@pytest.mark.real_loans
def test_loading_the_real_book_twice_changes_nothing(real: LendingClubBook, tmp_path: Path) -> None:
    portfolio = load_portfolio()
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/w.duckdb")
    warehouse.create_tables(portfolio)
    assert warehouse.write(portfolio, real.applications, real.outcomes).applications == TableCounts(42_535, 0, 0)
    again = warehouse.write(portfolio, real.applications, real.outcomes)
    assert again.applications == again.outcomes == TableCounts(0, 0, 42_535)


# Layouts and quirks


@pytest.mark.parametrize("name", ["loans.csv", "loans.csv.gz"])
def test_percent_strings_note_above_totals_below(tmp_path: Path, name: str) -> None:
    path = write_csv(
        tmp_path / name,
        [loan(), loan(id="1002", home_ownership="NONE", purpose="Small_Business ")],
        above="Notes offered by Prospectus (https://www.lendingclub.com/info/prospectus.action)\n",
        below="\n\nTotal amount funded in policy code 1: 10000\n"
        "Total amount funded in policy code 2: 0,,,,,,,,,,,,,,,,,,,,\n",
    )
    book = read_lending_club(path)
    row = first(book)
    assert row["application_id"] == "1001"
    assert (row["interest_rate"], row["term_months"], row["employment_years"]) == (13.56, 36, 10.0)
    assert row["credit_limit"] == pytest.approx(13648 / 0.837, abs=0.01)
    assert row["total_debt"] == 6636.0
    assert "percent with sign" in book.report.layout
    assert book.applications["home_ownership"].to_pylist() == ["RENT", "NONE"]
    assert book.applications["purpose"].to_pylist() == ["credit_card", "small_business"]
    assert reasons(book) == {3: NOT_A_LOAN, 4: NOT_A_LOAN}
    assert book.rejected["text"][0] == "Total amount funded in policy code 1: 10000"
    assert (book.report.rows_read, book.report.rows_kept) == (4, 2)


def test_the_same_loans_in_every_layout(tmp_path: Path) -> None:
    signs = [loan(), loan(id="1002", int_rate="7.9%", revol_util="0.5%", emp_length="< 1 year", last_pymnt_d="")]
    bare = [{k: v.replace("%", "") for k, v in row.items()} for row in signs]
    typed = pd.DataFrame(bare)
    for name in ("loan_amnt", "int_rate", "annual_inc", "dti", "revol_bal", "revol_util", "open_acc"):
        typed[name] = pd.to_numeric(typed[name])
    typed["int_rate"] /= 100
    typed["revol_util"] /= 100
    typed["term"] = 36
    for name in ("issue_d", "last_pymnt_d"):
        typed[name] = pd.to_datetime(typed[name], format="%b-%Y", errors="coerce")
    typed = typed.drop(columns=["tot_cur_bal", "total_rev_hi_lim"])
    typed["id"] = typed["id"].astype(float)
    typed.to_parquet(tmp_path / "c")
    books = [
        read_lending_club(write_csv(tmp_path / "a.csv", signs)),
        read_lending_club(write_csv(tmp_path / "b.csv", bare)),
        read_lending_club(tmp_path / "c"),
    ]
    assert books[0].applications.num_rows == 2
    for other in books[1:]:
        assert other.applications.equals(books[0].applications)
        assert other.outcomes.equals(books[0].outcomes)
    assert books[0].applications["employment_years"].to_pylist() == [10.0, 0.0]
    # Utilisation under 1 %: no limit.
    assert books[0].applications["credit_limit"][1].as_py() is None
    assert books[0].report.credit_limit == {"total_rev_hi_lim": 0, "revol_bal / revol_util": 1, "missing": 1}
    assert books[0].report.paid_without_date == 1


OUTCOMES = [
    ("Fully Paid", "Jan-2015", (2015, 1), 0),
    ("Charged Off", "Jan-2013", (2013, 6), 1),
    ("Charged Off", "", (2012, 6), 1),
    ("Default", "Oct-2012", (2013, 3), 1),
    ("Does not meet the credit policy. Status:Fully Paid", "Dec-2011", (2011, 12), 0),
    ("Does not meet the credit policy.  Status:Charged Off", "Dec-2011", (2012, 5), 1),
    ("Current", "Jan-2015", None, None),
    ("In Grace Period", "Jan-2015", None, None),
    ("Late (31-120 days)", "Jan-2015", None, None),
]


def test_outcomes(tmp_path: Path) -> None:
    loans = [loan(id=str(i), loan_status=s, last_pymnt_d=paid) for i, (s, paid, _, _) in enumerate(OUTCOMES)]
    book = read_lending_club(write_csv(tmp_path / "loans.csv", loans))
    applied = dict(zip(book.applications["application_id"].to_pylist(),
                       book.applications["application_date"].to_pylist(), strict=True))  # fmt: skip
    found = {row["application_id"]: row for row in book.outcomes.to_pylist()}
    for i, (status, _, month, defaulted) in enumerate(OUTCOMES):
        row = found.get(str(i))
        if month is None:
            assert row is None, status
            continue
        assert row is not None
        assert ((row["outcome_date"].year, row["outcome_date"].month), row["defaulted"]) == (month, defaulted), status
        assert row["outcome_date"] >= applied[str(i)]
    assert book.report.outside_credit_policy == 2
    assert book.report.default_rate == pytest.approx(4 / 6, abs=1e-6)


def test_reasons_for_rejection(tmp_path: Path) -> None:
    loans = [
        loan(),
        loan(id="2", annual_inc="lots"),
        loan(id="3", issue_d="someday"),
        loan(id="4", loan_status="Sold"),
        loan(id="5", loan_amnt=""),
        loan(id="6", open_acc="3.5"),
        loan(id="7", last_pymnt_d="Nov-2011"),
        loan(id="8", emp_length="long"),
        loan(),
        loan(annual_inc="1"),
        loan(id="11", annual_inc="n/a", emp_length="n/a", inq_last_6mths=""),
    ]
    book = read_lending_club(write_csv(tmp_path / "loans.csv", loans))
    assert reasons(book) == {
        2: "annual_inc cannot be read",
        3: "issue_d cannot be read",
        4: "loan_status is not known",
        5: "loan_amnt is missing",
        6: "open_acc is no whole number",
        7: "last_pymnt_d lies before issue_d",
        8: "emp_length cannot be read",
        9: REPEATED,
        10: SAME_ID,
    }
    assert book.report.rows_read == 11
    assert book.report.rows_kept + sum(book.report.rejected.values()) == 11
    # A missing value is no reason: the contract decides.
    assert book.applications["annual_income"].to_pylist() == [24000.0, None]
    assert book.applications["inquiries_6m"].to_pylist() == [1, None]
    # Published values stay, so that the row can be mended.
    assert book.rejected.set_index("row")["annual_inc"][2] == "lots"


def test_ids_from_year_and_row(tmp_path: Path) -> None:
    loans = [loan(annual_inc="1"), loan(annual_inc="2", issue_d="Jan-2010"), loan(annual_inc="1")]
    book = read_lending_club(write_csv(tmp_path / "loans.csv", loans, without=("id",)))
    assert book.applications["application_id"].to_pylist() == ["LC2011-0000001", "LC2010-0000002"]
    assert reasons(book) == {3: REPEATED}
    again = read_lending_club(write_csv(tmp_path / "more.csv", [*loans, loan()], without=("id",)))
    assert again.applications.slice(0, 2).equals(book.applications)


def test_day_in_month_follows_the_id(tmp_path: Path) -> None:
    book = read_lending_club(write_csv(tmp_path / "a.csv", [loan(id=str(i)) for i in range(300)]))
    alone = read_lending_club(write_csv(tmp_path / "b.csv", [loan(id="77")]))
    days = book.applications["application_date"].to_pylist()
    assert first(alone)["application_date"] == days[77] == date(2011, 12, 7)
    assert {day.day for day in days} == set(range(1, 32))


def test_balances_where_every_month_has_them(tmp_path: Path) -> None:
    loans = [loan(id=str(i), tot_cur_bal="1234", total_rev_hi_lim="9000") for i in range(4)]
    book = read_lending_club(write_csv(tmp_path / "a.csv", [*loans, loan(id="9")]))
    assert book.report.total_debt == "balance: tot_cur_bal"
    assert book.applications["total_debt"].to_pylist() == [1234.0] * 4 + [None]
    assert first(book)["credit_limit"] == 9000.0
    early = read_lending_club(write_csv(tmp_path / "b.csv", [*loans, loan(id="9", issue_d="Jan-2011")]))
    assert early.report.total_debt.startswith("annualised debt service")
    forced = read_lending_club(tmp_path / "a.csv", debt="debt_service")
    assert forced.applications["total_debt"].to_pylist() == [6636.0] * 5


def test_no_limit_from_a_balance_of_nothing(tmp_path: Path) -> None:
    book = read_lending_club(write_csv(tmp_path / "a.csv", [loan(), loan(id="2", revol_bal="0", revol_util="30%")]))
    assert book.applications["credit_limit"].null_count == 1
    assert book.applications["credit_used"].to_pylist() == [13648.0, 0.0]
