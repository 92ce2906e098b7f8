"""A lender's real book: its tables hold what the lender knew, and its truth what nobody but the generator does."""

from __future__ import annotations

import io
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from credit_assets.loans.generator import Shift
from credit_assets.loans.lender_book import CLASSES, LenderBook, generate_lender_book
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.evidence.evaluation import auc

START, END, UNTIL = date(2022, 1, 1), date(2023, 6, 30), date(2024, 12, 31)


@pytest.fixture(scope="module")
def book() -> LenderBook:
    return generate_lender_book(30_000, START, END, 7, known_until=UNTIL)


@pytest.fixture(scope="module")
def truth(book: LenderBook) -> pd.DataFrame:
    frame = book.truth.to_pandas(date_as_object=False)
    frame["bad"] = frame["outcome"] == "bad"
    return frame


def frame(table: pa.Table) -> pd.DataFrame:
    made: pd.DataFrame = table.to_pandas(date_as_object=False)
    return made


def tables_of(book: LenderBook) -> dict[str, pa.Table]:
    return {**{name: rows for name, (_, rows) in book.tables().items()}, "truth": book.truth}


def test_same_seed_same_bytes() -> None:
    def written(seed: int) -> dict[str, bytes]:
        made = {}
        for name, rows in tables_of(generate_lender_book(800, START, END, seed)).items():
            file = io.BytesIO()
            pq.write_table(rows, file)
            made[name] = file.getvalue()
        return made

    first = written(1)
    assert first == written(1)
    assert all(first[name] != other for name, other in written(2).items())


def test_who_is_lent_to(truth: pd.DataFrame) -> None:
    shares = truth["status"].value_counts(normalize=True)
    assert shares["declined"] == pytest.approx(0.60, abs=0.03)
    assert shares["booked"] == pytest.approx(0.25, abs=0.03)
    assert shares["withdrawn"] + shares["offer_expired"] == pytest.approx(0.15, abs=0.02)
    assert 0 < shares["open"] < 0.01
    rates = truth.groupby("status")["bad"].mean()
    assert rates["declined"] > 3 * rates["booked"]
    assert rates["booked"] > 0.025
    # The better ones take what others offer them.
    assert truth[truth["status"].isin(["withdrawn", "offer_expired"])]["pd"].mean() < (
        truth[truth["status"] == "booked"]["pd"].mean()
    )


def test_the_true_pd_is_the_share_of_bads(truth: pd.DataFrame) -> None:
    """On everyone, on those who were lent to, on those who were not, and by tenths of it."""
    rows = truth[truth["outcome"] != "excluded"]
    parts = {"all": rows, **dict(iter(rows[rows["status"] != "open"].groupby("status")))}
    parts |= {f"tenth {n}": part for n, part in rows.groupby(pd.qcut(rows["pd"], 10, labels=False))}
    for name, part in parts.items():
        error = np.sqrt((part["pd"] * (1 - part["pd"])).sum()) / len(part)
        assert part["bad"].mean() == pytest.approx(part["pd"].mean(), abs=4 * error), name
    assert auc(rows["bad"], rows["pd"]) > 0.75


def test_part_of_the_selection_is_hidden_from_the_columns(book: LenderBook, truth: pd.DataFrame) -> None:
    """Of applicants whom the columns show to be alike, those that were lent to are better than those declined."""
    import lightgbm as lgb

    columns = frame(book.applications).select_dtypes("number").drop(columns="interest_rate")
    settings = {"objective": "binary", "num_leaves": 8, "seed": 1, "verbose": -1, "num_threads": 1}
    half = np.arange(len(columns)) % 2 == 0
    model = lgb.train(settings, lgb.Dataset(columns[half], truth["bad"][half]), 60)
    seen = pd.Series(model.predict(columns[~half], num_threads=1), truth.index[~half])
    alike = pd.qcut(seen, 10, labels=False)
    rest = truth[~half]
    for _, part in rest.groupby(alike):
        by = part.groupby("status")["pd"].mean()
        assert by["booked"] < by["declined"]


