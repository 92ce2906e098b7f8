"""The block `population`: its forms, the mapping of statuses, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from credit_assets.ml.data.population import DecisionsTable, StatusColumn
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets_tests.support.decided import LISTS, by_column, by_table, restated


def test_the_packaged_portfolio_lent_to_everyone():
    assert load_portfolio().population == "all"
    assert load_portfolio().decisions is None
    assert load_portfolio().parts == frozenset()


def test_a_portfolio_need_not_say_it():
    given = load_portfolio().model_dump(mode="json", exclude_unset=True)
    silent = type(load_portfolio()).model_validate({name: given[name] for name in given if name != "population"})
    assert (silent.population, silent.decisions, silent.parts) == (None, None, frozenset())


def test_both_forms_of_decisions():
    column, table = by_column().population, by_table(booked_on="paid_on").population
    assert isinstance(column, StatusColumn)
    assert isinstance(table, DecisionsTable)
    assert column.columns == ("status",)
    assert (table.table, table.id, table.date, table.booked_on) == ("decisions", "loan_no", "decided_on", "paid_on")
    for stated in (column, table):
        assert stated.classes == {
            "open": "undecided", "approved": "undecided", "declined": "declined", "lapsed": "withdrawn",
            "booked": "booked",
        }  # fmt: skip
    assert by_column().parts == by_table().parts == {"decisions"}


def test_codes_may_be_numbers_and_a_single_one_needs_no_list():
    stated = restated(population={"column": "status", "booked": 1, "declined": [2, "3"]}).population
    assert stated.classes == {"1": "booked", "2": "declined", "3": "declined"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"population": "some"}, "is none of its forms: write `population: all`"),
        ({"population": {"booked": ["b"]}}, "is none of its forms"),
        ({"population": {"column": "s", "booked": []}}, "at least 1"),
        ({"population": {"column": "s", "declined": ["d"]}}, r"booked\n.*[Ff]ield required"),
        ({"population": {"column": "s", "booked": ["b"], "declined": ["b"]}}, "'b' stands in declined and in booked"),
        ({"population": {"column": "s", "booked": ["b", " b "]}}, "'b' stands in booked and in booked"),
        ({"population": {"column": "s", "booked": [True]}}, "put the status in quotes"),
        ({"population": {"column": "s", "booked": ["b"], "refused": ["r"]}}, "refused"),
        ({"population": {"column": "purpose", "booked": ["b"]}}, "'purpose': population reads it"),
        ({"population": {"table": "t", "id": "i", "date": "i", "status": "s", "booked": ["b"]}}, "different columns"),
        ({"performance_window_from": "booking"}, "needs to know the day"),
        ({"performance_window_from": "booking", "population": {"column": "s", "booked": ["b"]}}, "needs to know"),
    ],
)
def test_what_is_refused(more: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        restated(**more)


def test_the_day_of_booking_is_told_by_a_column_or_by_a_table_of_decisions():
    column = {"column": "s", "booked_on": "paid_on", **LISTS}
    for stated in (column, by_table().model_dump(mode="json")["population"]):
        portfolio = restated(population=stated, performance_window_from="booking")
        assert portfolio.booking_days == 90
    assert restated(population=column).booking_days == 0


def test_a_status_column_may_stand_among_the_columns_and_is_no_part_of_the_application():
    columns = [*load_portfolio().model_dump(mode="json")["columns"], {"name": "s", "type": "string", "role": "ignored"}]
    portfolio = restated(columns=columns, population={"column": "s", "booked": ["b"]})
    assert "s" in [column.name for column in portfolio.columns]
    assert "s" not in [column.name for column in portfolio.application_columns]
