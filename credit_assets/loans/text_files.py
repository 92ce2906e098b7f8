"""What the text of a delimited file is: its encoding, its delimiter, and the line that is its header.

Belongs here: what is recognised before the first row is read, and refused where it would be a guess. Does not belong
here: unpacking (`containers`) and rows (`delimited`).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np

from credit_assets.failures import PermanentError
from credit_assets.loans.containers import Container
from credit_assets.loans.layouts import Layout, ReadOptions, shown_names

HEADER_LINES = 10
_HEADER_LINE_CHARACTERS = 1 << 20
_CHUNK_BYTES = 1 << 22
_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
# The longer ones first: a UTF-32 mark begins as one of UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32 with a byte order mark"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32 with a byte order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16 with a byte order mark"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16 with a byte order mark"),
)


@dataclass(frozen=True)
class TextFile:
    """A delimited file, opened as text."""

    container: Container
    encoding: str
    shown_encoding: str
    delimiter: str
    quotes: bool
    names: tuple[str, ...]
    """Of the header."""
    above: int
    """Lines up to and including the header."""

    @property
    def described(self) -> str:
        """How the file was read, for messages."""
        return f"read as {self.shown_encoding} with {delimiter_name(self.delimiter)} between the fields"

    @contextmanager
    def opened(self) -> Iterator[IO[str]]:
        with _text(self.container, self.encoding) as text:
            yield text


def delimiter_name(delimiter: str) -> str:
    return _NAMES.get(delimiter, repr(delimiter))


def rows_of(lines: Iterator[str], delimiter: str, *, quotes: bool) -> Iterator[list[str]]:
    """Python's reader, strict: a quote that is opened or closed in the wrong place raises csv.Error."""
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, strict=True)


def recognise(container: Container, layout: Layout, reading: ReadOptions) -> TextFile:
    """Encoding, delimiter and header, as told or as recognised.

    Raises PermanentError where no encoding fits the bytes, or no line is a header; it says what was tried.
    """
    encoding, shown = _given_encoding(reading.encoding) if reading.encoding else _encoding_of(container)
    lines = _first_lines(container, encoding, shown)
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise zero_bytes(container, number, f"read as {shown}")
    given = "\t" if reading.delimiter == "tab" else reading.delimiter
    best: tuple[int, int, TextFile] | None = None
    for delimiter in (given,) if given else _DELIMITERS:
        for number, line in enumerate(lines, start=1):
            names = _fields(line, delimiter, quotes=reading.quotes)
            if layout.is_header(names):
                found = TextFile(container, encoding, shown, delimiter, reading.quotes, tuple(names), number)
                known = layout.count_known(names)
                if best is None or known > best[0]:
                    best = (known, -number, found)
    if best is None:
        raise _no_header(container, layout, (encoding, shown), lines, given)
    return best[2]


def _fields(line: str, delimiter: str, *, quotes: bool) -> list[str]:
    try:
        return [name.strip() for name in next(rows_of(iter([line]), delimiter, quotes=quotes), [])]
    except csv.Error:
        return []


def _no_header(
    container: Container, layout: Layout, encoding: tuple[str, str], lines: list[str], given: str
) -> PermanentError:
    """The refusal, by the way of reading that gives one line the most fields."""
    candidates = [
        (len(fields := _fields(line, delimiter, quotes=True)), -place, delimiter, fields)
        for delimiter in ((given,) if given else _DELIMITERS)
        for place, line in enumerate(lines)
    ]
    if not candidates:
        return PermanentError(f"{container.path} is empty: it has no header and no rows")
    count, _, delimiter, names = max(candidates, key=lambda candidate: candidate[:2])
    read = f"read as {encoding[1]}"
    if count <= 1:
        return PermanentError(
            f"{container.path} has no known {layout.name} layout: {read}, no delimiter (comma, semicolon, tab, pipe) "
            f"parts its first {len(lines)} lines into fields; give --delimiter or --encoding"
        )
    shown = shown_names(names) or "; none of these lines looks like column names"
    return PermanentError(
        f"{container.path} has no known {layout.name} layout: no header in its first {HEADER_LINES} lines, {read} with "
        f"{delimiter_name(delimiter)} between {count} fields; missing columns "
        f"{', '.join(name for name in layout.required if name not in names)}{shown}; {layout.advice}"
    )


