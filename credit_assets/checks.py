"""Gate results as Dagster asset checks.

Belongs here: specs and results only. What a gate looks at stands in `credit_assets.ml`; that a rejected partition is
refused outside its own run is the store's doing.

The checks are inline: they ride in the step of the asset they judge, so a gate costs no process or pod of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.instance.dagster_internals import PartitionCheckResult, record_check_results
from credit_assets.ml.rules.copies_gates import COPIES, CUSTOMERS
from credit_assets.ml.rules.extension_gates import own_gates
from credit_assets.ml.rules.model_rules import MODEL_RULES
from credit_assets.ml.rules.world_gates import WORLD_GATES
from credit_assets.pages import judged as judged_metadata
from credit_assets.pages import table

if TYPE_CHECKING:
    from credit_assets.ml.data.gate_results import GateResult
    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.rules.extension_gates import Judged
    from credit_assets.ml.rules.model_rules import Judged as JudgedModel
    from credit_assets.ml.rules.model_rules import ModelRule

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
OUTCOME_GATES["volume"] = "The number of outcomes is in line with the days, weeks and months before."
STATUSES = {"statuses": "Every status is in one of the lists of the portfolio."}
RECORDED = "recorded"
RECORDED_GATES = {**STATUSES, RECORDED: "Whether the statuses of the day were read once it had closed, or later."}
HISTORY_GATES = {name: APPLICATION_GATES[name] for name in ("schema", "values", "unique_ids", "partition_date")}
HISTORY_GATES |= {
    "history_rows": "As many applications have rows in each history as on the days before.",
    "history_values": "Rows of the histories have their day, and numbers where numbers are wanted.",
}
ACCOUNTED_FOR = "accounted_for"
CURRENT_DAYS = "current_days"
CHAMPION_SCORES = "champion_scores"
_ACCOUNTED = "Every row of the warehouse is ingested, quarantined, or named as outside the partitions."
TRAINING_GATES = {
    "due": "Whether a model can be made as of this day at all. Not due is a state and no failure.",
    "population": "The portfolio says who was lent to: whoever was not has no outcome and is no good.",
    "statuses": "Every status of decisions and outcomes is in one of the lists of the portfolio.",
    "matured_without_outcome": "Of loans so old that something must have become of them, few have no outcome.",
    "orphans": "Few enough outcomes have an id that was never an application.",
    ACCOUNTED_FOR: "No outcome or application that the set is made of is missing from it.",
    "enough_outcomes": "Enough mature goods and bads to train and to test on.",
    "target_rate": "The default rate of the mature cohorts is plausible.",
    "leakage": "No feature knows the outcome.",
    "missing_share": "No feature misses more values than its contract allows.",
    "usable_features": "Every feature is there and has values that differ.",
    COPIES: "Few enough rows repeat the inputs of another one under another id.",
    **WORLD_GATES,
}
OF_CUSTOMERS = {CUSTOMERS: "Few enough of the test's applications are of customers that the model was trained on."}
GATE_FAILED = "GateFailedError"
"""By the name of its class, the failure of a step that gates have stopped: a step's error is recorded as text."""
A_FAILURE, STOPS, REJECTS = "a_failure", "stops the run", "rejects the model"
"""What the failure of a rule of a model means, in the metadata of its check: who tells people reads it there."""
_ROWS_SHOWN = 50
_JUDGED: Mapping[Judged, tuple[str, Mapping[str, str]]] = {
    "applications": ("raw_loan_data", APPLICATION_GATES),
    "outcomes": ("loan_outcomes", OUTCOME_GATES),
    "training_set": ("training_set", TRAINING_GATES),
}


class GateFailedError(dg.Failure):
    """What stops a step whose gates failed: names each with what was found and what is allowed. It is not retried."""

    def __init__(self, asset: str, partition: str, failed: Sequence[dg.AssetCheckResult]) -> None:
        count = f"{len(failed)} gates" if len(failed) > 1 else "a gate"
        reasons = "; ".join(f"{one.check_name}: {one.description or 'did not pass'}" for one in failed)
        super().__init__(
            f"{asset} {partition} is stopped by {count}: {reasons}",
            metadata={str(one.check_name): measured(one.metadata) for one in failed},
            allow_retries=False,
        )


def measured(metadata: Mapping[str, dg.MetadataValue[Any]]) -> str:
    """What a check found and what it is held against, from the metadata of its result; "" where it says neither."""
    return ", ".join(f"{name} {metadata[name].value}" for name in ("value", "threshold") if name in metadata)


