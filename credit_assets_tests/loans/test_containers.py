"""What a file is by its bytes: packed, damaged, or no table at all."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.containers import open_container
from credit_assets.loans.layouts import Layout, RawTable, ReadOptions
from credit_assets.loans.table_files import read_columns

TWO = Layout("two", ("key", "amount"), (), "key", frozenset(), "give a file of two columns")
TEXT = b"key,amount\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 100_003) for i in range(20_000))


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return file.getvalue()


PACKED = {"gzip": gzip.compress(TEXT), "bzip2": bz2.compress(TEXT), "xz": lzma.compress(TEXT), "zstd": zstd(TEXT),
          "zip": zipped(loans_dot_csv=TEXT)}  # fmt: skip


def read(path: Path, content: bytes) -> RawTable:
    path.write_bytes(content)
    return read_columns(path, TWO, ReadOptions())


@pytest.mark.parametrize("how", PACKED)
def test_packed_files_whatever_their_name(tmp_path: Path, how: str) -> None:
    table = read(tmp_path / "loans.csv", PACKED[how])
    assert table.columns.num_rows == 20_000
    assert table.read_as["file"].startswith(f"delimited text, {how}")


@pytest.mark.parametrize("how", ["gzip", "bzip2", "xz", "zstd"])
def test_packed_files_put_together(tmp_path: Path, how: str) -> None:
    packers = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}
    table = read(tmp_path / "a", packers[how](b"key,amount\n1,2\n") + packers[how](b"3,4\n"))
    assert table.columns["key"].to_pylist() == ["1", "3"]


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_packed_files_that_end_early(tmp_path: Path, how: str, share: float) -> None:
    content = PACKED[how][: int(len(PACKED[how]) * share)]
    with pytest.raises(PermanentError, match=rf"a\.csv cannot be read to its end as {how} .*damaged or cut short"):
        read(tmp_path / "a.csv", content)


def test_a_flipped_bit_in_a_packed_file(tmp_path: Path) -> None:
    content = bytearray(PACKED["gzip"])
    content[-6] ^= 1
    with pytest.raises(PermanentError, match="cannot be read to its end as gzip"):
        read(tmp_path / "a.gz", bytes(content))


def test_archives_of_one_file(tmp_path: Path) -> None:
    content = zipped(folder__=b"", folder__loans_dot_csv=TEXT, __MACOSX__=b"", _dot_DS_Store=b"x")
    assert read(tmp_path / "a.zip", content).columns.num_rows == 20_000
    with pytest.raises(PermanentError, match=r"holds 2 files where one is wanted \(a\.csv, b\.csv\)"):
        read(tmp_path / "b.zip", zipped(a_dot_csv=TEXT, b_dot_csv=TEXT))
    with pytest.raises(PermanentError, match=r"holds 0 files where one is wanted \(nothing\)"):
        read(tmp_path / "c.zip", zipped())
    with pytest.raises(PermanentError, match="packed twice, gzip within zip"):
        read(tmp_path / "d.zip", zipped(a_dot_gz=gzip.compress(TEXT)))
    with pytest.raises(PermanentError, match="Excel workbook: save its sheet as CSV"):
        read(tmp_path / "e.xlsx", zipped(**{"[Content_Types]_dot_xml": b"<x/>", "xl__workbook_dot_xml": b"<x/>"}))


def test_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"a\.csv is empty: it has no header"):
        read(tmp_path / "a.csv", b"")
    with pytest.raises(PermanentError, match="is empty once unpacked"):
        read(tmp_path / "b.csv", gzip.compress(b""))
    with pytest.raises(PermanentError, match=r"none\.csv cannot be read: No such file"):
        open_container(tmp_path / "none.csv")
    with pytest.raises(PermanentError, match="is a folder: give one file"):
        open_container(tmp_path)


def test_tables_inside_archives(tmp_path: Path) -> None:
    table = pa.table({"key": ["1", "2"], "amount": [3, 4]})
    pq.write_table(table, tmp_path / "a.parquet")
    pa.ipc.new_file(tmp_path / "a.arrow", table.schema).close()
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write(table)
    with pa.ipc.new_stream(tmp_path / "a.arrows", table.schema) as stream:
        stream.write(table)
    for name in ("a.parquet", "a.arrow", "a.arrows"):
        content = (tmp_path / name).read_bytes()
        assert read(tmp_path / "packed", gzip.compress(content)).columns.equals(table)
        assert read(tmp_path / "plain", content).columns.equals(table)


def foreign(folder: Path) -> dict[str, bytes]:
    with sqlite3.connect(folder / "a.db") as database:
        database.execute("CREATE TABLE loans (id)")
    duckdb.connect(str(folder / "a.duckdb")).close()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder / "a.db")
    return {
        "SQLite": (folder / "a.db").read_bytes(),
        "DuckDB": (folder / "a.duckdb").read_bytes(),
        "tar": packed.getvalue(),
        "JSON": b'[{"id": 1}]',
        "web page": b"<!DOCTYPE html><html>Please log in</html>",
        "Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
        "ORC": b"ORC\0\0\0",
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    }


def test_files_that_hold_no_table_are_named(tmp_path: Path) -> None:
    for what, content in foreign(tmp_path).items():
        with pytest.raises(PermanentError, match=what):
            read(tmp_path / "loans.csv", content)


def test_a_header_that_begins_like_another_format(tmp_path: Path) -> None:
    layout = Layout("two", ("ORCHARD", "PARENT"), (), "ORCHARD", frozenset(), "")
    for text in (b"ORCHARD,PARENT\n1,2\n", b"PARENT,ORCHARD\n1,2\n", b"BZh9,ORCHARD,PARENT\n0,1,2\n"):
        (tmp_path / "a.csv").write_bytes(text)
        assert read_columns(tmp_path / "a.csv", layout, ReadOptions()).columns["ORCHARD"].to_pylist() in (["1"], ["2"])
