"""Partitions in pieces: equal files however the rows come, bounded memory, and nothing left of what failed."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.failures import PermanentError
from credit_assets.ml.data.fingerprints import frame_hash
from credit_assets.ml.data.formulas import FUNCTIONS
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage import partition_files
from credit_assets.storage.footers import with_makers
from credit_assets.storage.partition_files import (
    Partitions,
    PartitionWriter,
    in_pieces,
    quarantine,
    split_by_day,
    stage,
)
from credit_assets.storage.store import RefusedPartitionError, RejectedPartitionError, Store
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.lender import own_features
from credit_assets_tests.support.store_files import read_table, write_table

FIRST = date(2024, 1, 1)
PASSED = GateResult("values", True, "error", 0, "0 rows", "all values keep the contract")
REJECTED = GateResult("values", False, "error", 7, "0 rows", "7 rows break the contract", setting="columns: x")


def days(count: int) -> list[date]:
    return [FIRST + timedelta(n) for n in range(count)]


def book(rows: Sequence[int]) -> pa.Table:
    """That many rows on each day from FIRST on."""
    dates = [day for day, count in zip(days(len(rows)), rows, strict=True) for _ in range(count)]
    numbers = range(len(dates))
    return pa.table(
        {
            "id": [f"a{n:05d}" for n in numbers],
            "day": pa.array(dates, pa.date32()),
            "x": pa.array([None if n % 7 == 0 else n / 3 for n in numbers], pa.float64()),
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def write(store: Store, asset: str, table: pa.Table, of: Sequence[date], cuts: Sequence[int] = ()) -> dict[date, str]:
    """The table through a writer, cut at these rows; content hash by day."""
    edges = sorted({0, *(cut for cut in cuts if cut < table.num_rows), table.num_rows})
    with PartitionWriter(store, asset, of, table.schema, "day") as writer:
        for first, last in itertools.pairwise(edges):
            writer.write(table.slice(first, last - first))
        staged = writer.close({of[0]: [PASSED]})
    for day, file in staged.items():
        store.publish(file.file, store.path(asset, f"{day}.parquet"))
    return {day: file.content_hash for day, file in staged.items()}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that writes early, in row groups of 8 rows."""
    monkeypatch.setattr(partition_files, "_ROW_GROUP", 8)
    monkeypatch.setattr(partition_files, "_BUFFERED_BYTES", 500)


