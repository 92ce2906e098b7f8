"""A file as the bytes of one table: what it is by its first bytes, and its content unpacked.

Belongs here: compression, archives, files that hold no table, damage. Does not belong here: text (`text_files`,
`delimited`) and Arrow (`arrow_files`).

The name of a file decides nothing: `.csv` files are gzipped, and `.gz` files are unpacked by browsers that keep the
name.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, cast

import pyarrow as pa

from credit_assets.failures import PermanentError

Kind = Literal["text", "Parquet", "Arrow file", "Arrow stream"]

_HEAD_BYTES = 512
# Tables of loans unpack to 3 to 20 times their size, of one value alone to some hundred times: more is no table, but
# made to fill memory or time. Small files may.
MOST_TIMES = 200
_ALWAYS_ALLOWED = 1 << 30
_XZ_MEMORY = 1 << 30
_CHUNK_BYTES = 1 << 20
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
}
_TABLES: dict[bytes, Kind] = {b"PAR1": "Parquet", b"ARROW1": "Arrow file", b"\xff\xff\xff\xff": "Arrow stream"}
_FOREIGN_BYTES = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save its sheet as CSV",
    b"SQLite format 3": "a SQLite database: set CREDIT_WAREHOUSE_URL to it, or export the table as CSV or Parquet",
    b"ORC": "an ORC file: write it as Parquet",
    b"Obj\x01": "an Avro file: write it as Parquet",
    b"FEA1": "a Feather file of version 1: write it as version 2 or as Parquet",
    b"PARE": "an encrypted Parquet file: write it without encryption",
    b"\x89HDF": "an HDF5 file: write the table as Parquet",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x04\x22\x4d\x18": "compressed with LZ4: unpack it first",
}
_FOREIGN_TEXT = {
    b"%pdf": "a PDF document: load the table that it was made from",
    b"<!doctype": "a web page, perhaps of a login or an error: download the file itself",
    b"<html": "a web page, perhaps of a login or an error: download the file itself",
    b"<?xml": "an XML file: write the table as CSV or Parquet",
    b"{": "a JSON file: write the table as CSV or Parquet",
    b"[": "a JSON file: write the table as CSV or Parquet",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file: run git lfs pull",
}
# What unpacking raises on damage, whichever library does it.
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)


@dataclass(frozen=True)
class Container:
    """One table's bytes, unpacked when opened."""

    path: Path
    kind: Kind
    compression: str
    """gzip, bzip2, xz, zstd, zip, or empty."""
    member: str
    """The file within a zip archive that is the table."""
    digest: str
    """SHA-256 of the file as it lies there, in hex."""

    @property
    def described(self) -> str:
        packed = f", {self.compression}" if self.compression else ""
        return f"{self.kind}{packed}" + (f" (member {self.member})" if self.member else "")

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes, from their beginning. Raises PermanentError where they end early or are damaged."""
        try:
            with _unpacked(self.path, self.compression, self.member) as stream:
                yield stream
        except _DAMAGE as error:
            raise damaged(self.path, self.compression or "file", error) from error


def damaged(path: Path, what: str, error: BaseException) -> PermanentError:
    """The refusal of a file that cannot be read to its end. Not the library's words: they may quote values."""
    return PermanentError(
        f"{path} cannot be read to its end as {what} ({type(error).__name__}): it is damaged or cut short; fetch it "
        "again"
    )


def refuse_swollen(path: Path, unpacked: int) -> None:
    """Raise PermanentError where a file would be far more than its size once unpacked."""
    packed = path.stat().st_size
    if unpacked > max(_ALWAYS_ALLOWED, MOST_TIMES * packed):
        raise PermanentError(
            f"{path} has {packed:,} bytes and unpacks to more than {max(_ALWAYS_ALLOWED, MOST_TIMES * packed):,}, "
            f"{MOST_TIMES} times its size: no table of loans does; unpack it and look at it first"
        )


def open_container(path: Path) -> Container:
    """What the file is. Raises PermanentError where it is absent, empty, a folder, damaged, or holds no one table."""
    if path.is_dir():
        raise PermanentError(f"{path} is a folder: give one file; load the files of a folder one after the other")
    if path.exists() and not path.is_file():
        # Devices have no end, and what a pipe gives is there once.
        raise PermanentError(f"{path} is a device or a pipe: write it into a file and give that")
    try:
        digest = _digest(path)
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise PermanentError(f"{path} is empty: it has no header and no rows")
    compression, member = _compression(head), ""
    if compression:
        try:
            if compression == "zip":
                member = _only_member(path)
            with _unpacked(path, compression, member) as stream:
                head = stream.read(_HEAD_BYTES)
        except _DAMAGE as error:
            raise damaged(path, compression, error) from error
        if not head:
            raise PermanentError(f"{path} is empty once unpacked: it has no header and no rows")
        if again := _compression(head):
            raise PermanentError(f"{path} is packed twice, {again} within {compression}: unpack it once, then load it")
    _refuse_foreign(path, head)
    kind = next((kind for begin, kind in _TABLES.items() if head.startswith(begin)), "text")
    return Container(path, cast(Kind, kind), compression, member, digest)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compression(head: bytes) -> str:
    name = next((name for begin, name in _COMPRESSED.items() if head.startswith(begin)), "")
    # Text may begin with these letters; the format goes on with its level and a number of its own.
    return "" if name == "bzip2" and head[4:10] not in (b"1AY&SY", b"\x17rE8P\x90") else name


