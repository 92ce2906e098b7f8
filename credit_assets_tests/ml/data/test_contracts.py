"""The data contract: each rule at its border, the policy of each column, and verdicts that depend on the day alone."""

from __future__ import annotations

import time
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.contracts import Checked, Contract, applications_rules, outcomes_rules
from credit_assets.ml.data.gate_results import worst
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.data.schemas import REASON, applications_schema, outcomes_schema, quarantine_schema
from credit_assets.ml.data.values import as_table
from credit_assets.ml.rules.day_gates import (
    application_gates,
    check_applications,
    check_outcomes,
    outcome_gates,
)
from credit_assets_tests.support.contract_days import DAY, NEXT, check, gates_of, rows, small
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.synthetic import GIVE_ME_SOME_CREDIT, canonical_book, give_me_some_credit_book

APPLICATION_GATES = [
    "schema",
    "values",
    "unique_ids",
    "partition_date",
    "volume",
    "missing_share",
    "quarantined_share",
]


@pytest.fixture(scope="module")
def portfolio() -> Portfolio:
    return load_portfolio()


@pytest.fixture
def day() -> pd.DataFrame:
    """A hundred sound applications of DAY."""
    return canonical_book(100, DAY, DAY, seed=5)[0]


def of_day(rows: pa.Table, day: date) -> pa.Table:
    return rows.filter(pc.equal(rows["application_date"], day))


def test_sound_days_pass_every_gate(portfolio: Portfolio, day: pd.DataFrame):
    result = check(day, portfolio, recent={DAY - timedelta(days=3): 90})
    assert [gate.name for gate in result.gates[DAY]] == APPLICATION_GATES
    assert worst(result.gates[DAY]) == "passed"
    assert len(result.kept) == 100
    assert len(result.quarantined) == 0
    assert result.kept.schema.equals(applications_schema(portfolio))
    assert result.quarantined.schema.equals(quarantine_schema(applications_schema(portfolio), "application_date"))
    assert result.quarantined.column_names == [*(column.name for column in portfolio.columns), REASON]


def test_kept_rows_fit_the_stored_schema_and_lose_nothing(portfolio: Portfolio, day: pd.DataFrame):
    day.loc[4, ["purpose", "annual_income"]] = [None, np.nan]
    assert check(day, portfolio).kept.equals(as_table(day, applications_schema(portfolio)))


@pytest.mark.parametrize("broken", ["extra", "order", "index"])
def test_extra_columns_order_and_index_do_not_matter(portfolio: Portfolio, day: pd.DataFrame, broken: str):
    other = {
        "extra": day.assign(loan_status="Charged Off"),
        "order": day[day.columns[::-1]],
        "index": day.set_index(pd.Index([7] * 100)),
    }[broken]
    assert check(other, portfolio).kept.equals(check(day, portfolio).kept)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("annual_income", -0.01, "below 0"),
        ("annual_income", 1e8 + 1, "above 1e+08"),
        ("annual_income", np.inf, "not a finite number"),
        ("loan_amount", np.nan, "missing"),
        ("term_months", 0, "below 1"),
        ("term_months", np.nan, "missing"),
        ("term_months", 36.5, "not a whole number"),
        ("purpose", "yacht", "not an allowed value"),
    ],
)
def test_a_row_that_breaks_a_rule_is_quarantined_with_its_reason(
    portfolio: Portfolio, day: pd.DataFrame, column: str, value: object, problem: str
):
    frame = day.astype({column: object})
    frame.loc[7, column] = value
    result = check(frame, portfolio)
    values = gates_of(result)["values"]
    assert (values.passed, values.severity, values.value) == (False, "warn", 1)
    assert values.details == ({"column": column, "problem": problem, "count": 1},)
    assert result.quarantined["application_id"].to_pylist() == [day.loc[7, "application_id"]]
    assert result.quarantined[REASON].to_pylist() == [f"{column}: {problem}"]
    assert day.loc[7, "application_id"] not in set(result.kept["application_id"].to_pylist())
    assert len(result.kept) == 99


def test_every_rule_of_the_portfolio_is_held(portfolio: Portfolio, day: pd.DataFrame):
    breaches: list[tuple[str, object, str]] = []
    for column in portfolio.columns:
        if column.minimum is not None:
            breaches.append((column.name, column.minimum - 1, f"below {column.minimum:g}"))
        if column.maximum is not None:
            breaches.append((column.name, column.maximum + 1, f"above {column.maximum:g}"))
        if column.allowed is not None:
            breaches.append((column.name, "of no list", "not an allowed value"))
        if not column.nullable:
            breaches.append((column.name, None, "missing"))
    assert len(breaches) == 28
    frame = pd.concat([day.astype(object)] * 2, ignore_index=True)
    frame["application_id"] = [f"A{number:03d}" for number in range(len(frame))]
    for row, (name, value, _) in enumerate(breaches):
        frame.loc[row, name] = value
    result = check(frame, portfolio)
    assert result.quarantined[REASON].to_pylist() == [f"{name}: {text}" for name, _, text in breaches]
    assert result.kept.num_rows == len(frame) - len(breaches)