def test_nothing_is_known_too_early(book: LenderBook, truth: pd.DataFrame) -> None:
    until = pd.Timestamp(UNTIL) + pd.Timedelta(days=1)
    decisions, performance = frame(book.decisions), frame(book.performance)
    months, pulls = frame(book.account_months), frame(book.bureau)
    for column in (decisions["decided_on"], performance["recorded_at"], months["loaded_at"], pulls["received_at"]):
        assert column.max() < until
    assert (performance["recorded_at"] >= performance["effective_on"]).all()
    assert (months["loaded_at"] > months["month_end"]).all()
    assert (pulls["received_at"] >= pulls["pulled_on"]).all()
    applied = truth.set_index("application_id")["application_date"]
    assert (decisions["decided_on"] >= decisions["application_id"].map(applied)).all()
    booked = decisions.dropna(subset="booked_on")
    assert (booked["booked_on"] <= booked["decided_on"]).all()
    assert (booked["status"] == "booked").all()
    assert ((booked["decided_on"] - booked["application_id"].map(applied)).dt.days > 1).mean() > 0.6


@pytest.mark.parametrize("until", [END, date(2024, 2, 29)])
def test_a_later_day_only_adds_rows(book: LenderBook, until: date) -> None:
    """What was known on an earlier day is what stands there by then, whatever the book knows by now."""
    earlier = generate_lender_book(30_000, START, END, 7, known_until=until)
    after = pa.scalar(until + timedelta(days=1))
    known = {
        "loan_decisions": "decided_on", "loan_performance": "recorded_at", "loan_outcomes": "outcome_date",
        "account_months": "loaded_at", "bureau": "received_at",
    }  # fmt: skip
    for name, column in known.items():
        whole = tables_of(book)[name]
        assert whole.filter(pc.less(whole[column], after.cast(whole[column].type))).equals(tables_of(earlier)[name])
    assert earlier.truth.equals(book.truth)
    now, then = frame(book.applications)["status"], frame(earlier.applications)["status"]
    # By the end nothing is decided of the last days' applications; eight months later everything is.
    assert set(then[now != then]) == ({"open"} if until == END else set())


def test_the_statuses_by_a_day_give_the_true_outcome(book: LenderBook, truth: pd.DataFrame) -> None:
    """The latest status that was recorded by the end of the window, read from the table, is the truth's outcome."""
    rows = frame(book.performance).merge(truth, left_on="loan_no", right_on="application_id")
    closed = rows["application_date"] + pd.Timedelta(days=366)
    rows = rows[rows["recorded_at"] < closed].sort_values(["recorded_at", "effective_on"])
    latest = rows.groupby("loan_no")["status_x"].last().map(CLASSES)
    booked = truth[truth["status"] == "booked"].set_index("application_id")["outcome"]
    found = latest.reindex(booked.index).fillna("good")
    # Two rows of one day may stand in either order of hours.
    assert (found == booked).mean() > 0.999
    assert set(booked) == {"good", "bad", "indeterminate", "excluded"}


def test_bads_are_cured_restated_late_and_doubled(book: LenderBook, truth: pd.DataFrame) -> None:
    rows = frame(book.performance)
    counts = rows["status"].value_counts()
    assert counts["cured"] / counts["90_dpd"] == pytest.approx(0.08, abs=0.03)
    assert min(counts[status] for status in CLASSES) > 0
    late = (rows["recorded_at"] - rows["effective_on"]).dt.days
    assert (late > 10).mean() == pytest.approx(1 / 30, abs=0.01)
    assert 0.002 < rows.duplicated().mean() < 0.01
    bads = rows[rows["status"].isin(["30_dpd", "90_dpd"])].drop_duplicates(["loan_no", "status", "effective_on"])
    assert bads.duplicated(["loan_no", "effective_on"]).sum() > 3
    cured = truth["reversed_known_on"].notna()
    assert (truth.loc[cured, "reversed_known_on"] > truth.loc[cured, "bad_known_on"]).all()
    assert (truth.loc[cured, "outcome"] == "good").mean() > 0.4
    plain = frame(book.outcomes).set_index("application_id")["defaulted"]
    assert set(plain.index) <= set(truth.loc[truth["status"] == "booked", "application_id"])
    known = truth.set_index("application_id")
    assert (plain == (known["bad_known_on"].notna() & known["reversed_known_on"].isna()).reindex(plain.index)).all()


