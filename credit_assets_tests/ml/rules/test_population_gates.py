"""Gates about who was lent to: what they say, when they fire, and how often they err on books whose truth is known."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from credit_assets.loans.generator import generate_book
from credit_assets.ml.data.cohorts import CohortCounts
from credit_assets.ml.data.matured import Matured, OldLoans, outcome_batches, term_column
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.rules.population_gates import (
    StatusGates,
    classes_gate,
    classes_record,
    evidence_gate,
    population_gate,
    status_gate,
)
from credit_assets_tests.support.decided import by_column, by_table, restated
from credit_assets_tests.support.tiny import TINY

COUNTS = CohortCounts(100, {"undecided": 5, "declined": 60, "withdrawn": 10, "booked": 25}, {"good": 24, "bad": 1}, {})
W = 365


def test_a_portfolio_that_states_nothing_is_told_what_to_write():
    gate = population_gate(TINY, CohortCounts(100, {}, {"good": 99, "bad": 1}, {}))
    assert gate.blocks
    for form in (
        "`population: all`",
        "population: {column: .., booked: [..]",
        "{table: .., id: .., date: .., status: ..",
    ):
        assert form in gate.message()
    assert population_gate(TINY, None).blocks


def test_a_population_that_is_stated_passes_and_says_on_whom():
    assert population_gate(load_portfolio(), CohortCounts(9, {}, {}, {})).passed
    for portfolio in (by_column(), by_table()):
        gate = population_gate(portfolio, COUNTS)
        assert gate.passed
        assert (
            "the 25 that were booked, of 100 that applied: 5 undecided, 60 declined, 10 withdrawn" in gate.description
        )
        assert population_gate(portfolio, None).passed


def test_a_status_that_is_no_longer_mapped_stops_a_training():
    gate = classes_gate(by_column(), CohortCounts(100, COUNTS.population, COUNTS.outcomes, {"frozen": 7}), W)
    assert (gate.name, gate.blocks, gate.value) == ("statuses", True, 7)
    assert "status 'frozen' is in no list of population (7)" in gate.message()
    given = CohortCounts(100, {}, COUNTS.outcomes, {}, {"sold": 3})
    gate = classes_gate(restated(outcomes={"status": "status", "known": "known", "bad": ["lost"]}), given, W)
    assert gate.blocks
    assert "status 'sold' is in no list of outcomes (3)" in gate.message()


def test_a_model_says_on_whom_it_was_trained_and_what_is_bad():
    lists = {
        "bad": ["lost", "90"],
        "good": ["paid"],
        "indeterminate": ["30"],
        "excluded": ["fraud"],
        "reversed": "undone",
    }
    portfolio = restated(
        outcomes={"table": "perf", "status": "status", "date": "on", "known": "seen", **lists},
        population=by_column().model_dump(mode="json")["population"],
    )
    counts = CohortCounts(100, COUNTS.population, {"good": 20, "indeterminate": 2, "bad": 2, "excluded": 1}, {})
    found = classes_record([population_gate(portfolio, counts), classes_gate(portfolio, counts, W)])
    assert found["population"]["counts"] == COUNTS.population
    assert found["outcomes"]["counts"] == counts.outcomes
    defined = found["outcomes"]["definition"]
    for part in (
        "status in lost, 90 in perf",
        "(on) of the 365 days from application",
        "known (seen)",
        "undone",
        "30, fraud",
    ):
        assert part in defined


@pytest.mark.parametrize(("lost", "fails"), [(0, False), (2, False), (60, True)])
def test_outcomes_of_those_who_were_not_booked_say_that_a_status_is_in_the_wrong_list(lost: int, fails: bool):
    counts = CohortCounts(900, COUNTS.population, COUNTS.outcomes, {}, with_outcome=150, lent_to_nobody=lost)
    gate = population_gate(by_column(), counts)
    assert gate.blocks is fails
    if fails:
        assert "60 of 150 applications with an outcome were not booked" in gate.message()


def test_names_of_statuses_are_bounded_in_number_and_length():
    gate = status_gate("population", "status", {"x" * 500: 1, **{f"s{n}": 1 for n in range(30)}})
    assert len(gate.details) == 20
    assert max(len(row["problem"]) for row in gate.details) < 100
    ids = status_gate("population", "status", {f"applicant {n}": 1 for n in range(500)})
    assert [row["count"] for row in ids.details] == [500]
    assert "applicant" not in ids.message()
    assert "500 different values" in ids.message()


def test_statuses_are_counted_by_day():
    first, second, third = (date(2024, 1, day) for day in (1, 2, 3))
    gates = StatusGates("population", ("day", "status"), ["booked"], [first, second, third])
    for days, statuses in (([first, first, second], ["booked", "odd", None]), ([second, second], ["odd", "new"])):
        gates.add(pa.table({"day": days, "status": pa.array(statuses, pa.string())}))
    found = {day: (gate.blocks, gate.value) for day, (gate,) in gates.close().items()}
    assert found == {first: (True, 1), second: (True, 2), third: (False, 0)}


# Evidence


def matured(portfolio: Portfolio, book: tuple[pa.Table, pa.Table], as_of: date) -> Matured:
    applications, outcomes = book
    old = OldLoans(portfolio, W, as_of)
    for batch in applications.to_batches(5_000):
        old.add(pa.Table.from_batches([batch]))
    names = portfolio.outcomes
    columns = (names.id, names.date, names.defaulted)
    batches = [pa.Table.from_batches([batch]) for batch in outcomes.to_batches(5_000)]
    return old.without_outcome(old.table(), outcome_batches(batches, columns, ["1"]))


def without_term() -> Portfolio:
    columns = load_portfolio().model_dump(mode="json")["columns"]
    return restated(columns=[{**one, "unit": ""} if one["name"] == "term_months" else one for one in columns])


START, END = date(2012, 1, 1), date(2019, 12, 31)


@pytest.fixture(scope="module")
def book() -> tuple[pa.Table, pa.Table]:
    return generate_book(20_000, START, END, 5)


def declined(book: tuple[pa.Table, pa.Table], share: float, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """The book with the outcomes of a share of its applications taken out, as if they had not been lent to."""
    applications, outcomes = book
    ids = applications["application_id"].to_numpy()
    gone = ids[np.random.default_rng(seed).random(len(ids)) < share]
    return applications, outcomes.filter(pc.invert(pc.is_in(outcomes["application_id"], pa.array(gone))))


@pytest.mark.parametrize("portfolio", [load_portfolio(), without_term()], ids=["term", "no term"])
@pytest.mark.parametrize("years", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_sound_book_of_any_age_passes(book: tuple[pa.Table, pa.Table], portfolio: Portfolio, years: int):
    as_of = START + timedelta(365 * years)
    gate = evidence_gate(matured(portfolio, book, as_of), portfolio)
    assert gate.passed, gate.message()


@pytest.mark.parametrize(("share", "fails"), [(0.02, False), (0.15, True), (0.6, True)])
def test_a_book_with_applicants_who_were_not_lent_to_fails_whatever_was_stated(
    book: tuple[pa.Table, pa.Table], share: float, fails: bool
):
    for portfolio in (load_portfolio(), TINY.model_copy(update={"outcomes": load_portfolio().outcomes})):
        contract = load_portfolio().model_copy(update={"population": portfolio.population})
        for as_of in (date(2016, 12, 31), END):
            found = matured(contract, declined(book, share), as_of)
            gate = evidence_gate(found, contract)
            assert gate.blocks is fails, gate.message()
            assert abs(found.share - share) < 0.03


def test_a_book_whose_outcomes_are_bads_alone_is_not_judged(book: tuple[pa.Table, pa.Table]):
    applications, outcomes = book
    bads = outcomes.filter(pc.equal(outcomes["defaulted"], 1))
    found = matured(load_portfolio(), (applications, bads), END)
    gate = evidence_gate(found, load_portfolio())
    assert gate.passed
    assert "Not judged: loan_outcomes has 0 goods" in gate.description
    assert found.share > 0.7


def test_a_young_book_is_not_judged(book: tuple[pa.Table, pa.Table]):
    for portfolio in (load_portfolio(), without_term()):
        gate = evidence_gate(matured(portfolio, book, date(2013, 12, 31)), portfolio)
        assert "Not judged" in gate.description


def test_nothing_known_after_the_day_is_looked_at(book: tuple[pa.Table, pa.Table]):
    day = date(2017, 6, 30)
    applications, outcomes = book
    then = outcomes.filter(pc.less_equal(outcomes["outcome_date"], pa.scalar(day)))
    before = applications.filter(pc.less_equal(applications["application_date"], pa.scalar(day)))
    assert matured(load_portfolio(), (before, then), day) == matured(load_portfolio(), book, day)


def test_the_term_of_a_loan_is_found_by_name_and_unit():
    assert term_column(load_portfolio()) == ("term_months", pytest.approx(30.4375))
    assert term_column(without_term()) is None
    columns = load_portfolio().model_dump(mode="json")["columns"]
    years = [{**c, "name": "Tenor", "unit": "Years"} if c["name"] == "term_months" else c for c in columns]
    derived = [d for d in load_portfolio().model_dump(mode="json")["derived"] if "payment" not in d["name"]]
    assert term_column(restated(columns=years, derived=derived, reasons={})) == ("Tenor", 365.25)
