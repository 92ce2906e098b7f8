"""The record of a gate: what it refuses to hold, its JSON form, and verdicts over several gates and days."""

from __future__ import annotations

import json

import numpy as np
import pytest

from credit_assets.ml.data.gate_results import GateResult, blocking, detail, merge, why_rejected, worst


def gate(name: str = "values", passed: bool = True, severity: str = "error", value=1, details=()) -> GateResult:
    return GateResult(name, passed, severity, value, "0 rows", f"{name} of the day", tuple(details), "gates: x")


def test_record_survives_json():
    result = gate(passed=False, value=0.25, details=[detail("purpose", "missing", np.int64(3))])
    record = json.loads(json.dumps(result.to_record(), allow_nan=False))
    assert GateResult.from_record(record) == result
    assert record["details"] == [{"column": "purpose", "problem": "missing", "count": 3}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_json_cannot_hold_becomes_none(value: float):
    assert gate(value=value).value is None


def test_details_cannot_hold_a_row():
    with pytest.raises(ValueError, match="column, problem and count"):
        gate(details=[{"column": "annual_income", "problem": "below 0", "count": 1, "application_id": "A1"}])


def test_unknown_severity_is_refused():
    with pytest.raises(ValueError, match="'error' or 'warn'"):
        gate(severity="fatal")


def test_a_record_with_other_keys_names_them():
    record = gate().to_record()
    del record["threshold"]
    with pytest.raises(ValueError, match=r"missing \['threshold'\], unknown \['limit'\]"):
        GateResult.from_record({**record, "limit": 3})


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ([], "passed"),
        ([(True, "error"), (True, "warn")], "passed"),
        ([(True, "error"), (False, "warn")], "warn"),
        ([(False, "warn"), (False, "error"), (True, "error")], "error"),
    ],
)
def test_worst_verdict(states, verdict):
    assert worst(gate(passed=passed, severity=severity) for passed, severity in states) == verdict


def test_only_failed_errors_block():
    warned, failed = gate("volume", False, "warn"), gate("schema", False, "error")
    assert blocking([gate(), warned, failed]) == (failed,)


def test_merge_takes_the_gravest_day_and_adds_up_the_counts():
    missing = "missing"
    days = [
        [gate("schema"), gate("values", False, "warn", 2, [detail("state", missing, 2)])],
        [
            gate("schema"),
            gate("values", False, "error", 3, [detail("state", missing, 1), detail("age", "below 18", 2)]),
        ],
        [gate("schema"), gate("values", True, "error", 0)],
    ]
    schema, values = merge(days)
    assert schema == gate("schema")
    assert (values.passed, values.severity, values.value) == (False, "error", 3)
    assert values.details == (detail("state", missing, 3), detail("age", "below 18", 2))
    assert "failed on 2 of 3 days" in values.description


def test_line_names_columns_and_counts():
    line = gate(passed=False, value=4, details=[detail(f"c{i}", "missing", i) for i in range(7)]).line()
    assert line == (
        "values: error, 4 (0 rows); c0 missing (0), c1 missing (1), c2 missing (2), c3 missing (3), c4 missing (4) "
        "and 2 more; ruled by gates: x"
    )


def test_a_failed_gate_names_what_rules_it():
    with pytest.raises(ValueError, match="'volume' failed without the setting that rules it"):
        GateResult("volume", False, "warn", 3, "at least 5", "Few rows.")
    assert GateResult("volume", True, "warn", 6, "at least 5", "Enough rows.").message() == "Enough rows."


def test_a_result_of_before_is_read_without_its_setting():
    record = gate(passed=False).to_record()
    del record["setting"]
    assert "ruled by a setting that was not recorded" in GateResult.from_record(record).line()


def test_the_message_says_what_was_found_what_is_allowed_where_and_by_what():
    found = gate(passed=False, value=0.25, details=[detail("purpose", "missing", 3)])
    assert found.message() == (
        "values of the day Found 0.25, allowed 0 rows. Columns: purpose missing (3). Ruled by gates: x."
    )


def test_a_rejected_day_says_which_columns_were_at_fault():
    share = gate("quarantined_share", passed=False)
    values = gate("values", passed=False, severity="warn", value=3, details=[detail("kind", "not an allowed value", 3)])
    assert why_rejected([values, share, gate("volume")]) == (
        "quarantined_share: error, 1 (0 rows); ruled by gates: x; "
        "values: warn, 3 (0 rows); kind not an allowed value (3); ruled by gates: x"
    )
    assert why_rejected([values, gate()]) == why_rejected([]) == ""
