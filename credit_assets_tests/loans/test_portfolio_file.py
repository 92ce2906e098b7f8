"""Files of a portfolio's own tables: names, types, units, and the account of every row."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.layouts import NOT_A_ROW, ReadOptions
from credit_assets.loans.portfolio_file import Columns, PortfolioFile, read_portfolio_file
from credit_assets.loans.rejections import LOST_ID, REPEATED, SAME_ID
from credit_assets.ml.data.portfolio import Portfolio

PORTFOLIO = Portfolio.model_validate(
    {
        "name": "mini",
        "applications_table": "apps",
        "outcomes": {"table": "outs", "id": "app_id", "date": "known_on", "defaulted": "bad"},
        "columns": [
            {"name": "app_id", "type": "string", "role": "id", "nullable": False},
            {"name": "applied_on", "type": "date", "role": "date", "nullable": False},
            {"name": "income", "type": "float", "unit": "currency per year", "minimum": 0, "maximum": 1e6},
            {"name": "rate", "type": "float", "unit": "percent per year"},
            {"name": "used", "type": "float", "unit": "fraction of limit"},
            {"name": "points", "type": "float"},
            {"name": "term", "type": "integer", "nullable": False, "minimum": 1, "maximum": 480},
            {"name": "state", "type": "category"},
            {"name": "home", "type": "category", "allowed": ["RENT", "NONE"]},
            {"name": "salaried", "type": "boolean"},
        ],
    }
)
ROW = {"app_id": "A1", "applied_on": "2024-01-31", "income": "45000.50", "rate": "13.5", "used": "0.4", "points": "7",
       "term": "36", "state": "NA", "home": "NONE", "salaried": "yes"}  # fmt: skip


def rows(*changes: dict[str, str]) -> list[dict[str, str]]:
    return [{**ROW, "app_id": f"A{i}", **change} for i, change in enumerate(changes)]


def text(given: list[dict[str, str]], delimiter: str = ";") -> str:
    return "".join(delimiter.join(line) + "\n" for line in [list(given[0]), *(row.values() for row in given)])


def read(
    path: Path, given: list[dict[str, str]], table: str = "applications", columns: Columns | None = None, **how: Any
) -> PortfolioFile:
    path.write_text(text(given))
    return read_portfolio_file(path, PORTFOLIO, table, columns or Columns(), ReadOptions(**how))


def test_every_type_is_read_from_text(tmp_path: Path) -> None:
    found = read(
        tmp_path / "a.csv", rows({}, {"salaried": "N", "income": "", "state": "", "home": "n/a", "rate": "7%"})
    )
    first = {**ROW, "app_id": "A0", "applied_on": date(2024, 1, 31), "income": 45000.5, "rate": 13.5, "used": 0.4,
             "points": 7.0, "term": 36, "salaried": True}  # fmt: skip
    second = {**first, "app_id": "A1", "income": None, "rate": 7.0, "state": None, "home": None, "salaried": False}
    assert found.rows.to_pylist() == [first, second]
    assert found.to_record()["rejected"] == {}
    assert found.file.read_as["delimiter"] == "semicolon"
    assert found.file.sizes["term"].median == 36


def test_typed_files_give_the_same(tmp_path: Path) -> None:
    given = rows(*[{} for _ in range(5)])
    typed = pa.table(
        {
            "app_id": pa.array([row["app_id"] for row in given], pa.large_string()),
            "applied_on": pa.array([date(2024, 1, 31)] * 5),
            "income": pa.array([Decimal("45000.50")] * 5, pa.decimal128(12, 2)),
            "rate": pa.array([13.5] * 5, pa.float32()),
            "used": pa.array([0.4] * 5),
            "points": pa.array([7] * 5, pa.uint8()),
            "term": pa.array([36.0] * 5),
            "state": pa.array(["NA"] * 5).dictionary_encode(),
            "home": pa.array(["NONE"] * 5, pa.string_view()),
            "salaried": pa.array([1] * 5),
        }
    )
    pq.write_table(typed, tmp_path / "a.parquet")
    from_arrow = read_portfolio_file(tmp_path / "a.parquet", PORTFOLIO, "applications", Columns(), ReadOptions())
    assert from_arrow.rows.equals(read(tmp_path / "a.csv", given).rows)


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    found = read(
        tmp_path / "a.csv",
        rows(
            {},
            {"income": "lots"},
            {"term": "36.5"},
            {"term": ""},
            {"app_id": ""},
            {"applied_on": "2024-02-30"},
            {"salaried": "perhaps"},
            {"app_id": "1.07E+09"},
            {"app_id": "A0"},
            {"app_id": "A0", "income": "1.5"},
            dict.fromkeys(ROW, ""),
        ),
    )
    assert found.rows["app_id"].to_pylist() == ["A0"]
    assert dict(zip(found.rejected["row"], found.rejected["reason"], strict=True)) == {
        2: "income cannot be read as float",
        3: "term cannot be read as integer",
        4: "term is missing",
        5: "app_id is missing",
        6: "applied_on cannot be read as date",
        7: "salaried cannot be read as boolean",
        8: LOST_ID,
        9: REPEATED,
        10: SAME_ID,
        11: NOT_A_ROW,
    }
    assert found.file.rows_read == 11 == found.file.rows_kept + sum(found.reasons.values())


def test_outcomes(tmp_path: Path) -> None:
    flags = ["1", "no", "0.0", "perhaps", "?"]
    given = [{"app_id": f"A{i}", "known_on": "31.01.2025", "bad": bad} for i, bad in enumerate(flags)]
    found = read(tmp_path / "a.csv", given, "outcomes")
    assert found.rows["bad"].to_pylist() == [1, 0, 0]
    assert str(found.rows.schema.field("bad").type) == "int8"
    assert found.rows["known_on"].to_pylist() == [date(2025, 1, 31)] * 3
    assert found.reasons == {"bad cannot be read as boolean": 1, "bad is missing": 1}


def test_names_and_factors(tmp_path: Path) -> None:
    given = [{("customer no" if name == "app_id" else name): value for name, value in row.items()} for row in rows({})]
    given = [{**row, "income": "45.5"} for row in given]
    with pytest.raises(PermanentError, match=r"missing columns app_id.*it has the columns customer no, .*--map"):
        read(tmp_path / "a.csv", given)
    columns = Columns({"app_id": "customer no"}, {"income": 1000.0})
    found = read(tmp_path / "a.csv", given, columns=columns)
    assert found.rows["app_id"].to_pylist() == ["A0"]
    assert found.rows["income"].to_pylist() == [45_500.0]
    assert found.file.read_as["scaled"] == "income x 1000"


@pytest.mark.parametrize("income", ["1.234,56", "1 234,56", "€ 1234,56"])
def test_decimal_commas(tmp_path: Path, income: str) -> None:
    found = read(tmp_path / "a.csv", rows({"income": income}))
    assert found.rows["income"].to_pylist() == [1234.56]
    assert found.file.read_as["decimal comma"] == "income"
    assert found.file.read_as["decimal point"] == "rate, used"


def test_percent_signs_follow_the_unit(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", rows({"rate": "13.5%", "used": "40%"}))
    assert (found.rows["rate"].to_pylist(), found.rows["used"].to_pylist()) == ([13.5], [0.4])
    with pytest.raises(PermanentError, match=r"column points is written with percent signs, .* --scale points=1"):
        read(tmp_path / "a.csv", rows({"points": "7%"}))
    found = read(tmp_path / "a.csv", rows({"points": "7%"}), columns=Columns({}, {"points": 0.01}))
    assert found.rows["points"].to_pylist() == [0.07]


def test_another_unit_than_the_portfolio_says(tmp_path: Path) -> None:
    fractions = rows(*[{"rate": f"0.{i + 10}"} for i in range(40)])
    with pytest.raises(PermanentError, match=r"values of rate lie below 1, but .* Give --scale rate=100"):
        read(tmp_path / "a.csv", fractions)
    scaled = read(tmp_path / "a.csv", fractions, columns=Columns({}, {"rate": 100.0}))
    assert scaled.rows["rate"].to_pylist()[0] == pytest.approx(10.0)
    with pytest.raises(PermanentError, match=r"3 of 3 values of income lie outside .* Give --scale income=FACTOR"):
        read(tmp_path / "a.csv", rows(*[{"income": "45000000.5"}] * 3))


def test_days_in_one_order(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", rows({"applied_on": "01/02/2024"}, {"applied_on": "31/01/2024"}))
    assert found.rows["applied_on"].to_pylist() == [date(2024, 2, 1), date(2024, 1, 31)]
    assert found.file.read_as["order of days"] == "day-first"
    with pytest.raises(PermanentError, match="give --dates day-first"):
        read(tmp_path / "a.csv", rows({"applied_on": "01/02/2024"}))
    told = read(tmp_path / "a.csv", rows({"applied_on": "01/02/2024"}), dates="month-first")
    assert told.rows["applied_on"].to_pylist() == [date(2024, 1, 2)]


def test_ids_keep_their_form(tmp_path: Path) -> None:
    given = rows({"app_id": "007"}, {"app_id": " 008 "}, {"app_id": "12345678901234567890"}, {"app_id": "9.0"})
    assert read(tmp_path / "a.csv", given).rows["app_id"].to_pylist() == ["007", "008", "12345678901234567890", "9.0"]


@pytest.mark.parametrize(("kind", "given", "kept"), [
    ("string", ["007", "n/a", " C 1 ", ""], ["007", None, "C 1", None]),
    ("integer", ["12345678901234567", "", "7", "12a"], [12345678901234567, None, 7, None]),
])  # fmt: skip
def test_customers_keep_their_digits_and_nobody_is_none(
    tmp_path: Path, kind: str, given: list[str], kept: list[Any]
) -> None:
    content = PORTFOLIO.model_dump(exclude_defaults=True, mode="json")
    whose = {"name": "client", "type": kind, "role": "customer"}
    portfolio = Portfolio.model_validate({**content, "columns": [*content["columns"], whose]})
    path = tmp_path / "a.csv"
    path.write_text(text([{**row, "client": value} for row, value in zip(rows(*[{}] * 4), given, strict=True)]))
    found = read_portfolio_file(path, portfolio, "applications", Columns(), ReadOptions())
    by_id = dict(zip(found.rows["app_id"].to_pylist(), found.rows["client"].to_pylist(), strict=True))
    assert [by_id.get(f"A{n}") for n in range(4)] == kept
