"""Decisions: whether a model is registered, and whether it takes over, with every reason.

Belongs here: pure rules on recorded evidence. Does not belong here: measuring (`evaluation`), the checks on data
(`gates` and where they are made), and doing what was decided. No clock, no file, no registry: the same record decides
the same way for ever, so that a validator can judge a decision again from its evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, get_args

from credit_assets.ml.rules.calibration_limit import ece_limit

if TYPE_CHECKING:
    from credit_assets.ml.data.gate_results import GateResult

Promotion = Literal["immediate", "shadow", "manual"]
# A difference that was computed as 0.005 and stored as 0.0049999999999999 has met a threshold of 0.005.
_ROUNDING = 1e-12
_NO_SKILL = 0.5
# Standard errors from a value to either end of its 95% interval.
_Z = 1.96


@dataclass(frozen=True)
class Reason:
    """One rule and what it found. `passed` means that this rule does not stand against the decision's subject."""

    rule: str
    passed: bool
    value: float | int | str | None
    threshold: float | int | str | None
    text: str

    def to_record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Reason:
        """Restore what `to_record` gave. Raises ValueError for other keys."""
        if set(record) != set(cls.__dataclass_fields__):
            raise ValueError(f"not the record of a reason: {sorted(record)}")
        return cls(**record)


@dataclass(frozen=True)
class Decision:
    """Accepted when every reason passed."""

    accepted: bool
    reasons: tuple[Reason, ...]

    @classmethod
    def of(cls, reasons: Sequence[Reason]) -> Decision:
        return cls(all(reason.passed for reason in reasons), tuple(reasons))

    def summary(self) -> str:
        """One line: the reasons that stand against it, or all of them where none does."""
        against = [reason.text for reason in self.reasons if not reason.passed]
        return "; ".join(against or [reason.text for reason in self.reasons])


def summary_of(reasons: Iterable[Mapping[str, Any]]) -> str:
    """The summary of a decision, from the records of its reasons."""
    return Decision.of([Reason.from_record(reason) for reason in reasons]).summary()


@dataclass(frozen=True)
class RegistrationPolicy:
    """Thresholds on the out-of-time test. All are AUC points or shares of 1.

    `min_improvement`: by how much the candidate's AUC must exceed the champion's on the same rows. Gradient boosting
    libraries differ by 0.0006 to 0.006 on public credit data, so 0.005 asks for about as much as a change of learner
    gives. `require_significance` asks in addition that the 95% interval of the difference lies above zero; on a small
    book hardly any improvement would pass that, so it is off by default, and the interval is recorded either way.
    `min_auc`: floor, somewhat above chance. `max_auc`: above it a feature knows the outcome more likely than not.
    `max_ece`: how far PDs may truly be off on average; what a test of its size shows by chance is added (`ece_limit`).
    `non_inferiority_margin`: set for a refresh by the calendar, which need not be better: in place of the improvement
    the lower end of the 95% interval of the difference must lie above minus the margin. A small test has a wide
    interval and so cannot show it, which is what separates this from "not shown to be worse".
    """

    min_improvement: float
    min_auc: float
    max_auc: float
    max_ece: float
    require_significance: bool
    non_inferiority_margin: float | None

    def __post_init__(self) -> None:
        if not 0 <= self.min_improvement < 1:
            raise ValueError(f"min_improvement must be at least 0 and below 1; got {self.min_improvement}")
        if not 0 <= self.min_auc < self.max_auc <= 1:
            raise ValueError(f"min_auc must lie below max_auc, both in 0 .. 1; got {self.min_auc} and {self.max_auc}")
        if not 0 < self.max_ece <= 1:
            raise ValueError(f"max_ece must be above 0 and at most 1; got {self.max_ece}")
        if self.non_inferiority_margin is not None and not 0 < self.non_inferiority_margin < 1:
            raise ValueError(f"non_inferiority_margin must lie between 0 and 1; got {self.non_inferiority_margin}")


def decide_registration(
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    gates: Sequence[GateResult],
    policy: RegistrationPolicy,
) -> Decision:
    """Whether a candidate is registered.

    The first model passes on gates and absolute floors; a later one needs the improvement as well. A candidate that
    cannot be compared with the champion is refused: nothing says that it is better.

    Parameters
    ----------
    candidate
        The record of its `Evaluation` on the out-of-time test.
    champion
        None while no champion is in force, else the comparison on rows that neither model has seen: `version`,
        `comparable`, and either `why` it is not, or `difference` (record of an `AucDifference`), with `evaluation` and
        `candidate_evaluation` on those rows where known.
    gates
        The recorded results on the training set: none at all is no evidence and refuses.
    policy
        The thresholds.

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
    >>> policy = RegistrationPolicy(0.005, 0.55, 0.95, 0.05, require_significance=False, non_inferiority_margin=None)
    >>> gates = [GateResult("leakage", True, "error", 0.6, "at most 0.9", "no feature knows the outcome")]
    >>> decide_registration({"auc": 0.66, "ece": 0.01}, None, gates, policy).accepted
    True
    >>> decide_registration({"auc": 0.50, "ece": 0.01}, None, gates, policy).summary()
    'out-of-time AUC 0.5000 is below the floor 0.55 (CREDIT_MIN_AUC)'
    """
    reasons = [*_gates(gates), *_floors(candidate, policy)]
    if champion is None:
        reasons.append(
            Reason("champion", True, None, None, "no champion is in force: gates and absolute floors decide")
        )
    elif not champion.get("comparable", True):
        why = champion.get("why", "no reason is recorded")
        reasons.append(
            Reason(
                "improvement",
                False,
                None,
                policy.min_improvement,
                f"cannot be compared with champion version {champion.get('version', '?')}: {why}",
            )
        )
    else:
        reasons += _improvement(champion, policy)
    return Decision.of(reasons)