@pytest.mark.usefixtures("small")
@fuzz(25)
@given(rows=st.lists(st.integers(0, 40), min_size=1, max_size=4), cuts=st.lists(st.integers(1, 150), max_size=5))
def test_files_do_not_depend_on_how_the_rows_came(
    rows: list[int], cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    table, of = book(rows), days(len(rows))
    hashes = write(store, "cut", table, of, cuts)
    there = split_by_day(table, "day", of)
    for day in of:
        alone = there.get(day, table.slice(0, 0))
        name = f"{day}.parquet"
        file = stage(store, store.path("alone", name), alone, [PASSED] if day == of[0] else [])
        store.publish(file.file, store.path("alone", name))
        assert store.path("cut", name).read_bytes() == store.path("alone", name).read_bytes()
        assert read_table(store, store.path("cut", name)) == alone
        assert hashes[day] == file.content_hash == frame_hash(alone)
        assert store.gates("cut", day.isoformat()) == ([PASSED] if day == of[0] else [])
    assert not [path.name for path in store.path("cut").iterdir() if path.name.startswith(".")]


def test_rows_of_other_days_are_left_out(store: Store) -> None:
    write(store, "raw", book([2, 3, 4]), days(2))
    assert store.days("raw") == ["2024-01-01", "2024-01-02"]


@pytest.mark.usefixtures("small")
def test_what_fails_half_way_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with PartitionWriter(store, "raw", days(2), book([1]).schema, "day") as writer:
            writer.write(book([30, 30]))
            # The second flush waits for the first, whose file is there then.
            writer.write(book([0, 30]))
            assert list(store.path("raw").iterdir())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(store.path("raw").iterdir())


def test_a_staged_file_that_nobody_publishes_is_removed(store: Store) -> None:
    staged = stage(store, store.path("raw", "2024-01-01.parquet"), book([3]))
    assert staged.file.exists()
    assert store.days("raw") == []
    aside = staged.file
    del staged
    gc.collect()
    assert not aside.exists()


def test_quarantine_is_replaced_and_removed_when_clean(store: Store) -> None:
    rows = stage(store, store.path("quarantine", "raw", "2024-01-01.parquet"), book([2]))
    path = quarantine(store, "raw", "2024-01-01", rows)
    assert path is not None
    assert read_table(store, path).num_rows == 2
    assert quarantine(store, "raw", "2024-01-01", None) is None
    assert not path.exists()


def test_pieces_are_the_partitions_in_order(store: Store) -> None:
    table, of = book([5, 0, 12, 1]), days(4)
    write(store, "raw", table, of)
    pieces = list(Partitions(store, "raw", [day.isoformat() for day in of]).pieces(7))
    assert [piece.num_rows for piece in pieces] == [7, 7, 4]
    assert all(column.num_chunks == 1 for piece in pieces for column in piece.columns)
    assert pa.concat_tables(pieces) == table
    assert list(Partitions(store, "raw", ["2024-01-02"]).pieces()) == []


def test_pieces_gather_small_tables_and_cut_large_ones() -> None:
    table = book([50])
    cut = [table.slice(0, 3), table.slice(3, 0), table.slice(3, 40), table.slice(43)]
    assert [piece.num_rows for piece in in_pieces(cut, 10)] == [10] * 5
    assert pa.concat_tables(in_pieces(cut, 9)) == table
    assert list(in_pieces([])) == []


def test_pieces_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_files, "PIECE_BYTES", 4_000)
    of = days(1)
    # 100 rows of 50 numbers, 400 bytes each; and of one text, long ones among short ones.
    wide = pa.table({"day": [of[0]] * 100, **{f"f{n}": [float(n)] * 100 for n in range(50)}})
    texts = pa.table({"day": [of[0]] * 100, "text": ["x" * (900 if row % 2 else 1) for row in range(100)]})
    for table in (wide, texts):
        for cut in ([table], [table.slice(n, 7) for n in range(0, 100, 7)]):
            pieces = list(in_pieces(cut))
            assert pa.concat_tables(pieces).combine_chunks() == table
            assert max(piece.nbytes for piece in pieces) <= 4_000 + 900
            assert len(pieces) < 30


