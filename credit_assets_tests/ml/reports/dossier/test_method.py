"""How a model was made: its parameters are those that it was trained with, whoever chose them."""

from __future__ import annotations

from typing import Any

import pytest

from credit_assets.ml.reports.dossier.blocks import Table
from credit_assets.ml.reports.dossier.material import Made, Recorded
from credit_assets.ml.reports.dossier.method import section
from credit_assets_tests.support.dossiers import material, source, version

PARAMS = {"library": "lightgbm 4.7", "max_bin": 255, "num_leaves": 31, "learning_rate": 0.1, "lambda_l2": 0.0}


def parameters(**search: Any) -> dict[str, list[str]]:
    record = {"identity": {"params": PARAMS, "seed": 1}, **({"search": search} if search else {})}
    made = Made(version(), None, Recorded(record, source("lightgbm_candidate")))
    found = section(material(made=made))
    (table,) = [one for one in found.blocks if isinstance(one, Table) and one.caption == "Parameters"]
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_without_a_search_they_are_those_of_its_identity() -> None:
    assert parameters() == {"max_bin": ["255"], "num_leaves": ["31"], "learning_rate": ["0.1"], "lambda_l2": ["0"]}


@pytest.mark.parametrize("better", [True, False])
def test_of_a_search_it_says_which_were_found_and_which_were_set_by_hand(better: bool) -> None:
    found = {"learning_rate": 0.03, "lambda_l2": 2.5} if better else {}
    shown = parameters(
        params=found, by_hand={"num_leaves": 31}, searched=["learning_rate", "lambda_l2"], trials=20, why="said"
    )
    assert shown["num_leaves"] == ["31", "set by hand"]
    assert shown["max_bin"] == ["255", "the default"]
    if better:
        assert shown["learning_rate"] == ["0.03", "found by a search of 20 trials"]
    else:
        assert shown["lambda_l2"] == ["0", "the default: the search found none that is better beyond chance"]