@contextmanager
def _text(container: Container, encoding: str) -> Iterator[IO[str]]:
    with container.opened() as stream:
        # Line ends are the reader's to find: inside quotes they belong to the value.
        text = io.TextIOWrapper(stream, encoding=encoding, errors="strict", newline="")
        yield text
        text.detach()


def _first_lines(container: Container, encoding: str, shown: str) -> list[str]:
    try:
        with _text(container, encoding) as text:
            lines = [text.readline(_HEADER_LINE_CHARACTERS) for _ in range(HEADER_LINES)]
    except UnicodeError as error:
        raise not_decoded(container, shown, 1, error) from error
    return [line for line in lines if line]


def not_decoded(container: Container, shown: str, line: int, error: UnicodeError) -> PermanentError:
    reason = getattr(error, "reason", "") or "it does not begin as such text does"
    return PermanentError(
        f"{container.path} is not {shown}: near line {line:,} its bytes are none ({reason}); give the file's "
        "--encoding, or fetch it again if it is damaged"
    )


def zero_bytes(container: Container, line: int, described: str) -> PermanentError:
    return PermanentError(
        f"{container.path}, line {line:,}: zero bytes in the text, {described}: the file is damaged, or in another "
        "encoding (UTF-16?); fetch it again, or give its --encoding"
    )


# Encodings


def _given_encoding(name: str) -> tuple[str, str]:
    try:
        codec = codecs.lookup(name).name
        # Python has codecs of other things too: zlib, rot13.
        "a".encode(name)
    except (LookupError, ValueError):
        raise PermanentError(
            f"--encoding {name}: Python knows no such encoding; utf-8, utf-16, cp1252 and shift_jis are some that it "
            "knows"
        ) from None
    # A byte order mark is no part of the first column's name.
    return ("utf-8-sig" if codec == "utf-8" else codec), name


def _encoding_of(container: Container) -> tuple[str, str]:
    with container.opened() as stream:
        head = stream.read(4096)
    for mark, codec, shown in _MARKS:
        if head.startswith(mark):
            return codec, shown
    if zeros := _zeros_as_in_utf16(head):
        return zeros, f"{zeros.upper()} without a byte order mark"
    if _is_utf8(container):
        return "utf-8", "UTF-8"
    return _western(container)


def _zeros_as_in_utf16(head: bytes) -> str:
    """Latin letters in UTF-16 have a zero as every other byte."""
    units = np.frombuffer(head[: len(head) // 2 * 2], np.uint8).reshape(-1, 2)
    first, second = (units == 0).mean(axis=0) if len(units) else (0.0, 0.0)
    if second > 0.4 and first < 0.05:
        return "utf-16-le"
    return "utf-16-be" if first > 0.4 and second < 0.05 else ""


def _is_utf8(container: Container) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with container.opened() as stream:
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _western(container: Container) -> tuple[str, str]:
    """Windows-1252 for bytes that are no UTF-8; refused where they are no western text, or UTF-8 with damage in it."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    high = neighbours = as_utf8 = damaged = 0
    undefined = False
    with container.opened() as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            beyond = np.frombuffer(chunk, np.uint8) >= 0x80
            high += int(beyond.sum())
            neighbours += int((beyond[1:] & beyond[:-1]).sum())
            undefined |= not {0x81, 0x8D, 0x8F, 0x90, 0x9D}.isdisjoint(chunk)
            letters = re.findall("[^\x00-\x7f]", decoder.decode(chunk))
            escaped = sum(1 for letter in letters if "\udc80" <= letter <= "\udcff")
            damaged += escaped
            as_utf8 += len(letters) - escaped
    if as_utf8 > damaged:
        raise PermanentError(
            f"{container.path} is UTF-8 with bytes in it that are none: it is damaged, or put together of files with "
            "different encodings; mend it, or give its --encoding"
        )
    # Accented letters stand alone among plain ones; alphabets of their own have them side by side.
    if undefined or neighbours * 3 > high:
        raise PermanentError(
            f"{container.path} is neither UTF-8 nor western text (Windows-1252): give its --encoding, for instance "
            "cp1251, shift_jis, gb18030 or mac_roman"
        )
    return "cp1252", "Windows-1252 (its bytes are no UTF-8)"
