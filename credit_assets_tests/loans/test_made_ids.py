"""Ids of loans whose file has none: the same loan has one id in every file, and no two loans share one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.lending_club import LendingClubBook, read_lending_club
from credit_assets_tests.support.lending_club_files import loan, write_csv


def quarter(first: int, count: int, month: str) -> list[dict[str, str]]:
    return [loan(annual_inc=str(20_000 + i), issue_d=month) for i in range(first, first + count)]


def read(path: Path, loans: list[dict[str, str]], *books: LendingClubBook, ids: bool = False) -> LendingClubBook:
    """The file as it goes into a book of those before it."""
    held = pa.concat_tables(book.applications for book in books) if books else None

    def known(start: date, end: date) -> pa.Table:
        assert held is not None
        days = held["application_date"].to_pylist()
        return held.filter(pa.array([start <= day <= end for day in days]))

    written = write_csv(path, loans, without=() if ids else ("id",))
    return read_lending_club(written, known=known if books else None, look=bool(books))


def ids_of(book: LendingClubBook) -> list[str]:
    found: list[str] = book.applications["application_id"].to_pylist()
    return found


def test_ids_from_year_and_row(tmp_path: Path) -> None:
    loans = [loan(annual_inc="1"), loan(annual_inc="2", issue_d="Jan-2010"), loan(annual_inc="1")]
    book = read(tmp_path / "loans.csv", loans)
    assert ids_of(book) == ["LC2011-0000001", "LC2010-0000002"]
    assert book.report.rejected == {"repeats an earlier row": 1}
    assert book.file.made_ids


def test_two_quarters_of_a_year_share_no_id(tmp_path: Path) -> None:
    """The second file of a year had the ids of the first, and overwrote its loans."""
    first = read(tmp_path / "q1.csv", quarter(0, 300, "Jan-2011"))
    second = read(tmp_path / "q2.csv", quarter(300, 300, "Apr-2011"), first)
    assert len({*ids_of(first), *ids_of(second)}) == 600
    third = read(tmp_path / "q3.csv", quarter(600, 300, "Jul-2011"), first, second)
    assert len({*ids_of(first), *ids_of(second), *ids_of(third)}) == 900


def test_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    first = read(tmp_path / "q1.csv", quarter(0, 50, "Jan-2011"))
    second = read(tmp_path / "q2.csv", quarter(50, 50, "Apr-2011"), first)
    for loans, book in ((quarter(0, 50, "Jan-2011"), first), (quarter(50, 50, "Apr-2011"), second)):
        again = read(tmp_path / "again.csv", loans, first, second)
        assert again.applications.equals(book.applications)
        assert again.outcomes.equals(book.outcomes)


def test_a_file_that_overlaps_finds_its_loans_again(tmp_path: Path) -> None:
    """In another order, with news of how the loans went on, and new ones among them."""
    first = read(tmp_path / "q1.csv", [{**row, "loan_status": "Current"} for row in quarter(0, 50, "Jan-2011")])
    assert first.outcomes.num_rows == 0
    year = [*quarter(100, 20, "May-2011"), *reversed(quarter(0, 50, "Jan-2011"))]
    whole = read(tmp_path / "year.csv", year, first)
    assert ids_of(whole)[20:] == list(reversed(ids_of(first)))
    assert not {*ids_of(whole)[:20]} & {*ids_of(first)}
    assert whole.outcomes.num_rows == 70
    days = dict(zip(ids_of(first), first.applications["application_date"].to_pylist(), strict=True))
    there = dict(zip(ids_of(whole), whole.applications["application_date"].to_pylist(), strict=True))
    assert {name: there[name] for name in days} == days


def test_alike_loans_stay_two(tmp_path: Path) -> None:
    """Equal in all that was known at issue, and not in how they went on."""
    twins = [loan(), loan(loan_status="Charged Off")]
    first = read(tmp_path / "a.csv", quarter(0, 2, "Mar-2011"))
    second = read(tmp_path / "b.csv", twins, first)
    assert len({*ids_of(first), *ids_of(second)}) == 4
    assert read(tmp_path / "b.csv", twins, first, second).outcomes.equals(second.outcomes)


def test_loans_are_found_under_the_ids_that_files_gave(tmp_path: Path) -> None:
    given = read(
        tmp_path / "a.csv", [{**row, "id": f"7{i}"} for i, row in enumerate(quarter(0, 5, "Jan-2011"))], ids=True
    )
    assert ids_of(read(tmp_path / "b.csv", quarter(0, 5, "Jan-2011"), given)) == ids_of(given)


def test_loans_with_ids_are_not_loaded_beside_themselves(tmp_path: Path) -> None:
    made = read(tmp_path / "a.csv", quarter(0, 50, "Jan-2011"))
    loans = [{**row, "id": f"7{i}"} for i, row in enumerate(quarter(0, 50, "Jan-2011"))]
    with pytest.raises(
        PermanentError, match=r"b\.csv: 50 of its loans are in the book already, under ids that were made"
    ):
        read(tmp_path / "b.csv", loans, made, ids=True)


def test_ids_that_a_spreadsheet_has_cut_are_rejected(tmp_path: Path) -> None:
    loans = [loan(id="1.07E+09", annual_inc="1"), loan(id="1.07E+09", annual_inc="2"), loan(id="10E5")]
    book = read_lending_club(write_csv(tmp_path / "a.csv", [*loans, loan(id="E5")]))
    assert ids_of(book) == ["10E5", "E5"]
    assert book.report.rejected == {"id in scientific notation: a spreadsheet has cut off its digits": 2}