@pytest.mark.parametrize(("column", "value"), [("annual_income", 0.0), ("annual_income", 1e8), ("interest_rate", 100)])
def test_borders_of_a_range_belong_to_it(portfolio: Portfolio, day: pd.DataFrame, column: str, value: float):
    day.loc[7, column] = value
    assert gates_of(check(day, portfolio))["values"].passed


def test_a_missing_value_breaks_no_range_and_no_list(portfolio: Portfolio, day: pd.DataFrame):
    day.loc[7, ["annual_income", "purpose"]] = [np.nan, None]
    assert gates_of(check(day, portfolio))["values"].passed


def test_reasons_of_one_row_stand_together_and_quarantine_keeps_the_source_values(portfolio: Portfolio, day):
    frame = day.astype({"term_months": object})
    frame.loc[7, ["annual_income", "term_months", "purpose"]] = [-5.0, "three years", "yacht"]
    result = check(frame, portfolio)
    aside = result.quarantined.to_pylist()[0]
    assert aside[REASON] == "annual_income: below 0; term_months: not a whole number; purpose: not an allowed value"
    assert (aside["annual_income"], aside["term_months"], aside["purpose"]) == ("-5.0", "three years", "yacht")
    assert gates_of(result)["values"].value == 1


def test_a_column_that_rejects_rejects_the_day():
    portfolio = small({"name": "amount", "type": "float", "minimum": 1, "on_violation": "reject"})
    result = check(rows(amount=[5.0, 0.5, 7.0]), portfolio)
    values = gates_of(result)["values"]
    assert (values.passed, values.severity) == (False, "error")
    assert result.quarantined["id"].to_pylist() == ["i1"]


def test_neither_values_nor_ids_reach_the_gates(portfolio: Portfolio, day: pd.DataFrame):
    frame = day.astype({"annual_income": object})
    frame.loc[7, ["application_id", "annual_income", "purpose"]] = ["SECRET-ID", "SECRET-INCOME", "SECRET-PURPOSE"]
    frame = pd.concat([frame, frame.iloc[[7]].assign(loan_amount=1.0)])
    text = str([gate.to_record() for gate in check(frame, portfolio).gates[DAY]])
    assert "not an allowed value" in text
    assert "SECRET" not in text


# Types


@pytest.mark.parametrize(
    "convert", [str, lambda v: Decimal(str(v)), lambda v: f"  {v} "], ids=["text", "decimal", "blanks"]
)
def test_numbers_that_came_as_something_else_are_read(portfolio: Portfolio, day: pd.DataFrame, convert):
    other = day.assign(**{name: day[name].map(convert) for name in ("annual_income", "loan_amount", "term_months")})
    result = check(other, portfolio)
    assert worst(result.gates[DAY]) in ("passed", "warn")
    assert result.kept.equals(check(day, portfolio).kept)


def test_unreadable_values_are_their_rows_fault(portfolio: Portfolio, day: pd.DataFrame):
    texts = day["annual_income"].astype(str)
    texts.iloc[[3, 9]] = ["a lot", "13.5%"]
    result = check(day.assign(annual_income=texts), portfolio)
    assert gates_of(result)["schema"].passed
    assert gates_of(result)["values"].details == (
        {"column": "annual_income", "problem": "not a finite number", "count": 2},
    )
    assert len(result.kept) == 98


def test_a_column_without_a_readable_value_is_a_schema_error(portfolio: Portfolio, day: pd.DataFrame):
    result = check(day.assign(annual_income="a lot"), portfolio)
    schema = gates_of(result)["schema"]
    assert schema.blocks
    assert schema.value == 1
    assert schema.details == ({"column": "annual_income", "problem": "unreadable as float", "count": 100},)
    # The column's fault, not a hundred rows': nothing is quarantined for it.
    assert gates_of(result)["values"].passed
    assert len(result.quarantined) == 0


def test_one_unreadable_value_alone_does_not_condemn_its_column():
    portfolio = small({"name": "amount", "type": "float"})
    result = check(rows(amount=["much"]), portfolio)
    assert gates_of(result)["schema"].passed
    assert result.quarantined[REASON].to_pylist() == ["amount: not a finite number"]


