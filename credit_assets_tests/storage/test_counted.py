"""Counting rows once: what was replaced since is counted anew, and a kept count that is damaged is none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage.counted import CountedStore
from credit_assets.storage.footers import GATES_KEY
from credit_assets.storage.store import RowCount, Store

DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]


def write(store: Store, day: str, pds: list[float | None], gates: tuple[GateResult, ...] = ()) -> None:
    """As the store does it: aside, then renamed."""
    kept = json.dumps([gate.to_record() for gate in gates])
    path = store.path("loan_scores", f"{day}.parquet")
    aside = store.staging_file(path)
    pq.write_table(pa.table({"pd": pa.array(pds, pa.float64())}).replace_schema_metadata({GATES_KEY: kept}), aside)
    store.publish(aside, path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The days whose files are opened."""
    days: list[str] = []
    footer = Store.footer
    monkeypatch.setattr(Store, "footer", lambda self, path: (days.append(path.stem), footer(self, path))[1])
    return days


def test_a_file_is_opened_once_and_again_when_it_was_replaced(tmp_path: Path, opened: list[str]) -> None:
    uri, file = str(tmp_path / "store"), tmp_path / "cache" / "rows.json"
    stopped = GateResult("values", False, "error", 7, "0 rows", "broken", setting="columns")
    for day, pds, gates in zip(DAYS, ([0.1], [0.1, None], []), ((), (), (stopped,)), strict=True):
        write(Store(uri), day, list(pds), gates)
    counted = {DAYS[0]: RowCount(1, 0), DAYS[1]: RowCount(2, 1), DAYS[2]: RowCount(0, 0, rejected=True)}
    assert CountedStore(uri, file).row_counts("loan_scores", [*DAYS, "2024-01-04"]) == counted
    assert sorted(opened) == DAYS
    opened.clear()
    assert (
        CountedStore(uri, file).row_counts("loan_scores", DAYS) == counted == Store(uri).row_counts("loan_scores", DAYS)
    )
    assert sorted(opened) == DAYS  # By the plain store alone.
    opened.clear()
    # As long as before, and at the time of before: it is another file all the same.
    path = Path(uri, "loan_scores", f"{DAYS[1]}.parquet")
    before = path.stat()
    write(Store(uri), DAYS[1], [None, 0.1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert CountedStore(uri, file).row_counts("loan_scores", DAYS) == counted
    assert opened == [DAYS[1]]
    path.unlink()
    assert set(CountedStore(uri, file).row_counts("loan_scores", DAYS)) == {DAYS[0], DAYS[2]}


def test_a_damaged_day_is_none_and_is_looked_at_each_time(tmp_path: Path, opened: list[str]) -> None:
    uri, file = str(tmp_path / "store"), tmp_path / "rows.json"
    write(Store(uri), DAYS[0], [0.1])
    Path(uri, "loan_scores", f"{DAYS[1]}.parquet").write_bytes(b"half")
    for _ in range(2):
        assert CountedStore(uri, file).row_counts("loan_scores", DAYS) == {DAYS[0]: RowCount(1, 0)}
    assert opened.count(DAYS[0]) == 1
    assert opened.count(DAYS[1]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"store": "elsewhere", "rows": {}}',
        '{"rows": 3}',
        '{"store": "STORE", "rows": {"loan_scores": [1]}}',
    ],
)
def test_kept_counts_that_do_not_fit_are_as_good_as_none(text: str, tmp_path: Path) -> None:
    uri, file = str(tmp_path / "store"), tmp_path / "rows.json"
    write(Store(uri), DAYS[0], [0.1])
    file.write_text(text.replace("STORE", uri))
    assert CountedStore(uri, file).row_counts("loan_scores", DAYS) == {DAYS[0]: RowCount(1, 0)}
    assert json.loads(file.read_text())["store"] == uri


def test_a_home_that_cannot_be_written_to_is_counted_all_the_same(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    write(Store(uri), DAYS[0], [0.1])
    (tmp_path / "file").write_text("no folder")
    assert CountedStore(uri, tmp_path / "file" / "rows.json").row_counts("loan_scores", DAYS) == {
        DAYS[0]: RowCount(1, 0)
    }


def test_an_object_store_tells_its_files_apart_or_they_are_counted_each_time(tmp_path: Path, opened: list[str]) -> None:
    store = CountedStore("memory://counted", tmp_path / "rows.json")
    write(store, DAYS[0], [0.1])
    # Its files have no mark: no count is kept of them.
    for _ in range(2):
        assert store.row_counts("loan_scores", DAYS) == {DAYS[0]: RowCount(1, 0)}
    assert len(opened) == 2
    assert store.row_counts("nothing", DAYS) == {}
