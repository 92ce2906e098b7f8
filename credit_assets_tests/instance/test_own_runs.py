"""Runs are told apart by their tag, or by what they make."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from credit_assets.instance.own_runs import is_own, own_runs
from credit_assets.naming import PLAIN, Names

CARDS = Names("cards")


def run(job: str = "__ASSET_JOB", *keys: str, **tags: str) -> dg.DagsterRun:
    more: dict[str, Any] = {"asset_selection": frozenset(map(dg.AssetKey.from_user_string, keys))} if keys else {}
    return dg.DagsterRun(job, tags={f"credit/{name}": value for name, value in tags.items()}, **more)


@pytest.mark.parametrize(
    ("made", "whose"),
    [
        (run("cards_retrain_model", portfolio="cards"), "cards"),
        (run("retrain_model", portfolio="consumer_loans"), "consumer_loans"),
        (run("__ASSET_JOB", "cards/loan_scores"), "cards"),
        (run("__ASSET_JOB", "loan_scores", "raw_loan_data"), "consumer_loans"),
        (run("__ASSET_JOB", "model_aliases/champion"), "consumer_loans"),
        (run("__ASSET_JOB", "autos/loan_scores"), ""),
        (run("__ASSET_JOB", "loan_scores", portfolio="cards"), "cards"),
        (run("cards_retrain_model"), "cards"),
        (run("retrain_model"), "consumer_loans"),
        (run("retrain_model", portfolio="Cards"), ""),
    ],
)
def test_whose_a_run_is(made: dg.DagsterRun, whose: str) -> None:
    assert is_own(CARDS, made) == (whose == "cards")
    if made.job_name != "cards_retrain_model" or made.tags:
        assert is_own(PLAIN, made) == (whose == "consumer_loans")


def test_the_newest_are_found_among_many_of_others() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(250):
            portfolio = "cards" if number in (3, 120) else "autos"
            instance.add_run(run(f"{portfolio}_score_loans", portfolio=portfolio))
        found = own_runs(instance, CARDS, 5)
        assert [one.job_name for one in found] == ["cards_score_loans"] * 2
        assert len(own_runs(instance, Names("autos"), 5)) == 5
        assert own_runs(instance, PLAIN, 5) == []
