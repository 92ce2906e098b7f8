"""What is read is what was written: every flipped bit is found, in tables and records, whichever way they are read."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.failures import TransientError
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage import seals, tables
from credit_assets.storage.footers import CONTENT_KEY
from credit_assets.storage.partition_files import Partitions
from credit_assets.storage.seals import RECORD_SEAL, canonical_json, record_of, seal_table, sealed
from credit_assets.storage.store import Store
from credit_assets.storage.tables import DamagedFileError
from credit_assets_tests.support.store_files import write_table

DAY, ASSET = "2024-01-01", "raw_loan_data"
FLIPS = 400
GATE = GateResult("values", True, "error", 0, "0 rows", "all values keep the contract")
RECORD = {"auc": 0.7312, "rows": 1200, "name": "é", "of": {"10": [1.5, None], "9": True}, "evidence": "ab" * 32}


def table(rows: int = 200) -> pa.Table:
    """Of each type that a partition has; some values are missing."""
    draws = np.random.default_rng(4)
    numbers = pa.array(draws.normal(size=rows), mask=draws.random(rows) < 0.1)
    return pa.table(
        {
            "application_id": [f"A{n:05d}" for n in range(rows)],
            "application_date": [date(2024, 1, 1)] * rows,
            "income": numbers,
            "count": draws.integers(0, 40, rows),
            "purpose": draws.choice(["car", "house", "other"], rows),
            "flag": draws.random(rows) < 0.3,
            "pd": pa.array(draws.random(rows), pa.float32()),
        }
    )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(seals, "_SECONDS", 0)
    return Store(str(tmp_path / "store"))


def flipped(data: bytes, seed: int) -> list[bytes]:
    """The bytes with one bit another, at places drawn from all of them."""
    draws, found = random.Random(seed), []
    for _ in range(FLIPS):
        other = bytearray(data)
        other[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
        found.append(bytes(other))
    return found


def read_whole(store: Store) -> None:
    store.read_table(store.path(ASSET, f"{DAY}.parquet"))


def read_partitions(store: Store) -> None:
    store.read_partitions(ASSET, [DAY])


def read_columns(store: Store) -> None:
    store.read_partitions(ASSET, [DAY], ["income", "purpose"])


def read_pieces(store: Store) -> None:
    list(Partitions(store, ASSET, [DAY]).pieces())


def check(store: Store) -> None:
    store.check(store.path(ASSET, f"{DAY}.parquet"))


WAYS: list[Callable[[Store], None]] = [read_whole, read_partitions, read_columns, read_pieces, check]


@pytest.mark.parametrize("read", WAYS)
def test_every_flipped_bit_of_a_table_is_found(store: Store, read: Callable[[Store], None]) -> None:
    path = Path(str(store.path(ASSET, f"{DAY}.parquet")))
    write_table(store, store.path(ASSET, path.name), table(), [GATE])
    read(store)
    for data in flipped(path.read_bytes(), seed=WAYS.index(read)):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=rf"{DAY}\.parquet is damaged: .*replay --start {DAY} --end {DAY}"):
            read(store)


@pytest.mark.parametrize("read", [read_whole, read_pieces, check])
def test_every_flipped_bit_of_a_table_too_large_for_memory_is_found(
    store: Store, read: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_SMALL_LOCAL", 0)
    test_every_flipped_bit_of_a_table_is_found(store, read)


def test_a_flipped_bit_in_a_column_that_is_not_read_stays_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large file a few columns are read by the checksums of their pages: whatever comes is as it was written."""
    monkeypatch.setattr(tables, "_SMALL_LOCAL", 0)
    path, found = Path(str(store.path(ASSET, f"{DAY}.parquet"))), 0
    write_table(store, store.path(ASSET, path.name), table())
    for data in flipped(path.read_bytes(), seed=7):
        path.write_bytes(data)
        try:
            assert store.read_partitions(ASSET, [DAY], ["income", "purpose"]) == table().select(["income", "purpose"])
        except DamagedFileError:
            found += 1
    assert found > FLIPS / 4


def test_a_hidden_verdict_is_missed(store: Store) -> None:
    """No bit of the footer can be another: neither a gate's result nor the mark of the seal."""
    path = Path(str(store.path(ASSET, f"{DAY}.parquet")))
    write_table(store, store.path(ASSET, path.name), table(3), [GATE])
    data = path.read_bytes()
    begin = data.rindex(b"credseal")
    for place in range(begin, len(data)):
        other = bytearray(data)
        other[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(other))
        assert store.footers(ASSET, [DAY], damaged_too=False) == {}
        with pytest.raises(DamagedFileError):
            store.gates(ASSET, DAY)