@dataclass(frozen=True)
class Standing:
    """As-of dates of the champions: of the newest that there has been, and of the one in force; None while there was
    none. The second is the older one while a rollback is in force.
    """

    newest: date | None = None
    in_force: date | None = None


def decide_promotion(
    policy: Promotion, *, as_of: date, standing: Standing, accepted: bool, first_days: Sequence[Reason] = ()
) -> Decision:
    """Whether the version of `as_of` becomes champion at once.

    A version with an older as-of date than a champion that there has been never takes over, whatever the policy: a
    backfill of last year must not decide about today's applicants. The same as-of date may, so that a day can be run
    again, but not while a rollback is in force: only a newer model ends that. "shadow" promotes the first model, which
    has nothing to run beside, and gives any other a trial; "manual" promotes nothing here. Whatever the policy, the
    newest days must look to the model like those that it was tested on (`first_days`).

    Parameters
    ----------
    policy
        How a registered model becomes champion.
    as_of, accepted
        The version's as-of date, and whether it was registered.
    standing
        The champions that there have been.
    first_days
        What `first_days.decide_first_days` says of the version.

    Returns
    -------
    Decision
        With every reason.

    Raises
    ------
    ValueError
        For an unknown policy.

    Examples
    --------
    >>> first = decide_promotion("shadow", as_of=date(2024, 3, 31), standing=Standing(), accepted=True)
    >>> champion = Standing(newest=date(2024, 6, 30), in_force=date(2024, 6, 30))
    >>> older = decide_promotion("immediate", as_of=date(2024, 3, 31), standing=champion, accepted=True)
    >>> first.accepted, older.summary()
    (True, "as-of date 2024-03-31 is older than the champion's, 2024-06-30: time never runs back")
    """
    if policy not in get_args(Promotion):
        raise ValueError(f"unknown promotion policy {policy!r}; known: {', '.join(get_args(Promotion))}")
    first = standing.newest is None
    texts = {
        "immediate": "promotion is immediate",
        "shadow": "promotion is by shadow, and there is no champion yet to run beside"
        if first
        else "promotion is by shadow: the version scores beside the champion first and decides nothing",
        "manual": "promotion is manual: a person approves the version, with a reason",
    }
    return Decision.of(
        [
            Reason(
                "registered",
                accepted,
                "registered" if accepted else "rejected",
                "registered",
                "the model was registered"
                if accepted
                else "the model was not registered, so there is nothing to promote",
            ),
            newer(as_of, standing),
            *first_days,
            Reason(
                "policy", policy == "immediate" or (policy == "shadow" and first), policy, "immediate", texts[policy]
            ),
        ]
    )


def _gates(gates: Sequence[GateResult]) -> list[Reason]:
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


def _floors(candidate: Mapping[str, Any], policy: RegistrationPolicy) -> list[Reason]:
    auc, ece = _measure(candidate, "auc", "candidate"), _measure(candidate, "ece", "candidate")
    enough, plausible = auc >= policy.min_auc, auc <= policy.max_auc
    test = _test_size(candidate)
    found = f"out-of-time AUC {auc:.4f}{_interval(candidate)}{test}"
    most = ece_limit(candidate["lift"], policy.max_ece) if candidate.get("lift") else policy.max_ece
    calibrated = ece <= most
    allowed = f"{policy.max_ece:g} (CREDIT_MAX_ECE)"
    if most > policy.max_ece:
        allowed += f", which a test of this size may show as up to {most:.4f}"
    return [
        Reason(
            "min_auc",
            enough,
            auc,
            policy.min_auc,
            f"{found} {'reaches' if enough else 'is below'} the floor {policy.min_auc:g} (CREDIT_MIN_AUC)",
        ),
        Reason(
            "max_auc",
            plausible,
            auc,
            policy.max_auc,
            f"{found} is plausible (at most {policy.max_auc:g}, CREDIT_MAX_AUC)"
            if plausible
            else f"{found} is above {policy.max_auc:g} (CREDIT_MAX_AUC): suspect a feature that knows the outcome",
        ),
        Reason(
            "max_ece",
            calibrated,
            ece,
            most,
            f"calibration error (ECE) {ece:.4f}{test} is {'within' if calibrated else 'above'} {allowed}",
        ),
        *_level(candidate),
    ]


