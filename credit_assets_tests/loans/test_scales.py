"""Units and scales: percent and fractions within a file, and a file against the book; how often it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.lending_club import read_lending_club
from credit_assets.loans.loaded_file import LoadedFile, Size
from credit_assets.loans.published_values import read_numbers
from credit_assets.loans.scales import percent_rows, refuse_contradictions, sizes_of
from credit_assets_tests.support.lending_club_files import loan, write_csv


def file(name: str, table: pa.Table | None = None, **conventions: str) -> LoadedFile:
    sizes = {} if table is None else sizes_of(table, ())
    return LoadedFile(name, name, "test", 1, 1, conventions=conventions, sizes=sizes)


def incomes(factor: float, rows: int = 200, seed: int = 1) -> pa.Table:
    draws = np.random.default_rng(seed)
    return pa.table({"income": draws.lognormal(11, 0.5, rows) * factor, "late": draws.integers(0, 2, rows)})


def refused(new: LoadedFile, *book: LoadedFile, accepted: tuple[str, ...] = ()) -> str:
    try:
        refuse_contradictions(new, book, accepted, new.name)
    except PermanentError as error:
        return str(error)
    return ""


# A file against the book


@pytest.mark.parametrize("factor", [1 / 1000, 1 / 100, 1 / 12, 1 / 10, 10, 12, 100, 1000])
@pytest.mark.parametrize("rows", [30, 200])
def test_units_that_are_mixed_up(factor: float, rows: int) -> None:
    book = file("book", incomes(1))
    said = refused(file("new", incomes(factor, rows, seed=2)), book)
    assert "new: other units or scales than the book's: income has the median" in said
    assert "late" not in said
    assert refused(file("new", incomes(1, rows, seed=2)), book) == ""
    assert refused(file("new", incomes(factor, rows, seed=2)), book, accepted=("income",)) == ""


def test_few_values_are_compared_by_their_range() -> None:
    book = file("book", incomes(1))
    assert "all 5 values of income lie outside the range" in refused(file("new", incomes(0.001, 5)), book)
    assert refused(file("new", incomes(1, 5)), book) == ""
    assert refused(file("new", incomes(0.001, 4)), book) == ""


def test_a_book_that_has_moved_is_compared_with_its_nearest_file() -> None:
    book = [file(f"year {i}", incomes(1.5**i)) for i in range(8)]
    assert refused(file("new", incomes(1.5**8)), *book) == ""
    assert refused(file("new", incomes(1.5**8)), book[0]) != ""


def test_meanings_are_compared_by_name() -> None:
    book = file("old.csv", total_debt="balance", currency="")
    said = refused(file("new.csv", total_debt="service", currency="$"), book)
    assert "new.csv: total_debt is 'service' in the file, but 'balance' in the book (from old.csv): nothing was" in said
    assert "--debt debt_service" in said
    assert refused(file("new", total_debt="balance", currency="$"), book) == ""
    assert "currency is '€' in the file" in refused(file("new", currency="€"), book, file("b", currency="$"))
    # The same file read again in another way is no contradiction with itself.
    assert refused(file("old.csv", total_debt="service"), book) == ""


def times(table: LoadedFile, column: str, factor: float) -> LoadedFile:
    """The file with a column in another unit: its quantiles are those of before times the factor."""
    size = table.sizes[column]
    scaled = Size(size.values, size.low * factor, size.median * factor, size.high * factor)
    return replace(table, digest="new", sizes={**table.sizes, column: scaled})


@pytest.mark.real_loans
def test_how_often_real_quarters_are_refused_and_planted_units_are_not(real_loans_dir: Path) -> None:
    """Every quarter of 2007 Q3 to 2011 against every other; then with a column in another unit.

    In samples of 60 loans each, too. Quarters years apart are the worst case: a book is compared by its nearest file.
    """
    book = read_lending_club(real_loans_dir / "lending_club_2007_2011.parquet").applications
    quarters = pd.PeriodIndex(pd.to_datetime(book["application_date"].to_pandas()), freq="Q").astype(str)
    whole = {name: book.filter(pa.array(quarters == name)) for name in sorted(set(quarters))[1:]}
    draws = np.random.default_rng(7)
    small = {
        name: table.take(pa.array(draws.choice(table.num_rows, 60, replace=False))) for name, table in whole.items()
    }
    columns = ["annual_income", "total_debt", "credit_used", "credit_limit", "loan_amount", "interest_rate"]
    for tables, most in ((whole, 0.002), (small, 0.01)):
        files = [file(name, table) for name, table in tables.items()]
        pairs = [(new, other) for new in files for other in files if new is not other]
        assert len(pairs) == 18 * 17
        assert [said for new, other in pairs if (said := refused(new, other))] == []
        planted = [
            column in refused(times(new, column, factor), other)
            for column in columns
            for factor in (10, 12, 100, 1000)
            for new, other in pairs
        ]
        assert planted.count(False) <= most * len(planted), planted.count(False)


# Percent and fractions within a file


def scale(*texts: str, rate: bool = True, otherwise: str = "") -> tuple[list[bool], str]:
    numbers = read_numbers({"rate": pa.chunked_array([list(texts)])}, "", "a.csv").columns["rate"]
    rows, said = percent_rows("rate", numbers, np.ones(len(texts), bool), rate=rate, otherwise=otherwise, where="a.csv")
    return rows.tolist(), said


def test_a_percent_sign_counts_for_its_own_row() -> None:
    assert scale("13.5%", "7%") == ([True, True], "percent with sign")
    assert scale("13.5", "7") == ([True, True], "percent")
    assert scale(".135", ".07") == ([False, False], "fraction")
    assert scale(".135", ".07", "9%") == ([False, False, True], "fraction, percent signs in some rows")


def test_two_scales_in_one_column_are_refused() -> None:
    with pytest.raises(
        PermanentError, match=r"column rate is written both in percent and as a fraction of one \(40.0%"
    ):
        scale(*["13.5"] * 60, *[".135"] * 40)
    assert scale(*["13.5"] * 99, ".5")[1] == "percent"


def test_shares_of_few_loans_follow_the_rate() -> None:
    assert scale("0.5", "1.5", rate=False, otherwise="percent")[1] == "percent"
    assert scale("0.5", "1.5", rate=False, otherwise="fraction")[1] == "fraction"
    assert scale(*["0.5", "1.1"] * 20, rate=False, otherwise="percent")[1] == "fraction"


def test_one_sign_among_fractions_does_not_turn_the_column(tmp_path: Path) -> None:
    """One "7%" made percent of a whole column of fractions."""
    loans = [loan(id=str(i), int_rate=".1356", revol_util=".837") for i in range(99)]
    book = read_lending_club(write_csv(tmp_path / "a.csv", [*loans, loan(id="99", int_rate="7%", revol_util="50%")]))
    assert book.applications["interest_rate"].to_pylist() == [13.56] * 99 + [7.0]
    limits = book.applications["credit_limit"].to_pylist()
    assert limits == pytest.approx([13648 / 0.837] * 99 + [13648 / 0.5], abs=0.01)
