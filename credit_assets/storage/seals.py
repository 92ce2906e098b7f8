"""Seals: by what a file of the store is known to be as it was written, to the last bit.

Belongs here: putting a seal on a table or a record, holding what was read against it, and the second look at what did
not hold. Does not belong here: where files lie and what is in them (`store`, `partition_files`).

Parquet has checksums of pages, which say nothing of what stands around them: a flipped bit in the footer hides a gate's
verdict, one in a page's head gives other values. So a table also bears, between its last page and its footer, where no
reader of Parquet looks, the SHA-256 of all before and of all after. A record has that of its own content as its last
key. Files of releases before have neither: of them a table is held against the hash of its rows where all of them are
read, and a record is believed.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from credit_assets.failures import TransientError, is_ours, is_transient

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SEALED_KEY = b"credit_assets.sealed"
"""In the footer of a sealed table: a mark that a flipped bit has hidden is missed."""
RECORD_SEAL = "~sha256"
"""Sorted behind all other keys."""
_MARK = b"credseal"
_DIGEST = 32
_SEAL = len(_MARK) + 2 * _DIGEST
_END = 8
_TAIL = 2**16
_CHUNK = 2**20
_SECONDS = 0.2
_HASH = re.compile("[0-9a-f]{64}")
_T = TypeVar("_T")


class UnsoundError(Exception):
    """One look at a file shows something else than was written; `seen` tells that look from another one, `cut` says
    that fewer bytes came than there are.
    """

    def __init__(self, why: str, seen: str = "", *, cut: bool = False) -> None:
        super().__init__(why)
        self.seen, self.cut = seen, cut


class Seal(NamedTuple):
    """What a sealed table says of its bytes: how many come before the seal, and their SHA-256."""

    size: int
    body: bytes


# Tables


def seal_table(file: Path) -> None:
    """Put the seal into a whole Parquet file, which nobody reads yet."""
    with open(file, "r+b") as opened:
        size = opened.seek(0, 2)
        tail = tail_of(opened, size)
        end = tail[len(tail) - _END - _footer_bytes(tail) :]
        begin = size - len(end)
        body = _digest(opened, begin)
        opened.seek(begin)
        opened.write(_MARK + body + hashlib.sha256(body + end).digest() + end)


def tail_of(file: BinaryIO, size: int) -> bytes:
    """The end of a Parquet file: its footer, and the seal before it."""
    take = min(size, _TAIL)
    file.seek(size - take)
    tail = file.read(take)
    needed = min(size, _footer_bytes(tail) + _END + _SEAL)
    if needed > take:
        file.seek(size - needed)
        tail = file.read(needed)
    return tail


def seal_of(tail: bytes, size: int) -> Seal | None:
    """The seal of a table that ends like this; None where it bears none. Raises UnsoundError where the footer is not
    the one that was sealed.
    """
    begin = len(tail) - _END - _footer_bytes(tail)
    seal = tail[begin - _SEAL : begin] if begin >= _SEAL else b""
    if not seal.startswith(_MARK):
        return None
    body, end = seal[len(_MARK) : -_DIGEST], tail[begin:]
    if hashlib.sha256(body + end).digest() != seal[-_DIGEST:]:
        raise UnsoundError("its footer is not the one that was written", hashlib.sha256(tail).hexdigest())
    return Seal(size - len(end) - _SEAL, body)


def refuse_other_body(file: BinaryIO, seal: Seal) -> None:
    """Raise UnsoundError where the pages are not those that were sealed."""
    found = _digest(file, seal.size)
    if found != seal.body:
        raise UnsoundError("its pages are not those that were written", found.hex())


def refuse_hidden(metadata: pq.FileMetaData, seal: Seal | None) -> None:
    """Raise UnsoundError where a table that was sealed has no seal any more."""
    if seal is None and SEALED_KEY in (metadata.metadata or {}):
        raise UnsoundError("its seal is gone")


def _footer_bytes(tail: bytes) -> int:
    return int.from_bytes(tail[-_END:-4], "little")


def _digest(file: BinaryIO, size: int) -> bytes:
    found, left = hashlib.sha256(), size
    file.seek(0)
    while left and (chunk := file.read(min(_CHUNK, left))):
        found.update(chunk)
        left -= len(chunk)
    return found.digest()


# Records


def canonical_json(record: Any) -> bytes:
    """JSON with sorted keys and a final newline: equal records give equal bytes. NaN is refused."""
    return (json.dumps(record, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def record_hash(record: Any) -> str:
    """SHA-256 (hex) of a record's content."""
    # Without the indents of the file: with them Python has no quick way to write JSON.
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(record: Any) -> Any:
    """The record with its seal; what is no object has no place for one."""
    # As it will be read: a number for a key is a text then, and sorted as one.
    plain = json.loads(json.dumps(record, allow_nan=False))
    return {**plain, RECORD_SEAL: record_hash(plain)} if isinstance(plain, dict) else plain


def record_of(data: bytes) -> Any:
    """The record in these bytes, without its seal. Raises UnsoundError where it is none, or not the sealed one."""
    seen = hashlib.sha256(data).hexdigest()
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        # Of the error its place alone: its words may quote what stands there.
        place = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UnsoundError(f"it is no JSON{place}", seen) from None
    if not isinstance(record, dict):
        return record
    for key in [key for key, value in record.items() if isinstance(value, str) and _HASH.fullmatch(value)]:
        rest = {name: value for name, value in record.items() if name != key}
        if key == RECORD_SEAL:
            if record_hash(rest) != record[key]:
                raise UnsoundError("its content is not what was written", seen)
            return rest
        if key == list(record)[-1] and record_hash(rest) == record[key]:
            raise UnsoundError("the name of its seal is not what was written", seen)
    if RECORD_SEAL in record:
        raise UnsoundError("its seal is no hash", seen)
    return record


# Looks


@contextmanager
def decoding(seen: bytes = b"") -> Iterator[None]:
    """Whatever a decoder raises over bytes that are not what they should be is one UnsoundError. What a disk or a
    service raises, whose errors have a number or a class of their own, and what is a word of ours is left as it is.
    `seen`: the bytes, where they are at hand.
    """
    import pyarrow as pa

    try:
        yield
    except UnsoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        foreign = isinstance(error, OSError) and (error.errno or type(error) is not OSError)
        if foreign or is_ours(error) or is_transient(error):
            raise
        why = f"{type(error).__name__} while it is decoded"
        raise UnsoundError(why, hashlib.sha256(seen).hexdigest()) from error


def looked_at_twice(
    look: Callable[[], _T], damaged: Callable[[str], Exception], what: str, forget: Callable[[], object] = lambda: None
) -> _T:
    """What a look at a file gives. Where it is not sound a second look decides, after `forget` has let go of what the
    first one knew: an answer that was cut on its way is none of the file's.

    Raises TransientError where the two looks saw different bytes or fewer than there are, what `damaged` makes of the
    reason where they agree.
    """
    try:
        return look()
    except UnsoundError as error:
        first = error
    time.sleep(_SECONDS)
    forget()
    try:
        return look()
    except UnsoundError as error:
        if error.cut or error.seen != first.seen:
            raise TransientError(
                f"{what} does not come whole ({first}; then {error}): the answer was cut or changed on its way; try "
                "again"
            ) from error
        raise damaged(str(error)) from error
