"""The asset performance_report on a small book, with the real store, MLflow and Dagster instance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.assets.performance import performance_records
from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry
from credit_assets.ml.evidence.calibration_error import CalibrationError
from credit_assets.ml.evidence.evaluation import evaluate
from credit_assets.ml.evidence.intervals import observed_over_expected
from credit_assets.ml.evidence.performance import estimate, realised
from credit_assets.ml.reports.in_force import Cohorts
from credit_assets.ml.reports.performance import picture
from credit_assets.storage.footers import Footer
from credit_assets.storage.seals import canonical_json, record_of
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import LAST as END
from credit_assets_tests.support.houses import START, House, copied_home, open_house
from credit_assets_tests.support.registry import move
from credit_assets_tests.support.store_files import read_table, write_table

FIRST, SECOND = date(2024, 3, 16), date(2024, 5, 11)
"""First days of the two champions."""
W, C, MIN_BADS = 30, 20, 10
KEYS = {"day", "champion", "registered", "realised", "estimated", "reconciled", "newly_matured", "training_rows"}
KEYS |= {"since_training"}


class CountingStore(Store):
    """The real store, which remembers what was read."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.read: list[tuple[str, str]] = []
        self.counted: list[str] = []

    def read_partitions(self, asset: str, days: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        self.read += [(asset, day) for day in days]
        return super().read_partitions(asset, days, columns)

    def footers(self, asset: str, days: Sequence[str], *, damaged_too: bool = True) -> dict[str, Footer]:
        self.counted += days
        return super().footers(asset, days, damaged_too=damaged_too)


@dataclass
class Book:
    house: House
    store: Store
    registry: Registry

    def record(self, day: date) -> dict[str, Any]:
        return self.store.read_record(self.path(day))

    def path(self, day: date) -> Any:
        return self.store.path("performance_report", f"{day}.json")

    def frame(self, asset: str, first: date, last: date) -> pd.DataFrame:
        return self.store.read_partitions(asset, [str(day) for day in between(first, last)]).to_pandas()

    def materialize(self, first: date, last: date) -> dg.ExecuteInProcessResult:
        one = {"partition_key": str(first)} if first == last else {}
        result = self.house.replay.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.house.instance,
            asset_selection=[dg.AssetKey("performance_report")],
            tags={"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
            if first != last
            else {},
            **one,
        )
        assert result.success
        return result

    def again(self, days: Sequence[date], store: Store | None = None) -> dict[str, dict[str, Any]]:
        return performance_records(self.house.settings, days, store or self.store, self.registry)


def between(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


@pytest.fixture(scope="module")
def book(ingested_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    """Version 1 in force from 16 March, version 2 from 11 May, scored and reported to the end of June."""
    home = copied_home(ingested_home, tmp_path_factory.mktemp("performance"))
    with open_house(home, variants="lightgbm", performance_cohort_days=C, performance_min_bads=MIN_BADS) as house:
        first = house.train(FIRST - timedelta(1))
        assert (first.status, first.promoted, first.version) == ("registered", True, "1"), first.reason
        # As of an older day: registered, and no champion by itself.
        assert house.train(date(2024, 3, 10)).version == "2"
        registry = house.replay.registry
        move(registry, "2", SECOND)
        house.replay.backfill(START, END, ("loan_scores",), again=True)
        found = Book(house, house.replay.store, registry)
        found.materialize(START, END)
        yield found


def by_hand(book: Book, day: date) -> pd.DataFrame:
    """Scores of the realised window with their target, row by row from the definition."""
    first, last = day - timedelta(W + C - 1), day - timedelta(W)
    scores = book.frame("loan_scores", first, last)
    outcomes = book.frame("loan_outcomes", first, day)
    known = {row.application_id: row.outcome_date for row in outcomes.itertuples() if row.defaulted}
    scores["target"] = [
        int(row.application_id in known and known[row.application_id] <= row.application_date + timedelta(W))
        for row in scores.itertuples()
    ]
    return scores


def rounded(value: Any) -> Any:
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 6))


@pytest.mark.slow
def test_realised_is_the_matured_cohort_as_it_was_scored(book: Book) -> None:
    day = date(2024, 5, 25)
    record, rows = book.record(day), by_hand(book, day)
    found = record["realised"]
    assert set(record) == KEYS
    assert (found["from"], found["to"]) == ("2024-04-06", "2024-04-25")
    assert set(rows["model_version"]) == {"1"}
    assert (found["rows"], found["bads"], found["unscored"]) == (len(rows), rows["target"].sum(), 0)
    assert found["bads"] > MIN_BADS
    assert found["evaluation"] == rounded(evaluate(rows["target"], rows["pd"]).to_record())
    ratio = observed_over_expected(int(rows["target"].sum()), rows["pd"])
    assert ratio is not None
    assert found["observed_over_expected"] == rounded(vars(ratio))
    assert found["versions"]["1"]["evaluation"] == found["evaluation"]
    assert found["why"] is None
    # The champion of the day is another one than that which has been measured, and has its own registered values.
    assert record["champion"] == "2"
    tags = book.registry.version("2").tags
    measures = {name: float(tags[name]) for name in ("auc", "gini", "ks", "brier", "ece")}
    assert record["registered"] == {**measures, "baseline": json.loads(tags["performance"])}


@pytest.mark.slow
def test_the_champion_is_measured_on_what_matured_since_its_training(book: Book) -> None:
    from credit_assets.ml.learners.scorer import CreditScorer

    day, registry = date(2024, 5, 25), book.registry
    found = book.record(day)["since_training"]
    # It came into force a fortnight ago, so that no decision of its own has matured.
    assert "2" not in book.record(day)["realised"]["versions"]
    rows = by_hand(book, day)
    features = book.store.read_partitions(
        "processed_features", [str(one) for one in between(date(2024, 4, 6), date(2024, 4, 25))]
    )
    pd_by_id = dict(
        zip(
            features["application_id"].to_pylist(),
            CreditScorer.load(registry.download(registry.version("2"))).pd(features),
            strict=True,
        )
    )
    expected = realised(rows["target"], rows["application_id"].map(pd_by_id), min_bads=MIN_BADS).to_record()
    assert found == {"from": "2024-04-06", "to": "2024-04-25", **rounded(expected)}
    assert found["bads"] > MIN_BADS
    # Nothing that it was trained on is among them: as of 10 March, and with a window of 30 days, to 9 February.
    first = book.record(FIRST)["since_training"]
    assert (first["from"], first["to"], first["rows"]) == (
        str(FIRST - timedelta(W)),
        str(FIRST - timedelta(W)),
        len(book.frame("processed_features", FIRST - timedelta(W), FIRST - timedelta(W))),
    )


@pytest.mark.slow
def test_estimated_is_of_the_newest_applications_and_reconciled_when_they_mature(book: Book) -> None:
    made, matured = date(2024, 4, 25), date(2024, 5, 25)
    estimated = book.record(made)["estimated"]
    assert (estimated["from"], estimated["to"]) == ("2024-04-06", "2024-04-25")
    scores = book.frame("loan_scores", date(2024, 4, 6), made)
    baseline = json.loads(book.registry.version("1").tags["performance"])
    expected = rounded(estimate(scores["pd"], None, CalibrationError(**baseline["calibration"])).to_record())
    assert {name: estimated[name] for name in expected} == expected
    found, realised = book.record(matured)["reconciled"], book.record(matured)["realised"]["evaluation"]
    assert found["estimated"]["rows"] == found["realised"]["rows"] == len(scores)
    assert found["estimated"]["auc"] == estimated["auc"]
    assert found["realised"]["auc"] == realised["auc"]
    assert found["difference"]["auc"] == pytest.approx(realised["auc"] - estimated["auc"], abs=2e-6)
    assert found["difference"]["rate"] == pytest.approx(
        realised["observed_rate"] - estimated["expected_rate"], abs=2e-6
    )


@pytest.mark.slow
def test_a_window_with_two_champions_is_measured_together_and_apart(book: Book) -> None:
    day = date(2024, 6, 20)
    rows, found = by_hand(book, day), book.record(day)["realised"]
    assert list(found["versions"]) == ["1", "2"]
    for version, part in rows.groupby("model_version"):
        assert found["versions"][version]["rows"] == len(part)
        assert found["versions"][version]["bads"] == part["target"].sum()
    assert sum(part["rows"] for part in found["versions"].values()) == found["rows"] == len(rows)


@pytest.mark.slow
def test_a_cohort_of_few_bads_says_so(book: Book) -> None:
    found = next(book.record(day)["realised"] for day in between(FIRST, END) if book.record(day)["realised"]["bads"])
    assert found["bads"] < MIN_BADS
    assert found["why"] == f"{found['bads']} of the {MIN_BADS} bads that a verdict needs"


@pytest.mark.slow
def test_volume_is_what_matured_since_the_champions_training(book: Book) -> None:
    day = date(2024, 6, 30)
    record = book.record(day)
    applications = book.frame("processed_features", date(2024, 3, 10) - timedelta(W - 1), day - timedelta(W))
    assert record["newly_matured"] == len(applications)
    training = read_table(book.store, book.store.path("training_set", "2024-03-10.parquet"))
    assert record["training_rows"] == training.num_rows
    assert book.record(FIRST)["newly_matured"] == len(
        book.frame("processed_features", FIRST - timedelta(W), FIRST - timedelta(W))
    )


@pytest.mark.slow
def test_days_without_champion_or_matured_applications_say_why(book: Book) -> None:
    early = book.record(date(2024, 1, 5))
    assert set(early) == KEYS
    assert all(early[name] is None for name in KEYS - {"day", "realised", "estimated"})
    assert (early["realised"]["rows"], early["realised"]["from"]) == (0, None)
    assert early["realised"]["why"] == "no application is old enough; the first is of 2024-01-01"
    assert early["estimated"]["why"] == "no champion was in force by 2024-01-05, so no application was scored"
    first = book.record(FIRST)
    assert (first["champion"], first["reconciled"]) == ("1", None)
    assert first["realised"]["evaluation"] is None
    assert first["realised"]["unscored"] == len(
        book.frame("processed_features", FIRST - timedelta(W + C - 1), FIRST - timedelta(W))
    )
    assert first["estimated"]["rows"] == len(book.frame("loan_scores", FIRST, FIRST))
    # The first of the 20 days have no score.
    partly = book.record(date(2024, 4, 25))["realised"]
    assert partly["unscored"] == len(book.frame("processed_features", date(2024, 3, 7), FIRST - timedelta(1)))
    assert partly["rows"] > 0


@pytest.mark.slow
def test_a_day_alone_and_a_range_give_the_same_bytes_again(book: Book) -> None:
    days = between(date(2024, 4, 25), END)
    before = {day: book.path(day).read_bytes() for day in days}
    figure = book.store.path("figures", "performance_report", f"{END}.png")
    picture = figure.read_bytes()
    book.materialize(days[0], END)
    alone = date(2024, 6, 20)
    book.path(alone).unlink()
    book.materialize(alone, alone)
    assert {day: book.path(day).read_bytes() for day in days} == before
    assert figure.read_bytes() == picture


def copied(book: Book, folder: Path, day: date) -> Store:
    """A store of its own with what the report of `day` needs, and the outcomes of all days."""
    store = Store(str(folder))
    for asset in ("loan_scores", "loan_outcomes", "processed_features"):
        for one in between(START, END if asset == "loan_outcomes" else day):
            table = read_table(book.store, book.store.path(asset, f"{one}.parquet"))
            write_table(store, store.path(asset, f"{one}.parquet"), table)
    before = day - timedelta(W)
    store.write_record(store.path("performance_report", f"{before}.json"), book.record(before))
    return store


@pytest.mark.slow
@pytest.mark.parametrize("later", [0, 1, 9])
def test_nothing_after_the_day_changes_its_record_and_an_outcome_of_the_day_does(
    book: Book, tmp_path: Path, later: int
) -> None:
    day = date(2024, 5, 25)
    store, known = copied(book, tmp_path, day), day + timedelta(later)
    assert canonical_json(book.again([day], store)[str(day)]) == canonical_json(record_of(book.path(day).read_bytes()))
    # Every good application of the cohort turns out to default.
    path, rows = store.path("loan_outcomes", f"{known}.parquet"), by_hand(book, day)
    goods = rows.loc[rows["target"] == 0]
    table = read_table(store, path)
    more = pd.DataFrame({"application_id": goods["application_id"], "outcome_date": known, "defaulted": 1})
    write_table(
        store, path, pa.concat_tables([table, pa.Table.from_pandas(more, schema=table.schema, preserve_index=False)])
    )
    found = book.again([day], store)[str(day)]
    if later:
        assert canonical_json(found) == canonical_json(record_of(book.path(day).read_bytes()))
    else:
        # Day W after the application still counts: those of the last day of the window, and of no other, become bad.
        last = int((goods["application_date"] == day - timedelta(W)).sum())
        assert last > 0
        assert found["realised"]["bads"] == book.record(day)["realised"]["bads"] + last


@pytest.mark.slow
def test_an_id_that_comes_again_counts_once(book: Book, tmp_path: Path) -> None:
    day = date(2024, 5, 25)
    store = copied(book, tmp_path, day)
    path = store.path("loan_scores", "2024-04-20.parquet")
    table = read_table(store, path)
    repeated = read_table(store, store.path("loan_scores", "2024-04-10.parquet")).column("application_id")[0]
    ids = pa.array([repeated, *table.column("application_id")[1:]], table.schema.field("application_id").type)
    write_table(store, path, table.set_column(0, "application_id", ids))
    found = book.again([day], store)[str(day)]["realised"]
    assert found["rows"] == book.record(day)["realised"]["rows"] - 1
    assert found["unscored"] == 0


@pytest.mark.slow
def test_a_day_reads_its_windows_and_a_range_reads_each_partition_once(book: Book) -> None:
    day = date(2024, 6, 30)
    store = CountingStore(book.house.settings.store)
    book.again([day], store)
    matured, newest = between(day - timedelta(W + C - 1), day - timedelta(W)), between(day - timedelta(C - 1), day)
    assert [one for asset, one in store.read if asset == "loan_scores"] == [str(one) for one in (*matured, *newest)]
    assert [one for asset, one in store.read if asset == "loan_outcomes"] == [
        str(one) for one in between(matured[0], day)
    ]
    since = between(date(2024, 3, 10) - timedelta(W - 1), day - timedelta(W))
    assert sorted(store.counted) == [str(one) for one in sorted({*since, *matured})]
    for first in (START, date(2024, 5, 1)):
        store = CountingStore(book.house.settings.store)
        book.again(between(first, END), store)
        assert len(set(store.read)) == len(store.read)
        assert len(set(store.counted)) == len(store.counted)
        assert min(one for asset, one in store.read if asset == "loan_scores") == str(FIRST)


@pytest.mark.slow
def test_missing_partitions_are_named(book: Book, tmp_path: Path) -> None:
    day = date(2024, 6, 30)
    with pytest.raises(PermanentError, match=r"loan_scores: 40 of 40 partitions needed are not there"):
        book.again([day], Store(str(tmp_path)))
    path = book.store.path("processed_features", "2024-05-20.parquet")
    content = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(PermanentError, match=r"processed_features: 1 of 20 partitions .* \(2024-05-20"):
            book.again([day])
    finally:
        path.write_bytes(content)


@pytest.mark.slow
def test_the_last_day_of_a_range_has_the_picture(book: Book) -> None:
    days = between(date(2024, 6, 1), date(2024, 6, 3))
    result = book.materialize(days[0], days[-1])
    found = {
        event.partition: event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert set(found) == {str(day) for day in days}
    picture = Path(str(found["2024-06-03"]["performance_over_time"].value))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.name == "2024-06-03.png"
    assert "| AUC | 0." in str(found["2024-06-03"]["measures"].value)
    for day in days[:-1]:
        assert not {"performance_over_time", "measures"} & set(found[str(day)])
        assert not book.store.path("figures", "performance_report", f"{day}.png").exists()
    text = str(found)
    assert "application_id" not in text
    assert "S7-" not in text


@pytest.mark.slow
def test_a_picture_reads_no_more_records_than_it_shows(book: Book) -> None:
    read: list[date] = []

    def record_of(day: date) -> dict[str, Any]:
        read.append(day)
        return book.record(END)

    assert picture(END, Cohorts(date(2000, 1, 1), 365, C), record_of) is not None
    assert len(read) == 105
    assert (read[0], read[-1]) == (END - timedelta(728), END)
    assert picture(date(1999, 1, 1), Cohorts(date(2000, 1, 1), 365, C), record_of) is None
