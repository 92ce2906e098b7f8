"""Files into the warehouse by the command: what is written, what is refused before anything is, and what is said."""

from __future__ import annotations

import json
import os
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from credit_assets.cli.main import app
from credit_assets.failures import PermanentError
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.settings import load_settings
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.lending_club_files import loan, write_csv


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


def load(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["load", *map(str, arguments), "--json"], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.output)
    return report


def refused(*arguments: object) -> str:
    """The message of a load that was refused, after which the book is as it was."""
    before = book()
    with pytest.raises(PermanentError) as error:
        load(*arguments)
    assert book() == before
    return str(error.value)


def book() -> list[Any]:
    """Everything that the warehouse holds."""
    path = Path(os.environ["CREDIT_HOME"]) / "warehouse.duckdb"
    if not path.is_file():
        return []
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        return [(name, connection.execute(f'SELECT * FROM "{name}" ORDER BY ALL').fetchall()) for name in tables]


def count(table: str) -> int:
    return len(dict(book())[table])


def some(number: int, first: int = 0, **values: str) -> list[dict[str, str]]:
    return [loan(id=str(1_000 + i), annual_inc=str(40_000 + 100 * i), **values) for i in range(first, first + number)]


def test_what_a_file_was_taken_for_is_said_and_kept_with_the_book(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", some(40), below="\nTotal: 40\n")
    report = load("lending-club", path)
    assert report["rows_read"] == 41 == report["rows_kept"] + sum(report["rejected"].values())
    assert report["read_as"]["encoding"] == "UTF-8"
    assert Path(report["rejected_rows_file"]).read_text().count("Total: 40") == 1
    (kept,) = open_warehouse(load_settings().warehouse, "UTC").loaded_files(load_portfolio())
    assert kept.read_as["layout"] == report["layout"]
    assert kept.conventions["total_debt"] == report["total_debt"]
    assert (kept.name, kept.rows_kept, kept.sizes["interest_rate"].median) == ("a.csv", 40, 13.56)
    shown = CliRunner().invoke(app, ["load", "lending-club", str(path)])
    assert "delimiter: comma" in shown.output
    assert load("lending-club", path)["warehouse"]["applications_unchanged"] == 40
    assert count("loan_applications_files") == 1


def test_two_files_of_a_year_without_ids(tmp_path: Path) -> None:
    """The second overwrote the first: 300 loans gone, exit 0."""
    paths = [
        write_csv(
            tmp_path / f"{month}.csv", some(300, first, issue_d=f"{month}-2016", last_pymnt_d=""), without=("id",)
        )
        for month, first in (("Jan", 0), ("Apr", 300))
    ]
    for path in paths:
        assert load("lending-club", path)["warehouse"]["applications_inserted"] == 300
    for path in paths:
        assert load("lending-club", path)["warehouse"]["applications_unchanged"] == 300
    assert count("loan_applications") == 600


def test_two_scales_of_debt(tmp_path: Path) -> None:
    """Debt to income of .15 and of 2.60 stood in one book."""
    load("lending-club", write_csv(tmp_path / "old.csv", some(40)))
    new = write_csv(tmp_path / "new.csv", some(40, 100, tot_cur_bal="200000.0", total_rev_hi_lim="20000.0"))
    assert "total_debt is 'balance: tot_cur_bal' in the file, but 'annualised" in refused("lending-club", new)
    load("lending-club", new, "--debt", "debt_service")
    assert count("loan_applications") == 80
    assert "--debt is auto, balance" in refused("lending-club", new, "--debt", "both")


def test_rejected_rows_above_a_share_fail(tmp_path: Path, home: Path) -> None:
    """99.98% rejected was exit 0."""
    path = write_csv(tmp_path / "a.csv", [*some(18), *some(2, 50, loan_status="Sold")], below="\nTotal: 20\n")
    said = refused("lending-club", path)
    assert "a.csv: 2 of 20 rows (10.00%) cannot be used: loan_status is not known (2); they stand in" in said
    assert "Sold" in next((home / "rejected").iterdir()).read_text()
    assert load("lending-club", path, "--max-rejected", 0.1)["rows_kept"] == 18
    nothing = write_csv(tmp_path / "b.csv", some(20, loan_status="Sold"))
    assert "20 of 20 rows (100.00%)" in refused("lending-club", nothing, "--max-rejected", 1)


def test_files_put_together_of_the_same_lose_nothing(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", some(20))
    path.write_text(path.read_text() * 2)
    report = load("lending-club", path)
    assert report["rows_kept"] == 20
    assert report["rejected"] == {"repeats an earlier row": 20, "not a row: the header once more": 1}


def test_files_of_one_name_keep_their_rejected_rows_apart(tmp_path: Path, home: Path) -> None:
    for folder, status in (("one", "Sold"), ("two", "Lost")):
        (tmp_path / folder).mkdir()
        path = write_csv(tmp_path / folder / "a.csv", [*some(30), *some(1, 90, loan_status=status)])
        load("lending-club", path)
    assert len(list((home / "rejected").iterdir())) == 2


def test_a_book_without_records_is_compared_by_its_rows(tmp_path: Path) -> None:
    from credit_assets.loans.generator import generate_book

    warehouse = open_warehouse(load_settings().warehouse, "UTC")
    portfolio = load_portfolio()
    warehouse.create_tables(portfolio)
    warehouse.write(portfolio, *generate_book(500, date(2011, 1, 1), date(2011, 6, 30), 1))
    path = write_csv(tmp_path / "a.csv", [loan(id=str(i), annual_inc="45.5") for i in range(40)])
    assert "annual_income has the median 45.5 (40 values), the book" in refused("lending-club", path)


def test_generated_loans_are_part_of_the_book_too(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["generate", "--rows", "300", "--start", "2011-01-01", "--end", "2011-06-30", "--json"]
    )
    assert done.exit_code == 0
    path = write_csv(tmp_path / "a.csv", some(40, tot_cur_bal="200000.0"))
    assert "total_debt is 'balance" in refused("lending-club", path)
    assert "generated, 300 rows" in refused("lending-club", path)


@pytest.mark.parametrize(
    "option", [("--encoding", "utf-16"), ("--delimiter", ";"), ("--decimal", ","), ("--dates", "x")]
)
def test_what_is_told_overrules_what_is_seen(tmp_path: Path, option: tuple[str, str]) -> None:
    path = write_csv(tmp_path / "a.csv", [loan(id=str(i), annual_inc="45.000,5") for i in range(30)])
    if option[0] == "--decimal":
        wrong = [loan(id=str(i)) for i in range(30)]
        path = write_csv(tmp_path / "a.csv", wrong)
    assert refused("lending-club", path, *option)


# The portfolio's tables


MINI = """
name: mini
applications_table: apps
outcomes: {table: outs, id: app_id, date: known_on, defaulted: bad}
columns:
  - {name: app_id, type: string, role: id, nullable: false}
  - {name: applied_on, type: date, role: date, nullable: false}
  - {name: income, type: float, minimum: 0}
"""


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mini.yaml").write_text(MINI)
    monkeypatch.setenv("CREDIT_PORTFOLIO", str(tmp_path / "mini.yaml"))
    lines = [f"00{i};3{i % 2}.01.2024;{40_000 + i},5" for i in range(50)]
    (tmp_path / "apps.csv").write_bytes("\r\n".join(["customer;applied_on;income", *lines]).encode("cp1252"))
    (tmp_path / "outs.csv").write_text("app_id|known_on|bad\n001|2024-06-30|Y\n002|2024-06-30|n\n")
    return tmp_path


def test_both_tables_of_a_portfolio(mini: Path) -> None:
    report = load("csv", "applications", mini / "apps.csv", "--map", "customer=app_id")
    assert report["read_as"]["decimal comma"] == "income"
    assert load("csv", "outcomes", mini / "outs.csv")["warehouse"]["outcomes_inserted"] == 2
    tables = dict(book())
    assert tables["apps"][1] == ("001", date(2024, 1, 31), 40_001.5)
    assert tables["outs"] == [("001", date(2024, 6, 30), 1), ("002", date(2024, 6, 30), 0)]
    assert len(tables["apps_files"]) == 2
    again = load("csv", "applications", mini / "apps.csv", "--map", "customer=app_id")
    assert again["warehouse"]["applications_unchanged"] == 50


def test_lending_club_files_into_other_portfolios(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(mini / "a.csv", some(40), without=("id",))
    assert "LendingClub files give no column app_id, applied_on, income, which portfolio mini" in refused(
        "lending-club", path
    )
    few = """
name: few
columns:
  - {name: application_id, type: string, role: id, nullable: false}
  - {name: application_date, type: date, role: date, nullable: false}
  - {name: annual_income, type: integer}
"""
    (mini / "few.yaml").write_text(few)
    monkeypatch.setenv("CREDIT_PORTFOLIO", str(mini / "few.yaml"))
    for _ in range(2):
        load("lending-club", path)
    assert count("loan_applications") == 40


def test_a_second_file_in_another_unit(mini: Path) -> None:
    load("csv", "applications", mini / "apps.csv", "--map", "customer=app_id")
    lines = [f"10{i},2024-02-01,{40 + i}" for i in range(30)]
    (mini / "b.csv").write_text("\n".join(["app_id,applied_on,income", *lines]))
    said = refused("csv", "applications", mini / "b.csv")
    assert "b.csv: other units or scales than the book's: income has the median" in said
    assert load("csv", "applications", mini / "b.csv", "--scale", "income=1000")["rows_kept"] == 30
    assert load("csv", "applications", mini / "b.csv", "--accept-scale", "income")["rows_kept"] == 30


def test_ids_that_begin_again_in_each_file(mini: Path) -> None:
    """Numbers of a branch, say: the second file would overwrite the loans of the first."""
    load("csv", "applications", mini / "apps.csv", "--map", "customer=app_id")
    lines = [f"00{i},2024-03-{i % 28 + 1:02d},{40_000 + i}" for i in range(50)]
    (mini / "b.csv").write_text("\n".join(["app_id,applied_on,income", *lines]))
    said = refused("csv", "applications", mini / "b.csv")
    assert "50 of 50 rows for table apps have an app_id that is there with another applied_on" in said
    assert load("csv", "applications", mini / "b.csv", "--accept-scale", "applied_on")["rows_kept"] == 50
    # The same file read again with the days in another order is a correction of itself.
    (mini / "c.csv").write_text(
        "app_id,applied_on,income\n" + "".join(f"c{i},01/02/2024,{40_000 + i}\n" for i in range(9))
    )
    load("csv", "applications", mini / "c.csv", "--dates", "day-first")
    assert (
        load("csv", "applications", mini / "c.csv", "--dates", "month-first")["warehouse"]["applications_updated"] == 9
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["people"], "the table is applications or outcomes, not 'people'"),
        (["applications", "--map", "customer=id"], "--map: portfolio mini has no column id in its applications"),
        (["applications", "--map", "customer"], "--map customer: write NAME=VALUE"),
        (["applications", "--map", "customer=app_id", "--map", "income=app_id"], "app_id is given two columns"),
        (["applications", "--scale", "income=lots"], "--scale income=lots: give a factor"),
        (["applications", "--scale", "wealth=2"], "--scale: portfolio mini has no column wealth"),
        (
            ["applications"],
            "missing columns app_id; read as UTF-8 with semicolon between the fields; it has the columns",
        ),
    ],
)
def test_arguments_that_fit_no_table(mini: Path, arguments: list[str], said: str) -> None:
    assert said in refused("csv", arguments[0], mini / "apps.csv", *arguments[1:])


def test_absent_files_and_folders(tmp_path: Path) -> None:
    assert "no such file" in refused("lending-club", tmp_path / "none.csv")
    assert "is a folder" in refused("lending-club", tmp_path)


def test_rejected_rows_of_both_tables_of_a_row(mini: Path) -> None:
    lines = [f"{i},2024-01-02,{100 + i},2024-06-30,y" for i in range(30)]
    lines += ["31,2024-01-02,lots,2024-06-30,y", "32,2024-01-02,100,2024-06-30,perhaps"]
    (mini / "both.csv").write_text("\n".join(["app_id,applied_on,income,known_on,bad", *lines]))
    report = load("csv", mini / "both.csv", "--table", "applications", "--table", "outcomes", "--max-rejected", "0.5")
    aside = [Path(report[table]["rejected_rows_file"]).read_text() for table in ("applications", "outcomes")]
    assert ["lots" in text for text in aside] == [True, False]
    assert ["perhaps" in text for text in aside] == [False, True]


# Tables with several rows an id


LENDER = """
name: lender
applications_table: apps
performance_window_from: booking
population: {table: decs, id: app_no, date: decided_at, status: status, booked_on: booked_on, booked: [booked],
             declined: [declined], undecided: [open]}
outcomes: {table: perf, id: loan_no, date: effective_on, known: recorded_at, status: status, bad: [charged_off],
           good: [paid], reversed: [cured]}
histories:
  - {name: months, table: account_months, key: customer, application_key: customer_id, date: month_end,
     known: loaded_at, columns: [{name: score, type: integer}, {name: balance, unit: currency},
               {name: open, type: boolean}, {name: grade, type: category}]}
  - {name: pulls, table: bureau, key: customer, application_key: customer_id, date: pulled_on, columns: [points]}
columns:
  - {name: app_id, type: string, role: id, nullable: false}
  - {name: applied_on, type: date, role: date, nullable: false}
  - {name: customer_id, type: integer, role: ignored}
  - {name: income, type: float, minimum: 0}
derived: [{name: owed, history: months, aggregate: last, column: balance}]
"""
DECISIONS = """app_no;decided_at;status;booked_on
A1;31.01.2024 09:15;open;
A1;31.01.2024 16:40;booked;01.02.2024
A2;01.02.2024 08:00;declined;
A2;01.02.2024 08:00;declined;
A3;yesterday;open;
A4;;open;
"""
MONTHS = """customer,month_end,loaded_at,score,balance,open,grade
7,2024-01-31,2024-02-03T23:30:00Z,650,"1.234,50",yes,A
7,2024-01-31,2024-02-03T23:30:00Z,650,"1.234,50",yes,A
7,2024-02-29,2024-03-04T08:00:00+01:00,,"12,25",no,
8,2024-02-29,2024-03-04T08:00:00+01:00,640,"7,00",no,B
"""


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lender.yaml").write_text(LENDER)
    monkeypatch.setenv("CREDIT_PORTFOLIO", str(tmp_path / "lender.yaml"))
    monkeypatch.setenv("CREDIT_TIMEZONE", "Europe/Berlin")
    (tmp_path / "decs.csv").write_text(DECISIONS)
    (tmp_path / "months.csv").write_text(MONTHS)
    return tmp_path


def test_decisions_by_the_moment(lender: Path, home: Path) -> None:
    with pytest.raises(PermanentError, match=r"2 of 5 rows \(40.00%\) cannot be used"):
        load("csv", "decisions", lender / "decs.csv")
    assert book() == []
    report = load("csv", "decisions", lender / "decs.csv", "--max-rejected", "0.5")
    assert report["rejected"] == {
        "repeats an earlier row": 1, "decided_at cannot be read as date": 1, "decided_at is missing": 1
    }  # fmt: skip
    assert report["read_as"]["moments"] == "decided_at"
    assert (report["warehouse"]["inserted"], report["warehouse"]["unchanged"]) == (3, 0)
    assert "yesterday" in Path(report["rejected_rows_file"]).read_text()
    held = dict(book())["decs"]
    assert held[:2] == [
        ("A1", datetime(2024, 1, 31, 9, 15), "open", None),
        ("A1", datetime(2024, 1, 31, 16, 40), "booked", date(2024, 2, 1)),
    ]
    # By the table's name, again: nothing is there twice; a later file adds what is new, and takes nothing away.
    again = load("csv", lender / "decs.csv", "--table", "decs", "--max-rejected", "0.5")
    assert (again["warehouse"]["inserted"], again["warehouse"]["unchanged"]) == (0, 3)
    (lender / "later.csv").write_text(
        "app_no;decided_at;status;booked_on\nA2;2024-02-01 08:00;declined;\nA2;2024-02-05;booked;2024-02-06\n"
    )
    assert load("csv", "decisions", lender / "later.csv")["warehouse"]["inserted"] == 1
    assert count("decs") == 4
    settings = load_settings()
    warehouse = open_warehouse(settings.warehouse, settings.timezone)
    read = warehouse.read_decisions(settings.portfolio_contract, date(2024, 1, 31), date(2024, 1, 31)).read_all()
    assert read.sort_by("known_at")["status"].to_pylist() == ["open", "booked"]
    assert len(set(read["known_at"].to_pylist())) == 2


def test_histories_keep_each_row(lender: Path) -> None:
    report = load("csv", "months", lender / "months.csv")
    assert report["read_as"]["moments, by the clock of Europe/Berlin"] == "loaded_at"
    assert report["read_as"]["decimal comma"] == "balance"
    assert report["read_as"]["rows equal to an earlier one, kept"] == "1"
    first = (7, date(2024, 1, 31), datetime(2024, 2, 4, 0, 30), 650, 1234.5, True, "A")
    held = dict(book())["account_months"]
    assert held[:2] == [first, first]
    assert held[2] == (7, date(2024, 2, 29), datetime(2024, 3, 4, 8, 0), None, 12.25, False, None)
    for name in ("months", "account_months"):
        assert load("csv", lender / "months.csv", "--table", name)["warehouse"]["inserted"] == 0
    assert count("account_months") == 4
    # A file that overlaps, and has one more of what is there.
    (lender / "more.csv").write_text(
        MONTHS.replace("8,2024", '7,2024-01-31,2024-02-03T23:30:00Z,650,"1.234,50",yes,A\n8,2024')
    )
    assert load("csv", "months", lender / "more.csv")["warehouse"]["inserted"] == 1
    (lender / "apps.csv").write_text("app_id,applied_on,customer_id,income\nA1,2024-02-04,7,100\nA2,2024-02-05,7,100\n")
    (lender / "pulls.csv").write_text("customer,pulled_on,points\n7,2024-02-01,3\n")
    load("csv", lender / "apps.csv")
    load("csv", "pulls", lender / "pulls.csv")
    settings = load_settings()
    warehouse = open_warehouse(settings.warehouse, settings.timezone)
    days = date(2024, 2, 4), date(2024, 2, 5)
    found = warehouse.read_history_features(settings.portfolio_contract, *days).read_all()
    # Loaded on the 4th by the clock of Berlin: known on the 5th.
    assert (found["owed"].to_pylist(), found["months.rows"].to_pylist()) == ([None, 1234.5], [None, 3])


def test_outcomes_by_statuses(lender: Path) -> None:
    (lender / "apps.csv").write_text("app_id,applied_on,customer_id,income\nA1,2024-02-04,7,100\n")
    load("csv", lender / "apps.csv")
    (lender / "perf.csv").write_text(
        "loan_no,effective_on,recorded_at,status\nA1,2024-05-31,2024-06-03 10:00:00,charged_off\n"
        "A1,2024-05-31,2024-06-03 18:30:00,cured\nA1,2024-05-31,2024-06-03 18:30:00,cured\n"
        "A1,2024-09-30,2024-10-01,paid\n"
    )
    report = load("csv", "outcomes", lender / "perf.csv")
    assert report["rejected"] == {"repeats an earlier row": 1}
    assert report["warehouse"]["outcomes_inserted"] == 3
    assert dict(book())["perf"][1] == ("A1", datetime(2024, 6, 3, 18, 30), date(2024, 5, 31), "cured")
    assert load("csv", "perf", lender / "perf.csv")["warehouse"]["outcomes_unchanged"] == 3
    assert count("perf") == 3


def test_a_table_that_holds_less_than_the_file_says(lender: Path, home: Path) -> None:
    """Days without times: the rows would not be found again, and double with each load."""
    home.mkdir()
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute("CREATE TABLE decs (app_no VARCHAR, decided_at DATE, status VARCHAR, booked_on DATE)")
    said = refused("csv", "decisions", lender / "decs.csv", "--max-rejected", "0.5")
    assert "table decs does not keep 3 of 3 rows as they are given" in said
    (lender / "days.csv").write_text("app_no,decided_at,status,booked_on\nA1,2024-01-31,open,\n")
    for _ in range(2):
        load("csv", "decisions", lender / "days.csv")
    assert count("decs") == 1


def test_a_history_in_another_unit(lender: Path) -> None:
    lines = [f"{i},2024-01-31,{500 + i}" for i in range(40)]
    (lender / "a.csv").write_text("\n".join(["customer,pulled_on,points", *lines]))
    (lender / "b.csv").write_text("\n".join(["customer,pulled_on,points", *(line + "000" for line in lines)]))
    load("csv", "pulls", lender / "a.csv")
    assert "points has the median" in refused("csv", "pulls", lender / "b.csv")
    assert load("csv", "bureau", lender / "b.csv", "--scale", "points=0.001")["rows_kept"] == 40
    assert count("bureau") == 40


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["people"], "the table is applications, outcomes, decisions, months or pulls, not 'people'"),
        (["decisions", "--table", "applications"], "--table: decisions stand in files of their own"),
        (["months", "--map", "x=rating"], "--map: portfolio lender has no column rating in its history months"),
        (["months"], "missing columns customer, month_end"),
    ],
)
def test_arguments_that_fit_no_table_of_many_rows(lender: Path, arguments: list[str], said: str) -> None:
    assert said in refused("csv", arguments[0], lender / "decs.csv", *arguments[1:])


def test_tables_of_one_name(lender: Path) -> None:
    (lender / "lender.yaml").write_text(LENDER.replace("name: pulls", "name: decisions"))
    said = refused("csv", "decisions", lender / "decs.csv")
    assert (
        "calls decisions and history decisions: give another of their names (decs; bureau, history decisions)" in said
    )


def test_tables_of_another_portfolio(lender: Path) -> None:
    load("csv", "months", lender / "months.csv")
    (lender / "lender.yaml").write_text(
        LENDER.replace("name: lender", "name: other").replace("apps", "apps2").replace("perf,", "perf2,")
    )
    assert "holds the loans of portfolio lender" in refused("csv", "months", lender / "months.csv")
