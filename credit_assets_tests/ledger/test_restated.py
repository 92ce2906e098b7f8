"""What was made of days as they were: by what files say of their content, on a folder and an object store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from credit_assets.ledger.kept import Kept
from credit_assets.ledger.restated import RestatedDay, Restatements, Stale
from credit_assets.ml.data.fingerprints import frame_hash
from credit_assets.storage.partition_files import Staged, stage
from credit_assets.storage.store import Store

pytest_plugins = ["credit_assets_tests.support.s3"]

DAY, OTHER, AS_OF = "2024-01-01", "2024-01-02", "2024-03-31"
RAW, OUTCOMES = "raw_loan_data", "loan_outcomes"


# What a store does on S3 is looked at in storage/, and in test_kept.py with what is kept.
@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(request.getfixturevalue("bucket") if request.param == "s3" else str(tmp_path))


def rows(count: int, value: float = 1.0, day: str = DAY) -> pa.Table:
    days = [date.fromisoformat(day)] * count
    return pa.table({"id": [f"a{n}" for n in range(count)], "day": days, "value": [value] * count})


def staged(store: Store, asset: str, day: str, table: pa.Table, inputs: Mapping[str, Mapping[str, str]]) -> Staged:
    return stage(store, store.path(asset, f"{day}.parquet"), table, inputs=inputs)


def write(
    store: Store, asset: str, table: pa.Table, day: str = DAY, inputs: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    file = staged(store, asset, day, table, inputs or {})
    store.publish(file.file, store.path(asset, f"{day}.parquet"))


def content(store: Store, asset: str, day: str = DAY) -> str:
    return store.footers(asset, [day])[day].as_input


def ingest(store: Store, asset: str, table: pa.Table, day: str = DAY) -> list[RestatedDay]:
    """As ingestion does: what has changed is noted before the file is there."""
    file = staged(store, asset, day, table, {})
    noted = Restatements(store).ingested(asset, {day: file})
    store.publish(file.file, store.path(asset, f"{day}.parquet"))
    return noted


def feature(store: Store, day: str = DAY, value: float = 1.0) -> None:
    write(store, "processed_features", rows(4, value, day), day, {RAW: {day: content(store, RAW, day)}})


def score(store: Store, day: str = DAY) -> None:
    inputs = {"processed_features": {day: content(store, "processed_features", day)}}
    write(store, "loan_scores", rows(4, 0.1, day), day, inputs)


def train(store: Store, fingerprint: str = "f1", version: str = "1", as_of: str = AS_OF) -> None:
    table = pa.concat_tables([rows(4), rows(3, day=OTHER)])
    inputs = {
        "processed_features": {day: content(store, "processed_features", day) for day in (DAY, OTHER)},
        OUTCOMES: {DAY: content(store, OUTCOMES)},
    }
    write(store, "training_set", table, as_of, inputs)
    kept = Kept(store)
    kept.numbered(kept.keep({"as_of": as_of, "data": frame_hash(table), "fingerprint": fingerprint}), version)


@pytest.fixture
def book(store: Store) -> Store:
    """Two days ingested, featured and scored, and a version trained on both."""
    for day in (DAY, OTHER):
        assert ingest(store, RAW, rows(4, day=day), day) == []
        feature(store, day)
        score(store, day)
    ingest(store, OUTCOMES, rows(2))
    train(store)
    return store


def test_where_nothing_has_changed_nothing_is_stale(book: Store) -> None:
    assert Restatements(book).stale() == Stale()
    # Ingested again with the same rows: nothing to note.
    assert ingest(book, RAW, rows(4)) == []
    assert Restatements(book).days() == {}


def test_a_day_ingested_again_makes_what_came_of_it_stale_until_it_is_made_again(book: Store) -> None:
    assert ingest(book, RAW, rows(5)) == [RestatedDay(RAW, DAY, 4, 5)]
    stale = Restatements(book).stale()
    assert stale.partitions == {"processed_features": (DAY,), "loan_scores": (DAY,), "training_set": (AS_OF,)}
    assert stale.rows == {"processed_features": 4, "loan_scores": 4, "training_set": 7}
    (version,) = stale.versions
    assert (version.version, version.as_of, version.certain) == ("1", AS_OF, True)
    assert (version.days, version.rows) == ({"processed_features": 1}, {"processed_features": 4})
    assert stale.reported == {}

    feature(book, value=2.0)
    assert set(Restatements(book).stale().partitions) == {"loan_scores", "training_set"}
    score(book)
    assert set(Restatements(book).stale().partitions) == {"training_set"}
    train(book, "f2", "2")
    # The set is of today, and the first version saw what is kept of it.
    stale = Restatements(book).stale()
    assert stale.partitions == {}
    assert [one.version for one in stale.versions] == ["1"]


def test_a_change_that_features_do_not_show_leaves_versions_alone(book: Store) -> None:
    ingest(book, RAW, rows(4, 9.0))
    feature(book)
    assert Restatements(book).stale().versions == ()
    assert Restatements(book).stale().partitions == {}


def test_outcomes_count_with_the_rows_of_their_days(book: Store) -> None:
    ingest(book, OUTCOMES, rows(3))
    stale = Restatements(book).stale()
    assert stale.partitions == {"training_set": (AS_OF,)}
    (version,) = stale.versions
    assert (version.days, version.rows) == ({OUTCOMES: 1}, {OUTCOMES: 3})
    assert Restatements(book).stale({RAW: [DAY]}) == Stale()


def test_a_day_that_is_back_as_it_was_is_stale_no_more(book: Store) -> None:
    ingest(book, OUTCOMES, rows(3))
    assert ingest(book, OUTCOMES, rows(2)) == [RestatedDay(OUTCOMES, DAY, 3, 2)]
    assert Restatements(book).stale() == Stale()


def test_what_is_only_reported_is_stale_against_the_warehouse(book: Store) -> None:
    notes = Restatements(book)
    notes.reported([RestatedDay(RAW, DAY, 4, 4, frame_hash(rows(4, 7.0)))], {(RAW, DAY), (RAW, OTHER)})
    stale = notes.stale()
    assert stale.reported == {RAW: (DAY,)}
    assert stale.partitions == {"processed_features": (DAY,), "loan_scores": (DAY,), "training_set": (AS_OF,)}
    assert [one.days for one in stale.versions] == [{"processed_features": 1}]
    # A recheck that did not look at the day says nothing of it; one that finds it as it is here does.
    notes.reported([], {(RAW, OTHER)})
    assert notes.stale().reported == {RAW: (DAY,)}
    notes.reported([], {(RAW, DAY)})
    assert notes.stale() == Stale()


def test_a_reported_day_is_settled_by_whoever_ingests_it(book: Store) -> None:
    notes = Restatements(book)
    notes.reported([RestatedDay(OUTCOMES, DAY, 2, 3, frame_hash(rows(3)))], {(OUTCOMES, DAY)})
    ingest(book, OUTCOMES, rows(3))
    assert notes.stale().reported == {}
    assert [one.days for one in notes.stale().versions] == [{OUTCOMES: 1}]
    # The warehouse took it back before anybody ingested it.
    notes.reported([RestatedDay(RAW, DAY, 4, 9, frame_hash(rows(9)))], {(RAW, DAY)})
    ingest(book, RAW, rows(4))
    assert notes.stale().reported == {}
    assert "processed_features" not in notes.stale().partitions


def test_versions_of_before_are_named_by_the_days_that_their_sets_span(book: Store) -> None:
    book.remove(book.path("kept/versions", "f1.json"))
    book.write_record(book.path("registered_model", f"{AS_OF}.json"), {"version": "1"})
    ingest(book, OUTCOMES, rows(3))
    (version,) = Restatements(book).stale().versions
    assert (version.version, version.days, version.certain) == ("1", {OUTCOMES: 1}, False)


def test_files_of_before_do_not_say_what_they_were_made_of(book: Store) -> None:
    write(book, "processed_features", rows(4))
    write(book, "loan_scores", rows(4))
    ingest(book, RAW, rows(6))
    assert "processed_features" not in Restatements(book).stale().partitions
