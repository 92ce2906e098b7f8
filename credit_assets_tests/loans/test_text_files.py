"""Encodings, delimiters and headers: recognised and named, told by the user, or refused with the right reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.containers import open_container
from credit_assets.loans.layouts import Layout, ReadOptions
from credit_assets.loans.table_files import read_columns
from credit_assets.loans.text_files import recognise

THREE = Layout("three", ("key", "day", "amount"), (), "key", frozenset(), "give a file of three columns")
TEXT = "key,day,amount\nGröße,Île,1\nnaïve,España,2\n"


def read(path: Path, content: bytes, **how: str) -> tuple[list[str], str]:
    path.write_bytes(content)
    table = read_columns(path, THREE, ReadOptions(**how))  # type: ignore[arg-type]
    return table.columns["key"].to_pylist(), table.read_as["encoding"]


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with a byte order mark"),
        ("utf-16", "UTF-16 with a byte order mark"),
        ("utf-16-le", "UTF-16-LE without a byte order mark"),
        ("utf-16-be", "UTF-16-BE without a byte order mark"),
        ("utf-32", "UTF-32 with a byte order mark"),
        ("cp1252", "Windows-1252 (its bytes are no UTF-8)"),
        ("latin-1", "Windows-1252 (its bytes are no UTF-8)"),
    ],
)
def test_encodings_are_recognised_and_named(tmp_path: Path, codec: str, said: str) -> None:
    assert read(tmp_path / "a.csv", TEXT.encode(codec)) == (["Größe", "naïve"], said)


@pytest.mark.parametrize("codec", ["utf-16-be", "cp1252", "mac_roman", "utf-8", "utf-16"])
def test_encodings_are_told(tmp_path: Path, codec: str) -> None:
    assert read(tmp_path / "a.csv", TEXT.encode(codec), encoding=codec) == (["Größe", "naïve"], codec)
    assert read(tmp_path / "b.csv", "key,day,amount\nключ,2,3\n".encode("cp1251"), encoding="cp1251")[0] == ["ключ"]


@pytest.mark.parametrize("codec", ["cp1251", "koi8-r", "shift_jis", "gb18030", "euc_kr"])
def test_other_alphabets_are_no_western_text(tmp_path: Path, codec: str) -> None:
    words = {
        "cp1251": "ипотека",
        "koi8-r": "ипотека",
        "shift_jis": "住宅ローン",
        "gb18030": "抵押贷款",
        "euc_kr": "주택담보",
    }
    content = f"key,day,amount\n{words[codec]},x,1\n{words[codec]},y,2\n".encode(codec)
    with pytest.raises(PermanentError, match=r"neither UTF-8 nor western text .* give its --encoding"):
        read(tmp_path / "a.csv", content)


def test_damaged_utf8_is_not_taken_for_western_text(tmp_path: Path) -> None:
    content = ("key,day,amount\n" + "Größe,Île,1\n" * 50).encode() + b"caf\xe9,x,2\n"
    with pytest.raises(PermanentError, match="UTF-8 with bytes in it that are none"):
        read(tmp_path / "a.csv", content)


def test_a_wrong_encoding_is_refused_as_such(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"is not utf-8: near line \d+ its bytes are none .*--encoding"):
        read(tmp_path / "a.csv", TEXT.encode("cp1252"), encoding="utf-8")
    with pytest.raises(PermanentError, match="zero bytes in the text"):
        read(tmp_path / "b.csv", TEXT.encode("utf-16-le"), encoding="latin-1", delimiter=",")
    with pytest.raises(PermanentError, match="--encoding nonsense: Python knows no such encoding"):
        read(tmp_path / "c.csv", TEXT.encode(), encoding="nonsense")
    with pytest.raises(PermanentError, match="is not UTF-16 with a byte order mark"):
        read(tmp_path / "d.csv", ("key,day,amount\n" + "a,b,c\n" * 99).encode("utf-16")[:-1])


@pytest.mark.parametrize(("sign", "name"), [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "pipe")])
def test_delimiters_are_recognised_and_named(tmp_path: Path, sign: str, name: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(TEXT.replace(",", sign))
    assert read_columns(path, THREE, ReadOptions()).read_as["delimiter"] == name
    assert (
        read_columns(path, THREE, ReadOptions(delimiter="tab" if sign == "\t" else sign)).read_as["delimiter"] == name
    )


def test_a_delimiter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(TEXT.replace(",", "^"))
    assert read_columns(path, THREE, ReadOptions(delimiter="^")).read_as["delimiter"] == "'^'"
    with pytest.raises(PermanentError, match=r"no delimiter .* parts its first 3 lines into fields; give --delimiter"):
        read_columns(path, THREE, ReadOptions())
    with pytest.raises(PermanentError, match="--delimiter takes one character"):
        ReadOptions(delimiter="||")


def test_the_header_may_stand_below_notes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sep=;\nReport, of the key; day\n\n" + TEXT.replace(",", ";"))
    found = recognise(open_container(path), THREE, ReadOptions())
    assert (found.delimiter, found.above, found.names) == (";", 4, ("key", "day", "amount"))