def stopping_results(result: dg.MaterializeResult[Any], blocking: Collection[str]) -> list[dg.AssetCheckResult]:
    """The check results of a step that stop it."""
    return [
        one
        for one in result.check_results or ()
        if one.check_name in blocking and not one.passed and one.severity is dg.AssetCheckSeverity.ERROR
    ]


def gates_of(asset: str, portfolio: Portfolio) -> dict[str, str]:
    """The gates of an asset with their descriptions: the package's own, then those of extensions that are used.

    Raises ExtensionError where one of them has the name of another.
    """
    of, packaged = next((of, gates) for of, (name, gates) in _JUDGED.items() if name == asset)
    if of == "outcomes":
        packaged = _outcome_gates(portfolio)
    if of == "training_set" and portfolio.customer_column is not None:
        packaged = {**packaged, **OF_CUSTOMERS}
    found = dict(packaged)
    for gate, _ in own_gates(portfolio, of):
        if gate.extension.name in {*packaged, ACCOUNTED_FOR}:
            raise gate.extension.error(f"{asset} has a gate of this name itself: rename yours")
        found[gate.extension.name] = f"{gate.description} ({gate.extension})"
    return found


def _outcome_gates(portfolio: Portfolio) -> dict[str, str]:
    if portfolio.outcomes.recorded:
        return RECORDED_GATES
    return OUTCOME_GATES if portfolio.outcomes.status is None else {**OUTCOME_GATES, **STATUSES}


def gate_specs(asset: str, gates: Mapping[str, str], partitions: dg.PartitionsDefinition) -> list[dg.AssetCheckSpec]:
    """One blocking check a gate and partition. A gate that fails as a warning is shown and does not block."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=description, blocking=True, partitions_def=partitions)
        for name, description in gates.items()
    ]


def account_spec(asset: str) -> dg.AssetCheckSpec:
    """The check on the whole table that an asset ingests. It blocks no day: what it finds lies on none or on others."""
    return dg.AssetCheckSpec(ACCOUNTED_FOR, asset=asset, description=_ACCOUNTED)


def rule_specs(partitions: dg.PartitionsDefinition) -> list[dg.AssetCheckSpec]:
    """One blocking check a rule on `trained_model`; one that fails as a warning blocks nothing."""
    return gate_specs("trained_model", {rule.name: rule.description for rule in MODEL_RULES}, partitions)


def rule_results(day: str, judged: Sequence[JudgedModel]) -> list[dg.AssetCheckResult]:
    """What the rules say of the model of an as-of date (ISO)."""
    results = []
    for one in judged:
        shown = [reason for reason in one.reasons if not reason.passed] or one.reasons
        measures = [{"rule": reason.rule, "value": reason.value, "threshold": reason.threshold} for reason in shown]
        results.append(_of_rule(one.rule, day, "; ".join(reason.text for reason in shown), measures, one.passed))
    return results


def rules_without_a_model(day: str, why: str) -> list[dg.AssetCheckResult]:
    """What the rules say of a day of which no model can be made: nothing stands against what is not there."""
    return [_of_rule(rule, day, f"No model: {why}", [], passed=True) for rule in MODEL_RULES]


def _of_rule(
    rule: ModelRule, day: str, text: str, measures: Sequence[Mapping[str, Any]], passed: bool
) -> dg.AssetCheckResult:
    result = PartitionCheckResult(
        check_name=rule.name,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if rule.severity == "error" else dg.AssetCheckSeverity.WARN,
        description=text,
        metadata=judged_metadata(
            # Of the first that stands against the model: what people read of a failed check elsewhere.
            measures[0]["value"] if measures else None,
            measures[0]["threshold"] if measures else None,
            measures=table(measures, ("rule", "value", "threshold")),
            **{A_FAILURE: STOPS if rule.severity == "error" else REJECTS},
        ),
    )
    result.partition = day
    return result


def current_days_spec(partitions: dg.PartitionsDefinition) -> dg.AssetCheckSpec:
    """The check that a recheck lets fail on a training set of which a day was restated since. Dagster's own mark of
    stale partitions looks at no window of 100 days or more.
    """
    return dg.AssetCheckSpec(
        CURRENT_DAYS,
        asset="training_set",
        description="No day that the set was made of has been restated since.",
        partitions_def=partitions,
    )


def current_days_result(day: date) -> dg.AssetCheckResult:
    """A set that was just made is of today's days."""
    result = PartitionCheckResult(
        check_name=CURRENT_DAYS,
        passed=True,
        severity=dg.AssetCheckSeverity.WARN,
        description="Made of the days as they are.",
        metadata=judged_metadata(0, 0),
    )
    result.partition = day.isoformat()
    return result


