"""Counting rows once: what was replaced since is counted anew, and a kept count that is damaged is none."""

from __future__ import annotations

import json
import os
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.assets.stored_days import StoredDays
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage.counted import FEW, CountedStore
from credit_assets.storage.footers import GATES_KEY
from credit_assets.storage.remembered import COUNTED, Remembered
from credit_assets.storage.store import RowCount, Store

DATES = [date(2024, 1, 1) + timedelta(n) for n in range(FEW + 1)]
DAYS = [day.isoformat() for day in DATES]
"""So many that counts are kept; only the first three are there."""


def write(store: Store, day: str, pds: list[float | None], gates: tuple[GateResult, ...] = ()) -> None:
    """As the store does it: aside, then renamed."""
    kept = json.dumps([gate.to_record() for gate in gates])
    path = store.path("loan_scores", f"{day}.parquet")
    aside = store.staging_file(path)
    pq.write_table(pa.table({"pd": pa.array(pds, pa.float64())}).replace_schema_metadata({GATES_KEY: kept}), aside)
    store.publish(aside, path)


def counted(uri: str, days: list[str] = DAYS) -> dict[str, RowCount]:
    """By a store that was opened just now, as the next day's run opens it."""
    return CountedStore(uri).row_counts("loan_scores", days)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The days whose files are opened."""
    days: list[str] = []
    footer = Store.footer
    monkeypatch.setattr(Store, "footer", lambda self, path: (days.append(path.stem), footer(self, path))[1])
    return days


def test_a_file_is_opened_once_and_again_when_it_was_replaced(tmp_path: Path, opened: list[str]) -> None:
    uri = str(tmp_path / "store")
    stopped = GateResult("values", False, "error", 7, "0 rows", "broken", setting="columns")
    for day, pds, gates in zip(DAYS, ([0.1], [0.1, None], []), ((), (), (stopped,)), strict=False):
        write(Store(uri), day, list(pds), gates)
    expected = {DAYS[0]: RowCount(1, 0), DAYS[1]: RowCount(2, 1), DAYS[2]: RowCount(0, 0, rejected=True)}
    assert counted(uri) == expected
    assert sorted(opened) == DAYS[:3]
    opened.clear()
    assert counted(uri) == expected == Store(uri).row_counts("loan_scores", DAYS)
    assert sorted(opened) == DAYS  # By the plain store alone, which looks for each.
    opened.clear()
    # As long as before, and at the time of before: it is another file all the same.
    path = Path(uri, "loan_scores", f"{DAYS[1]}.parquet")
    before = path.stat()
    write(Store(uri), DAYS[1], [None, 0.1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counted(uri) == expected
    assert opened == [DAYS[1]]
    path.unlink()
    assert set(counted(uri)) == {DAYS[0], DAYS[2]}


def test_what_is_asked_of_few_days_is_read_from_their_files(tmp_path: Path, opened: list[str]) -> None:
    uri = str(tmp_path / "store")
    for day in DAYS[:3]:
        write(Store(uri), day, [0.1])
    counted(uri)
    opened.clear()
    assert counted(uri, DAYS[:3]) == dict.fromkeys(DAYS[:3], RowCount(1, 0))
    assert opened == DAYS[:3]


def test_a_day_more_of_an_account_of_all_days_opens_one_file(tmp_path: Path, opened: list[str]) -> None:
    uri = str(tmp_path / "store")
    for day in DAYS[:-1]:
        write(Store(uri), day, [0.1])
    # Of as few days as this nothing is kept yet.
    StoredDays(CountedStore(uri)).ingested("loan_scores")
    write(Store(uri), DAYS[-1], [0.1, 0.2])
    StoredDays(CountedStore(uri)).ingested("loan_scores")
    opened.clear()
    later = DATES[-1] + timedelta(1)
    write(Store(uri), later.isoformat(), [0.1, 0.2, 0.3])
    found = StoredDays(CountedStore(uri)).ingested("loan_scores")
    assert opened == [later.isoformat()]
    assert found == {**dict.fromkeys(DATES[:-1], (1, 0)), DATES[-1]: (2, 0), later: (3, 0)}


def test_a_damaged_day_is_none_and_is_looked_at_each_time(tmp_path: Path, opened: list[str]) -> None:
    uri = str(tmp_path / "store")
    write(Store(uri), DAYS[0], [0.1])
    Path(uri, "loan_scores", f"{DAYS[1]}.parquet").write_bytes(b"half")
    for _ in range(2):
        assert counted(uri) == {DAYS[0]: RowCount(1, 0)}
    assert opened.count(DAYS[0]) == 1
    assert opened.count(DAYS[1]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"found": {}}',
        '{"what": "rows without_pd rejected", "found": 3}',
        '{"what": "rows without_pd rejected", "found": {"2024-01-01": [1]}}',
    ],
)
def test_kept_counts_that_do_not_fit_are_as_good_as_none(text: str, tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    write(Store(uri), DAYS[0], [0.1])
    file = Path(uri, COUNTED, "loan_scores", "2024.json")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert counted(uri) == {DAYS[0]: RowCount(1, 0)}
    assert DAYS[0] in json.loads(file.read_text())["found"]


def test_a_store_that_cannot_be_written_to_is_counted_all_the_same(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    write(Store(uri), DAYS[0], [0.1])
    Path(uri, COUNTED).write_text("no folder")
    assert counted(uri) == {DAYS[0]: RowCount(1, 0)}


def test_an_object_store_tells_its_files_apart_or_they_are_counted_each_time(opened: list[str]) -> None:
    store = CountedStore("memory://counted")
    write(store, DAYS[0], [0.1])
    # Its files have no mark: no count is kept of them.
    for _ in range(2):
        assert store.row_counts("loan_scores", DAYS) == {DAYS[0]: RowCount(1, 0)}
    assert len(opened) == 2
    assert store.row_counts("nothing", DAYS) == {}


def test_what_is_written_a_day_is_one_year_and_another_look_believes_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    days = ["2023-12-30", "2023-12-31", "2024-01-01", "2024-01-02"]
    for day in days:
        write(store, day, [0.1])
    Remembered(store, "loan_scores", "a").add(dict.fromkeys(days[:3], 1))
    year_before = tmp_path / COUNTED / "loan_scores" / "2023.json"
    written = year_before.stat()
    remembered = Remembered(store, "loan_scores", "a")
    assert remembered.of(days) == dict.fromkeys(days[:3], 1)
    # Once the year is over its record stays as it is.
    remembered.add({days[3]: [2, "two"]})
    assert year_before.stat() == written
    assert Remembered(store, "loan_scores", "a").of(days[2:]) == {days[2]: 1, days[3]: [2, "two"]}
    assert Remembered(store, "loan_scores", "b").of(days) == {}
    # What came after this was made is unknown to it.
    write(store, days[0], [0.1, 0.2])
    assert remembered.of(days[:1]) == {days[0]: 1}
    assert Remembered(store, "loan_scores", "a").of(days[:2]) == {days[1]: 1}
