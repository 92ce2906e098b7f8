"""The benchmark of decisions: its books are what it says of them, and its claims hold in small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import decisions
from benchmarks.decision_books import (
    NEWEST,
    SECOND,
    TEST_FROM,
    TEST_UNTIL,
    WINDOW,
    Book,
    Prepared,
    make_book,
    portfolio_file,
    prepare,
)
from benchmarks.decision_faults import FAULTS, Verdict, by_check, run_case, scaled
from benchmarks.decision_rates import (
    BAD_RATE,
    ERROR,
    KINDS,
    Kind,
    Simulated,
    area,
    default,
    error_for,
    null_rate,
    plain,
    power,
    true_area,
)
from benchmarks.decision_tables import MOST_CHANCE, markdown
from benchmarks.decision_tables import rows as table_rows
from credit_assets.ml.data.portfolio import PortfolioError, load_portfolio
from credit_assets.ml.evidence.evaluation import auc
from credit_assets.ml.learners import training
from credit_assets.ml.learners.calibration_choice import choose

FAULT = {fault.name: fault for fault in FAULTS}


@pytest.fixture(scope="module")
def book() -> Book:
    return make_book(60, 1)


def spoiled(name: str, book: Book) -> Book:
    return FAULT[name].plant(book, np.random.default_rng(1))


# Books and faults


def test_the_true_pds_of_a_book_are_true(book: Book) -> None:
    bad = book.bad
    assert auc(bad, book.pd) == pytest.approx(0.77, abs=0.02)
    expected = book.pd.sum()
    assert abs(bad.sum() - expected) < 4 * np.sqrt(expected)
    riskier = book.pd > np.quantile(book.pd, 0.9)
    assert abs(bad[riskier].sum() - book.pd[riskier].sum()) < 4 * np.sqrt(book.pd[riskier].sum())
    days = book.applications["application_date"].to_numpy()
    waited = np.array([(b - a).days for a, b in zip(days, book.outcomes["outcome_date"], strict=True)])
    assert waited[bad].max() <= WINDOW
    assert make_book(60, 1).applications.equals(book.applications)


@pytest.mark.parametrize("area_", [0.80, 0.85, 0.90])
def test_a_leak_has_the_area_that_it_is_named_for(area_: float, book: Book) -> None:
    column = spoiled(f"leak of AUC {area_:.2f}", book).applications["balance_at_close"].to_numpy()
    assert area(book.bad, column) == pytest.approx(area_, abs=0.015)


def test_faults_change_what_they_say_and_nothing_else(book: Book) -> None:
    income = book.applications["annual_income"].to_numpy()
    test_on = spoiled("income in thousands from the test on", book).applications["annual_income"].to_numpy()
    assert np.array_equal(test_on != income, book.since(TEST_FROM))
    newest = spoiled("income in thousands in the newest days", book).applications["annual_income"].to_numpy()
    assert np.array_equal(newest != income, book.since(NEWEST))
    higher = spoiled("rate three deviations higher in the test months", book).applications["interest_rate"].to_numpy()
    rate = book.applications["interest_rate"].to_numpy()
    assert np.array_equal(higher != rate, book.since(TEST_FROM, TEST_UNTIL))
    assert (higher - rate).max() == pytest.approx(3 * rate.std())
    flipped = spoiled("labels flipped from the test on", book)
    assert np.array_equal(flipped.bad != book.bad, book.since(TEST_FROM))
    shuffled = spoiled("target shuffled", book)
    assert shuffled.bad.sum() == book.bad.sum()
    assert area(shuffled.bad, book.pd) == pytest.approx(0.5, abs=0.04)
    twice = spoiled("doubled book", book)
    assert len(twice.pd) == 2 * len(book.pd)
    assert twice.applications["application_id"].is_unique
    assert (twice.applications["customer_id"].value_counts() == 2).all()
    again = spoiled("30% apply again", book)
    assert 0.2 < len(again.pd) / len(book.pd) - 1 < 0.3
    assert again.applications["application_date"].is_monotonic_increasing
    stopped = spoiled("outcomes stopped 60 days ago", book).outcomes
    assert (SECOND - stopped["outcome_date"].max()).days >= 60
    lost = spoiled("70% of the goods lost in the test months", book)
    kept = (~lost.bad & lost.since(TEST_FROM, TEST_UNTIL)).sum()
    assert kept / (~book.bad & book.since(TEST_FROM, TEST_UNTIL)).sum() == pytest.approx(0.3, abs=0.03)


def test_scaled_models_have_the_odds_that_are_asked_for() -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(size=500)
    y = (rng.random(500) < 0.2).astype(float)
    right = choose(margin, y).calibration.log_odds(margin)
    with scaled(0.2):
        wrong = training.choose(margin, y).calibration.log_odds(margin)
    assert wrong == pytest.approx(right + np.log(0.2))
    assert training.choose is choose


def test_portfolios_of_faults_load(tmp_path: Path) -> None:
    for number, fault in enumerate(FAULTS):
        if fault.portfolio and fault.name != "direction against the truth (income +1)":
            load_portfolio(portfolio_file(tmp_path, f"p{number}", fault.portfolio))
    contradicted = FAULT["direction against the truth (income +1)"].portfolio
    with pytest.raises(PortfolioError, match=r"annual_income.*debt_to_income.*contradict each other"):
        load_portfolio(portfolio_file(tmp_path, "contradicted", contradicted))
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_a_blocked_run_is_told_by_its_checks() -> None:
    said = by_check("training_set.leakage: Features know; the outcome.; training_set.target_rate: Not plausible.")
    assert said == {"leakage": "Features know; the outcome.", "target_rate": "Not plausible."}
    assert by_check("out of disk") == {"run": "out of disk"}


# Chance, and power


def test_simulated_models_are_equally_good() -> None:
    world = Simulated(2_000, np.random.default_rng(1), 60)
    whole = slice(0, len(world.bad))
    areas = [area(world.bad, world.pd(model, whole)) for day in (0, 30, 59) for model in world.models(day)]
    assert np.ptp(areas) < 0.02
    assert world.bad.mean() == pytest.approx(BAD_RATE, abs=0.005)
    assert true_area(ERROR, np.random.default_rng(2)) == pytest.approx(np.mean(areas), abs=0.01)
    assert true_area(error_for(0.03), np.random.default_rng(2)) == pytest.approx(np.mean(areas) - 0.03, abs=0.01)


@pytest.mark.parametrize(("loans", "every", "at_least"), [(20, 7, 15), (100, 7, 10), (100, 30, 4)])
def test_chance_promotes_by_the_plain_rule_and_not_by_the_default(loans: int, every: int, at_least: float) -> None:
    before, now = null_rate(loans, every, (plain(), default()), 10, 1)
    assert before.promotions > at_least
    assert before.single > 0.25
    assert now.promotions <= MOST_CHANCE


@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: kind.name)
def test_chance_promotes_no_more_where_models_or_customers_are_of_another_kind(kind: Kind) -> None:
    (now,) = null_rate(100, 30, (default(),), 20, 1, kind)
    assert now.promotions <= MOST_CHANCE


def test_customers_are_what_a_comparison_counts() -> None:
    world = Simulated(100, np.random.default_rng(1), 30, Kind("two loans each", copies=2))
    assert world.groups is not None
    assert (np.bincount(world.groups) == 2).all()
    assert all(len(set(world.bad[world.groups == customer])) == 1 for customer in range(50))


def test_a_better_model_is_taken_sooner_after_a_year_in_which_none_was() -> None:
    """By 0.019, at 400 bads, compared monthly, where scores correlate at 0.9."""
    (found,) = power(400, 0.019, [(default(), 30)], 120, 0.9)
    assert found.taken >= 0.6


def test_a_much_better_model_is_taken_and_an_equal_one_is_not() -> None:
    rules = [(plain(), 30), (default(), 30)]
    equal = {one.rule: one.taken for one in power(400, 0.0, rules, 60)}
    better = {one.rule: one.taken for one in power(1600, 0.05, rules, 20)}
    assert equal[plain().name] > 0.2
    assert equal[default().name] <= 0.05
    assert min(better.values()) >= 0.9


# The whole graph


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("decisions") / "homes", make_book(120, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "leak of AUC 0.85",
        "income in thousands from the test on",
        "PDs of a thousandth of the odds",
        "outcomes stopped 120 days ago",
        "labels flipped from the test on",
        "70% of the goods lost before the test",
    ],
)
def test_a_planted_fault_is_stopped_by_a_rule_that_says_so(name: str, prepared: Prepared, tmp_path: Path) -> None:
    found = run_case(FAULT[name], prepared, 1, tmp_path / "case")
    assert not found.in_force
    assert found.stopped, found


@pytest.mark.slow
def test_a_sound_model_of_a_sound_book_is_not_stopped(prepared: Prepared, tmp_path: Path) -> None:
    first = run_case(FAULT["none, first model"], prepared, 1, tmp_path / "first")
    assert first.in_force, first
    later = run_case(FAULT["none"], prepared, 1, tmp_path / "later")
    assert not later.stopped, later


# The tables


def test_what_is_kept_becomes_the_tables() -> None:
    said = {"leakage": "Features | know the outcome", "registered": "nothing to promote"}
    verdicts = [
        Verdict("none", 1, "registered", True, {}, 0.75, 0.03).to_record(),
        Verdict("leak of AUC 0.85", 1, "blocked", False, said, None, None).to_record(),
    ]
    one = {"kind": KINDS[0].name, "loans": 100, "every": 1, "years": 2, "bads": 110.0, "any_promotion": 1.0}
    one |= {"single": 0.1, "claimed": 0.01}
    null = [{**one, "rule": plain().name, "promotions": 32.0}, {**one, "rule": default().name, "promotions": 0.05}]
    found = {name: [] for name in decisions.PARTS} | {"faults": verdicts, "null": null}
    assert json.loads(json.dumps(found)) == found
    text = markdown(found)
    assert "| leak of AUC 0.85 |" in text
    assert "`leakage`" in text
    assert "Features \\| know the outcome" in text
    assert "in force (AUC 0.750, +0.030)" in text
    rows = {row.what: row for row in table_rows(found)}
    assert rows["planted faults that came into force"].met
    assert rows["sound models stopped by a rule on faults"].met
    assert rows["promotions a year by chance, daily, 100 loans a day"].met