def test_a_missing_column_is_a_schema_error_and_stored_rows_still_fit(portfolio: Portfolio, day: pd.DataFrame):
    result = check(day.drop(columns=["term_months", "purpose"]), portfolio)
    schema = gates_of(result)["schema"]
    assert schema.blocks
    assert [d["column"] for d in schema.details] == ["term_months", "purpose"]
    assert gates_of(result)["values"].passed
    assert result.kept.schema.equals(applications_schema(portfolio))
    assert result.kept.column("purpose").null_count == 100


def test_an_id_column_that_is_missing_is_told_and_does_not_crash(portfolio: Portfolio, day: pd.DataFrame):
    schema = gates_of(check(day.drop(columns="application_id"), portfolio))["schema"]
    assert [d["column"] for d in schema.details] == ["application_id"]


def test_a_missing_date_column_is_told_and_does_not_crash(portfolio: Portfolio, day: pd.DataFrame):
    schema = gates_of(check(day.drop(columns="application_date"), portfolio))["schema"]
    assert [d["column"] for d in schema.details] == ["application_date"]


def test_flags_are_read_from_their_usual_forms():
    portfolio = small({"name": "insured", "type": "boolean"})
    given = [True, "false", "T", "no", 1, 0.0, None, "", "maybe", 2]
    result = check(rows(insured=pd.Series(given, dtype=object)), portfolio)
    assert result.kept["insured"].to_pylist() == [True, False, True, False, True, False, None, None]
    assert result.quarantined[REASON].to_pylist() == ["insured: not true or false"] * 2


def test_empty_text_is_a_missing_value():
    portfolio = small(
        {"name": "amount", "type": "float"}, {"name": "kind", "type": "category", "allowed": ["a"], "nullable": False}
    )
    result = check(rows(amount=["1", ""], kind=["a", ""]), portfolio)
    assert result.quarantined[REASON].to_pylist() == ["kind: missing"]


def test_long_integer_ids_keep_every_digit():
    base = small({"name": "amount", "type": "float"}).model_dump()
    base["columns"][0]["type"] = "integer"
    portfolio = Portfolio.model_validate(base)
    ids = [2**53 + 1, 2**53 + 2, 2**60 + 7]
    for form in (ids, [str(i) for i in ids], [Decimal(i) for i in ids]):
        frame = rows(amount=[1.0, 2.0, 3.0]).assign(id=form)
        assert check(frame, portfolio).kept["id"].to_pylist() == ids


def test_arrow_backed_and_nullable_columns_read_the_same(portfolio: Portfolio, day: pd.DataFrame):
    day.loc[3, ["purpose", "inquiries_6m", "annual_income"]] = [None, np.nan, np.nan]
    table = as_table(day, applications_schema(portfolio))
    expected = check(day, portfolio).kept
    for frame in (
        table.to_pandas(),
        table.to_pandas(date_as_object=False),
        table.to_pandas(types_mapper=pd.ArrowDtype),
    ):
        assert check(frame, portfolio).kept.equals(expected)


def test_long_integers_of_another_arrow_type_keep_every_digit_beside_a_missing_one():
    base = small({"name": "amount", "type": "float"}).model_dump()
    base["columns"][0]["type"] = "integer"
    ids = pa.array([2**53 + 1, None, 2**60 + 7], pa.uint64())
    table = pa.table({"id": ids, "day": pa.array([DAY] * 3), "amount": [1.0, 2.0, 3.0]})
    assert check(table, Portfolio.model_validate(base)).kept["id"].to_pylist() == [2**53 + 1, 2**60 + 7]


# Ids and dates


def test_equal_copies_are_quarantined_but_for_the_first(portfolio: Portfolio, day: pd.DataFrame):
    result = check(pd.concat([day, day.iloc[[3, 3, 8]]]), portfolio)
    ids = gates_of(result)["unique_ids"]
    assert (ids.passed, ids.severity, ids.value) == (False, "warn", 3)
    assert ids.details[0]["problem"] == "equal copy of an earlier row"
    assert result.kept.equals(check(day, portfolio).kept)


def test_applications_that_differ_under_one_id_reject_the_day(portfolio: Portfolio, day: pd.DataFrame):
    other = day.iloc[[3]].assign(loan_amount=1_000.0)
    result = check(pd.concat([day, other]), portfolio)
    ids = gates_of(result)["unique_ids"]
    assert ids.blocks
    assert ids.value == 2
    assert set(result.quarantined[REASON].to_pylist()) == {"application_id: repeated with other values"}
    assert len(result.kept) == 99


