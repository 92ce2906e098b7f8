"""Models of past as-of dates on what came after them, where the true PD of every applicant is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from credit_assets.ml.data.cohorts import Known, Loans
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.data.schemas import outcomes_schema
from credit_assets.ml.evidence.drift import DriftPolicy
from credit_assets.ml.evidence.drift_reference import DriftReference
from credit_assets.ml.evidence.performance import realised
from credit_assets.ml.evidence.vintages import vintage_curves
from credit_assets.ml.reports.backtest import BacktestBook, PastModel, Promise, judge_past_model, totals, vintages
from credit_assets.ml.reports.figures import Point, backtest, png

PORTFOLIO, WINDOW = load_portfolio(), 100
FIRST, AS_OF, LAST = date(2024, 1, 1), date(2024, 1, 31), date(2024, 8, 8)
DRIFT = DriftPolicy(watch=0.1, shifted=0.25, alpha=0.01, min_rows=200)


class OneTable:
    """The features of a book as `DailyTables`."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def table(self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None) -> pa.Table:
        assert asset == "processed_features"
        found = self.rows.filter(pc.is_in(self.rows["application_date"], value_set=pa.array(days, pa.date32())))
        return found if columns is None else found.select(list(columns))


def made(seed: int, a_day: int = 20, income_from: float = 0.0) -> tuple[BacktestBook, np.ndarray[Any, Any]]:
    """Applications of 180 days whose log-odds of default fall with income; and the outcomes of the bad ones."""
    rng = np.random.default_rng(seed)
    dates = np.repeat([FIRST + timedelta(n) for n in range(180)], a_day)
    income = rng.normal(income_from, 1.0, len(dates))
    bad = rng.random(len(dates)) < true_pd(income)
    ids = [f"A{n:05d}" for n in range(len(dates))]
    rows = pa.table({"application_id": ids, "application_date": pa.array(dates, pa.date32()), "annual_income": income})
    known = [day + timedelta(int(n)) for day, n in zip(dates[bad], rng.integers(1, WINDOW, bad.sum()), strict=True)]
    outcomes = pa.table(
        {
            "application_id": [one for one, is_bad in zip(ids, bad, strict=True) if is_bad],
            "outcome_date": pa.array(known, pa.date32()),
            "defaulted": [1] * int(bad.sum()),
        }
    ).cast(outcomes_schema(PORTFOLIO))
    return BacktestBook(OneTable(rows), FIRST, LAST, Known(outcomes), WINDOW, PORTFOLIO), income  # type: ignore[arg-type]


def true_pd(income: Any) -> np.ndarray[Any, Any]:
    return np.asarray(1 / (1 + np.exp(1.7 + 1.2 * np.asarray(income))))


def model(times: float = 1.0, seed: int = 0, reference: DriftReference | None = None) -> PastModel:
    """One whose PDs are so many times the true ones, with the promise that its own test of 1,500 loans gives."""
    rng = np.random.default_rng(seed + 10_000)
    income = rng.normal(0, 1, 1_500)
    promise = Promise.of(realised(rng.random(1_500) < true_pd(income), true_pd(income)))

    def score(rows: pa.Table) -> Any:
        pds = times * true_pd(rows["annual_income"].to_numpy())
        return pds, 600 - 50 * np.log(pds)

    return PastModel(AS_OF, "lightgbm", promise, score, reference)


def reference() -> DriftReference:
    income = np.random.default_rng(5).normal(0, 1, 3_000)
    points = 600 - 50 * np.log(true_pd(income))
    return DriftReference.of(pa.table({"annual_income": income}), ["annual_income"], [], points)


def test_a_model_is_judged_on_the_days_after_its_date_whose_windows_have_closed() -> None:
    book, income = made(2)
    found = judge_past_model(model(reference=reference()), book, 90, DRIFT)
    assert found["applications"] == {"from": "2024-02-01", "to": "2024-04-30", "rows": 90 * 20, "refused": 0}
    assert (found["realised"]["from"], found["realised"]["to"]) == ("2024-02-01", "2024-04-30")
    used = income[31 * 20 : 121 * 20]
    assert found["realised"]["rows"] == len(used)
    assert found["realised"]["expected"] == pytest.approx(true_pd(used).sum())
    ratio = found["realised"]["observed_over_expected"]
    assert ratio["low"] < 1 < ratio["high"]
    change = found["change"]
    assert change["low"] < 0 < change["high"]
    assert change["value"] == pytest.approx(found["realised"]["evaluation"]["auc"] - found["promised"]["auc"]["value"])
    assert found["drift"]["verdict"] == "stable"


