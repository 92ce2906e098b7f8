"""Tables of the store as one look at their files shows them, held against their seals.

Belongs here: opening and decoding a Parquet file, in memory or from its disk, and what is said of a damaged one. Does
not belong here: the seals themselves (`seals`), the second look, and which files there are (`store`).

All but `DamagedFileError` raise FileNotFoundError where there is no file, and UnsoundError where it is not as it was
written.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from credit_assets.failures import PermanentError, TransientError, is_ours, is_transient
from credit_assets.storage.footers import CONTENT_KEY, Footer, footer_of
from credit_assets.storage.seals import (
    SEALED_KEY,
    Seal,
    UnsoundError,
    decoding,
    refuse_hidden,
    refuse_other_body,
    seal_of,
    tail_of,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from upath import UPath

    from credit_assets.ml.data.fingerprints import ContentHash

# Read in one go up to here, since one read is cheaper than several. Some are opened at once, so that all of them
# together bound what is held.
_SMALL_REMOTE, _SMALL_LOCAL = 2**26, 2**22
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class DamagedFileError(PermanentError):
    """A file of the store is not what was written there, as two looks at it agree."""

    def __init__(self, path: UPath, why: str) -> None:
        day = path.name.partition(".")[0]
        again = f"`credit-assets replay --start {day} --end {day}` makes what is damaged of that day again"
        super().__init__(f"{path} is damaged: {why}; {again if _DAY.fullmatch(day) else 'bring it back from a backup'}")


class Opened(NamedTuple):
    """An open Parquet file, its seal, None of a file of before, and its bytes where it is held in memory."""

    file: pa.parquet.ParquetFile
    seal: Seal | None
    data: bytes


def is_local(path: UPath) -> bool:
    return getattr(path, "protocol", "") in ("", "file", "local")


def read_bytes(path: UPath) -> bytes:
    """A whole file, be it a table or a record."""
    data: bytes = path.read_bytes()
    if not is_local(path) and len(data) != (size := path.stat().st_size):
        raise UnsoundError(f"{len(data):,} of {size:,} bytes came", cut=True)
    return data


def open_parquet(path: UPath, *, whole: bool) -> Opened:
    """One file, whose footer is as it was written. Of its pages that shows as they are read, by their checksums; at
    once where the file is small, or lies on a disk of this machine and is to be read `whole`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    local = is_local(path)
    with _stream(path) as file:
        small = (size := _size(path, file)) <= (_SMALL_LOCAL if local else _SMALL_REMOTE)
        data = (file.read() if local else read_bytes(path)) if small else b""
        seen: BinaryIO = io.BytesIO(data) if small else file
        seal = seal_of(tail_of(seen, size), size)
        if seal is not None and (small or (local and whole)):
            refuse_other_body(seen, seal)
    source = pa.BufferReader(data) if small else str(path) if local else path.open("rb")
    with decoding(data):
        opened = pq.ParquetFile(source, page_checksum_verification=True)
    refuse_hidden(opened.metadata, seal)
    return Opened(opened, seal, data)


def parquet_metadata(path: UPath) -> pa.parquet.FileMetaData:
    """What the end of a file says, without reading the rest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _stream(path) as file:
        tail = tail_of(file, size := _size(path, file))
    seal = seal_of(tail, size)
    with decoding(tail):
        found = pq.read_metadata(pa.BufferReader(tail))
    refuse_hidden(found, seal)
    return found


def rows_of(path: UPath, columns: Sequence[str] | None, *, lenient: bool = False) -> tuple[pa.Table, Footer]:
    """All rows, or these columns of them, and the footer; `lenient` leaves out columns that the file lacks."""
    file, _, data = open_parquet(path, whole=columns is None)
    with decoding(data):
        if lenient and columns is not None:
            columns = [name for name in columns if name in file.schema_arrow.names]
        table, footer = file.read(columns).replace_schema_metadata(None), footer_of(file.metadata)
        if columns is None and (content := unsealed_content(file.metadata)) is not None:
            content.update(table)
            refuse_other_rows(content, footer)
    return table, footer


def check_parquet(path: UPath) -> None:
    """Read a whole file for what may be wrong with it, a row group at a time."""
    file, seal, data = open_parquet(path, whole=True)
    with decoding(data):
        footer, content = footer_of(file.metadata), unsealed_content(file.metadata)
        if seal is None or not is_local(path):
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                if content is not None:
                    content.update(table)
            if content is not None:
                refuse_other_rows(content, footer)


def unsealed_content(metadata: pa.parquet.FileMetaData) -> ContentHash | None:
    """What the rows of a file of before go into as they are read, for `refuse_other_rows`; None where it is sealed, or
    older than the hash of its rows.
    """
    from credit_assets.ml.data.fingerprints import ContentHash

    kept = metadata.metadata or {}
    return None if SEALED_KEY in kept or CONTENT_KEY not in kept else ContentHash()


def refuse_other_rows(content: ContentHash, footer: Footer) -> None:
    """Raise UnsoundError where these are not all the rows that the footer has the hash of, and no others."""
    if (found := content.hexdigest()) != footer.content:
        raise UnsoundError("its rows are not those that were written", found)


@contextmanager
def answering(path: UPath) -> Iterator[None]:
    """What a disk or a service raises about a file names it, and the setting: Arrow and object stores leave that out.

    Raises OSError, TransientError where the service of a store elsewhere does not answer.
    """
    try:
        yield
    except Exception as error:
        if is_ours(error) or isinstance(error, FileNotFoundError):
            raise
        if not is_local(path) and is_transient(error):
            raise TransientError(
                f"the store of {path} (CREDIT_STORE_URI) does not answer ({type(error).__name__}); see that it can be "
                "reached, then try again"
            ) from error
        if isinstance(error, OSError) and error.errno and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def _stream(path: UPath) -> Any:
    return open(str(path), "rb") if is_local(path) else path.open("rb")


def _size(path: UPath, file: Any) -> int:
    return os.fstat(file.fileno()).st_size if is_local(path) else int(file.seek(0, 2))
