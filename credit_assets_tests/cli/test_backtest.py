"""`credit-assets backtest` on a home with one model: recorded and newly trained ones, and that nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from credit_assets.cli.backtest import Backtest, BacktestDays, backtest_record, draw_backtest, print_backtest
from credit_assets.cli.main import app
from credit_assets.failures import PermanentError
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.resources import build_resources
from credit_assets_tests.support.houses import LAST, TRAINED, House, open_house

AFTER = date(2024, 4, 10)


@pytest.fixture(scope="module")
def house(trained_home: Path) -> Iterator[House]:
    # The prepared home itself: a test below holds that nothing in it changes.
    with open_house(trained_home) as opened:
        yield opened


@pytest.fixture(scope="module")
def walked(house: House) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    before = house.hashes()
    record = backtest_record(house.settings, BacktestDays(TRAINED, AFTER, 10, 30), lambda *_: None)
    return record, before, house.hashes()


def test_a_recorded_model_is_judged_by_the_pds_that_it_gave(walked: Any, house: House) -> None:
    recorded = walked[0]["models"][0]
    assert (recorded["as_of"], recorded["source"], recorded["version"]) == (TRAINED.isoformat(), "recorded", "1")
    assert (recorded["applications"]["from"], recorded["applications"]["to"]) == ("2024-04-01", "2024-04-30")
    store = Path(house.settings.store)
    features = pa.concat_tables(
        [pq.read_table(store / "processed_features" / f"2024-04-{day:02d}.parquet") for day in range(1, 31)]
    )
    registry = build_resources(house.settings)["registry"]
    scored = CreditScorer.load(registry.download(registry.version("1"))).pd(features).sum()
    assert recorded["realised"]["expected"] == pytest.approx(scored)
    assert recorded["realised"]["rows"] == recorded["applications"]["rows"]
    kept = json.loads((store / "trained_model" / f"{TRAINED}.json").read_text())
    assert recorded["promised"]["auc"]["value"] == kept["evaluation"]["auc"]
    assert recorded["drift"]["verdict"] in ("stable", "watch", "shifted", "unknown")


def test_a_date_without_a_record_has_a_model_trained_for_it(walked: Any, house: House) -> None:
    trained = walked[0]["models"][1]
    assert (trained["as_of"], trained["source"], trained["version"]) == (AFTER.isoformat(), "trained now", None)
    assert trained["variant"] in house.settings.variants
    assert (trained["realised"]["from"], trained["realised"]["to"]) == ("2024-04-11", "2024-05-10")
    assert trained["promised"]["bads"] > 0
    assert trained["change"] is not None


def test_it_writes_nothing(walked: Any, house: House) -> None:
    _, before, after = walked
    assert after == before
    assert house.versions() == ["1"]


def test_totals_and_vintages_are_of_the_same_book(walked: Any) -> None:
    record = walked[0]
    assert record["known_to"] == LAST.isoformat()
    assert record["totals"]["judged"] == 2
    quarters = {one["quarter"]: one for one in record["vintages"]}
    assert set(quarters) == {"2024 Q1", "2024 Q2"}
    assert len(quarters["2024 Q1"]["months"]) == 1


def test_what_people_read_and_see(walked: Any) -> None:
    console = Console(record=True, width=160)
    print_backtest(walked[0], console)
    shown = " ".join(console.export_text().split())
    assert "v1" in shown
    assert "(trained now)" in shown
    assert "AUC in use less the promised one" in shown
    assert draw_backtest(walked[0])[:4] == b"\x89PNG"


def test_a_date_whose_windows_are_open_says_so_and_keeps_its_promise_in_sight(house: House) -> None:
    record = backtest_record(house.settings, BacktestDays(TRAINED, TRAINED, 1, 30), lambda *_: None)
    assert record["models"][0]["realised"]
    early = backtest_record(house.settings, BacktestDays(date(2024, 1, 5), date(2024, 1, 5), 1, 30), lambda *_: None)
    assert "not due" in early["models"][0]["why"]
    assert early["totals"]["judged"] == 0
    with pytest.raises(PermanentError, match="no model could be judged"):
        draw_backtest(early)
    console = Console(record=True, width=160)
    print_backtest(early, console)
    assert "No model could be judged yet." in console.export_text()


def test_dates_the_wrong_way_round_are_refused(house: House) -> None:
    with pytest.raises(PermanentError, match=r"no as-of date from 2024-04-10 \(--from\) to 2024-03-31 \(--to\)"):
        Backtest(house.settings).as_of_dates(BacktestDays(AFTER, TRAINED))


def test_the_dates_by_default_are_those_that_can_be_judged(house: House) -> None:
    days = Backtest(house.settings).as_of_dates(BacktestDays(every=7))
    assert days[0] == date(2024, 3, 30)
    # 2024-06-30 less 31 days.
    assert days[-1] <= date(2024, 5, 30)
    assert (days[1] - days[0]).days == 7


def test_a_book_without_a_day_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["backtest"])
    assert isinstance(result.exception, PermanentError)
    assert "no day is ingested yet" in str(result.exception)
