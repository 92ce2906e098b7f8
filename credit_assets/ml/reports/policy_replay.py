"""Past decisions under another policy: what was decided then, what would be now, and by which rule.

Belongs here: judging recorded evidence again, and comparing the two. Does not belong here: finding the records, and any
rule (`credit_assets.ml.rules`).

Each decision is judged from its own evidence, which has the champion of then: what would have followed, had another
model been in force since, was not measured and is not said. Evidence that was not recorded is named, and stands neither
for nor against a model. Gates of a training set are as they were: their verdicts are recorded, and not what they looked
at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.rules.decisions import Decision, Promotion, Reason
from credit_assets.ml.rules.due import NOT_DUE
from credit_assets.ml.rules.fairness_rules import FAIRNESS, judge_takeover
from credit_assets.ml.rules.first_days import FIRST_DAYS, decide_first_days
from credit_assets.ml.rules.leak_rules import LEAKS, judge_leaks
from credit_assets.ml.rules.model_rules import MODEL_RULES, ModelRule, gate_reasons, judge_model
from credit_assets.ml.rules.trials import TrialPolicy, decide_trial

REGISTERED, REJECTED, BLOCKED = "registered", "rejected", "blocked"
PROMOTED, UNCHANGED = "promoted", "unchanged"
UNDECIDED = "not decided"
_CONTINUE = "continue"


@dataclass(frozen=True)
class RecordedDay:
    """What the store has of an as-of date: gates of its training set, and the records of `trained_model`,
    `registered_model` and `deployed_model`; None for what is not there.
    """

    as_of: str
    gates: Sequence[GateResult] | None
    trained: Mapping[str, Any] | None
    registered: Mapping[str, Any] | None
    deployed: Mapping[str, Any] | None


def replay_day(day: RecordedDay, policy: Policy, rules: Sequence[ModelRule] = MODEL_RULES) -> list[dict[str, Any]]:
    """The decisions of an as-of date: on registration, and on the takeover where something was decided about it.

    Parameters
    ----------
    day
        What is recorded.
    policy
        The other policy.
    rules
        All of the table, unless fewer are asked.

    Returns
    -------
    list of dict
        One a decision, of JSON types: `as_of`, `what`, `then` and `now` (each a `decision`, and `by`: the rules that
        stood against it, with their reasons), `policy_then` (version, where it was recorded), `not_recorded` (what
        could not be judged now, and why) and `changed`. None for a day of which no model could be made.
    """
    registered, trained = day.registered or {}, day.trained or {}
    if NOT_DUE in (registered.get("decision"), trained.get("status")):
        return []
    registration = _registration(day, policy, rules)
    deployed = day.deployed
    if deployed is None or deployed.get("decision") not in (PROMOTED, UNCHANGED):
        return [registration]
    return [registration, _takeover(day, deployed, registration, policy)]


def replay_trial(record: Mapping[str, Any], policy: Policy, promotion: Promotion) -> dict[str, Any] | None:
    """The decision of one `shadow_report`; None where nothing was to be decided, then or now."""
    if record.get("shadow") is None:
        return None
    then = [Reason.from_record(one) for one in record["reasons"]]
    found = TrialPolicy(record.get("promotion", promotion), policy.trials, policy.performance.min_bads)
    missing: dict[str, str] = {}
    try:
        decision, reasons = decide_trial(found, record)
    except (KeyError, TypeError, ValueError) as error:
        decision, reasons = record["decision"], ()
        missing["trial"] = _why(error)
    if {decision, record["decision"]} == {_CONTINUE}:
        return None
    before = {"decision": record["decision"], "by": _against(then)}
    return _compared(record["day"], "trial", before, {"decision": decision, "by": _against(reasons)}, record, missing)


def _registration(day: RecordedDay, policy: Policy, rules: Sequence[ModelRule]) -> dict[str, Any]:
    trained, registered = day.trained, day.registered
    missing: dict[str, str] = {}
    now: dict[str, Any] = {"decision": UNDECIDED, "by": []}
    if trained is None:
        missing["trained_model"] = "its record is not there"
    elif registered and registered["fingerprint"] != trained["fingerprint"]:
        missing["trained_model"] = "its record is of another model by now: the day was trained again"
    else:
        reasons, missing = _judged(day, trained, policy, rules)
        now = {"decision": REGISTERED if all(one.passed for _, one in reasons) else REJECTED, "by": _by_rule(reasons)}
    return _compared(day.as_of, "registration", _then(day), now, registered or trained or {}, missing)


def _judged(
    day: RecordedDay, trained: Mapping[str, Any], policy: Policy, rules: Sequence[ModelRule]
) -> tuple[list[tuple[str, Reason]], dict[str, str]]:
    """The reasons by rule, and what was not recorded."""
    missing: dict[str, str] = {}
    reasons: list[tuple[str, Reason]] = []
    if day.gates is None:
        missing["gates"] = "the training set is not there, nor what its gates said"
    else:
        reasons += [(one.rule, one) for one in gate_reasons(day.gates)]
    evidence = {**trained, "mode": mode_of(day.registered or trained)}
    for rule in rules:
        try:
            (judged,) = judge_model(evidence, policy, [rule])
        except (TypeError, ValueError, AttributeError) as error:
            missing[rule.name] = _why(error)
            continue
        if judged.recorded:
            reasons += [(rule.name, reason) for reason in judged.reasons]
        else:
            missing[rule.name] = judged.reasons[0].text.partition(": ")[2].partition(":")[0]
    return reasons, missing


def mode_of(record: Mapping[str, Any]) -> str:
    """What a training was for; of a record of before, by who asked for it."""
    return str(record.get("mode") or ("non_inferiority" if "refresh" in record.get("triggers", ()) else "improvement"))


def _then(day: RecordedDay) -> dict[str, Any]:
    if day.registered is not None:
        reasons = [Reason.from_record(one) for one in day.registered["reasons"]]
        return {"decision": day.registered["decision"], "by": _against(reasons)}
    stopped = [one for one in (day.trained or {}).get("judged", ()) if one["severity"] == "error" and not one["passed"]]
    by = [
        {"rule": one["rule"], "why": [reason["text"] for reason in one["reasons"] if not reason["passed"]]}
        for one in stopped
    ]
    return {"decision": BLOCKED if stopped else UNDECIDED, "by": by}


def _takeover(
    day: RecordedDay, deployed: Mapping[str, Any], registration: Mapping[str, Any], policy: Policy
) -> dict[str, Any]:
    then = [Reason.from_record(one) for one in deployed["reasons"]]
    missing = dict(registration["not_recorded"])
    accepted = registration["now"]["decision"] == REGISTERED
    now = [Reason("registered", accepted, registration["now"]["decision"], REGISTERED, "")]
    judges: dict[str, Callable[[Any], Sequence[Reason]]] = {
        FIRST_DAYS: lambda found: decide_first_days(found, policy.first_days),
        LEAKS: lambda found: judge_leaks(found, policy.leaks),
        FAIRNESS: judge_takeover,
    }
    for name, judge in judges.items() if accepted else ():
        try:
            now += judge((day.trained or {})[name])
        except (KeyError, TypeError, ValueError) as error:
            missing[name] = _why(error)
    # Age and way of promotion are no matter of the policy.
    now += [one for one in then if one.rule.partition(" ")[0] not in ("registered", *judges)]
    decided = {"decision": PROMOTED if Decision.of(now).accepted else UNCHANGED, "by": _against(now)}
    if registration["now"]["decision"] == UNDECIDED:
        decided = {"decision": UNDECIDED, "by": []}
    before = {"decision": deployed["decision"], "by": _against(then)}
    return _compared(day.as_of, "takeover", before, decided, deployed, missing)


def _compared(
    as_of: str,
    what: str,
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    record: Mapping[str, Any],
    missing: Mapping[str, str],
) -> dict[str, Any]:
    recorded = record.get("policy") or {}
    # A blocked day has no version either: what changed is who stopped it.
    same = {BLOCKED: REJECTED}.get(then["decision"], then["decision"]) == now["decision"]
    return {
        "as_of": as_of,
        "what": what,
        "then": dict(then),
        "now": dict(now),
        "policy_then": recorded.get("version"),
        "not_recorded": dict(missing),
        "changed": now["decision"] != UNDECIDED and then["decision"] != UNDECIDED and not same,
    }


def _against(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    return _by_rule([(reason.rule, reason) for reason in reasons])


def _by_rule(reasons: Sequence[tuple[str, Reason]]) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for rule, reason in reasons:
        if not reason.passed:
            found.setdefault(rule, []).append(reason.text)
    return [{"rule": rule, "why": [text for text in texts if text]} for rule, texts in found.items()]


def _why(error: Exception) -> str:
    return f"nothing is recorded of {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


def totals(decisions: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By what was decided, how often each decision was made `then` and would be `now`, and how many `changed`."""
    found: dict[str, dict[str, Any]] = {}
    for one in decisions:
        counts = found.setdefault(one["what"], {"then": {}, "now": {}, "changed": 0})
        for when in ("then", "now"):
            decision = one[when]["decision"]
            counts[when][decision] = counts[when].get(decision, 0) + 1
        counts["changed"] += one["changed"]
    return found
