"""Files that were made to break the reader, each with what has to come of it: the corpus, to which every find is added.

Belongs here: bytes and verdicts. Does not belong here: asserting them (`loans/test_hostile_files`).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

PORTFOLIO = """
name: hostile
columns:
  - {name: application_id, type: string, role: id, nullable: false}
  - {name: application_date, type: date, role: date, nullable: false}
  - {name: income, type: float, role: feature, unit: currency}
  - {name: accounts, type: integer, role: feature, unit: count}
  - {name: owner, type: boolean, role: feature}
  - {name: purpose, type: category, role: feature}
"""
COLUMNS = ("application_id", "application_date", "income", "accounts", "owner", "purpose")
HEADER = ",".join(COLUMNS) + "\n"
ROWS = "a1,2020-01-01,1000.5,3,true,car\na2,2020-01-02,2000,4,false,home\n"
_THIRD = dict(zip(COLUMNS, ("a3", "2020-01-03", "3000", "5", "yes", "car"), strict=True))
_WHOLE = (HEADER + ROWS * 50).encode()


@dataclass(frozen=True)
class Kept:
    """All rows are kept, and this is what the last one has in this column; of arrays, what all have."""

    column: str
    value: Any


@dataclass(frozen=True)
class Rejected:
    """So many rows are rejected, the first reason in these words; the others are kept."""

    words: str
    rows: int = 1


@dataclass(frozen=True)
class Refused:
    """The file is refused, in these words."""

    words: str


@dataclass(frozen=True)
class Case:
    name: str
    content: bytes
    comes: Kept | Rejected | Refused

    def __str__(self) -> str:
        return self.name


def row(**values: str) -> str:
    return ",".join({**_THIRD, **values}.values()) + "\n"


def cases() -> list[Case]:
    return [*_values(), *_texts(), *_packed(), *_arrays(), *_damaged_arrow()]


def _values() -> Iterator[Case]:
    days: dict[str, Any] = {
        "0001-01-01": date(1, 1, 1),
        "9999-12-31": date(9999, 12, 31),
        "2020-02-29": date(2020, 2, 29),
        "2020-1-1": date(2020, 1, 1),
        "20200101": date(2020, 1, 1),
        "2020-01-01T23:59:59Z": date(2020, 1, 1),
        "2020-01-01T23:59:59+14:00": date(2020, 1, 1),
        "2020-06-30T23:59:60Z": date(2020, 6, 30),
        "2020-01-01\u00a0": date(2020, 1, 1),
    }
    for text, value in days.items():
        yield Case(f"day {text}", _with(application_date=text), Kept("application_date", value))
    no_days = (
        *("0000-01-01", "0000-12-31", "0000-00-00", "00/00/0000", "1/1/0000", "Jan-0000", "01.01.0000", "0000/1/1"),
        *("1 Jan 0000", "12/0000", "-0001-01-01", "10000-01-01", "+2020-01-01", "99999999999999-01-01", "262144-01-01"),
        *("2021-02-29", "1900-02-29", "31/02/2020", "2020-13-01", "2020-00-10", "2020-01-01 24:00:00"),
        *("2020-01-01T25:00", "2020-01-01 banana", "2020-01-01 to 2020-03-31", "2020-01-01 BC", "2020-01-01T12:61"),
        *("43831", "43831.5", "today", "infinity", "-infinity", "12:00", "2020-001", "2020\u201101\u201101"),
    )
    for text in no_days:
        yield Case(f"day {text}", _with(application_date=text), Rejected("application_date cannot be read as date"))
    for text in ("inf", "-inf", "Infinity", "1e400", "1" + "0" * 400, "1_000", "0x10", "--5", "5-", "(5)", "5e", "e5",
                 "٣", "１２", "−5", "5\u200b", "TRUE"):  # fmt: skip
        for name, kind in (("income", "float"), ("accounts", "integer")):
            yield Case(f"{name} {text[:20]}", _with(**{name: text}), Rejected(f"{name} cannot be read as {kind}"))
    for text in ("1e30", "1e19", "9223372036854775808", "-9223372036854775809", "9" * 30, "3.5", '"1,5"'):
        yield Case(f"accounts {text}", _with(accounts=text), Rejected("accounts cannot be read as integer"))
    whole = {
        "9223372036854775807": 2**63 - 1,
        "-9223372036854775808": -(2**63),
        "9007199254740993": 2**53 + 1,
        "9007199254740993.0": 2**53 + 1,
        "-0": 0,
        "-0.0": 0,
        "3.0": 3,
        "1e3": 1000,
        "1 000": 1000,
        "$5": 5,
        "nan": None,
        ".": None,
    }
    for text, number in whole.items():
        yield Case(f"accounts {text}", _with(accounts=text), Kept("accounts", number))
    for text, amount in {"1e30": 1e30, "-0.0": 0.0, "1e-400": 0.0, "5.": 5.0, "1." + "0" * 400 + "1": 1.0}.items():
        yield Case(f"income {text[:20]}", _with(income=text), Kept("income", amount))
    for text in ("TRUE", "T", "yes", "Y", "1", "1.0"):
        yield Case(f"owner {text}", _with(owner=text), Kept("owner", True))
    for text in ("ja", "on", "off", "2", "-1", "wahr", "x", "✓", "nope"):
        yield Case(f"owner {text}", _with(owner=text), Rejected("owner cannot be read as boolean"))
    for text, level in {"NULL": None, "none": "none", "  car  ": "car", '"a""b"': 'a"b', "=1+1": "=1+1"}.items():
        yield Case(f"purpose {text}", _with(purpose=text), Kept("purpose", level))
    ids = {
        "   ": "application_id is missing",
        "NA": "application_id is missing",
        "a1": "another row has the same id and other values",
        " a1 ": "another row has the same id and other values",
        "1.07E+09": "id in scientific notation",
        "-1.07E+09": "id in scientific notation",
        "x" * 256: "application_id has more than 255 characters",
    }
    for text, words in ids.items():
        yield Case(f"id {text[:12]!r}", _with(application_id=text), Rejected(words))
    yield Case("id of 255", _with(application_id="x" * 255), Kept("application_id", "x" * 255))


def _with(**values: str) -> bytes:
    return (HEADER + ROWS + row(**values)).encode()


def _texts() -> Iterator[Case]:
    plain = Kept("purpose", "home")
    text = HEADER + ROWS
    for name, content in {
        "byte order mark": "\ufeff" + text,
        "two byte order marks": "\ufeff\ufeff" + text,
        "header with spaces": HEADER.replace(",", " , ") + ROWS,
        "header in quotes": '"' + HEADER.strip().replace(",", '","') + '"\n' + ROWS,
        "carriage returns": text.replace("\n", "\r"),
        "no last line end": text.rstrip(),
        "line ends of all kinds": HEADER.replace("\n", "\r\n") + ROWS.replace("\n", "\r", 1),
    }.items():
        yield Case(name, content.encode(), plain)
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        yield Case(encoding, text.encode(encoding), plain)
    yield Case("windows-1252", text.encode() + row(purpose="café").encode("cp1252"), Kept("purpose", "café"))
    yield Case("header repeated", (text + HEADER + row()).encode(), Rejected("not a row: the header once more"))
    yield Case("row repeated", (text + ROWS.splitlines(keepends=True)[0]).encode(), Rejected("repeats an earlier row"))
    yield Case("a quote within", _with(income='30"00'), Rejected("income cannot be read as float"))
    refused: dict[str, tuple[str | bytes, str]] = {
        "nothing": ("", "is empty"),
        "a mark alone": ("\ufeff", "no header"),
        "blank lines alone": ("\n\n\n\n", "no delimiter"),
        "header alone": (HEADER, "holds no rows"),
        "second header of other columns": (text + HEADER.replace("income", "salary") + row(), "a second header"),
        "a column twice": (HEADER.strip() + ",income\n" + row().strip() + ",1\n", "more than once"),
        "a column twice but for blanks": (HEADER.strip() + ", income \n" + row().strip() + ",1\n", "more than once"),
        "columns alike": (
            HEADER.replace("income", "in come").replace("purpose", "purpose!").strip() + ",purpose?\n" + "a,2020-01-01,"
            "1,1,yes,car,home\n",
            "could each be purpose",
        ),
        "zero byte": (text + row(purpose="a\0b"), "zero bytes"),
        "zero bytes alone": (b"\0" * 1000, "zero bytes"),
        "utf-32 without a mark": (text.encode("utf-32-le"), "zero bytes"),
        "half a letter of utf-16": (text.encode("utf-16") + b"\0", "truncated data"),
        "overlong utf-8": (text.encode() + b"a4,2020-01-04,1,1,yes,\xc0\xaf\n", "neither UTF-8 nor"),
        "half a pair in utf-8": (text.encode() + b"a4,2020-01-04,1,1,yes,\xed\xa0\x80\n", "neither UTF-8 nor"),
        "a quote left open": (text + row(income='"3000'), "opened or closed in the wrong place"),
        "text after a quote": (text + row(income='"30"00'), "opened or closed in the wrong place"),
        "a huge field": (text + row(purpose="a" * 200_000), "a field of more than 131,072 characters"),
        "signs of two currencies": (text + row(income="$5") + row(application_id="a4", income="€5"), "one currency"),
    }
    for name, (content, words) in refused.items():
        yield Case(name, content.encode() if isinstance(content, str) else content, Refused(words))


def _packed() -> Iterator[Case]:
    plain, text = Kept("purpose", "home"), (HEADER + ROWS).encode()
    third = row().encode()
    damaged = Refused("damaged or cut short")
    packers = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
    packed = {name: packer(text) for name, packer in packers.items()}
    packed["zstd"] = pa.compress(text, "zstd", asbytes=True)
    for name, content in packed.items():
        yield Case(name, content, plain)
        yield Case(f"{name}, cut", content[:-6], damaged)
        yield Case(f"{name}, then garbage", content + b"garbage", damaged)
        yield Case(f"{name}, garbage alone", content[:12] + b"garbage" * 20, damaged)
    for name, packer in packers.items():
        yield Case(f"two streams of {name}", packer(text) + packer(third), Kept("purpose", "car"))
        broken = bytearray(packer(third))
        broken[2] ^= 0xFF
        yield Case(f"{name}, the second stream damaged", packer(text) + bytes(broken), damaged)
        yield Case(f"{name}, then zeros", packer(text) + b"\0" * 64, plain)
    yield Case("gzip within gzip", gzip.compress(packed["gzip"]), Refused("packed twice"))
    yield Case("gzip with another sum", packed["gzip"][:-8] + b"\0" * 8, damaged)
    for place in (10, 15, 20, 30, 40):
        flipped = bytearray(gzip.compress(_WHOLE, mtime=0))
        flipped[place] ^= 0xFF
        yield Case(f"gzip, byte {place} flipped", bytes(flipped), damaged)
    yield Case("zip", zipped({"loans.csv": text}), plain)
    yield Case("zip of a file above", zipped({"../../loans.csv": text}), plain)
    yield Case("zip of two", zipped({"a.csv": text, "b.csv": text}), Refused("holds 2 files"))
    yield Case("zip of none", zipped({}), Refused("holds 0 files"))
    yield Case("zip, cut", zipped({"a.csv": _WHOLE})[:-30], damaged)
    yield Case("zip, garbage alone", b"PK\x03\x04" + b"g" * 100, damaged)


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def plain_table(**columns: pa.Array) -> pa.Table:
    return pa.table(
        {
            "application_id": pa.array(["a1", "a2", "a3"]),
            "application_date": pa.array([date(2020, 1, 1)] * 3),
            "income": pa.array([1.0, 2.0, 3.0]),
            "accounts": pa.array([1, 2, 3]),
            "owner": pa.array([True, False, True]),
            "purpose": pa.array(["car", "home", "car"]),
            **columns,
        }
    )


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def arrow(table: pa.Table, *, stream: bool = False) -> bytes:
    file = io.BytesIO()
    with (pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _arrays() -> Iterator[Case]:
    one_value = Refused("give one value a row")
    nested = {
        "list": pa.array([[1], [2], [3]]),
        "struct": pa.array([{"a": 1}] * 3),
        "map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
        "list view": pa.array([[1], [2], [3]], pa.list_view(pa.int64())),
        "interval": pa.array([(1, 2, 3)] * 3, pa.month_day_nano_interval()),
        "dictionary of lists": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array([[1], [2]])),
    }
    no_text = {
        "binary": pa.array([b"\xff\x00", b"1", b"2"]),
        "fixed binary": pa.array([b"\xff\x00", b"11", b"22"], pa.binary(2)),
        "binary view": pa.array([b"\xff", b"1", b"2"], pa.binary_view()),
        "dictionary of binary": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array([b"\xff", b"2"])),
    }
    for column in COLUMNS:
        for name, array in nested.items():
            yield Case(f"{column} as {name}", arrow(plain_table(**{column: array})), one_value)
        for name, array in no_text.items():
            yield Case(f"{column} as {name}", arrow(plain_table(**{column: array})), Refused("no UTF-8 text"))
    infinite, us, days = [1.0, float("inf"), float("-inf")], pa.timestamp("us"), pa.date32()
    far = {
        "days far out": pa.array([0, 2**31 - 1, -(2**31)], days),
        "days of year 0": pa.array([0, -719528, -719163], days),
        "moments far out": pa.array([0, 2**62, -(2**62)], us),
        "moments far out of Tokyo": pa.array([0, 2**62, -(2**62)], pa.timestamp("us", "Asia/Tokyo")),
        "days in milliseconds far out": pa.array([0, 2**62, -(2**62)], pa.date64()),
    }
    for name, array in far.items():
        for column, kind in (("application_date", "date"), ("application_id", "string"), ("purpose", "category"),
                             ("income", "float"), ("owner", "boolean")):  # fmt: skip
            all_ = column in ("income", "owner")  # A day is no number, wherever it lies.
            words = f"{column} cannot be read as {kind}"
            yield Case(
                f"{column} as {name}", parquet(plain_table(**{column: array})), Rejected(words, 3 if all_ else 2)
            )
    numbers: dict[str, tuple[str, pa.Array, Kept | Rejected]] = {
        "infinite income": ("income", pa.array(infinite), Rejected("income cannot be read as float", 2)),
        "infinite accounts": ("accounts", pa.array(infinite), Rejected("accounts cannot be read as integer", 2)),
        "accounts with fractions": ("accounts", pa.array([1.5, 2.0, 3.0]), Rejected("accounts cannot be read", 1)),
        "accounts of 1e30": ("accounts", pa.array([1.0, 1e30, -0.0]), Rejected("accounts cannot be read", 1)),
        "accounts of 2^63": ("accounts", pa.array([2.0**63, 1.0, 2.0**53 + 2]), Rejected("accounts cannot be read", 1)),
        "unsigned accounts": ("accounts", pa.array([1, 2**64 - 1, 3], pa.uint64()), Rejected("accounts cannot", 1)),
        "accounts as decimals": (
            "accounts",
            pa.array([Decimal("1.00"), Decimal("1e20"), Decimal("1.50")], pa.decimal128(38, 2)),
            Rejected("accounts cannot be read", 2),
        ),
        "income as decimals": ("income", pa.array([Decimal("1.50")] * 3, pa.decimal256(76, 2)), Kept("income", 1.5)),
        "income as times": ("income", pa.array([time(1)] * 3), Rejected("income cannot be read as float", 3)),
        "income as spans": ("income", pa.array([timedelta(1)] * 3), Rejected("income cannot be read as float", 3)),
        "owner of 0, 1, 2": ("owner", pa.array([0, 1, 2], pa.int8()), Rejected("owner cannot be read as boolean", 1)),
        "no ids at all": ("application_id", pa.nulls(3), Rejected("application_id is missing", 3)),
        "income in half floats": ("income", pa.array([3.0] * 3, pa.float16()), Kept("income", 3.0)),
        "long accounts": ("accounts", pa.array([2**63 - 1] * 3), Kept("accounts", 2**63 - 1)),
    }
    for name, (column, array, comes) in numbers.items():
        yield Case(name, parquet(plain_table(**{column: array})), comes)
    twice = pa.Table.from_arrays([*plain_table().columns, pa.array([1.0] * 3)], names=[*COLUMNS, "income"])
    yield Case("a column twice in Arrow", arrow(twice), Refused("more than once"))


def _damaged_arrow() -> Iterator[Case]:
    damaged = Refused("damaged or cut short")
    for name, content in {
        "Parquet, garbage alone": b"PAR1" + b"g" * 100 + b"PAR1",
        "Parquet, its mark alone": b"PAR1",
        "Arrow, garbage alone": b"ARROW1\0\0" + b"g" * 100,
        "Arrow stream, garbage alone": b"\xff\xff\xff\xff" + b"g" * 100,
        "Arrow stream of a huge message": b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1) + b"g" * 100,
        "Arrow stream of a message of less than nothing": b"\xff\xff\xff\xff" + struct.pack("<i", -5) + b"g" * 100,
        "Arrow, cut": arrow(plain_table())[:-40],
        "Arrow stream, cut": arrow(plain_table(), stream=True)[:-200],
    }.items():
        yield Case(name, content, damaged)
    stream = arrow(plain_table(), stream=True)
    # Offsets of texts that point anywhere ended the process; names that are no UTF-8 raised.
    for name, before, after in (
        ("offsets beyond the texts", struct.pack("<4i", 0, 3, 7, 10), struct.pack("<4i", 0, 3, 2**30, 10)),
        ("offsets that go back", struct.pack("<4i", 0, 3, 7, 10), struct.pack("<4i", 0, 2**30, 7, 10)),
        ("a name of no letters", b"purpose", b"purp\xffse"),
        ("texts of no letters", b"carhomecar", b"car\xff\xfe\xfdecar"),
    ):
        assert before in stream, name
        yield Case(f"Arrow stream, {name}", stream.replace(before, after), damaged)
