"""The drift report of a day, with the real store, MLflow and Dagster instance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from credit_assets.assets.drift import assets, drift_records
from credit_assets.failures import PermanentError
from credit_assets.ml.data.manifest import MANIFEST
from credit_assets.ml.evidence.drift_reference import REFERENCE_FILE
from credit_assets.ml.reports.drift import feature_table
from credit_assets.partitions import daily_partitions
from credit_assets.resources import objects_of
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import END, START, House, book, copied_home, open_house, write_book

pytestmark = pytest.mark.slow

# The day on which the applicants become other people.
BREAK = date(2024, 4, 12)


def shifted_book() -> tuple[Any, Any]:
    """From BREAK on three inquiries more, half the limits unknown and a purpose never seen."""
    applications, outcomes = book()
    after = pd.to_datetime(applications["application_date"]) >= pd.Timestamp(BREAK)
    applications.loc[after, "inquiries_6m"] += 3
    applications.loc[after & (applications.index % 2 == 0), "credit_limit"] = None
    applications.loc[after & (applications.index % 5 == 0), "purpose"] = "wedding"
    return applications, outcomes


@pytest.fixture(scope="module")
def house(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(copied_home(trained_home, tmp_path_factory.mktemp("drift"))) as house:
        write_book(house.settings, *shifted_book())
        house.replay.backfill(BREAK, END, ("raw_loan_data", "processed_features"), again=True)
        house.replay.backfill(START, END, ("loan_scores",))
        yield house


def report(house: House, first: date, last: date | None = None, **overrides: Any) -> dict[str, Any]:
    """Materialize the reports of first .. last in one run; the record of the last day."""
    last = last or first
    settings = house.settings.model_copy(update=overrides)
    resources = objects_of(house.replay.definitions)
    result = dg.materialize(
        assets(settings, daily_partitions(settings)),
        instance=house.instance,
        resources=dict(resources),
        raise_on_error=False,
        **(
            {"partition_key": first.isoformat()}
            if first == last
            else {
                "tags": {
                    "dagster/asset_partition_range_start": first.isoformat(),
                    "dagster/asset_partition_range_end": last.isoformat(),
                }
            }
        ),
    )
    if not result.success:
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        data = failure.step_failure_data
        assert data.user_failure_data is not None
        raise PermanentError(str(data.user_failure_data.description))
    store: Store = house.replay.store
    return dict(store.read_record(store.path("drift_report", f"{last}.json")))


def records(house: House, days: Sequence[date], store: Store | None = None, **overrides: Any) -> dict[str, Any]:
    settings = house.settings.model_copy(update=overrides)
    return drift_records(settings, days, store or house.replay.store, house.replay.registry)


def test_before_the_shift_the_report_is_stable_and_pools_small_days(house: House) -> None:
    record = report(house, BREAK - timedelta(1))
    assert (record["verdict"], record["shifted"], record["watch"]) == ("stable", [], []), record["why"]
    assert record["champion"] == "1"
    assert 500 <= record["rows"] < 600
    assert 8 <= record["days"] <= 13
    assert record["to"] == "2024-04-11"
    assert record["from"] == (date(2024, 4, 12) - timedelta(record["days"])).isoformat()
    # The model scores from the first of April on; all eleven days are its own.
    assert record["score_rows"] == record["rows"]
    kinds = {one["name"]: (one["kind"], one["test"]) for one in record["features"]}
    assert kinds["purpose"] == ("category", "chi2")
    assert kinds["score"] == ("score", "ks")
    assert set(kinds) == {*house.settings.portfolio_contract.feature_names, "score"}
    assert set(record) == {
        "day", "champion", "from", "to", "days", "rows", "score_rows", "verdict", "why", "shifted", "watch", "features",
        "left",
    }  # fmt: skip
    assert record["left"] == []


def test_after_the_shift_it_says_what_has_shifted(house: House) -> None:
    record = report(house, date(2024, 4, 28))
    assert record["verdict"] == "shifted"
    assert {"inquiries_6m", "credit_limit", "purpose", "score"} <= set(record["shifted"])
    assert not {"annual_income", "loan_amount", "debt_to_income"} & {*record["shifted"], *record["watch"]}
    features = {one["name"]: one for one in record["features"]}
    assert features["purpose"]["new_levels"] == ["wedding"]
    assert features["purpose"]["new_level_share"] == pytest.approx(0.2, abs=0.05)
    assert features["credit_limit"]["missing_share"] > 0.4 > features["credit_limit"]["missing_reference"]
    assert "inquiries_6m" in record["why"]


def test_the_shift_is_seen_within_days(house: House) -> None:
    days = [BREAK + timedelta(n) for n in range(-6, 8)]
    verdicts = [record["verdict"] for record in records(house, days).values()]
    first = verdicts.index("shifted")
    assert set(verdicts[:6]) == {"stable"}
    assert days[first] <= BREAK + timedelta(4)
    assert set(verdicts[first:]) == {"shifted"}


def test_a_range_gives_what_its_days_give_and_the_same_again(house: House) -> None:
    first, last = date(2024, 3, 28), date(2024, 4, 6)
    folder = Path(house.settings.store) / "drift_report"

    def contents() -> dict[str, bytes]:
        days = [(first + timedelta(n)).isoformat() for n in range((last - first).days + 1)]
        return {day: (folder / f"{day}.json").read_bytes() for day in days}

    report(house, first, last)
    in_one_run = contents()
    for day in (first, date(2024, 4, 1), last):
        report(house, day)
    assert contents() == in_one_run
    wanted = dg.AssetRecordsFilter(dg.AssetKey("drift_report"), asset_partitions=[last.isoformat()])
    event = house.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
    assert event is not None
    assert event.metadata["verdict"].value == json.loads(in_one_run[last.isoformat()])["verdict"]
    assert "| feature | verdict |" in str(event.metadata["features"].value)


def test_without_a_champion_nothing_is_known(house: House) -> None:
    record = report(house, date(2024, 3, 31))
    assert (record["verdict"], record["champion"], record["features"]) == ("unknown", None, [])
    assert "no champion is in force" in record["why"]
    # The day after, features are judged on the days before the champion; its own scores are too few yet.
    record = report(house, date(2024, 4, 1))
    assert (record["verdict"], record["champion"]) == ("stable", "1")
    assert 0 < record["score_rows"] < 100
    assert record["features"][-1]["verdict"] == "unknown"


def test_too_few_rows_in_the_window_are_unknown(house: House) -> None:
    day = date(2024, 4, 28)
    record = report(house, day, drift_min_rows=3000)
    assert (record["verdict"], record["days"], record["from"]) == ("unknown", 30, "2024-03-30")
    assert f"{record['rows']} rows, fewer than 3000" in record["why"]
    # Never before the first partition: 120 days would begin in the year before.
    record = records(house, [day], drift_min_rows=50_000, drift_window_days=180)[day.isoformat()]
    assert (record["from"], record["verdict"]) == ("2024-01-01", "unknown")
    report(house, day)


class CountingStore(Store):
    """A store that tells what was read."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.tables: list[tuple[str, str]] = []

    def read_with_contents(self, asset: str, days: Sequence[str], columns: Sequence[str] | None = None) -> Any:
        self.tables += [(asset, day) for day in days]
        return super().read_with_contents(asset, days, columns)


