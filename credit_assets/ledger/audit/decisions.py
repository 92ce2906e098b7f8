"""Recorded decisions beside the evidence that they were made from.

Belongs here: finding each decision with its evidence. Does not belong here: judging again
(`credit_assets.ml.reports.decided_again`), and the moves that followed (`moves`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from credit_assets.ledger.audit.walk import Gap, Record, Walk
from credit_assets.ledger.deployment import ACTOR
from credit_assets.ledger.registry import CHAMPION, Version
from credit_assets.ledger.requester import requester_in_words
from credit_assets.ledger.requests import DONE, Request
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.reports.decided_again import registration_again, takeover_again, trial_again
from credit_assets.ml.rules.due import NOT_DUE
from credit_assets.ml.rules.first_days import decide_first_days
from credit_assets.ml.rules.leak_rules import judge_leaks

_AGAIN = "compare the record with your backups; `credit-assets reproduce` makes the evidence again"
_REQUESTED = {"promote": "promote", "reject": "end"}
"""By the kind of a request that a trial makes, the decision that it is made of."""


def registrations(walk: Walk) -> Sequence[Gap]:
    """Every registration and rejection follows from its evidence, the gates of its training set and its policy."""
    found = []
    for day, record in walk.of("registered_model").items():
        trained = walk.of("trained_model").get(day, {})
        if record["decision"] == NOT_DUE or trained.get("fingerprint") != record["fingerprint"]:
            # Nothing was decided, or the evidence is of another model, which `evidence_kept` says.
            continue
        if _of_before(record):
            continue
        for text in registration_again(trained, walk.gates.get(day, ()), record):
            found.append(Gap("registrations", text, _AGAIN, "registered_model", day, record.get("version") or ""))
    for version in walk.versions.values():
        kept, evidence = walk.kept_of(version), walk.evidence_of(version)
        if not kept or not kept.decision or evidence is None:
            continue
        gates = [GateResult.from_record(one) for one in kept.decision["gates"]]
        for text in registration_again(evidence, gates, {"decision": "registered", **kept.decision}):
            found.append(Gap("registrations", text, _AGAIN, "kept/versions", kept.as_of, version.version))
    return found


def _of_before(registered: Record) -> bool:
    """Whether a registration was recorded by a release that recorded no policy: it cannot be decided again."""
    return "policy" not in registered and "evidence" not in registered


def takeovers(walk: Walk) -> Sequence[Gap]:
    """Every decision on a takeover follows from what was recorded of the version and of the champions."""
    return [gap for day in walk.of("deployed_model") for gap in _takeover(walk, day)]


def _takeover(walk: Walk, day: str) -> Iterator[Gap]:
    record, registered = walk.of("deployed_model")[day], walk.of("registered_model").get(day)
    if registered is None or registered["decision"] == NOT_DUE:
        return
    number, trained = registered.get("version") or "", walk.of("trained_model").get(day, {})
    if trained.get("fingerprint") == registered["fingerprint"] and not _of_before(registered):
        # The newest days are looked at again before a model takes over: either look may be the one that decided.
        looks = [trained]
        kept = walk.kept_of(walk.versions[number]) if number in walk.versions else None
        if kept:
            looks.append({**trained, "first_days": kept.first_days, "leaks": kept.leaks})
        registered_then = registered["decision"] == "registered"
        again = [takeover_again(one, registered_then, record) for one in looks]
        for text in min(again, key=len):
            yield Gap("takeovers", text, _AGAIN, "deployed_model", day, number)
    first = date.fromisoformat(day) + timedelta(1)
    if record["decision"] == "promoted" and not _was_champion(walk, number, first):
        text = f"says that the version took over, and no move of the alias {CHAMPION} made it so from {first} on"
        yield Gap(
            "takeovers",
            text,
            "see `credit-assets models`: a move is missing or was deleted",
            "deployed_model",
            day,
            number,
        )


def _was_champion(walk: Walk, version: str, first: date) -> bool:
    """Whether, after some move, the version was in force on a day."""
    moves = walk.logs.get(CHAMPION, ())
    return any(period.version == version and period.covers(first) for move in moves for period in move.history)


def trials(walk: Walk) -> Sequence[Gap]:
    """Every decision of a trial follows from its report, and was asked for where it decided anything."""
    found, requested = [], {(one.version, one.kind) for one in walk.requests}
    for day, record in walk.of("shadow_report").items():
        version = record.get("shadow") or ""
        for text in trial_again(record) if "policy" in record else ():
            found.append(Gap("trials", text, _AGAIN, "shadow_report", day, version))
        kind = {decision: kind for kind, decision in _REQUESTED.items()}.get(record.get("decision") or "")
        if version and kind and (version, kind) not in requested:
            text = f"decided to {kind} the version, and no request for it is in the log"
            found.append(Gap("trials", text, "a request was deleted: restore the log", "shadow_report", day, version))
    return found


def requests_met(walk: Walk) -> Sequence[Gap]:
    """Every request is in order, was asked for by whom it names, and came to the outcome that it says."""
    found = [*_numbers(walk)]
    for request in walk.requests:
        outcome = walk.outcomes.get(request.number)
        texts = [*_unrequested(walk, request)]
        if request.version not in walk.versions:
            texts.append("asks for a version that is not in MLflow")
        elif outcome == DONE:
            texts += [*_done(walk, request), *_accepted(walk, request, walk.versions[request.version])]
        found += [_gap(request, text) for text in texts]
    return found


def _numbers(walk: Walk) -> Iterator[Gap]:
    numbers = [one.number for one in walk.requests]
    for missing in sorted({*range(1, max(numbers, default=0) + 1)} - {*numbers}):
        text, do = f"request {missing} is missing from the log: entries are never taken away", "restore the log"
        yield Gap("requests_met", text, do, "requests")
    for number in sorted({*walk.outcomes} - {*numbers}):
        yield Gap(
            "requests_met",
            f"an outcome is recorded of request {number}, which is not there",
            "restore the log",
            "requests",
        )


def _unrequested(walk: Walk, request: Request) -> Iterator[str]:
    """Whether who is named can have asked: the pipeline asks for what the report of a trial decided."""
    if request.by != ACTOR:
        return
    reports = walk.of("shadow_report")
    decided = _REQUESTED.get(request.kind)
    by_trial = any(
        one.get("shadow") == request.version
        and one.get("decision") == decided
        and f"trial:{one.get('shadow')}:{one.get('since')}" == request.identity
        for one in reports.values()
    )
    if not by_trial:
        yield "is said to be the pipeline's, and no report of a trial decided it: it is forged, or the report is gone"


def _done(walk: Walk, request: Request) -> Iterator[str]:
    """Whether a request that is done has moved the alias that it is about."""
    if request.kind == "reject":
        return
    first = request.effective_from
    if not _was_champion(walk, request.version, first):
        yield f"is done, and no move brought the version into force from {first} on"


def _accepted(walk: Walk, request: Request, version: Version) -> Iterator[str]:
    """Whether what stood against the version was accepted by whoever asked."""
    kept, evidence = walk.kept_of(version), walk.evidence_of(version)
    recorded = (kept.decision if kept else None) or {}
    if request.kind not in ("promote", "approve") or not kept or not evidence or not recorded.get("policy"):
        return
    try:
        policy = Policy.from_record(recorded["policy"])
    except ValueError:
        return
    looks = [
        {
            one.rule
            for one in (*decide_first_days(days, policy.first_days), *judge_leaks(leaks, policy.leaks))
            if not one.passed
        }
        for days, leaks in ((evidence.get("first_days"), evidence.get("leaks")), (kept.first_days, kept.leaks))
    ]
    for rule in sorted(set.intersection(*looks)):
        if rule.partition(" ")[0] not in request.accepted:
            yield f"brought a version into force that {rule} stands against, and nobody accepted it"


def _gap(request: Request, text: str) -> Gap:
    do = "ask who is named; where it is forged, roll back (`credit-assets rollback`)"
    named = f"request {request.number} ({request.kind} by {request.by}{requester_in_words(request.entered_by)}) {text}"
    return Gap("requests_met", named, do, "requests", request.effective_from.isoformat(), request.version)


def retrainings_requested(walk: Walk) -> Sequence[Gap]:
    """Who is recorded to have asked for a training has asked for it."""
    found = []
    for day, record in walk.of("registered_model").items():
        for trigger in sorted({*record.get("triggers", ())} - {*walk.triggers.get(day, ())}):
            text = f"was judged as asked for by {trigger}, which did not ask as of that day"
            do = "a training is judged by who asked for it: decide it again"
            found.append(Gap("retrainings_requested", text, do, "registered_model", day, record.get("version") or ""))
    return found
