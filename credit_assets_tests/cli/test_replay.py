"""A replay makes what is damaged again, by itself, and leaves the rest as it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets_tests.support.houses import House, copied_home, open_house
from credit_assets_tests.support.store_files import write_table

FIRST, DAY, LAST = date(2024, 4, 1), date(2024, 4, 2), date(2024, 4, 3)
INGESTED = ("raw_loan_data", "loan_outcomes", "processed_features")


@pytest.fixture(scope="module")
def house(ingested_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(copied_home(ingested_home, tmp_path_factory.mktemp("damaged") / "home")) as built:
        yield built


def flip(path: Path) -> None:
    """One bit in the midst."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


DAMAGE: dict[str, Any] = {
    "one bit of the applications": ("raw_loan_data", flip),
    "half of the outcomes": (
        "loan_outcomes",
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    ),
    "nothing of the features": ("processed_features", lambda path: path.write_bytes(b"")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_day_is_made_again_by_the_next_backfill(house: House, damage: str) -> None:
    asset, spoil = DAMAGE[damage]
    before, path = house.hashes(), Path(house.settings.store, asset, f"{DAY}.parquet")
    assert house.replay.backfill(FIRST, LAST, INGESTED).runs == 0
    spoil(path)
    with pytest.raises(PermanentError, match=f"replay --start {DAY} --end {DAY}` makes what is damaged of that day"):
        house.replay.store.read_table(house.replay.store.path(asset, path.name))
    report = house.replay.backfill(FIRST, LAST, INGESTED)
    assert (report.runs, report.ingested) == (1, 1), "the damaged day alone"
    assert house.hashes() == before
    assert house.replay.backfill(FIRST, LAST, INGESTED).runs == 0


def test_a_damaged_quarantine_is_made_again_too(house: House) -> None:
    """The rows that a day was left without are looked at when it is held against the warehouse."""
    store = house.replay.store
    path = store.path("quarantine", "raw_loan_data", f"{DAY}.parquet")
    write_table(store, path, pa.table({"application_id": ["a"]}))
    flip(Path(str(path)))
    assert list(store.damaged("raw_loan_data", [f"{DAY}"])) == [f"{DAY}"]
    assert house.replay.backfill(FIRST, LAST, INGESTED).runs == 1
    assert not path.exists(), "no row of it is quarantined"
