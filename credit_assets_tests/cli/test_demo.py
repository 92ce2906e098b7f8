"""The demo: what it refuses, what every page has to show after it, and that it can be stopped and run again."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

import credit_assets.cli.demo as demo
from credit_assets.assets.conventions import asset_key
from credit_assets.cli.audit import audit_record
from credit_assets.cli.demo import run_demo
from credit_assets.cli.demo_report import report_of
from credit_assets.cli.replay import no_progress
from credit_assets.cli.reproduce import reproduction_record
from credit_assets.cli.trainings import ReplayReport
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.ledger.reported import alias_key
from credit_assets.loans.demo_book import PLANTED, first_day
from credit_assets.partitions import today
from credit_assets.settings import Settings, load_settings
from credit_assets.stages import INGEST, RETRAIN, SCORE
from credit_assets.storage.remembered import COUNTED
from credit_assets.storage.store import Store
from credit_assets.tags import REASON_TAG, TRIGGER_TAG
from credit_assets_tests.support.demo import demo_in
from credit_assets_tests.support.houses import copied_home


def test_the_demo_refuses_a_home_that_holds_something_else(tmp_path: Path) -> None:
    home = Path(os.environ["CREDIT_HOME"])
    home.mkdir(parents=True)
    (home / "settings.env").write_text("CREDIT_START_DATE=2020-01-01\n")
    with pytest.raises(PermanentError, match="another book or settings of your own"):
        run_demo(None, lambda *_: None)
    assert (home / "settings.env").read_text() == "CREDIT_START_DATE=2020-01-01\n"
    with pytest.raises(PermanentError, match="no such file"):
        run_demo(tmp_path / "nothing.csv", lambda *_: None)


def test_the_demo_begun_on_another_day_goes_on_with_its_book(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last day stands in the settings of the home: the book of today would be another one."""
    asked: list[date] = []

    def generate(_: Settings, end: date) -> dict[str, Any]:
        asked.append(end)
        raise PermanentError("stopped by the test")

    monkeypatch.setattr(demo, "generate_demo_into_warehouse", generate)
    for now in (date(2026, 3, 1), date(2026, 3, 9)):
        monkeypatch.setattr(demo, "today", lambda _, now=now: now)
        with pytest.raises(PermanentError, match="stopped by the test"):
            run_demo(None, lambda *_: None)
    assert asked == [date(2026, 2, 28)] * 2
    assert load_settings().start_date == first_day(date(2026, 2, 28))


def test_two_demos_of_one_home_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, told = [0], [0], []

    def made(*_: Any) -> str:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        while not told:
            time.sleep(0.01)
        at_work[0] -= 1
        return "made"

    monkeypatch.setattr(demo, "_made", made)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run_demo, None, lambda what, *_: told.append(what)) for _ in range(2)]
        assert [one.result() for one in both] == ["made", "made"]
    assert most == [1]
    assert told == ["wait for another demo in this home"]


