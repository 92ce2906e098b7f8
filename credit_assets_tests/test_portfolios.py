"""Several portfolios on one Dagster instance, MLflow database and store: trained at the same time, retrained by their
own sensors, rolled back, and nothing of one is read or written by another. The same on an MLflow server and an S3
prefix that they share.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.build import build_definitions
from credit_assets.cli.models import models_record
from credit_assets.cli.moves import MoveRequest, request_move
from credit_assets.cli.replay import Replay
from credit_assets.cli.state import status_record
from credit_assets.cli.trigger import report_trigger
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.instance.own_runs import own_runs
from credit_assets.ledger.registry import CHAMPION
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.mlflow_server import Server, asked_of_mlflow
from credit_assets_tests.support.portfolios import (
    LAST,
    QUICK,
    START,
    equal_columns,
    files_of,
    other_columns,
    small,
    write_loans,
)
from credit_assets_tests.support.s3 import asked_of_s3, objects_of

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.s3"]
pytestmark = pytest.mark.slow

TRAINED, FRESH = ("cards", "autos", "scorecard"), "fresh"
EARLIER = date(2024, 4, 20)


@dataclass
class World:
    """One home with four portfolios; three of them were trained, two with equal columns, at the same time."""

    home: Path
    instance: dg.DagsterInstance

    def settings(self, name: str, **more: Any) -> Settings:
        return small(self.home, name, **more)

    def registry(self, name: str) -> Any:
        return build_resources(self.settings(name))["registry"]

    def versions(self, name: str) -> list[str]:
        return [one["version"] for one in models_record(self.settings(name))["versions"]]

    def stock(self, name: str) -> dict[str, Any]:
        """Everything that a portfolio has: files, versions with tags and aliases, MLflow runs, events of its assets."""
        settings, registry = self.settings(name), self.registry(name)
        server = registry.tracking.server
        runs = server.client.search_runs([server.experiment_id], "")
        keys = [key for key in self.instance.all_asset_keys() if key.path[0] == name]
        return {
            "files": objects_of(settings.store) if "://" in settings.store else files_of(Path(settings.store)),
            "versions": [(v.version, v.aliases, dict(v.tags)) for v in registry.versions()],
            "runs": sorted((run.info.run_id, run.info.status, tuple(sorted(run.data.tags.items()))) for run in runs),
            "events": {key.to_user_string(): sorted(self.instance.get_materialized_partitions(key)) for key in keys},
            "dagster": [run.run_id for run in own_runs(self.instance, settings.naming, 100)],
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("portfolios") / "home"
    for name in ("cards", "autos", FRESH):
        equal_columns(home / "portfolios", name)
    other_columns(home / "portfolios", "scorecard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDIT_HOME", str(home))
        patch.delenv("DAGSTER_HOME", raising=False)
        # Of two portfolios with equal columns and equal loans nothing but the name is different.
        for name, seed in (("cards", 1), ("autos", 1), ("scorecard", 2), (FRESH, 3)):
            write_loans(small(home, name), seed)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        train_at_once(home, {name: {} for name in TRAINED})
        with instance_of(small(home, FRESH)) as instance:
            for name in (*TRAINED, FRESH):
                Replay(small(home, name), instance).run(START, LAST, "none")
            yield World(home, instance)


def train_at_once(home: Path, portfolios: Mapping[str, Mapping[str, str]]) -> None:
    """A first model of each portfolio, each in a process of its own with these environment variables."""
    command = [sys.executable, "-m", "credit_assets.cli.main", "replay", "--start", START.isoformat(), "--json"]
    for name in portfolios:
        (home / "portfolios" / f"{name}.env").write_text(f"CREDIT_OPERATOR=desk of {name}\n", "utf-8")
    replays = [
        subprocess.Popen(
            [*command, "--end", EARLIER.isoformat(), "--portfolio", name],
            env={**os.environ, **environment(QUICK), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, more in portfolios.items()
    ]
    for replay in replays:
        out, error = replay.communicate()
        assert replay.returncode == 0, error
        assert [one["status"] for one in json.loads(out)["trainings"]] == ["registered"]


def test_each_has_a_champion_of_its_own_and_who_never_trained_has_none(world: World) -> None:
    for name in TRAINED:
        status = status_record(world.settings(name), world.instance)
        assert status["champion"]["version"] == "1"
        assert status["assets"]["loan_scores"]["scored"] > 0
        version = world.registry(name).alias(CHAMPION)
        assert (version.tags["portfolio"], version.tags["contract"]) == (
            name,
            world.settings(name).portfolio_contract.contract,
        )
    status = status_record(world.settings(FRESH), world.instance)
    assert status["champion"] is None
    assert status["assets"]["loan_scores"]["scored_applications"] == 0
    assert status["assets"]["loan_scores"]["unscored_applications"] > 0
    assert models_record(world.settings(FRESH)) == {"model": "credit-scorer-fresh", "versions": [], "rejected": []}
    # Nothing was made under plain names.
    assert [path.name for path in (world.home / "store").iterdir()] == ["portfolios"]
    assert {key.path[0] for key in world.instance.all_asset_keys()} == {*TRAINED, FRESH}


def test_equal_columns_and_equal_loans_make_two_models(world: World) -> None:
    cards, autos = (world.registry(name).version("1") for name in ("cards", "autos"))
    assert cards.tags["data_hash"] == autos.tags["data_hash"]
    assert cards.fingerprint != autos.fingerprint
    assert cards.run_id != autos.run_id


def test_runs_are_told_apart(world: World) -> None:
    of = {name: own_runs(world.instance, world.settings(name).naming, 100) for name in (*TRAINED, FRESH)}
    every = [run.run_id for runs in of.values() for run in runs]
    assert len(every) == len(set(every)) == world.instance.get_runs_count()
    for name, runs in of.items():
        assert {run.tags["credit/portfolio"] for run in runs} == {name}
        assert all(run.job_name.startswith(f"{name}_") for run in runs)


def test_a_retraining_by_its_own_sensor_and_a_rollback_leave_the_others_as_they_are(world: World) -> None:
    others = {name: world.stock(name) for name in (*TRAINED, FRESH) if name != "cards"}
    cards = world.settings("cards", min_improvement=0.0, retraining="triggered")
    report_trigger(cards, world.instance, "other", reason="new scorecard", by="risk desk", as_of=LAST)
    for name in ("autos", "scorecard"):
        assert ticked(world, world.settings(name, retraining="triggered")) == []
    (request,) = ticked(world, cards)
    replay = Replay(cards, world.instance)
    assert request.tags["credit/trigger"] == "external"
    outcome = replay.train(date.fromisoformat(str(request.partition_key)), _report(), tags=request.tags)
    if outcome.status != "registered":
        pytest.fail(f"the retraining was {outcome.status}: {outcome.reason}")
    assert world.versions("cards") == ["1", "2"]
    assert world.registry("cards").alias(CHAMPION).version == "2"
    request_move(cards, world.instance, MoveRequest("rollback", "1", "risk desk", "the older one was better"))
    assert world.registry("cards").alias(CHAMPION).version == "1"
    moves = world.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(["cards", "model_aliases", CHAMPION])), limit=10
    ).records
    assert len(moves) >= 2
    assert {name: world.stock(name) for name in others} == others


def test_a_model_of_another_portfolio_is_refused_wherever_it_is_met(world: World) -> None:
    theirs, ours = world.registry("autos").version("1"), world.registry(FRESH)
    said = r"was made for portfolio autos \(contract \w{12}\), and this is portfolio fresh"
    with pytest.raises(PermanentError, match=said):
        ours.download(theirs)
    # Put among ours by hand, and made the champion: as a person might who takes it for the same model.
    client = ours.tracking.server.client
    client.create_registered_model(ours.model_name)
    with ours.tracking.server.fluent():
        client.create_model_version(
            ours.model_name, source=theirs.source, run_id=theirs.run_id, tags=dict(theirs.tags),
            model_id=theirs.source.removeprefix("models:/"),
        )  # fmt: skip
    client.set_registered_model_alias(ours.model_name, CHAMPION, "1")
    settings = world.settings(FRESH)
    try:
        for what in (
            lambda: models_record(settings),
            lambda: status_record(settings, world.instance),
            lambda: request_move(settings, world.instance, MoveRequest("promote", "1", "me", "why")),
            lambda: Replay(settings, world.instance).score(LAST, LAST, _report()),
            lambda: Replay(settings, world.instance).run(LAST, LAST, "last"),
        ):
            with pytest.raises(PermanentError, match=said):
                what()
        # Tags can be changed by hand; what the scorer was made for cannot.
        client.set_model_version_tag(ours.model_name, "1", "portfolio", FRESH)
        with pytest.raises(PermanentError, match=r"the model of version 1 of credit-scorer-fresh was made for .*autos"):
            ours.download(ours.version("1"))
    finally:
        client.delete_registered_model(ours.model_name)


@pytest.mark.timeout(900)
def test_on_one_mlflow_server_and_one_s3_prefix_nothing_of_the_other_is_asked_for(
    bucket: str, mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, home = ("cards", "autos"), tmp_path / "home"
    monkeypatch.setenv("CREDIT_STORE_URI", bucket)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    for name in pair:
        equal_columns(home / "portfolios", name)
        write_loans(small(home, name), 1)
    # Each process signs its requests with a name of its own.
    with asked_of_s3() as asked:
        train_at_once(home, {name: {"AWS_ACCESS_KEY_ID": name} for name in pair})
    for name, other in (pair, pair[::-1]):
        assert_only_its_own([path for who, path in asked if who == name], name, other)
    with instance_of(small(home, "cards")) as instance:
        world = World(home, instance)
        for name in pair:
            assert world.registry(name).alias(CHAMPION).version == "1"
            Replay(world.settings(name), instance).run(START, LAST, "none")

        def stock(name: str) -> dict[str, Any]:
            experiment = world.registry(name).tracking.server.experiment_id
            return {**world.stock(name), "artifacts": files_of(mlflow_server.artifacts / str(experiment))}

        autos, theirs = stock("autos"), world.registry("autos")
        assert all(autos[what] for what in ("files", "versions", "runs", "events", "dagster", "artifacts")), autos
        eager: dict[str, Any] = {"retraining": "triggered", "volume_trigger_share": 0.05, "cooldown_days": 0}
        with asked_of_s3() as asked, asked_of_mlflow() as said:
            cards = world.settings("cards", min_improvement=0.0, **eager)
            (request,) = ticked(world, cards, "volume_trigger")
            outcome = Replay(cards, instance).train(LAST, _report(), tags=request.tags)
            assert (outcome.status, outcome.promoted) == ("registered", True), outcome.reason
            assert world.versions("cards") == ["1", "2"]
            request_move(cards, instance, MoveRequest("rollback", "1", "risk desk", "the older one was better"))
            assert world.registry("cards").alias(CHAMPION).version == "1"
        assert_only_its_own([path for _, path in asked], "cards", "autos")
        version = theirs.version("1")
        names = (theirs.model_name, version.run_id, version.source.removeprefix("models:/"), "credit_scoring_autos")
        assert said
        assert [name for name in names if any(name in text for text in said)] == []
        assert stock("autos") == autos
        # Neither the claim of the day nor the pause after a retraining is the other's.
        (again,) = ticked(world, world.settings("autos", **eager), "volume_trigger")
        assert (again.run_key, again.partition_key) == (request.run_key, LAST.isoformat())


def test_a_report_of_a_portfolio_starts_a_run_of_its_own_job_alone(world: World) -> None:
    eager: dict[str, Any] = {"retraining": "triggered", "drift_trigger_days": 1, "cooldown_days": 0}
    for name, other in (("autos", "scorecard"), ("scorecard", "autos")):
        settings = world.settings(name, **eager)
        store = build_resources(settings)["store"]
        place = store.path("drift_report", f"{LAST}.json")
        kept = place.read_bytes()
        # Whatever the generated book says of that day, one has shifted and the other has not.
        store.write_record(
            place, {**store.read_record(place), "verdict": "shifted", "shifted": ["income"], "why": None}
        )
        before = world.stock(other)
        try:
            (request,) = ticked(world, settings, "drift_trigger")
            assert (request.tags["credit/trigger"], request.partition_key) == ("drift", LAST.isoformat())
            assert ticked(world, world.settings(other, **eager), "drift_trigger") == []
        finally:
            store.write_bytes(place, kept)
        assert world.stock(other) == before


def assert_only_its_own(paths: Sequence[str], name: str, other: str) -> None:
    """S3 was asked for what lies with this portfolio, and no list was wide enough for both. Beside it: whether the root
    of the store is a book under the plain names of earlier versions.
    """
    own = [path for path in paths if f"credit/portfolios/{name}/" in path]
    assert len(own) > 100
    assert [path for path in paths if other in path] == []
    assert sorted({path for path in paths if "credit/claims/book" not in path} - set(own)) == []


def ticked(world: World, settings: Settings, name: str = "external_trigger") -> list[dg.RunRequest]:
    """What a portfolio's sensor asks for at its first tick: runs of the job that retrains this portfolio."""
    definitions = build_definitions(settings)
    repository, resources = definitions.get_repository_def(), build_resources(settings)
    sensor = repository.get_sensor_def(settings.naming.dagster(name))
    assert sensor.job_name == f"{settings.naming.prefix}_retrain_model"
    with dg.build_sensor_context(
        instance=world.instance,
        repository_def=repository,
        resources={name: resources[name] for name in ("store", "registry", "claims")},
    ) as context:
        requests = list(sensor.evaluate_tick(context).run_requests or [])
    assert {request.job_name for request in requests} <= {None, sensor.job_name}
    return requests


def _report() -> Any:
    from credit_assets.cli.trainings import ReplayReport

    return ReplayReport()
