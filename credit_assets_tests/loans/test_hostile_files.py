"""Whatever a file holds, it is read as it was meant, its rows are rejected with the reason, or it is refused."""

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.failures import PermanentError
from credit_assets.loans import containers, delimited
from credit_assets.loans.layouts import ReadOptions
from credit_assets.loans.lending_club import read_lending_club
from credit_assets.loans.portfolio_file import Columns, PortfolioFile, read_portfolio_file
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets_tests.support.fuzz import LONGEST_MESSAGE, damaged, fuzz, refused_in_words
from credit_assets_tests.support.hostile_files import (
    HEADER,
    PORTFOLIO,
    ROWS,
    Case,
    Refused,
    Rejected,
    arrow,
    cases,
    parquet,
    plain_table,
    row,
    zipped,
)


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Portfolio:
    file = tmp_path_factory.mktemp("hostile") / "portfolio.yaml"
    file.write_text(PORTFOLIO)
    return load_portfolio(file)


def read(folder: Path, content: bytes, portfolio: Portfolio) -> PortfolioFile:
    file = folder / "loans.csv"
    file.write_bytes(content)
    return read_portfolio_file(file, portfolio, "applications", Columns(), ReadOptions())


def counted(found: PortfolioFile) -> PortfolioFile:
    assert found.file.rows_kept == found.rows.num_rows
    assert found.file.rows_read == found.rows.num_rows + len(found.rejected)
    assert sum(found.reasons.values()) == len(found.rejected)
    return found


@pytest.mark.parametrize("case", cases(), ids=str)
def test_what_comes_of_a_hostile_file(case: Case, tmp_path: Path, portfolio: Portfolio) -> None:
    if isinstance(case.comes, Refused):
        with pytest.raises(PermanentError) as caught:
            read(tmp_path, case.content, portfolio)
        assert case.comes.words in str(caught.value)
        assert len(str(caught.value)) < LONGEST_MESSAGE
        return
    found = counted(read(tmp_path, case.content, portfolio))
    if isinstance(case.comes, Rejected):
        assert next(iter(found.reasons)).startswith(case.comes.words)
        assert sum(found.reasons.values()) == case.comes.rows
    else:
        assert found.reasons == {}
        assert found.rows[case.comes.column].to_pylist()[-1] == case.comes.value


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped({"loans.csv": data})], ids=["gzip", "zip"])
def test_a_file_that_unpacks_to_far_more_than_a_table_is_refused(
    pack: object, tmp_path: Path, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_ALWAYS_ALLOWED", 1 << 20)
    bomb = pack((HEADER + ROWS).encode() + b"x" * (8 << 20))  # type: ignore[operator]
    with pytest.raises(PermanentError, match="unpacks to more than"):
        read(tmp_path, bomb, portfolio)
    real = pack((HEADER + "".join(row(application_id=f"{n}") for n in range(60_000))).encode())  # type: ignore[operator]
    assert read(tmp_path, real, portfolio).file.rows_kept == 60_000


def test_runs_of_one_value_in_parquet_are_held_against_its_size(
    tmp_path: Path, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_ALWAYS_ALLOWED", 1 << 20)
    same = plain_table().slice(0, 1).take(pa.array([0] * 200_000))
    file = io.BytesIO()
    pq.write_table(same, file)
    with pytest.raises(PermanentError, match="unpacks to more than"):
        read(tmp_path, file.getvalue(), portfolio)


def test_lines_that_are_no_rows_are_not_read_without_end(
    tmp_path: Path, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_MOST_OTHER_LINES", 100)
    assert read(tmp_path, (HEADER + ROWS + "\n" * 100).encode(), portfolio).file.rows_kept == 2
    with pytest.raises(PermanentError, match="it is no table, or damaged"):
        read(tmp_path, (HEADER + ROWS + "\n" * 101).encode(), portfolio)
    with pytest.raises(PermanentError, match="it is no table, or damaged"):
        read(tmp_path, (HEADER + ROWS + "a,b\n" * 101).encode(), portfolio)


CLUB = {
    "id": ["1", "2"],
    "loan_amnt": [1000.0, 2000.0],
    "term": [36.0, 60.0],
    "int_rate": [10.65, 12.5],
    "annual_inc": [24000.0, 30000.0],
    "dti": [10.0, 12.0],
    "revol_bal": [100.0, 200.0],
    "revol_util": [50.0, 40.0],
    "purpose": ["car", "house"],
    "home_ownership": ["RENT", "OWN"],
    "emp_length": ["2 years", "3 years"],
    "addr_state": ["CA", "NY"],
    "inq_last_6mths": [0.0, 1.0],
    "delinq_2yrs": [0.0, 1.0],
    "open_acc": [3.0, 4.0],
    "issue_d": ["Dec-2011", "Dec-2011"],
    "last_pymnt_d": ["Jan-2014", "Jan-2014"],
    "loan_status": ["Fully Paid", "Charged Off"],
}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("open_acc", float("inf"), "open_acc cannot be read"),
        ("open_acc", 1e30, "open_acc is no whole number"),
        ("term", -1e300, "term is no whole number"),
        ("loan_amnt", float("-inf"), "loan_amnt cannot be read"),
        ("issue_d", "Jan-0000", "issue_d cannot be read"),
        ("issue_d", "Dec-9999", "issue_d cannot be read"),
        ("last_pymnt_d", "12/0000", "last_pymnt_d cannot be read"),
    ],
)
def test_numbers_and_months_of_no_loan_are_rejected_from_a_published_file(
    tmp_path: Path, column: str, value: object, reason: str
) -> None:
    file = tmp_path / "club.parquet"
    pq.write_table(pa.table({**CLUB, column: [CLUB[column][0], value]}), file)
    book = read_lending_club(file)
    assert book.report.rejected == {reason: 1}
    assert (book.report.rows_read, book.applications.num_rows) == (2, 1)


# Files that nobody thought of


SEEDS = [
    (HEADER + ROWS).encode(),
    (HEADER + ROWS + row(income='"1,000.5"')).encode("utf-16"),
    gzip.compress((HEADER + ROWS).encode(), mtime=0),
    arrow(plain_table()),
    arrow(plain_table(), stream=True),
    parquet(plain_table()),
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.one_of(texts, st.sampled_from(["1", "2020-01-01", "inf", '"', "true"]))
lines = st.lists(st.lists(values, max_size=8), max_size=6)
written = lines.map(lambda rows: (HEADER + "\n".join(map(",".join, rows))).encode())


@fuzz(150)
@given(content=st.one_of(damaged(SEEDS), written, st.binary(max_size=300)))
def test_any_bytes_are_read_with_an_account_or_refused_in_words(
    tmp_path: Path, portfolio: Portfolio, content: bytes
) -> None:
    with refused_in_words():
        counted(read(tmp_path, content, portfolio))
