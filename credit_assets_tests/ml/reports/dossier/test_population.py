"""The account from rows received to rows trained on."""

from __future__ import annotations

from dataclasses import replace

from credit_assets.ml.data.population import BOOKED
from credit_assets.ml.reports.dossier.population import account, adds_up
from credit_assets_tests.support.dossiers import SPLITS, made, material, source

GOOD_AND_BAD = sum(SPLITS.values())


def test_the_counts_add_up_from_the_rows_received_to_the_splits() -> None:
    steps = account(material())
    assert adds_up(steps)
    totals = [(step.label, step.rows) for step in steps if step.kind == "total"]
    assert totals == [
        ("received on the days of the cohorts", GOOD_AND_BAD + 7 + 12),
        ("applications of the cohorts", GOOD_AND_BAD + 7),
        ("good or bad within the performance window", GOOD_AND_BAD),
        ("training set: train, validation and test", GOOD_AND_BAD),
    ]
    less = {step.label: step.rows for step in steps if step.kind == "less"}
    assert less["quarantined: breaks the column contract"] == 12
    assert less["indeterminate: neither good nor bad"] == 7


def test_who_was_not_lent_to_is_taken_off_by_class() -> None:
    trained = made().trained
    assert trained is not None
    on = dict(trained["trained_on"])
    decided = {BOOKED: GOOD_AND_BAD + 7, "declined": 900, "withdrawn": 40}
    on["population"] = {"definition": "stated", "counts": decided}
    steps = account(material(made=made(trained={"trained_on": on}), ingested=()))
    assert adds_up(steps)
    assert steps[0].rows == sum(decided.values())
    assert {step.rows for step in steps if "not lent to" in step.label} == {900, 40}


def test_rows_that_are_not_accounted_for_are_told() -> None:
    raw, features = material().ingested
    lost = replace(raw, rows=raw.rows - 50)
    assert not adds_up(account(material(ingested=(lost, features))))
    steps = account(material())
    assert not adds_up((*steps[:-1], replace(steps[-1], rows=steps[-1].rows + 1)))


def test_an_account_names_where_each_count_is_from() -> None:
    assert {step.source for step in account(material())} == {
        source("raw_loan_data"),
        source("trained_model"),
        source("training_set"),
    }