def test_copies_beside_a_contradiction_leave_nothing_of_the_id(portfolio: Portfolio, day: pd.DataFrame):
    copies = pd.concat([day, day.iloc[[3]], day.iloc[[3]].assign(loan_amount=1_000.0)])
    result = check(copies, portfolio)
    assert gates_of(result)["unique_ids"].value == 3
    assert day.loc[3, "application_id"] not in set(result.kept["application_id"].to_pylist())


def test_missing_ids_are_no_copies_of_each_other(portfolio: Portfolio, day: pd.DataFrame):
    day.loc[[1, 2], "application_id"] = None
    gates = gates_of(check(day, portfolio))
    assert gates["unique_ids"].passed
    assert gates["values"].blocks
    assert gates["values"].details == ({"column": "application_id", "problem": "missing", "count": 2},)


def test_the_same_id_on_two_days_is_no_copy(portfolio: Portfolio, day: pd.DataFrame):
    both = pd.concat([day, day.assign(application_date=pd.Timestamp(NEXT))])
    result = check(both, portfolio, DAY, NEXT)
    assert gates_of(result)["unique_ids"].passed
    assert gates_of(result, NEXT)["unique_ids"].passed


def test_rows_of_another_day_reject_the_partition(portfolio: Portfolio, day: pd.DataFrame):
    day.loc[[4, 5], "application_date"] = pd.Timestamp(NEXT)
    result = check(day, portfolio)
    dates = gates_of(result)["partition_date"]
    assert dates.blocks
    assert dates.details == ({"column": "application_date", "problem": "not of the partition", "count": 2},)
    assert set(result.kept["application_date"].to_pylist()) == {DAY}


def test_a_timestamp_counts_for_its_day(portfolio: Portfolio, day: pd.DataFrame):
    stamped = day.assign(application_date=pd.Timestamp(DAY) + pd.Timedelta(hours=23, minutes=59))
    result = check(stamped, portfolio)
    assert gates_of(result)["partition_date"].passed
    assert set(result.kept["application_date"].to_pylist()) == {DAY}


def test_rows_without_a_readable_date_count_for_the_first_day(portfolio: Portfolio, day: pd.DataFrame):
    frame = day.astype({"application_date": object})
    frame.loc[[0, 1], "application_date"] = [None, "soon"]
    result = check(frame, portfolio, DAY, NEXT)
    assert {d["problem"]: d["count"] for d in gates_of(result)["values"].details} == {"missing": 1, "not a date": 1}
    assert gates_of(result)["values"].blocks
    assert gates_of(result, NEXT)["values"].passed


def test_no_day_at_all_is_refused(portfolio: Portfolio, day: pd.DataFrame):
    with pytest.raises(ValueError, match="no day to check"):
        check_applications(day, portfolio, [], {})


# Many days at once


@fuzz(15)
@given(st.data())
def test_a_day_is_judged_the_same_alone_and_among_others(portfolio: Portfolio, data: st.DataObject):
    days = [DAY + timedelta(days=number) for number in range(4)]
    frame = canonical_book(60, days[0], days[-1], seed=data.draw(st.integers(0, 50)))[0].astype(object)
    junk = st.sampled_from([None, "", "a lot", -1, 36.5, "yacht", "7", np.inf, 10**9])
    cells = data.draw(
        st.lists(st.tuples(st.integers(0, 59), st.sampled_from(list(frame.columns[2:])), junk), max_size=12)
    )
    for row, column, value in cells:
        frame.iloc[row, frame.columns.get_loc(column)] = value
    whole = data.draw(st.sampled_from([None, *days]))
    if whole:
        frame.loc[frame["application_date"] == pd.Timestamp(whole), "annual_income"] = "unreadable"
    copies = data.draw(st.lists(st.integers(0, 59), max_size=4))
    frame = pd.concat([frame, frame.iloc[copies]], ignore_index=True)
    recent = {DAY - timedelta(days=back): 15 for back in range(1, 10)}

    together = check_applications(frame, portfolio, days, recent)
    for day in days:
        alone = check_applications(frame[frame["application_date"] == pd.Timestamp(day)], portfolio, [day], recent)
        assert alone.gates[day] == together.gates[day]
        for part in ("kept", "quarantined"):
            assert getattr(alone, part).equals(of_day(getattr(together, part), day))
    assert len(together.kept) + len(together.quarantined) == len(frame)


def test_every_row_is_kept_or_quarantined_once(portfolio: Portfolio):
    frame = canonical_book(2_000, DAY, DAY + timedelta(days=9), seed=2)[0]
    rng = np.random.default_rng(0)
    frame.loc[rng.random(2_000) < 0.1, "annual_income"] = -1
    frame.loc[rng.random(2_000) < 0.1, "purpose"] = "yacht"
    result = check(frame, portfolio, *(DAY + timedelta(days=number) for number in range(10)))
    ids = [*result.kept["application_id"].to_pylist(), *result.quarantined["application_id"].to_pylist()]
    assert sorted(ids) == sorted(frame["application_id"])


