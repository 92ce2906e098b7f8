"""Delimited files: every line is a row, a part of one, or set aside and named; nothing is lost in a field."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.layouts import (
    ANOTHER_NUMBER_OF_FIELDS,
    NOT_A_ROW,
    REPEATED_HEADER,
    Layout,
    RawTable,
    ReadOptions,
)
from credit_assets.loans.lending_club import LAYOUT, NOT_A_LOAN, read_lending_club
from credit_assets.loans.table_files import read_columns
from credit_assets_tests.support.lending_club_files import loan, write_csv

THREE = Layout("three", ("key", "day", "amount"), (), "key", frozenset({"day"}), "give a file of three columns")


def read(path: Path, text: str | bytes, **how: object) -> RawTable:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_columns(path, THREE, ReadOptions(**how))  # type: ignore[arg-type]


def keys(table: RawTable) -> list[str]:
    found: list[str] = table.columns["key"].to_pylist()
    return found


def refused(path: Path, text: str | bytes, **how: object) -> str:
    with pytest.raises(PermanentError) as error:
        read(path, text, **how)
    return str(error.value)


# Quotes


@pytest.mark.parametrize(
    ("first", "second"),
    [('"RENT', 'OWN"'), ('"RENT', '"OWN'), ('"RENT', '"OWN"x'), ('"RENT', "OWN")],
    ids=["a field of 400 rows", "opened twice", "closed and gone on", "never closed"],
)
@pytest.mark.parametrize("apart", [1, 400])
def test_stray_quotes_lose_no_rows(tmp_path: Path, first: str, second: str, apart: int) -> None:
    """Two stray quotes in 1,000 loans made one field of the 400 between them, and nothing was said."""
    path = write_csv(tmp_path / "loans.csv", [loan(id=str(i)) for i in range(1_000)])
    lines = [line for line in path.read_text().splitlines() if line.startswith((",", "desc"))]
    lines += [f",{2_000 + i}," + lines[1].split(",", 2)[2] for i in range(500)]
    lines[100] = lines[100].replace("RENT", first)
    lines[100 + apart] = lines[100 + apart].replace("RENT", second)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(PermanentError, match=r"loans\.csv(, line 101:|: a quote that opens in line 101)"):
        read_lending_club(path)
    plain = read_lending_club(path, reading=ReadOptions(quotes=False))
    assert plain.report.rows_read == len(lines) - 1 == plain.report.rows_kept


def test_two_quotes_anywhere_lose_no_rows(tmp_path: Path) -> None:
    """Either the file is refused, or every row is kept or rejected."""
    rows = [f"{i},2015-01-{i % 28 + 1:02d},{i * 7919 % 1000}" for i in range(200)]
    draws = random.Random(3)
    refusals = 0
    for _ in range(300):
        lines = list(rows)
        for row in draws.sample(range(200), 2):
            fields = lines[row].split(",")
            field = draws.randrange(3)
            place = draws.choice([0, len(fields[field]), draws.randrange(len(fields[field]) + 1)])
            fields[field] = fields[field][:place] + '"' + fields[field][place:]
            lines[row] = ",".join(fields)
        try:
            table = read(tmp_path / "a.csv", "\n".join(["key,day,amount", *lines]))
        except PermanentError:
            refusals += 1
        else:
            assert table.columns.num_rows + len(table.stray_lines) == 200
    assert 150 < refusals < 250


def test_texts_over_several_lines_are_kept_and_counted(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", 'key,day,amount\n1,"one\n\ntwo ""three"", four",5\n2,x,6\n')
    assert table.columns["day"].to_pylist() == ['one\n\ntwo "three", four', "x"]
    assert table.read_as["rows over several lines"] == "1, the first at line 2"
    assert (table.read_as["lines"], table.lines.tolist() if table.lines is not None else None) == ("5", [2, 5])


def test_quotes_inside_a_field_are_its_characters(tmp_path: Path) -> None:
    assert keys(read(tmp_path / "a.csv", "key,day,amount\n5' 6\" tall,b,1\n")) == ["5' 6\" tall"]


# Lines that are no rows, and rows of another number of fields


def test_a_heading_between_loans_keeps_row_numbers(tmp_path: Path) -> None:
    """The published 2007-2011 file has one above its off-policy loans."""
    path = write_csv(
        tmp_path / "loans.csv", [loan(), loan(id="1002")], below="\nLoans that do not meet the credit policy\n"
    )
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(["", *loan(id="1003", term="never").values()])
        csv.writer(file).writerow(["", *loan(id="1004").values()])
        file.write("a,b,c\n")
    book = read_lending_club(path)
    assert book.applications["application_id"].to_pylist() == ["1001", "1002", "1004"]
    reasons = dict(zip(book.rejected["row"], book.rejected["reason"], strict=True))
    assert reasons == {3: NOT_A_LOAN, 4: "term cannot be read", 6: ANOTHER_NUMBER_OF_FIELDS}
    assert book.rejected["id"][1] == "1003"
    # Lines as an editor counts them: one blank, and one loan with a text of three lines.
    assert book.rejected["line"].tolist() == [7, 8, 10]


def test_every_line_has_its_place(tmp_path: Path) -> None:
    text = "a note\nkey,day,amount\n1,x,2\n\n3,y\n4,z,5,6\nkey,day,amount\n   \n7,w,8\nTotal: 3\n"
    table = read(tmp_path / "a.csv", text)
    assert keys(table) == ["1", "7"]
    assert [(line.number, line.line, line.reason) for line in table.stray_lines] == [
        (2, 5, NOT_A_ROW),
        (3, 6, ANOTHER_NUMBER_OF_FIELDS),
        (4, 7, REPEATED_HEADER),
        (5, 8, NOT_A_ROW),
        (7, 10, NOT_A_ROW),
    ]
    assert table.numbers.tolist() == [1, 6]
    assert table.read_as == {
        "file": "delimited text", "encoding": "UTF-8", "delimiter": "comma", "lines": "10", "header": "line 2",
        "blank lines": "1",
    }  # fmt: skip


@pytest.mark.parametrize("header", ["key,day,amount", "key,day,amount,"])
@pytest.mark.parametrize("row", ["1,x,2", "1,x,2,"])
def test_a_delimiter_at_the_end_of_lines(tmp_path: Path, header: str, row: str) -> None:
    table = read(tmp_path / "a.csv", f"{header}\n{row}\n{row}\n")
    assert table.columns.to_pylist() == [{"key": "1", "day": "x", "amount": "2"}] * 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path: Path, end: str) -> None:
    table = read(tmp_path / "a.csv", end.join(["key,day,amount", "1,x,2", "", "3,y,4"]))
    assert (keys(table), table.read_as["lines"], table.read_as["blank lines"]) == (["1", "3"], "4", "1")


def test_files_put_together_with_other_columns_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path / "a.csv", "key,day,amount\n1,x,2\nday,key,amount\ny,3,4\n")
    assert "a.csv, line 3: a second header with other columns" in said
    said = refused(tmp_path / "b.csv", "key,day,amount\n1,x,2\nkey,day,amount,more\n3,y,4,5\n")
    assert "b.csv, line 3: a second header with other columns" in said


def test_zero_bytes_are_refused_with_their_line(tmp_path: Path) -> None:
    said = refused(tmp_path / "a.csv", b"key,day,amount\n1,x,2\n\0\0\0\0,y,3\n")
    assert "a.csv, line 3: zero bytes in the text, read as UTF-8: the file is damaged" in said
    said = refused(tmp_path / "b.csv", b"key,day,amount\n" + b"1,x,2\n" * 50 + b"\0\0\0\0,y,3\n")
    assert "b.csv, line 52: zero bytes in the text, read as UTF-8 with comma" in said


# Headers


def test_unknown_layouts_list_what_is_missing(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [loan()], without=("dti", "issue_d"))
    with pytest.raises(PermanentError, match=r"a\.csv has no known LendingClub layout: missing columns issue_d, dti;"):
        read_lending_club(path)
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    missing = ", ".join(LAYOUT.required)
    with pytest.raises(
        PermanentError, match=rf"no header in its first 10 lines, .* missing columns {missing}; .* a, b;"
    ):
        read_lending_club(tmp_path / "b.csv")


def test_a_column_that_stands_twice_is_refused_where_it_is_wanted(tmp_path: Path) -> None:
    assert "column amount stands in the header more than once" in refused(
        tmp_path / "a.csv", "key,day,amount,amount\n1,x,2,3\n"
    )
    assert keys(read(tmp_path / "b.csv", "key,day,amount,note,note\n1,x,2,3,4\n")) == ["1"]


def test_values_of_a_first_row_are_not_shown(tmp_path: Path) -> None:
    said = refused(tmp_path / "a.csv", "anna.mueller,2015-01-02,4999\nbert,2015-01-02,5001\n")
    assert "none of these lines looks like column names" in said
    assert "mueller" not in said
    assert "4999" not in said


@pytest.mark.parametrize("text", ["key,day,amount\n", "key,day,amount", "key,day,amount\n\n\nTotal: 0\n"])
def test_a_header_alone(tmp_path: Path, text: str) -> None:
    assert "holds no rows: it has a header" in refused(tmp_path / "a.csv", text)


def test_more_rows_than_one_batch(tmp_path: Path) -> None:
    text = "key,day,amount\n" + "".join(f"{i},{i % 7},1\n" for i in range(70_000))
    table = read(tmp_path / "a.csv", text)
    assert keys(table) == [str(i) for i in range(70_000)]
    assert table.columns["day"].to_pylist() == [str(i % 7) for i in range(70_000)]
    assert table.numbers.tolist() == list(range(1, 70_001))