def test_decisions_are_restated(book: LenderBook, truth: pd.DataFrame) -> None:
    rows = frame(book.decisions)
    several = rows.groupby("application_id")["status"].agg(tuple)
    assert ("open", "booked") in set(several)
    assert ("declined", "booked") in set(several)
    last = rows.groupby("application_id")["status"].last()
    final = truth.set_index("application_id")["status"].reindex(last.index)
    assert (last == final).all()


def test_customers_come_back(book: LenderBook) -> None:
    applications = frame(book.applications)
    again = applications.duplicated("customer_id")
    assert 0.08 < again.mean() < 0.16
    assert applications.groupby("customer_id").size().max() >= 3
    # The same person: what they earn is the same, what they ask for is not.
    pairs = applications[applications.duplicated("customer_id", keep=False)].groupby("customer_id")
    assert (pairs["annual_income"].nunique() == 1).all()
    assert (pairs["loan_amount"].nunique() > 1).mean() > 0.9
    assert (pairs["application_date"].nunique() > 1).all()


def _before(rows: pd.DataFrame, applications: pd.DataFrame, known: str) -> pd.DataFrame:
    joined = rows.merge(applications[["application_id", "customer_id", "application_date"]], on="customer_id")
    return joined[joined[known] < joined["application_date"]]


def test_histories_tell_what_the_columns_hide_and_later_what_happened(book: LenderBook, truth: pd.DataFrame) -> None:
    applications, pulls, months = (frame(t) for t in (book.applications, book.bureau, book.account_months))
    bad = truth.set_index("application_id")["bad"]
    score = _before(pulls, applications, "received_at").sort_values("received_at").groupby("application_id")["score"]
    # The hand-written slip: the newest row there is, whenever it was known.
    newest = applications.merge(pulls.groupby("customer_id")["score"].last(), on="customer_id").set_index(
        "application_id"
    )
    honest, leaking = score.last(), newest["score"]
    booked = truth.loc[truth["status"] == "booked", "application_id"]
    asked = honest.index.intersection(booked)
    assert 0.58 < auc(bad[asked], (900 - honest[asked]) / 900) < 0.75
    assert auc(bad[asked], (900 - leaking[asked]) / 900) > 0.9
    assert 0.3 < _before(months, applications, "loaded_at")["application_id"].nunique() / len(applications) < 0.6
    assert 0.005 < months.duplicated(["customer_id", "month_end"]).mean() < 0.03
    assert months.duplicated().any()


def test_columns_fit_the_packaged_portfolio(book: LenderBook) -> None:
    for column in load_portfolio().columns:
        values = frame(book.applications)[column.name]
        if column.minimum is not None:
            assert values.min() >= column.minimum, column.name
        if column.maximum is not None:
            assert values.max() <= column.maximum, column.name
        if column.allowed is not None:
            assert set(values.dropna()) <= set(column.allowed), column.name
        assert values.isna().mean() <= column.max_missing_share, column.name
    assert book.applications["application_id"].to_pylist() == sorted(book.applications["application_id"].to_pylist())
    # No rate of their own: a list price by term and quarter.
    rates = frame(book.applications).groupby(["term_months", "interest_rate"]).size()
    assert len(rates) <= 14


def test_shift_reaches_the_truth() -> None:
    since = date(2022, 7, 1)
    plain, broken = (
        frame(generate_lender_book(4_000, START, END, 3, shift).truth)
        for shift in (None, Shift(since, default_log_odds=0.6))
    )
    before = plain["application_date"] < pd.Timestamp(since)
    assert plain[before].equals(broken[before])
    assert broken[~before]["pd"].mean() > 1.5 * plain[~before]["pd"].mean()


@pytest.mark.parametrize(
    "wrong", [{"rows": 0}, {"end": START - timedelta(days=1)}, {"seed": -1}, {"known_until": START}]
)
def test_impossible_books(wrong: dict[str, Any]) -> None:
    asked = {"rows": 5, "start": START, "end": END, "seed": 1, **wrong}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        generate_lender_book(**asked)


@pytest.mark.parametrize("rows", [1, 3])
def test_small_and_short_books(rows: int) -> None:
    made = generate_lender_book(rows, START, START, 1)
    assert made.applications.num_rows == made.truth.num_rows == rows
    assert made.performance.num_rows == made.outcomes.num_rows == 0
