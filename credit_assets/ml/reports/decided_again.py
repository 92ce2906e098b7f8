"""Recorded decisions judged again from their evidence, under the policy and the code of the rules as they are here.

Belongs here: holding a recorded decision against what its evidence gives. Does not belong here: any rule, another
policy (`policy_replay`), and finding the records.

A rule that was not asked then is not asked now: rules and sections of a policy have come since. What is compared is
whether each rule stood against it, and what was decided; not its words, which a release may better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from credit_assets.failures import error_text
from credit_assets.ml.data.fingerprints import fingerprint
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.reports.policy_replay import mode_of
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.first_days import FIRST_DAYS, decide_first_days
from credit_assets.ml.rules.leak_rules import LEAKS, judge_leaks
from credit_assets.ml.rules.model_rules import MODEL_RULES, gate_reasons, judge_model
from credit_assets.ml.rules.trials import TrialPolicy, decide_trial

if TYPE_CHECKING:
    from credit_assets.ml.data.gate_results import GateResult

TAKEOVER = (FIRST_DAYS, LEAKS)


def policy_edited(recorded: Mapping[str, Any] | None) -> str:
    """What is wrong with a recorded policy: that it is not the one of its own version; empty where it is."""
    if not recorded or "version" not in recorded:
        return "no policy is recorded"
    sections = {name: section for name, section in recorded.items() if name != "version"}
    given = fingerprint(**sections)
    return "" if given == recorded["version"] else "the recorded policy is not that of its version: it was edited"


def registration_again(
    evidence: Mapping[str, Any], gates: Sequence[GateResult], decision: Mapping[str, Any]
) -> list[str]:
    """What of a registration its evidence does not give, in words; nothing where it gives all of it.

    Parameters
    ----------
    evidence
        The record of `trained_model`.
    gates
        The recorded results on its training set.
    decision
        `decision`, `reasons`, `policy` and `mode`, as `registered_model` records them.
    """
    if edited := policy_edited(decision.get("policy")):
        return [edited]
    try:
        policy = Policy.from_record(decision["policy"])
        recorded = {one["rule"] for one in evidence.get("judged", ())}
        rules = [rule for rule in MODEL_RULES if not recorded or rule.name in recorded]
        judged = judge_model({**evidence, "mode": mode_of(decision)}, policy, rules)
    except (KeyError, TypeError, ValueError) as error:
        return [f"it cannot be judged again here ({error_text(error)})"]
    reasons = [*gate_reasons(gates), *(reason for one in judged for reason in one.reasons)]
    return _unlike(decision["reasons"], reasons) + _decided(
        decision["decision"], "registered" if all(one.passed for one in reasons) else "rejected"
    )


def takeover_again(
    evidence: Mapping[str, Any], registered: bool, deployed: Mapping[str, Any], strong: Sequence[str] = ()
) -> list[str]:
    """What of the decision on a takeover (the record of `deployed_model`) does not follow, in words.

    Its as-of date, the champions and the way of promotion are no evidence of the model: what was recorded of them
    stands, and the decision has to follow from all of it.
    """
    if edited := policy_edited(deployed.get("policy")):
        return [edited]
    then = [Reason.from_record(one) for one in deployed["reasons"]]
    try:
        policy = Policy.from_record(deployed["policy"])
        again = {
            FIRST_DAYS: lambda: decide_first_days(evidence.get("first_days"), policy.first_days),
            LEAKS: lambda: judge_leaks(evidence.get("leaks"), policy.leaks, strong),
        }
        recorded = {_kind(one) for one in then} & set(TAKEOVER)
        now = [reason for name in TAKEOVER if name in recorded for reason in again[name]()]
    except (KeyError, TypeError, ValueError) as error:
        return [f"it cannot be judged again here ({error_text(error)})"]
    found = _unlike([one.to_record() for one in then if _kind(one) in TAKEOVER], now)
    for one in then:
        if one.rule == "registered" and one.passed != registered:
            found.append(
                f"it was decided as of a model that was {one.value}, and the record of the registration differs"
            )
    rest = [one for one in then if _kind(one) not in TAKEOVER]
    accepted = bool(then) and all(one.passed for one in [*rest, *now])
    return found + _decided(deployed["decision"], "promoted" if accepted else "unchanged")


def trial_again(record: Mapping[str, Any]) -> list[str]:
    """What of the decision of a `shadow_report` its evidence does not give, in words."""
    if record.get("shadow") is None:
        return []
    if edited := policy_edited(record.get("policy")):
        return [edited]
    try:
        policy = Policy.from_record(record["policy"])
        found = TrialPolicy(record["promotion"], policy.trials, policy.performance.min_bads)
        decision, reasons = decide_trial(found, record)
    except (KeyError, TypeError, ValueError) as error:
        return [f"it cannot be judged again here ({error_text(error)})"]
    return _unlike(record["reasons"], reasons) + _decided(record["decision"], decision)


def _unlike(recorded: Sequence[Mapping[str, Any]], now: Sequence[Reason]) -> list[str]:
    """The rules that say otherwise than was recorded."""
    then = Counter((one["rule"], bool(one["passed"])) for one in recorded)
    again = Counter((one.rule, one.passed) for one in now)
    texts = {one.rule: one.text for one in now}
    found = []
    for rule in sorted({name for name, _ in [*(then - again), *(again - then)]}):
        was, comes = (_count_in_words(counts, rule) for counts in (then, again))
        found.append(
            f"rule {rule}: {was} was recorded, and its evidence gives {comes} ({texts.get(rule, 'no such rule')})"
        )
    return found


def _count_in_words(counts: Mapping[tuple[str, bool], int], rule: str) -> str:
    for_it, against = counts.get((rule, True), 0), counts.get((rule, False), 0)
    return "nothing" if not for_it + against else "that it fails" if against else "that it passes"


def _decided(then: str, now: str) -> list[str]:
    return [] if then == now else [f"{then} was recorded, and its evidence gives {now}"]


def _kind(reason: Reason) -> str:
    return reason.rule.partition(" ")[0]