def test_years_of_days_take_seconds(portfolio: Portfolio):
    days = [DAY + timedelta(days=number) for number in range(1_675)]
    frame = canonical_book(1_675 * 25, days[0], days[-1], seed=1)[0]
    frame.loc[::97, "annual_income"] = -1.0
    recent = frame["application_date"].dt.date.value_counts().to_dict()
    check(frame.head(10), portfolio)  # imports are not what is measured
    started = time.process_time()
    result = check_applications(frame, portfolio, days, recent)
    assert time.process_time() - started < 3
    assert len(result.gates) == 1_675


# Chunk after chunk

LONE = small({"name": "amount", "type": "float"})
# Few ids and few values, so that copies, contradictions and whole bad columns are common.
FEW = small(
    {"name": "amount", "type": "float", "minimum": 0, "max_missing_share": 0.2},
    {"name": "count", "type": "integer", "maximum": 10},
    {"name": "kind", "type": "category", "allowed": ["a", "b"], "nullable": False},
    {"name": "sure", "type": "boolean", "on_violation": "reject"},
)
DAYS = [DAY + timedelta(days=number) for number in range(3)]
CELLS = {
    "id": st.sampled_from(["p", "q", "r", "s", "t", "u", "v", None]),
    "day": st.sampled_from(DAYS),
    "amount": st.sampled_from([1.0, 1.0, 2.5, -1.0, np.inf, np.nan, None]),
    "count": st.sampled_from([3, 3, 11, None]),
    "kind": st.sampled_from(["a", "a", "b", "c", "", None]),
    "sure": st.sampled_from([True, True, None]),
}
TEXTS = {"amount": st.sampled_from([1.0, 1.0, "2.5", "much", "x"]), "sure": st.sampled_from([True, "no", "perhaps"])}


@st.composite
def few_rows(draw: st.DrawFn, typed: bool) -> pa.Table | pd.DataFrame:
    """Up to thirty rows of FEW on DAYS in order of (date, id); a whole column of a day may be unreadable."""
    cells = CELLS if typed else {**CELLS, **TEXTS}
    drawn = draw(st.lists(st.fixed_dictionaries(cells), max_size=30))
    if draw(st.booleans()):
        bad = draw(st.sampled_from(DAYS))
        drawn = [{**row, "amount": np.inf} if row["day"] == bad else row for row in drawn]
    drawn.sort(key=lambda row: (row["day"], row["id"] is None, row["id"] or ""))
    if typed:
        return pa.Table.from_pylist(drawn, schema=applications_schema(FEW))
    return pd.DataFrame(drawn, columns=list(CELLS), dtype=object)


def in_chunks(contract: Contract, rows: pa.Table | pd.DataFrame, borders: list[int]) -> Checked:
    parts = []
    for start, end in zip([0, *borders], [*borders, len(rows)], strict=True):
        part = rows.slice(start, end - start) if isinstance(rows, pa.Table) else rows.iloc[start:end]
        parts.append(contract.check(part))
    return Checked(*(pa.concat_tables(getattr(part, name) for part in parts) for name in ("kept", "quarantined")))


@pytest.mark.parametrize("typed", [True, False], ids=["table", "frame"])
@fuzz(60)
@given(st.data())
def test_chunks_give_what_the_whole_gives(typed: bool, data: st.DataObject):
    rows = data.draw(few_rows(typed))
    borders = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    whole = check_applications(rows, FEW, DAYS, {})
    contract = Contract(applications_rules(FEW), DAYS)
    parts = in_chunks(contract, rows, borders)
    assert application_gates(contract.findings, FEW, {}) == whole.gates
    assert parts.kept.num_rows + parts.quarantined.num_rows == len(rows)
    for day in DAYS:
        # The rows of a day that is rejected must not be used, so which of them were handed out does not matter.
        if worst(whole.gates[day]) != "error":
            for mine, theirs in ((parts.kept, whole.kept), (parts.quarantined, whole.quarantined)):
                assert mine.filter(pc.equal(mine["day"], day)).equals(theirs.filter(pc.equal(theirs["day"], day)))


@fuzz(60)
@given(st.data())
def test_a_table_is_judged_like_a_frame_of_the_same_values(data: st.DataObject):
    table = data.draw(few_rows(typed=True))
    order = data.draw(st.permutations(range(table.num_rows)))
    table = table.take(pa.array(order, pa.int64()))
    frame = pd.DataFrame(table.to_pylist(), columns=table.column_names, dtype=object)
    one, other = check_applications(table, FEW, DAYS, {}), check_applications(frame, FEW, DAYS, {})
    assert one.gates == other.gates
    assert one.kept.equals(other.kept)
    assert one.quarantined.equals(other.quarantined)