def test_windows_that_are_open_do_not_count() -> None:
    book, _ = made(2)
    early = BacktestBook(book.tables, FIRST, date(2024, 5, 20), book.known, WINDOW, PORTFOLIO)
    found = judge_past_model(model(), early, 90, DRIFT)
    # 2024-05-20 less 100 days.
    assert (found["realised"]["from"], found["realised"]["to"]) == ("2024-02-01", "2024-02-10")
    assert found["realised"]["rows"] == 10 * 20
    assert found["drift"] is None
    none = judge_past_model(
        model(), BacktestBook(book.tables, FIRST, date(2024, 5, 10), book.known, WINDOW, PORTFOLIO), 90, DRIFT
    )
    assert none["realised"] is None
    assert none["why"] == "no loan's window has closed by 2024-05-10: the first closes on 2024-05-11"
    at_the_end = judge_past_model(
        model(), BacktestBook(book.tables, FIRST, AS_OF, book.known, WINDOW, PORTFOLIO), 90, DRIFT
    )
    assert at_the_end["why"] == "no application has come since"


def test_an_application_that_stands_there_twice_counts_once() -> None:
    book, _ = made(2)
    rows = book.tables.rows  # type: ignore[attr-defined]
    twice = BacktestBook(OneTable(pa.concat_tables([rows, rows])), FIRST, LAST, book.known, WINDOW, PORTFOLIO)  # type: ignore[arg-type]
    one, two = judge_past_model(model(), book, 90, DRIFT), judge_past_model(model(), twice, 90, DRIFT)
    assert two["realised"] == one["realised"]


def test_whom_a_model_refuses_has_no_part_in_its_figures() -> None:
    book, income = made(2)
    whole = model()

    def score(rows: pa.Table) -> Any:
        pds, points = whole.score(rows)
        poor = rows["annual_income"].to_numpy() < -1
        return np.where(poor, np.nan, pds), np.where(poor, np.nan, points)

    found = judge_past_model(PastModel(AS_OF, "catboost", whole.promise, score, None), book, 90, DRIFT)
    poor = int((income[31 * 20 : 121 * 20] < -1).sum())
    assert found["applications"]["refused"] == poor
    assert found["realised"]["rows"] == 90 * 20 - poor


def test_a_sound_model_keeps_its_promise_and_an_unsound_one_does_not() -> None:
    """Error rates over 150 books: either end of a 95% interval is passed by chance in 1 of 40."""
    sound = totals([judge_past_model(model(seed=n), made(n)[0], 90, DRIFT) for n in range(150)])
    assert sound["judged"] == 150
    # More than 10 of 150 at 2.5% each: 1 in 500.
    for name in ("auc_below_promise", "auc_above_promise", "risk_understated", "risk_overstated"):
        assert sound[name] <= 10, name
    halved = totals([judge_past_model(model(0.5, n), made(n)[0], 90, DRIFT) for n in range(40)])
    assert halved["risk_understated"] == 40
    assert halved["median_observed_over_expected"] == pytest.approx(2, abs=0.2)


def test_applicants_who_are_others_are_seen() -> None:
    book, _ = made(3, income_from=1.0)
    found = judge_past_model(model(reference=reference()), book, 90, DRIFT)
    assert found["drift"]["shifted"] == ["annual_income"]
    assert found["drift"]["score_verdict"] == "shifted"


def test_a_vintage_counts_its_loans_from_the_month_that_all_have_reached() -> None:
    book, _ = made(7)
    curves = vintages(book)
    assert [one["quarter"] for one in curves] == ["2024 Q1", "2024 Q2"]
    assert [one["loans"] for one in curves] == [91 * 20, 89 * 20]
    # The last loan of the second quarter is 41 days old on 2024-08-08.
    assert [len(one["months"]) for one in curves] == [3, 1]
    rows = book.tables.rows.slice(0, 91 * 20)  # type: ignore[attr-defined]
    first = dict(
        zip(
            book.known.outcomes["application_id"].to_pylist(),
            book.known.outcomes["outcome_date"].to_pylist(),
            strict=True,
        )
    )
    ages = [
        (first[one] - day).days
        for one, day in zip(rows["application_id"].to_pylist(), rows["application_date"].to_pylist(), strict=True)
        if one in first
    ]
    # Months end on days 30 and 61, and the third with the window.
    assert [month["bads"] for month in curves[0]["months"]] == [sum(age <= end for age in ages) for end in (30, 61, 91)]
    shares = [month["value"] for month in curves[0]["months"]]
    assert shares == sorted(shares)


def test_no_loans_have_no_vintage() -> None:
    book, _ = made(2)
    nobody = Loans(book.tables.rows.slice(0, 0), book.known, WINDOW, PORTFOLIO)  # type: ignore[attr-defined]
    assert vintage_curves(nobody, LAST, WINDOW) == []


def test_the_picture_is_the_same_each_time_and_needs_a_model_that_was_judged() -> None:
    points = [Point(AS_OF + timedelta(90 * n), 0.7 - 0.01 * n, 0.65, 0.75) for n in range(3)]
    ratios = [Point(AS_OF + timedelta(90 * n), 1.1, 0.9, 1.3) for n in range(3)]
    curves = {"2024 Q1": [0.01, 0.03, 0.06], "2024 Q2": [0.02], "2024 Q3": []}
    drawn = [png(backtest(points, points, ratios, curves, "models"), dpi=40) for _ in range(2)]
    assert drawn[0] == drawn[1]
    with pytest.raises(ValueError, match="no model could be judged"):
        backtest(points, [], ratios, curves)
