"""Delimited and Parquet files: lines that are no rows, and files that cannot be read."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.lending_club import LAYOUT, NOT_A_LOAN, read_lending_club
from credit_assets_tests.support.lending_club_files import loan, write_csv


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
    assert reasons == {
        3: NOT_A_LOAN,
        4: "term cannot be read",
        6: "another number of fields than the header",
    }
    assert book.rejected["id"][1] == "1003"


def test_unknown_layouts_list_what_is_missing(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [loan()], without=("dti", "issue_d"))
    with pytest.raises(PermanentError, match=r"a\.csv has no known LendingClub layout: missing columns issue_d, dti;"):
        read_lending_club(path)
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    missing = ", ".join(LAYOUT.required)
    with pytest.raises(PermanentError, match=f"no header in its first 10 lines; missing columns {missing}"):
        read_lending_club(tmp_path / "b.csv")
    pq.write_table(pa.table({"loan_amnt": [1]}), tmp_path / "c.parquet")
    with pytest.raises(PermanentError, match="missing columns term, int_rate"):
        read_lending_club(tmp_path / "c.parquet")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"none\.csv cannot be read: No such file"):
        read_lending_club(tmp_path / "none.csv")
    with pytest.raises(PermanentError, match="holds no loans"):
        read_lending_club(write_csv(tmp_path / "a.csv", []))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(PermanentError, match="not a readable Parquet file"):
        read_lending_club(tmp_path / "b.parquet")
    whole = write_csv(tmp_path / "c.csv.gz", [loan(id=str(i)) for i in range(5_000)]).read_bytes()
    (tmp_path / "c.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PermanentError, match="not a readable CSV file"):
        read_lending_club(tmp_path / "c.csv.gz")