def test_a_sound_table_comes_back_as_it_is(portfolio: Portfolio, day: pd.DataFrame):
    day.loc[4, ["purpose", "annual_income"]] = [None, np.nan]
    table = as_table(day, applications_schema(portfolio))
    checked = Contract(applications_rules(portfolio), [DAY]).check(table)
    assert checked.kept is table
    assert checked.quarantined.equals(quarantine_schema(table.schema, "application_date").empty_table())


def test_columns_of_other_arrow_types_are_read_too(portfolio: Portfolio, day: pd.DataFrame):
    table = as_table(day, applications_schema(portfolio))
    other = table.set_column(6, "loan_amount", table["loan_amount"].cast(pa.decimal128(20, 2)))
    other = other.set_column(8, "term_months", table["term_months"].cast(pa.int16()))
    other = other.set_column(9, "purpose", table["purpose"].dictionary_encode())
    other = other.set_column(1, "application_date", table["application_date"].cast(pa.timestamp("us")))
    assert check(other, portfolio).kept.equals(table)


def test_a_copy_beyond_the_border_of_a_chunk_is_quarantined():
    table = as_table(
        rows(amount=[1.0, 2.0, 2.0, 2.0, 3.0]).assign(id=["p", "q", "q", "q", "r"]), applications_schema(LONE)
    )
    contract = Contract(applications_rules(LONE), [DAY])
    kept = in_chunks(contract, table, [2, 3]).kept
    assert kept["id"].to_pylist() == ["p", "q", "r"]
    ids = {gate.name: gate for gate in application_gates(contract.findings, LONE, {})[DAY]}["unique_ids"]
    assert (ids.verdict, ids.value) == ("warn", 2)


def test_a_contradiction_beyond_the_border_of_a_chunk_rejects_the_day():
    table = as_table(
        rows(amount=[1.0, 2.0, 2.0, 9.0, 3.0]).assign(id=["p", "q", "q", "q", "r"]), applications_schema(LONE)
    )
    contract = Contract(applications_rules(LONE), [DAY])
    parts = in_chunks(contract, table, [2, 3])
    # The first was handed out before its contradiction was seen.
    assert parts.kept["id"].to_pylist() == ["p", "q", "r"]
    ids = {gate.name: gate for gate in application_gates(contract.findings, LONE, {})[DAY]}["unique_ids"]
    assert (ids.verdict, ids.value) == ("error", 3)
    assert ids.details == ({"column": "id", "problem": "repeated with other values", "count": 3},)
    assert application_gates(contract.findings, LONE, {}) == check_applications(table, LONE, [DAY], {}).gates


def test_a_contradiction_from_the_chunk_before_touches_no_other_id():
    given = rows(amount=[1.0, 2.0, 3.0, 4.0, 4.0]).assign(id=["p", "p", "p", "q", "q"])
    contract = Contract(applications_rules(LONE), [DAY])
    parts = in_chunks(contract, as_table(given, applications_schema(LONE)), [2])
    assert parts.kept["id"].to_pylist() == ["q"]
    ids = {gate.name: gate for gate in application_gates(contract.findings, LONE, {})[DAY]}["unique_ids"]
    assert [row["count"] for row in ids.details] == [1, 3]


def test_a_day_that_goes_on_keeps_no_unreadable_value():
    """Two values without a readable one look like a bad column, until the next chunk brings readable ones."""
    amounts = [np.inf, np.inf, *np.arange(98.0)]
    table = as_table(rows(amount=amounts).assign(id=[f"i{n:02d}" for n in range(100)]), applications_schema(LONE))
    table = table.set_column(2, "amount", pa.array(amounts))
    contract = Contract(applications_rules(LONE), [DAY])
    parts = in_chunks(contract, table, [2])
    assert parts.quarantined["id"].to_pylist() == ["i00", "i01"]
    assert worst(application_gates(contract.findings, LONE, {})[DAY]) == "warn"


def test_a_column_is_judged_over_all_chunks_of_its_day():
    table = pa.table({"id": ["p", "q", "r"], "day": pa.array([DAY] * 3), "amount": [np.inf] * 3})
    contract = Contract(applications_rules(LONE), [DAY])
    in_chunks(contract, table, [1])
    gates = {gate.name: gate for gate in application_gates(contract.findings, LONE, {})[DAY]}
    assert gates["schema"].details == ({"column": "amount", "problem": "unreadable as float", "count": 3},)
    assert gates["values"].passed
    assert gates["quarantined_share"].value == 0