def _refuse_foreign(path: Path, head: bytes) -> None:
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    what = next((what for begin, what in _FOREIGN_TEXT.items() if text.startswith(begin)), "")
    # A header may begin with the same letters, but holds no zero bytes.
    if b"\0" in head:
        what = next((what for begin, what in _FOREIGN_BYTES.items() if head.startswith(begin)), what)
    if head[257:262] == b"ustar":
        what = "a tar archive: unpack it, and load its files one after the other"
    if head[8:12] == b"DUCK":
        what = "a DuckDB database: set CREDIT_WAREHOUSE_URL to it, or export the table as CSV or Parquet"
    if what:
        raise PermanentError(f"{path} is {what}")


def _only_member(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "[Content_Types].xml" in names:
            raise PermanentError(f"{path} is an Excel workbook: save its sheet as CSV")
        # macOS puts a hidden twin beside each file.
        files = [
            entry
            for entry in archive.infolist()
            if not entry.is_dir()
            and not entry.filename.startswith("__MACOSX/")
            and not PurePosixPath(entry.filename).name.startswith(".")
        ]
    if len(files) != 1:
        held = ", ".join(sorted(entry.filename for entry in files)[:10]) or "nothing"
        raise PermanentError(
            f"{path} holds {len(files)} files where one is wanted ({held}): unpack it, and load them one after the "
            "other"
        )
    if files[0].flag_bits & 1:
        raise PermanentError(f"{path} is locked with a password: unpack it first")
    return files[0].filename


@contextmanager
def _unpacked(path: Path, compression: str, member: str) -> Iterator[IO[bytes]]:
    if compression == "zip":
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as file:
                yield _buffered(_Bounded(file, path))
        except NotImplementedError as error:
            raise PermanentError(
                f"{path} is packed in a way that is not supported ({error}): unpack it first"
            ) from error
        return
    openers: dict[str, Any] = {"": open, "gzip": gzip.open, "bzip2": _bzip2, "xz": _xz, "zstd": _zstd}
    with openers[compression](path, "rb") as stream:
        yield _buffered(_Bounded(stream, path)) if compression else stream


def _bzip2(path: Path, _: str) -> IO[bytes]:
    return _buffered(_Streams(path, bz2.BZ2Decompressor))


def _xz(path: Path, _: str) -> IO[bytes]:
    return _buffered(_Streams(path, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)))


def _zstd(path: Path, _: str) -> IO[bytes]:
    return _buffered(_Raw(pa.input_stream(str(path), compression="zstd")))


def _buffered(raw: io.RawIOBase) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(raw, _CHUNK_BYTES))


class _Raw(io.RawIOBase):
    """Arrow's stream as Python's: io wants `readinto` of a raw one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Bounded(io.RawIOBase):
    """What is unpacked of a file, as long as it is no more than such a file may hold."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path, self._unpacked = stream, path, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = int(self._stream.readinto(buffer))
        self._unpacked += read
        refuse_swollen(self._path, self._unpacked)
        return read


class _Streams(io.RawIOBase):
    """The streams of a file one after the other, to its very end. Python's own readers take what follows the first one
    and is damaged for nothing at all, and parallel packers write a stream for each megabyte.
    """

    def __init__(self, path: Path, stream: Callable[[], Any]) -> None:
        self._file, self._stream = path.open("rb"), stream
        self._inner, self._rest = stream(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._inner.eof:
                # Zeros are padding.
                rest = self._inner.unused_data.lstrip(b"\0")
                while not rest and (chunk := self._file.read(_CHUNK_BYTES)):
                    rest = chunk.lstrip(b"\0")
                if not rest:
                    return 0
                self._inner, self._rest = self._stream(), rest
            given = b""
            if self._inner.needs_input:
                given, self._rest = self._rest or self._file.read(_CHUNK_BYTES), b""
                if not given:
                    raise EOFError("the file ends within a stream")
            if data := self._inner.decompress(given, len(buffer)):
                buffer[: len(data)] = data
                return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