def test_row_groups_are_bounded_by_the_width_of_a_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_files, "_ROW_GROUP_BYTES", 8_080)
    of = days(1)
    for columns, rows in ((100, 10), (1, 100)):
        table = pa.table({"day": [of[0]] * 100, **{f"f{n}": [float(n)] * 100 for n in range(columns)}})
        write(store, f"of_{columns}", table, of, [33, 71])
        footer = pq.read_metadata(str(store.path(f"of_{columns}", f"{of[0]}.parquet")))
        assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [rows] * (100 // rows)


def test_what_another_extension_made_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lender = own_features(tmp_path, monkeypatch)
    made_by = FUNCTIONS.records(["own_burden"])
    first, second = days(2)
    table = book([2, 2])
    schema = with_makers(table.schema, made_by)
    with PartitionWriter(store, "features", [first], schema, "day") as writer:
        writer.write(table.slice(0, 2))
        made = writer.close()[first]
    store.publish(made.file, store.path("features", f"{first}.parquet"))
    plain = stage(store, store.path("features", f"{second}.parquet"), table.slice(2))
    store.publish(plain.file, store.path("features", f"{second}.parquet"))
    both = [first.isoformat(), second.isoformat()]
    assert store.read_partitions("features", both).num_rows == 4

    def refused() -> str:
        with pytest.raises(RefusedPartitionError) as whole:
            store.read_partitions("features", both)
        pieces = Partitions(store, "features", both)
        # In pieces the other day is kept, and this one is named.
        assert [piece.num_rows for piece in pieces.pieces()] == [2]
        assert pieces.refused == {first.isoformat(): str(whole.value)}
        return str(whole.value)

    lender.edit("rates", "2.0", "2.5")
    said = refused()
    assert said.startswith(f"features {first} was made with an extension: feature own_burden of {lender.name} 1.2.0")
    assert "is another one here" in said
    assert "credit-assets backfill --again --assets features" in said
    lender.uninstall()
    assert f"is not installed here: install {lender.name}==1.2.0" in refused()
    lender.install()
    lender.edit("rates", "2.5", "2.0")
    assert store.read_partitions("features", both).num_rows == 4
    by_own = table.replace_schema_metadata(schema.metadata)
    staged = stage(store, store.path("training_set", f"{first}.parquet"), by_own, [PASSED])
    store.publish(staged.file, store.path("training_set", f"{first}.parquet"))
    lender.edit("rates", "2.0", "2.5")
    with pytest.raises(RefusedPartitionError, match="training_set 2024-01-01 was made with an extension"):
        store.read_partitions("training_set", [first.isoformat()])
    assert [gate.name for gate in store.gates("training_set", first.isoformat())] == ["values"]


def test_missing_rejected_changed_and_damaged_partitions_are_named(store: Store) -> None:
    table, of = book([3, 3, 3]), days(3)
    keys = [day.isoformat() for day in of]
    write(store, "raw", table, of)

    def replace(content: pa.Table, gates: Sequence[GateResult] = ()) -> None:
        write_table(store, store.path("raw", f"{keys[1]}.parquet"), content, gates)

    def read(*some: str) -> tuple[int, dict[str, str]]:
        partitions = Partitions(store, "raw", some or keys)
        rows = sum(piece.num_rows for piece in partitions.pieces())
        return rows, partitions.refused

    replace(table.slice(3, 3), [REJECTED])
    rows, refused = read()
    assert rows == 6
    assert list(refused) == [keys[1]]
    assert refused[keys[1]].startswith("raw 2024-01-02 was rejected by its gate (values is 7")
    with pytest.raises(RejectedPartitionError, match=r"raw 2024-01-02 was rejected by its gate \(values is 7"):
        read(keys[1])
    replace(table.slice(3, 3).drop_columns(["x"]))
    with pytest.raises(PermanentError, match=r"raw: 1 partitions \(2024-01-02\) have other columns .* of, x\."):
        read()
    # Columns beyond those of the newest day have left the portfolio.
    replace(table.slice(3, 3).append_column("y", table["x"].slice(3, 3)))
    assert read() == (9, {})
    assert all("y" not in piece.column_names for piece in Partitions(store, "raw", keys).pieces())
    store.write_bytes(store.path("raw", f"{keys[1]}.parquet"), b"no parquet")
    with pytest.raises(PermanentError, match=r"2024-01-02\.parquet is damaged"):
        read()
    store.remove(store.path("raw", f"{keys[1]}.parquet"))
    assert read() == (6, {keys[1]: "raw 2024-01-02 is not there"})
    with pytest.raises(RefusedPartitionError, match=r"1 of 1 partitions needed are not there \(2024-01-02\)"):
        read(keys[1])


_COPY = """
import sys
from datetime import date
import numpy as np, pyarrow as pa
from credit_assets.storage.partition_files import Partitions, PartitionWriter
from credit_assets.storage.footers import with_makers
from credit_assets.storage.store import RefusedPartitionError, RejectedPartitionError, Store

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

store, rows, day = Store(sys.argv[1]), 250_000, date(2024, 1, 1)
schema = pa.schema([("day", pa.date32()), *((f"x{n}", pa.float64()) for n in range(20))])
random = np.random.default_rng(0)
before = peak()

def piece():
    days = pa.array(np.full(rows, np.datetime64(day), "datetime64[D]"))
    return pa.table([days, *(random.random(rows) for _ in range(20))], schema=schema)

def write(asset, pieces):
    with PartitionWriter(store, asset, [day], schema, "day") as writer:
        for one in pieces:
            writer.write(one)
        staged = writer.close()[day]
    store.publish(staged.file, store.path(asset, f"{day}.parquet"))
    return staged

first = write("a", (piece() for _ in range(int(sys.argv[2]))))
second = write("b", Partitions(store, "a", [day.isoformat()]).pieces())
assert (first.rows, first.content_hash) == (second.rows, second.content_hash)
print(peak() - before, pa.default_memory_pool().max_memory() / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_partition(tmp_path: Path) -> None:
    """A gigabyte through a writer, a reader and a writer: what is held at once is a fraction of it."""
    command = [sys.executable, "-c", _COPY, str(tmp_path / "store"), "24"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    grown, held = map(float, shown.split())
    # MB; the partition has 970 in memory, and is written and read. What the process has beside what is held are pages
    # that the allocator keeps, the more the busier the machine is.
    assert held < 550
    assert grown < 900