def test_chunks_of_different_tables_or_out_of_order_are_refused():
    contract = Contract(applications_rules(LONE), [DAY, NEXT])
    contract.check(rows(amount=[1.0]).assign(day=[NEXT]))
    with pytest.raises(ValueError, match=f"rows of {DAY}, the one before it had rows of {NEXT}"):
        contract.check(rows(amount=[1.0]))
    with pytest.raises(ValueError, match="lacks columns amount, the chunks before it lacked none"):
        contract.check(rows(amount=[1.0]).drop(columns="amount"))


def test_without_a_chunk_every_day_is_empty(portfolio: Portfolio):
    contract = Contract(applications_rules(portfolio), [DAY, NEXT])
    assert (
        application_gates(contract.findings, portfolio, {})
        == check_applications(applications_schema(portfolio).empty_table(), portfolio, [DAY, NEXT], {}).gates
    )
    assert application_gates(contract.findings, portfolio, {})[DAY][4].description.startswith("The day is empty")


def test_outcomes_come_in_chunks_too(portfolio: Portfolio):
    schema = outcomes_schema(portfolio)
    given = [("p", 0), ("q", 1), ("q", 1), ("r", 2), ("s", None), ("t", 0), ("t", 1)]
    table = pa.Table.from_pylist(
        [{"application_id": key, "outcome_date": DAY, "defaulted": value} for key, value in given], schema=schema
    )
    whole = check_outcomes(table, portfolio, [DAY], {})
    assert whole.kept["application_id"].to_pylist() == ["p", "q"]
    assert [gate.value for gate in whole.gates[DAY]] == [0, 2, 3, 0, 7]
    for border in range(len(given) + 1):
        contract = Contract(outcomes_rules(portfolio), [DAY])
        in_chunks(contract, table, [border])
        assert outcome_gates(contract.findings, portfolio, {}) == whole.gates


def test_a_quarter_of_a_million_sound_rows_of_a_year_take_a_fraction_of_a_second(portfolio: Portfolio):
    days = [DAY + timedelta(days=number) for number in range(366)]
    table = as_table(canonical_book(250_000, days[0], days[-1], seed=1)[0], applications_schema(portfolio))
    recent = dict.fromkeys(days, 700)
    started = time.process_time()
    contract = Contract(applications_rules(portfolio), days)
    kept = contract.check(table).kept
    gates = application_gates(contract.findings, portfolio, recent)
    assert time.process_time() - started < 0.5
    assert kept is table
    assert all(worst(found) != "error" for found in gates.values())


# The second portfolio


def test_a_lender_with_other_columns():
    portfolio = load_portfolio(GIVE_ME_SOME_CREDIT)
    frame, outcomes = give_me_some_credit_book(400, DAY, DAY + timedelta(days=3), seed=1)
    days = [DAY + timedelta(days=number) for number in range(4)]
    # The public file codes "unknown" as 98 times past due; the contract sets such rows aside.
    frame.loc[5, "NumberOfTime30-59DaysPastDueNotWorse"] = 98
    result = check_applications(frame, portfolio, days, {})
    assert result.quarantined[REASON].to_pylist() == ["NumberOfTime30-59DaysPastDueNotWorse: above 90"]
    assert all(worst(gates) != "error" for gates in result.gates.values())
    assert result.kept.num_rows == 399
    known = [DAY + timedelta(days=number) for number in range(1_200)]
    checked = check_outcomes(outcomes, portfolio, known, {})
    assert all(worst(gates) == "passed" for gates in checked.gates.values())
    assert checked.kept.num_rows == len(outcomes)


# Outcomes


@pytest.fixture
def outcomes() -> pd.DataFrame:
    return pd.DataFrame(
        {"application_id": [f"A{n}" for n in range(6)], "outcome_date": [DAY] * 6, "defaulted": [0, 1, 0, 0, 1, 0]}
    )


def test_sound_outcomes_pass(portfolio: Portfolio, outcomes: pd.DataFrame):
    result = check_outcomes(outcomes, portfolio, [DAY, NEXT], {})
    assert [gate.name for gate in result.gates[DAY]] == ["schema", "values", "unique_ids", "partition_date", "volume"]
    assert worst(result.gates[DAY]) == worst(result.gates[NEXT]) == "passed"
    assert result.kept.schema.equals(outcomes_schema(portfolio))
    assert result.kept["defaulted"].to_pylist() == [0, 1, 0, 0, 1, 0]


