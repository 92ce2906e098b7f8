"""The whole graph on a small book, with the real warehouse, store, MLflow and Dagster instance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.cli.audit import audit_record
from credit_assets.cli.days import training_days
from credit_assets.cli.doctor import rows_health
from credit_assets.cli.models import models_record
from credit_assets.cli.moves import MoveRequest, request_move
from credit_assets.cli.replay import backfilled, failures, no_progress
from credit_assets.cli.state import status_record
from credit_assets.failures import PermanentError
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import ACTOR
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.lightgbm import LightGBMVariant
from credit_assets.pages import whole_hashes
from credit_assets.partitions import ranges
from credit_assets.settings import load_settings
from credit_assets.storage.footers import GATES_KEY
from credit_assets.storage.seals import SEALED_KEY
from credit_assets_tests.support.houses import (
    END,
    SMALL,
    START,
    TRAINED,
    House,
    copied_home,
    fast_forward,
    open_house,
    write_book,
)
from credit_assets_tests.support.synthetic import GIVE_ME_SOME_CREDIT, canonical_book, give_me_some_credit_book


@pytest.fixture(scope="module")
def house(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(copied_home(trained_home, tmp_path_factory.mktemp("house"))) as house:
        yield house


@pytest.mark.slow
def test_the_first_model_is_registered_promoted_and_scores_from_the_next_day(house: House) -> None:
    first = house.train(TRAINED)
    assert (first.status, first.promoted, first.version) == ("registered", True, "1"), first.reason
    assert 0.55 < first.metrics["auc"] < 0.95
    house.replay.run(START, END, "none")
    rows = {day: house.replay.store.row_count("loan_scores", day) for day in house.replay.store.days("loan_scores")}
    assert rows["2024-03-31"] == 0
    assert rows["2024-04-01"] > 0
    scores = house.replay.store.read_partitions("loan_scores", ["2024-04-01"]).to_pandas()
    assert scores["pd"].between(0, 1, inclusive="neither").all()
    assert set(scores["model_version"]) == {"1"}
    assert scores["pd"].corr(scores["score"], method="spearman") == pytest.approx(-1)


@pytest.mark.slow
def test_the_same_again_changes_nothing(house: House) -> None:
    house.replay.run(START, END, "none")
    files, versions = house.hashes(), house.versions()
    report = house.replay.run(START, END, "none")
    assert (report.ingested, report.scored, report.runs) == (0, 0, 0)
    again = house.replay.run(date(2024, 3, 25), date(2024, 3, 31), "last", again=True)
    assert again.runs > 0
    assert again.trainings[0].promoted
    assert house.hashes() == files
    assert house.versions() == versions


@pytest.mark.slow
def test_a_later_model_needs_the_improvement_and_an_older_one_never_takes_the_alias(house: House) -> None:
    later = house.rebuilt(min_improvement=0.5, variants="lightgbm").train(date(2024, 4, 15))
    assert later.status == "rejected"
    assert "0.5" in later.reason
    older = house.rebuilt(variants="lightgbm").train(date(2024, 3, 20))
    assert older.status == "registered"
    assert not older.promoted
    champion = next(v for v in models_record(house.settings)["versions"] if "champion" in v["aliases"])
    assert champion["as_of"] == "2024-03-31"
    record = house.replay.store.read_record(house.replay.store.path("trained_model", "2024-04-15.json"))
    difference = record["champion"]["difference"]
    assert difference["ci_low"] <= difference["difference"] <= difference["ci_high"]
    assert record["champion"]["version"] == "1"


@pytest.mark.slow
def test_a_registered_version_carries_what_a_validator_needs(house: House) -> None:
    registry = house.replay.registry
    version = registry.version("1")
    for tag in ("variant", "test_from", "data_hash", "auc"):
        assert version.tags[tag]
    assert version.as_of == date(2024, 3, 31)
    assert len(version.fingerprint) == 64


@pytest.mark.slow
def test_moves_by_hand_are_recorded_and_guarded(house: House) -> None:
    settings, instance = house.settings, house.instance

    def move(kind: Any, version: str | None, reason: str = "try", by: str = "a validator") -> dict[str, Any]:
        return request_move(settings, instance, MoveRequest(kind, version, by, reason, date(2024, 4, 20)))

    if "2" not in house.versions():
        house.rebuilt(variants="lightgbm").train(date(2024, 3, 20))
    with pytest.raises(PermanentError, match="--reason"):
        move("promote", "1", " ")
    with pytest.raises(PermanentError, match="name a person"):
        move("promote", "1", by=ACTOR)
    with pytest.raises(PermanentError, match="older than the champion"):
        move("promote", "2")
    with pytest.raises(PermanentError, match="was never champion"):
        move("rollback", "2")
    with pytest.raises(PermanentError, match="no former champion"):
        move("rollback", None)
    with pytest.raises(PermanentError, match="no model is on trial"):
        move("approve", None)
    with pytest.raises(PermanentError, match="99"):
        move("promote", "99")
    record = move("promote", "1", "review of April")
    assert (record["move"], record["from"], record["to"]) == ("promote", "1", "1")
    # The pipeline's own move of March, seen by Dagster once somebody looked; the request itself moved nothing.
    event = instance.get_latest_materialization_event(dg.AssetKey(["model_aliases", "champion"]))
    assert event is not None
    metadata = event.asset_materialization.metadata
    assert (metadata["number"].value, metadata["from"].value, metadata["to"].value) == (1, "none", "1")
    assert metadata["by"].value == ACTOR


@pytest.mark.slow
def test_gates_and_data_versions_stand_in_the_event_log(house: House) -> None:
    house.replay.run(date(2024, 3, 30), date(2024, 3, 30), "none", again=True)
    event = house.instance.get_latest_materialization_event(dg.AssetKey("raw_loan_data"))
    assert event is not None
    materialization = event.asset_materialization
    assert materialization is not None
    assert materialization.partition == "2024-03-30"
    assert materialization.tags["dagster/data_version"] == whole_hashes(materialization.metadata["content_hash"].value)
    assert materialization.metadata["dagster/row_count"].value > 0


@pytest.mark.slow
def test_a_replay_asks_for_days_that_exist(house: House) -> None:
    with pytest.raises(PermanentError, match="CREDIT_START_DATE"):
        house.replay.run(date(2023, 12, 1), date(2024, 1, 5), "none")
    with pytest.raises(PermanentError, match="lies after"):
        house.replay.run(END, START, "none")


# Houses of their own: what is done to them must not be met by the tests above.


@pytest.fixture
def own_house(tmp_path: Path) -> Iterator[Any]:
    """Opens a house of these loans."""
    with ExitStack() as stack:

        def build(applications: Any, outcomes: Any, **overrides: Any) -> House:
            write_book(load_settings(home=tmp_path / "own", **{**SMALL, **overrides}), applications, outcomes)
            return stack.enter_context(open_house(tmp_path / "own", **overrides))

        yield build


@pytest.mark.slow
def test_a_replay_decides_trials_on_the_day_on_which_they_end(ingested_home: Path, tmp_path: Path) -> None:
    trial = {"shadow_days": 5, "shadow_min_loans": 50, "shadow_min_correlation": -1, "shadow_max_psi": 100}
    more = {**trial, "promotion": "shadow", "variants": ("lightgbm",), "refresh_margin": 0.49}
    with open_house(copied_home(ingested_home, tmp_path / "own"), **more) as house:
        # A refresh with a wide margin passes whatever its AUC is.
        for day in ("2024-04-15", "2024-04-30"):
            house.replay.registry.claims.claim(f"retraining-triggers/{day}/refresh", "refresh:2024-04")
        report = house.replay.run(START, END, "15", train_from=date(2024, 3, 31))
        assert [(t.promoted, t.on_trial) for t in report.trainings] == [(True, False), (False, True), (False, True)]
        registry = house.replay.registry
        assert Aliases(registry).history("champion") == (
            ("1", date(2024, 4, 1), date(2024, 4, 20)),
            ("2", date(2024, 4, 21), None),
        )
        assert Aliases(registry).history("shadow") == (
            ("2", date(2024, 4, 16), date(2024, 4, 20)),
            ("3", date(2024, 5, 1), None),
        )
        days = ["2024-04-15", "2024-04-20", "2024-04-21"]
        scores = house.replay.store.read_partitions("loan_scores", days).to_pandas()
        by_day = scores.groupby(scores["application_date"].astype(str))[["model_version", "other_version"]].agg(
            lambda column: set(column)
        )
        assert by_day.to_dict("index") == {
            "2024-04-15": {"model_version": {"1"}, "other_version": {None}},
            "2024-04-20": {"model_version": {"1"}, "other_version": {"2"}},
            "2024-04-21": {"model_version": {"2"}, "other_version": {None}},
        }
        moved = house.instance.get_latest_materialization_event(dg.AssetKey(["model_aliases", "champion"]))
        assert moved.asset_materialization.metadata["reason"].value.startswith("promote: ")
        files = house.hashes()
        assert house.replay.run(START, END, "15", train_from=date(2024, 3, 31)).runs == 0
        assert house.hashes() == files


@pytest.mark.slow
def test_a_rejected_day_stops_its_run_and_every_other_one(own_house: Any) -> None:
    applications, outcomes = canonical_book(300, START, date(2024, 1, 10), seed=1)
    day = applications["application_date"] == applications["application_date"].min()
    # Above the share that a day may lose to quarantine.
    applications.loc[day, "interest_rate"] = 900.0
    house = own_house(applications, outcomes)
    report = house.replay.run(START, date(2024, 1, 5), "none")
    assert list(report.rejected) == ["raw_loan_data 2024-01-01"]
    with pytest.raises(
        PermanentError, match=r"(?s)1 of 5 days .*--start 2024-01-01 --end 2024-01-01.*quarantined_share"
    ):
        report.raise_rejected()
    # The days beside it are done, features and scores too; again, the rejected day alone is tried.
    assert report.ingested == 4
    for asset in ("raw_loan_data", "processed_features", "loan_scores"):
        done = house.instance.get_materialized_partitions(dg.AssetKey(asset))
        assert done == {f"2024-01-0{n}" for n in range(2, 6)}, asset
    again = house.replay.run(START, date(2024, 1, 5), "none")
    assert (list(again.rejected), again.ingested) == (["raw_loan_data 2024-01-01"], 0)
    result = house.replay.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=house.instance,
        partition_key="2024-01-01",
        asset_selection=[dg.AssetKey("processed_features")],
        raise_on_error=False,
    )
    assert not result.success
    ((gate, why),) = failures(result)
    assert gate
    assert "raw_loan_data 2024-01-01 was rejected by its gate" in why
    aside = house.replay.store.path("quarantine", "raw_loan_data", "2024-01-01.parquet")
    assert aside.exists()
    counted = status_record(house.settings, house.instance)["assets"]["raw_loan_data"]
    assert (counted["partitions"], counted["rejected"], counted["last_rejected"]) == (4, 1, "2024-01-01")
    assert "raw_loan_data: 1 day rejected by gates, the last 2024-01-01" in rows_health(house.settings).advice
    # A rejected day is no gap in what is audited, and one whose rejection was edited out is.
    assert audited(house) == []
    file = Path(house.settings.store, "raw_loan_data/2024-01-01.parquet")
    with_gates(file, lambda results: [{**one, "description": "another"} for one in results])
    assert "not those that it was rejected with" in audited(house)[0]
    with_gates(file, lambda results: [{**one, "passed": True} for one in results])
    assert "a rejection was edited out" in audited(house)[0]
    # Made from a source that is right again, it is as any other day.
    applications.loc[day, "interest_rate"] = 9.0
    write_book(house.settings, applications, outcomes)
    assert not house.replay.run(START, date(2024, 1, 5), "none").rejected
    assert audited(house) == []
    # Rejected again, it was made before: the pass that its file had then is no way past the rejection.
    made = file.read_bytes()
    applications.loc[day, "interest_rate"] = 900.0
    write_book(house.settings, applications, outcomes)
    assert list(house.replay.run(START, date(2024, 1, 5), "none", again=True).rejected) == ["raw_loan_data 2024-01-01"]
    assert audited(house) == []
    file.write_bytes(made)
    assert "by Dagster one did" in audited(house)[0]


def audited(house: Any) -> list[str]:
    return [gap["text"] for gap in audit_record(house.settings, house.instance, no_progress)["gaps"]]


def with_gates(file: Path, change: Callable[[Any], Any]) -> None:
    """The file with other gate results in its footer."""
    rows, metadata = pq.read_table(file), dict(pq.read_metadata(file).metadata)
    metadata[GATES_KEY] = json.dumps(change(json.loads(metadata[GATES_KEY]))).encode()
    file.unlink()
    own = {key: value for key, value in metadata.items() if key not in (b"ARROW:schema", SEALED_KEY)}
    pq.write_table(rows.replace_schema_metadata(own), file)


@pytest.mark.slow
def test_an_empty_day_is_a_valid_partition(own_house: Any) -> None:
    applications, outcomes = canonical_book(200, START, date(2024, 1, 5), seed=1)
    applications = applications[applications["application_date"] != applications["application_date"].min()]
    house = own_house(applications, outcomes)
    report = house.replay.run(START, date(2024, 1, 5), "none")
    assert report.ingested == 5
    assert house.replay.store.row_count("raw_loan_data", "2024-01-01") == 0
    (volume,) = [g for g in house.replay.store.gates("raw_loan_data", "2024-01-01") if g.name == "volume"]
    assert (volume.passed, volume.severity) == (False, "warn")


@pytest.mark.slow
def test_too_few_bads_block_the_training_and_say_so(own_house: Any) -> None:
    house = own_house(*canonical_book(300, START, END, seed=3))
    outcome = house.replay.run(START, date(2024, 4, 1), "last").trainings[0]
    assert outcome.status == "blocked"
    assert "enough_outcomes" in outcome.reason
    assert house.versions() == []


class BrokenVariant(LightGBMVariant):
    """A learner whose library refuses the data."""

    name = "broken"
    label = "Broken"

    def _fit(self, *args: Any, **kwargs: Any) -> Any:
        import lightgbm

        def train(*_: Any, **__: Any) -> Any:
            raise lightgbm.basic.LightGBMError("no split found")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lightgbm, "train", train)
            return super()._fit(*args, **kwargs)


@pytest.mark.slow
def test_a_variant_that_fails_fails_the_run_with_its_name_or_lets_the_others_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2024, 3, 28)
    # Adding a variant is one entry; nothing else knows it.
    monkeypatch.setitem(VARIANTS, "broken", BrokenVariant())
    broken = house.rebuilt(variants="xgboost,broken")
    with pytest.raises(PermanentError, match=r"broken_candidate: variant broken failed: .* no split found"):
        broken.train(day)
    tolerant = house.rebuilt(variants="xgboost,broken", on_variant_failure="continue")
    outcome = tolerant.train(day)
    assert outcome.status == "registered"
    record = tolerant.replay.store.read_record(tolerant.replay.store.path("trained_model", f"{day}.json"))
    assert record["failed_variants"] == ["broken"]


@pytest.mark.slow
def test_replaying_an_old_day_after_the_world_has_moved_on_gives_identical_bytes(own_house: Any) -> None:
    as_of = date(2024, 3, 31)
    applications, outcomes = fast_forward(canonical_book(6_000, START, END, seed=7))
    import pandas as pd

    known = outcomes[pd.to_datetime(outcomes["outcome_date"]).dt.date <= as_of]
    before = applications[pd.to_datetime(applications["application_date"]).dt.date <= as_of]
    house = own_house(before, known, variants="lightgbm")
    house.replay.run(START, as_of, "last")
    name = "training_set/2024-03-31.parquet"
    first = house.hashes()[name]
    # Everything that became known later arrives, and the day is run again from the warehouse on.
    write_book(house.settings, applications, outcomes)
    house.replay.run(START, as_of, "last", again=True)
    assert house.hashes()[name] == first
    assert house.versions() == ["1"]


@pytest.mark.slow
def test_another_lender_needs_only_a_portfolio_file(own_house: Any) -> None:
    portfolio = GIVE_ME_SOME_CREDIT
    house = own_house(
        *fast_forward(give_me_some_credit_book(6_000, START, END, seed=5), portfolio), portfolio=portfolio
    )
    outcome = house.replay.run(START, date(2024, 3, 31), "last").trainings[0]
    assert outcome.status == "registered", outcome.reason
    features = house.replay.store.read_partitions("processed_features", ["2024-03-01"])
    assert "MonthlyIncome" in features.column_names
    assert not set(house.settings.portfolio_contract.protected_columns) & set(features.column_names)
    assert isinstance(features, pa.Table)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("none", []),
        ("last", ["2024-04-05"]),
        ("month-end", ["2024-02-29", "2024-03-31"]),
        ("quarter-end", ["2024-03-31"]),
        ("20", ["2024-02-25", "2024-03-16", "2024-04-05"]),
    ],
)
def test_training_days(when: str, expected: list[str]) -> None:
    assert [str(day) for day in training_days(date(2024, 2, 10), date(2024, 4, 5), when)] == expected


@pytest.mark.parametrize("when", ["weekly", "0", "-3", ""])
def test_training_days_refuse_what_they_do_not_know(when: str) -> None:
    with pytest.raises(PermanentError, match="use none, last, every, month-end, quarter-end or a number"):
        training_days(START, END, when)


def test_ranges_split_at_gaps_and_at_the_longest() -> None:
    days = [date(2024, 1, d) for d in (1, 2, 3, 4, 6, 7)]
    assert [(a.day, b.day) for a, b in ranges(days, longest=3)] == [(1, 3), (4, 4), (6, 7)]
    assert list(ranges([], longest=3)) == []


def test_a_backfill_makes_what_is_missing_and_trains_nothing(own_house: Any) -> None:
    last = date(2024, 1, 10)
    house = own_house(*canonical_book(300, START, last, seed=3), days_per_run=4)
    for assets, why in (
        (("training_set", "loan_scores"), "training_set cannot be made for a range .* processed_features"),
        (("nothing",), "nothing cannot be made"),
        ((), "no asset cannot be made"),
    ):
        with pytest.raises(PermanentError, match=why):
            house.replay.backfill(START, last, assets)
    assert not Path(house.settings.store).exists()
    report = house.replay.backfill(START, date(2024, 1, 9))
    # Nobody was champion: passed by, and not scored.
    assert (report.runs, report.ingested, report.scored, report.unscored) == (3, 9, 0, 9)
    assert {run.tags["dagster/asset_partition_range_end"] for run in house.instance.get_runs()} == {
        "2024-01-04",
        "2024-01-08",
        "2024-01-09",
    }
    before = house.hashes()
    assert {name.split("/")[0] for name in before if name.endswith(".parquet")} == {*backfilled(house.settings.graph)}
    assert house.replay.backfill(START, last).runs == 1
    assert house.replay.backfill(START, last).runs == 0
    assert house.replay.backfill(START, last, ("raw_loan_data",), again=True).runs == 3
    after = house.hashes()
    assert {name: after[name] for name in before if name.endswith(".parquet")} == {
        name: digest for name, digest in before.items() if name.endswith(".parquet")
    }
    assert house.versions() == []
