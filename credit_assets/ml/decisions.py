"""Whether a model is registered and whether it becomes champion: rules on recorded evidence, and nothing else.

Belongs here: pure functions. They read records that others made and touch no registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

from credit_assets.ml.gates import GateResult

Promotion = Literal["immediate", "shadow", "manual"]


@dataclass(frozen=True)
class Reason:
    """One rule: what it looked at, what it holds it against, and whether it was kept."""

    rule: str
    passed: bool
    value: float | str | None
    threshold: float | str | None
    text: str

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    accepted: bool
    reasons: tuple[Reason, ...]

    def summary(self) -> str:
        """The reasons that decided: those that failed, else all."""
        deciding = [r.text for r in self.reasons if not r.passed] or [r.text for r in self.reasons]
        return "; ".join(deciding)


@dataclass(frozen=True)
class RegistrationPolicy:
    """Thresholds; areas and errors on their own scales of 0 to 1.

    min_improvement: AUC by which a candidate must beat the champion on the same rows.
    min_auc, max_ece: floors that every model must keep. max_auc: above it, leakage is more likely than skill.
    """

    min_improvement: float = 0.005
    min_auc: float = 0.55
    max_auc: float = 0.95
    max_ece: float = 0.05


def decide_registration(
    evaluation: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    gates: Sequence[GateResult],
    policy: RegistrationPolicy,
) -> Decision:
    """Register when every rule is kept: gates, absolute floors and, with a champion in force, the improvement.

    `evaluation` is an `Evaluation` record of the out-of-time test. `champion` is None while none is in force, else the
    comparison: `version`, `comparable`, and the `difference` record or `why` there is none. A champion that cannot be
    compared with stays: nothing shows that the candidate is better.
    """
    failed = [gate for gate in gates if gate.blocks]
    reasons = [
        Reason(
            "gates",
            bool(gates) and not failed,
            ", ".join(gate.name for gate in failed) or len(gates),
            "no failed gate",
            f"gates failed on the training set: {', '.join(g.name for g in failed)}"
            if failed
            else f"all {len(gates)} gates of the training set passed"
            if gates
            else "no gate results are recorded for the training set",
        ),
        _floor("min_auc", evaluation["auc"] >= policy.min_auc, evaluation["auc"], policy.min_auc, "AUC", "at least"),
        _floor("max_auc", evaluation["auc"] <= policy.max_auc, evaluation["auc"], policy.max_auc, "AUC", "at most"),
        _floor(
            "max_ece", evaluation["ece"] <= policy.max_ece, evaluation["ece"], policy.max_ece,
            "calibration error (ECE)", "at most",
        ),
        _improvement(champion, policy),
    ]  # fmt: skip
    return Decision(all(reason.passed for reason in reasons), tuple(reasons))


def _floor(rule: str, passed: bool, value: float, threshold: float, name: str, word: str) -> Reason:
    return Reason(rule, passed, value, threshold, f"out-of-time {name} {value:.4f}, {word} {threshold:g} wanted")


def _improvement(champion: Mapping[str, Any] | None, policy: RegistrationPolicy) -> Reason:
    threshold = policy.min_improvement
    if champion is None:
        return Reason(
            "improvement", True, None, threshold, "no champion in force: the first model needs its floors only"
        )
    if not champion["comparable"]:
        text = f"cannot be compared with champion version {champion['version']}: {champion['why']}"
        return Reason("improvement", False, None, threshold, text)
    d = champion["difference"]
    passed = d["difference"] >= threshold
    interval = f"95% interval {d['ci_low']:+.4f} .. {d['ci_high']:+.4f}"
    doubt = "" if d["ci_low"] > 0 or not passed else ", which includes zero: the gain may be chance"
    return Reason(
        "improvement",
        passed,
        d["difference"],
        threshold,
        f"AUC {d['difference']:+.4f} against champion version {champion['version']} on the same {d['rows']} rows, "
        f"at least {threshold:+g} wanted ({interval}{doubt})",
    )


def decide_promotion(policy: Promotion, *, accepted: bool, as_of: date, champion_as_of: date | None) -> Decision:
    """Whether the model of `as_of` takes the alias `champion` now. It never goes back in as-of time."""
    newer = champion_as_of is None or as_of > champion_as_of
    reasons = (
        Reason(
            "registered", accepted, str(accepted).lower(), "true",
            "the model passed its gates and is registered" if accepted else "the model was rejected",
        ),
        Reason(
            "policy", policy == "immediate", policy, "immediate",
            "CREDIT_PROMOTION=immediate promotes what passes" if policy == "immediate"
            else f"CREDIT_PROMOTION={policy} does not promote at once",
        ),
        Reason(
            "as_of", newer, as_of.isoformat(), champion_as_of.isoformat() if champion_as_of else None,
            f"as of {as_of}, newer than the champion's {champion_as_of}" if champion_as_of and newer
            else "no champion before" if champion_as_of is None
            else f"as of {as_of} is not newer than the champion's {champion_as_of}",
        ),
    )  # fmt: skip
    return Decision(all(reason.passed for reason in reasons), reasons)