def test_days_without_outcomes_are_sound(portfolio: Portfolio, outcomes: pd.DataFrame):
    result = check_outcomes(outcomes.head(0), portfolio, [DAY], {})
    assert worst(result.gates[DAY]) == "passed"
    assert result.kept.equals(outcomes_schema(portfolio).empty_table())


@pytest.mark.parametrize("form", [bool, str, float, lambda v: "yes" if v else "no"])
def test_defaulted_is_read_in_its_usual_forms(portfolio: Portfolio, outcomes: pd.DataFrame, form):
    other = outcomes.assign(defaulted=outcomes["defaulted"].map(form))
    assert check_outcomes(other, portfolio, [DAY], {}).kept["defaulted"].to_pylist() == outcomes["defaulted"].tolist()


@pytest.mark.parametrize(
    ("column", "value", "gate"),
    [
        ("defaulted", 2, "values"),
        ("application_id", None, "values"),
        ("outcome_date", None, "values"),
        ("outcome_date", NEXT, "partition_date"),
        ("application_id", "A1", "unique_ids"),
    ],
)
def test_outcomes_that_break_their_contract_reject_the_day(
    portfolio: Portfolio, outcomes: pd.DataFrame, column: str, value: object, gate: str
):
    frame = outcomes.astype(object)
    frame.loc[3, column] = value
    result = check_outcomes(frame, portfolio, [DAY], {})
    assert [g.name for g in result.gates[DAY] if g.blocks] == [gate]
    assert outcomes.loc[3, "application_id"] not in set(result.kept["application_id"].to_pylist())


def test_an_outcome_that_says_nothing_is_set_aside_and_rejects_no_day(portfolio: Portfolio, outcomes: pd.DataFrame):
    frame = outcomes.astype(object)
    frame.loc[3, "defaulted"] = None
    result = check_outcomes(frame, portfolio, [DAY], {})
    (values,) = [gate for gate in result.gates[DAY] if not gate.passed]
    assert (values.name, values.verdict, values.details) == (
        "values", "warn", ({"column": "defaulted", "problem": "missing", "count": 1},)
    )  # fmt: skip
    assert result.quarantined["quarantine_reason"].to_pylist() == ["defaulted: missing"]
    assert len(result.kept) == len(outcomes) - 1


def test_equal_copies_of_an_outcome_are_quarantined(portfolio: Portfolio, outcomes: pd.DataFrame):
    result = check_outcomes(pd.concat([outcomes, outcomes.head(2)]), portfolio, [DAY], {})
    assert worst(result.gates[DAY]) == "warn"
    assert len(result.kept) == 6


def test_outcomes_without_their_column(portfolio: Portfolio, outcomes: pd.DataFrame):
    result = check_outcomes(outcomes.drop(columns="defaulted"), portfolio, [DAY], {})
    assert [gate.name for gate in result.gates[DAY] if gate.blocks] == ["schema"]
    assert result.kept.num_rows == 6


# Real loans


@pytest.mark.real_loans
def test_real_applications_keep_the_packaged_contract(real_loans_dir, portfolio: Portfolio):
    import pyarrow.parquet as pq

    raw = pq.read_table(real_loans_dir / "lending_club_2007_2011.parquet").to_pandas()
    raw = raw[raw["issue_d"] >= "2010-01-01"].reset_index(drop=True)
    days = pd.to_datetime(raw["issue_d"]).dt.normalize()
    frame = pd.DataFrame(
        {
            "application_id": [f"L{number}" for number in range(len(raw))],
            "application_date": days,
            "annual_income": raw["annual_inc"],
            "total_debt": raw["dti"] * raw["annual_inc"] / 100,
            "credit_used": raw["revol_bal"],
            "credit_limit": raw["revol_bal"] / raw["revol_util"].where(raw["revol_util"] >= 0.01),
            "loan_amount": raw["loan_amnt"],
            "interest_rate": raw["int_rate"] * 100,
            "term_months": raw["term"].astype(str).str.strip().str[:2],
            "purpose": raw["purpose"],
            "home_ownership": raw["home_ownership"],
            "employment_years": np.nan,
            "state": raw["addr_state"],
            "inquiries_6m": raw["inq_last_6mths"],
            "delinquencies_2y": raw["delinq_2yrs"],
            "open_accounts": raw["open_acc"],
        }
    )
    months = sorted(set(days.dt.date))
    result = check_applications(frame, portfolio, months, {})
    for month in months:
        failed = {gate.name for gate in result.gates[month] if gate.blocks}
        assert failed == {"missing_share"}, [gate.line() for gate in result.gates[month]]
        (detail,) = gates_of(result, month)["missing_share"].details
        assert detail["column"] == "employment_years"
    assert len(result.quarantined) == 0
    assert result.kept.schema.equals(applications_schema(portfolio))
