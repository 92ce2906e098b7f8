"""Values that are none of their column's type, beside the rows and in the contract."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from credit_assets.ml.data.contracts import Contract, applications_rules, outcomes_rules
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.unreadable import UNREADABLE, notes, taken_off
from credit_assets.ml.data.values import read
from credit_assets.ml.rules.day_gates import application_gates, outcome_gates
from credit_assets.warehouse import Warehouse, open_warehouse
from credit_assets_tests.support.warehouses import KINDS, execute, warehouse_url

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]
FIRST, SECOND = date(2024, 3, 1), date(2024, 3, 2)
TEXTS = Portfolio.model_validate(
    {
        "name": "texts",
        "applications_table": "apps",
        "outcomes": {"table": "outs", "id": "id", "date": "known", "defaulted": "bad"},
        "columns": [
            {"name": "id", "type": "string", "role": "id", "nullable": False},
            {"name": "day", "type": "date", "role": "date", "nullable": False},
            {"name": "income", "type": "float", "maximum": 1e6},
            {"name": "term", "type": "integer"},
            {"name": "salaried", "type": "boolean"},
            {"name": "kind", "type": "category", "allowed": ["car", "home"]},
            {"name": "signed", "type": "date", "role": "ignored"},
        ],
        "gates": {"max_quarantined_share": 1},
    }
)


def test_notes_are_taken_off_as_they_were_made() -> None:
    given = {"a": ["1", "x", None, "y"], "b": pa.array(["u", "2", "v", "3"])}
    readings = {name: read(values, pa.float64()) for name, values in given.items()}
    column = notes(given, {name: reading.misfits for name, reading in readings.items()}, 4)
    assert column.null_count == 0 or column[0].as_py() is not None
    table = pa.table({**{name: reading.values for name, reading in readings.items()}, UNREADABLE: column})
    bare, noted = taken_off(table.slice(1))
    assert bare.column_names == ["a", "b"]
    assert {name: dict(note.texts) for name, note in noted.items()} == {"a": {0: "x", 2: "y"}, "b": {1: "v"}}
    assert noted["b"].rows.tolist() == [False, True, False]
    sound = pa.table({"a": [1.0], UNREADABLE: notes({"a": [1.0]}, {"a": None}, 1)})
    assert taken_off(sound) == (sound.select(["a"]), {})


def _tables(warehouse: Warehouse) -> None:
    execute(
        warehouse,
        "CREATE TABLE apps (id VARCHAR(9), day DATE, income VARCHAR(20), term VARCHAR(9), salaried VARCHAR(9), "
        "kind VARCHAR(9), signed VARCHAR(30))",
        "CREATE TABLE outs (id VARCHAR(9), known DATE, bad VARCHAR(9))",
        "INSERT INTO apps VALUES "
        "('a', '2024-03-01', ' 12.5 ', '36.0', 'Y', 'car ', '2024-03-01'), "
        "('b', '2024-03-01', '', ' ', 'no', ' home', NULL), "
        "('c', '2024-03-01', 'N/A', 'NULL', 'TRUE', '', 'n/a'), "
        "('d', '2024-03-01', 'unknown', '36', '1.0', 'car', '2024-03-01'), "
        "('e', '2024-03-01', '1', '36.5', 't', 'boat', 'soon'), "
        "('f', '2024-03-02', '2e3', '60', 'maybe', 'home', '2024-03-01')",
        "INSERT INTO outs VALUES ('a', '2024-03-01', ' YES'), ('b', '2024-03-01', '0'), ('c', '2024-03-02', NULL), "
        "('d', '2024-03-02', 'perhaps')",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_decides_about_text_from_the_warehouse(
    kind: str, tmp_path: object, request: pytest.FixtureRequest
) -> None:
    warehouse = open_warehouse(warehouse_url(kind, tmp_path, request))  # type: ignore[arg-type]
    execute(warehouse, "CREATE TABLE unrelated (a INTEGER)")
    _tables(warehouse)
    contract = Contract(applications_rules(TEXTS), [FIRST, SECOND])
    rows = warehouse.read_applications(TEXTS, FIRST, SECOND, noted=True).read_all()
    checked = contract.check(rows, last=True)
    kept = {row["id"]: row for row in checked.kept.to_pylist()}
    assert kept["a"] == {"id": "a", "day": FIRST, "income": 12.5, "term": 36, "salaried": True, "kind": "car",
                         "signed": FIRST}  # fmt: skip
    assert (kept["b"]["income"], kept["b"]["term"], kept["b"]["salaried"], kept["b"]["kind"]) == (
        None, None, False, "home")  # fmt: skip
    assert (kept["c"]["income"], kept["c"]["term"], kept["c"]["salaried"], kept["c"]["signed"]) == (
        None, None, True, None)  # fmt: skip
    aside = {row["id"]: row for row in checked.quarantined.to_pylist()}
    assert {key: row["quarantine_reason"] for key, row in aside.items()} == {
        "d": "income: not a finite number",
        "e": "term: not a whole number; kind: not an allowed value; signed: not a date",
        "f": "salaried: not true or false",
    }
    assert (aside["d"]["income"], aside["e"]["term"], aside["f"]["salaried"]) == ("unknown", "36.5", "maybe")
    gates = application_gates(contract.findings, TEXTS, {})
    values = {gate.name: gate for gate in gates[FIRST]}["values"]
    assert not values.blocks
    assert {(d["column"], d["problem"], d["count"]) for d in values.details} == {
        ("income", "not a finite number", 1), ("term", "not a whole number", 1), ("kind", "not an allowed value", 1),
        ("signed", "not a date", 1)}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_flags_of_outcomes_are_read_in_any_words_and_a_lost_one_rejects_its_day_alone(
    kind: str, tmp_path: object, request: pytest.FixtureRequest
) -> None:
    warehouse = open_warehouse(warehouse_url(kind, tmp_path, request))  # type: ignore[arg-type]
    execute(warehouse, "CREATE TABLE unrelated (a INTEGER)")
    _tables(warehouse)
    contract = Contract(outcomes_rules(TEXTS), [FIRST, SECOND])
    checked = contract.check(warehouse.read_outcomes(TEXTS, FIRST, SECOND, noted=True).read_all(), last=True)
    assert checked.kept["bad"].to_pylist() == [1, 0]
    gates = outcome_gates(contract.findings, TEXTS, {})
    assert not any(gate.blocks for gate in gates[FIRST])
    (values,) = [gate for gate in gates[SECOND] if gate.blocks]
    assert values.name == "values"
    assert {(d["column"], d["problem"], d["count"]) for d in values.details} == {
        ("bad", "missing", 1), ("bad", "not true or false", 1)}  # fmt: skip
    assert "perhaps" not in values.line()