def _test_size(candidate: Mapping[str, Any]) -> str:
    if {"rows", "bads"} <= set(candidate):
        return f" on {candidate['rows']:,} rows ({candidate['bads']:,} bads)"
    return ""


def _interval(candidate: Mapping[str, Any]) -> str:
    """The interval of the AUC, where its evidence has one, and what it means where chance lies in it."""
    if candidate.get("auc_ci_low") is None:
        return ""
    low, high = candidate["auc_ci_low"], candidate["auc_ci_high"]
    chance = ", so that it may be chance" if low <= _NO_SKILL else ""
    return f" (95% interval {low:.4f} .. {high:.4f}{chance})"


def _level(candidate: Mapping[str, Any]) -> list[Reason]:
    """Said, and no rule: PDs whose sum is clearly not the number of bads.

    At a low rate of default PDs that are half too high err by little in points, which is what the ECE limits. The
    interval is that of a Poisson count on the log scale, O / E exp(+-1.96 / sqrt(O)).
    """
    if not {"rows", "bads", "expected_rate"} <= set(candidate) or not candidate["bads"]:
        return []
    bads, expected = candidate["bads"], candidate["rows"] * candidate["expected_rate"]
    spread = math.exp(_Z / math.sqrt(bads))
    if expected <= 0 or 1 / spread <= bads / expected <= spread:
        return []
    ratio = bads / expected
    text = (
        f"observed over expected defaults is {ratio:.2f} (95% interval {ratio / spread:.2f} .. {ratio * spread:.2f}): "
        f"PDs {'understate' if ratio > 1 else 'overstate'} the risk of the test's rows; a warning, which stops nothing"
    )
    return [Reason("pd_level", True, ratio, 1, text)]


def _improvement(champion: Mapping[str, Any], policy: RegistrationPolicy) -> list[Reason]:
    compared = champion.get("difference")
    if compared is None:
        raise ValueError("the evidence has a champion but no `difference` from it")
    values = {name: _measure(compared, name, "difference") for name in ("difference", "ci_low", "ci_high")}
    difference, low, high = values["difference"], values["ci_low"], values["ci_high"]
    margin = policy.non_inferiority_margin
    enough = difference >= policy.min_improvement - _ROUNDING
    counts = (
        f" on the same {compared['rows']:,} rows ({compared['bads']:,} bads)"
        if {"rows", "bads"} <= set(compared)
        else ""
    )
    both = ""
    if champion.get("evaluation") and champion.get("candidate_evaluation"):
        both = f", {champion['candidate_evaluation']['auc']:.4f} against {champion['evaluation']['auc']:.4f}"
    if margin is not None:
        sound = low > -margin
        return [
            Reason(
                "non_inferiority",
                sound,
                low,
                -margin,
                f"AUC {difference:+.4f} over champion version {champion.get('version', '?')}{both}{counts}, 95% "
                f"interval {low:+.4f} .. {high:+.4f}: a refresh must be shown not to be worse by {margin:g} "
                f"(CREDIT_REFRESH_MARGIN), and {'is' if sound else 'is not'}",
            )
        ]
    verdict = "meets" if enough else "falls short of"
    reasons = [
        Reason(
            "improvement",
            enough,
            difference,
            policy.min_improvement,
            f"AUC {difference:+.4f} over champion version {champion.get('version', '?')}{both}{counts} {verdict} the "
            f"required {policy.min_improvement:g} (CREDIT_MIN_IMPROVEMENT)",
        )
    ]
    clear = low > 0
    interval = f"95% interval {low:+.4f} .. {high:+.4f}"
    smallest = compared.get("smallest_detectable_difference")
    shown = f"; these rows could show a difference of {smallest:.4f}" if smallest is not None else ""
    if clear:
        text = f"{interval} lies above zero"
    else:
        text = f"{interval} includes zero or lies below it, so the difference may be chance{shown}"
        asked = "asks" if policy.require_significance else "does not ask"
        text += f"; the policy {asked} for more (CREDIT_REQUIRE_SIGNIFICANCE)"
    reasons.append(
        Reason("significance", clear or not policy.require_significance, f"{low:+.4f} .. {high:+.4f}", "above 0", text)
    )
    return reasons


def newer(as_of: date, standing: Standing) -> Reason:
    """Whether a version of `as_of` may take over from the champions that there have been."""
    rule, value = "as_of", as_of.isoformat()
    if standing.newest is None:
        return Reason(rule, True, value, None, "there has been no champion yet")
    newest = standing.newest.isoformat()
    if as_of < standing.newest:
        return Reason(
            rule,
            False,
            value,
            newest,
            f"as-of date {value} is older than the champion's, {newest}: time never runs back",
        )
    if as_of == standing.newest and standing.in_force is not None and standing.in_force < as_of:
        return Reason(
            rule,
            False,
            value,
            newest,
            f"the champion of as-of date {newest} was rolled back: only a newer model takes over",
        )
    return Reason(rule, True, value, newest, f"as-of date {value} is not older than the champion's, {newest}")


def _measure(record: Mapping[str, Any], name: str, what: str) -> float:
    value = record.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"the evidence of the {what} has no usable {name!r}: {value!r}")
    return float(value)