def test_each_partition_is_read_once_and_none_that_is_not_needed(house: House) -> None:
    store = CountingStore(house.settings.store)
    days = [date(2024, 4, 10) + timedelta(n) for n in range(10)]
    found = records(house, days, store)
    assert len(store.tables) == len(set(store.tables))
    first = found["2024-04-10"]["from"]
    assert {asset for asset, _ in store.tables} == {"processed_features", "loan_scores"}
    assert min(day for _, day in store.tables) == first
    store.tables.clear()
    # A day that is large enough alone is all that is read.
    records(house, days[-1:], store, drift_min_rows=20)
    assert sorted(store.tables) == [("loan_scores", "2024-04-19"), ("processed_features", "2024-04-19")]


def test_a_partition_that_is_missing_is_named(house: House) -> None:
    path = house.replay.store.path("processed_features", "2024-04-15.parquet")
    content = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(PermanentError, match=r"processed_features: 1 of \d+ partitions .* \(2024-04-15\)"):
            report(house, date(2024, 4, 16))
    finally:
        path.write_bytes(content)


def test_a_model_without_a_reference_is_unknown_and_a_damaged_one_fails(house: House) -> None:
    registry = house.replay.registry
    place = registry.download(registry.version("1")) / REFERENCE_FILE
    content = place.read_bytes()
    client, manifest = registry.tracking.server.client, registry.version("1").tags[MANIFEST]
    try:
        place.write_bytes(content[:200])
        with pytest.raises(PermanentError, match=f"{REFERENCE_FILE} is another file"):
            report(house, date(2024, 4, 9))
        # As of versions of before, whose files no manifest tells.
        client.delete_model_version_tag(registry.model_name, "1", MANIFEST)
        with pytest.raises(PermanentError, match=f"{REFERENCE_FILE} cannot be read as a drift reference"):
            report(house, date(2024, 4, 9))
        place.unlink()
        record = report(house, date(2024, 4, 9))
        assert (record["verdict"], record["champion"]) == ("unknown", "1")
        assert "registered before models kept a drift reference" in record["why"]
    finally:
        place.write_bytes(content)
        client.set_model_version_tag(registry.model_name, "1", MANIFEST, manifest)
    assert report(house, date(2024, 4, 9))["verdict"] == "stable"


def test_the_table_has_the_largest_change_first(house: House) -> None:
    record = records(house, [date(2024, 4, 28)])["2024-04-28"]
    lines = feature_table(record).splitlines()
    assert len(lines) == 2 + len(record["features"])
    sizes = [float(line.split("|")[3]) for line in lines[2:]]
    assert sizes == sorted(sizes, reverse=True)
    assert feature_table({"features": []}).count("\n") == 1
