"""What features tell of protected columns: planted stand-ins in every form, and features that tell little."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.ml.data.fairness import Attribute
from credit_assets.ml.evidence.fairness import groups_of_values
from credit_assets.ml.evidence.protected_association import measure_association, measure_proxy, shown

ROWS, LIMIT = 6_000, 0.9
RNG = np.random.default_rng(5)
AGE = np.round(RNG.normal(45, 13, ROWS).clip(19, 90))
SEX = np.where(RNG.random(ROWS) < 0.4, "f", "m").astype(object)
DAYS = pa.chunked_array([pa.array([date(2024, 1, 1)] * ROWS)])


def found(values: Any, column: str) -> dict[str, Any]:
    protected = {"age": pa.array(AGE), "sex": pa.array(SEX)}[column]
    groups = groups_of_values(Attribute(column=column), protected, DAYS)
    (one,) = measure_association(pa.table({"x": pa.array(values)}), ["x"], {column: groups}, 100)
    return one


NOISE = RNG.normal(size=ROWS)
FORMS: dict[str, tuple[Any, str]] = {
    "the column itself": (AGE, "age"),
    "turned round": (-AGE, "age"),
    "years since eighteen, six years of noise": ((AGE - 18 + 6 * NOISE).clip(0), "age"),
    "decades as text": ([f"{int(one) // 10}0s" for one in AGE], "age"),
    "missing above the middle": (np.where(np.median(AGE) <= AGE, np.nan, NOISE), "age"),
    "in thirds": (np.where(np.quantile(AGE, 2 / 3) <= AGE, 1.0, 0.0), "age"),
    "codes of the value": (np.where(SEX == "f", 7.0, 3.0), "sex"),
    "other texts": ([{"f": "Mrs", "m": "Mr"}[one] for one in SEX], "sex"),
    "a number that differs in the middle": (np.where(SEX == "f", 0.0, 3 * np.sign(NOISE)) + 0.3 * NOISE, "sex"),
    "titles, some of them neutral": (np.where(RNG.random(ROWS) < 0.1, "Dr", np.where(SEX == "f", "Mrs", "Mr")), "sex"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_stand_in_is_told_in_every_form(form: str) -> None:
    assert found(*FORMS[form])["near"] > LIMIT


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (NOISE, "age"),
        (NOISE, "sex"),
        (0.5 * (AGE - 45) / 13 + 0.87 * NOISE, "age"),
        (NOISE + 1.0 * (SEX == "f"), "sex"),
    ],
    ids=["noise", "noise and sex", "correlation of a half with age", "a standard deviation apart"],
)
def test_a_feature_that_tells_something_is_no_stand_in(values: Any, column: str) -> None:
    assert found(values, column)["near"] < 0.82


def test_a_group_of_few_is_not_looked_at() -> None:
    values = pa.array(["rare"] * 50 + ["common"] * (ROWS - 50))
    groups = groups_of_values(Attribute(column="sex"), values, DAYS)
    table = pa.table({"x": np.arange(ROWS) < 50})
    assert measure_association(table, ["x"], {"sex": groups}, 100) == []


def test_all_features_together_tell_what_none_does_alone() -> None:
    """Two columns whose sum is the age."""
    part = RNG.normal(0, 40, ROWS)
    table = pa.table({"a": AGE - 45 + part, "b": -part, "c": NOISE})
    groups = groups_of_values(Attribute(column="age"), pa.array(AGE), DAYS)
    alone = measure_association(table, ["a", "b", "c"], {"age": groups}, 100)
    together = measure_proxy(table, ["a", "b", "c"], [], groups, 100)
    assert max(one["auc"] for one in alone) < 0.75
    assert max(one["auc"] for one in together) > max(one["auc"] for one in alone)
    nothing = measure_proxy(table, ["c"], [], groups, 100)
    assert all(abs(one["auc"] - 0.5) < 0.04 for one in nothing)


def test_a_record_has_the_strongest_and_all_beyond_the_limit() -> None:
    every = [{"feature": f"x{n}", "near": 0.99 - n / 100} for n in range(40)]
    assert len(shown(every, 0.5)) == 40
    assert len(shown(every, 0.95)) == 10
