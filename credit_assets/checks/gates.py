"""Gate results as Dagster asset checks.

Belongs here: specs and results only. What a gate looks at stands in `credit_assets.ml`; that a rejected partition is
refused outside its own run is the store's doing.

The checks are inline: they ride in the step of the asset they judge, so a gate costs no process or pod of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from credit_assets.ml.gates import GateResult

APPLICATION_GATES = {
    "schema": "Every column of the portfolio is there and has its type.",
    "values": "Nulls, ranges and allowed values keep the column contract.",
    "unique_ids": "No application stands in the day twice.",
    "partition_date": "Every application bears the date of its partition.",
    "volume": "The number of applications is in line with the recent days.",
    "missing_share": "No column misses more values than its contract allows.",
    "quarantined_share": "Few enough rows were set aside.",
}
OUTCOME_GATES = {name: APPLICATION_GATES[name] for name in ("schema", "values", "unique_ids", "partition_date")}
TRAINING_GATES = {
    "enough_outcomes": "Enough mature goods and bads to train and to test on.",
    "target_rate": "The default rate of the mature cohorts is plausible.",
    "leakage": "No feature knows the outcome.",
    "missing_share": "No feature misses more values than its contract allows.",
}
_ROWS_SHOWN = 50


def gate_specs(
    asset: str, gates: Mapping[str, str], partitions: dg.PartitionsDefinition | None = None
) -> list[dg.AssetCheckSpec]:
    """One blocking check a gate. A gate that fails as a warning is shown and does not block.

    With `partitions` for assets that run one partition at a time. A step over a range of days has one result a check,
    which Dagster records for no partition and then shows every partition's check as skipped.
    """
    return [
        dg.AssetCheckSpec(name, asset=asset, description=description, blocking=True, partitions_def=partitions)
        for name, description in gates.items()
    ]


def check_results(gates_by_day: Mapping[date, Sequence[GateResult]]) -> list[dg.AssetCheckResult]:
    """One result a gate over all days of the step: value, threshold, and the columns and counts that offend."""
    by_name: dict[str, list[tuple[date, GateResult]]] = {}
    for day, gates in gates_by_day.items():
        for gate in gates:
            by_name.setdefault(gate.name, []).append((day, gate))
    return [_result(name, results) for name, results in by_name.items()]


def _result(name: str, results: list[tuple[date, GateResult]]) -> dg.AssetCheckResult:
    failed = [(day, gate) for day, gate in results if not gate.passed]
    errors = [(day, gate) for day, gate in failed if gate.severity == "error"]
    shown = (errors or failed or results)[0]
    metadata: dict[str, Any] = {
        "value": str(shown[1].value),
        "threshold": shown[1].threshold,
        "days": len(results),
        "days_failed": len(failed),
    }
    rows = [
        {"day": day.isoformat(), **{key: str(value) for key, value in detail.items()}}
        for day, gate in failed
        for detail in (gate.details or ({"value": gate.value, "threshold": gate.threshold},))
    ]
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        metadata["offending"] = table_of_text(rows[:_ROWS_SHOWN], columns)
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if errors or not failed else dg.AssetCheckSeverity.WARN,
        description=_sentence(shown, len(failed)),
        metadata=metadata,
    )


def table_of_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.TableMetadataValue:
    """A table for the UI; what a row lacks is left empty."""
    return dg.TableMetadataValue(
        records=[dg.TableRecord({column: str(row.get(column, "")) for column in columns}) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(column) for column in columns]),
    )


def _sentence(shown: tuple[date, GateResult], failed: int) -> str:
    day, gate = shown
    if gate.passed:
        return gate.description
    others = f" (and {failed - 1} more days)" if failed > 1 else ""
    return f"{day}: {gate.description}{others}"
