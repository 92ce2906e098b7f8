"""The table of rules that a trained model is judged by, and the decision on its registration.

Belongs here: which rules there are, what a failure of each means, and the decision from all of them. Does not belong
here: a rule (`*_rules`), its limits (`credit_assets.ml.data.policies`), its evidence (`credit_assets.ml.evidence`).

From this table come the checks on `trained_model`, one a rule, and the decision of `registered_model`, which judges
again from the record, whoever started its run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from credit_assets.ml.data.policies import Policy
from credit_assets.ml.rules.calibration_rules import judge_calibration
from credit_assets.ml.rules.comparison_rules import judge_first_champion, judge_plausible, judge_skill
from credit_assets.ml.rules.decisions import Decision, Reason
from credit_assets.ml.rules.directions_rules import judge_directions
from credit_assets.ml.rules.fairness_rules import judge_fairness
from credit_assets.ml.rules.replacement_rules import judge_standing

if TYPE_CHECKING:
    from credit_assets.ml.data.gate_results import GateResult

Mode = Literal["improvement", "non_inferiority", "recalibration", "replacement"]
"""What a training is for: a model that is better, a refresh that is not worse, the same model with other PDs, or one in
place of a champion that reads columns which have left the portfolio."""
Severity = Literal["error", "warn"]


@dataclass(frozen=True)
class ModelRule:
    """A rule, which is a check on `trained_model`.

    `severity` is what a failure means: "error" that something is wrong with the data or the model, so that the run
    stops as it does for a gate; "warn" that the model is merely not better, so that its day ends as an ordinary
    rejection. Either way the model is not registered. `evidence` names the keys of the record that `judge` reads:
    where one is missing, the rule refuses. `judge` takes the record and the whole policy.
    """

    name: str
    severity: Severity
    description: str
    evidence: tuple[str, ...]
    judge: Callable[[Mapping[str, Any], Policy], Sequence[Reason]]


MODEL_RULES: tuple[ModelRule, ...] = (
    ModelRule(
        "skill",
        "warn",
        "The model orders the applicants of the out-of-time test well enough.",
        ("evaluation",),
        lambda evidence, policy: judge_skill(evidence, policy.comparison),
    ),
    ModelRule(
        "plausible_skill",
        "error",
        "The model orders the applicants of the out-of-time test no better than can be without knowing the outcome.",
        ("evaluation",),
        lambda evidence, policy: judge_plausible(evidence, policy.comparison),
    ),
    ModelRule(
        "calibration",
        "warn",
        "The PDs are as large as the share of defaults among the applicants of the out-of-time test, lie as far apart, "
        "and are not shown to be worse calibrated than the champion's.",
        ("evaluation", "calibration", "champion"),
        lambda evidence, policy: judge_calibration(evidence, policy.calibration),
    ),
    ModelRule(
        "directions",
        "error",
        "Moving a column with a direction moves the PD of whole applicants that way, and outcomes do not deny it.",
        ("directions",),
        lambda evidence, policy: judge_directions(evidence["directions"], policy.directions),
    ),
    ModelRule(
        "fairness",
        "error",
        "No feature stands in for a protected column, and no group is treated worse than the portfolio allows.",
        ("fairness",),
        lambda evidence, _: judge_fairness(evidence["fairness"]),
    ),
    ModelRule(
        "comparison",
        "warn",
        "The model is better than the champion on the same rows, beyond chance; of a refresh: is not worse.",
        ("champion", "comparison"),
        lambda evidence, policy: judge_standing(evidence, policy.comparison),
    ),
    ModelRule(
        "first_champion",
        "warn",
        "A model that would be the first champion knows more than chance, and no less than a plain scorecard.",
        ("evaluation", "champion", "comparison"),
        lambda evidence, policy: judge_first_champion(evidence, policy.comparison),
    ),
)
"""In the order in which decisions have them. Names are those of checks, and stay."""


@dataclass(frozen=True)
class Judged:
    """What a rule says of a model. `recorded` is False where the evidence lacks what the rule reads."""

    rule: ModelRule
    reasons: tuple[Reason, ...]
    recorded: bool = True

    @property
    def passed(self) -> bool:
        return all(reason.passed for reason in self.reasons)

    def to_record(self) -> dict[str, Any]:
        return {
            "rule": self.rule.name,
            "severity": self.rule.severity,
            "passed": self.passed,
            "reasons": [reason.to_record() for reason in self.reasons],
        }


def judge_model(
    evidence: Mapping[str, Any], policy: Policy, rules: Sequence[ModelRule] = MODEL_RULES
) -> tuple[Judged, ...]:
    """Every rule and what it says of a model. A rule whose evidence is not recorded stands against it.

    Parameters
    ----------
    evidence
        The record of `trained_model`, with its `mode` where that is not improvement.
    policy
        The limits.
    rules
        All of the table, unless fewer are asked.

    Raises
    ------
    ValueError
        Naming a measure that the evidence lacks.
    """
    return tuple(_judged(rule, evidence, policy) for rule in rules)


def _judged(rule: ModelRule, evidence: Mapping[str, Any], policy: Policy) -> Judged:
    missing = [name for name in rule.evidence if name not in evidence]
    if not missing:
        try:
            return Judged(rule, tuple(rule.judge(evidence, policy)))
        except KeyError as error:
            # A measure that a former release did not make.
            missing = [str(error.args[0])]
    text = f"rule {rule.name}: nothing is recorded of {', '.join(missing)}: train as of this date again"
    return Judged(rule, (Reason(rule.name, False, "none", "recorded", text),), recorded=False)


def decide_registration(
    evidence: Mapping[str, Any],
    gates: Sequence[GateResult],
    policy: Policy,
    rules: Sequence[ModelRule] = MODEL_RULES,
) -> Decision:
    """Whether a model is registered.

    The first model passes on gates and absolute floors; a later one has to stand against the champion as well.

    Parameters
    ----------
    evidence
        The record of `trained_model`; `mode` says what it was trained for.
    gates
        The recorded results on the training set: none at all is no evidence and refuses.
    policy
        The limits.
    rules
        All of the table, unless fewer are asked.

    Returns
    -------
    Decision
        With every reason.

    Raises
    ------
    ValueError
        Naming a measure that the evidence lacks.

    Examples
    --------
    >>> from credit_assets.ml.data.gate_results import GateResult
    >>> gates = [GateResult("leakage", True, "error", 0.6, "at most 0.9", "no feature knows the outcome")]
    >>> asked = [rule for rule in MODEL_RULES if rule.name == "skill"]
    >>> decide_registration({"evaluation": {"auc": 0.66}, "champion": None}, gates, Policy(), asked).accepted
    True
    >>> decide_registration({"evaluation": {"auc": 0.50}, "champion": None}, gates, Policy(), asked).summary()
    'out-of-time AUC 0.5000 is below the floor 0.55 (CREDIT_MIN_AUC)'
    """
    judged = judge_model(evidence, policy, rules)
    return Decision.of([*gate_reasons(gates), *(reason for one in judged for reason in one.reasons)])


def gate_reasons(gates: Sequence[GateResult]) -> list[Reason]:
    """What the gates of the training set say, as reasons. None at all stand against the model."""
    if not gates:
        return [Reason("gates", False, "none", "recorded", "no gate results are recorded for the training set")]
    reasons = []
    for gate in gates:
        if gate.passed:
            text = f"gate {gate.name} passed"
        elif gate.blocks:
            text = f"gate {gate.line()}"
        else:
            text = f"gate {gate.line()}; a warning, which stops nothing"
        reasons.append(Reason(f"gate {gate.name}", not gate.blocks, gate.value, gate.threshold, text))
    return reasons
