"""Cohorts: the window, the target at its borders, point-in-time correctness, and the split by time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data import cohorts
from credit_assets.ml.data.cohorts import CohortWindow, JoinFindings
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.data.schemas import training_schema
from credit_assets.ml.data.values import as_table
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.synthetic import (
    GIVE_ME_SOME_CREDIT,
    canonical_book,
    give_me_some_credit_book,
    model_inputs,
)
from credit_assets_tests.support.tiny import AS_OF, LOOKBACK, TINY, WINDOW, W, days, features, outcomes

# What follows is asked of frames and of the same rows as Arrow tables: every test here holds for both.


def arrow(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


def assemble_training_set(
    inputs: pd.DataFrame, known: pd.DataFrame, window: CohortWindow, portfolio: Portfolio, **shares: float
) -> pd.DataFrame:
    table = cohorts.assemble_training_set(arrow(inputs), arrow(known), window, portfolio, **shares)
    assert table.equals(cohorts.assemble_training_set(inputs, known, window, portfolio, **shares))
    assert table.schema.equals(training_schema(portfolio))
    return table.to_pandas(date_as_object=False)


def targets(inputs: pd.DataFrame, known: pd.DataFrame, window: CohortWindow, portfolio: Portfolio) -> np.ndarray:
    found = cohorts.targets(inputs, known, window, portfolio)
    np.testing.assert_array_equal(cohorts.targets(arrow(inputs), arrow(known), window, portfolio), found)
    return found


def join_findings(
    inputs: pd.DataFrame, known: pd.DataFrame, window: CohortWindow, portfolio: Portfolio
) -> JoinFindings:
    found = cohorts.join_findings(inputs, known, window, portfolio)
    assert cohorts.join_findings(arrow(inputs), arrow(known), window, portfolio) == found
    return found


def assemble(
    inputs: pd.DataFrame, known: pd.DataFrame, window: CohortWindow = WINDOW, portfolio: Portfolio = TINY, **shares
) -> pd.DataFrame:
    return assemble_training_set(
        inputs, known, window, portfolio, **{"test_share": 0.25, "validation_share": 0.25, **shares}
    )


def as_bytes(frame: pd.DataFrame, portfolio: Portfolio = TINY) -> bytes:
    """The training set as it is stored, uncompressed: equal bytes are equal data, types and order."""
    sink = pa.BufferOutputStream()
    table = as_table(frame, training_schema(portfolio))
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


# The window


def test_window_of_the_example():
    window = CohortWindow(date(2011, 12, 31), 365, 90)
    assert (window.first, window.last) == (date(2010, 10, 3), date(2010, 12, 31))
    assert (window.last - window.first).days + 1 == 90
    assert window.last + timedelta(days=365) == window.as_of


@pytest.mark.parametrize(("performance", "lookback"), [(0, 90), (365, 0), (-1, -1)])
def test_a_window_without_days_is_refused(performance: int, lookback: int):
    with pytest.raises(ValueError, match="at least 1 day"):
        CohortWindow(AS_OF, performance, lookback)


def test_the_borders_of_the_window_belong_to_it():
    around = days(LOOKBACK + 2, WINDOW.first - timedelta(days=1))
    result = assemble(features(*((f"a{n}", day) for n, day in enumerate(around))), outcomes())
    assert result["day"].dt.date.tolist() == around[1:-1]


def test_what_is_wrong_with_a_table_is_said():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    shares = {"test_share": 0.25, "validation_share": 0.25}

    def of(frame: pd.DataFrame) -> pa.Table:
        return cohorts.assemble_training_set(arrow(frame), arrow(outcomes()), WINDOW, TINY, **shares)

    with pytest.raises(ValueError, match="the features table lacks the columns amount, kind"):
        of(inputs[["id", "day"]])
    with pytest.raises(ValueError, match="'amount' of the features table is string and cannot be read as double"):
        of(inputs.assign(amount="much"))
    with pytest.raises(ValueError, match="no application between"):
        of(inputs.iloc[:0])
    twice = pd.concat([inputs, inputs.iloc[:1].assign(amount=99.0)])
    with pytest.raises(ValueError, match="1 applications of the window stand in one day twice with different features"):
        of(twice)
    infinite = of(inputs.assign(amount=[np.inf, np.nan, *inputs["amount"][2:]]))
    assert infinite["amount"].null_count == 2


# The target


@pytest.mark.parametrize(
    ("days_after", "defaulted", "target"),
    [(0, 1, 1), (1, 1, 1), (W - 1, 1, 1), (W, 1, 1), (W + 1, 1, 0), (-1, 1, 0), (5, 0, 0), (W, 0, 0)],
)
def test_target_at_its_borders(days_after: int, defaulted: int, target: int):
    applied = WINDOW.first + timedelta(days=3)
    inputs = features(("x", applied), *((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    result = assemble(inputs, outcomes(("x", applied + timedelta(days=days_after), defaulted))).set_index("id")
    assert result.loc["x", "default"] == target
    assert result["default"].sum() == target
    assert result["default"].dtype == np.int8


def test_the_youngest_cohort_has_its_whole_window_and_no_more():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    youngest = f"a{LOOKBACK - 1}"
    on_the_day = assemble(inputs, outcomes((youngest, AS_OF, 1)))
    assert on_the_day.loc[on_the_day["id"] == youngest, "default"].tolist() == [1]
    tomorrow = assemble(inputs, outcomes((youngest, AS_OF + timedelta(days=1), 1)))
    assert tomorrow["default"].sum() == 0


def test_targets_come_in_the_order_of_the_rows_and_are_the_same_for_every_later_as_of_date():
    first, second, third = days(3)
    inputs = features(("c", third), ("a", first), ("b", second)).set_index(np.array([7, 7, 1]))[["id", "day"]]
    known = outcomes(("a", first + timedelta(days=W), 1), ("b", second + timedelta(days=W + 1), 1), ("c", third, 1))
    assert targets(inputs, known, WINDOW, TINY).tolist() == [1, 1, 0]
    later = CohortWindow(AS_OF + timedelta(days=400), W, LOOKBACK + 400)
    assert targets(inputs, known, later, TINY).tolist() == [1, 1, 0]
    assert targets(inputs.iloc[:0], known, WINDOW, TINY).tolist() == []


@pytest.mark.parametrize("outside", [WINDOW.first - timedelta(days=1), WINDOW.last + timedelta(days=1)])
def test_an_application_outside_the_window_has_no_target(outside: date):
    with pytest.raises(ValueError, match="1 applications lie outside"):
        targets(features(("a", WINDOW.first), ("b", outside)), outcomes(), WINDOW, TINY)


def test_several_outcomes_of_one_loan_count_once_and_the_earliest_counts():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    late = WINDOW.first + timedelta(days=W + 1)
    result = assemble(inputs, outcomes(("a0", late, 1), ("a0", late - timedelta(days=2), 1), ("a0", late, 0)))
    assert len(result) == LOOKBACK
    assert result["default"].sum() == 1


def test_a_default_before_its_application_is_passed_over_and_counted():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    known = outcomes(("a9", WINDOW.first + timedelta(days=8), 1), ("z", WINDOW.first, 1), ("a3", AS_OF, 0))
    assert assemble(inputs, known)["default"].sum() == 0
    found = join_findings(inputs, known, WINDOW, TINY)
    assert (found.outcomes_before_application, found.outcomes_without_application) == (1, 1)


def test_findings_do_not_look_past_the_as_of_date():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    later = AS_OF + timedelta(days=1)
    assert join_findings(inputs, outcomes(("z", later, 1), ("a1", later, 1)), WINDOW, TINY) == JoinFindings(0, 0, 0)
    assert join_findings(inputs, outcomes(("z", AS_OF, 1), ("a1", AS_OF, 1)), WINDOW, TINY) == JoinFindings(0, 0, 1)


book_rows = st.lists(st.tuples(st.integers(0, 14), st.integers(-5, LOOKBACK + 5)), min_size=1, max_size=25, unique=True)
outcome_rows = st.lists(
    st.tuples(st.integers(0, 14), st.integers(-10, LOOKBACK + 2 * W), st.integers(0, 1)), max_size=25
)


@fuzz(60)
@given(applied=book_rows, known=outcome_rows)
def test_target_is_the_definition_read_row_by_row(applied, known):
    first = WINDOW.first
    spread = [(f"s{n}", day) for n, day in enumerate(days(3))]
    book = spread + [(f"a{key}", first + timedelta(days=offset)) for key, offset in applied]
    seen = [(f"a{key}", first + timedelta(days=offset), bad) for key, offset, bad in known]
    result = assemble(features(*book), outcomes(*seen))

    expected = {}
    for key, applied_on in sorted(book, key=lambda row: (row[1], row[0])):
        if WINDOW.first <= applied_on <= WINDOW.last and key not in expected:
            closes = min(AS_OF, applied_on + timedelta(days=W))
            expected[key] = int(any(k == key and bad and applied_on <= on <= closes for k, on, bad in seen))
    assert dict(zip(result["id"], result["default"], strict=True)) == expected


# Point in time


def later_outcome(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    day = AS_OF + timedelta(days=1 + n)
    return inputs, pd.concat([known, outcomes((key, day, bad))], ignore_index=True)


def without_later_outcomes(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    return inputs, known[known["known"] <= pd.Timestamp(AS_OF)]


def later_outcomes_changed(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    later = known["known"] > pd.Timestamp(AS_OF)
    moved = known["known"].where(~later, known["known"] + pd.Timedelta(days=n))
    return inputs, known.assign(known=moved, bad=known["bad"].where(~later, 1 - known["bad"]))


def later_application(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    row = features((key, WINDOW.last + timedelta(days=1 + n))).assign(amount=9e9, kind="never seen")
    return pd.concat([inputs, row], ignore_index=True), known


def earlier_application(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    row = features((key, WINDOW.first - timedelta(days=1 + n))).assign(amount=9e9, kind="never seen")
    return pd.concat([inputs, row], ignore_index=True), known


def outside_applications_changed(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    outside = (inputs["day"] < pd.Timestamp(WINDOW.first)) | (inputs["day"] > pd.Timestamp(WINDOW.last))
    return inputs.assign(
        amount=inputs["amount"].where(~outside, -1.0), kind=inputs["kind"].where(~outside, None)
    ), known


def without_outside_applications(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    return inputs[inputs["day"].between(pd.Timestamp(WINDOW.first), pd.Timestamp(WINDOW.last))], known


def good_outcomes_dropped(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    return inputs, known[known["bad"] == 1]


def rows_shuffled(inputs: pd.DataFrame, known: pd.DataFrame, n: int, key: str, bad: int):
    return inputs.sample(frac=1.0, random_state=n), known.sample(frac=1.0, random_state=n + 1)


def other_storage_types(inputs: pd.DataFrame, known: pd.DataFrame):
    return inputs.assign(day=inputs["day"].dt.date, kind=inputs["kind"].astype("category")), known.assign(
        known=known["known"].dt.date, bad=known["bad"].astype("Int64")
    )


FUTURES: list[Callable] = [
    later_outcome,
    without_later_outcomes,
    later_outcomes_changed,
    later_application,
    earlier_application,
    outside_applications_changed,
    without_outside_applications,
    good_outcomes_dropped,
    rows_shuffled,
]


@fuzz(120)
@given(
    applied=book_rows,
    known=outcome_rows,
    changes=st.lists(
        st.tuples(st.sampled_from(FUTURES), st.integers(0, 400), st.integers(0, 14), st.integers(0, 1)),
        min_size=1,
        max_size=6,
    ),
    retyped=st.booleans(),
)
def test_nothing_learned_after_the_as_of_date_or_outside_the_window_changes_a_byte(applied, known, changes, retyped):
    first = WINDOW.first
    book = [(f"s{n}", day) for n, day in enumerate(days(3))]
    book += [(f"a{key}", first + timedelta(days=offset)) for key, offset in applied]
    inputs = features(*book)
    seen = outcomes(*((f"a{key}", first + timedelta(days=offset), bad) for key, offset, bad in known))
    before = as_bytes(assemble(inputs, seen))
    for change, n, key, bad in changes:
        inputs, seen = change(inputs, seen, n, f"a{key}", bad)
    if retyped:
        inputs, seen = other_storage_types(inputs, seen)
    assert as_bytes(assemble(inputs, seen)) == before


def test_an_outcome_known_in_time_does_change_the_bytes():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    assert as_bytes(assemble(inputs, outcomes(("a5", AS_OF, 1)))) == as_bytes(assemble(inputs, outcomes()))
    known = outcomes(("a5", WINDOW.first + timedelta(days=5 + W), 1))
    assert as_bytes(assemble(inputs, known)) != as_bytes(assemble(inputs, outcomes()))


def test_replaying_an_old_day_years_later_gives_identical_bytes():
    portfolio = load_portfolio()
    applications, everything = canonical_book(3_000, date(2012, 1, 1), date(2014, 12, 31), seed=4)
    inputs = model_inputs(applications, portfolio)
    window = CohortWindow(date(2013, 12, 31), 365, 90)
    known_then = everything[everything["outcome_date"] <= pd.Timestamp(window.as_of)]
    applied_then = inputs[inputs["application_date"] <= pd.Timestamp(window.as_of)]
    then = assemble(applied_then, known_then, window, portfolio)
    today = assemble(inputs, everything, window, portfolio)
    assert len(everything) > len(known_then)
    assert as_bytes(then, portfolio) == as_bytes(today, portfolio)
    assert 0 < then["default"].mean() < 0.15


def test_ids_are_joined_across_their_storage_types():
    portfolio = load_portfolio(GIVE_ME_SOME_CREDIT)
    applications, known = give_me_some_credit_book(500, date(2014, 1, 1), date(2014, 3, 31), seed=4)
    window = CohortWindow(date(2014, 9, 27), 180, 90)
    inputs = model_inputs(applications, portfolio)
    expected = assemble(inputs, known, window, portfolio)
    assert expected["default"].sum() > 10
    as_text = known.assign(customer=known["customer"].astype(str))
    pd.testing.assert_frame_equal(assemble(inputs, as_text, window, portfolio), expected)


# Repeated applications


def test_the_first_application_of_an_id_is_kept_and_the_others_counted():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))), ("a2", WINDOW.last))
    result = assemble(inputs, outcomes(("a2", WINDOW.last, 1)))
    assert len(result) == LOOKBACK
    assert result.loc[result["id"] == "a2", "day"].dt.date.tolist() == [WINDOW.first + timedelta(days=2)]
    assert join_findings(inputs, outcomes(), WINDOW, TINY).repeated_applications == 1


def test_equal_rows_are_one_application():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    pd.testing.assert_frame_equal(
        assemble(pd.concat([inputs, inputs.iloc[[4]]]), outcomes()), assemble(inputs, outcomes())
    )


def test_different_features_under_one_id_and_day_are_refused():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    with pytest.raises(ValueError, match=r"1 applications .* stand in one day twice.*unique_ids") as caught:
        assemble(pd.concat([inputs, inputs.iloc[[4]].assign(amount=99.0)]), outcomes())
    assert "a4" not in str(caught.value)


# The split


@fuzz(80)
@given(
    counts=st.lists(st.integers(0, 12), min_size=LOOKBACK, max_size=LOOKBACK).filter(
        lambda counts: sum(count > 0 for count in counts) >= 3
    ),
    test_share=st.floats(0.05, 0.5),
    validation_share=st.floats(0.05, 0.45),
)
def test_the_split_runs_along_days_and_near_its_shares(counts, test_share, validation_share):
    book = [(f"a{d}-{n}", day) for d, day in enumerate(days(LOOKBACK)) for n in range(counts[d])]
    result = assemble(features(*book), outcomes(), test_share=test_share, validation_share=validation_share)
    spans = result.groupby("split")["day"].agg(["min", "max"])
    assert set(spans.index) == {"train", "validation", "test"}
    assert spans.loc["train", "max"] < spans.loc["validation", "min"]
    assert spans.loc["validation", "max"] < spans.loc["test", "min"]
    # Half a day's rows is as near as a boundary comes, unless a part would be left without a day.
    active = [count for count in counts if count]
    if len(active) > 12 and max(active) < 3:
        assert abs((result["split"] == "test").mean() - test_share) <= max(active) / len(result)


def test_the_split_of_even_days_has_the_shares_asked_for():
    book = [(f"a{d:02}-{n}", day) for d, day in enumerate(days(LOOKBACK)) for n in range(5)]
    result = assemble(features(*book), outcomes(), test_share=0.25, validation_share=0.2)
    assert result["split"].value_counts().to_dict() == {"train": 55, "test": 25, "validation": 20}
    assert result["split"].tolist() == ["train"] * 55 + ["validation"] * 20 + ["test"] * 25


def test_three_days_make_three_parts():
    result = assemble(features(("a", days(3)[0]), ("b", days(3)[1]), ("c", days(3)[2])), outcomes())
    assert result["split"].tolist() == ["train", "validation", "test"]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_days_to_split(count: int):
    book = [(f"a{n}", day) for n, day in enumerate(days(count) * 3)]
    with pytest.raises(ValueError, match=rf"applications on {count} days? of .*at least 3 days"):
        assemble(features(*book), outcomes())


def test_an_empty_window_says_which_days_are_wanted():
    with pytest.raises(ValueError, match=rf"no application between {WINDOW.first} and {WINDOW.last}.*{AS_OF}"):
        assemble(features(("a", AS_OF)), outcomes())


@pytest.mark.parametrize("shares", [(0.0, 0.2), (0.2, 0.0), (0.5, 0.5), (0.9, 0.3)])
def test_shares_that_leave_nothing_to_train_on(shares: tuple[float, float]):
    book = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    with pytest.raises(ValueError, match="their sum must be below 1"):
        assemble(book, outcomes(), test_share=shares[0], validation_share=shares[1])


def test_missing_columns_are_named():
    book = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    with pytest.raises(ValueError, match="features table lacks the columns kind"):
        assemble(book.drop(columns="kind"), outcomes())
    with pytest.raises(ValueError, match="outcomes table lacks the columns bad, known"):
        assemble(book, outcomes().drop(columns=["known", "bad"]))


def test_columns_order_and_types():
    shuffled = features(*((f"a{n}", day) for n, day in enumerate(reversed(days(LOOKBACK)))))
    result = assemble(shuffled.assign(gender="f", branch="x", bad=1), outcomes())
    assert list(result.columns) == ["id", "day", "amount", "kind", "default", "split"]
    assert result["day"].is_monotonic_increasing
    assert result.index.tolist() == list(range(LOOKBACK))
