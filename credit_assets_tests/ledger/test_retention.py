"""What the settings no longer keep goes, and nothing that anybody decides, proves or makes a version again by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from mlflow.entities import ViewType

from credit_assets.assets.reproduction import reproduce
from credit_assets.cli.audit import audit_record
from credit_assets.cli.left_over import clean
from credit_assets.cli.models import models_record
from credit_assets.cli.state import status_record
from credit_assets.cli.trainings import ReplayReport
from credit_assets.instance.retention import EVENTS, GOING, OUTPUT
from credit_assets.ledger.retention import CANDIDATES, Gone, Retention
from credit_assets.tracking.forgotten import FORGOTTEN
from credit_assets_tests.support.effects import Effects, counted
from credit_assets_tests.support.houses import TRAINED, House, copied_home, open_house
from credit_assets_tests.support.tracking import candidate

REJECTED = TRAINED + timedelta(20)
ALL = {"keep_events_days": 30, "keep_output_days": 30, "keep_candidates_days": 30}
LATER = datetime.now(UTC) + timedelta(40)
SOON = datetime.now(UTC) + timedelta(20)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Iterator[House]:
    """A champion of three candidates, and a candidate that was rejected."""
    home = copied_home(trained_home, tmp_path_factory.mktemp("retained") / "home")
    with open_house(home, variants=("lightgbm",), min_improvement=0.5) as opened:
        outcome = opened.replay.train(REJECTED, ReplayReport())
        assert outcome.status == "rejected", outcome.reason
        yield opened


def retention(house: House, now: datetime = LATER, **settings: Any) -> Retention:
    kept = house.settings.model_copy(update=settings)
    return Retention(kept, house.instance, house.replay.registry, house.replay.store, now)


def runs(house: House, view: int = ViewType.ALL) -> dict[str, Any]:
    server = house.replay.tracking.server
    return {run.info.run_id: run for run in server.client.search_runs([server.experiment_id], run_view_type=view)}


def candidates_of(house: House, day: date) -> set[str]:
    return {one for one, run in runs(house).items() if run.data.tags.get("partition") == str(day)}


def events(house: House, run_id: str | None = None) -> Counter[str | None]:
    found = Counter[str | None]()
    for run in house.instance.get_runs(dg.RunsFilter(run_ids=[run_id]) if run_id else None):
        for record in house.instance.get_records_for_run(run.run_id).records:
            event = record.event_log_entry.dagster_event
            found[event.event_type_value if event else None] += 1
    return found


def seen(house: House) -> dict[str, Any]:
    """What a person, an auditor and a reproduction see of it."""
    settings, registry = house.settings, house.replay.registry
    audit = audit_record(settings, house.instance, lambda *_: None, verify=True)
    again = reproduce(settings, house.replay.store, registry, "1")
    return {
        "audit": {name: audit[name] for name in ("clean", "walked", "gaps")},
        "status": {k: v for k, v in status_record(settings, house.instance).items() if k not in ("sensors", "daemons")},
        "models": models_record(settings),
        "made again": {name: again[name] for name in again if "seconds" not in name},
        "files": house.hashes(),
        "days": {
            asset: sorted(house.instance.get_materialized_partitions(dg.AssetKey(asset)))
            for asset in ("raw_loan_data", "trained_model", "deployed_model")
        },
    }


def test_nothing_goes_that_no_setting_names_or_that_is_not_old(house: House) -> None:
    before = house.hashes(), events(house), runs(house).keys()
    assert [*retention(house).apply()] == []
    assert [*retention(house, SOON, **ALL).apply()] == []
    assert (house.hashes(), events(house), runs(house).keys()) == before


@pytest.mark.slow
def test_what_is_old_goes_and_nothing_is_seen_of_it(house: House) -> None:
    failed = house.instance.create_run_for_job(house.replay.definitions.resolve_job_def("retrain_model"))
    house.instance.report_engine_event("what it said", failed)
    house.instance.report_run_failed(failed)
    of_failed = {kind: n for kind, n in events(house, failed.run_id).items() if kind in GOING}
    assert of_failed["ENGINE_EVENT"]
    before, of_rejected, of_kept = seen(house), candidates_of(house, REJECTED), candidates_of(house, TRAINED)
    told = events(house)
    assert (len(of_rejected), len(of_kept)) == (1, 3)
    output = Path(house.instance.root_directory) / "storage"
    assert [*output.rglob("*.complete")]
    would = [*retention(house, **ALL).apply(dry_run=True)]
    assert (events(house), runs(house).keys()) == (told, {*runs(house, ViewType.ACTIVE_ONLY)})
    gone = [*retention(house, **ALL).apply()]
    assert [(one.kind, one.name) for one in gone] == [(one.kind, one.name) for one in would]
    assert {one.kind for one in gone} == {EVENTS, OUTPUT, CANDIDATES}
    assert [one.name for one in gone if one.kind == CANDIDATES] == [f"MLflow run {one}" for one in of_rejected]
    assert candidates_of(house, TRAINED) == of_kept
    assert candidates_of(house, REJECTED) == set()
    # Its parent had nothing else; files and logged models are gone with it.
    assert not [run for run in runs(house).values() if run.info.lifecycle_stage != "active"]
    artifacts = house.settings.home_dir / "mlflow" / "artifacts"
    assert len([*artifacts.rglob("MLmodel")]) == len(of_kept)
    assert not [*output.rglob("*.complete")]
    left = events(house)
    assert {kind: n for kind, n in left.items() if kind in GOING} == of_failed
    assert {k: n for k, n in left.items() if k and k not in GOING} == {
        k: n for k, n in told.items() if k and k not in GOING
    }
    assert seen(house) == before
    assert [*retention(house, **ALL).apply()] == []


def test_a_model_that_somebody_registered_stays_whatever_its_name(house: House) -> None:
    tracking = house.replay.tracking
    with candidate(tracking, "of-mine", "lightgbm_candidate", partition="2024-05-01", fingerprint="mine") as mine:
        mine.log_params({"a": 1})
    with candidate(tracking, "of-others", "other_lightgbm_candidate", partition="2024-05-02") as other:
        other.log_params({"a": 1})
    client = tracking.server.client
    client.create_registered_model("somebodys")
    client.create_model_version("somebodys", source=client.get_run(mine.run_id).info.artifact_uri, run_id=mine.run_id)
    gone = {one.name for one in retention(house, keep_candidates_days=30).apply()}
    assert not gone & {f"MLflow run {mine.run_id}", f"MLflow run {other.run_id}"}
    assert {mine.run_id, other.run_id} <= runs(house, ViewType.ACTIVE_ONLY).keys()


def test_a_candidate_is_gone_for_good_wherever_its_end_was_killed(house: House) -> None:
    tracking, met = house.replay.tracking, []
    for number in range(100):
        with candidate(tracking, f"killed-{number}", "lightgbm_candidate", partition=f"no {number}") as run:
            run.log_dict({"a": 1}, "candidate.json")
        files = Path(tracking.server.client.get_run(run.run_id).info.artifact_uri.removeprefix("file://"))
        assert [*files.iterdir()]
        with counted(Effects(number)) as effects:
            [*retention(house, keep_candidates_days=30).apply()]
        # A process that is gone holds no transaction open.
        tracking.server.client._tracking_client.store.engine.dispose()
        [*retention(house, keep_candidates_days=30).apply()]
        assert run.run_id not in runs(house), effects.killed_before
        assert not files.exists(), effects.killed_before
        assert not [one for one in runs(house).values() if FORGOTTEN in one.data.tags], effects.killed_before
        if effects.killed_before is None:
            break
        met.append(effects.killed_before)
    assert len(met) > 5


def test_time_that_is_up_ends_it_and_the_next_goes_on(house: House) -> None:
    tracking = house.replay.tracking
    for number in range(3):
        with candidate(tracking, f"slow-{number}", "lightgbm_candidate", partition=f"2024-07-0{number + 1}"):
            pass
    found: list[list[Gone]] = [[*retention(house, keep_candidates_days=30).apply(seconds=0)] for _ in range(4)]
    assert [len(some) for some in found] == [1, 1, 1, 0]


def test_the_command_says_what_it_would_take_out_and_for_how_long_the_rest_is_kept(
    house: House,
) -> None:
    record = clean(house.settings, dry_run=True, retention=True).to_record()
    assert (record["old"], record["kept_for"]) == ([], dict.fromkeys((EVENTS, OUTPUT, CANDIDATES), "kept for ever"))
    settings = house.settings.model_copy(update={"keep_events_days": 365})
    assert clean(settings, dry_run=True, retention=True).limits[EVENTS] == "CREDIT_KEEP_EVENTS_DAYS=365"
    assert clean(settings, dry_run=True).limits == {}