def restated_since(training_set: dg.AssetKey, day: str) -> dg.AssetCheckEvaluation:
    """What is told of the training set of an as-of date (ISO) that was made of days as they were."""
    return dg.AssetCheckEvaluation(
        asset_key=training_set,
        check_name=CURRENT_DAYS,
        passed=False,
        metadata=judged_metadata(1, 0),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{day}: days that the set was made of have been restated since; materialize it again to see what "
        "the change does. `credit-assets status` counts them, `credit-assets models` names versions that saw them.",
        partition=day,
    )


def scored_spec(partitions: dg.PartitionsDefinition) -> dg.AssetCheckSpec:
    """The check that the champion could score the day. It blocks nothing: reports and the training that brings another
    champion do not wait for it, and people are told as of every failed check.
    """
    return dg.AssetCheckSpec(
        CHAMPION_SCORES,
        asset="loan_scores",
        description="The champion in force has every column that it reads: those that left the portfolio are taken "
        "from raw_loan_data, and where they are nowhere, the day's applications stay unscored.",
        partitions_def=partitions,
    )


def scored_result(
    context: dg.AssetExecutionContext, days: Sequence[date], unable: Mapping[date, str]
) -> dg.AssetCheckResult:
    """The result of a step to return, for the first day that could not be scored (and why), else for the last; those of
    its other days are recorded.
    """
    shown = min(unable, default=days[-1])

    def result(day: date) -> PartitionCheckResult:
        made = PartitionCheckResult(
            check_name=CHAMPION_SCORES,
            passed=day not in unable,
            severity=dg.AssetCheckSeverity.ERROR,
            description=unable.get(day, "The champion in force, if any, has every column that it reads."),
            metadata=judged_metadata(int(day in unable), 0),
        )
        made.partition = day.isoformat()
        return made

    others = [result(day) for day in days if day != shown]
    record_check_results(
        context,
        [
            dg.AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name=CHAMPION_SCORES,
                passed=one.passed,
                metadata=one.metadata,
                severity=one.severity,
                description=one.description,
                partition=one.partition,
            )
            for one in others
        ],
    )
    return result(shown)


def account_result(gate: GateResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=gate.name,
        passed=gate.passed,
        severity=_severity(gate),
        description=gate.message(),
        metadata=_metadata(gate),
    )


def check_results(
    context: dg.AssetExecutionContext, gates_by_day: Mapping[date, Sequence[GateResult]]
) -> list[dg.AssetCheckResult]:
    """One result a gate for the step to return, after those of a step's other days have been recorded.

    A step may return one result a check, while each of its partitions has one: all others go to the event log at once,
    in batches. A result that blocks, if returned, would fail the step and with it every day; so a day that blocks is
    returned only where all of them are rejected, else the first of the others that failed, else the last of them.
    """
    nothing_left = all(any(gate.blocks for gate in gates) for gates in gates_by_day.values())
    by_name: dict[str, list[tuple[date, GateResult]]] = {}
    for day, gates in gates_by_day.items():
        for gate in gates:
            by_name.setdefault(gate.name, []).append((day, gate))
    returned: list[dg.AssetCheckResult] = []
    recorded: list[tuple[date, GateResult]] = []
    for of_gate in by_name.values():
        candidates = of_gate if nothing_left else [item for item in of_gate if not item[1].blocks]
        shown = min(candidates, key=lambda item: (not item[1].blocks, item[1].passed))
        if shown[1].passed:
            shown = candidates[-1]
        returned.append(_result(*shown, one_of_many=len(gates_by_day) > 1))
        recorded += [item for item in of_gate if item is not shown]
    record_check_results(context, [_evaluation(context.asset_key, *item) for item in recorded])
    return returned


def _evaluation(asset_key: dg.AssetKey, day: date, gate: GateResult) -> dg.AssetCheckEvaluation:
    result = _result(day, gate, one_of_many=True)
    return dg.AssetCheckEvaluation(
        asset_key=asset_key,
        check_name=gate.name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=True,
        partition=result.partition,
    )


def _result(day: date, gate: GateResult, *, one_of_many: bool) -> PartitionCheckResult:
    result = PartitionCheckResult(
        check_name=gate.name,
        passed=gate.passed,
        severity=_severity(gate),
        description=gate.message() if gate.passed or not one_of_many else f"{day}: {gate.message()}",
        metadata=_metadata(gate),
    )
    result.partition = day.isoformat()
    return result


def _severity(gate: GateResult) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.WARN if gate.verdict == "warn" else dg.AssetCheckSeverity.ERROR


def _metadata(gate: GateResult) -> dict[str, Any]:
    offending = {}
    if gate.details:
        rows = gate.details[:_ROWS_SHOWN]
        offending["offending"] = table(rows, list(rows[0]))
    return judged_metadata(gate.value, gate.threshold, **offending)