@pytest.fixture(scope="module")
def house(demo_home: Path) -> Iterator[SimpleNamespace]:
    """The demo's settings, store and Dagster instance, and the last day of its book."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDIT_HOME", str(demo_home))
        patch.delenv("DAGSTER_HOME", raising=False)
        settings = load_settings()
        store = Store(settings.store)
        with instance_of(settings) as instance:
            last = date.fromisoformat(max(store.days("raw_loan_data")))
            yield SimpleNamespace(settings=settings, store=store, instance=instance, last=last)
    os.environ.pop("DAGSTER_HOME", None)


def _record(house: SimpleNamespace, asset: str, day: date | str) -> Any:
    return house.store.read_record(house.store.path(asset, f"{day}.json"))


def _versions(house: SimpleNamespace) -> tuple[dict[str, Any], ...]:
    models = report_of(house.settings, house.store, ("generated", house.last), {}, ReplayReport()).models
    return tuple(models["versions"])


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_demo_ends_yesterday_and_every_day_of_it_is_made(house: SimpleNamespace) -> None:
    # Made a moment ago; a day may have closed since.
    assert house.last in {today(house.settings) - timedelta(n) for n in (1, 2)}
    days = {
        str(house.settings.start_date + timedelta(n)) for n in range((house.last - house.settings.start_date).days + 1)
    }
    for asset in (*house.settings.graph.made_by(INGEST), *house.settings.graph.made_by(SCORE)):
        assert house.instance.get_materialized_partitions(asset_key(house.settings, asset)) == days, asset
        assert set(house.store.days(asset)) == days, asset
    of_last = house.instance.get_materialized_partitions(asset_key(house.settings, "restated_days"))
    assert of_last == {str(house.last)}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_champion_took_over_and_a_third_model_is_on_trial(house: SimpleNamespace) -> None:
    first, second, third = _versions(house)
    assert second["aliases"] == ["champion"]
    assert set(third["aliases"]) == {"challenger", "shadow"}
    assert first["in_force"][0][1] is not None
    report = _record(house, "shadow_report", house.last)
    assert (report["champion"], report["shadow"], report["decision"]) == ("2", "3", "continue")
    assert report["rows"] > 3_000
    assert report["correlation"]["spearman"] > 0.6
    for one in (first, second, third):
        assert _record(house, "registered_model", one["as_of"])["decision"] == "registered"
        assert house.instance.get_latest_materialization_event(asset_key(house.settings, "model_dossier"))
    for alias in ("champion", "challenger", "shadow"):
        moves = house.instance.fetch_materializations(alias_key(alias, house.settings.naming), limit=9).records
        assert moves, alias


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_what_became_of_the_earlier_champion_is_known(house: SimpleNamespace) -> None:
    report = _record(house, "performance_report", house.last)
    assert list(report["realised"]["versions"]) == ["1"]
    found = report["realised"]["versions"]["1"]
    assert found["rows"] > 5_000
    assert found["evaluation"]["bads"] > 300
    assert report["champion"] == "2"
    assert report["reconciled"]
    assert report["since_training"]["evaluation"]
    assert list(house.store.path("figures", "performance_report").glob("*.png"))


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_nothing_drifted_until_it_was_planted_and_then_it_was_noticed(house: SimpleNamespace) -> None:
    planted = house.settings.start_date + timedelta(PLANTED[-1].day)
    verdicts = {
        day: record["verdict"]
        for day in map(date.fromisoformat, house.store.days("drift_report"))
        if (record := _record(house, "drift_report", day))["champion"]
    }
    assert len(verdicts) > 390
    assert {verdict for day, verdict in verdicts.items() if day < planted} == {"stable"}
    assert {verdict for day, verdict in verdicts.items() if day > planted + timedelta(2)} == {"shifted"}
    drifted = set(_record(house, "drift_report", house.last)["shifted"])
    assert {"annual_income", "loan_amount"} <= drifted
    runs = house.instance.get_runs(dg.RunsFilter(job_name=house.settings.naming.dagster(RETRAIN)))
    by_trigger = {run.tags.get(TRIGGER_TAG): run for run in runs if run.status is dg.DagsterRunStatus.SUCCESS}
    assert set(by_trigger) == {None, "volume", "drift"}
    assert "annual_income" in by_trigger["drift"].tags[REASON_TAG]
    as_of = date.fromisoformat(by_trigger["drift"].tags["dagster/partition"])
    assert planted < as_of <= planted + timedelta(7)
    assert _versions(house)[2]["as_of"] == str(as_of)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_no_day_is_scored_by_another_than_its_champion(house: SimpleNamespace) -> None:
    """The demo was stopped between a training and the scores by it."""
    in_force = [
        (one["version"], date.fromisoformat(first), date.fromisoformat(last) if last else date.max)
        for one in _versions(house)
        for first, last in one["in_force"]
    ]
    for asset in ("drift_report", "performance_report", "shadow_report"):
        for day in map(date.fromisoformat, house.store.days(asset)):
            champion = next((version for version, first, last in in_force if first <= day <= last), None)
            assert _record(house, asset, day)["champion"] == champion, (asset, day)
    third = _versions(house)[2]
    for n in range(1, (house.last - date.fromisoformat(third["as_of"])).days + 1):
        day = date.fromisoformat(third["as_of"]) + timedelta(n)
        assert _record(house, "shadow_report", day)["shadow"] == "3", day


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_its_last_lines_are_those_of_the_records(house: SimpleNamespace) -> None:
    report = report_of(house.settings, house.store, ("generated", house.last), {}, ReplayReport())
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    report.print(console)
    text = " ".join(console.export_text().split())
    champion = report.champion
    assert champion is not None
    assert f"Champion: credit-scorer version 2, {champion['variant']}, as of {champion['as_of']}" in text
    assert re.search(r"What became of version 1's decisions: AUC 0\.\d+ \(0\.\d+ \.\. 0\.\d+\) on [\d,]+ loans", text)
    third = _versions(house)[2]
    assert f"so a model was trained as of {third['as_of']}." in text
    assert f"On trial: version 3 since {date.fromisoformat(third['as_of']) + timedelta(1)}" in text
    assert json.loads(json.dumps(report.to_record()))["champion"]["version"] == "2"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_it_is_proved_by_audit_and_made_again_by_reproduce(house: SimpleNamespace) -> None:
    assert audit_record(house.settings, house.instance, no_progress)["gaps"] == []
    assert reproduction_record(house.settings, None)["equal"] is True


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_second_demo_changes_nothing_on_whatever_day(
    demo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copied_home(demo_home, tmp_path / "again")

    def files() -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns
            for path in (home / "store").rglob("*")
            if path.is_file() and COUNTED not in path.parts
        }

    before = files()
    later = today(load_settings()) + timedelta(9)
    monkeypatch.setattr(demo, "today", lambda _: later)
    again = demo_in(home)
    assert again.replay.runs == 0
    assert [one.status for one in again.replay.trainings] == ["registered"] * 3
    assert files() == before