def test_any_reader_of_parquet_reads_a_sealed_table(store: Store) -> None:
    import duckdb

    path = store.path(ASSET, f"{DAY}.parquet")
    write_table(store, path, table(), [GATE])
    assert pq.read_table(str(path)).replace_schema_metadata(None) == table()
    assert duckdb.sql(f"select count(*), sum(count) from '{path}'").fetchall() == [
        (200, sum(table()["count"].to_pylist()))
    ]


@pytest.mark.parametrize("read", [read_whole, read_partitions, read_pieces, check])
def test_a_table_of_before_is_held_against_the_hash_of_its_rows(store: Store, read: Callable[[Store], None]) -> None:
    """It has no seal: whatever is handed out has the rows that were written, or the file is damaged."""
    path = Path(str(store.path(ASSET, f"{DAY}.parquet")))
    write_table(store, store.path(ASSET, path.name), table(), [GATE])
    content = pq.read_metadata(path).metadata[CONTENT_KEY]
    path.unlink()
    pq.write_table(table().replace_schema_metadata({CONTENT_KEY: content}), path)
    read(store)
    found = 0
    for data in flipped(path.read_bytes(), seed=3):
        path.write_bytes(data)
        try:
            read(store)
            assert store.read_table(store.path(ASSET, path.name)) == table()
        except DamagedFileError:
            found += 1
    assert found > FLIPS / 2


def test_every_flipped_bit_of_a_record_is_found(store: Store) -> None:
    path = store.path("trained_model", f"{DAY}.json")
    store.write_record(path, RECORD)
    assert store.read_record(path) == RECORD
    for data in flipped(path.read_bytes(), seed=1):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=rf"{DAY}\.json is damaged"):
            store.read_record(path)


@pytest.mark.parametrize("record", [{}, {3: 1, 20: 2}, {"b": -0.0, "a": 1e300}, [1, 2], "text", 3.5])
def test_a_record_reads_back_and_one_of_before_too(record: Any) -> None:
    plain = record_of(canonical_json(record))
    assert record_of(canonical_json(sealed(record))) == plain
    assert canonical_json(sealed(record)) == canonical_json(sealed(plain))


def test_an_edited_record_is_not_believed(store: Store) -> None:
    path = store.path("trained_model", f"{DAY}.json")
    store.write_record(path, RECORD)
    path.write_text(path.read_text().replace("0.7312", "0.8312"))
    with pytest.raises(DamagedFileError, match="its content is not what was written"):
        store.read_record(path)
    path.write_bytes(canonical_json({**RECORD, RECORD_SEAL: 3}))
    with pytest.raises(DamagedFileError, match="its seal is no hash"):
        store.read_record(path)


def test_nothing_of_a_damaged_record_is_said(store: Store) -> None:
    path = store.path("trained_model", f"{DAY}.json")
    path.parent.mkdir(parents=True)
    path.write_text('{"income": 48211.5, secret}')
    with pytest.raises(DamagedFileError) as damaged:
        store.read_record(path)
    assert "48211" not in str(damaged.value)
    assert "secret" not in str(damaged.value)


@pytest.mark.parametrize("name", [f"{DAY}.parquet", f"{DAY}.json"])
def test_a_cut_answer_is_no_damage(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look in two gets half: the file is handed out all the same. Half of it each time is a matter of trying again,
    for the looks differ; only what looks the same twice is damage.
    """
    path, looks = store.path(ASSET, name), iter([2, 1, 2, 3, 2, 2])
    if name.endswith("json"):
        store.write_record(path, RECORD)
    else:
        write_table(store, path, table())
    whole = path.read_bytes()

    def cut(at: Any) -> bytes:
        return whole[: len(whole) // next(looks)]

    def read() -> Any:
        return store.read_record(path) if name.endswith("json") else store.read_table(path)

    monkeypatch.setattr(tables, "_stream", lambda at: Cut(cut(at)))
    monkeypatch.setattr(tables, "_size", lambda at, file: len(file.data))
    monkeypatch.setattr(type(path), "read_bytes", cut)
    assert read() == (RECORD if name.endswith("json") else table())
    with pytest.raises(TransientError, match="does not come whole"):
        read()
    with pytest.raises(DamagedFileError):
        read()


class Cut:
    """An answer of so many bytes."""

    def __init__(self, data: bytes) -> None:
        import io

        self.data, self._file = data, io.BytesIO(data)

    def __enter__(self) -> Any:
        self._file.data = self.data  # type: ignore[attr-defined]
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()


def test_what_a_disk_says_is_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.path(ASSET, f"{DAY}.parquet")
    write_table(store, path, table())

    def no_disk(at: Any) -> Any:
        raise OSError(5, "Input/output error", str(at))

    monkeypatch.setattr(tables, "_stream", no_disk)
    with pytest.raises(OSError, match="Input/output error"):
        store.read_table(path)


def test_the_seal_is_put_on_once_and_depends_on_the_content_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    for place in (first, second):
        pq.write_table(table(), place)
        seal_table(place)
    assert first.read_bytes() == second.read_bytes()
