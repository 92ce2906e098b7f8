"""Names by portfolio: no two portfolios share one, whatever their names have in common."""

from __future__ import annotations

import re
from itertools import combinations

import dagster as dg
import pytest

from credit_assets import stages
from credit_assets.assets.outside import TABLES
from credit_assets.build import build_definitions
from credit_assets.naming import ALIASES, FOLDER, PACKAGED, PLAIN, Names, prefix_of
from credit_assets.settings import load_settings
from credit_assets_tests.support.portfolios import equal_columns, small

ALIKE = ["auto_loans", "Auto_Loans", "auto-loans", "auto.loans", "auto__loans", "auto_loans_", "_auto_loans"]
CLOSE = [PACKAGED, "Consumer_Loans", "consumer-loans", "consumer.loans", "a", "A", "_", "__", "-x", "gpu", "x" * 63]


def own(name: str) -> list[str]:
    """One name of each kind, as a service that knows no case sees it."""
    names = Names(name)
    made = ["/".join(names.asset("loan_scores")), names.dagster("retrain_model"), names.pool("gpu")]
    made += [names.registered_model, names.experiment, names.folder("s3://bucket/store"), names.word]
    return [text.lower() for text in made]


def test_portfolios_whose_names_are_alike_share_nothing() -> None:
    for one, other in combinations(ALIKE + CLOSE, 2):
        assert not any(a == b for a, b in zip(own(one), own(other), strict=True)), (one, other)


def test_a_name_that_looks_like_the_spelling_of_another_is_none() -> None:
    spelled = prefix_of("Auto-Loans")
    assert prefix_of(spelled) != spelled
    assert prefix_of(spelled) != prefix_of("Auto-Loans")


@pytest.mark.parametrize("name", ALIKE + CLOSE)
def test_every_service_takes_the_names(name: str) -> None:
    prefix = prefix_of(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,62}", prefix)
    dg.AssetKey(Names(name).asset("loan_scores"))


def test_the_packaged_portfolio_has_the_names_of_ever() -> None:
    assert PLAIN.asset("loan_scores") == ("loan_scores",)
    assert (PLAIN.dagster("credit_scoring_daily"), PLAIN.pool("gpu")) == ("credit_scoring_daily", "gpu")
    assert (PLAIN.registered_model, PLAIN.experiment) == ("credit-scorer", "credit_scoring")
    assert PLAIN.folder("s3://bucket/x") == "s3://bucket/x"
    settings = load_settings()
    assert settings.store == str(settings.home_dir / "store")
    assert settings.warehouse == f"duckdb:///{settings.home_dir}/warehouse.duckdb"


def test_bare_names_are_those_of_the_packaged_portfolio() -> None:
    bare = Names("cards", bare=True)
    assert bare.asset("loan_scores") == ("loan_scores",)
    assert (bare.registered_model, bare.experiment) == (PLAIN.registered_model, PLAIN.experiment)
    assert bare.word == "cards"


def test_pools_are_shared_where_both_say_so() -> None:
    sharing = [Names(name, shared_pools=frozenset({"gpu"})) for name in ("cards", "autos")]
    assert {names.pool("gpu") for names in sharing} == {"gpu"}
    assert {names.pool("warehouse") for names in sharing} == {"cards_warehouse", "autos_warehouse"}


def test_an_experiment_that_is_named_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    home = load_settings().home_dir
    equal_columns(home / FOLDER, "cards")
    assert load_settings(portfolio="cards").experiment_name == "credit_scoring_cards"
    monkeypatch.setenv("CREDIT_EXPERIMENT", "credit_scoring")
    assert load_settings(portfolio="cards").experiment_name == "credit_scoring"


def test_every_name_of_the_definitions_carries_the_portfolio() -> None:
    home = load_settings().home_dir
    equal_columns(home / FOLDER, "cards")
    plain, cards = (
        build_definitions(small(home, name, variants="xgboost,lightgbm,catboost", executor="k8s"))
        for name in ("", "cards")
    )
    keys = [set(one.resolve_asset_graph().get_all_asset_keys()) for one in (plain, cards)]
    assert {key.path[0] for key in keys[1]} == {"cards"}
    # Of the tables of a warehouse the portfolio says how they are called.
    ours = [{tuple(key.path[skip:]) for key in of} for skip, of in ((0, keys[0]), (1, keys[1]))]
    assert {path for path in ours[1] if path[0] != TABLES} == {path for path in ours[0] if path[0] != TABLES}
    checks = [set(one.resolve_asset_graph().asset_check_keys) for one in (plain, cards)]
    assert len(checks[0]) == len(checks[1]) > 0
    assert all(one.asset_key.path[0] == "cards" for one in checks[1])
    for what in ("schedule_defs", "sensor_defs"):
        names = [{one.name for one in getattr(made.get_repository_def(), what)} for made in (plain, cards)]
        assert names[1] == {f"cards_{name}" for name in names[0]}
    jobs = [{job.name for job in made.get_repository_def().get_all_jobs()} for made in (plain, cards)]
    assert jobs[1] - {"__ASSET_JOB"} == {f"cards_{name}" for name in jobs[0] - {"__ASSET_JOB"}}
    daily = cards.resolve_job_def("cards_credit_scoring_daily")
    assert daily.run_tags["credit/portfolio"] == "cards"
    pools = {node.definition.pool for node in daily.graph.nodes if isinstance(node.definition, dg.OpDefinition)}
    assert pools == {None, "cards_gpu", "cards_warehouse"}


def test_no_plain_name_is_the_end_of_another_so_that_no_prefix_makes_them_one() -> None:
    made = build_definitions(load_settings()).get_repository_def()
    names = {one.name for one in (*made.sensor_defs, *made.schedule_defs, *made.get_all_jobs())} - {"__ASSET_JOB"}
    for one, other in combinations(sorted(names), 2):
        assert not one.endswith(f"_{other}"), (one, other)
        assert not other.endswith(f"_{one}"), (one, other)


def test_no_folder_of_the_packaged_portfolio_is_where_the_others_are() -> None:
    assert FOLDER not in {row.name for row in stages.EVERYTHING.assets}
    assert ALIASES not in {row.name for row in stages.EVERYTHING.assets}
